"""Networks of N neurons at equilibrium against the infinite-width law and its finite-width correction, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mft_engine.applies import why_no_law
from mft_engine.estimates import Estimate, averaged
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import targets_on, training_measure
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.tasks import build_task
from mft_engine.theory.finite_width import FiniteWidthTheory, solve_finite_width
from mft_engine.theory.gibbs import GibbsBackground
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.training_points import PointSolution

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
OBSERVABLES = ("loss", "cos4", "mean_norm", "mean_square_norm", "mean_square_readout")
SWEEPS_A_SLICE = 8


@dataclass(frozen=True)
class WidthRow:
    """One width.

    Attributes:
        n_neurons: N.
        simulated: observable to its mean over exact sweeps, with standard error.
        corrected: the one-neuron law of N neurons, solved without simulation.
        uncorrected: the Gibbs law of the run's own averaged residual (an exact foreground); its "loss" is that of its
            mean function.
        infinite: the infinite-width law on the same points.
        background_spread, foreground_spread: mean-square deviation of a network's function from its mean, predicted:
            Tr C (I + C/T)^-1 / N for the background and Tr C / N for N iid neurons.
        measured_spread: the background's, from the sweeps: mean loss minus loss of the mean.
        acceptance: of the sweeps' proposals.
    """

    n_neurons: int
    simulated: dict[str, Estimate]
    corrected: dict[str, float]
    uncorrected: dict[str, float]
    infinite: dict[str, float]
    background_spread: float
    foreground_spread: float
    measured_spread: float
    acceptance: float


def study_widths(
    recipe: Recipe,
    widths: Sequence[int] = WIDTHS,
    *,
    n_sweeps: int = 600,
    burn_in: int = 40,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[float | WidthRow]:
    """Simulate, solve and compare each width; yields the fraction done between slices, and a row for each width.

    Narrow networks get more sweeps, n_sweeps x 512/N up to 40 times as many, so that the errors are comparable.

    Args:
        recipe: a planar one with an infinite-width solution; its own `network.n_neurons` is not used.
        widths: N, ascending.
        n_sweeps: for 512 neurons and more.
        burn_in: sweeps before the average.
        should_stop: asked within the longer steps too.

    Raises:
        RecipeError: a recipe that has no infinite-width solution.
        SolveStopped: `should_stop` answered True.
    """
    for n_neurons in widths:
        recipe.replace({"network.n_neurons": n_neurons})  # refuses what no network can have
    task = build_task(recipe.task)
    reason = why_no_law(recipe, task.n_inputs) or (
        f"The exact law of a neuron is used with one readout; this task has {task.n_out}." if task.n_out > 1 else ""
    )
    if reason:
        raise RecipeError(reason)
    measure = training_measure(recipe.training, task, recipe.seed)
    points, weights = measure.inputs, measure.weights
    targets = targets_on(measure, task)
    neuron = Neuron.of(recipe)
    theory = solve_planar(None, *neuron, points=(points, targets, weights))
    assert isinstance(theory.solution, PointSolution)
    n_angles = theory.solution.n_angles
    sweeps = [burn_in + math.ceil(n_sweeps * min(40.0, max(1.0, 512 / n))) for n in widths]
    cost = np.array([n * (s + 200) for n, s in zip(widths, sweeps, strict=True)], dtype=float)
    starts = np.concatenate([[0.0], np.cumsum(cost)]) / cost.sum()
    for k, (n_neurons, total) in enumerate(zip(widths, sweeps, strict=True)):
        chain = GibbsBackground(
            points,
            targets,
            weights,
            n_neurons,
            *neuron,
            seed=recipe.seed,
            proposal=theory.law,
            should_stop=should_stop,
        )
        chain.sweep(burn_in)
        chain.forget()
        traces = []
        for start in range(burn_in, total, SWEEPS_A_SLICE):
            traces.append(chain.sweep(min(SWEEPS_A_SLICE, total - start)))
            yield float(starts[k] + (starts[k + 1] - starts[k]) * start / total)
        series = {
            name: np.concatenate([t.order_parameters["cos4"] if name == "cos4" else getattr(t, name) for t in traces])
            for name in OBSERVABLES
        }
        simulated = {name: averaged(values) for name, values in series.items()}
        finite = solve_finite_width(
            points, targets, weights, n_neurons, *neuron, n_angles=n_angles, should_stop=should_stop
        )
        law = PlanarLaw.from_field(points, weights * chain.mean_residual, *neuron)
        mean_loss = float(weights @ chain.mean_residual**2)
        yield WidthRow(
            n_neurons=n_neurons,
            simulated=simulated,
            corrected=_observables(finite, finite.loss),
            uncorrected={
                "loss": float(weights @ (targets - law.prediction(points)) ** 2),
                **{name: float(law.moments[name]) for name in OBSERVABLES[1:]},
            },
            infinite=_observables(theory, theory.loss),
            background_spread=finite.trace_response / n_neurons,
            foreground_spread=finite.trace_covariance / n_neurons,
            measured_spread=simulated["loss"].mean - mean_loss,
            acceptance=float(np.mean([t.acceptance for t in traces])),
        )


def _observables(law: PlanarTheory | FiniteWidthTheory, loss: float) -> dict[str, float]:
    values = {name: float(getattr(law, name)) for name in OBSERVABLES[2:]}
    return {"loss": loss, "cos4": float(law.order_parameters["cos4"]), **values}
