"""What a list of many runs shows of each: read once, remembered beside the runs, read again where a file changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mft_engine.experiment import schema, storage
from mft_engine.experiment.storage import RunError
from mft_engine.runs.folder import CHECKPOINT, METRICS, PROVENANCE, RECIPE, SUMMARY, Run
from mft_engine.runs.marks import LONGEST_NAME, MARKS, read_marks
from mft_engine.runs.watched import DOCUMENT, is_watched, read_watched, watched_row

INDEX = "index.json"
BATCH = 64
_FILES = (RECIPE, SUMMARY, CHECKPOINT, PROVENANCE, MARKS, DOCUMENT)

Number = Annotated[float, Field(allow_inf_nan=False)] | None
Signature = tuple[tuple[int, int], ...]


class RunRow(BaseModel):
    """One run of a list; what is not known is None or empty.

    Attributes:
        folder: its place; name: a person's, else empty; tags, note: a person's.
        scale, temperature: in force at the end, whatever was scheduled; step: done; loss: of the background at the
            end, E (y - f)^2.
        state: complete, interrupted, failed or damaged, or watched: somebody's own training, of which recipe is the
            layer and loss what `watch.exchange` found last; fault: a sentence for failed and damaged ones.
        changed: seconds since 1970 at which its files changed last.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    recipe: str = ""
    task: str = ""
    seed: int | None = None
    n_neurons: tuple[int, ...] = ()
    scale: Number = None
    temperature: Number = None
    step: int | None = None
    loss: Number = None
    verdict: str | None = None
    p_value: Number = None
    state: str = "damaged"
    fault: str | None = None
    digest: str | None = None
    changed: float = 0.0

    @property
    def title(self) -> str:
        """The name that a person gave, else the folder's."""
        return self.name or self.folder.name


class _Entry(BaseModel):
    signature: Signature
    row: RunRow


_ENTRIES = TypeAdapter(dict[str, _Entry])


def read_index(store: Path) -> Iterator[list[RunRow]]:
    """The runs of a folder in batches: first those that are remembered and have not changed, then the others.

    What was read is remembered in the folder, where that may be written. A run that cannot be read is a row of the
    state "damaged" with a sentence.
    """
    known = _remembered(store)
    found, changed = {}, []
    for folder in _folders(store):
        signature = _signature(folder)
        name = folder.relative_to(store).as_posix()
        entry = known.get(name)
        if entry is not None and entry.signature == signature:
            found[name] = entry
        else:
            changed.append((folder, signature))
    # The store may have been moved since: places are where the files are now.
    yield [entry.row.model_copy(update={"folder": store / name}) for name, entry in found.items()]
    for start in range(0, len(changed), BATCH):
        batch = [(folder, signature, read_row(folder)) for folder, signature in changed[start : start + BATCH]]
        found |= {
            folder.relative_to(store).as_posix(): _Entry(signature=signature, row=row)
            for folder, signature, row in batch
        }
        yield [row for _, _, row in batch]
    if changed or len(found) != len(known):
        with contextlib.suppress(RunError):  # a store that may not be written is read anew every time
            storage.write_atomically(store / INDEX, _ENTRIES.dump_json(found))


def read_row(folder: Path) -> RunRow:
    """One run as a row, whatever state it is in."""
    marks = read_marks(folder)
    changed = max((time for time, _ in _signature(folder)), default=0) / 1e9
    about = {"folder": folder, "changed": changed, **marks.model_dump()}
    if is_watched(folder):
        try:
            return RunRow(**about | _watched_about(folder, marks.name))
        except ValidationError:
            return RunRow(**about, fault=f"{folder / DOCUMENT} holds words where numbers should be")
    try:
        stored = Run(folder)
        recipe = stored.recipe
    except (RunError, OSError) as error:
        return RunRow(**about, fault=str(error))
    summary = stored.summary
    background, comparison = (summary.get(key) or {} for key in ("background", "comparison"))
    step, loss = background.get("n_steps"), background.get("loss")
    if not summary or _is_newer(folder / CHECKPOINT, folder / SUMMARY):
        # The verdict was that of an earlier state.
        step, loss = _where_it_stopped(folder / CHECKPOINT) or (step, loss)
        comparison = {}
    in_force = {c.path: c.value for c in recipe.schedule if step is None or c.step <= step}
    return RunRow(
        **about,
        recipe=recipe.name,
        task=recipe.task.name,
        seed=recipe.seed,
        n_neurons=recipe.network.n_neurons,
        scale=float(in_force.get("regularisation.scale", recipe.regularisation.scale)),
        temperature=float(in_force.get("training.temperature", recipe.training.temperature)),
        step=step,
        loss=loss,
        verdict=comparison.get("verdict"),
        p_value=comparison.get("p_value"),
        state=stored.state,
        fault=stored.provenance.get("failure") or (stored.faults[0] if stored.faults else None),
        digest=recipe.digest,
    )


def _watched_about(folder: Path, name: str) -> dict[str, Any]:
    """What a row says of a watched training; its own name stands where no person has given another."""
    row = watched_row(folder)
    if row["state"] == "damaged":
        return {"fault": row["fault"]}
    return {
        "name": name or ("" if row["recipe"] == folder.name else row["recipe"][:LONGEST_NAME]),
        "recipe": row["layer"],
        "n_neurons": tuple(row["n_neurons"]),
        "loss": row["background_loss"],
        **{key: row[key] for key in ("seed", "step", "verdict", "p_value", "state", "fault")},
    }


def loss_curve(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Loss E (y - f)^2 of the background along a stored run, without building its experiment.

    Returns:
        times (n_records,) and losses (n_records,); empty where none were recorded. Of a watched training: the steps
        at which the model's loss was asked, and what it was.

    Raises:
        RunError: the file that has them is damaged.
    """
    if is_watched(folder):
        asked = read_watched(folder).exchanges
        return (asked["step"].astype(float), asked["network"]) if asked else (np.empty(0), np.empty(0))
    metrics, checkpoint = folder / METRICS, folder / CHECKPOINT
    if metrics.exists() and not _is_newer(checkpoint, metrics):
        columns = storage.read_columns(metrics, "the curves are lost", schema.check_metrics)
    elif checkpoint.exists():
        arrays, _ = storage.read_checkpoint(checkpoint, "the curves are lost")
        columns = {n.removeprefix("metric_"): v for n, v in arrays.items() if n.startswith("metric_")}
    else:
        return np.empty(0), np.empty(0)
    time, loss = (np.asarray(columns.get(name, np.empty(0)), float) for name in ("time", "loss"))
    n = min(len(time), len(loss))
    return time[:n], loss[:n]


def _folders(store: Path) -> list[Path]:
    try:
        folders = sorted(path for path in store.iterdir() if path.name[0] != ".")
        # Of several watched layers each has a folder in the training's.
        layers = [
            layer
            for path in folders
            if os.path.isdir(path)
            for layer in sorted(path.glob("layer*"))
            if is_watched(layer)
        ]
    except (OSError, ValueError):
        return []
    return [path for path in folders if os.path.exists(path / RECIPE) or is_watched(path)] + layers


def _signature(folder: Path) -> Signature:
    found = []
    for name in _FILES:
        try:
            stat = (folder / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _remembered(store: Path) -> dict[str, _Entry]:
    try:
        return _ENTRIES.validate_json((store / INDEX).read_bytes())
    except (OSError, ValueError):  # a name that no file can have, or another content
        return {}


def _is_newer(path: Path, other: Path) -> bool:
    """Whether training went on after the summary was written: the answers come seconds after their checkpoint."""
    try:
        return path.stat().st_mtime_ns > other.stat().st_mtime_ns
    except OSError:
        return False


def _where_it_stopped(checkpoint: Path) -> tuple[int | None, float | None] | None:
    """Step and loss of a checkpoint, of which only the head and one number are read."""
    try:
        with safetensors.safe_open(checkpoint, framework="numpy") as file:
            numbers: Any = json.loads(file.metadata()["numbers"])
            step, loss = int(numbers["state"]["step"]), None
            if "metric_loss" in file.keys():
                losses = file.get_slice("metric_loss")
                (n,) = losses.get_shape()
                loss = float(losses[n - 1 : n][0]) if n else None
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None
    return step, loss if loss is not None and np.isfinite(loss) else None
