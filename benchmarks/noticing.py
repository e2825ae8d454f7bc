"""What verdicts notice: the level over right networks and the power over planted alternatives, old and new.

"distance" is the energy distance alone, which decided until version 0.1; "all" is distance and averages together, which
decide now. Both are told at p < 0.01. Backgrounds are exact Gibbs networks, or Langevin runs of a recipe as it is. Each
command prints one JSON line a network, so that it can be run in pieces; `draw` puts the lines of all pieces together.

    python -m benchmarks.noticing level clover --sizes 64,256,1024 --seeds 0-20 > level.jsonl
    python -m benchmarks.noticing power clover --seeds 0-20 > power.jsonl
    python -m benchmarks.noticing layers continuous-xor --seeds 0-4 > layers.jsonl
    python -m benchmarks.noticing runs clover --seeds 0-20 > runs.jsonl
    python -m benchmarks.noticing draw level.jsonl power.jsonl runs.jsonl --out docs
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.moments import with_moments
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.events import Answered
from mft_engine.experiment.experiment import Experiment
from mft_engine.network.tables import table_parity
from mft_engine.palette import BACKGROUND, FOREGROUND
from mft_engine.questions.comparison import compare_with_field
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, normal

LEVEL = 0.01
N_SWEEPS = 400
N_PERMUTATIONS = 199
# What issue and documentation name; those with a curve are also planted at these times the factors.
ALTERNATIVES = {
    "prior": 0.05, "longer w": 0.06, "larger a": 0.04, "turned": 0.1, "flipped a": 0.25, "hotter": 0.25, "other": 0.2,
}  # fmt: skip
FACTORS = (0.25, 0.5, 1.0, 2.0)
STATED = {"prior": "prior_share", "longer w": "weight_scale", "larger a": "readout_scale", "turned": "turn",
          "other": "other_share"}  # fmt: skip
UNITS = {"prior": "share of prior neurons", "longer w": "w longer by", "larger a": "a larger by",
         "turned": "turned by up to, rad", "other": "share of another network"}  # fmt: skip


def network(name: str, seed: int, n_neurons: int | None, is_exact: bool, **changes: Any) -> Experiment:
    """A background with a foreground in its field: at exact equilibrium, or the recipe as it is."""
    more: dict[str, Any] = {"seed": seed, "engine.n_threads": 1, **changes}
    if n_neurons:
        more |= {"network.n_neurons": n_neurons, "foreground.n_neurons": n_neurons}
    if is_exact:
        more |= {"foreground.method": "gibbs", "training.dynamics": "gibbs", "training.n_steps": N_SWEEPS}
    experiment = Experiment(load_recipe(name).replace(more))
    while not experiment.is_complete:
        experiment.advance(1000)
    list(experiment.foreground())
    return experiment


def judged(experiment: Experiment, theta: Tensor) -> Comparison:
    """The verdict on a cloud in the field of an experiment."""
    fresh = torch.as_tensor(experiment.fresh.theta)
    found = compare(
        theta, fresh, experiment.task.n_inputs, n_permutations=N_PERMUTATIONS, seed=experiment.recipe.seed,
        parity=experiment.setting.activation.parity,
    )  # fmt: skip
    tests = compare_with_field(
        experiment.recipe, theta, fresh, experiment.sampler.frozen_field(), experiment.field_points,
        experiment.background.mean_prediction().cpu().numpy(), experiment.sampler.averaging(),
    )  # fmt: skip
    return found if tests is None else found.with_averages(*tests)


def planted(experiment: Experiment, kind: str, size: float, is_exact: bool) -> Tensor | None:
    """The background with an alternative of a size in it; None where it has no meaning."""
    recipe, theta, d = experiment.recipe, experiment.state.theta.clone(), experiment.task.n_inputs
    n, n_params = theta.shape
    draws = normal(recipe.seed, Stream.TEST_POINTS, 11, n, n_params, device=theta.device)
    some = slice(0, round(min(size, 1.0) * n))
    if kind == "prior":
        temperature = recipe.training.temperature
        widths = [(temperature / recipe.lambda_w) ** 0.5] * d + [(temperature / recipe.lambda_a) ** 0.5] * (
            n_params - d
        )
        theta[some] = (draws * torch.tensor(widths)).to(theta.dtype)[some]
    elif kind == "longer w":
        theta[:, :d] *= 1.0 + size
    elif kind == "larger a":
        theta[:, d:] *= 1.0 + size
    elif kind == "turned":
        if d != 2:
            return None
        angle = size * torch.special.ndtr(draws[:, 0])
        x, y = theta[:, 0].clone(), theta[:, 1].clone()
        theta[:, 0], theta[:, 1] = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y
    elif kind == "flipped a":
        theta[some, d:] *= -1.0
    elif kind == "hotter":
        hot = {"training.temperature": recipe.training.temperature * (1.0 + size)}
        theta = network(recipe.name, recipe.seed, n, is_exact, **hot).state.theta
    elif kind == "other":
        theta[some] = network(recipe.name, recipe.seed + 1000, n, is_exact).state.theta[some]
    return theta


def _told(found: Comparison) -> dict[str, Any]:
    return {"p_distance": found.p_value, "p_all": found.p_value_all,
            "p_averages": None if found.averages is None else found.averages.p_value}  # fmt: skip


def measure_level(name: str, sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Right networks at exact equilibrium."""
    for n_neurons in sizes:
        for seed in seeds:
            experiment = network(name, seed, n_neurons, True)
            yield {"part": "level", "recipe": name, "n_neurons": n_neurons, "seed": seed,
                   **_told(judged(experiment, experiment.state.theta))}  # fmt: skip


def measure_power(
    name: str, seeds: Sequence[int], is_exact: bool, kinds: Sequence[str], has_curves: bool
) -> Iterator[dict[str, Any]]:
    """Alternatives planted in networks, at the sizes of the table and at twice and half the stated resolution."""
    for seed in seeds:
        experiment = network(name, seed, None, is_exact)
        start = time.process_time()
        right = judged(experiment, experiment.state.theta)
        head = {"part": "power", "recipe": name, "n_neurons": len(experiment.state.theta), "seed": seed}
        yield {**head, "kind": "right", "size": 0.0, "verdict_cpu_seconds": time.process_time() - start, **_told(right)}
        resolution = right.resolution or Resolution()
        for kind in kinds:
            size, stated = ALTERNATIVES[kind], getattr(resolution, STATED.get(kind, ""), None)
            cases = [(f * size, None) for f in (FACTORS if has_curves and kind in STATED else (1.0,))]
            if stated:
                cases += [(f * stated, f) for f in (2.0, 0.5) if f * stated <= (0.5 if kind == "other" else 1.0)]
            for value, times in cases:
                theta = planted(experiment, kind, value, is_exact)
                if theta is not None:
                    yield {**head, "kind": kind, "size": value, "times": times, "stated": stated,
                           **_told(judged(experiment, theta))}  # fmt: skip


def measure_layers(name: str, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Alternatives planted in the table of every layer of a run with several, told by distance and by moments."""
    for seed in seeds:
        experiment = Experiment(load_recipe(name).replace({"seed": seed, "engine.n_threads": 1}))
        while not experiment.is_complete:
            experiment.advance(1000)
        list(experiment.foreground())
        outcome, network = experiment.outcome(), experiment.setting.network
        parts = zip(outcome.background.clouds, outcome.foreground.clouds, experiment.background.initial_clouds(),
                    strict=True)  # fmt: skip
        for layer, (own, fresh, initial) in enumerate(parts, start=1):
            n, d = len(own.theta), own.theta.shape[1] - 1
            cases = {"right": (0.0,), "prior": (0.1, 0.2), "longer w": (0.15, 0.3), "larger a": (0.15, 0.3)}
            for kind, sizes in cases.items():
                for size in sizes:
                    theta = np.array(own.theta, dtype=np.float64)
                    some = slice(0, round(size * n))
                    if kind == "prior":
                        theta[some] = initial.theta[some]
                    elif kind != "right":
                        theta[:, slice(0, d) if kind == "longer w" else slice(d, None)] *= 1.0 + size
                    parity = table_parity(network.activations, layer)
                    found = compare(theta, fresh.theta, d, n_permutations=N_PERMUTATIONS, seed=seed, parity=parity)
                    both = with_moments(found, theta, fresh.theta, d, own.names, seed=seed, parity=parity)
                    yield {"part": "power", "recipe": f"{name}, layer {layer}", "n_neurons": n, "seed": seed,
                           "kind": kind, "size": size, "times": None, "stated": None, **_told(both)}  # fmt: skip


def measure_runs(name: str, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Langevin runs of a recipe as it is: they should be consistent, and steady."""
    for seed in seeds:
        experiment = Experiment(load_recipe(name).replace({"seed": seed, "engine.n_threads": 1}))
        while not experiment.is_complete:
            experiment.advance(1000)
        for job in (experiment.foreground, experiment.compare):
            list(job())
        drift = next(e.answer for e in experiment.ask() if isinstance(e, Answered) and e.name == "drift")
        for layer, found in enumerate(experiment.comparisons, start=1):
            yield {"part": "runs", "recipe": name, "seed": seed, "layer": layer, "verdict": found.verdict,
                   "drift": drift.verdict, **_told(found)}  # fmt: skip


def collected(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over seeds."""
    level, power, runs = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in rows:
        if row["part"] == "level":
            level[row["recipe"], row["n_neurons"]].append(row)
        elif row["part"] == "power":
            times = row.get("times")
            power[row["recipe"], row["kind"], times, None if times else round(row["size"], 9)].append(row)
        else:
            runs[row["recipe"], row["layer"]].append(row)

    def counts(found: list[dict[str, Any]]) -> dict[str, int]:
        return {"n": len(found), "distance": sum(r["p_distance"] <= LEVEL for r in found),
                "all": sum(r["p_all"] <= LEVEL for r in found)}  # fmt: skip

    document: dict[str, Any] = {"level": [], "power": [], "runs": []}
    for (name, n_neurons), found in sorted(level.items()):
        with_averages = sum(r["p_averages"] is not None for r in found)
        document["level"].append(
            {"recipe": name, "n_neurons": n_neurons, **counts(found), "with_averages": with_averages}
        )
    for (name, kind, times, _), found in power.items():
        size = float(np.median([r["size"] for r in found]))
        document["power"].append({"recipe": name, "kind": kind, "times_stated": times, "size": size, **counts(found)})
    for (name, layer), found in runs.items():
        told = {"consistent": sum(r["verdict"] == "consistent" for r in found),
                "drifting": sum(r["drift"] == "drifting" for r in found)}  # fmt: skip
        document["runs"].append({"recipe": name, "layer": layer, **counts(found), **told})
    seconds = [r["verdict_cpu_seconds"] for r in rows if "verdict_cpu_seconds" in r]
    return {**document, "verdict_cpu_seconds": float(np.median(seconds)) if seconds else None}


def _share(axes: Any, x: Sequence[float], rows: Sequence[dict[str, Any]]) -> None:
    for name, colour, style in (("distance", FOREGROUND, "--"), ("all", BACKGROUND, "-")):
        shares = np.array([row[name] / row["n"] for row in rows])
        errors = [math.sqrt(max(s * (1 - s), 0.25 / row["n"]) / row["n"]) for s, row in zip(shares, rows, strict=True)]
        axes.errorbar(x, shares, errors, color=colour, linestyle=style, marker="o", markersize=3, linewidth=1.2,
                      label={"distance": "distance alone", "all": "distance and averages"}[name])  # fmt: skip
    axes.set_xscale("log")


def draw(document: dict[str, Any], path: Path) -> None:
    """Power against size, old dashed and new solid, one panel an alternative; the level against N in the last."""
    rows = [r for r in document["power"] if r["recipe"] == "clover" and r["times_stated"] is None and r["size"] > 0]
    kinds = [kind for kind in UNITS if sum(row["kind"] == kind for row in rows) > 1]
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["size"])
        sizes = [row["size"] for row in own]
        _share(axes, sizes, own)
        half = [r["size"] for r in document["power"] if r["kind"] == kind and r["times_stated"] == 2.0]
        if half:
            axes.axvline(half[0] / 2, color="0.5", linewidth=0.8)
        is_angle = kind == "turned"
        axes.set_xticks(sizes, [f"{size:g}" if is_angle else f"{100 * size:g} %" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel(UNITS[kind])
        axes.set_ylim(-0.05, 1.05)
    level = [row for row in document["level"] if row["recipe"] == "clover"]
    numbers = [row["n_neurons"] for row in level]
    last = panels[len(kinds)]
    _share(last, numbers, level)
    last.axhline(LEVEL, color="0.5", linewidth=0.8)
    last.set_ylim(-0.01, 0.2)
    last.set_xticks(numbers, [f"{n:,}" for n in numbers], rotation=30)
    last.minorticks_off()
    last.set_xlabel("neurons of a right network")
    last.legend(frameon=False, fontsize=8, loc="upper right")
    for axes in panels[len(kinds) + 1 :]:
        axes.set_axis_off()
    for axes in panels[::3]:
        axes.set_ylabel("rejected at 1 %")
    figure.savefig(path, dpi=160)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last))


def main() -> None:
    """Measure and print lines, or put lines together into verdict-power.json and verdict-power.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("level", "power", "layers", "runs", "draw"))
    parser.add_argument("names", nargs="+", help="recipes, or files of lines to draw")
    parser.add_argument("--seeds", type=_range, default=range(20), help="first-last, without the last")
    parser.add_argument("--sizes", default="2048")
    parser.add_argument("--kinds", default=",".join(ALTERNATIVES))
    parser.add_argument("--langevin", action="store_true", help="power in runs of the recipe as it is")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    if options.part == "draw":
        rows = [json.loads(line) for name in options.names for line in Path(name).read_text().splitlines()]
        document = collected(rows)
        (options.out / "verdict-power.json").write_text(json.dumps(document, indent=1) + "\n")
        draw(document, options.out / "verdict-power.png")
        return
    for name in options.names:
        measured = {
            "level": lambda name=name: measure_level(name, [int(n) for n in options.sizes.split(",")], options.seeds),
            "power": lambda name=name: measure_power(
                name, options.seeds, not options.langevin, options.kinds.split(","), options.curves
            ),
            "layers": lambda name=name: measure_layers(name, options.seeds),
            "runs": lambda name=name: measure_runs(name, options.seeds),
        }[options.part]
        for row in measured():
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
