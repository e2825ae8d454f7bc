"""Exact infinite-width solution of a two-layer network with planar inputs.

    p(w) ~ exp([g(w)^2 / (2 lambda_a) - lambda_w |w|^2 / 2] / T),   a | w ~ N(g / lambda_a, T / lambda_a)
    g(w) = E[r(x) phi(w.x)],   r = y - f,   f(x) = int p(w) (g / lambda_a) phi(w.x) dw

Found as the maximum of the strictly concave dual in r, so there is one solution, a gap, and no damping.

Source: docs/physics.md, section 4.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.harmonics import angular_table
from mft_engine.laws.planar import PlanarLaw
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.gaussian_inputs import HarmonicSolution, solve_gaussian_inputs
from mft_engine.theory.projection import Target
from mft_engine.theory.theory import LAYER_NUMBERS, NUMBERS, PARTICLE_NUMBERS
from mft_engine.theory.training_points import MOST_FEATURES, PointSolution, solve_training_points

Array = NDArray[np.float64]

ORDER_PARAMETERS = (2, 3, 4, 6, 8)
# Logarithm of the density, below its highest, at which a drawn or sampled law may stop.
DEPTH_OF_LAW = 30.0


@dataclass(frozen=True, eq=False)
class PlanarTheory:
    """The infinite-width law and what follows from it.

    Meanings as in the reference table: loss is E(y - f)^2 without the half, alignment is E[y f]/E[y^2],
    free_energy is loss/2 + T KL of (w, a), `readout_free_kl` is the KL of w alone. With training points E is the
    weighted sum over them, and loss is the training loss.

    Attributes:
        loss, target_power, alignment, free_energy, gap: of the solution; gap = F - D on the solver's grid, and on
            training points what D changes by with twice as many angles.
        kl, readout_free_kl: of (w, a) and of w from the prior, in nats.
        mean_norm, mean_square_norm, mean_square_readout: E|w|, E|w|^2, E a^2.
        order_parameters: {"cos2": E cos(2 angle(w)), ...}.
        trace_covariance: Tr C, C = Cov(a phi) under the measure of x: N times the variance of an iid
            foreground's function.
        seconds, n_iterations: cost of the solve.
        activation, temperature, lambda_w, lambda_a: the problem.
        solution: the solver's own objects.
    """

    loss: float
    target_power: float
    alignment: float
    free_energy: float
    gap: float
    kl: float
    readout_free_kl: float
    mean_norm: float
    mean_square_norm: float
    mean_square_readout: float
    order_parameters: dict[str, float]
    trace_covariance: float
    seconds: float
    n_iterations: int
    activation: str
    temperature: float
    lambda_w: float
    lambda_a: float
    solution: HarmonicSolution | PointSolution = dataclasses.field(repr=False)
    # Exact to the gap: no scatter, and nothing that would not suffice. Test losses are reckoned from `prediction`.
    loss_error: float = 0.0
    test_loss: float | None = None
    test_accuracy: float | None = None
    shortfall: str = ""
    n_out: int = 1

    def prediction(self, x: Array) -> Array:
        """The infinite-width network's function f.

        Args:
            x: (n, 2) inputs.

        Returns:
            (n,).
        """
        return self.solution.prediction(x)

    def residual(self, x: Array) -> Array:
        """r = y - f: the field of the infinitely wide background.

        Args:
            x: (n, 2) inputs; with training points, exactly those.

        Returns:
            (n,).

        Raises:
            ValueError: the solution is of training points and x is not them.
        """
        return self.solution.residual(x)

    def field(self, rho: Array, angles: Array) -> Array:
        """g(w) = E[r phi(w.x)] on a product grid of radii and angles, (n_rho, n_angles)."""
        return self.solution.field(rho, angles)

    @cached_property
    def law(self) -> PlanarLaw:
        """The law of one neuron, ready to be sampled and drawn."""
        return PlanarLaw.from_grid_field(
            self.field, self.activation, self.temperature, self.lambda_w, self.lambda_a, radius=self.radius
        )

    @property
    def density(self) -> PlanarLaw:
        """`law`: in the plane every law has a density."""
        return self.law

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """Neurons of the law, (n, 3) columns w1, w2, a."""
        return self.law.sample(n, host_generator(seed, Stream.THEORY))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for the summary; what particles alone have is None."""
        numbers: dict[str, Any] = dict.fromkeys(PARTICLE_NUMBERS) | {name: getattr(self, name) for name in NUMBERS}
        return numbers | {
            "order_parameters": dict(self.order_parameters),
            "method": "grid" if isinstance(self.solution, PointSolution) else "harmonics",
            "dual": self.free_energy - self.gap,
            "n_iterations": self.n_iterations,
            "layers": [{name: getattr(self, name) for name in LAYER_NUMBERS}],
        }

    @property
    def radius(self) -> float:
        """Length of w beyond which the density is exp(-30) below its highest value."""
        return float(self.solution.rho[np.flatnonzero(self.solution.log_profile > -DEPTH_OF_LAW)[-1]])

    @cached_property
    def trace_response(self) -> float:
        """Tr C (I + C/T)^-1: N times the mean-square fluctuation of an equilibrium background's function.

        Some tenths of a second, made when first asked for. Directions that the eigenvalues leave out are far
        below T, where C (I + C/T)^-1 = C; they enter through Tr C.
        """
        eigenvalues = self.solution.covariance_eigenvalues()
        kept = float((eigenvalues / (1 + eigenvalues / self.temperature)).sum())
        return kept + max(0.0, self.trace_covariance - float(eigenvalues.sum()))


def solve_planar(
    target: Target | None,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    *,
    points: tuple[Array, Array, Array] | None = None,
    warm: PlanarTheory | None = None,
    tolerance: float = 1e-8,
    should_stop: Callable[[], bool] | None = None,
    resolution: int = 1,
    most_features: int = MOST_FEATURES,
) -> PlanarTheory:
    """Solve the infinite-width problem of a planar task: x ~ N(0, I_2), or a training set.

    The regularisation is per coordinate: lambda_w = scale * input_weight, lambda_a = scale * readout.

    Args:
        target: (n, 2) inputs -> (n,) targets; pass the *same* callable when dragging a slider. None with points.
        activation: name.
        temperature: T > 0.
        lambda_w, lambda_a: > 0.
        points: training inputs (n, 2), targets (n,), weights (n,) of total 1, instead of a target.
        warm: solution of a neighbouring problem with the same target (or points) and activation; else ignored.
        tolerance: of |grad D|; the gap is half its square.
        should_stop: asked at every iteration; True abandons the solve.
        resolution: multiplies all grids; 2 or 3 to check what 1 says (grids also grow by themselves).
        most_features: numbers that a grid refined for training points may have; a smaller one is sooner done, and the
            gap says what it costs.

    Returns:
        the solution.

    Raises:
        ValueError: T or lambda is not positive, the target is not finite, or not exactly one of target and points.
        SuperlinearActivationError: no law exists for this activation.
        SolveStopped: `should_stop` answered True.

    Source: docs/physics.md, section 4.
    """
    begin = time.perf_counter()
    for name, value in (("temperature", temperature), ("lambda_w", lambda_w), ("lambda_a", lambda_a)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}")
    if (target is None) == (points is None):
        raise ValueError("give either a target or training points")
    angular_table(activation)
    solution: HarmonicSolution | PointSolution
    old = warm.solution if warm is not None and warm.activation == activation else None
    if points is not None:
        x, y, weights = points
        same = isinstance(old, PointSolution) and np.array_equal(old.points, x) and np.array_equal(old.weights, weights)
        solution = solve_training_points(
            x, y, weights, activation, temperature, lambda_w, lambda_a,
            old if same and isinstance(old, PointSolution) else None, tolerance, should_stop, resolution, most_features,
        )  # fmt: skip
    else:
        assert target is not None
        previous = old if isinstance(old, HarmonicSolution) and old.target is target else None
        solution = solve_gaussian_inputs(
            target, activation, temperature, lambda_w, lambda_a, previous, tolerance, should_stop, resolution
        )
    return _report(solution, activation, temperature, lambda_w, lambda_a, time.perf_counter() - begin)


def _report(
    solution: HarmonicSolution | PointSolution,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    seconds: float,
) -> PlanarTheory:
    """All numbers of a solution."""
    state, seen = solution.state, solution.dual.target
    radial_mass, rho = state.mass.sum(axis=1), solution.rho
    mean_square_field = float((state.mass * state.field**2).sum())
    shift = mean_square_field / (lambda_a * temperature)
    # power that the network cannot see at all is added to the visible loss
    loss = solution.power - float(seen @ seen) + float(((seen - state.output) ** 2).sum())
    kl = max(0.0, shift - state.log_partition)
    discretisation = solution.discretisation if isinstance(solution, PointSolution) else 0.0
    spread = state.mass * (temperature / lambda_a + (state.field / lambda_a) ** 2) * solution.mean_square_feature
    return PlanarTheory(
        loss=loss,
        target_power=solution.power,
        alignment=float(seen @ state.output) / solution.power if solution.power > 0 else 0.0,
        free_energy=0.5 * loss + temperature * kl,
        gap=0.5 * float(state.gradient @ state.gradient) + discretisation,
        kl=kl,
        readout_free_kl=max(0.0, 0.5 * shift - state.log_partition),
        mean_norm=float(radial_mass @ rho),
        mean_square_norm=float(radial_mass @ rho**2),
        mean_square_readout=temperature / lambda_a + mean_square_field / lambda_a**2,
        order_parameters={f"cos{k}": solution.mean_cosine(k) for k in ORDER_PARAMETERS},
        trace_covariance=float(spread.sum()) - float(state.output @ state.output),
        seconds=seconds,
        n_iterations=solution.n_iterations,
        activation=activation,
        temperature=temperature,
        lambda_w=lambda_w,
        lambda_a=lambda_a,
        solution=solution,
    )
