"""Clouds for tests of the plots: a clover with far arms, and a round one; always the same ones."""

from __future__ import annotations

import numpy as np


def clover(n_neurons: int, seed: int = 0) -> np.ndarray:
    """(n_neurons, 3) float32: four lumps on the diagonals, each with a far arm; readouts of alternating sign."""
    random = np.random.default_rng(seed)
    leaf = np.arange(n_neurons) % 4
    angle = np.pi / 4 + leaf * np.pi / 2
    is_far = random.random(n_neurons) < 0.3
    radius = np.where(is_far, random.gamma(5.0, 0.5, n_neurons), 0.62 + 0.14 * random.normal(size=n_neurons))
    w = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    w += random.normal(size=w.shape) * np.where(is_far, 0.25, 0.09)[:, None]
    a = np.where(leaf % 2 == 0, 1.0, -1.0) * np.where(is_far, 6.0, 12.0) * (1 + 0.3 * random.normal(size=n_neurons))
    return np.column_stack([w, a]).astype(np.float32)


def gaussian(n_neurons: int, n_params: int = 3, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """(n_neurons, n_params) float32, isotropic."""
    return (scale * np.random.default_rng(seed).normal(size=(n_neurons, n_params))).astype(np.float32)
