"""Kernels written for GPUs, run by Triton's interpreter on the CPU, program after program; small problems for them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from mft_engine import kernels, rng
from mft_engine.kernels import StepPlan
from mft_engine.network.activations import get_activation
from mft_engine.network.layered import LayeredNetwork

PACKAGE = "mft_engine.kernels.gpu"
CPU = torch.device("cpu")


def _set_aside() -> dict[str, ModuleType]:
    kernels.__dict__.pop("gpu", None)
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(PACKAGE)}


def interpreted_module(name: str) -> Iterator[ModuleType]:
    """A module of `mft_engine.kernels.gpu` whose kernels are interpreted; the body of a fixture.

    Args:
        name: of the module, without its package.
    """
    from triton import knobs
    from triton.runtime.interpreter import InterpretedFunction

    compiled = _set_aside()
    with knobs.runtime.scope():
        knobs.runtime.interpret = True
        module = importlib.import_module(f"{PACKAGE}.{name}")
    # Whoever imports the package from here on gets the compiled one.
    _set_aside()
    sys.modules.update(compiled)
    if PACKAGE in compiled:
        kernels.__dict__["gpu"] = compiled[PACKAGE]
    with pytest.MonkeyPatch.context() as patch:
        # The language is patched once by the kernel's own call; doing so again in every function it calls takes most
        # of the time.
        patch.setattr(InterpretedFunction, "__call__", lambda self, *a, **k: self.rewrite()(*a, **k))
        yield module


def normal(step: int, rows: int, columns: int) -> torch.Tensor:
    return rng.normal(11, rng.Stream.TASK, step, rows, columns, device="cpu")


class Steps:
    """Steps of a small problem by any kernel; n_numbers of a plan are one for each group of parameters."""

    points: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    theta: torch.Tensor
    total: torch.Tensor
    n_numbers: int

    def plan(
        self, integrator: Any = "leimkuhler-matthews", noise: float = 1e-2, rate: float = 1e-2, **more: Any
    ) -> StepPlan:
        columns = range(self.n_numbers)
        return StepPlan(
            tuple(rate * (1 + 0.1 * j) for j in columns),
            tuple(1e-3 * (1 + 0.2 * j) for j in columns),
            tuple(noise * (1 + 0.3 * j) for j in columns),
            integrator,
            2**40 + 9,
            int(rng.Stream.BACKGROUND),
            0.8,
            **more,
        )

    def background(self, kernel: Any, plan: StepPlan, first_step: int, n_steps: int, theta: Any = None) -> Any:
        theta = self.theta if theta is None else theta
        return kernel.advance_background(
            theta, self.points, self.targets, self.weights, plan, first_step, n_steps, self.total
        )

    def frozen(self, kernel: Any, plan: StepPlan, first_step: int, n_steps: int, theta: Any = None) -> torch.Tensor:
        theta = self.theta if theta is None else theta
        signal = self.weights.reshape(-1, *(1,) * (self.targets.dim() - 1)) * self.targets
        found: torch.Tensor = kernel.advance_frozen(theta, self.points, signal, plan, first_step, n_steps).theta
        return found


class Problem(Steps):
    """Sizes that are no multiples of anything; n_neurons is one number for a cloud, several for layers."""

    def __init__(self, n_inputs: int, n_neurons: int | tuple[int, ...], n_out: int = 1, *, n_points: int = 23) -> None:
        self.points = normal(0, n_points, n_inputs) * min(1.0, 2.0 / n_inputs**0.5)
        self.targets = normal(1, n_points, n_out) if n_out > 1 else normal(1, n_points, 1)[:, 0]
        weights = normal(2, n_points, 1)[:, 0].abs()
        self.weights = weights / weights.sum()
        if isinstance(n_neurons, int):
            self.theta, self.n_numbers = normal(3, n_neurons, n_inputs + n_out), n_inputs + n_out
        else:
            n_params = sum(a * b for a, b in zip(n_neurons, (n_inputs, *n_neurons[:-1]), strict=True)) + n_neurons[-1]
            self.theta, self.n_numbers = normal(3, n_params, 1)[:, 0], len(n_neurons) + 1
        self.total = torch.zeros(self.targets.shape, dtype=torch.float64)

    def to(self, device: str) -> Problem:
        for part in ("points", "targets", "weights", "theta", "total"):
            setattr(self, part, getattr(self, part).to(device))
        return self


def layers(*names: str, n_inputs: int = 3) -> LayeredNetwork:
    return LayeredNetwork(n_inputs, (13, 21, 9)[: len(names)], tuple(get_activation(name) for name in names))


def trusted(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """That kernel, without the trial, which compares 300 neurons."""
    monkeypatch.setattr(kernel, "_serves", lambda points: True)
    return kernel
