"""Angular harmonics of an activation in the plane: the kernel phi(w.x) as one-dimensional integrals.

    phi(z cos u) = sum_k (2 - delta_k0) phi_k(z) cos(k u)
    phi_k(z) = (1/pi) int_0^pi phi(z cos u) cos(k u) du

With w = (rho, t) and x = (s, u) the angular average of cos(k u) phi(w.x) is phi_k(rho s) cos(k t): nothing is
lost in the angle, whatever kink phi has.

Source: docs/physics.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial.legendre import legder, leggauss, legval, legvander
from numpy.typing import NDArray
from scipy.special import jv

from mft_engine.curves import CURVES
from mft_engine.network.activations import get_activation, phi_numpy

Array = NDArray[np.float64]

N_HARMONICS_MAX = 192
Z_MAX = 2.0e4
# An oscillating activation averages to nothing where the weight is long; beyond this its nodes in x alias.
RHO_MAX_OSCILLATING = 40.0
X_MAX = 8.5
# The density counts as ended where it is exp(-DEPTH) below its highest value.
DEPTH = 36.0
# Probability by which a panel may differ from the same panel cut in two.
PANEL_ERROR = 1e-7
_NODES_PER_PANEL = 16
_TAU_STEP = 0.5


class SuperlinearActivationError(ValueError):
    """Raised for an activation that grows faster than linearly: the mean-field law does not exist."""


def refuse_superlinear(activation: str) -> float:
    """By how much |phi| grows from 10^3 to 10^6: 1 where it is bounded, 1000 where it is linear.

    Raises:
        SuperlinearActivationError: it grows faster than linearly.
    """
    large, small = (float(np.abs(phi_numpy(activation, np.array([z, -z]))).max()) for z in (1e6, 1e3))
    if large / small > 2e3:
        raise SuperlinearActivationError(
            f"activation '{activation}' grows faster than linearly: no infinite-width law exists for it"
        )
    return large / small


def is_oscillating(activation: str) -> bool:
    """Whether the activation keeps oscillating for large arguments (sin): then phi_k are Bessel functions."""
    return CURVES[activation].is_oscillating


def composite_legendre(breaks: Array, n_nodes: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on each of the panels between `breaks`, concatenated."""
    nodes, weights = leggauss(n_nodes)
    half = 0.5 * np.diff(breaks)[:, None]
    middle = 0.5 * (breaks[1:] + breaks[:-1])[:, None]
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def _angle_breaks(z: float, kinks: tuple[float, ...]) -> Array:
    """Panel ends in v = pi/2 - u on [0, pi/2], graded towards 0: phi(z sin v) varies on a scale 1/z there."""
    width = min(0.1, 1.0 / max(z, 1e-30))
    breaks = [0.0]
    while breaks[-1] + width < np.pi / 2:
        breaks.append(breaks[-1] + width)
        width = min(0.1, max(width, breaks[-1]))
    breaks.append(np.pi / 2)
    breaks += [float(np.arcsin(abs(c) / z)) for c in kinks if 0 < abs(c) < z]
    return np.unique(np.array(breaks))


class AngularTable:
    """phi_k(z) of one activation for all k < N_HARMONICS_MAX, as piecewise Chebyshev series in asinh(z).

        phi_k(z) = (2/pi) int_0^{pi/2} phi_p(z cos u) cos(k u) du,   p the part of phi with the parity of k

    The parts are taken before integrating, so an odd activation has phi_k = 0 *exactly* for even k.

    Args:
        activation: name known to `mft_engine.network.activations`.

    Raises:
        SuperlinearActivationError: phi grows faster than linearly; then exp(g^2 / (2 lambda_a T)) beats every
            Gaussian prior, and the infimum of the free energy is reached by no law.

    Source: docs/physics.md, section 4.
    """

    def __init__(self, activation: str) -> None:
        self.activation = activation
        phi: Callable[[Array], Array] = lambda z: np.asarray(phi_numpy(activation, z), dtype=np.float64)  # noqa: E731
        self.is_bounded = refuse_superlinear(activation) < 2.0
        kinks = tuple(sorted({abs(float(c)) for c in get_activation(activation).kinks}))
        tau_breaks = [*np.arange(0.0, np.arcsinh(Z_MAX), _TAU_STEP), np.arcsinh(Z_MAX)]
        for c in kinks:
            if c > 0:  # phi_k has a three-halves power just above z = |kink|
                tau_breaks += [float(np.arcsinh(c * (1 + step))) for step in (0.0, 1e-4, 1e-3, 1e-2, 0.05, 0.2)]
        self.tau_breaks = np.unique(np.array(tau_breaks))
        local = np.cos(np.pi * (np.arange(_NODES_PER_PANEL) + 0.5) / _NODES_PER_PANEL)
        to_series = np.polynomial.chebyshev.chebvander(local, _NODES_PER_PANEL - 1)
        self.to_series = np.linalg.inv(to_series)
        n_panels = len(self.tau_breaks) - 1
        self.series = np.empty((n_panels, _NODES_PER_PANEL, N_HARMONICS_MAX))
        harmonics = np.arange(N_HARMONICS_MAX)
        sign_matters = np.where(harmonics % 2 == 0, 1.0, -1.0)
        has_moving_kink = any(c > 0 for c in kinks)
        for panel in range(n_panels):
            low, high = self.tau_breaks[panel : panel + 2]
            z_nodes = np.sinh(0.5 * (low + high) + 0.5 * (high - low) * local)
            values = np.empty((_NODES_PER_PANEL, N_HARMONICS_MAX))
            groups = [z_nodes[i : i + 1] for i in range(len(z_nodes))] if has_moving_kink else [z_nodes]
            row = 0
            for group in groups:
                v, weights = composite_legendre(_angle_breaks(float(group.max()), kinks), 20)
                argument = group[:, None] * np.sin(v)
                plus, minus = phi(argument), phi(-argument)
                even, odd = 0.5 * (plus + minus) * weights, 0.5 * (plus - minus) * weights
                cosines = np.cos(np.outer(np.pi / 2 - v, harmonics))
                part = np.where(sign_matters > 0, even @ cosines, odd @ cosines)
                values[row : row + len(group)] = (2 / np.pi) * part
                row += len(group)
            self.series[panel] = self.to_series @ values
        size = np.abs(self.series).max(axis=(0, 1))
        self.is_visible = size > 1e-13
        self.series[:, :, ~self.is_visible] = 0.0

    def __call__(self, z: Array, harmonics: NDArray[np.int64]) -> Array:
        """phi_k(z) for every z (any shape) and every k asked for.

        Args:
            z: products of radii, >= 0.
            harmonics: (n,) integers k.

        Returns:
            (*z.shape, n).
        """
        flat = np.ravel(z)
        if is_oscillating(self.activation):
            return _sine_harmonics(flat, harmonics).reshape(*np.shape(z), len(harmonics))
        clipped = np.minimum(flat, Z_MAX)
        tau = np.arcsinh(clipped)
        panel = np.clip(np.searchsorted(self.tau_breaks, tau, side="right") - 1, 0, len(self.series) - 1)
        result = np.empty((len(flat), len(harmonics)))
        order = np.argsort(panel, kind="stable")
        ends = np.searchsorted(panel[order], np.arange(len(self.series) + 1))
        series = self.series[:, :, harmonics]
        for p in np.flatnonzero(np.diff(ends)):
            rows = order[ends[p] : ends[p + 1]]
            low, high = self.tau_breaks[p : p + 2]
            x = (2 * tau[rows] - low - high) / (high - low)
            result[rows] = np.polynomial.chebyshev.chebvander(x, _NODES_PER_PANEL - 1) @ series[p]
        if not self.is_bounded:
            result *= (flat / np.maximum(clipped, 1e-300))[:, None]
        return result.reshape(*np.shape(z), len(harmonics))


def _sine_harmonics(z: Array, harmonics: NDArray[np.int64]) -> Array:
    """phi_k of sin: sin(k pi/2) J_k(z), the Jacobi-Anger expansion."""
    result = np.zeros((len(z), len(harmonics)))
    for column, k in enumerate(harmonics):
        if k % 2 == 1:
            result[:, column] = (1.0 if k % 4 == 1 else -1.0) * jv(int(k), z)
    return result


@lru_cache(maxsize=16)
def angular_table(activation: str) -> AngularTable:
    """The table of one activation, made once."""
    return AngularTable(activation)


@lru_cache(maxsize=4)
def input_radii(is_fine: bool) -> tuple[Array, Array, Array]:
    """Radii s of x ~ N(0, I_2), weights of s exp(-s^2/2) ds (total 1), and the ends of the graded panels."""
    if is_fine:
        breaks, n_nodes = np.array([0.0, 0.15, 0.5, 1.1, 1.8, 2.6, 3.6, 5.2, X_MAX]), 20
    else:
        breaks, n_nodes = np.array([0.0, 0.3, 1.0, 2.2, 4.0, X_MAX]), 12
    s, weights = composite_legendre(breaks, n_nodes)
    weights = weights * s * np.exp(-0.5 * s**2)
    return s, weights / weights.sum(), breaks


def weight_panels(scale: float, radius: float) -> tuple[float, ...]:
    """Ends of the panels of rho = |w| on [0, radius] to start with.

    Panels are as wide as the density can usually be resolved on: 3.5 prior standard deviations at most, and no
    wider than the field's own scale, which grows with rho.

    Args:
        scale: prior standard deviation sqrt(T / lambda_w), the length on which the density varies.
        radius: end of the range.
    """
    breaks = [0.0]
    while breaks[-1] < radius * (1 - 1e-12):
        breaks.append(breaks[-1] + min(3.5 * scale, max(0.75, 0.9 * breaks[-1])))
    return tuple(float(r) for r in np.array(breaks) * (radius / breaks[-1]))


class RadialPanels:
    """Gauss-Legendre panels in rho = |w|.

    Args:
        panels: their ends, from 0.
    """

    def __init__(self, panels: tuple[float, ...]) -> None:
        self.panels, self.rho_breaks = panels, np.array(panels)
        self.rho, self.rho_weights = composite_legendre(self.rho_breaks, _NODES_PER_PANEL)

    def interpolate(self, values: Array, rho: Array) -> Array:
        """Values on the nodes rho_i carried to other radii in range by each panel's polynomial.

        Args:
            values: (n, n_rho).
            rho: (m,) radii in [0, radius].

        Returns:
            (n, m).
        """
        to_series = _legendre_series(_NODES_PER_PANEL).T
        n_panels = len(self.panels) - 1
        panel = np.clip(np.searchsorted(self.rho_breaks, rho, side="right") - 1, 0, n_panels - 1)
        result = np.empty((len(values), len(rho)))
        for p in np.unique(panel):
            inside = panel == p
            low, high = self.rho_breaks[p : p + 2]
            local = legvander((2 * rho[inside] - low - high) / (high - low), _NODES_PER_PANEL - 1)
            series = values[:, p * _NODES_PER_PANEL : (p + 1) * _NODES_PER_PANEL] @ to_series
            result[:, inside] = series @ local.T
        return result

    def differentiate(self, values: Array) -> Array:
        """d/d rho on the nodes of (n, n_rho) values on the nodes, by each panel's polynomial."""
        nodes = leggauss(_NODES_PER_PANEL)[0]
        slopes = legval(nodes, legder(_legendre_series(_NODES_PER_PANEL), axis=0)).T
        half = np.repeat(0.5 * np.diff(self.rho_breaks), _NODES_PER_PANEL)
        panels = values.reshape(len(values), -1, _NODES_PER_PANEL)
        return np.asarray((panels @ slopes.T).reshape(values.shape) / half, dtype=np.float64)

    def log_mass(self, mass: Array) -> Array:
        """log of the highest mass per unit radius at every rho, relative to its top, (n_rho,).

        Args:
            mass: (n_rho, n_t) probability of every node.
        """
        profile = mass.max(axis=1) / self.rho_weights
        with np.errstate(divide="ignore"):
            result: Array = np.log(profile / profile.max())
        return result

    def improved(
        self, mass: Array, field: Array, log_partition: float, lambda_a: float, temperature: float, variance: float
    ) -> tuple[float, ...]:
        """The panels that a density asks for: more where it has not ended, halves where it is not resolved.

        The field is smooth on a panel even where the density is not, so the density on halved panels needs no
        new solve: the field is interpolated.

        Args:
            mass, field: (n_rho, n_t) probabilities and g at the nodes.
            log_partition: log Z.
            lambda_a, temperature: of the exponent g^2 / (2 lambda_a T).
            variance: T / lambda_w.
        """
        if self.log_mass(mass)[-1] > -DEPTH and self.panels[-1] < 1e4:
            extended = list(self.panels)
            width = self.panels[-1] - self.panels[-2]
            while extended[-1] < 1.5 * self.panels[-1]:
                extended.append(extended[-1] + width)
            return tuple(extended)
        middles = 0.5 * (self.rho_breaks[1:] + self.rho_breaks[:-1])
        rho, weights = composite_legendre(np.sort(np.concatenate([self.rho_breaks, middles])), _NODES_PER_PANEL)
        exponent = self.interpolate(np.ascontiguousarray(field.T), rho) ** 2 / (2 * lambda_a * temperature)
        exponent += np.log(weights * rho / (variance * field.shape[1])) - rho**2 / (2 * variance) - log_partition
        fine = np.exp(np.minimum(exponent, 50.0)).sum(axis=0).reshape(len(middles), -1).sum(axis=1)
        coarse = mass.sum(axis=1).reshape(len(middles), -1).sum(axis=1)
        unresolved = np.abs(fine - coarse) > PANEL_ERROR
        return tuple(float(r) for r in np.sort(np.concatenate([self.rho_breaks, middles[unresolved]])))


@lru_cache(maxsize=4)
def _legendre_series(n_nodes: int) -> Array:
    """Matrix from values on Gauss-Legendre nodes to Legendre coefficients."""
    return np.asarray(np.linalg.inv(legvander(leggauss(n_nodes)[0], n_nodes - 1)), dtype=np.float64)


class RadialKernel(RadialPanels):
    """phi_k(rho s) on a pair of radial grids, each harmonic compressed to its numerical rank.

        phi_k(rho_i s_j) sqrt(W_j) = sum_p left_k[i, p] right_k[j, p],   right_k orthonormal

    Made lazily per harmonic: a symmetric target asks for few.

    Args:
        activation: name.
        panels: ends of the panels in rho.
    """

    tolerance = 1e-11

    def __init__(self, activation: str, panels: tuple[float, ...]) -> None:
        self.table = angular_table(activation)
        super().__init__(panels)
        self.s, self.s_weights, self.s_breaks = input_radii(is_oscillating(activation))
        self._factors: dict[int, tuple[Array, Array]] = {}

    def factors(self, harmonics: NDArray[np.int64]) -> list[tuple[Array, Array]]:
        """(left (n_rho, rank), right (n_s, rank)) of every harmonic asked for."""
        missing = np.array([k for k in harmonics if int(k) not in self._factors], dtype=np.int64)
        if len(missing):
            values = self.table(np.outer(self.rho, self.s), missing) * np.sqrt(self.s_weights)[:, None]
            if is_oscillating(self.table.activation):
                values[self.rho > RHO_MAX_OSCILLATING] = 0.0
            u, singular, vt = np.linalg.svd(np.moveaxis(values, -1, 0), full_matrices=False)
            for row, k in enumerate(missing):
                rank = max(1, int((singular[row] > self.tolerance).sum()))
                self._factors[int(k)] = (u[row, :, :rank] * singular[row, :rank], vt[row, :rank].T.copy())
        return [self._factors[int(k)] for k in harmonics]


def mean_square_feature(activation: str, rho: Array) -> Array:
    """E phi(rho_i xi)^2, xi ~ N(0, 1): the squared norm of the feature of a weight of length rho_i, (n_rho,)."""
    distance = [*np.geomspace(1e-5, 1.0, 12)[:-1], *np.arange(1.0, 9.0)]
    breaks = np.array([-d for d in reversed(distance)] + [0.0] + distance)
    xi, weights = composite_legendre(breaks, 16)
    weights = weights * np.exp(-0.5 * xi**2) / np.sqrt(2 * np.pi)
    return phi_numpy(activation, np.outer(rho, xi)) ** 2 @ weights


@lru_cache(maxsize=24)
def radial_kernel(activation: str, panels: tuple[float, ...]) -> RadialKernel:
    """The kernel on one pair of grids, shared by every solve that meets them."""
    return RadialKernel(activation, panels)
