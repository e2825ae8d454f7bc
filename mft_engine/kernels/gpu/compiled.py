"""The machine code of the steps, made and read without a GPU: registers, spills, instructions of their loops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mft_engine.device import NVIDIA
from mft_engine.kernels.gpu import product_steps, products, steps
from mft_engine.kernels.gpu.buffers import Kind, constants_of
from mft_engine.kernels.gpu.tiles import tiles

_TYPES = {
    "state_ptr": "*fp32", "xi_ptr": "*fp32", "x_ptr": "*fp32", "c_ptr": "*fp32", "numbers_ptr": "*fp32",
    "points_ptr": "*fp64", "found_ptr": "*fp64", "scales_ptr": "*fp64", "losses_ptr": "*fp64", "sums_ptr": "*i64",
    "counts_ptr": "*i64", "marks_ptr": "*i32", "n_neurons": "i32", "n_padded": "i32", "n_slots": "i32",
    "n_steps": "i32", "scale": "fp32", "limit": "fp32",
    "z_ptr": "*fp32", "slope_ptr": "*fp32", "back_ptr": "*fp32", "f_ptr": "*fp32", "signal_ptr": "*fp32",
    "readout_ptr": "*fp32", "theta_ptr": "*fp32", "drift_ptr": "*fp32", "parts_ptr": "*fp64", "n_elements": "i32",
    "n_values": "i32", "readout_stride": "i32", "n_params": "i32", "n_parts": "i32",
}  # fmt: skip
# Sizes that the launches know to be multiples of 16, as they know it of every address but this one.
_MULTIPLES = ("n_padded", "n_slots")
_ANYWHERE = "readout_ptr"
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:\{\s*)?(.*?);")
_LABEL = re.compile(r"\s*\.(L_x_\d+):")
# Special units, barriers, and memory of a thread's own.
_COUNTED = tuple(re.compile(pattern) for pattern in ("MUFU", r"BAR\.", r"\b(STL|LDL)\b"))
_JUMP = re.compile(r"BRA.*`\(\.(L_x_\d+)\)")


@dataclass(frozen=True)
class Loop:
    """One loop of a kernel's machine code, in instructions of one thread.

    Attributes:
        n_instructions, n_special: all, and those of the unit for exponentials and reciprocals.
        n_meetings: barriers between the threads of a program.
        n_spills: numbers put into memory, or taken from there, because registers did not suffice.
        is_innermost: no other loop is inside.
    """

    n_instructions: int
    n_special: int
    n_meetings: int
    n_spills: int
    is_innermost: bool


@dataclass(frozen=True)
class Code:
    """What one kernel has become.

    Attributes:
        n_registers: of a thread.
        stack_bytes: memory of a thread beyond its registers; above 0 something has been spilled.
        n_instructions: of a thread that takes every branch once.
        loops: in the order of the code.
    """

    n_registers: int
    stack_bytes: int
    n_instructions: int
    loops: tuple[Loop, ...]


def compile_step(kind: Kind, capability: int, *, goes_back: bool = True, goes_on: bool = True) -> Code:
    """`steps.background_step` for compute capability `capability` (80, 89, 90, ...)."""
    slots = tiles(kind.n_neurons, kind.n_slots, kind.n_inputs).slots
    extra = {"GOES_BACK": goes_back, "GOES_ON": goes_on, "SLOTS": slots}
    return _compile(steps.background_step, constants_of(kind) | extra, capability)


def compile_frozen(kind: Kind, capability: int) -> Code:
    """`steps.frozen_steps` for that compute capability."""
    return _compile(steps.frozen_steps, constants_of(kind), capability)


def compile_products(kind: products.ProductKind, capability: int) -> dict[tuple[str, int], Code]:
    """Every kernel of `product_steps` that such a step launches between its products, by name and layer."""
    return {
        (name, layer): _compile(getattr(product_steps, name), products.constants_of(kind, name, layer), capability)
        for name, layer in products.launches_of(kind)
    }


def _compile(kernel: triton.JITFunction, constants: dict[str, Any], capability: int) -> Code:
    options = {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
    names: list[str] = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else _TYPES[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(names)
            if name in _MULTIPLES or (_TYPES.get(name, "").startswith("*") and name != _ANYWHERE)
        },
    )
    found = triton.compile(source, target=GPUTarget(NVIDIA, capability, 32), options=options)
    return _read(found.asm["cubin"])


def _read(binary: bytes) -> Code:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.cubin"
        path.write_bytes(binary)
        usage = _tool("cuobjdump", "-res-usage", str(path))
        listing = _tool("nvdisasm", "-c", str(path))
    match = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if match is None:
        raise ValueError(f"cuobjdump told nothing of the step's registers: {usage[:200]!r}")
    n_instructions = sum(_INSTRUCTION.match(line) is not None for line in listing.splitlines())
    return Code(int(match[1]), int(match[2]), n_instructions, _loops(listing))


def _tool(name: str, *arguments: str) -> str:
    """What one of the disassemblers that come with Triton prints."""
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, check=True).stdout


def _loops(listing: str) -> tuple[Loop, ...]:
    """Stretches of code between a label and a jump back to it."""
    labels: dict[str, int] = {}
    code: list[str] = []
    loops: list[Loop] = []
    starts: list[int] = []
    for line in listing.splitlines():
        label, instruction = _LABEL.match(line), _INSTRUCTION.match(line)
        if label is not None:
            labels[label[1]] = len(code)
        elif instruction is not None:
            code.append(instruction[1])
            jump = _JUMP.search(instruction[1])
            # The code ends with a jump to itself.
            if jump is not None and len(code) - labels.get(jump[1], len(code)) > 1:
                start = labels[jump[1]]
                special, meetings, spills = (sum(p.search(i) is not None for i in code[start:]) for p in _COUNTED)
                is_innermost = all(other < start for other in starts)
                loops.append(Loop(len(code) - start, special, meetings, spills, is_innermost))
                starts.append(start)
    return tuple(loops)
