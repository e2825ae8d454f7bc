"""The foreground: iid neurons, each moved by the frozen field of the background; none sees another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.field.field import MeanField
from mft_engine.kernels import Mover, StepPlan
from mft_engine.network.activations import Activation
from mft_engine.slices import Pace

LOOK_EVERY = 500


@dataclass(frozen=True)
class Walk:
    """How long and with what steps the neurons move.

    Attributes:
        step_size: at the start; n_steps: 0 means until `time` is reached.
        largest_step: cloud -> the largest step that resolves its neurons; None keeps the step as it is.
        plan: step size -> the kernel's numbers.
    """

    step_size: float
    n_steps: int
    time: float
    largest_step: Callable[[Tensor], float] | None
    plan: Callable[[float], StepPlan]


def move(theta: Tensor, field: MeanField, walk: Walk, kernel: Mover) -> Iterator[float | Tensor]:
    """The neurons' own dynamics in the frozen field, from `theta`.

    Yields the fraction done about every 8 ms (large clouds: every step), at last the (n_neurons, n_params) cloud.

    Raises:
        ArithmeticError: a neuron that is no longer finite.
    """
    step, elapsed, pace, step_size = 0, 0.0, Pace(), walk.step_size
    while True:
        if step % LOOK_EVERY == 0 and walk.largest_step is not None:
            step_size = min(step_size, walk.largest_step(theta))
        left = walk.n_steps - step if walk.n_steps else math.ceil((walk.time - elapsed) / step_size - 1e-9)
        if left <= 0:
            break
        start = time.perf_counter()
        n = min(pace.n_steps, left, LOOK_EVERY - step % LOOK_EVERY)
        result = kernel.advance_frozen(theta, field.inputs, field.signal, walk.plan(step_size), step, n)
        if not result.is_finite:
            raise ArithmeticError(
                f"The foreground diverged before its step {step + n}; choose a smaller training.step_size"
            )
        theta = result.theta
        step += n
        for _ in range(n):  # one by one, so that the clock's split of the steps leaves no trace in the sum
            elapsed += step_size
        yield min(1.0, step / walk.n_steps if walk.n_steps else elapsed / walk.time)
        pace.measured(n, time.perf_counter() - start)
    yield theta


def function_covariance_trace(theta: Tensor, inputs: Tensor, weights: Tensor, activation: Activation) -> float:
    """Tr C of h = a phi(w.x) over the cloud: E_x Var_i(a_i phi(w_i.x)), summed over the readouts.

    The recombined function of N iid neurons misses its mean by Tr C / N in mean square.

    Args:
        theta: (n_neurons, n_params); inputs: (n_points, n_inputs); weights: (n_points,).
    """
    n_inputs = inputs.shape[1]
    mean = torch.zeros(inputs.shape[0], theta.shape[1] - n_inputs, dtype=torch.float64, device=inputs.device)
    square = torch.zeros_like(mean)
    for start in range(0, theta.shape[0], 4096):
        block = theta[start : start + 4096]
        phi, readout = activation.phi(inputs @ block[:, :n_inputs].T).double(), block[:, n_inputs:].double()
        mean += phi @ readout
        square += (phi * phi) @ (readout * readout)
    n = theta.shape[0]
    variance = (square / n - (mean / n) ** 2) * n / max(1, n - 1)
    return float((weights.double() @ variance).sum())
