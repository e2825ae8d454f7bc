"""Experiments on their device, or on the CPU where that device is missing, broken or full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.engine.contract import Engine, Experiment, Restored
from app.engine.hand import Hand
from mft_engine.recipe import Recipe


class Builder:
    """Builds experiments, and remembers which devices failed.

    Args:
        say: told in a sentence when the CPU stands in for another device.
    """

    def __init__(self, engine: Engine, say: Callable[[str], None]) -> None:
        self._engine, self._say = engine, say
        self._failed_devices: set[str] = set()

    def forget_device(self, recipe: Recipe) -> None:
        """The recipe's device failed: from now on the CPU stands in for it."""
        self._failed_devices.add(recipe.engine.device)

    def new(self, recipe: Recipe) -> Hand:
        """A new experiment at step 0."""
        if recipe.engine.device in self._failed_devices:
            return self._on_cpu(recipe)
        try:
            experiment = self._engine.experiment(recipe)
        except Exception as error:
            if not self._engine.is_device_trouble(error, recipe):
                raise
            self.forget_device(recipe)
            self._say(f"{error} Running on the CPU instead.")
            return self._on_cpu(recipe)
        return Hand(experiment, recipe, self._engine.device_of(experiment))

    def _on_cpu(self, recipe: Recipe) -> Hand:
        experiment = self._engine.experiment(_for_cpu(recipe))
        return Hand(experiment, recipe, self._engine.device_of(experiment))

    def stored(self, folder: Path, recipe: Recipe) -> tuple[Hand, Restored]:
        """A run folder's experiment where it stood; one of another machine's device goes on on the CPU."""
        try:
            restored = self._engine.restore(folder, recipe)
        except Exception as error:
            if not self._engine.is_device_trouble(error, recipe):
                raise
            self._say(f"{error} Running on the CPU instead.")
            restored = self._engine.restore(folder, _for_cpu(recipe))
        hand = Hand.of_stored(restored, recipe, self._engine.device_of(restored.experiment))
        hand.folder = folder
        return hand, restored


def _for_cpu(recipe: Recipe) -> Recipe:
    return recipe.replace({"engine.device": "cpu"})


def facts_of(experiment: Experiment) -> dict[str, Any]:
    """What views must know of a task beyond its recipe."""
    task = experiment.task
    return {"n_out": task.n_out, "projections": dict(task.projections), "modulus": task.modulus}
