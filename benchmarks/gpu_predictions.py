"""What a step should take on GPUs that are not here, from the machine code of its kernels; a part of `benchmarks.gpu`.

Every number that this prints is PREDICTED. What is assumed stands at the head of this file and of the table; nothing of
it has been measured by this program.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mft_engine.dynamics import Hyper
from mft_engine.dynamics.langevin import LOOKS_EVERY
from mft_engine.dynamics.state import RECORD_EVERY
from mft_engine.dynamics.table import DYNAMICS
from mft_engine.experiment.background import Background
from mft_engine.kernels import forms
from mft_engine.kernels.slots import arrange
from mft_engine.recipe import Recipe, load_recipe

SIZES = (2048, 16_384, 131_072, 1_048_576)
N_POINTS = 256
RECIPES = ("continuous-xor", "modular-addition", "modular-addition-23", "digits", "cubic-teacher", "grokking")


@dataclass(frozen=True)
class Gpu:
    """What a prediction needs to know of a device, from its data sheet.

    Attributes:
        gigabytes_s: of its memory.
    """

    name: str
    capability: int
    n_multiprocessors: int
    clock_ghz: float
    gigabytes_s: float


GPUS = (
    Gpu("H100 SXM, H200", 90, 132, 1.83, 3350.0),
    Gpu("A100 SXM", 80, 108, 1.41, 2000.0),
    Gpu("L40S", 89, 142, 2.2, 864.0),
)
# A multiprocessor issues four instructions of 32 threads a cycle, and has 128 lanes for float32 (64 on the A100, whose
# products then take twice as long) and 16 units for exponentials and reciprocals.
ISSUED, SPECIAL, LANES = 4.0, 0.5, 128.0
# Registers, warps and programs that a multiprocessor holds.
REGISTERS, WARPS, PROGRAMS = 65_536, 64, 32
# Of the kernels between products: Triton's default.
WARPS_A_PROGRAM = 4
# Cycles that one unrolled body takes a lone warp: a load from the first cache, then the longest chain of dependent
# instructions (product, exponential, sum, reciprocal, product, sum); more for every input beyond two. Estimates.
LATENCY, LATENCY_AN_INPUT = 130.0, 8.0
# Microseconds of a launch inside a recorded graph; of the atomics, the last program's loss and signals; of the way to
# memory and back that a small launch between products cannot hide; of an operation that the host queues. Estimates.
LAUNCH_US, TAIL_US, MEMORY_US, QUEUED_US = 1.3, 2.0, 1.2, 6.0
# Operations with which a call of the kernel loads its numbers and hands over its results, and its trip to the host, in
# microseconds; a call takes RECORD_EVERY steps. Looks grow rarer, so that their share depends on a run's length.
CALL_LAUNCHES, TRIP_US, TYPICAL_RUN = 30, 20.0, 4000
# Operations around the replay of a recorded look or step: what it reads is put there, what it found is taken away.
REPLAY_LAUNCHES = 12
# A product is cut into tiles of so many numbers, each the work of one multiprocessor, which reaches this share of its
# peak; its inner dimension is not cut. Estimates, on the slow side for long inner dimensions.
TILE, SHARE = 32, 0.4
# The least that a neuron and pair of antipodal points cost: float32 and special instructions (counted by hand).
FLOOR_INSTRUCTIONS, FLOOR_SPECIALS = 18.0, 4.0


def floor_us(n_neurons: int, n_points: int, n_multiprocessors: int, clock_ghz: float) -> float:
    """Microseconds that the counted instructions take if every unit is always busy."""
    cycles = max(FLOOR_INSTRUCTIONS / LANES, FLOOR_SPECIALS / (32 * SPECIAL))
    return n_neurons * (n_points / 2) * cycles / n_multiprocessors / (1e3 * clock_ghz)


def predict(n_neurons: int, gpu: Gpu) -> dict[str, float]:
    """Microseconds of one background step of the default clover."""
    from mft_engine.kernels.gpu.buffers import Kind

    kind = Kind(
        n_neurons, 2, N_POINTS // 2, forms.TANH, forms.ONE_SIDED_PAIRS, True, True, 1.0, 0.0, torch.device("cpu")
    )  # fmt: skip
    floor = floor_us(n_neurons, N_POINTS, gpu.n_multiprocessors, gpu.clock_ghz)
    return {"n_neurons": n_neurons, "floor_us": floor} | _one_readout(kind, gpu)


def _one_readout(kind: Any, gpu: Gpu) -> dict[str, float]:
    """Of one readout and few inputs, from the instructions of its loops.

        max( pairs/32 max(instructions/4, specials/0.5) / (multiprocessors clock),  waves x bodies x latency / clock )

    plus launch and tail.
    """
    from mft_engine.kernels.gpu.compiled import compile_frozen, compile_step
    from mft_engine.kernels.gpu.tiles import tiles

    n_instructions = n_special = n_registers = 0.0
    for goes_back in (True, False):
        code = compile_step(kind, gpu.capability, goes_back=goes_back, goes_on=not goes_back)
        inner = [loop for loop in code.loops if loop.n_special and not loop.n_meetings]
        # A neuron and a slot take one exponential and one reciprocal in either pass.
        n_instructions += min(2.0 * loop.n_instructions / loop.n_special for loop in inner)
        n_special += 2.0
        n_registers = max(n_registers, float(code.n_registers))
    frozen = [loop for loop in compile_frozen(kind, gpu.capability).loops if loop.n_special and not loop.n_meetings]
    n_frozen = min(2.0 * loop.n_instructions / loop.n_special for loop in frozen)
    tile = tiles(kind.n_neurons, kind.n_slots, kind.n_inputs)
    cycles_a_microsecond = 1e3 * gpu.clock_ghz
    pairs = kind.n_neurons * kind.n_slots / 32 / gpu.n_multiprocessors / cycles_a_microsecond
    busy = pairs * max(n_instructions / ISSUED, n_special / SPECIAL)
    resident = min(PROGRAMS, WARPS // tile.n_warps, int(REGISTERS // (n_registers * 32 * tile.n_warps)))
    waves = math.ceil(math.ceil(kind.n_neurons / tile.block) / (gpu.n_multiprocessors * resident))
    there = tile.block / tile.unroll * math.ceil(kind.n_slots / tile.slots)
    back = kind.n_slots / tile.lanes / tile.unroll
    latency = (LATENCY + LATENCY_AN_INPUT * (kind.n_inputs - 2)) / cycles_a_microsecond
    waiting = waves * (there + back) * latency
    still = pairs * max(n_frozen / ISSUED, 2.0 / SPECIAL)
    return {
        "instructions_a_pair": n_instructions,
        "registers": n_registers,
        "busy_us": busy,
        "waiting_us": waiting,
        "frozen_busy_us": still,
        "frozen_us": max(still, waves * back * latency),
        "predicted_us": max(busy, waiting) + LAUNCH_US + TAIL_US,
    }


def _product_us(rows: int, columns: int, inner: int, gpu: Gpu) -> float:
    """Of one float32 product, without its launch."""
    lanes = LANES if gpu.capability > 80 else LANES / 2
    waves = math.ceil(math.ceil(rows / TILE) * math.ceil(columns / TILE) / gpu.n_multiprocessors)
    return waves * inner * TILE**2 / lanes / (1e3 * gpu.clock_ghz) / SHARE


def _products(kind: Any, gpu: Gpu) -> dict[str, float]:
    """Of recorded products with Triton kernels between them: launches, products, and memory of what lies between."""
    n, n_out, sizes = kind.n_points, kind.n_out, (kind.n_inputs, *kind.n_neurons)
    shapes = [(sizes[-1], n_out, n)]
    if not kind.is_frozen:
        shapes.append((n, n_out, sizes[-1]))
    if n_out > 1:
        shapes.append((n, sizes[-1], n_out))
    for below, here in itertools.pairwise(sizes):
        shapes += [(n, here, below), (here, below, n)]
    shapes += [(n, below, here) for below, here in itertools.pairwise(sizes[1:])]
    products = sum(_product_us(*shape, gpu) for shape in shapes)
    between = _between(kind, gpu)
    # z read, phi and its slope written; both read again with what comes from above, which is written; and the update.
    numbers = 6 * n * sum(kind.n_neurons) + 4 * sum(kind.sizes)
    moved = 4e-3 * numbers / gpu.gigabytes_s
    n_launches = len(shapes) + len(between)
    return {
        "launches": n_launches,
        "products_us": products,
        "between_us": sum(between.values()) + moved,
        "predicted_us": n_launches * (LAUNCH_US + MEMORY_US) + products + sum(between.values()) + moved,
    }


def _between(kind: Any, gpu: Gpu) -> dict[tuple[str, int], float]:
    """Microseconds in which each kernel between products issues its instructions, every thread taking all of them."""
    from mft_engine.kernels.gpu.compiled import compile_products
    from mft_engine.kernels.gpu.products import grid_of

    issued = ISSUED * gpu.n_multiprocessors * 1e3 * gpu.clock_ghz
    return {
        launch: math.prod(grid_of(kind, *launch)) * WARPS_A_PROGRAM * code.n_instructions / issued
        for launch, code in compile_products(kind, gpu.capability).items()
    }


class Launches(TorchDispatchMode):
    """Counts what a device would be given inside: operations that are no views, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if not function.is_view:
            self.names[function.__name__] += 1
        return function(*arguments, **(named or {}))


def launches_of(call: Callable[[], object]) -> int:
    """Operations that a call would queue on a device."""
    with Launches() as launches:
        call()
    return launches.names.total()


def predict_recipe(name: str, gpu: Gpu) -> dict[str, Any]:
    """A training step of a recipe, and a step of its fresh neurons (of the first layer), in microseconds."""
    recipe = load_recipe(name)
    background = Background(recipe)
    setting, problem = background.setting, background.problem
    n_points, n_inputs = problem.inputs.shape
    row: dict[str, Any] = {"recipe": name, "n_points": n_points, "n_inputs": n_inputs, "n_out": setting.task.n_out}
    row["n_neurons"] = list(recipe.network.n_neurons)
    if recipe.training.dynamics != "adam":
        row["between_steps_us"] = _between_steps_us(background)
    if recipe.training.dynamics == "adam":
        # Its step is the reference's operations, recorded.
        dynamics = DYNAMICS["adam"]()
        few, many = (launches_of(lambda n=n: dynamics.advance(background.state, problem, recipe, n)) for n in (2, 12))
        n = (many - few) // 10
        us = max(n * (LAUNCH_US + MEMORY_US), REPLAY_LAUNCHES * QUEUED_US)
        return row | {"served_by": "recorded operations", "launches": n, "predicted_us": us}
    names = [recipe.network.activation] + [recipe.network.upper_activation] * (len(recipe.network.n_neurons) - 1)
    found_forms = tuple(forms.FORMS[each] for each in names)
    if setting.task.n_out == 1 and n_inputs <= 16 and len(names) == 1:
        return row | _cloud_of_one_readout(recipe, problem.inputs, found_forms[0], gpu)
    from mft_engine.kernels.gpu.products import ProductKind

    cpu, is_flat = torch.device("cpu"), len(names) > 1
    kind = ProductKind(
        n_points, n_inputs, tuple(recipe.network.n_neurons), setting.task.n_out, found_forms, is_flat, False, True,
        True, 1.0, cpu,
    )  # fmt: skip
    n_out = kind.n_neurons[1] if is_flat else kind.n_out
    fresh = (recipe.foreground.n_neurons,)
    alone = replace(kind, n_neurons=fresh, n_out=n_out, forms=found_forms[:1], is_flat=False, is_frozen=True)
    return row | {
        "served_by": "products",
        **_products(kind, gpu),
        "frozen_us": _products(alone, gpu)["predicted_us"],
    }


def _between_steps_us(background: Background) -> float:
    """Looks at stiffness and step size, whose operations are recorded, and calls, shared out among their steps."""
    recipe, problem, theta = background.recipe, background.problem, background.state.theta
    hyper = Hyper.of(recipe)
    looks = launches_of(lambda: problem.eigenvalue(theta, hyper))
    if recipe.training.step_size == "auto":
        looks += launches_of(lambda: problem.resolving_step(theta, hyper))
    since, n_looks = 0, 0
    for interval, end in LOOKS_EVERY:
        n = (min(end or TYPICAL_RUN, TYPICAL_RUN) - since) // interval
        since, n_looks = since + n * interval, n_looks + n
    calls = (CALL_LAUNCHES * QUEUED_US + TRIP_US) / RECORD_EVERY
    look = looks * (LAUNCH_US + MEMORY_US) + REPLAY_LAUNCHES * QUEUED_US + TRIP_US
    return calls + n_looks * look / TYPICAL_RUN


def _cloud_of_one_readout(recipe: Recipe, points: torch.Tensor, form: tuple[int, bool], gpu: Gpu) -> dict[str, Any]:
    from mft_engine.kernels.gpu.buffers import Kind

    base, is_one_sided = form
    slots, parity = arrange(points.numpy()), forms.PARITY["odd" if base == forms.ERF else "none"]
    (n_neurons,) = recipe.network.n_neurons
    kind = Kind(
        n_neurons, points.shape[1], slots.x.shape[1], base, forms.mode_of(is_one_sided, slots.is_paired), True, True,
        1.0, parity, torch.device("cpu"),
    )  # fmt: skip
    return {"served_by": "one launch", "launches": 1, **_one_readout(kind, gpu)}


def predictions(gpus: tuple[Gpu, ...], sizes: tuple[int, ...], recipes: tuple[str, ...]) -> list[dict[str, Any]]:
    """All rows for each device."""
    return [
        {
            "gpu": gpu.name,
            "rows": [predict(n, gpu) for n in sizes],
            "recipes": [predict_recipe(name, gpu) for name in recipes],
        }
        for gpu in gpus
    ]


def markdown(document: dict[str, Any], goals: dict[int, float]) -> str:
    """The tables of predictions."""
    lines = [
        f"PREDICTED, not measured: no NVIDIA GPU here (torch {document['torch']}, Triton {document['triton']}). The "
        "steps were compiled for each generation and their instructions counted; launches, atomics and waiting for "
        "memory are estimates.",
        "",
        "| GPU | neurons x 256 | instructions a neuron and pair of points | registers | issue or special units, us "
        "| latency, us | predicted us a step | goal (H100, H200) | floor, us | frozen field, us |",
        "|" + "---|" * 10,
    ]
    for part in document["predictions"]:
        for row in part["rows"]:
            goal = f"{goals[row['n_neurons']]:.0f}" if part["gpu"].startswith("H") else ""
            lines.append(
                f"| {part['gpu']} | {row['n_neurons']:,} | {row['instructions_a_pair']:.1f} | {row['registers']:.0f} | "
                f"{row['busy_us']:.1f} | {row['waiting_us']:.1f} | {row['predicted_us']:.1f} | {goal} | "
                f"{row['floor_us']:.1f} | {row['frozen_us']:.1f} |"
            )
    lines += [
        "",
        f"Steps of recipes, PREDICTED: a launch inside a recorded graph takes {LAUNCH_US} us and one between products "
        f"{MEMORY_US} us more for memory; a product is done in tiles of {TILE} x {TILE} at {100 * SHARE:.0f} % of a "
        f"multiprocessor's peak, its inner dimension whole; an operation queued by the host takes {QUEUED_US:.0f} us; "
        f"a loop's body takes {LATENCY:.0f} cycles and {LATENCY_AN_INPUT:.0f} more for every input beyond two. "
        f"Between steps: {CALL_LAUNCHES} operations and a trip to the host ({TRIP_US:.0f} us) every {RECORD_EVERY} "
        f"steps, and the looks at stiffness and step size in a run of {TYPICAL_RUN:,} steps, whose operations are "
        f"counted and recorded, with {REPLAY_LAUNCHES} around each.",
        "",
        "| GPU | recipe | points x inputs, neurons, readouts | served by | launches a step | predicted us a step "
        "| between steps, us | steps/s of training | frozen field, us |",
        "|" + "---|" * 9,
    ]
    for part in document["predictions"]:
        for row in part["recipes"]:
            sizes = f"{row['n_points']} x {row['n_inputs']}, {' + '.join(map(str, row['n_neurons']))}, {row['n_out']}"
            between = row.get("between_steps_us", 0.0)
            frozen = f"{row['frozen_us']:.0f}" if "frozen_us" in row else ""
            lines.append(
                f"| {part['gpu']} | {row['recipe']} | {sizes} | {row['served_by']} | {row['launches']} | "
                f"{row['predicted_us']:.0f} | {between:.0f} | {1e6 / (row['predicted_us'] + between):,.0f} | {frozen} |"
            )
    return "\n".join(lines)
