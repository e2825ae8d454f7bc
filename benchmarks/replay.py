"""Replay: how far fresh neurons are from the trained cloud as the width grows, beside neurons in the frozen last field.

python benchmarks/replay.py [--quick]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mft_engine.compare.clouds import compare
from mft_engine.experiment.events import Progress
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe

WIDTHS = (128, 256, 512, 1024, 2048, 4096)
N_SEEDS = 5


def distances(recipe: Recipe, width: int, seed: int) -> dict[str, float]:
    """Square root of the energy distance (a metric) of the replayed and of the frozen-field foreground."""
    changes = {"network.n_neurons": width, "foreground.n_neurons": width, "seed": seed, "engine.n_threads": 1}
    experiment = Experiment(recipe.replace(changes))
    while not experiment.is_complete:
        experiment.advance(1000)
    found = {}
    for name, method in (("replay", "replay"), ("frozen", "dynamics")):
        experiment.retune(experiment.recipe.replace({"foreground.method": method}))
        *_, last = experiment.foreground()
        assert not isinstance(last, Progress)
        answer = compare(experiment.outcome().background.theta, last.theta, 2, n_permutations=99, seed=seed)
        found[name] = max(answer.energy_distance, 0.0) ** 0.5
        found[f"{name}_ratio"] = answer.ratio
        found[f"{name}_p"] = answer.p_value
    return found


def slope(widths: tuple[int, ...], values: np.ndarray) -> tuple[float, float]:
    """Of log mean distance against log N by least squares, with its standard error over seeds (jackknife).

    Args:
        values: (n_widths, n_seeds).
    """
    x = np.log(widths)

    def fitted(table: np.ndarray) -> float:
        return float(np.polyfit(x, np.log(table.mean(axis=1)), 1)[0])

    n = values.shape[1]
    without = np.array([fitted(np.delete(values, k, axis=1)) for k in range(n)])
    return fitted(values), float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def measure(quick: bool = False) -> dict[str, Any]:
    """Distances, ratios and slopes over widths and seeds of `sgd-clover-free`."""
    widths, n_seeds = (WIDTHS[:4], 3) if quick else (WIDTHS, N_SEEDS)
    recipe = load_recipe("sgd-clover-free")
    rows, table = [], {"replay": np.zeros((len(widths), n_seeds)), "frozen": np.zeros((len(widths), n_seeds))}
    for i, width in enumerate(widths):
        found = [distances(recipe, width, seed) for seed in range(n_seeds)]
        for name in table:
            table[name][i] = [row[name] for row in found]
        rows.append({"n_neurons": width, **{key: float(np.mean([row[key] for row in found])) for key in found[0]}})
    slopes = {name: slope(widths, values) for name, values in table.items()}
    return {"n_seeds": n_seeds, "rows": rows, "slopes": slopes}


def markdown(document: dict[str, Any]) -> str:
    """The measurement as a table."""
    lines = ["| N | replay: distance | ratio | p | frozen: distance | ratio | p |", "|---|---|---|---|---|---|---|"]
    names = ("replay", "replay_ratio", "replay_p", "frozen", "frozen_ratio", "frozen_p")
    for row in document["rows"]:
        lines.append(f"| {row['n_neurons']} | " + " | ".join(f"{row[name]:.3g}" for name in names) + " |")
    for name, (value, error) in document["slopes"].items():
        lines.append(f"\n{name}: log-log slope {value:.2f} +- {error:.2f} over {document['n_seeds']} seeds")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(measure(quick="--quick" in sys.argv)))
