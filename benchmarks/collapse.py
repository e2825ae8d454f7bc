"""Alignment of two-layer erf networks with He3 against n over a heuristic scale: do the curves of several d meet?

    python benchmarks/collapse.py [--seeds 4] [--out FOLDER]

Posterior samples (Langevin at equilibrium) of f = N^-1/2 sum a erf(w.x) with N = 4 d, prior variances 1/d and 1, noise
sigma^2 = .1, target He3(x1)/sqrt 6. The scales are arguments about exponents (mft_engine.theory.scaling), no theory.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from mft_engine import palette
from mft_engine.experiment.experiment import Experiment
from mft_engine.figures import write_figure
from mft_engine.figures.sheet import Sheet, bare, style
from mft_engine.recipe import Recipe
from mft_engine.theory.scaling import collapse_quality, two_layer_samples

DIMENSIONS = (8, 16, 32)
POINTS_PER_INPUT = (2, 4, 8, 16, 32)
NEURONS_PER_INPUT = 4
NOISE = 0.1
TIME = 6.0
LEVEL = 0.25
EXPONENTS = np.linspace(0.0, 3.0, 61)


def recipe_at(n_inputs: int, n_points: int, seed: int) -> Recipe:
    """The network with the standard prior whose Langevin law is the posterior at noise sigma^2 on n points."""
    temperature = NOISE / n_points
    return Recipe().replace(
        {
            "name": "he3",
            "seed": seed,
            "task.name": "expression",
            "task.expression": "(x1**3 - 3*x1)/sqrt(6)",
            "task.n_inputs": n_inputs,
            "network.n_neurons": NEURONS_PER_INPUT * n_inputs,
            "network.activation": "erf",
            "network.readout_exponent": 0.5,
            "training.temperature": temperature,
            "regularisation.scale": temperature,
            "regularisation.input_weight": float(n_inputs),
            "training.n_points": n_points,
            "training.time": TIME,
            "engine.n_threads": 1,
        }
    )


def alignment(theta: np.ndarray) -> float:
    """E[y f] on the population, exactly from the weights; E y^2 = 1."""
    q, size = theta[:, 0], 1 + 2 * (theta[:, :-1] ** 2).sum(axis=1)
    return float(len(theta) ** -0.5 * np.sum(theta[:, -1] * -4 * q**3 / np.sqrt(6 * np.pi * size**3)))


def simulate(n_inputs: int, n_points: int, seed: int) -> float:
    """Alignment averaged over the second half of a run."""
    experiment, values = Experiment(recipe_at(n_inputs, n_points, seed)), []
    while not experiment.is_complete:
        experiment.advance(25)
        if experiment.state.time >= TIME / 2:
            values.append(alignment(np.asarray(experiment.state.theta, dtype=float)))
    return float(np.mean(values))


def half_point(n_points: np.ndarray, values: np.ndarray) -> float:
    """The n at which a curve first passes LEVEL, linear in log n; nan where it does not."""
    above = np.flatnonzero(values >= LEVEL)
    if len(above) == 0 or above[0] == 0:
        return float("nan")
    i = above[0]
    share = (LEVEL - values[i - 1]) / (values[i] - values[i - 1])
    return float(np.exp(np.log(n_points[i - 1]) + share * np.log(n_points[i] / n_points[i - 1])))


def analyse(table: np.ndarray) -> dict[str, Any]:
    """Collapse distance for each pattern's exponent, the exponent that collapses best and that of the level's n.

    Args:
        table: (n_dimensions, n_ratios, n_seeds) alignments.
    """
    mean = table.mean(axis=2)
    points = np.outer(DIMENSIONS, POINTS_PER_INPUT).astype(float)

    def distance(exponent: float) -> float:
        scales = np.array(DIMENSIONS, dtype=float) ** exponent
        return collapse_quality([(points[k] / scales[k], mean[k]) for k in range(len(DIMENSIONS))])

    halves = np.array([half_point(points[k], mean[k]) for k in range(len(DIMENSIONS))])
    known = np.isfinite(halves)
    slope = np.nan
    if known.sum() > 1:
        slope = float(np.polyfit(np.log(np.array(DIMENSIONS)[known]), np.log(halves[known]), 1)[0])
    distances = [distance(exponent) for exponent in EXPONENTS]
    return {
        "distance": {str(exponent): distance(exponent) for exponent in (1.0, 1.5, 3.0)},
        "best_exponent": float(EXPONENTS[int(np.nanargmin(distances))]),
        "level_points": halves.tolist(),
        "level_exponent": slope,
    }


def measure(n_seeds: int) -> dict[str, Any]:
    """All curves and what they say."""
    table = np.zeros((len(DIMENSIONS), len(POINTS_PER_INPUT), n_seeds))
    for seed in range(n_seeds):
        for k, d in enumerate(DIMENSIONS):
            for j, ratio in enumerate(POINTS_PER_INPUT):
                table[k, j, seed] = simulate(d, ratio * d, seed)
            print(f"seed {seed}, d = {d}: {table[k, :, seed].round(3).tolist()}", file=sys.stderr, flush=True)
    return judged(table)


def judged(table: np.ndarray) -> dict[str, Any]:
    """The analysis of all seeds, with jackknife errors over them."""
    n_seeds = table.shape[2]
    found = analyse(table)
    without = [analyse(np.delete(table, seed, axis=2)) for seed in range(n_seeds)]
    for name in ("best_exponent", "level_exponent", "level_points"):
        values = np.array([one[name] for one in without])
        scatter = np.sqrt((n_seeds - 1) / n_seeds * ((values - values.mean(axis=0)) ** 2).sum(axis=0))
        found[f"{name}_error"] = scatter.tolist()
    # Two curves that are one still differ by the errors of both.
    error = table.std(axis=2, ddof=1) / n_seeds**0.5
    found["expected_distance"] = float(np.sqrt(np.mean(error**2) * len(DIMENSIONS) / (len(DIMENSIONS) - 1)))
    return {
        "n_seeds": n_seeds,
        "alignments": table.tolist(),
        "mean": table.mean(axis=2).tolist(),
        "error": error.tolist(),
        **found,
    }


def draw(document: dict[str, Any], width_mm: float = 140.0) -> Any:
    """Left: alignment against n/d. Right: the n of the level against d, with the heuristic exponents as thin lines."""
    with matplotlib.rc_context(style(width_mm)):
        sheet = Sheet(width_mm, 66.0)
        left, right = sheet.axes(12, 7, 54, 46), sheet.axes(82, 7, 54, 46)
        shades = (palette.BACKGROUND, palette.FOREGROUND, palette.THEORY)
        for d, mean, error, colour in zip(DIMENSIONS, document["mean"], document["error"], shades, strict=True):
            left.errorbar(POINTS_PER_INPUT, mean, error, color=colour, marker="o", markersize=3, label=f"d = {d}")
        _plain_log(left.xaxis, POINTS_PER_INPUT)
        left.set_xlabel("$n/n^*$, $n^* = d$ (heuristic)")
        left.set_ylabel("alignment $\\mathrm{E}\\,[y f]$")
        left.legend(frameon=False)
        halves = np.array(document["level_points"])
        right.errorbar(
            DIMENSIONS, halves, document["level_points_error"], color=palette.TEXT, fmt="o", markersize=3,
            label=f"alignment {LEVEL:g}, measured",
        )  # fmt: skip
        for curve, dash in zip(two_layer_samples(DIMENSIONS, NEURONS_PER_INPUT), ("-", "--", ":"), strict=True):
            factor = np.exp(np.mean(np.log(halves / curve.y)))
            right.plot(DIMENSIONS, factor * curve.y, dash, color=palette.MUTED, linewidth=0.7, label=curve.label)
        right.set_yscale("log")
        right.set_ylim(halves.min() / 4, halves.max() * 12)
        _plain_log(right.xaxis, DIMENSIONS)
        right.set_xlabel("d")
        right.set_ylabel("n")
        right.legend(frameon=False, loc="upper left")
        for axes in (left, right):
            bare(axes)
        return sheet.figure


def _plain_log(axis: Any, ticks: tuple[int, ...]) -> None:
    axis.axes.set_xscale("log")
    axis.set_ticks(ticks, [str(tick) for tick in ticks])
    axis.set_ticks([], minor=True)


def verdict(document: dict[str, Any]) -> str:
    """What the numbers say, in sentences."""
    distance, expected = document["distance"], document["expected_distance"]
    lines = [f"n/d^{name}: rms distance between curves {value:.3f}" for name, value in distance.items()]
    return "\n".join(
        [
            *lines,
            f"one common curve with these errors: {expected:.3f}",
            f"best exponent {document['best_exponent']:.2f} +- {document['best_exponent_error']:.2f}; n at alignment "
            f"{LEVEL:g} grows like d^{document['level_exponent']:.2f} +- {document['level_exponent_error']:.2f}",
            f"n* = d {'collapses' if distance['1.0'] < 2 * expected else 'does not collapse'} them "
            f"({document['n_seeds']} seeds, d = {', '.join(map(str, DIMENSIONS))}). The scale is heuristic.",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    answer = measure(arguments.seeds)
    print(verdict(answer))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "collapse.json").write_text(json.dumps(answer, indent=1))
        print(write_figure(draw(answer), arguments.out / "collapse.png"))
