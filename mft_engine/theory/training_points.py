"""Solution of the planar dual for a finite training set: the residual lives on the points themselves.

    g(w) = sum_mu weight_mu r_mu phi(w.x_mu),    D(r) = <y, r> - <r, r>/2 - T log int p0 exp(g^2 / (2 lambda_a T)) dw

with <u, v> = sum_mu weight_mu u_mu v_mu. The features on a polar grid of w are one dense matrix.

Source: docs/physics.md, section 4 ("works for finite data unchanged").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.harmonics import RadialPanels, weight_panels
from mft_engine.network.activations import phi_numpy
from mft_engine.theory.dual import DualState, Preconditioner, maximise

Array = NDArray[np.float64]

# Angles of the weight grid to begin with, and at most; it is refined until the free energy changes by less than this
# part of the temperature. Wells far out are narrow: with 20 points at a low temperature 192 angles were off by .004.
N_ANGLES = 192
MOST_ANGLES = 3072
DISCRETISED = 3e-4
# Numbers that the features of a refined grid may be.
MOST_FEATURES = 60_000_000
# A gradient so many times the tolerance is that of a solve that was given up.
UNRESOLVED = 1e3
N_POINTS_MAX = 4096
# Above this many points the features are kept in single precision: half a gigabyte otherwise.
N_POINTS_DOUBLE = 768
# Nodes of the weight grid of less probability than this do not enter the Hessian.
MASS_NEGLIGIBLE = 1e-12


class PointGrid:
    """Features of a set of points on a polar grid of weights.

    Attributes:
        panels: radial grid.
        angles: (n_t,) midpoints.
        features: (n_rho * n_t, n_points) phi(w.x_mu) sqrt(weight_mu).
    """

    def __init__(
        self, points: Array, weights: Array, activation: str, panels: tuple[float, ...], n_angles: int = N_ANGLES
    ) -> None:
        self.panels = RadialPanels(panels)
        self.angles = (np.arange(n_angles) + 0.5) * 2 * np.pi / n_angles
        along = np.cos(self.angles)[:, None] * points[:, 0] + np.sin(self.angles)[:, None] * points[:, 1]
        scale = np.sqrt(weights)
        kind = np.float64 if len(points) <= N_POINTS_DOUBLE else np.float32
        features = np.empty((len(self.panels.rho), n_angles, len(points)), dtype=kind)
        for i, rho in enumerate(self.panels.rho):
            features[i] = phi_numpy(activation, rho * along) * scale
        self.features = features.reshape(-1, len(points))


@lru_cache(maxsize=2)
def point_grid(
    points: bytes, weights: bytes, activation: str, panels: tuple[float, ...], n_angles: int = N_ANGLES
) -> PointGrid:
    """The features of one set of points on one polar grid, kept between solves."""
    return PointGrid(np.frombuffer(points).reshape(-1, 2), np.frombuffer(weights), activation, panels, n_angles)


class PointDual:
    """The dual on points, in the coordinates sqrt(weight_mu) r_mu.

    Args:
        grid: features.
        target: (n_points,) sqrt(weight_mu) y_mu.
        temperature, lambda_w, lambda_a: of the problem.
    """

    def __init__(self, grid: PointGrid, target: Array, temperature: float, lambda_w: float, lambda_a: float) -> None:
        self.grid, self.target = grid, target
        self.temperature, self.lambda_a = temperature, lambda_a
        self.prior_variance = temperature / lambda_w
        rho, weights = grid.panels.rho, grid.panels.rho_weights
        n_angles = len(grid.angles)
        self.log_prior = np.log(weights * rho / (self.prior_variance * n_angles)) - rho**2 / (2 * self.prior_variance)
        self._shape = (len(rho), n_angles)

    def to_field(self, point: Array) -> Array:
        """g on the grid, (n_rho, n_t)."""
        values = self.grid.features @ point.astype(self.grid.features.dtype)
        return values.reshape(self._shape).astype(np.float64)

    def from_density(self, signed_mass: Array) -> Array:
        """(n_points,) sqrt(weight) int q(w) phi(w.x) dw."""
        features = self.grid.features
        result: Array = (signed_mass.ravel().astype(features.dtype) @ features).astype(np.float64)
        return result

    def at(self, point: Array) -> DualState:
        """Value, gradient and law at a residual."""
        values = self.to_field(point)
        exponent = values**2 / (2 * self.lambda_a * self.temperature) + self.log_prior[:, None]
        top = float(exponent.max())
        mass = np.exp(exponent - top)
        total = float(mass.sum())
        mass /= total
        output = self.from_density(mass * values) / self.lambda_a
        log_partition = top + float(np.log(total))
        value = float(point @ self.target - 0.5 * point @ point) - self.temperature * log_partition
        return DualState(point, values, mass, log_partition, value, self.target - point - output, output)

    def curvature_product(self, state: DualState, direction: Array) -> Array:
        """(C / T + I) direction."""
        weight = state.mass * (1.0 / self.lambda_a + state.field**2 / (self.lambda_a**2 * self.temperature))
        product = self.from_density(weight * self.to_field(direction))
        return direction + product - state.output * (float(state.output @ direction) / self.temperature)

    def covariance(self, state: DualState) -> Array:
        """C = Cov(a phi) in these coordinates, (n_points, n_points)."""
        weight = state.mass * (self.temperature / self.lambda_a + (state.field / self.lambda_a) ** 2)
        flat = weight.ravel()
        kept = np.flatnonzero(flat > MASS_NEGLIGIBLE * flat.sum())
        matrix = np.zeros((len(self.target), len(self.target)))
        for start in range(0, len(kept), 4096):
            rows = kept[start : start + 4096]
            scaled = self.grid.features[rows] * np.sqrt(flat[rows])[:, None].astype(self.grid.features.dtype)
            matrix += scaled.T @ scaled
        return matrix - np.outer(state.output, state.output)

    def stiff_block(self, state: DualState) -> tuple[NDArray[np.int64], Array]:
        """All coordinates, and C / T + I among them: points have no soft directions known beforehand."""
        return np.arange(len(self.target)), self.covariance(state) / self.temperature + np.eye(len(self.target))


@dataclass(frozen=True)
class PointSolution:
    """The maximum of the dual on a training set.

    Attributes:
        discretisation: of the free energy by the grid of angles: its change with twice as many.
    """

    dual: PointDual
    state: DualState
    points: Array
    weights: Array
    preconditioner: Preconditioner
    activation: str
    n_iterations: int
    discretisation: float = 0.0

    @property
    def n_angles(self) -> int:
        """Angles of the weight grid."""
        return len(self.dual.grid.angles)

    @property
    def rho(self) -> Array:
        """(n_rho,) radii of the weight grid."""
        return self.dual.grid.panels.rho

    @property
    def radial_end(self) -> float:
        """End of the radial grid."""
        return self.dual.grid.panels.panels[-1]

    @property
    def log_profile(self) -> Array:
        """(n_rho,) log density per unit radius, relative to its top."""
        return self.dual.grid.panels.log_mass(self.state.mass)

    @property
    def power(self) -> float:
        """sum_mu weight_mu y_mu^2."""
        return float(self.dual.target @ self.dual.target)

    def mean_cosine(self, k: int) -> float:
        """E cos(k angle(w))."""
        return float(self.state.mass.sum(axis=0) @ np.cos(k * self.dual.grid.angles))

    @property
    def mean_square_feature(self) -> Array:
        """(n_rho, n_t) sum_mu weight_mu phi(w.x_mu)^2."""
        features = self.dual.grid.features
        return np.einsum("wn,wn->w", features, features).reshape(self.state.mass.shape).astype(np.float64)

    def prediction(self, x: Array) -> Array:
        """f at any (n, 2) inputs, (n,)."""
        x = np.asarray(x, dtype=np.float64)
        grid = self.dual.grid
        rho, angle = np.repeat(self.rho, len(grid.angles)), np.tile(grid.angles, len(self.rho))
        signed = (self.state.mass * self.state.field).ravel() / self.dual.lambda_a
        kept = np.abs(signed) > 1e-12 * np.abs(signed).max(initial=0.0)
        w = np.stack([rho * np.cos(angle), rho * np.sin(angle)])[:, kept]
        result = np.empty(len(x))
        for start in range(0, len(x), 128):
            rows = slice(start, start + 128)
            result[rows] = phi_numpy(self.activation, x[rows] @ w) @ signed[kept]
        return result

    def residual(self, x: Array) -> Array:
        """y - f at the training points themselves; y is not known elsewhere.

        Raises:
            ValueError: x is not the training set.
        """
        if not np.array_equal(np.asarray(x, dtype=np.float64), self.points):
            raise ValueError("a training set has targets on its own points only: pass exactly those")
        return (self.dual.target - self.state.output) / np.sqrt(self.weights)

    def field(self, rho: Array, angles: Array) -> Array:
        """g(w) on a product grid, (n_rho, n_angles)."""
        signal = np.sqrt(self.weights) * self.state.point
        along = np.cos(angles)[:, None] * self.points[:, 0] + np.sin(angles)[:, None] * self.points[:, 1]
        return np.stack([phi_numpy(self.activation, r * along) @ signal for r in rho])

    def covariance_eigenvalues(self) -> Array:
        """Eigenvalues of C = Cov(a phi) on the points."""
        return np.asarray(np.linalg.eigvalsh(self.dual.covariance(self.state)), dtype=np.float64)


def solve_training_points(
    points: Array,
    targets: Array,
    weights: Array,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    warm: PointSolution | None,
    tolerance: float,
    should_stop: Callable[[], bool] | None,
    resolution: int,
    most_features: int = MOST_FEATURES,
) -> PointSolution:
    """Maximise the dual on points; arguments as in `solve_planar`.

    Raises:
        ValueError: shapes do not agree, a number is not finite, a weight is not positive, or too many points.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.float64)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or targets.shape != (len(points),) or weights.shape != targets.shape:
        raise ValueError(f"expected (n, 2), (n,), (n,), got {points.shape}, {targets.shape}, {weights.shape}")
    if not (0 < len(points) <= N_POINTS_MAX):
        raise ValueError(f"the theory takes 1 to {N_POINTS_MAX} training points, got {len(points)}")
    if not (np.isfinite(points).all() and np.isfinite(targets).all() and (weights > 0).all()):
        raise ValueError("training points, targets and weights must be finite, and weights positive")
    length = float(np.sqrt(temperature / lambda_w))
    panels = weight_panels(length / resolution, 8.5 * length)
    if warm is not None and len(warm.dual.grid.panels.panels) < 2 * len(panels):
        panels = warm.dual.grid.panels.panels
    held = warm.preconditioner if warm is not None else Preconditioner()
    start = warm.state.point if warm is not None else np.zeros(len(points))
    # single precision cannot resolve a smaller gradient
    tolerance = max(tolerance, 1e-5 if len(points) > N_POINTS_DOUBLE else 0.0)
    n_angles = warm.dual.grid.angles.size if warm is not None else N_ANGLES * resolution
    n_iterations, error = 0, 0.0
    for n_changes in range(12):
        grid = point_grid(points.tobytes(), weights.tobytes(), activation, panels, n_angles)
        dual = PointDual(grid, np.sqrt(weights) * targets, temperature, lambda_w, lambda_a)
        start = _shortened(dual, start)
        state, n = maximise(dual, start, tolerance, preconditioner=held, should_stop=should_stop)
        n_iterations += n
        start = state.point
        if n_changes and float(np.linalg.norm(state.gradient)) > UNRESOLVED * tolerance:
            break  # a finer grid does not help a point that is no maximum; the gap says so
        panels = grid.panels.improved(
            state.mass, state.field, state.log_partition, lambda_a, temperature, dual.prior_variance
        )
        size = grid.features.size * len(panels) // len(grid.panels.panels)
        if panels != grid.panels.panels and n_changes < 7 and size <= most_features:
            continue
        panels = grid.panels.panels
        error = _angular_error(dual, state, points, weights, activation)
        if error <= DISCRETISED * temperature or n_changes == 11 or n_angles >= MOST_ANGLES:
            break
        # Kinks leave an error that falls with the square of the number of angles.
        wanted = n_angles * 2 ** math.ceil(max(1.0, 0.5 * math.log2(error / (DISCRETISED * temperature))))
        room = n_angles * most_features // grid.features.size
        if room < 2 * n_angles:
            break
        n_angles = min(wanted, room, MOST_ANGLES)
    return PointSolution(dual, state, points, weights, held, activation, n_iterations, error)


def _shortened(dual: PointDual, point: Array) -> Array:
    """A first point at which D is not below D(0) = 0: a finer grid may find wells that the last one did not see."""
    while point.any() and dual.at(point).value < 0.0:
        point = 0.5 * point if np.abs(point).max() > 1e-12 else np.zeros_like(point)
    return point


def _angular_error(dual: PointDual, state: DualState, points: Array, weights: Array, activation: str) -> float:
    """Change of the free energy with twice as many angles: the same mean over directions half-way between them.

    D is stationary in r, so that the change at this r is that of its maximum.
    """
    grid, rho = dual.grid, dual.grid.panels.rho
    signal = np.sqrt(weights) * state.point
    between = grid.angles + np.pi / len(grid.angles)
    along = np.cos(between)[:, None] * points[:, 0] + np.sin(between)[:, None] * points[:, 1]
    profile = state.mass.max(axis=1)
    kept = np.flatnonzero(profile > MASS_NEGLIGIBLE * profile.max())
    exponent = np.stack([phi_numpy(activation, rho[i] * along) @ signal for i in kept]) ** 2
    exponent = exponent / (2 * dual.lambda_a * dual.temperature) + dual.log_prior[kept, None]
    top = float(exponent.max())
    shifted = top + float(np.log(np.exp(exponent - top).sum()))
    return dual.temperature * abs(float(np.logaddexp(state.log_partition, shifted)) - np.log(2) - state.log_partition)
