"""What a training looks at now and then to choose its step: how stiff it is, and how curved single neurons' potentials.

On a device that records work a look is one launch and one trip; hyperparameters lie in memory there, so that a slider
that moves them leaves the recording as it is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mft_engine.device import can_record_graphs, side_by_side
from mft_engine.dynamics.hyper import Hyper, resolved_by
from mft_engine.dynamics.network import Network
from mft_engine.dynamics.problem import Problem
from mft_engine.field.field import curvature
from mft_engine.kernels.reference import KEPT_ELEMENTS
from mft_engine.points.loss import LOSS
from mft_engine.recorded import Recorded


def stiffness_and_resolving_step(theta: Tensor, problem: Problem, hyper: Hyper) -> tuple[float, float]:
    """Theta of a network, and the largest step that resolves its single neurons (no bound for a step that is given).

    Waits for the device, once.
    """
    wants_step = hyper.step_size is None
    if not problem.network.is_whole or not can_record_graphs(theta.device):
        if not wants_step:
            return problem.eigenvalue(theta, hyper), math.inf
        resolving, value = side_by_side(
            lambda: problem.resolving_step(theta, hyper), lambda: problem.eigenvalue(theta, hyper)
        )
        return value, resolving
    is_bounded = wants_step and hyper.is_preconditioned and hyper.temperature > 0
    # Of a large cloud the kernel's own pass is the quicker one.
    is_large = theta.numel() * len(problem.inputs) > KEPT_ELEMENTS
    told = (problem.kernel.predict(theta, problem.inputs, problem.readout_exponent),) if is_large and is_bounded else ()
    numbers = _sent((hyper.lambda_w, hyper.lambda_a, hyper.temperature, hyper.lambda_hidden), theta.device)
    (found,) = _LOOK(
        theta, problem.inputs, problem.targets, problem.weights, numbers, *told, network=problem.network,
        exponent=problem.readout_exponent, is_preconditioned=hyper.is_preconditioned,
        trains_readout=hyper.trains_readout, is_bounded=is_bounded,
    )  # fmt: skip
    value, *curvatures = found.tolist()
    return value, min((resolved_by(kappa) for kappa in curvatures), default=math.inf)


@lru_cache(maxsize=8)
def _sent(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).to(device)


def _look(
    theta: Tensor,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    numbers: Tensor,
    *prediction: Tensor,
    network: Network,
    exponent: float,
    is_preconditioned: bool,
    trains_readout: bool,
    is_bounded: bool,
) -> tuple[Tensor, ...]:
    lambda_w, lambda_a, temperature, lambda_hidden = numbers.unbind()
    there: dict[str, Any] = {
        "lambda_w": lambda_w, "lambda_a": lambda_a, "temperature": temperature, "lambda_hidden": lambda_hidden,
    }  # fmt: skip
    hyper = Hyper(
        **there,
        step_size=None,
        integrator="euler",
        is_preconditioned=is_preconditioned,
        trains_readout=trains_readout,
    )
    found = [network.eigenvalue(theta, inputs, weights, network.rates(hyper), exponent)]
    if is_bounded:
        (f,) = prediction or (network.output(theta, inputs, exponent),)
        felt = network.felt(theta, inputs, weights, LOSS.signal(targets, f), hyper, exponent)
        found += [curvature(neurons, field, hyper.temperature) for neurons, field in felt]
    return (torch.stack([number.double() for number in found]),)


_LOOK = Recorded(_look)
