"""The data kernel of a cloud, K(x, x') = mean over neurons of phi(w.x) phi(w.x'): which functions the features span."""

from __future__ import annotations

import torch
from torch import Tensor

from mft_engine.activations import Activation

BLOCK = 8192
MAX_NEURONS = 2**16
MAX_POINTS = 2048


def data_kernel(theta: Tensor, inputs: Tensor, activation: Activation) -> Tensor:
    """(n_points, n_points) float64 for theta (n_neurons, n_params) and inputs (n_points, n_inputs)."""
    n_inputs = inputs.shape[1]
    total = torch.zeros(inputs.shape[0], inputs.shape[0], dtype=torch.float64, device=inputs.device)
    for start in range(0, theta.shape[0], BLOCK):
        phi = activation.phi(inputs @ theta[start : start + BLOCK, :n_inputs].T)
        total += (phi @ phi.T).double()
    return total / theta.shape[0]


def kernel_change(before: Tensor, after: Tensor, inputs: Tensor, weights: Tensor, activation: Activation) -> float:
    """1 - <K, K'>/(|K| |K'|) under the measure of x, between 0 (the kernel kept its shape) and 1.

    Lazy networks leave it at 0: they change readouts, not features. Points beyond MAX_POINTS and neurons beyond
    MAX_NEURONS, which are exchangeable, are thinned.

    Args:
        before, after: (n_neurons, n_params) clouds; inputs, weights: (n_points, n_inputs), (n_points,).
    """
    stride = max(1, inputs.shape[0] // MAX_POINTS)
    inputs, weights = inputs[::stride], weights[::stride].double()
    pairs = weights[:, None] * weights[None, :]
    first, second = (data_kernel(cloud[:MAX_NEURONS], inputs, activation) for cloud in (before, after))
    overlap = (pairs * first * second).sum()
    norms = torch.sqrt((pairs * first * first).sum() * (pairs * second * second).sum())
    return float(1.0 - overlap / norms)
