"""The self-consistency loop: the foreground becomes the background, again and again.

f_(k+1) = f_k + damping (f[mu_k] - f_k),   mu_k = exp(-V_k/T)/Z the law of a neuron in the residual y - f_k

Undamped, the loop overshoots: near the optimum an error of f grows by the factor -lambda_max, the top eigenvalue of C/T
(hundreds for the clover), and a damping that tames that mode makes the others crawl. The automatic step lets all
neurons respond at once, f_(k+1) = f_k + s (I + C/T)^-1 (f[mu_k] - f_k): Newton's step on the concave dual, with s
halved until the dual value rises. The one fixed point of both is the infinite-width solution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mft_engine.laws.harmonics import SuperlinearActivationError
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import phi_numpy
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import FieldPoints
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.bounds import law_kl
from mft_engine.theory.planar import PlanarTheory

MIN_STEP = 2.0**-12
DIVERGED = 1e8


@dataclass(frozen=True)
class Iteration:
    """One turn of the loop.

    Attributes:
        index: 0 is the start.
        background: (n_neurons, 3) the cloud whose field is felt (the start's own, later the last foreground).
        foreground: (n_neurons, 3) a sample of mu_k; the same random numbers every time, so that neurons move smoothly.
        prediction: (n_points,) f_k.
        gap: |f_k - f[mu_k]|^2 / 2, zero at self-consistency.
        free_energy: F(mu_k); excess: F(mu_k) - F(mu*), None where the optimum is not known.
        distance: |f_k - f*|^2, None likewise; kl: KL(mu_k | mu*) in nats, None likewise.
        damping: of the step that follows (s where it is automatic).
    """

    index: int
    background: np.ndarray
    foreground: np.ndarray
    prediction: np.ndarray
    gap: float
    free_energy: float
    excess: float | None
    distance: float | None
    kl: float | None
    damping: float


def iterate(
    recipe: Recipe,
    points: FieldPoints,
    prediction: np.ndarray,
    theta: np.ndarray,
    *,
    theory: PlanarTheory | None = None,
    damping: float | None = None,
    n_iterations: int = 200,
    tolerance: float = 1e-6,
) -> Iterator[Iteration]:
    """Turn the loop from any background until its gap is below `tolerance` (or n_iterations are done).

    Args:
        points: where f lives.
        prediction, theta: (n_points,), (n_neurons, 3) function and cloud of the start.
        theory: the optimum, to measure the distance from it.
        damping: in (0, 1] for the plain loop; None for the automatic step.

    Raises:
        RecipeError: a task that is not planar, frozen readouts, or temperature 0.
        ArithmeticError: a plain loop that runs away.
    """
    if (
        points.inputs.shape[1] != 2
        or points.targets.ndim > 1
        or not recipe.network.train_readout
        or recipe.training.temperature == 0
    ):
        raise RecipeError("The self-consistency loop needs two inputs, trained readouts and a temperature above 0")
    if recipe.network.readout_exponent != 1.0:
        raise RecipeError("The self-consistency loop is for network.readout_exponent = 1 (mean field)")
    if damping is not None and not 0 < damping <= 1:
        raise RecipeError(f"damping = {damping:g}: it lies above 0 and at most at 1")
    neuron = Neuron.of(recipe)
    best = theory.prediction(points.inputs) if theory is not None else None
    f, background = np.asarray(prediction, dtype=np.float64), theta
    law = _law(points, f, neuron)
    for index in range(n_iterations + 1):
        answer = law.prediction(points.inputs)
        foreground = law.sample(recipe.foreground.n_neurons, host_generator(recipe.seed, Stream.FOREGROUND_GIBBS, 0))
        gap = 0.5 * float(points.weights @ (answer - f) ** 2)
        if damping is not None:
            step, f_next, next_law = damping, f + damping * (answer - f), None
        else:
            step, f_next, next_law = _respond(points, f, answer, foreground, law, neuron)
        kl = law_kl(law, theory.law) if theory is not None else None
        excess = distance = None
        if best is not None and kl is not None:
            excess = law.temperature * kl + 0.5 * float(points.weights @ (answer - best) ** 2)
            distance = float(points.weights @ (f - best) ** 2)
        yield Iteration(
            index=index,
            background=background,
            foreground=foreground,
            prediction=f,
            gap=gap,
            free_energy=0.5 * float(points.weights @ (points.targets - answer) ** 2) + law.temperature * law.kl,
            excess=excess,
            distance=distance,
            kl=kl,
            damping=step,
        )
        if gap < tolerance:
            return
        if not gap < DIVERGED * float(points.weights @ points.targets**2 + 1.0):
            raise _ran_away(index, step)
        if next_law is None:
            try:
                next_law = _law(points, f_next, neuron)
            except SuperlinearActivationError:
                raise _ran_away(index, step) from None
        f, law, background = f_next, next_law, foreground


def _ran_away(index: int, step: float) -> ArithmeticError:
    return ArithmeticError(
        f"The self-consistency loop ran away at turn {index}; choose a damping below {step:g}, or the automatic one"
    )


def _law(points: FieldPoints, f: np.ndarray, neuron: Neuron) -> PlanarLaw:
    return PlanarLaw.from_field(points.inputs, points.weights * (points.targets - f), *neuron)


def _respond(
    points: FieldPoints,
    f: np.ndarray,
    answer: np.ndarray,
    sample: np.ndarray,
    law: PlanarLaw,
    neuron: Neuron,
) -> tuple[float, np.ndarray, PlanarLaw]:
    """Step, next f and its law, with the covariance operator C of a phi(w.x) estimated from a sample of the law."""
    w, a = sample[:, :2], sample[:, 2]
    root = np.sqrt(points.weights)
    features = phi_numpy(law.activation, w @ points.inputs.T) * a[:, None] * root
    features -= features.mean(axis=0)
    response = np.eye(len(root)) + features.T @ features / (len(sample) * law.temperature)
    direction = np.linalg.solve(response, root * (answer - f)) / root
    step, value = 1.0, _dual(points, f, law)
    while True:
        f_next = f + step * direction
        next_law = _law(points, f_next, neuron)
        if _dual(points, f_next, next_law) > value or step < MIN_STEP:
            return step, f_next, next_law
        step /= 2


def _dual(points: FieldPoints, f: np.ndarray, law: PlanarLaw) -> float:
    """D(r) = E[y r] - E[r^2]/2 - T log Z at r = y - f."""
    residual = points.targets - f
    return float(points.weights @ (residual * (points.targets - 0.5 * residual))) - law.temperature * law.log_partition
