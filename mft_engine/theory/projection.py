"""Angular harmonics of a target under x ~ N(0, I_2), also where the target is discontinuous."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander
from numpy.typing import NDArray

from mft_engine.laws.harmonics import X_MAX, composite_legendre

Array = NDArray[np.float64]
Target = Callable[[Array], Array]

# Divisible by 2, 3, 4, 5, 6 and 8: the grid then shares the symmetry of such targets, down to rounding.
N_ANGLES_SMOOTH = 240
N_ANGLES_ROUGH = 7680
N_SUBPANELS_ROUGH = 48
ROUGH = 1e-9


class NonFiniteTargetError(ValueError):
    """Raised where the target is not a finite number at some input."""


@dataclass(frozen=True)
class ProjectedTarget:
    """A target as angular harmonics on radial nodes.

    Attributes:
        coefficients: (n_k, n_s) complex c_k(s) = mean over u of y(s, u) exp(-i k u).
        power: E y^2 under N(0, I_2), all harmonics.
    """

    coefficients: NDArray[np.complex128]
    power: float


def _evaluate(target: Target, s: Array, n_angles: int) -> Array:
    """y on radii times midpoint angles, (n_s, n_angles)."""
    angles = 2 * np.pi * (np.arange(n_angles) + 0.5) / n_angles
    x = np.stack([np.outer(s, np.cos(angles)), np.outer(s, np.sin(angles))], axis=-1).reshape(-1, 2)
    with np.errstate(all="ignore"):
        y = np.asarray(target(x), dtype=np.float64).reshape(len(s), n_angles)
    if not np.isfinite(y).all():
        raise NonFiniteTargetError("the target is not finite everywhere in the plane")
    return y


def _harmonics(y: Array, n_harmonics: int) -> NDArray[np.complex128]:
    """Coefficients k < n_harmonics of midpoint samples along the last axis, harmonics first."""
    n_angles = y.shape[1]
    kept = min(n_harmonics, n_angles // 2)
    c = np.fft.rfft(y, axis=1)[:, :kept] / n_angles
    c = c * np.exp(-1j * np.pi * np.arange(kept) / n_angles)
    result = np.zeros((n_harmonics, len(y)), dtype=np.complex128)
    result[:kept] = c.T
    return result


def _panel_tail(c: NDArray[np.complex128], weights: Array, n_nodes: int) -> float:
    """Share of the last two Legendre coefficients of every panel, weighted as E y^2 is."""
    nodes = leggauss(n_nodes)[0]
    to_series = np.linalg.inv(legvander(nodes, n_nodes - 1))
    scaled = (c * np.sqrt(weights)).reshape(len(c), -1, n_nodes)
    series = np.abs(scaled @ to_series.T)
    return float((series[:, :, -2:] ** 2).sum())


def project_target(target: Target, s: Array, weights: Array, breaks: Array, n_harmonics: int) -> ProjectedTarget:
    """Harmonics of a target on the radial nodes `s`, in the mean-square sense.

    Smooth targets are sampled; where the tail of the angular or radial series is not small (a wedge, a step),
    the target is sampled far more finely and projected panel by panel on the nodes' polynomials, so that the
    integrals with any smooth function stay right although y itself is not resolved.

    Args:
        target: (n, 2) -> (n,).
        s, weights: radial nodes and weights of `input_radii`.
        breaks: ends of its panels.
        n_harmonics: how many harmonics to keep.

    Raises:
        NonFiniteTargetError: the target is not finite on the nodes.
    """
    y = _evaluate(target, s, N_ANGLES_SMOOTH)
    power = float(weights @ (y**2).mean(axis=1))
    c = _harmonics(y, max(n_harmonics, N_ANGLES_SMOOTH // 2))
    n_nodes = len(s) // (len(breaks) - 1)
    floor = max(power, 1e-300)
    energy = (np.abs(c) ** 2 * weights).sum(axis=1)
    is_angular_rough = float(energy[N_ANGLES_SMOOTH // 3 : N_ANGLES_SMOOTH // 2].sum()) > ROUGH**2 * floor
    is_radial_rough = _panel_tail(c[: N_ANGLES_SMOOTH // 2], weights, n_nodes) > 1e-10 * floor
    if not (is_angular_rough or is_radial_rough):
        return ProjectedTarget(c[:n_harmonics], power)
    n_angles = N_ANGLES_ROUGH if is_angular_rough else N_ANGLES_SMOOTH
    if not is_radial_rough:
        y = _evaluate(target, s, n_angles)
        return ProjectedTarget(_harmonics(y, n_harmonics), float(weights @ (y**2).mean(axis=1)))
    n_angles = min(n_angles, 960)
    nodes = leggauss(n_nodes)[0]
    result = np.zeros((n_harmonics, len(s)), dtype=np.complex128)
    power = 0.0
    normaliser = _radial_mass(breaks)
    for panel in range(len(breaks) - 1):
        fine, plain = composite_legendre(np.linspace(breaks[panel], breaks[panel + 1], N_SUBPANELS_ROUGH + 1), 4)
        fine_weights = plain * fine * np.exp(-0.5 * fine**2) / normaliser
        y = _evaluate(target, fine, n_angles)
        power += float(fine_weights @ (y**2).mean(axis=1))
        low, high = breaks[panel : panel + 2]
        lagrange = legvander((2 * fine - low - high) / (high - low), n_nodes - 1) @ np.linalg.inv(
            legvander(nodes, n_nodes - 1)
        )
        here = slice(panel * n_nodes, (panel + 1) * n_nodes)
        result[:, here] = (_harmonics(y, n_harmonics) * fine_weights) @ lagrange / weights[here]
    return ProjectedTarget(result, power)


def _radial_mass(breaks: Array) -> float:
    """Total of s exp(-s^2/2) over the range, by which the node weights are normalised."""
    return float(np.exp(-0.5 * breaks[0] ** 2) - np.exp(-0.5 * min(breaks[-1], X_MAX) ** 2))
