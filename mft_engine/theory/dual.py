"""The strictly concave dual of the infinite-width problem, and the Newton method that maximises it.

In coordinates rho in which E[u v] is the Euclidean product (the residual seen by the network):

    D(rho) = <rho_y, rho> - |rho|^2 / 2 - T log int p0(w) exp(g(w)^2 / (2 lambda_a T)) dw,   g = J rho
    grad D = rho_y - rho - c(rho),   c = J' (p g / lambda_a),     -Hess D = I + C / T,   C = Cov(a phi)

For the law that rho itself generates, F(mu_rho) - D(rho) = |grad D|^2 / 2: the gap is half a squared gradient.

Source: physics.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mft_engine.theory.harmonics import RadialKernel
from mft_engine.theory.symmetry import AngularBasis

Array = NDArray[np.float64]

# Above this many unknowns a factorised Hessian only preconditions conjugate gradients and is reused.
N_DENSE = 420
# One factorisation costs about as much as this many products with the Hessian.
N_PRODUCTS_PER_FACTORISATION = 60


class SolveStopped(RuntimeError):
    """Raised when the caller's `should_stop` answered True: a newer request has come."""


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

    def curvature(self, state: DualState) -> Array:
        """C / T + I as a dense (n, n) matrix."""

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
        n_t = len(basis.angles)
        variance = temperature / lambda_w
        self.log_prior = (
            np.log(kernel.rho_weights * kernel.rho) - kernel.rho**2 / (2 * variance) - np.log(variance * n_t)
        )[:, None]
        self.left_t = np.ascontiguousarray(np.swapaxes(left, 1, 2))
        self.angular_t = np.ascontiguousarray(basis.values.T)

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

    def second_moment(self, weight: Array) -> Array:
        """int weight(w) J(w) J(w)' dw as an (n, n) matrix; weight is a mass per node."""
        n_basis, rank = self.shape
        values = self.basis.values
        blocks = np.empty((n_basis, rank, n_basis, rank))
        for h in range(n_basis):
            # radial profile of weight * b_h * b_h' for every h' >= h
            profile = weight @ (values[h] * values[h:]).T
            scaled = self.left[h:] * profile.T[:, :, None]
            block = np.matmul(self.left_t[h], scaled)
            blocks[h, :, h:, :] = np.swapaxes(block, 0, 1)
            blocks[h:, :, h, :] = np.swapaxes(block, 1, 2)
        return blocks.reshape(n_basis * rank, n_basis * rank)

    def curvature(self, state: DualState) -> Array:
        """C / T + I as a dense (n, n) matrix."""
        weight = state.mass * (1.0 / self.lambda_a + state.field**2 / (self.lambda_a**2 * self.temperature))
        matrix = self.second_moment(weight)
        matrix -= np.outer(state.output, state.output / self.temperature)
        matrix.flat[:: len(matrix) + 1] += 1.0
        return matrix


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
    """A factorised Hessian, carried along a slider drag."""

    factor: Any = None

    def refresh(self, dual: Dual, state: DualState) -> None:
        """Factorise the Hessian at a state."""
        self.factor = cho_factor(dual.curvature(state), overwrite_a=True, check_finite=False)

    def __call__(self, vector: Array) -> Array:
        """Apply the inverse of the stored Hessian."""
        solved: Array = cho_solve(self.factor, vector, check_finite=False)
        return solved


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
    is_large = len(start) > N_DENSE
    held = preconditioner if preconditioner is not None else Preconditioner()
    for iteration in range(n_max):
        if should_stop is not None and should_stop():
            raise SolveStopped
        size = float(np.linalg.norm(state.gradient))
        if size <= tolerance:
            return state, iteration
        if is_large:
            direction = _large_direction(dual, state, held, size)
        else:
            held.refresh(dual, state)
            direction = held(state.gradient)
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


def _large_direction(dual: Dual, state: DualState, held: Preconditioner, size: float) -> Array:
    """Newton direction by conjugate gradients; the factorised Hessian is renewed when it no longer helps."""
    relative = min(0.1, max(1e-3, size))
    if held.factor is not None:
        direction, _, is_converged = _conjugate_gradients(
            lambda v: dual.curvature_product(state, v),
            held,
            state.gradient,
            relative,
            N_PRODUCTS_PER_FACTORISATION // 2,
        )
        if is_converged:
            return direction
    held.refresh(dual, state)
    return held(state.gradient)
