"""Whether a run has reached the exact law, and runs that start from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.equilibrium import judge_equilibrium
from mft_engine.questions.theory import sample_theory, solve_theory
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.theory import Theory

SMALL = load_recipe("modular-addition").replace({
    "task.modulus": 7, "theory.n_particles": 1024, "engine.device": "cpu", "engine.n_threads": 1,
    "network.n_neurons": 256, "foreground.n_neurons": 64, "comparison.n_permutations": 99,
})  # fmt: skip


def finished(recipe: Recipe) -> Experiment:
    experiment = Experiment(recipe)
    while not experiment.is_complete:
        experiment.advance(500)
    list(experiment.theory())
    list(experiment.ask())
    return experiment


@pytest.mark.slow
def test_a_run_from_the_prior_that_has_just_begun_is_not_at_equilibrium_and_one_from_the_law_is() -> None:
    young = finished(SMALL.replace({"training.time": 1.0, "training.step_size": 0.001}))
    settled = finished(SMALL.replace({"training.time": 3.0, "initial.law": "theory"}))
    for experiment, verdict in ((young, "not at equilibrium"), (settled, "at equilibrium")):
        found = experiment.answers["equilibrium"]
        assert found.verdict == verdict, found.why
        summary = experiment.outcome().summary["equilibrium"]
        assert summary == {"excess": found.excess, "excess_error": found.excess_error, "verdict": verdict,
                           "why": found.why}  # fmt: skip
        assert "the exact law has loss" in found.why and "test accuracy" in found.why


def test_clover_is_at_equilibrium_at_its_end_and_not_soon_after_the_start() -> None:
    small = {"network.n_neurons": 256, "engine.device": "cpu", "engine.n_threads": 1}
    young = finished(Recipe().replace({**small, "training.time": 0.4, "training.step_size": 0.0004}))
    assert young.answers["equilibrium"].verdict == "not at equilibrium"
    settled = finished(Recipe().replace({**small, "training.time": 3.0, "initial.law": "theory"}))
    assert settled.answers["equilibrium"].verdict == "at equilibrium"


def test_without_an_exact_law_there_is_no_verdict_but_a_reason() -> None:
    experiment = Experiment(Recipe().replace({
        "training.dynamics": "sgd", "training.temperature": 0.0, "initial.law": "gaussian", "training.n_steps": 10,
        "training.step_size": 0.1, "network.n_neurons": 8,
    }))  # fmt: skip
    list(experiment.theory())
    list(experiment.ask())
    found = experiment.answers["equilibrium"]
    assert found.verdict is None and found.excess is None and "no exact law" in found.why


def test_a_loss_beyond_four_errors_is_not_at_equilibrium_and_a_short_window_says_nothing() -> None:
    theory = solve_theory(Recipe())
    expected = theory.loss + theory.trace_response / 2048
    noise = 1e-3 * host_generator(0, Stream.SUBSAMPLE).standard_normal(400)
    assert judge_equilibrium(list(expected + noise), 2048, theory).verdict == "at equilibrium"
    # The error of the mean of 400 values is 5e-5, half of the finite-width term 5e-5.
    far = judge_equilibrium(list(expected + 1e-3 + noise), 2048, theory)
    assert far.verdict == "not at equilibrium" and far.excess == pytest.approx(1e-3, abs=2e-4)
    assert judge_equilibrium([expected] * 3, 2048, theory).verdict is None


def test_of_two_hidden_layers_the_loss_of_the_mean_function_is_compared() -> None:
    theory = cast(Theory, SimpleNamespace(loss=0.04, loss_error=3e-4, trace_response=None, test_accuracy=None))
    noise = 1e-4 * host_generator(0, Stream.SUBSAMPLE).standard_normal(40)
    losses = list(theory.loss + 0.004 + noise)
    # All of the difference is what the function fluctuates, or a quarter of it: half of that is an error of its own.
    assert judge_equilibrium(losses, 256, theory, 0.004).verdict == "at equilibrium"
    far = judge_equilibrium(losses, 256, theory, 0.001)
    assert far.verdict == "not at equilibrium" and far.excess == pytest.approx(0.003, abs=1e-4)
    unknown = judge_equilibrium(losses, 256, theory)
    assert unknown.verdict is None and "window" in unknown.why


def test_neurons_of_the_exact_law_have_its_moments_and_follow_the_seed() -> None:
    theory = solve_theory(Recipe())
    draws = [sample_theory(theory, Recipe(), 20_000, Stream.INITIAL, draw) for draw in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    square = (draws[0][:, :2] ** 2).sum(axis=1)
    assert abs(square.mean() - theory.mean_square_norm) < 4 * square.std() / 20_000**0.5
    lazy = Recipe().replace({"network.readout_exponent": 0.5, "network.n_neurons": 100})
    few = sample_theory(theory, Recipe(), 10, Stream.INITIAL)
    np.testing.assert_allclose(sample_theory(theory, lazy, 10, Stream.INITIAL), few * [1, 1, 0.1])


def test_the_law_as_a_start_is_refused_where_there_is_none() -> None:
    with pytest.raises(RecipeError, match="needs a temperature"):
        Recipe().replace({
            "training.dynamics": "sgd", "training.temperature": 0.0, "initial.law": "theory", "training.step_size": 0.1,
        })  # fmt: skip
    with pytest.raises(RecipeError, match="one hidden layer"):
        load_recipe("continuous-xor").replace({"initial.law": "theory"})
