"""A watched training on disk: somebody else's network has no recipe, so its run is its clouds and what was found.

watched.json (what was watched and what was found, written last) and watched.h5 (clouds, curves, spectra).
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mft_engine.compare.clouds import Comparison
from mft_engine.compare.paths import with_way
from mft_engine.compare.resolution import Resolution
from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.experiment import storage
from mft_engine.experiment.schema import WrongContentError, array_in, check_comparison, finite, group_in
from mft_engine.experiment.storage import RunError

DOCUMENT = "watched.json"
ARRAYS = "watched.h5"
SCHEMA = "mft-lab/watched/1"

# Principal components shown, and numbers of a neuron up to which they are shown themselves.
N_COMPONENTS = 3
MOST_RAW = 12
PC_MEANING = "principal component {} of a neuron's weights, each divided by its spread"
FUNCTION_MEANING = "principal component {} of the activation functions, at inputs that the layer has seen"

CLOUDS = ("background", "foreground", "initial_background", "initial_foreground")
REMEDY = "the run cannot be opened; save it again from its training"


@dataclass(frozen=True)
class Column:
    """One number that is drawn of every neuron: its short name, and what it means."""

    name: str
    meaning: str


@dataclass(frozen=True)
class WatchedRun:
    """A hidden layer of somebody's own network and the riders that went with it.

    Attributes:
        about: plain values for JSON: name, layer, optimizer, n_neurons, n_foreground, n_inputs, n_steps, columns,
            moved, independence, outliers, sentences, stopped (why the watch ended by itself; else empty) ...
        clouds: {"background", "foreground", "initial_background", "initial_foreground"} -> (n, n_params).
        start, now: both clouds compared as they began and as they are; None where that was not possible.
        curves: columns along the training, each (n_stored,): step, moved_background, moved_foreground, ratio, p_value.
        exchanges: step, network, riders, and the loss of k neurons as "k", each (n_asked,).
        snapshots: {"background", "foreground"} -> (n_stored, n_shown, n_params).
        functions: the clouds' names -> (n, n_components) principal components of the activation functions; empty where
            no input has been seen.
        spectra: "initial_background", "background", "foreground" -> (n_eigenvalues,) of the data kernel; or empty.
    """

    about: dict[str, Any]
    clouds: dict[str, np.ndarray]
    start: Comparison | None = None
    now: Comparison | None = None
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    exchanges: dict[str, np.ndarray] = field(default_factory=dict)
    snapshots: dict[str, np.ndarray] = field(default_factory=dict)
    functions: dict[str, np.ndarray] = field(default_factory=dict)
    spectra: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.about["name"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the clouds' columns."""
        return tuple(self.about["columns"])

    @property
    def n_inputs(self) -> int:
        """Columns before the readouts."""
        return int(self.about["n_inputs"])

    @property
    def standing_out(self) -> list[int]:
        """Numbers of neurons that stand where hardly a rider goes, farthest first; empty where chance has put them."""
        found = self.about.get("outliers")
        if not isinstance(found, dict) or not isinstance(found.get("indices"), list):
            return []
        p_value = found.get("p_value")
        is_told = isinstance(p_value, float) and p_value <= P_VALUE_LIMIT
        n_neurons = len(self.clouds["background"])
        return [k for k in found["indices"] if isinstance(k, int) and 0 <= k < n_neurons] if is_told else []

    def tables(self) -> tuple[tuple[Column, ...], dict[str, np.ndarray]]:
        """What is drawn of a neuron: principal components, lengths, and its own numbers where they are few.

        Components are those of neurons and riders now, each coordinate over its pooled spread, so that all clouds are
        drawn in one frame.

        Returns:
            the columns; the clouds' names -> (n, n_columns) float64, the length of the readouts last.
        """
        pool = np.concatenate([self.clouds["background"], self.clouds["foreground"]]).astype(np.float64)
        mean, spread = pool.mean(axis=0), pool.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        _, _, rows = np.linalg.svd((pool - mean) / scale, full_matrices=False)
        kept = rows[:N_COMPONENTS]
        kept = kept * np.where(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
        columns = [Column(f"weights PC {k + 1}", PC_MEANING.format(k + 1)) for k in range(len(kept))]
        n_functions = self.functions["background"].shape[1] if self.functions else 0
        columns += [Column(f"function PC {k + 1}", FUNCTION_MEANING.format(k + 1)) for k in range(n_functions)]
        has_few = len(self.columns) <= MOST_RAW
        columns += [Column(name, f"{name} of each neuron") for name in self.columns] if has_few else []
        columns += [
            Column("|w|", "length of a neuron's incoming weights, bias included"),
            Column("|v|", "length of a neuron's readout weights"),
        ]
        tables = {}
        for name, cloud in self.clouds.items():
            parts = [(cloud - mean) / scale @ kept.T]
            parts += [self.functions[name]] if self.functions else []
            parts += [cloud] if has_few else []
            lengths = [np.linalg.norm(part, axis=1) for part in np.split(cloud, [self.n_inputs], axis=1)]
            tables[name] = np.column_stack([*parts, *lengths])
        return tuple(columns), tables

    def summary(self) -> dict[str, Any]:
        """The JSON document: what was watched, and what was found."""
        answers = {"start": self.start, "comparison": self.now}
        return {"schema": SCHEMA, **self.about, **{k: c.to_dict() if c else None for k, c in answers.items()}}


def is_watched(folder: str | Path) -> bool:
    """Whether a folder holds a watched training."""
    return os.path.isfile(Path(folder) / DOCUMENT)


def write_watched(run: WatchedRun, folder: str | Path) -> Path:
    """Keep a watched training; what is there of an earlier moment is replaced, each file whole or not at all.

    Raises:
        RunError: a folder that cannot be written, or one that holds a run of the lab itself.
    """
    folder = Path(folder)
    with storage.writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "recipe.toml").exists():
            raise RunError(f"{folder} holds a run of the lab itself: choose another folder")
    storage.write_atomically(folder / ARRAYS, _arrays(run))
    storage.write_atomically(folder / DOCUMENT, storage.json_bytes(run.summary()))
    return folder


def read_watched(folder: str | Path) -> WatchedRun:
    """A watched training as it was kept.

    Raises:
        RunError: there is none, or it is damaged.
    """
    folder = Path(folder)
    if not is_watched(folder):
        raise RunError(f"There is no watched training in {folder}: its folder has a {DOCUMENT}")
    summary = storage.read_json(folder / DOCUMENT, REMEDY, _check)
    about = {name: value for name, value in summary.items() if name not in ("schema", "start", "comparison")}
    path = folder / ARRAYS
    with storage.reading_from(path, REMEDY), h5py.File(path, "r") as file:
        parts: dict[str, Any] = {
            name: {key: array_in(group_in(file, name), key) for key in group_in(file, name)}
            for name in ("clouds", "curves", "exchanges", "snapshots", "functions", "spectra")
        }
        for name in CLOUDS:
            cloud = finite(parts["clouds"][name], name, 2)
            if cloud.shape[1] != len(about["columns"]):
                raise WrongContentError(
                    f"{name} has {cloud.shape[1]} columns, {DOCUMENT} names {len(about['columns'])}"
                )
        tests = {name: _comparison(group_in(file, name)) if name in file else None for name in ("start", "now", "way")}
        parts["start"], here = tests["start"], tests["now"]
        if here is not None:
            resolution = Resolution(**json.loads(str(file.attrs["resolution"]))) if "resolution" in file.attrs else None
            found = here if tests["way"] is None else with_way(here, tests["way"])
            parts["now"] = dataclasses.replace(found, resolution=resolution)
        return WatchedRun(about, **parts)


def watched_row(folder: Path) -> dict[str, Any]:
    """A watched training in a list of runs; one that cannot be read has the state "damaged" and says why."""
    row: dict[str, Any] = dict.fromkeys(
        (
            "seed",
            "digest",
            "created",
            "n_neurons",
            "background_loss",
            "verdict",
            "ratio",
            "p_value",
            "fault",
            "layer",
            "step",
        )
    )
    row |= {"path": str(folder), "recipe": folder.name, "state": "damaged"}
    try:
        summary = storage.read_json(folder / DOCUMENT, REMEDY, _check)
    except RunError as error:
        return {**row, "fault": str(error)}
    found = summary.get("comparison") or {}
    return {
        **row,
        "recipe": summary["name"],
        "state": "watched",
        "layer": summary["layer"],
        "step": summary["n_steps"],
        "background_loss": summary.get("loss"),
        "created": summary.get("created"),
        "seed": summary.get("seed"),
        "n_neurons": [summary["n_neurons"]],
        **{name: found.get(name) for name in ("verdict", "ratio")},
        # The verdict is that of both tests, where neurons are and how far each has come.
        "p_value": found.get("p_value_all"),
        "fault": summary["stopped"] or None,
    }


def _check(document: Mapping[str, Any]) -> None:
    wanted = {"name": str, "layer": str, "optimizer": str, "n_steps": int, "n_inputs": int, "columns": list,
              "n_neurons": int, "n_foreground": int, "sentences": list, "stopped": str}  # fmt: skip
    for name, kind in wanted.items():
        if not isinstance(document.get(name), kind):
            raise WrongContentError(f"it has no {name}")
    if document.get("schema") != SCHEMA:
        raise WrongContentError(f"its schema is {document.get('schema')!r}, not {SCHEMA}")


def _arrays(run: WatchedRun) -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["schema"] = SCHEMA
        for name in ("clouds", "curves", "exchanges", "snapshots", "functions", "spectra"):
            group = file.create_group(name)
            for key, array in getattr(run, name).items():
                group.create_dataset(key, data=array, fletcher32=array.size > 0 or None)
        tests = {"start": run.start}
        if run.now is not None:
            tests |= {"now": run.now, "way": run.now.way}
            if run.now.resolution is not None:
                file.attrs["resolution"] = json.dumps(dataclasses.asdict(run.now.resolution))
        for name, comparison in tests.items():
            if comparison is not None:
                group = file.create_group(name)
                values = {f.name: getattr(comparison, f.name) for f in dataclasses.fields(comparison)}
                arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
                for key, array in arrays.items():
                    group.create_dataset(key, data=array, fletcher32=array.size > 0 or None)
                plain = {k: v for k, v in values.items() if k not in (*arrays, "averages", "resolution", "way")}
                group.attrs["values"] = json.dumps(plain)
    return memory.getvalue()


def _comparison(group: h5py.Group) -> Comparison:
    values = json.loads(str(group.attrs["values"])) | {name: array_in(group, name) for name in group}
    comparison = Comparison(**values)
    check_comparison(comparison)
    return comparison
