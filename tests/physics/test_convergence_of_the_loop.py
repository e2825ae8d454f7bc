"""The self-consistency loop ends at the infinite-width solution, wherever it starts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mft_engine.compare.clouds import compare
from mft_engine.experiment.events import IterationReady
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.loop import iterate
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator


def _start(kind: str) -> tuple[Experiment, np.ndarray]:
    """An experiment with solved theory, and the function on its points from which the loop starts."""
    changes = {"network.n_neurons": 256, "training.time": 3.0, "foreground.n_neurons": 1024}
    background = kind if kind in ("lazy", "untrained") else "trained"
    experiment = Experiment(load_recipe("clover").replace({**changes, "foreground.background": background}))
    while not experiment.is_complete:
        experiment.advance(1000)
    list(experiment.theory())
    points = experiment.field_points
    if kind == "zero":
        return experiment, np.zeros(len(points.targets))
    if kind == "another task":
        return experiment, np.sin(2 * points.inputs[:, 0]) + points.inputs[:, 1]
    return experiment, experiment.background.mean_prediction().numpy()


@pytest.mark.parametrize("kind", ["trained", "lazy", "untrained", "zero", "another task"])
def test_the_loop_ends_within_the_null_band_of_the_theory_from_any_start(kind: str) -> None:
    experiment, f = _start(kind)
    turns = list(
        iterate(
            experiment.recipe,
            experiment.field_points,
            f,
            experiment.background.initial_theta,
            theory=experiment.solution,
        )
    )
    last = turns[-1]
    assert last.gap < 1e-6 < turns[0].gap
    # F(mu) - F* is bounded below by 0; the quadrature points' own error (8 x 32 against exact) is below 1e-4 here.
    assert -1e-9 < last.excess < 1e-4 and last.distance < 1e-4
    sample = experiment.solution.law.sample(1024, host_generator(1, Stream.THEORY))
    assert compare(last.foreground, sample, 2, n_permutations=199).p_value > 0.01


def test_the_plain_loop_overshoots_without_damping_and_converges_with_it() -> None:
    experiment, f = _start("trained")
    sharp = experiment.recipe.replace({"regularisation.scale": 0.03, "regularisation.input_weight": 1.0,
                                       "training.temperature": 0.01})  # fmt: skip
    points, theta = experiment.field_points, experiment.background.initial_theta
    with pytest.raises(ArithmeticError, match=r"ran away at turn .* damping"):
        list(iterate(sharp, points, f, theta, damping=1.0, n_iterations=200))
    damped = list(iterate(sharp, points, f, theta, damping=0.03, n_iterations=200, tolerance=1e-5))
    assert damped[-1].gap < 1e-5


@pytest.mark.parametrize("name", ["petals3", "wedges", "lobes", "kite", "butterfly"])
def test_a_plain_loop_whose_field_outgrows_every_law_has_run_away(name: str) -> None:
    recipe = load_recipe(name).replace({"regularisation.scale": 0.0005, "network.n_neurons": 256})
    experiment = Experiment(recipe)
    with pytest.raises(ArithmeticError, match="ran away at turn"):
        list(experiment.iterate(damping=1.0))


def test_the_foreground_of_one_turn_is_the_background_of_the_next() -> None:
    experiment, _ = _start("trained")
    turns = [e.iteration for e in experiment.iterate(n_iterations=3) if isinstance(e, IterationReady)]
    for before, after in itertools.pairwise(turns):
        assert np.array_equal(before.foreground, after.background)


def test_a_loop_that_cannot_be_turned_is_refused_with_the_reason() -> None:
    experiment = Experiment(load_recipe("sgd-clover").replace({"network.n_neurons": 16}))
    with pytest.raises(RecipeError, match="temperature above 0"):
        list(experiment.iterate())
    warm, f = _start("zero")
    with pytest.raises(RecipeError, match="damping"):
        list(iterate(warm.recipe, warm.field_points, f, warm.background.initial_theta, damping=2.0))
