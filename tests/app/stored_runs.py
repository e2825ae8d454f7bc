"""Stores of many small runs, made from one that was carried out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from mft_engine.recipe import load_recipe
from mft_engine.runs.runs import run_stored

SMALL = {
    "network.n_neurons": 48,
    "foreground.n_neurons": 32,
    "comparison.n_permutations": 99,
    "training.n_steps": 200,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}


def make_run(parent: Path, **changes: object) -> Path:
    """A clover of 48 neurons, carried out."""
    return run_stored(load_recipe("clover").replace(SMALL | changes), parent).folder


def copies(run: Path, store: Path, n: int) -> list[Path]:
    """Copies of a run under other names, seeds, scales, losses and times, the first one the oldest."""
    recipe = load_recipe(run)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    found = []
    for k in range(n):
        folder = store / f"clover-{k:04d}"
        folder.mkdir(parents=True)
        for path in run.iterdir():
            shutil.copy(path, folder / path.name)
        scale = float(f"{10 ** (-4 + 3 * ((7 * k) % n) / n):.3g}")
        changed = recipe.replace({"seed": k, "regularisation.scale": scale})
        (folder / "recipe.toml").write_text(changed.to_toml(), encoding="utf-8")
        document = summary | {"seed": k, "digest": changed.digest}
        document["background"] = summary["background"] | {"loss": 0.25 + ((3 * k) % n) / (2 * n)}
        document["comparison"] = summary["comparison"] | {"verdict": ("consistent", "close", "inconsistent")[k % 3]}
        (folder / "summary.json").write_text(json.dumps(document), encoding="utf-8")
        for path in folder.iterdir():
            os.utime(path, (1_790_000_000 + 60 * k, 1_790_000_000 + 60 * k))
        found.append(folder)
    return found
