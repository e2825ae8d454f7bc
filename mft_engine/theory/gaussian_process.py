"""The Gaussian-process (lazy) end of the same task: posterior mean, posterior variance, and its residual.

    K0(x, x') = E_prior[phi(w.x) phi(w.x')] / lambda_a,    r = (1 + K0)^-1 y,   f = y - r
    posterior covariance of the network's function at kappa = 1/2:  T K0 (1 + K0)^-1

The mean is the same at every readout exponent; the variance is that of kappa = 1/2. With the prior of w and
lambda_a fixed the mean-field theory tends to it as T grows: |f - f_GP| ~ 1/T, KL of w from its prior ~ 1/T^2.

Source: docs/physics.md, sections 1 and 9.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.harmonics import (
    N_HARMONICS_MAX,
    angular_table,
    mean_square_feature,
    radial_kernel,
    weight_panels,
)
from mft_engine.laws.planar import PlanarLaw
from mft_engine.theory.dual import DualState, HarmonicDual, Preconditioner
from mft_engine.theory.gaussian_inputs import HarmonicSolution, quantise, stack_factors, target_coordinates
from mft_engine.theory.projection import Target, project_target
from mft_engine.theory.symmetry import NO_SYMMETRY, find_symmetry
from mft_engine.theory.training_points import PointDual, PointSolution, point_grid

Array = NDArray[np.float64]

N_HARMONICS = 64
N_ANGLES = 256


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The infinitely wide network with readout exponent 1/2 on a planar task.

    Attributes:
        loss: E(y - f)^2 of the posterior mean f.
        variance: E Var f(x), the posterior variance of one lazy network's function.
        network_loss: loss + variance, what one lazy network shows on average.
        target_power, alignment: E y^2 and E[y f]/E[y^2].
        activation, temperature, lambda_w, lambda_a: the problem.
        solution: grids, residual and function.
    """

    loss: float
    variance: float
    network_loss: float
    target_power: float
    alignment: float
    activation: str
    temperature: float
    lambda_w: float
    lambda_a: float
    solution: HarmonicSolution | PointSolution = dataclasses.field(repr=False)

    def prediction(self, x: Array) -> Array:
        """Posterior mean f at (n, 2) inputs, (n,)."""
        return self.solution.prediction(x)

    def residual(self, x: Array) -> Array:
        """y - f at (n, 2) inputs (with training points: exactly those), (n,)."""
        return self.solution.residual(x)

    def field(self, rho: Array, angles: Array) -> Array:
        """g(w) = E[r phi(w.x)] of the posterior mean's residual, on a product grid, (n_rho, n_angles)."""
        return self.solution.field(rho, angles)

    def foreground(self) -> PlanarLaw:
        """Law of a mean-field neuron in this lazy background's field: the *wrong* background's foreground.

        It is far from the lazy network's own neurons, which sit at the prior.
        """
        radius = float(self.solution.radial_end)
        law = PlanarLaw.from_grid_field(
            self.field, self.activation, self.temperature, self.lambda_w, self.lambda_a, radius=radius
        )
        alive = np.flatnonzero(law.mass.max(axis=1) > 1e-14)
        return PlanarLaw.from_grid_field(
            self.field, self.activation, self.temperature, self.lambda_w, self.lambda_a,
            radius=min(radius, 1.1 * float(law.rho[alive[-1]])),
        )  # fmt: skip


def solve_gaussian_process(
    target: Target | None,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    *,
    points: tuple[Array, Array, Array] | None = None,
) -> GaussianProcess:
    """Posterior mean and variance at the lazy end, for x ~ N(0, I_2) or a training set in the plane.

    Args:
        target: (n, 2) inputs -> (n,) targets; None with points.
        activation: name.
        temperature, lambda_w, lambda_a: as in `solve_planar`.
        points: training inputs (n, 2), targets (n,), weights (n,) of total 1.

    Returns:
        the predictor.

    Raises:
        ValueError: not exactly one of target and points, or a hyperparameter is not positive.
    """
    if not (temperature > 0 and lambda_w > 0 and lambda_a > 0):
        raise ValueError("temperature and regularisation must be positive")
    if (target is None) == (points is None):
        raise ValueError("give either a target or training points")
    panels = weight_panels(quantise(float(np.sqrt(temperature / lambda_w)), 2.0) / 2, _end(temperature, lambda_w))
    solution: HarmonicSolution | PointSolution
    if points is not None:
        x, y, weights = (np.ascontiguousarray(part, dtype=np.float64) for part in points)
        grid = point_grid(x.tobytes(), weights.tobytes(), activation, panels)
        dual = PointDual(grid, np.sqrt(weights) * y, temperature, lambda_w, lambda_a)
        prior = dual.at(np.zeros(len(y)))
        values, vectors = np.linalg.eigh(dual.covariance(prior) / temperature)
        residual = vectors @ ((vectors.T @ dual.target) / (1 + values))
        variance = temperature * float((values / (1 + values)).sum())
        solution = PointSolution(dual, _lazy_state(dual, prior, residual), x, weights, Preconditioner(), activation, 0)
    else:
        assert target is not None
        solution, variance = _gaussian(target, activation, temperature, lambda_w, lambda_a, panels)
    seen, output = solution.dual.target, solution.state.output
    loss = solution.power - float(seen @ seen) + float(((seen - output) ** 2).sum())
    return GaussianProcess(
        loss=loss,
        variance=variance,
        network_loss=loss + variance,
        target_power=solution.power,
        alignment=float(seen @ output) / solution.power if solution.power > 0 else 0.0,
        activation=activation,
        temperature=temperature,
        lambda_w=lambda_w,
        lambda_a=lambda_a,
        solution=solution,
    )


def _end(temperature: float, lambda_w: float) -> float:
    return quantise(8.5 * float(np.sqrt(temperature / lambda_w)), 1.25)


def _lazy_state(dual: HarmonicDual | PointDual, prior: DualState, residual: Array) -> DualState:
    """Residual and function on the *prior's* mass: f = int p0(w) (g / lambda_a) phi(w.x) dw."""
    values = dual.to_field(residual)
    output = dual.from_density(prior.mass * values) / dual.lambda_a
    return DualState(residual, values, prior.mass, 0.0, float("nan"), dual.target - residual - output, output)


def _gaussian(
    target: Target,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    panels: tuple[float, ...],
) -> tuple[HarmonicSolution, float]:
    """Solution and posterior variance for x ~ N(0, I_2): K0 is block-diagonal in the harmonics."""
    kernel, visible = radial_kernel(activation, panels), angular_table(activation).is_visible
    projected = project_target(target, kernel.s, kernel.s_weights, kernel.s_breaks, N_HARMONICS_MAX)
    symmetry = find_symmetry(projected.coefficients, kernel.s_weights, visible)
    basis = symmetry.basis(N_HARMONICS_MAX, 4 * N_HARMONICS_MAX, visible)
    left, right = stack_factors(kernel, basis)
    aim = target_coordinates(projected, basis, kernel, right)
    dual = HarmonicDual(kernel, basis, left, aim, temperature, lambda_w, lambda_a)
    prior = dual.at(np.zeros(aim.size))
    mass = prior.mass.sum(axis=1)
    blocks = np.matmul(dual.left_t, left * mass[:, None]) / lambda_a
    residual = np.linalg.solve(blocks + np.eye(blocks.shape[1]), aim[:, :, None])[:, :, 0]

    every = NO_SYMMETRY.basis(N_HARMONICS, 4, visible)
    left_every, _ = stack_factors(kernel, every)
    moments = np.matmul(np.swapaxes(left_every, 1, 2), left_every * mass[:, None]) / lambda_a
    values = np.linalg.eigvalsh(moments)
    # directions left out have eigenvalues far below one; they enter through the trace
    trace = float(mass @ mean_square_feature(activation, kernel.rho)) / lambda_a
    variance = temperature * float((values / (1 + values)).sum() + max(0.0, trace - values.sum()))
    solution = HarmonicSolution(
        dual, _lazy_state(dual, prior, residual.ravel()), right, projected, symmetry, Preconditioner(),
        N_HARMONICS_MAX, 4 * N_HARMONICS_MAX, target, activation, 0,
    )  # fmt: skip
    return solution, variance
