"""Is a trained network at the equilibrium of its own law? Only the exact law can tell: both clouds may be equally young.

    excess = D* - D(r),   r the run's averaged residual, D the concave dual of the infinite-width problem

D is largest at the exact residual, so the excess is never negative but for errors; divided by T it is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mft_engine.laws.particles import LawLost, follow
from mft_engine.laws.planar import PlanarLaw
from mft_engine.points.measure import FieldPoints, weighted
from mft_engine.questions.theory import Theory, mean_field_problem
from mft_engine.recipe import Recipe
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.particles import N_MOVES

KEPT_ON_WAY = 0.7
# A network has left its start behind where its residual is this close to the optimum, in units of T, or where the
# excess is not beyond so many of its errors.
CLOSE_IN_NATS = 0.5
ERRORS = 4.0


@dataclass(frozen=True)
class Equilibrium:
    """The answer.

    Attributes:
        excess, excess_error: D* - D(r) in units of the loss, and its standard error; None where there is no answer.
        verdict: "at equilibrium", "not at equilibrium" or None; why: a sentence.
    """

    excess: float | None
    excess_error: float | None
    verdict: str | None
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the summary."""
        return asdict(self)


def no_answer(why: str) -> Equilibrium:
    """Where nothing can be said."""
    return Equilibrium(None, None, None, why)


def ask_equilibrium(
    recipe: Recipe, theory: Theory, points: FieldPoints, mean_prediction: np.ndarray
) -> Generator[float, None, Equilibrium]:
    """Compare the averaged residual of a run with the exact one.

    Args:
        theory: of the recipe.
        points: where the field lives; mean_prediction: (n_points,) or (n_points, n_out) time average of f there.

    Yields:
        fraction done.
    """
    residual = points.targets - mean_prediction
    try:
        if isinstance(theory, ParticleTheory):
            excess, error = yield from _by_particles(theory, residual)
        else:
            excess, error = _in_the_plane(recipe, theory.free_energy, points, residual), 0.0
    except (LawLost, ArithmeticError) as fault:
        return no_answer(f"The law of a neuron in the run's own field cannot be followed: {fault}")
    return judged(excess, error, mean_field_problem(recipe)[0], theory)


def judged(excess: float, error: float, temperature: float, theory: Theory) -> Equilibrium:
    """The words for an excess."""
    number = f"excess {excess:.2g}" + (f", {excess / error:.0f} standard errors" if error > 0 else "")
    law = f"the exact law has loss {theory.loss:.4f}"
    if isinstance(theory, ParticleTheory) and theory.test_accuracy is not None:
        law += f" and test accuracy {theory.test_accuracy:.2f}"
    far = excess > max(CLOSE_IN_NATS * temperature, ERRORS * error)
    if far:
        return Equilibrium(excess, error, "not at equilibrium", f"Not at equilibrium: {number}; {law}.")
    if error > CLOSE_IN_NATS * temperature:
        return Equilibrium(excess, error, None, f"The excess is not known well enough: {excess:.2g} +- {error:.2g}.")
    return Equilibrium(excess, error, "at equilibrium", f"At equilibrium: {number}; {law}.")


def _by_particles(theory: ParticleTheory, residual: np.ndarray) -> Generator[float, None, tuple[float, float]]:
    problem, known = theory.problem, theory.judgements[-1]
    target = problem.visible_target
    rho = problem.root_weights * torch.as_tensor(residual, dtype=target.dtype, device=target.device).reshape(
        target.shape
    )
    start = known.particles
    end = yield from follow(start, (problem.law(known.rho), problem.law(rho)), N_MOVES, KEPT_ON_WAY)
    change = 0.5 * (end.log_z + end.log_z_back - start.log_z - start.log_z_back)
    ratio = start.shares * torch.exp(change - change.max())
    log_ratio = float(torch.log(ratio.sum()) + change.max())
    n = len(change)
    scatter = float((n * ratio / ratio.sum() - n * start.shares).std()) / math.sqrt(n)
    linear = float((target * (known.rho - rho)).sum()) - 0.5 * float((known.rho**2).sum() - (rho**2).sum())
    excess = known.excess.value + linear + problem.temperature * log_ratio
    return excess, math.hypot(known.excess.error, problem.temperature * scatter)


def _in_the_plane(recipe: Recipe, best: float, points: FieldPoints, residual: np.ndarray) -> float:
    temperature, lambda_w, lambda_a = mean_field_problem(recipe)
    signal = weighted(points.weights, residual)
    law = PlanarLaw.from_field(points.inputs, signal, recipe.network.activation, temperature, lambda_w, lambda_a)
    linear = float((weighted(points.weights, points.targets) * residual).sum())
    return best - (linear - 0.5 * float((signal * residual).sum()) - temperature * law.log_partition)
