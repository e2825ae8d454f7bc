"""What verdicts notice: the level over right networks and the power over planted alternatives, old and new.

Backgrounds are exact Gibbs networks. "distance" is the energy distance alone, which decided until version 0.1; "all" is
distance and averages together, which decide now. Both are told at p < 0.01.

    python -m benchmarks.noticing --level 20 --power 20 --out docs
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mft_engine.compare.clouds import compare
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.experiment import Experiment
from mft_engine.palette import BACKGROUND, FOREGROUND
from mft_engine.questions.comparison import compare_with_field
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, normal

LEVEL = 0.01
RECIPES = ("clover", "clover-warm", "petals5", "ring")
N_SWEEPS = 400
# What issue and documentation name; sizes for the power curves are these times the factors.
ALTERNATIVES = {"prior": 0.05, "longer w": 0.06, "larger a": 0.04, "turned": 0.1, "flipped a": 0.25, "hotter": 0.25}
FACTORS = (0.25, 0.5, 1.0, 2.0)
STATED = {"prior": "prior_share", "longer w": "weight_scale", "larger a": "readout_scale", "turned": "turn"}


def equilibrium(name: str, seed: int, n_neurons: int, **changes: Any) -> Experiment:
    """A network at exact equilibrium with a foreground of as many neurons drawn from its own law."""
    recipe = load_recipe(name).replace({
        "seed": seed, "network.n_neurons": n_neurons, "foreground.n_neurons": n_neurons, "foreground.method": "gibbs",
        "training.dynamics": "gibbs", "training.n_steps": N_SWEEPS, "engine.n_threads": 1, **changes,
    })  # fmt: skip
    experiment = Experiment(recipe)
    experiment.advance(N_SWEEPS)
    list(experiment.foreground())
    return experiment


def judged(experiment: Experiment, theta: Tensor) -> tuple[float, float, Resolution | None]:
    """p of the distance, p of all together, and the stated resolution, for a cloud in the field of an experiment."""
    fresh = torch.as_tensor(experiment.fresh.theta)
    distance = compare(theta, fresh, 2, n_permutations=500, seed=experiment.recipe.seed)
    found = compare_with_field(
        experiment.recipe, theta, fresh, experiment.sampler.frozen_field(),
        experiment.field_points, experiment.background.mean_prediction().numpy(), experiment.sampler.averaging(),
    )  # fmt: skip
    if found is None:
        return distance.p_value, distance.p_value, None
    return distance.p_value, distance.with_averages(*found).p_value_all, found[1]


def planted(experiment: Experiment, kind: str, size: float) -> Tensor:
    """The background with an alternative of a size in it."""
    recipe, theta = experiment.recipe, experiment.state.theta.clone()
    n = len(theta)
    draws = normal(recipe.seed, Stream.TEST_POINTS, 11, n, 3, device=theta.device)
    some = slice(0, round(min(size, 1.0) * n))
    if kind == "prior":
        temperature = recipe.training.temperature
        widths = [(temperature / recipe.lambda_w) ** 0.5] * 2 + [(temperature / recipe.lambda_a) ** 0.5]
        theta[some] = (draws * torch.tensor(widths))[some]
    elif kind == "longer w":
        theta[:, :2] *= 1.0 + size
    elif kind == "larger a":
        theta[:, 2] *= 1.0 + size
    elif kind == "turned":
        angle = size * torch.special.ndtr(draws[:, 0])
        x, y = theta[:, 0].clone(), theta[:, 1].clone()
        theta[:, 0], theta[:, 1] = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y
    elif kind == "flipped a":
        theta[some, 2] *= -1.0
    elif kind == "hotter":
        hot = equilibrium(recipe.name, recipe.seed, n, **{"training.temperature": 0.02 * (1.0 + size)})
        theta = hot.state.theta
    return theta


def measure_level(n_seeds: int, n_neurons: int, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """How many of the right networks are rejected."""
    rows = []
    for name in RECIPES:
        found = []
        for seed in range(n_seeds):
            experiment = equilibrium(name, seed, n_neurons)
            found.append(judged(experiment, experiment.state.theta)[:2])
        p = np.array(found)
        rows.append({
            "recipe": name, "n": n_seeds, "n_neurons": n_neurons, "distance": int((p[:, 0] <= LEVEL).sum()),
            "all": int((p[:, 1] <= LEVEL).sum()), "smallest_p_all": float(p[:, 1].min()),
        })  # fmt: skip
        report(json.dumps(rows[-1]))
    return rows


def measure_power(n_seeds: int, n_neurons: int, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """How many networks with an alternative in them are rejected, by kind and size; the stated resolutions beside."""
    counts: dict[tuple[str, float], list[tuple[bool, bool]]] = {}
    stated: dict[str, list[tuple[float, bool, bool]]] = {}
    seconds = []
    for seed in range(n_seeds):
        experiment = equilibrium("clover", seed, n_neurons)
        start = time.process_time()
        _, _, resolution = judged(experiment, experiment.state.theta)
        seconds.append(time.process_time() - start)
        for kind, size in ALTERNATIVES.items():
            for factor in FACTORS if kind not in ("hotter", "flipped a") else (1.0,):
                p = judged(experiment, planted(experiment, kind, size * factor))
                counts.setdefault((kind, size * factor), []).append((p[0] <= LEVEL, p[1] <= LEVEL))
        for kind, name in STATED.items():
            size = getattr(resolution, name)
            hits = [judged(experiment, planted(experiment, kind, f * size))[1] <= LEVEL for f in (2.0, 0.5)]
            stated.setdefault(kind, []).append((size, *hits))
        report(f"seed {seed}")
    rows = [
        {
            "kind": kind,
            "size": size,
            "n": len(hits),
            "distance": sum(h[0] for h in hits),
            "all": sum(h[1] for h in hits),
        }
        for (kind, size), hits in counts.items()
    ]
    for row in rows:
        values = stated.get(row["kind"], [])
        row["stated"] = float(np.median([v[0] for v in values])) if values else None
        row["found_at_twice"] = sum(v[1] for v in values) if values else None
        row["found_at_half"] = sum(v[2] for v in values) if values else None
        row["verdict_cpu_seconds"] = float(np.median(seconds))
        report(json.dumps(row))
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Power against size, old dashed and new solid, one panel an alternative."""
    kinds = [kind for kind in STATED if any(row["kind"] == kind for row in rows)]
    figure = Figure(figsize=(9.0, 2.6), layout="constrained")
    units = {"prior": "share of prior neurons", "longer w": "w longer by", "larger a": "a larger by",
             "turned": "turned by up to, rad"}  # fmt: skip
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True), kinds, strict=True):
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["size"])
        sizes = [row["size"] for row in own]
        for name, colour, style in (("distance", FOREGROUND, "--"), ("all", BACKGROUND, "-")):
            shares = np.array([row[name] / row["n"] for row in own])
            errors = np.array([math.sqrt(max(s * (1 - s), 0.25 / row["n"]) / row["n"]) for s, row in zip(shares, own,
                              strict=True)])  # fmt: skip
            axes.errorbar(sizes, shares, errors, color=colour, linestyle=style, marker="o", markersize=3, linewidth=1.2,
                          label={"distance": "distance alone", "all": "distance and averages"}[name])  # fmt: skip
        axes.axvline(own[0]["stated"], color="0.5", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel(units[kind])
        axes.set_ylim(-0.05, 1.05)
    figure.axes[0].set_ylabel("rejected at 1 %")
    figure.axes[0].legend(frameon=False, fontsize=7, loc="upper left")
    figure.savefig(path, dpi=160)


def main() -> None:
    """Measure, print a line for each row, and write verdict-power.json and verdict-power.png."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", type=int, default=20, help="seeds a recipe")
    parser.add_argument("--power", type=int, default=20, help="seeds")
    parser.add_argument("--neurons", type=int, default=2048)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()

    def report(line: str) -> None:
        print(line, flush=True)

    document: dict[str, Any] = {"n_neurons": options.neurons, "level": [], "power": []}
    if options.power:
        document["power"] = measure_power(options.power, options.neurons, report)
        draw(document["power"], options.out / "verdict-power.png")
    if options.level:
        document["level"] = measure_level(options.level, options.neurons, report)
    (options.out / "verdict-power.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
