"""The foreground: iid neurons, each moved by the frozen field of the background; none sees another."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mft_engine.kernels import StepPlan

SLICE_SECONDS = 0.008


@dataclass(frozen=True)
class FrozenField:
    """A background that no longer moves, as its neurons feel it.

    Attributes:
        inputs: (n_points, n_inputs).
        signal: (n_points,), point weight x frozen residual x N^(kappa-1).
    """

    inputs: Tensor
    signal: Tensor


def move(theta: Tensor, field: FrozenField, plan: StepPlan, n_steps: int, kernel: Any) -> Iterator[float | Tensor]:
    """The neurons' own dynamics in the frozen field, from `theta`, for n_steps.

    Yields the fraction done about every 8 ms (large clouds: every step), at last the (n_neurons, n_params) cloud.

    Raises:
        ArithmeticError: a neuron that is no longer finite.
    """
    done, chunk = 0, 1
    while done < n_steps:
        chunk = min(chunk, n_steps - done)
        start = time.perf_counter()
        result = kernel.advance_frozen(theta, field.inputs, field.signal, plan, done, chunk)
        if not result.is_finite:
            raise ArithmeticError(
                f"The foreground diverged before its step {done + chunk}; choose a smaller training.step_size"
            )
        theta = result.theta
        done += chunk
        yield done / n_steps
        # The split of the steps does not change a bit of the result, so the clock may choose it.
        seconds = max(time.perf_counter() - start, 1e-6)
        chunk = max(1, min(4 * chunk, math.floor(chunk * SLICE_SECONDS / seconds)))
    yield theta


def function_covariance_trace(theta: Tensor, inputs: Tensor, weights: Tensor, activation: Any) -> float:
    """Tr C of h = a phi(w.x) over the cloud: E_x Var_i(a_i phi(w_i.x)).

    The recombined function of N iid neurons misses its mean by Tr C / N in mean square.

    Args:
        theta: (n_neurons, n_params); inputs: (n_points, n_inputs); weights: (n_points,).
    """
    mean = torch.zeros_like(weights, dtype=torch.float64)
    square = torch.zeros_like(mean)
    n_inputs = inputs.shape[1]
    for block in theta.split(4096):
        h = activation.phi(inputs @ block[:, :n_inputs].T) * block[:, n_inputs]
        mean += h.sum(1, dtype=torch.float64)
        square += (h * h).sum(1, dtype=torch.float64)
    n = theta.shape[0]
    variance = (square / n - (mean / n) ** 2) * n / max(1, n - 1)
    return float((weights.double() * variance).sum())
