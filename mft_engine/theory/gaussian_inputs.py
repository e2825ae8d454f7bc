"""Solution of the planar dual for x ~ N(0, I_2) in angular harmonics: no quadrature error in the angle.

Source: docs/physics.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander
from numpy.typing import NDArray

from mft_engine.laws.harmonics import (
    N_HARMONICS_MAX,
    RadialKernel,
    angular_table,
    mean_square_feature,
    radial_kernel,
    weight_panels,
)
from mft_engine.theory.dual import DualState, HarmonicDual, Preconditioner, maximise
from mft_engine.theory.projection import ProjectedTarget, Target, project_target
from mft_engine.theory.symmetry import NO_SYMMETRY, AngularBasis, AngularSymmetry, find_symmetry

Array = NDArray[np.float64]

N_HARMONICS = 48
N_ANGLES = 256
N_CHANGES = 16
# Squared norm of f in the highest eighth of the harmonics, and share of the density's highest Fourier
# coefficients on the grid, above which the angular resolution is doubled.
TAIL_OUTPUT = 1e-9
TAIL_DENSITY = 1e-6
# The nodes' values of f lose digits where the Gaussian weight has died; beyond this radius f is summed directly.
S_DIRECT = 7.225


@dataclass(frozen=True)
class HarmonicSolution:
    """The maximum of the dual and the grids it lives on.

    Attributes:
        dual, state: the discretised problem and its solution.
        right: (n_basis, n_s, rank) radial functions of x.
        projected, symmetry: the target on the grid.
        preconditioner: for a warm start.
        n_harmonics, n_angles: angular resolution reached.
        target: y itself.
        n_iterations: Newton steps.
    """

    dual: HarmonicDual
    state: DualState
    right: Array
    projected: ProjectedTarget
    symmetry: AngularSymmetry
    preconditioner: Preconditioner
    n_harmonics: int
    n_angles: int
    target: Target
    activation: str
    n_iterations: int

    @property
    def rho(self) -> Array:
        """(n_rho,) radii of the weight grid."""
        return self.dual.kernel.rho

    @property
    def radial_end(self) -> float:
        """End of the radial grid."""
        return self.dual.kernel.panels[-1]

    @property
    def log_profile(self) -> Array:
        """(n_rho,) log density per unit radius, relative to its top."""
        return self.dual.kernel.log_mass(self.state.mass)

    @property
    def power(self) -> float:
        """E y^2, seen or not."""
        return self.projected.power

    def mean_cosine(self, k: int) -> float:
        """E cos(k angle(w))."""
        return self.dual.basis.mean_cosine(k, self.state.mass.sum(axis=0))

    @property
    def mean_square_feature(self) -> Array:
        """(n_rho, 1) E_x phi(w.x)^2."""
        return mean_square_feature(self.activation, self.rho)[:, None]

    def prediction(self, x: Array) -> Array:
        """f at (n, 2) inputs, (n,)."""
        x = np.asarray(x, dtype=np.float64)
        s, u = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
        if not len(self.dual.target):
            return np.zeros(len(x))
        return np.einsum("hn,hn->n", self._radial_prediction(s), self.dual.basis.at(u))

    def residual(self, x: Array) -> Array:
        """y - f at (n, 2) inputs, (n,)."""
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(self.target(x), dtype=np.float64).reshape(len(x)) - self.prediction(x)

    def _radial_prediction(self, s: Array) -> Array:
        """(n_basis, n) f_h(s), by the nodes' polynomials inside and from the density beyond them."""
        kernel, basis = self.dual.kernel, self.dual.basis
        at_nodes = np.matmul(self.right, self.state.output.reshape(*self.dual.shape, 1))[:, :, 0]
        at_nodes = at_nodes / np.sqrt(kernel.s_weights)
        breaks = kernel.s_breaks
        n_nodes = len(kernel.s) // (len(breaks) - 1)
        to_series = np.linalg.inv(legvander(leggauss(n_nodes)[0], n_nodes - 1))
        result = np.empty((len(basis.harmonics), len(s)))
        panel = np.clip(np.searchsorted(breaks, s, side="right") - 1, 0, len(breaks) - 2)
        is_beyond = s > S_DIRECT
        for p in range(len(breaks) - 1):
            inside = (panel == p) & ~is_beyond
            low, high = breaks[p : p + 2]
            series = at_nodes[:, p * n_nodes : (p + 1) * n_nodes] @ to_series.T
            result[:, inside] = series @ legvander((2 * s[inside] - low - high) / (high - low), n_nodes - 1).T
        if is_beyond.any():
            density = (self.state.mass * self.state.field) @ basis.values.T / self.dual.lambda_a
            for start in range(0, int(is_beyond.sum()), 256):
                rows = np.flatnonzero(is_beyond)[start : start + 256]
                values = kernel.table(np.outer(kernel.rho, s[rows]), basis.harmonics)
                result[:, rows] = np.einsum("ih,inh->hn", density, values)
        return result

    def field(self, rho: Array, angles: Array) -> Array:
        """g(w) on a product grid, (n_rho, n_angles)."""
        dual = self.dual
        radial = np.matmul(dual.left, self.state.point.reshape(*dual.shape, 1))[:, :, 0]
        return dual.kernel.interpolate(radial, rho).T @ dual.basis.at(angles)

    def covariance_eigenvalues(self) -> Array:
        """Eigenvalues of C = Cov(a phi), the largest ones.

        C has sectors that the target's symmetry forbids to f, so this needs all harmonics: 25 of them, 12
        radial functions each.
        """
        dual, kernel = self.dual, self.dual.kernel
        full = NO_SYMMETRY.basis(25, 128, angular_table(self.activation).is_visible)
        left, _ = stack_factors(kernel, full)
        nothing = np.zeros((left.shape[0], left.shape[2]))
        temperature, lambda_a = dual.temperature, dual.lambda_a
        every = HarmonicDual(kernel, full, left, nothing, temperature, temperature / dual.prior_variance, lambda_a)
        values = self.field(kernel.rho, full.angles)
        log_mass = 0.5 * values**2 / (lambda_a * temperature) + every.log_prior
        mass = np.exp(log_mass - log_mass.max())
        mass /= mass.sum()
        rank = min(12, every.shape[1])
        output = every.from_density(mass * values).reshape(every.shape)[:, :rank].ravel() / lambda_a
        weight = mass * (temperature / lambda_a + (values / lambda_a) ** 2)
        covariance = every.second_moment(weight, np.arange(every.shape[0]), rank) - np.outer(output, output)
        return np.asarray(np.linalg.eigvalsh(covariance), dtype=np.float64)


def stack_factors(kernel: RadialKernel, basis: AngularBasis) -> tuple[Array, Array]:
    """Radial factors of every basis function, padded with zeros to one rank: left, right."""
    factors = kernel.factors(basis.harmonics)
    rank = max((left.shape[1] for left, _ in factors), default=0)
    left = np.zeros((len(factors), len(kernel.rho), rank))
    right = np.zeros((len(factors), len(kernel.s), rank))
    for h, (one, other) in enumerate(factors):
        left[h, :, : one.shape[1]] = one
        right[h, :, : other.shape[1]] = other
    return left, right


def target_coordinates(projected: ProjectedTarget, basis: AngularBasis, kernel: RadialKernel, right: Array) -> Array:
    """Coordinates of y in the visible functions, (n_basis, rank)."""
    turned = projected.coefficients[basis.harmonics] * np.exp(1j * basis.harmonics * basis.offset)[:, None]
    radial = np.where(basis.is_sine[:, None], -turned.imag, turned.real)
    radial = radial * np.where(basis.harmonics == 0, 1.0, np.sqrt(2.0))[:, None] * np.sqrt(kernel.s_weights)
    return np.matmul(np.swapaxes(right, 1, 2), radial[:, :, None])[:, :, 0]


def quantise(value: float, ratio: float) -> float:
    """The smallest power of `ratio` not below value, so that a slider drag meets the same grids again."""
    return float(ratio ** np.ceil(np.log(value) / np.log(ratio) - 1e-9))


def _tails(dual: HarmonicDual, state: DualState) -> tuple[float, float]:
    """Squared norms of f in the highest eighth of its harmonics and of the density's highest grid harmonics."""
    harmonics = dual.basis.harmonics
    if dual.basis.is_round or not len(harmonics):
        return 0.0, 0.0
    top = harmonics >= 0.875 * (harmonics.max() + 1)
    output = state.output.reshape(dual.shape)
    density = (state.mass * state.field**2).sum(axis=0)
    # the even extension of a reflected piece is periodic
    spectrum = np.abs(np.fft.rfft(np.concatenate([density, density[::-1]]) if dual.basis.is_reflected else density))
    cut = int(0.8 * len(spectrum))
    return float((output[top] ** 2).sum()), float(spectrum[cut:].max() / max(spectrum[0], 1e-300))


def solve_gaussian_inputs(
    target: Target,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    warm: HarmonicSolution | None,
    tolerance: float,
    should_stop: Callable[[], bool] | None,
    resolution: int,
) -> HarmonicSolution:
    """Maximise the dual, refining the grids until the solution is resolved; arguments as in `solve_planar`."""
    table = angular_table(activation)
    length = float(np.sqrt(temperature / lambda_w))
    panels = weight_panels(quantise(length, 2.0) / (2.0 * resolution), quantise(8.5 * length, 1.25))
    n_harmonics, n_angles = N_HARMONICS * resolution, N_ANGLES * resolution
    if warm is not None and len(warm.dual.kernel.panels) < 2 * len(panels):
        panels = warm.dual.kernel.panels
    kernel = radial_kernel(activation, panels)
    previous: tuple[HarmonicDual, DualState, Array] | None
    if warm is not None:
        n_harmonics, n_angles = warm.n_harmonics, warm.n_angles
        projected, symmetry = warm.projected, warm.symmetry
        held, previous = warm.preconditioner, (warm.dual, warm.state, warm.right)
    else:
        held, previous = Preconditioner(), None
        projected = project_target(target, kernel.s, kernel.s_weights, kernel.s_breaks, N_HARMONICS_MAX)
        symmetry = find_symmetry(projected.coefficients, kernel.s_weights, table.is_visible)
    n_iterations = 0
    for n_changes in range(N_CHANGES):
        basis = symmetry.basis(n_harmonics, n_angles, table.is_visible)
        left, right = stack_factors(kernel, basis)
        aim = target_coordinates(projected, basis, kernel, right)
        dual = HarmonicDual(kernel, basis, left, aim, temperature, lambda_w, lambda_a)
        start = np.zeros_like(aim) if previous is None else _carry(previous, dual, right)
        state, n = maximise(dual, start.ravel(), tolerance, preconditioner=held, should_stop=should_stop)
        n_iterations += n
        previous = (dual, state, right)
        tail_output, tail_density = _tails(dual, state)
        is_even = tail_output < TAIL_OUTPUT and tail_density < TAIL_DENSITY
        panels = kernel.improved(
            state.mass, state.field, state.log_partition, lambda_a, temperature, dual.prior_variance
        )
        if n_changes + 1 == N_CHANGES or (panels == kernel.panels and is_even):
            break
        kernel = radial_kernel(activation, panels)
        if not is_even:
            n_angles = min(2 * n_angles, 8 * N_ANGLES * resolution)
        if tail_output >= TAIL_OUTPUT:
            n_harmonics = min(2 * n_harmonics, N_HARMONICS_MAX)
    return HarmonicSolution(
        dual, state, right, projected, symmetry, held, n_harmonics, n_angles, target, activation, n_iterations
    )


def _carry(previous: tuple[HarmonicDual, DualState, Array], dual: HarmonicDual, right: Array) -> Array:
    """A solution's residual in the coordinates of another grid."""
    old, state, old_right = previous
    point = state.point.reshape(old.shape)
    if old.kernel is dual.kernel and old.shape == dual.shape:
        return point
    start = dual.target.reshape(dual.shape).copy()
    names = zip(old.basis.harmonics, old.basis.is_sine, strict=True)
    index = {(int(k), bool(sine)): h for h, (k, sine) in enumerate(names)}
    for h, (k, sine) in enumerate(zip(dual.basis.harmonics, dual.basis.is_sine, strict=True)):
        source = index.get((int(k), bool(sine)))
        if source is not None:
            start[h] = right[h].T @ (old_right[source] @ point[source])
    return start
