"""Claims about runs that run away: stopped with advice that helps, and never caused by the automatic step."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mft_engine.dynamics import Diverged, Hyper
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.runs.runs import list_runs, run_stored

SMALL = {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.n_steps": 300, "engine.n_threads": 1}


def small(**changes: object) -> Recipe:
    return load_recipe("clover").replace(SMALL | {key.replace("__", "."): value for key, value in changes.items()})


def trained(recipe: Recipe) -> Experiment:
    experiment = Experiment(recipe, kernel="reference")
    experiment.advance(10_000)
    return experiment


@pytest.mark.parametrize("scale", [1e-4, 0.001, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("preconditioner", ["prior", "none"])
def test_the_automatic_step_at_temperature_zero_is_bounded_by_the_decay_too(scale, preconditioner):
    """Nothing but the decay holds a neuron that no data reach: w <- w (1 - rate lambda)."""
    recipe = small(
        training__temperature=0.0, training__preconditioner=preconditioner, initial__law="gaussian",
        regularisation__scale=scale, training__step_size="auto",
    )  # fmt: skip
    experiment = trained(recipe)
    decay = 1.0 if preconditioner == "prior" else max(recipe.lambda_w, recipe.lambda_a)
    assert experiment.state.step_size * decay < 1.0
    assert experiment.is_complete and experiment.background.present_loss() < 1.5  # the function zero has 1


def test_advice_after_an_automatic_step_is_not_to_choose_the_automatic_step(monkeypatch):
    from mft_engine.dynamics import langevin

    monkeypatch.setattr(langevin, "LARGEST_STEP", 50.0)
    recipe = small(
        training__temperature=0.0, initial__law="gaussian", regularisation__scale=1.0, training__step_size="auto",
        network__activation="relu",
    )  # fmt: skip
    monkeypatch.setattr("mft_engine.dynamics.hyper.LARGEST_STEP", 50.0)
    monkeypatch.setattr("mft_engine.dynamics.langevin.AUTO_STEP", 1e4)
    with pytest.raises(Diverged, match="the automatic one was") as caught:
        trained(recipe)
    assert '"auto"' not in str(caught.value)


def test_advice_comes_from_the_last_good_state():
    """y = 0 with far too large a step: the neurons blow up within a few steps, and their own Theta is of no use."""
    recipe = load_recipe("clover").replace(
        SMALL
        | {"task.name": "expression", "task.expression": "0*x1", "training.step_size": 0.2, "initial.law": "gaussian",
           "regularisation.scale": 0.01, "regularisation.input_weight": 2.0}
    )  # fmt: skip
    start = Experiment(recipe, kernel="reference")
    stable = 1.4 / start.problem.eigenvalue(start.state.theta, Hyper.of(recipe))
    with pytest.raises(Diverged) as caught:
        trained(recipe)
    assert caught.value.suggestion == pytest.approx(stable, rel=0.5) and 0.03 < caught.value.suggestion < 0.2
    # The advice helps.
    assert trained(recipe.replace({"training.step_size": caught.value.suggestion})).background.present_loss() < 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"engine.dtype": "float64", "training.step_size": 0.1},
        {"foreground.background": "lazy", "training.rule": "batch", "training.batch_size": 1,
         "training.step_size": 0.05},
        {"training.dynamics": "adam", "training.step_size": 500.0, "training.temperature": 0.0,
         "initial.law": "gaussian", "network.activation": "relu", "engine.dtype": "float64"},
        {"training.dynamics": "sgd", "training.temperature": 0.0, "initial.law": "gaussian",
         "training.preconditioner": "none", "training.step_size": 60.0, "engine.dtype": "float64"},
    ],
    ids=["float64", "lazy with batches of one", "adam", "gradient descent"],
)  # fmt: skip
def test_a_run_that_exploded_with_finite_numbers_is_no_success(changes, tmp_path):
    recipe = load_recipe("clover").replace(SMALL | changes)
    with pytest.raises(Diverged, match=r"diverged at step \d+.*Set training\.step_size to") as caught:
        run_stored(recipe, tmp_path)
    (row,) = list_runs(tmp_path)
    assert row["state"] == "failed" and "diverged" in row["fault"] and row["verdict"] is None
    assert 0 < caught.value.suggestion < float(recipe.training.step_size)


def test_a_loss_of_zero_targets_at_a_temperature_is_no_explosion():
    recipe = small(task__name="expression", initial__law="gaussian", initial__readout_std=1e-6)
    recipe = recipe.replace({"task.expression": "0*x1"})
    experiment = trained(recipe)
    assert experiment.is_complete and experiment.background.present_loss() > 0


def test_whether_a_run_is_stopped_does_not_depend_on_how_its_steps_are_split():
    recipe = load_recipe("clover").replace(SMALL | {"engine.dtype": "float64", "training.step_size": 0.1})
    steps = []
    for n in (1, 7, 300):
        experiment = Experiment(recipe)
        with pytest.raises(Diverged) as caught:
            for _ in range(300):
                experiment.advance(n)
        steps.append(caught.value.step)
        assert torch.isfinite(experiment.state.theta).all()
    assert len(set(steps)) == 1


CORNERS = [
    {"regularisation.scale": scale, "training.temperature": temperature, "network.n_neurons": n,
     "network.activation": phi}
    for scale in (1e-4, 1.0)
    for temperature in (0.0, 1e-4, 10.0)
    for n in (1, 3000)
    for phi in ("relu_tanh", "quadratic")
]  # fmt: skip


@pytest.mark.parametrize("corner", CORNERS, ids=lambda c: ",".join(str(v) for v in c.values()))
def test_every_corner_of_the_parameter_box_runs_or_says_in_words_why_not(corner):
    changes = {"foreground.n_neurons": 16, "training.n_steps": 50, "initial.law": "gaussian", "training.n_points": 20}
    try:
        experiment = Experiment(load_recipe("clover").replace(changes | corner), kernel="reference")
        experiment.advance(50)
    except (RecipeError, Diverged) as error:
        assert re.search(r"\w+\.\w+", str(error)) and len(str(error)) < 400
        return
    assert experiment.state.step == 50 and np.isfinite(experiment.background.present_loss())


def test_a_step_size_that_nobody_could_wait_for_is_no_advice() -> None:
    """A prior of penalties 1e-9 at temperature 10 was told to set training.step_size to 1.3e-19."""
    told = str(Diverged(3, 1e-9, 1.3e-19))
    assert "step_size to" not in told and "regularisation.scale" in told and "training.temperature" in told
    assert "Set training.step_size to 1e-10" in str(Diverged(3, 1e-9, 1e-10))
