"""Every corner of the box of parameters starts, runs fifty steps, and ends in numbers or in words."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from fuzzing import in_time

from mft_engine.dynamics.divergence import Diverged
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import RecipeError, load_recipe

# The ends of what the window's sliders reach, and beyond.
BOX = {
    "regularisation.scale": (1e-6, 10.0),
    "regularisation.input_weight": (1e-3, 1e3),
    "regularisation.readout": (1e-3, 1e3),
    "training.temperature": (0.0, 1e-6, 10.0),
    "training.step_size": ("auto", 1e-9, 1e3),
    "network.n_neurons": (1, 33),
}
DYNAMICS = ("langevin", "sgd", "adam")
ALL = {
    "network.activation": ("relu_tanh", "tanh", "relu", "erf"),
    "network.readout_exponent": (0.5, 1.0),
    "engine.dtype": ("float32", "float64"),
}
BASE = load_recipe("clover").replace(
    {"foreground.n_neurons": 8, "training.n_steps": 50, "comparison.n_permutations": 99, "engine.device": "cpu",
     "engine.n_threads": 1}
)  # fmt: skip


def corners(box: dict) -> list[dict]:
    return [dict(zip(box, values, strict=True)) for values in itertools.product(*box.values())]


def numbers_or_words(changes: dict, law: str) -> str:
    """ "ran", "refused" or "diverged"; anything else fails."""
    try:
        experiment = Experiment(BASE.replace({**changes, "initial.law": law}), kernel="reference")
    except RecipeError as error:
        assert 10 < len(str(error)) < 1000
        return "refused"
    start = experiment.state.theta.clone()
    try:
        experiment.advance(50)
    except Diverged as error:
        # What is kept is the last good state, and the advice is a step size that a person could choose.
        assert np.isfinite(experiment.state.theta.numpy()).all() and 10 < len(str(error)) < 1000
        for advised in re.findall(r"step_size (?:to|at) ([\d.e+-]+\d)", str(error)):
            asked = changes["training.step_size"]
            assert 1e-12 < float(advised) < (1e3 if asked == "auto" else asked)
        return "diverged"
    assert np.isfinite(experiment.state.theta.numpy()).all() and np.isfinite(experiment.background.present_loss())
    assert experiment.state.step == 50 and start.shape == experiment.state.theta.shape
    return "ran"


def test_every_corner_runs_fifty_steps_or_says_why_not():
    found = [
        numbers_or_words({**corner, "training.dynamics": dynamics}, "gaussian")
        for dynamics in DYNAMICS
        for corner in corners(BOX | {"network.n_neurons": (5,)})
    ]
    assert {"ran", "refused", "diverged"} == set(found) and found.count("ran") > len(found) // 5


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("law", ["gaussian", "prior"])
def test_every_corner_of_every_network_runs_fifty_steps_or_says_why_not(dynamics, law):
    found = [numbers_or_words({**corner, "training.dynamics": dynamics}, law) for corner in corners(BOX | ALL)]
    assert len(found) == 2304 and set(found) <= {"ran", "refused", "diverged"}


@pytest.mark.slow
def test_exact_sweeps_begin_in_every_corner_within_a_minute():
    """They solve the theory first, which took minutes where wells are narrower than any grid."""
    box = BOX | {"training.step_size": ("auto",), "network.n_neurons": (5,), "training.dynamics": ("gibbs",)}
    found = []
    for corner in corners(box):
        with in_time(60.0):
            found.append(numbers_or_words(corner, "gaussian"))
    assert len(found) == 24 and found.count("refused") == 8 and found.count("ran") == 16


# Single precision rounds a weight of size 1 by 6e-8 a step; in 50 steps of a stable run errors add up, and a loss,
# which is about a square of the function, has them twice: at most 2 x 50 x 6e-8 = 6e-6 of it.
@pytest.mark.parametrize("activation", ALL["network.activation"])
def test_single_and_double_precision_agree_within_the_rounding_of_their_steps(activation):
    losses = []
    for dtype in ALL["engine.dtype"]:
        recipe = BASE.replace(
            {"network.n_neurons": 64, "network.activation": activation, "engine.dtype": dtype,
             "training.step_size": 0.001, "training.temperature": 0.0, "training.dynamics": "sgd",
             "initial.law": "gaussian"}
        )  # fmt: skip
        experiment = Experiment(recipe, kernel="reference")
        experiment.advance(50)
        losses.append(experiment.background.present_loss())
    assert losses[0] == pytest.approx(losses[1], rel=6e-6)
