"""The data kernel of a cloud, K(x, x') = mean over neurons of phi(w.x) phi(w.x'): which functions the features span."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.network.activations import Activation
from mft_engine.rng import Stream

BLOCK = 8192
MAX_NEURONS = 2**16
MAX_POINTS = 2048
GOLDEN_RATIO = 0.6180339887


def thinned(n_points: int, n_kept: int, n_inputs: int) -> np.ndarray:
    """Indices of about n_kept of the points, one of every run of neighbours; all where they are no more than that.

    Every k-th point would not do: of the corners of a cube it would keep those that share their first inputs. In the
    plane the places within the runs follow the golden ratio (a polar rule keeps its angles even), otherwise chance.
    """
    stride = -(-n_points // n_kept)
    starts = np.arange(0, n_points, stride)
    if n_inputs == 2:
        shares = np.modf((np.arange(len(starts)) + 0.5) * GOLDEN_RATIO)[0]
    else:
        shares = rng.host_generator(0, Stream.SUBSAMPLE).random(len(starts))
    return np.minimum(starts + (shares * stride).astype(int), n_points - 1)


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
    kept = torch.as_tensor(thinned(len(inputs), MAX_POINTS, inputs.shape[1]), device=inputs.device)
    inputs, weights = inputs[kept], weights[kept].double()
    pairs = weights[:, None] * weights[None, :]
    first, second = (data_kernel(cloud[:MAX_NEURONS], inputs, activation) for cloud in (before, after))
    overlap = (pairs * first * second).sum()
    norms = torch.sqrt((pairs * first * first).sum() * (pairs * second * second).sum())
    return float(1.0 - overlap / norms)
