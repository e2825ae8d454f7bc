"""One run folder: created before computing, written file by file, opened when killed or damaged.

recipe.toml, provenance.json, checkpoint.safetensors (training as far as it came), result.h5 (clouds, comparison),
metrics.h5, snapshots.h5, summary.json. A file that is damaged costs what is in it, not the run.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import choose_device, describe_device, host_device
from mft_engine.experiment import schema, storage
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.outcome import Population as HostPopulation
from mft_engine.experiment.storage import RunError
from mft_engine.ordinary_files import file_digest
from mft_engine.questions.theory import solve_theory
from mft_engine.recipe import MAX_RECIPE_BYTES, Recipe, RecipeError, load_recipe, parse_recipe
from mft_engine.runs import checkpoint
from mft_engine.runs.data import DATA, keep_data, with_own_data
from mft_engine.runs.origin import origin

RECIPE = "recipe.toml"
SUMMARY = "summary.json"
PROVENANCE = "provenance.json"
CHECKPOINT = "checkpoint.safetensors"
RESULT = "result.h5"
METRICS = "metrics.h5"
SNAPSHOTS = "snapshots.h5"

# Bytes a neuron takes in a finished run: three clouds with up to four columns of 8 bytes, checkpoint and result.
BYTES_PER_NEURON = 400
BYTES_PER_RUN = 20_000_000
CAN_BE_REPEATED = "it can be made again from the recipe"


@dataclass(frozen=True)
class Population:
    """The neurons of a stored network, or of its foreground, as tensors on the host.

    Attributes:
        layers: a table for each hidden layer, (n_neurons, n_columns); `theta` is the first one's, w1 .. wd, a.
        prediction: (n_points,) its function on the field points; loss: E (y - f)^2; kind: how it was made.
    """

    layers: tuple[Tensor, ...]
    prediction: Tensor
    loss: float
    kind: str

    @classmethod
    def of(cls, population: HostPopulation) -> Population:
        """The tensors of host arrays."""
        layers = tuple(torch.from_numpy(cloud.theta) for cloud in population.clouds)
        return cls(layers, torch.from_numpy(population.prediction), population.loss, population.kind)

    @property
    def theta(self) -> Tensor:
        """The table of the first hidden layer."""
        return self.layers[0]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run: any of the files that have its recipe."""
    try:
        return any((folder / name).exists() for name in (RECIPE, CHECKPOINT, RESULT))
    except OSError:
        return False


def _is_blank(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= MAX_RECIPE_BYTES and not path.read_bytes().strip()
    except OSError:  # whoever reads it says what is wrong
        return False


class Run:
    """One run folder; every write is whole or not at all.

    Args:
        folder: an existing run folder.

    Raises:
        RunError: there is no run in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.faults: list[str] = []
        if not is_run(self.folder):
            raise RunError(f"There is no run in {self.folder}: a run folder has a {RECIPE}")

    @classmethod
    def create(cls, parent: str | Path, recipe: Recipe, *, command: str | None = None) -> Run:
        """A new folder in `parent`, named after recipe and seed, with recipe and provenance written.

        Proves before anything is computed that the folder can be written and has room.

        Args:
            parent: made where it is missing.
            command: what to keep as the command; this process's own by default.

        Raises:
            RunError: a folder that cannot be written, or a disk without room.
        """
        parent = Path(parent)
        with storage.writing_to(parent):
            parent.mkdir(parents=True, exist_ok=True)
            _require_room(parent, recipe)
            folder = _new_folder(parent, recipe)
        own = keep_data(folder, recipe)
        storage.write_atomically(folder / RECIPE, own.to_toml().encode())
        storage.write_atomically(folder / PROVENANCE, storage.json_bytes(provenance(recipe, command)))
        return cls(folder)

    # ---- writing --------------------------------------------------------------------------------------------

    def save_recipe(self, recipe: Recipe) -> None:
        """Replace the recipe by one with the changes that were made while the run was going."""
        if (self.folder / DATA).is_dir() and recipe.data_path:
            recipe = recipe.replace({"task.path": f"{DATA}/{Path(recipe.data_path).name}"})
        storage.write_atomically(self.folder / RECIPE, recipe.to_toml().encode())

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Keep a training as far as it came.

        Args:
            arrays, numbers: from `checkpoint.pack`.

        Raises:
            RunError: the folder refuses; the last checkpoint is untouched.
        """
        storage.write_atomically(self.folder / CHECKPOINT, storage.checkpoint_bytes(arrays, numbers))

    def save_outcome(self, outcome: Outcome) -> dict[str, Any]:
        """Keep clouds, comparison, metrics, snapshots and summary; the summary last, as the sign that all is there.

        Returns:
            the summary, with `run_dir`.

        Raises:
            RunError: the folder refuses.
        """
        clouds = {"theta": outcome.snapshots, "steps": outcome.snapshot_steps}
        storage.write_atomically(self.folder / METRICS, storage.columns_bytes(outcome.metrics))
        storage.write_atomically(self.folder / SNAPSHOTS, storage.columns_bytes(clouds))
        storage.write_atomically(self.folder / RESULT, storage.outcome_bytes(outcome))
        summary = {**outcome.summary, "run_dir": str(self.folder.absolute())}
        storage.write_atomically(self.folder / SUMMARY, storage.json_bytes(summary))
        self._forget()
        return self.summary

    def note_failure(self, sentence: str) -> None:
        """Keep why the run stopped, in its provenance."""
        try:
            known = storage.read_json(self.folder / PROVENANCE, CAN_BE_REPEATED, schema.check_provenance)
        except RunError:
            known = {}
        storage.write_atomically(self.folder / PROVENANCE, storage.json_bytes({**known, "failure": sentence}))
        self._forget()

    def clear_unfinished(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.folder.glob(f".*{storage.UNFINISHED}"):
            path.unlink(missing_ok=True)

    def reread(self) -> Run:
        """The run as it lies on the disk now."""
        self._forget()
        return self

    def _forget(self) -> None:
        for name in ("summary", "outcome", "provenance"):
            self.__dict__.pop(name, None)
        self.faults.clear()

    # ---- reading --------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was asked for, with the changes made on the way in its schedule.

        Raises:
            RunError: unreadable here and in the other files that hold it.
        """
        path = self.folder / RECIPE
        try:
            if _is_blank(path):  # which would be a valid recipe: the default one
                raise RecipeError(f"{path} is empty")
            return load_recipe(path)
        except RecipeError as error:
            self._fault(str(error))
        for name in (RESULT, CHECKPOINT):
            try:
                if name == RESULT:
                    text = storage.read_result(self.folder / name, "").recipe
                else:
                    text = str(storage.read_checkpoint(self.folder / name, "")[1].get("recipe", "")) or "no recipe"
                return with_own_data(self.folder, parse_recipe(text, origin=str(self.folder / name)))
            except (RunError, RecipeError):
                continue
        raise RunError(f"{self.folder} holds no readable recipe; the run cannot be opened")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary document with the folder's present place; empty where the run did not come that far."""
        path = self.folder / SUMMARY
        if not path.exists():
            return {}
        summary = (
            self._try(lambda: storage.read_json(path, "the numbers are still in result.h5", schema.check_summary)) or {}
        )
        return {**summary, "run_dir": str(self.folder.absolute())} if summary else {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, device, git state and command; empty where unreadable."""
        path, remedy = self.folder / PROVENANCE, "the numbers are not affected"
        return self._try(lambda: storage.read_json(path, remedy, schema.check_provenance)) or {}

    @property
    def is_complete(self) -> bool:
        """Whether the recipe was carried out to its comparison."""
        return bool(self.summary and self.summary["comparison"] and self.summary["background"]["is_complete"])

    @property
    def state(self) -> str:
        """complete, failed or interrupted."""
        if self.is_complete:
            return "complete"
        return "failed" if self.provenance.get("failure") else "interrupted"

    def read_checkpoint(self) -> tuple[storage.Arrays, dict[str, Any]] | None:
        """Arrays and numbers for `checkpoint.unpack`; None where the run has no (readable) checkpoint."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        kept: tuple[storage.Arrays, dict[str, Any]] | None = self._try(
            lambda: storage.read_checkpoint(path, "training starts again from step 0")
        )
        return kept

    def put_back(self, experiment: Experiment) -> bool:
        """Put an experiment of the same recipe where the checkpoint left it; False where there is no readable one.

        Raises:
            RunError: a checkpoint without what this training needs; the experiment must be built anew.
        """
        kept = self.read_checkpoint()
        if kept is None:
            return False
        with storage.reading_from(self.folder / CHECKPOINT, "training starts again from step 0"):
            checkpoint.unpack(experiment, *kept)
        return True

    @cached_property
    def outcome(self) -> Outcome:
        """Everything the folder holds; what is missing or damaged is absent and named in `faults`.

        Raises:
            RunError: nothing can be read.
        """
        result = None
        if (self.folder / RESULT).exists():
            result = self._try(
                lambda: storage.read_result(self.folder / RESULT, "the clouds are taken from the checkpoint")
            )
        return self._from_result(result) if result else self._from_checkpoint()

    @property
    def background(self) -> Population:
        """The trained network's neurons."""
        return Population.of(self.outcome.background)

    @property
    def foreground(self) -> Population | None:
        """The fresh neurons; None where they have not been sampled."""
        fresh = self.outcome.foreground
        return Population.of(fresh) if fresh else None

    def _from_result(self, result: storage.Result) -> Outcome:
        recipe = with_own_data(self.folder, parse_recipe(result.recipe, origin=str(self.folder / RESULT)))
        metrics = (
            self._try(lambda: storage.read_columns(self.folder / METRICS, "the curves are lost", schema.check_metrics))
            or {}
        )
        stored = self._try(
            lambda: storage.read_columns(
                self.folder / SNAPSHOTS, "the clouds on the way are lost", schema.check_snapshots
            )
        ) or {
            "theta": np.zeros((0, 0, 0), np.float32),
            "steps": np.zeros(0, np.int64),
        }
        outcome = Outcome(
            recipe=recipe,
            points=result.points,
            initial_theta=result.initial_theta,
            background=result.background,
            metrics=metrics,
            snapshots=stored["theta"],
            snapshot_steps=stored["steps"],
            foreground=result.foreground,
            comparisons=result.comparisons,
            certificate=result.certificate,
            answers=result.answers,
            summary=self.summary,
        )
        if self.summary.get("theory") and self.summary["theory"].get("method") != "particles":
            # The planar solver is deterministic and fast; its densities would be larger on disk than it is to solve.
            outcome = replace(outcome, theory=self._try(lambda: solve_theory(recipe)))
        return outcome

    def _from_checkpoint(self) -> Outcome:
        recipe = self.recipe
        # Only looked at, so a device that this machine lacks and a kernel that must be compiled are not needed.
        experiment = Experiment(recipe.replace({"engine.device": str(host_device())}), kernel="reference")
        try:
            self.put_back(experiment)
        except RunError as error:
            self._fault(str(error))
            experiment = Experiment(recipe.replace({"engine.device": str(host_device())}), kernel="reference")
        outcome = experiment.outcome()
        summary = {**outcome.summary, "run_dir": str(self.folder.absolute())}
        return replace(outcome, recipe=recipe, summary=summary)

    def _try(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (RuntimeError, ArithmeticError, ValueError) as error:
            self._fault(str(error))
            return None

    def _fault(self, sentence: str) -> None:
        if sentence not in self.faults:
            self.faults.append(sentence)


def _require_room(parent: Path, recipe: Recipe) -> None:
    neurons = sum(recipe.network.n_neurons) + recipe.foreground.n_neurons
    data = Path(recipe.data_path).expanduser()
    wanted = BYTES_PER_RUN + BYTES_PER_NEURON * neurons + (data.stat().st_size if data.is_file() else 0)
    free = shutil.disk_usage(parent).free
    if free < wanted:
        raise RunError(
            f"{parent} has {free / 1e6:.0f} MB free and this run may need {wanted / 1e6:.0f} MB: free some space, "
            "or choose a folder on another disk (--out)."
        )


def _new_folder(parent: Path, recipe: Recipe) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.name).strip("-.")[:60] or "run"
    number = 1
    while True:
        folder = parent / (f"{name}-seed{recipe.seed}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def provenance(recipe: Recipe, command: str | None = None) -> dict[str, Any]:
    """What made a run: versions, machine, git state of the program where there is one, command, time."""
    made = origin()
    return {
        "schema": "mft-lab/provenance/1",
        "created": made["created"],
        "command": command if command is not None else shlex.join(sys.argv),
        "digest": recipe.digest,
        "data": {"path": recipe.data_path, "sha256": file_digest(recipe.data_path)} if recipe.data_path else None,
        "device": describe_device(choose_device(recipe.engine.device)),
        "n_threads": torch.get_num_threads(),
        "platform": made["platform"],
        "versions": made["versions"],
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "has_changes": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
