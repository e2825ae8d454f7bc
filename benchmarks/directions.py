"""Targets of few directions: what mean field learns where the lazy limit, with the same prior and noise, does not.

python benchmarks/directions.py [--quick]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mft_engine.device import to_host
from mft_engine.experiment.experiment import Experiment
from mft_engine.points.measure import FieldPoints
from mft_engine.recipe import Recipe, load_recipe

RECIPES = ("parity", "staircase", "cubic-teacher")
N_SEEDS = 3


def learn(recipe: Recipe) -> dict[str, float]:
    """Train; the loss of the time-averaged function, as a share of E y^2, and the cloud's overlap with what counts.

    The average is the posterior mean: the most favourable reading for a lazy network, whose single samples are noisy.
    """
    experiment = Experiment(recipe)
    while not experiment.is_complete:
        experiment.advance(1000)
    points = experiment.field_points
    mean = to_host(experiment.background.mean_prediction())
    power = float(points.weights @ points.targets**2)
    facts = experiment.outcome().summary
    found = {
        "loss": float(points.weights @ (points.targets - mean) ** 2) / power,
        "overlap": facts["feature_learning"]["order_parameters"]["overlap"],
        "seconds": facts["background"]["seconds"],
    }
    if recipe.task.name == "cubic-teacher":
        found["cubic"] = _cubic(points, mean)
    return found


def _cubic(points: FieldPoints, mean: np.ndarray) -> float:
    """E[f H3] over E[y H3]: 1 where the cubic part is learnt, 0 where it is not."""
    z = points.inputs[:, 0]
    cubic = points.weights * (z**3 - 3 * z)
    return float(cubic @ mean / (cubic @ points.targets))


def over_seeds(recipe: Recipe, n_seeds: int) -> dict[str, tuple[float, float]]:
    """Mean and standard error over seeds of what `learn` measures."""
    found = [learn(recipe.replace({"seed": recipe.seed + k, "engine.n_threads": 1})) for k in range(n_seeds)]
    columns = {name: np.array([row[name] for row in found]) for name in found[0]}
    return {name: (float(v.mean()), float(v.std(ddof=1) / n_seeds**0.5)) for name, v in columns.items()}


def measure(quick: bool = False) -> dict[str, Any]:
    """Mean field and lazy over seeds for every recipe."""
    changes = {"training.time": 5.0} if quick else {}
    document: dict[str, Any] = {"n_seeds": N_SEEDS}
    for name in RECIPES:
        recipe = load_recipe(name).replace(changes)
        lazy = recipe.replace({"network.readout_exponent": 0.5})
        document[name] = {"mean field": over_seeds(recipe, N_SEEDS), "lazy": over_seeds(lazy, N_SEEDS)}
    return document


def markdown(document: dict[str, Any]) -> str:
    """The measurement as a table."""
    lines = ["| recipe | network | loss / E y^2 | overlap | cubic part | seconds |", "|---|---|---|---|---|---|"]
    for name in RECIPES:
        for kind, row in document[name].items():
            cells = [
                f"{row[key][0]:.3f} +- {row[key][1]:.3f}" if key in row else "" for key in ("loss", "overlap", "cubic")
            ]
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} | {row['seconds'][0]:.1f} |")
    return "\n".join([*lines, "", f"{document['n_seeds']} seeds each."])


if __name__ == "__main__":
    print(markdown(measure(quick="--quick" in sys.argv)))
