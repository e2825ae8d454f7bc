"""The one place where a loss enters: what it is of an output and its target, and what neurons feel of it.

    loss = E (y - f)^2,   signal = -(1/2) d loss / df = y - f,   summed over the readouts

Everything written in Python asks `LOSS`. The compiled inner loops (`kernels.inner_loops`, `kernels.layered_loop`,
`kernels.many_loop`, `kernels.gpu`) and the theory are written for the squared loss, whose dual is quadratic.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from mft_engine.points.measure import weighted


class Loss(Protocol):
    """A loss per point and readout; arguments are numpy arrays or tensors of equal shapes."""

    def values(self, targets: Any, prediction: Any) -> Any:
        """The loss of every component."""
        ...

    def signal(self, targets: Any, prediction: Any) -> Any:
        """What neurons feel: minus half the derivative of `values` in the prediction."""
        ...


class SquaredLoss:
    """(y - f)^2."""

    def values(self, targets: Any, prediction: Any) -> Any:
        """The squares."""
        return (targets - prediction) ** 2

    def signal(self, targets: Any, prediction: Any) -> Any:
        """The residual."""
        return targets - prediction


LOSS: Loss = SquaredLoss()


def mean_loss(weights: Any, targets: Any, prediction: Any) -> float:
    """E of `LOSS` over weighted points, summed over the readouts, in double precision.

    Args:
        weights: (n_points,); targets, prediction: (n_points,) or (n_points, n_out); numpy or torch.
    """
    if isinstance(prediction, torch.Tensor):
        return float(awaited_loss(weights, targets, prediction))
    return float(np.sum(weighted(weights, LOSS.values(targets, prediction))))


def awaited_loss(weights: torch.Tensor, targets: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """The same of tensors, 0-dim float64; nothing has been waited for on an asynchronous device."""
    return weighted(weights, LOSS.values(targets, prediction)).sum(dtype=torch.float64)
