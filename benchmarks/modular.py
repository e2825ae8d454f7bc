"""Modular addition over seeds: which pairs a network answers that it was never shown, and which clouds agree.

python benchmarks/modular.py [--quick]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mft_engine.experiment.events import Finished
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe

N_SEEDS = 5
SETTINGS: dict[str, dict[str, Any]] = {
    "70 % shown": {},
    "60 % shown": {"task.train_fraction": 0.6},
    "50 % shown": {"task.train_fraction": 0.5},
    "45 % shown": {"task.train_fraction": 0.45},
    "readout exponent 1/2": {"network.readout_exponent": 0.5},
    "wrong background": {"foreground.background": "lazy"},
}


def summary_of(recipe: Recipe) -> dict[str, Any]:
    """The document of a run."""
    *_, last = Experiment(recipe)
    assert isinstance(last, Finished)
    return last.summary


def run_seeds(recipe: Recipe, n_seeds: int = N_SEEDS) -> dict[str, np.ndarray]:
    """What counts of every seed's summary, each (n_seeds,)."""
    rows = []
    for k in range(n_seeds):
        found = summary_of(recipe.replace({"seed": recipe.seed + k, "engine.n_threads": 1}))
        background, foreground, comparison = found["background"], found["foreground"], found["comparison"]
        waves = found["feature_learning"]["fourier"]
        rows.append(
            {
                "train": background["train_accuracy"],
                "test": background["test_accuracy"],
                "foreground test": foreground["test_accuracy"],
                "phases": waves["background"]["phase_agreement"],
                "p of w": comparison["p_value_weights"],
                "p of (w, a)": comparison["p_value"],
                "ratio of w": comparison["ratio_weights"],
                "p of frequencies": waves["frequency_test"]["p_value"],
                "seconds": background["seconds"],
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def markdown(measured: dict[str, dict[str, np.ndarray]]) -> str:
    """The measurement as a table: means with standard errors, medians of the test accuracy, passes of the tests."""
    lines = [
        "| setting | train | test (median) | foreground test | phases agree | p > .01: w, (w, a), k | ratio on w | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, columns in measured.items():
        n = len(columns["test"])

        def cell(key: str, digits: int = 3, columns: dict[str, np.ndarray] = columns, n: int = n) -> str:
            return f"{columns[key].mean():.{digits}f} +- {columns[key].std(ddof=1) / n**0.5:.{digits}f}"

        passes = [f"{int((columns[key] > 0.01).sum())}/{n}" for key in ("p of w", "p of (w, a)", "p of frequencies")]
        lines.append(
            f"| {name} | {cell('train')} | {cell('test')} ({np.median(columns['test']):.3f}) | "
            f"{cell('foreground test', 2)} | {cell('phases', 2)} | {', '.join(passes)} | {cell('ratio of w', 2)} | "
            f"{columns['seconds'].mean():.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    n_seeds = 2 if "--quick" in sys.argv else N_SEEDS
    recipe = load_recipe("modular-addition")
    table = {}
    for setting, changes in SETTINGS.items():
        table[setting] = run_seeds(recipe.replace(changes), n_seeds)
        print(markdown({setting: table[setting]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown(table))
