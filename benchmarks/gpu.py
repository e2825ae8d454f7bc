"""A step on a GPU against plain PyTorch and torch.compile, its errors, and whole commands: one run, under 4 minutes.

    python -m benchmarks.gpu [--json] [--out FILE] [--quick]

Where there is no NVIDIA GPU the table tells what the compiled code should take on some: PREDICTED, from counted
instructions (the kernels are compiled for the generation and read), never measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mft_engine.cli.bench import load_part
from mft_engine.kernels import GraphedKernel, ReferenceKernel, choose
from mft_engine.network.activations import ACTIVATIONS, get_activation

SIZES = (2048, 16_384, 131_072, 1_048_576)
N_POINTS = 256
GOALS_US = {2048: 8.0, 16_384: 16.0, 131_072: 45.0, 1_048_576: 280.0}
# Seconds after which no further part is begun, and that one part may take.
BUDGET, PART_SECONDS = 200.0, 60.0
COMMANDS = (
    ("run", "clover"),
    ("run", "continuous-xor"),
    ("run", "modular-addition", "--set", "training.n_steps=20000"),
    ("run", "clover", "--set", "network.n_neurons=1000000", "--set", "training.n_steps=2000"),
)


@dataclass(frozen=True)
class Gpu:
    """What a prediction needs to know of a device, from its data sheet."""

    name: str
    capability: int
    n_multiprocessors: int
    clock_ghz: float


GPUS = (
    Gpu("H100 SXM, H200", 90, 132, 1.83),
    Gpu("A100 SXM", 80, 108, 1.41),
    Gpu("L40S", 89, 142, 2.2),
)
# A multiprocessor issues four instructions of 32 threads a cycle and has 16 units for exponentials and reciprocals.
ISSUED, SPECIAL = 4.0, 0.5
# Registers, warps and programs that a multiprocessor holds.
REGISTERS, WARPS, PROGRAMS = 65_536, 64, 32
# Cycles that one unrolled body takes a lone warp: a load from the first cache, then the longest chain of dependent
# instructions (product, exponential, sum, reciprocal, product, sum). An estimate.
LATENCY = 130.0
# Microseconds of a launch inside a recorded graph, and of the atomics, the last program's loss and signals. Estimates.
LAUNCH_US, TAIL_US = 1.3, 2.0


def predict(n_neurons: int, gpu: Gpu) -> dict[str, float]:
    """Microseconds of one background step of the default clover, from the instructions of its loops.

        max( pairs/32 max(instructions/4, specials/0.5) / (multiprocessors clock),  waves x bodies x latency / clock )

    plus launch and tail.
    """
    from mft_engine.kernels import forms
    from mft_engine.kernels.gpu.buffers import Kind
    from mft_engine.kernels.gpu.compiled import compile_frozen, compile_step
    from mft_engine.kernels.gpu.tiles import tiles

    n_slots = N_POINTS // 2
    kind = Kind(
        n_neurons, 2, n_slots, forms.TANH, forms.ONE_SIDED_PAIRS, True, True, 1.0, 0.0, torch.device("cpu")
    )  # fmt: skip
    n_instructions = n_special = n_registers = 0.0
    for goes_back in (True, False):
        code = compile_step(kind, gpu.capability, goes_back=goes_back, goes_on=not goes_back)
        inner = [loop for loop in code.loops if loop.n_special and not loop.n_meetings]
        # A neuron and a pair of points take one exponential and one reciprocal in either pass.
        n_instructions += min(2.0 * loop.n_instructions / loop.n_special for loop in inner)
        n_special += 2.0
        n_registers = max(n_registers, float(code.n_registers))
    frozen = [loop for loop in compile_frozen(kind, gpu.capability).loops if loop.n_special and not loop.n_meetings]
    n_frozen = min(2.0 * loop.n_instructions / loop.n_special for loop in frozen)
    tile = tiles(n_neurons, n_slots, 2)
    cycles_a_microsecond = 1e3 * gpu.clock_ghz
    pairs = n_neurons * n_slots / 32 / gpu.n_multiprocessors / cycles_a_microsecond
    busy = pairs * max(n_instructions / ISSUED, n_special / SPECIAL)
    resident = min(PROGRAMS, WARPS // tile.n_warps, int(REGISTERS // (n_registers * 32 * tile.n_warps)))
    waves = -(-(n_neurons // tile.block) // (gpu.n_multiprocessors * resident))
    bodies = n_slots / tile.lanes / tile.unroll + tile.block / tile.unroll * max(1, n_slots // tile.slots)
    waiting = waves * bodies * LATENCY / cycles_a_microsecond
    return {
        "n_neurons": n_neurons,
        "instructions_a_pair": n_instructions,
        "registers": n_registers,
        "busy_us": busy,
        "waiting_us": waiting,
        "frozen_us": pairs * max(n_frozen / ISSUED, 2.0 / SPECIAL),
        "predicted_us": max(busy, waiting) + LAUNCH_US + TAIL_US,
    }


def timed(call: Callable[[], None], n_steps: int, seconds: float) -> dict[str, float]:
    """Microseconds a step by the device's clock: median and smallest of rounds that together take about so long."""
    call()
    torch.cuda.synchronize()
    samples: list[float] = []
    start = time.perf_counter()
    while len(samples) < 5 or (time.perf_counter() - start < seconds and len(samples) < 100):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        samples.append(1e3 * begin.elapsed_time(end) / n_steps)
    return {"median_us": statistics.median(samples), "min_us": min(samples), "n_samples": len(samples)}


def measure_size(n_neurons: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Every path at one size: microseconds a step, and the error of a noiseless step against float64."""
    parts = load_part("kernels")
    host = parts.Case.of(n_neurons, N_POINTS)
    case = parts.Case(*(getattr(host, name).to(device) for name in ("theta", "points", "targets", "weights")))
    activation = get_activation("relu_tanh")
    exact = parts.KernelPath(ReferenceKernel(activation), case.double(), 1).one_noiseless_step()
    rows: dict[str, Any] = {}

    def add(name: str, call: Callable[[], None], n_steps: int, found: Tensor) -> None:
        try:
            error = parts.relative_error(found, exact, case.theta)
            rows[name] = {**timed(call, n_steps, seconds), "error": error}
        except RuntimeError as problem:
            rows[name] = {"failure": str(problem)[:200]}
        torch.cuda.empty_cache()

    with torch.device(device):
        for name, make in (
            ("plain PyTorch", parts.plain_pytorch),
            ("hand gradient", parts.hand_gradient),
            ("torch.compile", parts.compiled_pytorch),
        ):
            step, theta = make(case)
            step()
            add(name, step, 1, theta())
    kernels = {
        "reference": ReferenceKernel(activation),
        "graphed": GraphedKernel(activation),
        "compiled steps": choose("relu_tanh", device=device, dtype=torch.float32, n_inputs=2),
    }
    for name, kernel in kernels.items():
        for is_frozen in (False, True) if name == "compiled steps" else (False,):
            n_steps = 1 if name == "reference" else max(50, min(1000, 200_000_000 // (n_neurons * N_POINTS) * 50))
            path = parts.KernelPath(kernel, case, n_steps, is_frozen=is_frozen)
            path.total = path.total.to(device)
            found = path.one_noiseless_step()
            if is_frozen:
                rows[f"{name}, frozen"] = timed(path, n_steps, seconds)
            else:
                add(name, path, n_steps, found)
                rows[name]["kernel"] = kernel.name
    ours = rows["compiled steps"].get("median_us")
    for row in rows.values():
        row["times_ours"] = row["median_us"] / ours if ours and "median_us" in row else None
    return {"n_neurons": n_neurons, "goal_us": GOALS_US[n_neurons], "paths": rows}


def measure_checks(device: torch.device) -> dict[str, Any]:
    """Each activation's trial against the reference, the same bits twice and for a split of the steps."""
    parts = load_part("kernels")
    host = parts.Case.of(2048, N_POINTS)
    case = parts.Case(*(getattr(host, name).to(device) for name in ("theta", "points", "targets", "weights")))
    found: dict[str, Any] = {}
    for name in ACTIVATIONS:
        kernel, reference = (
            choose(name, device=device, dtype=torch.float32, n_inputs=2),
            ReferenceKernel(get_activation(name)),
        )
        exact = parts.KernelPath(reference, case.double(), 1).one_noiseless_step()
        path = parts.KernelPath(kernel, case, 1)
        path.total = path.total.to(device)
        error = parts.relative_error(path.one_noiseless_step(), exact, case.theta)
        total = torch.zeros(N_POINTS, dtype=torch.float64, device=device)
        arguments = (case.points, case.targets, case.weights, parts.plan(noisy=True))
        whole = [kernel.advance_background(case.theta, *arguments, 0, 20, total) for _ in range(2)]
        split = kernel.advance_background(case.theta, *arguments, 0, 7, total)
        split = kernel.advance_background(split.theta, *arguments, 7, 13, split.prediction_sum)
        found[name] = {
            "kernel": kernel.name,
            "error": error,
            "same_bits_twice": torch.equal(whole[0].theta, whole[1].theta),
            "same_bits_split": torch.equal(whole[0].theta, split.theta),
        }
    return found


def run_command(words: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """A whole command in a process of its own: seconds, steps a second, loss and verdict."""
    start = time.perf_counter()
    code = "import sys; from mft_engine.cli import main; sys.argv[0] = 'mft-lab'; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--json"], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"command": " ".join(words), "seconds": seconds, "failure": "not done in time"}
    row: dict[str, Any] = {"command": " ".join(words), "seconds": time.perf_counter() - start}
    try:
        summary = json.loads(done.stdout)
    except ValueError:
        return {**row, "failure": done.stderr.strip().splitlines()[-1:]}
    training = summary.get("training") or {}
    return {**row, "training": training, "verdict": (summary.get("comparison") or {}).get("verdict")}


def run_tests(seconds: float) -> dict[str, Any]:
    """The tests that need a device, where the checkout has them."""
    folder = Path(__file__).parent.parent / "tests" / "engine"
    if not folder.is_dir():
        return {"last_line": "no tests beside this installation"}
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, cwd=folder.parent.parent)
    except subprocess.TimeoutExpired:
        return {"last_line": f"not done in {seconds:.0f} s"}
    return {"last_line": (done.stdout.strip().splitlines() or ["nothing"])[-1], "status": done.returncode}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """All that this machine can tell: measurements where it has a GPU, predictions where it has none."""
    start = time.perf_counter()
    document: dict[str, Any] = {"schema": "mft-lab/benchmark/gpu/1", "quick": quick, "torch": torch.__version__}
    if importlib.util.find_spec("triton") is not None:
        import triton

        document["triton"] = triton.__version__
    if not torch.cuda.is_available():
        document["is_measured"] = False
        if "triton" not in document:
            raise ValueError('no NVIDIA GPU to measure, and no Triton to predict from: pip install "mft-lab[gpu]"')
        sizes = SIZES[:1] if quick else SIZES
        devices = GPUS[:1] if quick else GPUS
        document["predictions"] = [
            {"gpu": gpu.name, "rows": [predict(n, gpu) for n in sizes]} for gpu in devices
        ]  # fmt: skip
        return document
    device = torch.device("cuda")
    document |= {"is_measured": True, "gpu": torch.cuda.get_device_name(device)}
    document["checks"] = measure_checks(device)
    document["sizes"] = [measure_size(n, device, 0.2 if quick else 1.0) for n in (SIZES[:1] if quick else SIZES)]
    document["commands"] = []
    if not quick:
        document["tests"] = run_tests(PART_SECONDS)
        for words in COMMANDS:
            left = BUDGET - (time.perf_counter() - start)
            if left > 5:
                document["commands"].append(
                    run_command((*words, "--set", "engine.device=cuda"), min(PART_SECONDS, left))
                )
    document["seconds"] = time.perf_counter() - start
    return document


def markdown(document: dict[str, Any]) -> str:
    """The tables."""
    if not document["is_measured"]:
        return _predicted(document)
    lines = [
        f"Measured on {document['gpu']}, torch {document['torch']}, Triton {document.get('triton', 'absent')}.",
        "",
    ]
    lines += ["| neurons x 256 | path | us a step (median) | smallest | error | times ours | goal |", "|" + "---|" * 7]
    for size in document["sizes"]:
        for name, row in size["paths"].items():
            if "median_us" not in row:
                lines.append(f"| {size['n_neurons']:,} | {name} | {row.get('failure', '')} | | | | |")
                continue
            error = f"{row['error']:.1e}" if "error" in row else ""
            goal = f"{size['goal_us']:.0f}" if name == "compiled steps" else ""
            ratio = f"{row['times_ours']:.1f}" if row["times_ours"] else ""
            lines.append(
                f"| {size['n_neurons']:,} | {name} | {row['median_us']:.1f} | {row['min_us']:.1f} | {error} | "
                f"{ratio} | {goal} |"
            )
    lines += ["", "| activation | kernel | error | same bits twice | for a split |", "|" + "---|" * 5]
    for name, row in document["checks"].items():
        lines.append(
            f"| {name} | {row['kernel']} | {row['error']:.1e} | {row['same_bits_twice']} | {row['same_bits_split']} |"
        )
    for row in document["commands"]:
        lines.append(
            f"\n`mft-lab {row['command']}`: {row['seconds']:.1f} s, {row.get('verdict') or row.get('failure')}"
        )
    if "tests" in document:
        lines.append(f"\nTests on the device: {document['tests']['last_line']}")
    return "\n".join(lines)


def _predicted(document: dict[str, Any]) -> str:
    lines = [
        f"PREDICTED, not measured: no NVIDIA GPU here (torch {document['torch']}, Triton {document['triton']}). The "
        "steps were compiled for each generation and their instructions counted; launches, atomics and waiting for "
        "memory are estimates.",
        "",
        "| GPU | neurons x 256 | instructions a neuron and pair of points | registers | issue or special units, us "
        "| latency, us | predicted us a step | goal (H100, H200) | frozen field, issue alone, us |",
        "|" + "---|" * 9,
    ]
    for part in document["predictions"]:
        for row in part["rows"]:
            goal = f"{GOALS_US[row['n_neurons']]:.0f}" if part["gpu"].startswith("H") else ""
            lines.append(
                f"| {part['gpu']} | {row['n_neurons']:,} | {row['instructions_a_pair']:.1f} | {row['registers']:.0f} | "
                f"{row['busy_us']:.1f} | {row['waiting_us']:.1f} | {row['predicted_us']:.1f} | {goal} | "
                f"{row['frozen_us']:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size alone, no commands, no tests")
    parser.add_argument("--json", action="store_true", help="the document instead of the tables")
    parser.add_argument("--out", type=Path, help="also write the document there")
    arguments = parser.parse_args()
    document = measure(quick=arguments.quick)
    if arguments.out:
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1) if arguments.json else markdown(document))


if __name__ == "__main__":
    main()
