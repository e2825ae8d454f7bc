"""How many points a network puts into the right class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mft_engine.device import widest


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
    f, y = (torch.as_tensor(np.asarray(values, dtype=np.float64)) for values in (predictions, targets))
    return float(share_right(f, y))


def share_right(predictions: Tensor, targets: Tensor) -> Tensor:
    """The same of tensors, 0-dim, on the device of the targets; nothing has been waited for."""
    both = (predictions.to(targets), targets)
    f, y = (v[:, 0] if v.dim() == 2 and v.shape[1] == 1 else v for v in both)
    if f.shape != y.shape or f.dim() not in (1, 2) or not len(f):
        raise ValueError(
            f"An accuracy needs points, and as many answers as targets; got {tuple(f.shape)} and {tuple(y.shape)}"
        )
    right = (f > 0) == (y > 0) if f.dim() == 1 else f.argmax(dim=1) == y.argmax(dim=1)
    return right.to(widest(right.device)).mean()
