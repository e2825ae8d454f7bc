"""The cubic teacher of arXiv 2310.03789 at an eighth of its scale: how many neurons align, simulated and in theory.

    python benchmarks/cubic_preview.py [--seeds 6] [--time 300] [--points 375] [--json FILE]

Seeds change data, start and noise. Each seed gives a time average over the second half of its run; the error is over
seeds. At this size the transition is a crossover, and the closure (infinite width, infinite data at the same T) is no
exact theory of it: both numbers are printed, whatever they are. More points at the same T show what finite data do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.closure import solve_closure
from mft_engine.recipe import Recipe, load_recipe

NOISES = (0.3, 0.1)
FAR = 0.6
RECORD_STEPS = 50
ROOT6 = 6**0.5


def at_noise(recipe: Recipe, noise: float) -> Recipe:
    """The recipe (written for sigma^2 = .3) at another sigma^2: T and lambda follow it, the prior stays."""
    ratio = noise / 0.3
    return recipe.replace(
        {
            "training.temperature": recipe.training.temperature * ratio,
            "regularisation.scale": recipe.regularisation.scale * ratio,
        }
    )


def learned(theta: np.ndarray, epsilon: float) -> tuple[float, float]:
    """(1 - b, 1 - c/epsilon) of a network of erf neurons on the population, exactly from its weights.

    E[erf(w.x) H1] = 2 q/sqrt(pi D), E[erf(w.x) H3/sqrt 6] = -4 q^3/sqrt(6 pi D^3), D = 1 + 2 |w|^2.
    """
    weights, readout, q = theta[:, :-1], theta[:, -1], theta[:, 0]
    size = 1 + 2 * (weights**2).sum(axis=1)
    linear = 2 * q / np.sqrt(np.pi * size)
    cubic = -4 * q**3 / np.sqrt(6 * np.pi * size**3)
    return float(np.mean(readout * linear)), float(np.mean(readout * cubic) / epsilon)


def simulate(recipe: Recipe, burn_in: float = 0.5) -> dict[str, Any]:
    """Time averages of one run, and the share of aligned neurons in four consecutive parts of the averaged time."""
    experiment = Experiment(recipe)
    epsilon = float(recipe.task.parameters["epsilon"])
    rows = []
    while not experiment.is_complete:
        experiment.advance(RECORD_STEPS)
        if experiment.state.time >= burn_in * recipe.training.time:
            theta = np.asarray(experiment.state.theta, dtype=float)
            rows.append(
                (np.mean(np.abs(theta[:, 0]) > FAR), *learned(theta, epsilon), experiment.background.present_loss())
            )
    values = np.array(rows)
    far, linear, cubic, loss = values.mean(axis=0)
    parts = [float(part.mean()) for part in np.array_split(values[:, 0], 4)]
    return {
        "far": float(far),
        "linear": float(linear),
        "cubic": float(cubic),
        "training_loss": float(loss),
        "parts": parts,
    }


def measure(n_seeds: int, time: float, n_points: int) -> dict[str, Any]:
    """Both noises over seeds, beside the closure."""
    document: dict[str, Any] = {"n_seeds": n_seeds, "time": time, "n_points": n_points}
    for noise in NOISES:
        recipe = at_noise(load_recipe("cubic-teacher-preview"), noise)
        recipe = recipe.replace({"training.time": time, "training.n_points": n_points, "engine.n_threads": 1})
        runs = []
        for seed in range(n_seeds):
            runs.append(simulate(recipe.replace({"seed": seed})))
            print(noise, seed, runs[-1], file=sys.stderr, flush=True)
        closure = solve_closure(recipe)
        theory = {"far": closure.tail(FAR), "linear": closure.learned_linear, "cubic": closure.learned_cubic}
        row: dict[str, Any] = {}
        for name in ("far", "linear", "cubic", "training_loss"):
            values = np.array([run[name] for run in runs])
            row[name] = {"mean": values.mean(), "error": values.std(ddof=1) / n_seeds**0.5, "closure": theory.get(name)}
        row["parts"] = np.mean([run["parts"] for run in runs], axis=0).tolist()
        document[str(noise)] = row
    return document


def markdown(document: dict[str, Any]) -> str:
    """The measurement as a table."""
    titles = {"far": "P(|q| > .6)", "linear": "1 - b", "cubic": "1 - c/eps"}
    lines = ["| sigma^2 | quantity | simulated | closure |", "|---|---|---|---|"]
    for noise in NOISES:
        for name, title in titles.items():
            cell = document[str(noise)][name]
            lines.append(f"| {noise} | {title} | {cell['mean']:.4f} +- {cell['error']:.4f} | {cell['closure']:.4f} |")
    size = f"{document['n_seeds']} seeds, t = {document['time']:g}, n = {document['n_points']}"
    return "\n".join([*lines, "", f"{size}. A crossover, not a transition."])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--time", type=float, default=300.0)
    parser.add_argument("--points", type=int, default=375)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.seeds, arguments.time, arguments.points)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    print(markdown(found))
