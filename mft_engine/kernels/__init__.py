"""The fast inner loops: one reference, and faster kernels that are tested against it."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from mft_engine.device import can_record_graphs, has_step_compiler, host_device
from mft_engine.kernels.graphed import GraphedKernel, GraphedLayeredKernel
from mft_engine.kernels.layered import LayeredKernel
from mft_engine.kernels.plan import BackgroundResult, CloudKernel, FrozenResult, Integrator, Kernel, Mover, StepPlan
from mft_engine.kernels.reference import ReferenceKernel
from mft_engine.network.activations import Activation, get_activation
from mft_engine.network.layered import LayeredNetwork

__all__ = [
    "BackgroundResult",
    "CloudKernel",
    "FrozenResult",
    "GraphedKernel",
    "GraphedLayeredKernel",
    "Integrator",
    "Kernel",
    "KernelKind",
    "LayeredKernel",
    "Mover",
    "ReferenceKernel",
    "StepPlan",
    "choose",
    "choose_layered",
    "choose_movers",
]

KernelKind = Literal["auto", "fused", "graphed", "reference"]
MAX_FUSED_INPUTS = 16
# Numbers in all the parts of a layered network's drift (64 MB) up to which compiled steps are quicker on the CPU.
MOST_COMPILED = 2**24


def why_not_fused(device: torch.device | str, dtype: torch.dtype, n_inputs: int, n_out: int) -> str | None:
    """The reason why the fused kernel cannot serve, in words, or None."""
    is_host, compiler = torch.device(device).type == host_device().type, compiler_for(device)
    if compiler is None:
        return f"it runs on the {host_device().type} or on an NVIDIA GPU, not on {device}"
    if dtype != torch.float32:
        return f"it computes in float32, not in {dtype}"
    if n_out != 1:
        return f"it has one readout, not {n_out}"
    if n_inputs > MAX_FUSED_INPUTS:
        return f"it takes at most {MAX_FUSED_INPUTS} inputs, not {n_inputs}"
    if importlib.util.find_spec(compiler) is None:
        return f"{compiler} is not installed" + ("" if is_host else ' (pip install "mft-lab[gpu]")')
    return None


def _has_compiled_products(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether several readouts, and many inputs, are compiled here."""
    is_here = importlib.util.find_spec("numba") is not None
    return is_here and device.type == host_device().type and dtype == torch.float32


def _has_triton(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton compiles what a step does between matrix products."""
    is_here = has_step_compiler(device) and importlib.util.find_spec("triton") is not None
    return is_here and dtype == torch.float32


def compiler_for(device: torch.device | str) -> str | None:
    """The package that compiles fused steps for this device, or None where there is none."""
    device = torch.device(device)
    if device.type == host_device().type:
        return "numba"
    return "triton" if has_step_compiler(device) else None


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
        kind: "auto", "fused" (compiled loops on the CPU, Triton on a GPU), "graphed" (recorded where the device
            can, else step by step) or "reference".

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
    if kind == "auto" and reason is not None and _has_triton(torch.device(device), dtype):
        from mft_engine.kernels.gpu.product_kernels import ProductKernel

        return ProductKernel(activation, n_out)
    if kind == "graphed" or (kind == "auto" and reason is not None and can_record_graphs(torch.device(device))):
        return GraphedKernel(activation)
    if kind == "auto" and reason is not None and _has_compiled_products(torch.device(device), dtype):
        from mft_engine.kernels.fused_many import FusedManyKernel

        return FusedManyKernel(activation)
    if kind == "reference" or reason is not None:
        return ReferenceKernel(activation)
    if compiler_for(device) == "triton":
        from mft_engine.kernels.gpu.kernel import TritonKernel

        return TritonKernel(activation)
    from mft_engine.kernels.fused import FusedKernel

    return FusedKernel(activation)


def choose_layered(
    network: LayeredNetwork, device: torch.device, dtype: torch.dtype, n_points: int, kind: KernelKind = "auto"
) -> Kernel:
    """The fastest kernel that serves a network of several hidden layers.

    Args:
        kind: "auto" or "fused" (compiled loops on the CPU, Triton between recorded products on a GPU), "graphed"
            (recorded where the device can) or "reference" (operations one by one).
    """
    if kind == "reference":
        return LayeredKernel(network, device, dtype)
    if kind != "graphed" and _has_triton(device, dtype):
        from mft_engine.kernels.gpu.product_kernels import LayeredProductKernel

        return LayeredProductKernel(network, device)
    if kind == "graphed" or can_record_graphs(device):
        return GraphedLayeredKernel(network, device, dtype)
    if _has_compiled_products(device, dtype):
        from mft_engine.kernels.fused_layered import FusedLayeredKernel, cut

        if network.n_parameters * cut(n_points)[1] <= MOST_COMPILED:
            return FusedLayeredKernel(network)
    return LayeredKernel(network, device, dtype)


def choose_movers(network: LayeredNetwork, device: torch.device, dtype: torch.dtype) -> tuple[Mover, ...]:
    """The inner loop of each layer's fresh neurons, which have a readout for every neuron of the next layer."""
    if not can_record_graphs(device):
        return tuple(ReferenceKernel(phi) for phi in network.activations)
    sizes = (network.n_inputs, *network.n_neurons, 1)
    return tuple(
        choose(phi, device=device, dtype=dtype, n_inputs=sizes[i], n_out=sizes[i + 2])
        for i, phi in enumerate(network.activations)
    )
