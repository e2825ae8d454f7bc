"""Planar targets of the theory tests, independent of the task registry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _petals(k: int):
    def target(x: Array) -> Array:
        return np.hypot(x[:, 0], x[:, 1]) * np.cos(k * np.arctan2(x[:, 1], x[:, 0]))

    return target


TARGETS = {
    "product": lambda x: x[:, 0] * x[:, 1],
    "ring": lambda x: (x[:, 0] ** 2 + x[:, 1] ** 2) / 2 - 1,
    "three_leaf": lambda x: (x[:, 0] ** 3 - 3 * x[:, 0] * x[:, 1] ** 2) / np.sqrt(24),
    "hermite2": lambda x: (x[:, 0] ** 2 - 1) / np.sqrt(2),
    "sine": lambda x: np.sin(2 * x[:, 0]),
    "butterfly": lambda x: np.sin(2 * x[:, 0]) + np.sin(2 * x[:, 1]),
    "petals3": _petals(3),
    "petals4": _petals(4),
    "petals5": _petals(5),
    "petals6": _petals(6),
    "wedges": lambda x: np.sign(x[:, 0] * x[:, 1]),
    "kite": lambda x: x[:, 0] ** 2 - x[:, 1],
    "no_symmetry": lambda x: np.sin(x[:, 0] + 0.3) + 0.5 * x[:, 0] * x[:, 1] + 0.3 * np.cos(2 * x[:, 1] + 1),
    "disc": lambda x: np.where((x[:, 0] - 0.3) ** 2 + (x[:, 1] + 0.2) ** 2 < 1, 0.7, -0.3),
}


def laguerre_rule(n_radii: int = 8, n_angles: int = 32) -> tuple[Array, Array]:
    """The staggered polar rule with Gauss-Laguerre radii sqrt(2 t_j), on which section 10's numbers were taken."""
    t, radial = np.polynomial.laguerre.laggauss(n_radii)
    turn = (0.6180339887 * np.arange(n_radii)) % 1
    angle = 2 * np.pi * (np.arange(n_angles) + turn[:, None]) / n_angles
    points = np.sqrt(2 * t)[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return points.reshape(-1, 2), np.repeat(radial / n_angles, n_angles)


def polar_rule(n_radii: int = 24, n_angles: int = 64) -> tuple[Array, Array]:
    """Points and weights of a fine polar rule for N(0, I_2)."""
    nodes, weights = np.polynomial.legendre.leggauss(n_radii)
    s = 3.5 * (nodes + 1)
    weights = 3.5 * weights * s * np.exp(-0.5 * s**2)
    angle = 2 * np.pi * (np.arange(n_angles) + 0.618 * np.arange(n_radii)[:, None]) / n_angles
    points = np.stack([s[:, None] * np.cos(angle), s[:, None] * np.sin(angle)], axis=-1).reshape(-1, 2)
    return points, np.repeat(weights / weights.sum() / n_angles, n_angles)
