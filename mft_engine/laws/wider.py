"""A wider prior that particles may begin at.

From the prior itself narrow wells far out, which hold a few per cent of a law at the end of the way and nothing in
its middle, are missed by most populations, all alike. On a way from a wider one they hold something throughout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Precisions, in units of the prior's, of the Gaussians whose mean the wider prior is. One of them is the prior: where
# wells are deep in a direction and not far out (parity), a wide Gaussian alone would find them less.
PRECISIONS = (1.0, 0.5, 0.25, 0.1)


def log_widened(u: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the wider prior's density over the prior's, (n,), and its slope over u, (n,).

    Args:
        u: (n, n_inputs) in units of the prior.
    """
    precision = torch.tensor(PRECISIONS, dtype=u.dtype, device=u.device)
    square = 0.5 * (u * u).sum(1, keepdim=True)
    each = square * (1.0 - precision) + 0.5 * u.shape[1] * precision.log()
    return torch.logsumexp(each, 1) - math.log(len(PRECISIONS)), torch.softmax(each, 1) @ (1.0 - precision)
