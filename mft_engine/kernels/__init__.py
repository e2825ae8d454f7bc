"""The fast inner loops: one reference, and faster kernels that are tested against it."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from mft_engine.device import can_record_graphs, host_device
from mft_engine.kernels.graphed import GraphedKernel
from mft_engine.kernels.plan import BackgroundResult, CloudKernel, FrozenResult, Integrator, Kernel, Mover, StepPlan
from mft_engine.kernels.reference import ReferenceKernel
from mft_engine.network.activations import Activation, get_activation

__all__ = [
    "BackgroundResult",
    "CloudKernel",
    "FrozenResult",
    "GraphedKernel",
    "Integrator",
    "Kernel",
    "KernelKind",
    "Mover",
    "ReferenceKernel",
    "StepPlan",
    "choose",
]

KernelKind = Literal["auto", "fused", "graphed", "reference"]
MAX_FUSED_INPUTS = 16


def why_not_fused(device: torch.device | str, dtype: torch.dtype, n_inputs: int, n_out: int) -> str | None:
    """The reason why the fused kernel cannot serve, in words, or None."""
    if torch.device(device).type != host_device().type:
        return f"it runs on the {host_device().type}, not on {device}"
    if dtype != torch.float32:
        return f"it computes in float32, not in {dtype}"
    if n_out != 1:
        return f"it has one readout, not {n_out}"
    if n_inputs > MAX_FUSED_INPUTS:
        return f"it takes at most {MAX_FUSED_INPUTS} inputs, not {n_inputs}"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    return None


def choose(
    activation: Activation | str,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    n_inputs: int,
    n_out: int = 1,
    kind: KernelKind = "auto",
) -> CloudKernel:
    """The fastest kernel that serves these tensors ("auto"), or the one asked for.

    A fused kernel may still have to compile: see `Kernel.is_ready` and `Kernel.warm_up`.

    Args:
        activation: phi, or its name.
        device, dtype: of theta.
        n_inputs: columns of the points.
        n_out: readouts of a neuron.
        kind: "auto", "fused", "graphed" (recorded where the device can, else step by step) or "reference".

    Raises:
        ValueError: unknown activation or kind, or "fused" was asked for and cannot serve.
    """
    if isinstance(activation, str):
        activation = get_activation(activation)
    if kind not in ("auto", "fused", "graphed", "reference"):
        raise ValueError(f"kernel {kind!r} is not auto, fused, graphed or reference")
    reason = why_not_fused(device, dtype, n_inputs, n_out)
    if kind == "fused" and reason is not None:
        raise ValueError(f"the fused kernel cannot serve here: {reason}")
    if kind == "graphed" or (kind == "auto" and can_record_graphs(torch.device(device))):
        return GraphedKernel(activation)
    if kind == "reference" or reason is not None:
        return ReferenceKernel(activation)
    from mft_engine.kernels.fused import FusedKernel

    return FusedKernel(activation)
