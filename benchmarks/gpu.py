"""A step on a GPU against PyTorch, torch.compile and JAX, recipes, errors, whole commands: one run, under 4 minutes.

    python -m benchmarks.gpu [--json] [--out FILE] [--quick]

No part is begun after 200 seconds, and one that fails leaves the others their rows. Where there is no NVIDIA GPU the
tables tell what the compiled code should take on some: PREDICTED (`benchmarks/gpu_predictions.py`), never measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mft_engine.cli.bench import load_part
from mft_engine.dynamics import Hyper
from mft_engine.experiment.background import Background
from mft_engine.kernels import GraphedKernel, Mover, ReferenceKernel, StepPlan, choose
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, normal

GOALS_US = {2048: 8.0, 16_384: 16.0, 131_072: 45.0, 1_048_576: 280.0}
# Seconds after which no further part is begun, and that one part may take.
BUDGET, PART_SECONDS = 200.0, 60.0
COMMANDS = (
    ("run", "clover"),
    ("run", "continuous-xor"),
    ("run", "modular-addition", "--set", "training.n_steps=20000"),
    ("run", "clover", "--set", "network.n_neurons=1000000", "--set", "training.n_steps=2000"),
    ("run", "digits"),
    ("run", "grokking"),
)
# Where the checkout has tests that need a device.
TESTED = ("gpu_kernels", "gpu_products", "graphed", "riders_scope")
# Stretches of training that are timed, after a first one that compiles and records.
TRAINED_STEPS, KERNEL_STEPS = 400, 100
# In one call of a path at the smallest size.
MOST_STEPS = 1000


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], object], n_steps: int, seconds: float, device: torch.device) -> dict[str, float]:
    """Microseconds a step, median and smallest of rounds of about so long together, by the device's own clock."""
    call()
    synchronize(device)
    samples: list[float] = []
    start = time.perf_counter()
    while len(samples) < 3 or (time.perf_counter() - start < seconds and len(samples) < 100):
        samples.append(1e3 * _milliseconds(call, device) / n_steps)
    return {"median_us": statistics.median(samples), "min_us": min(samples), "n_samples": len(samples)}


def _milliseconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        begin = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - begin)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))


def guarded(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a part finds, or its failure in words: whatever a compiler or driver throws must not cost the other rows."""
    try:
        return call()
    except Exception as problem:
        return {"failure": f"{type(problem).__name__}: {str(problem).strip().splitlines()[-1:]}"[:300]}


def case_on(device: torch.device, n_neurons: int) -> tuple[Any, Any]:
    """The default clover with so many neurons, on the host and on the device."""
    parts = load_part("kernels")
    host = parts.Case.of(n_neurons, load_part("gpu_predictions").N_POINTS)
    names = ("theta", "points", "targets", "weights")
    return host, parts.Case(*(getattr(host, name).to(device) for name in names))


def measure_size(n_neurons: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Every path at one size: microseconds a step, and the error of a noiseless step against float64."""
    parts, predicted = load_part("kernels"), load_part("gpu_predictions")
    host, case = case_on(device, n_neurons)
    activation = get_activation("relu_tanh")
    exact = parts.KernelPath(ReferenceKernel(activation), case.double(), 1).one_noiseless_step()
    rows: dict[str, Any] = {}

    def of_others(make: Callable[[Any], Any], given: Any) -> dict[str, Any]:
        with torch.device(device):
            step, theta = make(given)
            step()
            error = parts.relative_error(theta().to(device), exact, case.theta)
            return {**timed(step, 1, seconds, device), "error": error}

    def of_ours(kernel: Any, n_steps: int, is_frozen: bool) -> dict[str, Any]:
        path = parts.KernelPath(kernel, case, n_steps, is_frozen=is_frozen)
        row = {} if is_frozen else {"error": parts.relative_error(path.one_noiseless_step(), exact, case.theta)}
        return {**row, **timed(path, n_steps, seconds, device), "kernel": getattr(kernel, "name", "")}

    many = min(MOST_STEPS, max(50, 200_000_000 // (n_neurons * predicted.N_POINTS) * 50))
    fast = choose("relu_tanh", device=device, dtype=torch.float32, n_inputs=2)
    for name, kernel, n_steps, is_frozen in (
        ("compiled steps", fast, many, False),
        ("compiled steps, frozen", fast, many, True),
        ("graphed", GraphedKernel(activation), many, False),
        ("reference", ReferenceKernel(activation), 1, False),
    ):
        rows[name] = guarded(lambda k=kernel, n=n_steps, f=is_frozen: of_ours(k, n, f))
        _let_go(device)
    for name, make, given in (
        ("plain PyTorch", parts.plain_pytorch, case),
        ("hand gradient", parts.hand_gradient, case),
        ("torch.compile", parts.compiled_pytorch, case),
        ("JAX jit", parts.jax_jit, host),
    ):
        if name == "JAX jit" and not has_jax(device):
            continue
        rows[name] = guarded(lambda m=make, g=given: of_others(m, g))
        _let_go(device)
    ours = rows["compiled steps"].get("median_us")
    for row in rows.values():
        row["times_ours"] = row["median_us"] / ours if ours and "median_us" in row else None
    return {
        "n_neurons": n_neurons,
        "goal_us": GOALS_US.get(n_neurons),
        "floor_us": _floor(n_neurons, device),
        "paths": rows,
    }


def has_jax(device: torch.device) -> bool:
    """Whether JAX is here and works on such a device too."""
    if importlib.util.find_spec("jax") is None:
        return False
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    return bool((jax.default_backend() == "gpu") == (device.type == "cuda"))


def _let_go(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _floor(n_neurons: int, device: torch.device) -> float | None:
    """The counted floor on this device, in microseconds."""
    if device.type != "cuda":
        return None
    predicted, told = load_part("gpu_predictions"), torch.cuda.get_device_properties(device)
    clock = getattr(told, "clock_rate", 0) / 1e6 or predicted.GPUS[0].clock_ghz
    return float(predicted.floor_us(n_neurons, predicted.N_POINTS, told.multi_processor_count, clock))


def measure_recipe(name: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Microseconds of a recipe's kernel step, of a step of training with all its looks, and of fresh neurons."""
    recipe = load_recipe(name).replace({"engine.device": str(device)})
    background = Background(recipe)
    problem, setting = background.problem, background.setting
    row: dict[str, Any] = {"recipe": name}
    total = torch.zeros_like(problem.targets, dtype=torch.float64)
    if recipe.training.dynamics != "adam":
        plan = problem.plan(Hyper.of(recipe), 1e-3)
        given = (background.state.theta, problem.inputs, problem.targets, problem.weights, plan)

        def step() -> object:
            return problem.kernel.advance_background(*given, 0, KERNEL_STEPS, total)

        row |= timed(step, KERNEL_STEPS, seconds, device)
        row |= {"kernel": problem.kernel.name, **_measure_fresh(setting.movers, recipe, problem, seconds)}
    first, _ = background.dynamics.advance(background.state, problem, recipe, TRAINED_STEPS, beyond=True)
    begin = time.perf_counter()
    background.dynamics.advance(first, problem, recipe, TRAINED_STEPS, beyond=True)
    synchronize(device)
    return row | {"training_us": 1e6 * (time.perf_counter() - begin) / TRAINED_STEPS}


def _measure_fresh(movers: tuple[Mover, ...], recipe: Any, problem: Any, seconds: float) -> dict[str, Any]:
    """Frozen steps of the first layer's fresh neurons, in a field of random signals."""
    inputs, layers = problem.inputs, recipe.network.n_neurons
    n_out = layers[1] if len(layers) > 1 else problem.targets[0].numel()

    def draw(step: int, rows: int, columns: int) -> Tensor:
        return normal(0, Stream.FOREGROUND_INITIAL, step, rows, columns, device=inputs.device)

    theta = draw(0, recipe.foreground.n_neurons, inputs.shape[1] + n_out)
    signal = draw(1, len(inputs), n_out) * 1e-4
    same = (1e-3,) * theta.shape[1]
    plan = StepPlan(same, same, same, "leimkuhler-matthews", 0, int(Stream.FOREGROUND))
    given = (theta, inputs, signal if n_out > 1 else signal[:, 0], plan)
    found = timed(lambda: movers[0].advance_frozen(*given, 0, KERNEL_STEPS), KERNEL_STEPS, seconds, inputs.device)
    return {"frozen_us": found["median_us"]}


def measure_activation(name: str, device: torch.device) -> dict[str, Any]:
    """An activation's trial against the reference, the same bits twice and for a split of the steps."""
    parts = load_part("kernels")
    _, case = case_on(device, 2048)
    kernel = choose(name, device=device, dtype=torch.float32, n_inputs=2)
    exact = parts.KernelPath(ReferenceKernel(get_activation(name)), case.double(), 1).one_noiseless_step()
    path = parts.KernelPath(kernel, case, 1)
    error = parts.relative_error(path.one_noiseless_step(), exact, case.theta)
    total = torch.zeros(len(case.points), dtype=torch.float64, device=device)
    arguments = (case.points, case.targets, case.weights, parts.plan(noisy=True))
    whole = [kernel.advance_background(case.theta, *arguments, 0, 20, total) for _ in range(2)]
    split = kernel.advance_background(case.theta, *arguments, 0, 7, total)
    split = kernel.advance_background(split.theta, *arguments, 7, 13, split.prediction_sum)
    return {
        "kernel": kernel.name,
        "error": error,
        "same_bits_twice": torch.equal(whole[0].theta, whole[1].theta),
        "same_bits_split": torch.equal(whole[0].theta, split.theta),
    }


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
    files = [str(folder / f"test_{name}.py") for name in TESTED]
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, cwd=folder.parent.parent)
    except subprocess.TimeoutExpired:
        return {"last_line": f"not done in {seconds:.0f} s"}
    return {"last_line": (done.stdout.strip().splitlines() or ["nothing"])[-1], "status": done.returncode}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """All that this machine can tell: measurements where it has a GPU, predictions where it has none."""
    predicted = load_part("gpu_predictions")
    document: dict[str, Any] = {"schema": "mft-lab/benchmark/gpu/2", "quick": quick, "torch": torch.__version__}
    if importlib.util.find_spec("triton") is not None:
        import triton

        document["triton"] = triton.__version__
    if torch.cuda.is_available():
        return document | measure_on(torch.device("cuda"), quick=quick)
    if "triton" not in document:
        raise ValueError('no NVIDIA GPU to measure, and no Triton to predict from: pip install "mft-lab[gpu]"')
    gpus, sizes, recipes = predicted.GPUS, predicted.SIZES, predicted.RECIPES
    if quick:
        gpus, sizes, recipes = gpus[:1], sizes[:1], recipes[:2]
    return document | {"is_measured": False, "predictions": predicted.predictions(gpus, sizes, recipes)}


def measure_on(device: torch.device, *, quick: bool = False) -> dict[str, Any]:
    """Measurements on a device, the dearest parts last; no part is begun once the time is spent."""
    predicted, start = load_part("gpu_predictions"), time.perf_counter()
    seconds = 0.1 if quick else 0.5
    sizes, recipes = (predicted.SIZES[:1], predicted.RECIPES[:2]) if quick else (predicted.SIZES, predicted.RECIPES)

    def left() -> float:
        return BUDGET - (time.perf_counter() - start)

    def part(call: Callable[[], dict[str, Any]], **named: Any) -> dict[str, Any]:
        found = guarded(call) if left() > 0 else {"failure": "no time left"}
        return {**named, **found}

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    document: dict[str, Any] = {"is_measured": True, "gpu": name}
    document["sizes"] = [part(lambda n=n: measure_size(n, device, seconds), n_neurons=n) for n in sizes]
    document["recipes"] = [part(lambda n=n: measure_recipe(n, device, seconds), recipe=n) for n in recipes]
    checked = list(ACTIVATIONS)[:2] if quick else list(ACTIVATIONS)
    document["checks"] = {n: part(lambda n=n: measure_activation(n, device)) for n in checked}
    document["commands"] = []
    if not quick:
        for words in COMMANDS:
            if left() > 5:
                placed = (*words, "--set", f"engine.device={device.type}")
                document["commands"].append(run_command(placed, min(PART_SECONDS, left())))
        document["tests"] = part(lambda: run_tests(max(5.0, min(PART_SECONDS, left() + 20.0))))
    document["seconds"] = time.perf_counter() - start
    return document


def markdown(document: dict[str, Any]) -> str:
    """The tables."""
    if not document["is_measured"]:
        return str(load_part("gpu_predictions").markdown(document, GOALS_US))
    told = f"Measured on {document['gpu']}, torch {document['torch']}, Triton {document.get('triton', 'absent')}."
    lines = [told, "", "| neurons x 256 | path | us a step (median) | smallest | error | times ours | goal | floor |"]
    lines.append("|" + "---|" * 8)
    for size in document["sizes"]:
        for name, row in size.get("paths", {"all": size}).items():
            if "median_us" not in row:
                lines.append(f"| {size['n_neurons']:,} | {name} | {row.get('failure', '')} | | | | | |")
                continue
            is_ours = name == "compiled steps"
            lines.append(
                f"| {size['n_neurons']:,} | {name} | {row['median_us']:.1f} | {row['min_us']:.1f} | "
                f"{_number(row.get('error'), '.1e')} | {_number(row['times_ours'], '.1f')} | "
                f"{_number(size['goal_us'] if is_ours else None, '.0f')} | "
                f"{_number(size['floor_us'] if is_ours else None, '.1f')} |"
            )
    lines += ["", "| recipe | kernel | us a step | us a step of training | steps/s of it | frozen field, us |"]
    lines.append("|" + "---|" * 6)
    for row in document["recipes"]:
        speed = 1e6 / row["training_us"] if "training_us" in row else None
        lines.append(
            f"| {row['recipe']} | {row.get('kernel') or row.get('failure', 'recorded operations')} | "
            f"{_number(row.get('median_us'), '.1f')} | {_number(row.get('training_us'), '.1f')} | "
            f"{_number(speed, ',.0f')} | {_number(row.get('frozen_us'), '.1f')} |"
        )
    lines += ["", "| activation | kernel | error | same bits twice | for a split |", "|" + "---|" * 5]
    for name, row in document["checks"].items():
        lines.append(
            f"| {name} | {row.get('kernel') or row['failure']} | {_number(row.get('error'), '.1e')} | "
            f"{row.get('same_bits_twice', '')} | {row.get('same_bits_split', '')} |"
        )
    for row in document["commands"]:
        lines.append(
            f"\n`mft-lab {row['command']}`: {row['seconds']:.1f} s, {row.get('verdict') or row.get('failure')}"
        )
    if "tests" in document:
        lines.append(f"\nTests on the device: {document['tests'].get('last_line') or document['tests']['failure']}")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


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
