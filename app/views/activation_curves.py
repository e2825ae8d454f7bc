"""The activations on numpy arrays, for the hover card alone: the window knows them before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)

CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu_tanh": lambda z: np.maximum(0.0, np.tanh(z)),
    "clip01": lambda z: np.clip(z, 0.0, 1.0),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(0.0, z),
    "erf": lambda z: np.asarray(_erf(z), dtype=np.float64),
    "sin": np.sin,
    "quadratic": np.square,
    "hardtanh": lambda z: np.clip(z, -1.0, 1.0),
    "tanh_squared": lambda z: np.tanh(z) ** 2,
}
