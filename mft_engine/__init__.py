"""MFT Lab's engine: fields, clouds, foregrounds and theory of wide neural networks.

Names are imported when they are first used, so that `import mft_engine` costs nothing and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Recipe": "recipe",
    "RecipeError": "recipe",
    "load_recipe": "recipe",
    "parse_recipe": "recipe",
    "shipped_recipes": "recipe",
    "Snapshot": "experiment.events",
    "Progress": "experiment.events",
    "ForegroundReady": "experiment.events",
    "ComparisonReady": "experiment.events",
    "TheoryReady": "experiment.events",
    "TheoryAbsent": "experiment.events",
    "CertificateReady": "experiment.events",
    "DataKernelsReady": "experiment.events",
    "ReferencesReady": "experiment.events",
    "IterationReady": "experiment.events",
    "Finished": "experiment.events",
    "Failed": "experiment.events",
    "Experiment": "experiment.experiment",
    "solve_theory": "questions.theory",
    "run": "runs.runs",
    "verdict": "runs.verdict",
    "Run": "runs.folder",
    "watch": "riders.watch",
    "watch_checkpoints": "riders.afterwards",
    "WatchError": "riders.neurons",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"mft_engine.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'mft_engine' has no attribute {name!r}")
