"""How many points a network puts into the right class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """The share of points whose class is right.

        mean_mu [sign f(x_mu) = sign y_mu]   or   mean_mu [argmax_k f_k(x_mu) = argmax_k y_k(x_mu)]

    Every point counts once, so with one class in ten the answer "none of it" is right at nine points of ten already:
    read it beside the share of the largest class. f = 0 is no answer for the positive class.

    Args:
        predictions, targets: (n,) or (n, 1), classes told by the sign; or (n, n_out), by the largest output.

    Returns:
        between 0 and 1.

    Raises:
        ValueError: no points, or shapes that differ.
    """
    f, y = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if f.ndim == 2 and f.shape[1] == 1:
        f = f[:, 0]
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if f.shape != y.shape or f.ndim not in (1, 2) or not len(f):
        raise ValueError(f"An accuracy needs points, and as many answers as targets; got {f.shape} and {y.shape}")
    right = (f > 0) == (y > 0) if f.ndim == 1 else f.argmax(axis=1) == y.argmax(axis=1)
    return float(right.mean())
