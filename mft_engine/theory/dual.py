"""The strictly concave dual of the infinite-width problem, and the Newton method that maximises it.

In coordinates rho in which E[u v] is the Euclidean product (the residual seen by the network):

    D(rho) = <rho_y, rho> - |rho|^2 / 2 - T log int p0(w) exp(g(w)^2 / (2 lambda_a T)) dw,   g = J rho
    grad D = rho_y - rho - c(rho),   c = J' (p g / lambda_a),     -Hess D = I + C / T,   C = Cov(a phi)

For the law that rho itself generates, F(mu_rho) - D(rho) = |grad D|^2 / 2: the gap of any rho.

Source: docs/physics.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mft_engine.laws.harmonics import RadialKernel
from mft_engine.laws.stopped import SolveStopped
from mft_engine.theory.symmetry import AngularBasis

Array = NDArray[np.float64]

# Diagonal of C / T below which a coordinate is left out of the factorised Hessian.
SOFT = 0.02
# An old factorisation is kept while conjugate gradients converge within so many products with the Hessian:
# about what a new one costs, for up to N_CHEAP stiff coordinates and for more.
N_CHEAP = 200
N_PRODUCTS_CHEAP = 8
N_PRODUCTS = 40


@dataclass(frozen=True)
class DualState:
    """The dual at one point.

    Attributes:
        point: (n,) rho, the visible residual.
        field: g(w) on the weight grid, shape of the grid.
        mass: probability of every node of the weight grid, total 1.
        log_partition: log int p0 exp(g^2 / (2 lambda_a T)) dw.
        value: D.
        gradient: (n,) rho_y - rho - c.
        output: (n,) c, the network's own function in the same coordinates.
    """

    point: Array
    field: Array
    mass: Array
    log_partition: float
    value: float
    gradient: Array
    output: Array


class Dual(Protocol):
    """A discretised dual: what the Newton method needs of it."""

    def at(self, point: Array) -> DualState:
        """Value, gradient and law at rho."""

    def stiff_block(self, state: DualState) -> tuple[NDArray[np.int64], Array]:
        """Indices of the stiff coordinates and C / T + I among them."""

    def curvature_product(self, state: DualState, direction: Array) -> Array:
        """(C / T + I) direction."""


class HarmonicDual:
    """The dual for x ~ N(0, I_2), in angular harmonics times compressed radial functions.

    Args:
        kernel: radial kernel of the activation.
        basis: angular functions that the target's symmetry allows.
        visible_target: (n_basis, rank) coordinates of y, padded with zeros.
        left: (n_basis, n_rho, rank) radial functions of w, padded with zeros.
        temperature, lambda_w, lambda_a: T and the regularisation of w and a.
    """

    def __init__(
        self,
        kernel: RadialKernel,
        basis: AngularBasis,
        left: Array,
        visible_target: Array,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
    ) -> None:
        self.kernel, self.basis, self.left = kernel, basis, left
        self.shape = visible_target.shape
        self.target = visible_target.ravel()
        self.temperature, self.lambda_a = temperature, lambda_a
        self.prior_variance = temperature / lambda_w
        self.log_prior = self.log_prior_at(kernel.rho, kernel.rho_weights)
        self.left_t = np.ascontiguousarray(np.swapaxes(left, 1, 2))
        self.angular_t = np.ascontiguousarray(basis.values.T)

    def log_prior_at(self, rho: Array, weights: Array) -> Array:
        """log of the prior mass of one node of the grid, (n_rho, 1), for radii with plain quadrature weights."""
        variance, n_t = self.prior_variance, len(self.basis.angles)
        log_mass: Array = np.log(weights * rho) - rho**2 / (2 * variance) - np.log(variance * n_t)
        return log_mass[:, None]

    def to_field(self, coordinates: Array) -> Array:
        """g(rho_i, t_j) of a visible residual."""
        radial = np.matmul(self.left, coordinates.reshape(*self.shape, 1))[:, :, 0]
        return radial.T @ self.basis.values

    def from_density(self, signed_mass: Array) -> Array:
        """Coordinates of int q(w) phi(w.x) dw, q given as mass per node."""
        radial = (signed_mass @ self.angular_t).T
        return np.matmul(self.left_t, radial[:, :, None])[:, :, 0].ravel()

    def at(self, point: Array) -> DualState:
        """Value, gradient and law at rho."""
        field = self.to_field(point)
        exponent = field * field
        exponent *= 0.5 / (self.lambda_a * self.temperature)
        exponent += self.log_prior
        top = float(exponent.max())
        exponent -= top
        mass = np.exp(exponent, out=exponent)
        total = float(mass.sum())
        mass /= total
        output = self.from_density(mass * field) / self.lambda_a
        log_partition = top + float(np.log(total))
        value = float(point @ self.target - 0.5 * point @ point) - self.temperature * log_partition
        return DualState(point, field, mass, log_partition, value, self.target - point - output, output)

    def curvature_product(self, state: DualState, direction: Array) -> Array:
        """(C / T + I) direction."""
        weight = state.mass * (1.0 / self.lambda_a + state.field**2 / (self.lambda_a**2 * self.temperature))
        product = self.from_density(weight * self.to_field(direction))
        return direction + product - state.output * (float(state.output @ direction) / self.temperature)

    def second_moment(self, weight: Array, harmonics: NDArray[np.int64], rank: int) -> Array:
        """int weight(w) J(w) J(w)' dw over the first `rank` coordinates of some basis functions.

        Args:
            weight: a mass per node of the weight grid.
            harmonics: (n,) rows of the basis.
            rank: how many radial functions of each.

        Returns:
            (n * rank, n * rank).
        """
        n_basis = len(harmonics)
        values = self.basis.values[harmonics]
        left = np.ascontiguousarray(self.left[harmonics, :, :rank])
        left_t = np.ascontiguousarray(np.swapaxes(left, 1, 2))
        blocks = np.empty((n_basis, rank, n_basis, rank))
        for h in range(n_basis):
            # radial profile of weight * b_h * b_h' for every h' >= h
            profile = weight @ (values[h] * values[h:]).T
            block = np.matmul(left_t[h], left[h:] * profile.T[:, :, None])
            blocks[h, :, h:, :] = np.swapaxes(block, 0, 1)
            blocks[h:, :, h, :] = np.swapaxes(block, 1, 2)
        return blocks.reshape(n_basis * rank, n_basis * rank)

    def stiff_block(self, state: DualState) -> tuple[NDArray[np.int64], Array]:
        """The coordinates in which C / T is not small, and C / T + I there as a dense matrix."""
        weight = state.mass * (1.0 / self.lambda_a + state.field**2 / (self.lambda_a**2 * self.temperature))
        diagonal = np.einsum("hip,i->hp", self.left**2, weight.sum(axis=1))
        is_stiff = diagonal > SOFT
        if not is_stiff.any():
            return np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        harmonics = np.flatnonzero(is_stiff.any(axis=1))
        rank = int(np.flatnonzero(is_stiff.any(axis=0))[-1]) + 1
        inside = np.flatnonzero(is_stiff[harmonics, :rank].ravel())
        matrix = self.second_moment(weight, harmonics, rank)[np.ix_(inside, inside)]
        index = np.flatnonzero(is_stiff.ravel())
        output = state.output[index]
        matrix -= np.outer(output, output / self.temperature)
        matrix.flat[:: len(matrix) + 1] += 1.0
        return index, matrix


def _conjugate_gradients(
    product: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    right: Array,
    relative: float,
    n_max: int,
) -> tuple[Array, int, bool]:
    """Solve product(x) = right; returns (x, number of products, converged)."""
    x = np.zeros_like(right)
    residual = right.copy()
    z = precondition(residual)
    direction = z.copy()
    rz = float(residual @ z)
    target = relative * float(np.linalg.norm(right))
    for n in range(1, n_max + 1):
        image = product(direction)
        step = rz / float(direction @ image)
        x += step * direction
        residual -= step * image
        if float(np.linalg.norm(residual)) <= target:
            return x, n, True
        z = precondition(residual)
        rz, previous = float(residual @ z), rz
        direction = z + (rz / previous) * direction
    return x, n_max, False


@dataclass
class Preconditioner:
    """The Hessian factorised where it is stiff (elsewhere it is the identity), carried along a slider drag."""

    size: int = -1
    index: NDArray[np.int64] | None = None
    factor: Any = None

    def refresh(self, dual: Dual, state: DualState) -> None:
        """Factorise the Hessian at a state."""
        self.size = len(state.point)
        self.index, matrix = dual.stiff_block(state)
        self.factor = cho_factor(matrix, overwrite_a=True, check_finite=False) if len(self.index) else None

    def __call__(self, vector: Array) -> Array:
        """Apply the inverse of the stored Hessian."""
        if self.factor is None or self.index is None:
            return vector.copy()
        result = vector.copy()
        result[self.index] = cho_solve(self.factor, vector[self.index], check_finite=False)
        return result


def maximise(
    dual: Dual,
    start: Array,
    tolerance: float,
    *,
    preconditioner: Preconditioner | None = None,
    should_stop: Callable[[], bool] | None = None,
    n_max: int = 200,
) -> tuple[DualState, int]:
    """Maximise a strictly concave dual by damped Newton steps; convergent from anywhere.

    The step length is halved until D has risen by a quarter of what the slope promises; where D is already
    resolved to rounding, until the gradient has shrunk.

    Args:
        dual: the problem.
        start: (n,) first point.
        tolerance: of |grad D| (the gap is half its square).
        preconditioner: a factorised Hessian of a neighbouring problem; changed in place.
        should_stop: asked at every iteration.
        n_max: iterations before giving up improvement.

    Returns:
        (state, number of iterations); the last state even where the tolerance was not reached.

    Raises:
        SolveStopped: `should_stop` answered True.
    """
    state = dual.at(start)
    held = preconditioner if preconditioner is not None else Preconditioner()
    for iteration in range(n_max):
        if should_stop is not None and should_stop():
            raise SolveStopped
        size = float(np.linalg.norm(state.gradient))
        if size <= tolerance:
            return state, iteration
        direction = _newton_direction(dual, state, held, size)
        slope = float(direction @ state.gradient)
        length = 1.0
        rounding = 1e-13 * (1.0 + abs(state.value))
        while True:
            trial = dual.at(state.point + length * direction)
            rise = trial.value - state.value
            if rise >= 0.25 * length * slope:
                break
            if slope * length < 1e3 * rounding and float(np.linalg.norm(trial.gradient)) < size:
                break
            length *= 0.5
            if length < 1e-9:
                return state, iteration
        state = trial
    return state, n_max


def _newton_direction(dual: Dual, state: DualState, held: Preconditioner, size: float) -> Array:
    """Newton direction by conjugate gradients; the factorised Hessian is renewed when it no longer helps."""
    relative = min(0.1, max(1e-4, size))
    if held.size == len(state.point):
        is_cheap = held.index is not None and len(held.index) <= N_CHEAP
        n_max = N_PRODUCTS_CHEAP if is_cheap else N_PRODUCTS
        direction, _, is_converged = _conjugate_gradients(
            lambda v: dual.curvature_product(state, v), held, state.gradient, relative, n_max
        )
        if is_converged:
            return direction
    held.refresh(dual, state)
    direction, _, _ = _conjugate_gradients(
        lambda v: dual.curvature_product(state, v), held, state.gradient, relative, N_PRODUCTS
    )
    return direction
