"""The verdict on any two clouds in the field of a stored run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mft_engine.compare import memory
from mft_engine.compare.averages import AveragesTest
from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.fluctuations import Averaging
from mft_engine.compare.moments import with_moments
from mft_engine.compare.paths import with_way
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import RunError
from mft_engine.field.field import MeanField
from mft_engine.network.activations import get_activation
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.scaling import LAZY_EXPONENT, drive
from mft_engine.network.tables import table_parity
from mft_engine.points.loss import LOSS
from mft_engine.points.measure import weighted
from mft_engine.questions.comparison import compare_with_field, is_of_one_moment
from mft_engine.runs.folder import Run
from mft_engine.runs.runs import load

# Predictions in the averages of a stored run, where it was averaged: more than enough for its time to count alone.
MANY = 1000


def verdict(
    run: Run | str | Path,
    background: np.ndarray | torch.Tensor | None = None,
    foreground: np.ndarray | torch.Tensor | None = None,
    seed: int = 0,
) -> Comparison:
    """Whether a background is what fresh neurons in the field of a run would be: distance, averages and resolution.

    Args:
        run: a stored run, or its folder; its averaged residual is the field.
        background, foreground: (n_neurons, n_inputs + n_out) clouds; the run's own where they are left out.
        seed: of the permutations.

    Raises:
        RunError: several hidden layers, or a run without a foreground where none is given.
        ComparisonError: clouds that cannot be compared.
    """
    outcome = run.outcome if isinstance(run, Run) else load(run)
    recipe, points = outcome.recipe, outcome.points
    if len(outcome.background.clouds) > 1:
        raise RunError("The verdict on given clouds is for networks of one hidden layer; this run has several")
    if foreground is None and outcome.foreground is None:
        raise RunError("This run has no foreground: give one, or let the run go on to its end (--resume)")
    fresh = outcome.foreground.theta if foreground is None and outcome.foreground is not None else foreground
    own, other = (
        torch.as_tensor(np.array(cloud) if not isinstance(cloud, torch.Tensor) else cloud)
        for cloud in (outcome.background.theta if background is None else background, fresh)
    )
    activation = get_activation(recipe.network.activation)
    n_inputs = points.inputs.shape[1]
    eta_theta = outcome.summary.get("background", {}).get("eta_theta")
    found = compare(
        own, other, n_inputs, parity=activation.parity, n_permutations=recipe.comparison.n_permutations, seed=seed,
        eta_theta=eta_theta,
    )  # fmt: skip
    stored = outcome.comparison
    if background is None and foreground is None and stored is not None and stored.way is not None:
        return replace(with_way(found, stored.way, eta_theta), resolution=stored.resolution)
    if own.shape[1] != n_inputs + (1 if points.targets.ndim == 1 else points.targets.shape[1]):
        return found
    tests = _averages(outcome, own, other)
    if tests is None:
        return found
    of_one_moment = is_of_one_moment(recipe, outcome.background.kind, _averaging(outcome))
    return found.with_averages(*tests, eta_theta=eta_theta, is_of_one_moment=of_one_moment)


def pooled_resolution(outcome: Outcome, n_runs: int, layer: int = 0) -> Resolution | None:
    """What the averages of so many runs like this one would notice together; None where a run has none.

    Args:
        layer: hidden layer, 0 the first; the layers of networks with several have moments of their tables.
    """
    found = outcome.comparisons[layer]
    if outcome.foreground is None or found.averages is None:
        return None
    if len(outcome.background.clouds) > 1:
        mine, its = (part.clouds[layer] for part in (outcome.background, outcome.foreground))
        network = LayeredNetwork.of(outcome.recipe, outcome.points.inputs.shape[1])
        parity = table_parity(network.activations, layer + 1)
        n_inputs = mine.theta.shape[1] - 1
        return with_moments(
            found, mine.theta, its.theta, n_inputs, mine.names, parity=parity, seed=outcome.recipe.seed, n_pooled=n_runs
        ).resolution
    own, other = (torch.as_tensor(np.array(part.theta)) for part in (outcome.background, outcome.foreground))
    tests = _averages(outcome, own, other, n_runs)
    return None if tests is None else tests[1]


def _averages(
    outcome: Outcome, own: torch.Tensor, other: torch.Tensor, n_pooled: int = 1
) -> tuple[AveragesTest, Resolution] | None:
    return compare_with_field(
        outcome.recipe,
        own,
        other,
        _field(outcome),
        outcome.points,
        _mean_output(outcome),
        _averaging(outcome),
        n_pooled,
    )


def _exponents(outcome: Outcome) -> tuple[float, float]:
    """kappa of the background's function, and of the foreground's."""
    is_lazy = outcome.background.kind == "lazy"
    own = outcome.recipe.network.readout_exponent
    return (LAZY_EXPONENT, 1.0) if is_lazy else (own, own)


def _field(outcome: Outcome) -> MeanField:
    points = outcome.points
    felt = drive(len(outcome.background.theta), _exponents(outcome)[1])
    signal = weighted(points.weights, LOSS.signal(points.targets, outcome.background.prediction)) * felt
    recipe, activation = outcome.recipe, get_activation(outcome.recipe.network.activation)
    inputs, signal = torch.as_tensor(points.inputs), torch.as_tensor(signal)
    return MeanField(inputs, signal, activation, recipe.lambda_w, recipe.lambda_a)


def _mean_output(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.background.prediction * drive(len(outcome.background.theta), _exponents(outcome)[0]))


def _averaging(outcome: Outcome) -> Averaging:
    recipe = outcome.recipe
    if recipe.foreground.field == "end" or outcome.background.kind in ("untrained", "stored"):
        return Averaging(0.0, 1)
    length, is_exact = recipe.training.time, recipe.training.dynamics == "gibbs"
    return Averaging(recipe.foreground.window * length, MANY, is_exact, None if is_exact else _window(outcome))


def _window(outcome: Outcome) -> memory.Path:
    """The clouds along the averaging window."""
    steps, times = (outcome.metrics.get(name, np.zeros(0)) for name in ("step", "time"))
    length = outcome.recipe.foreground.window * (times[-1] if len(times) else 0.0)
    return memory.Path.of(outcome.snapshots, outcome.snapshot_steps, steps, times, length)
