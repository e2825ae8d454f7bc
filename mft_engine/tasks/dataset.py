"""Data of one's own: the columns of a file, standardised, with a part held back for testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from mft_engine.resources import resources_folder
from mft_engine.rng import Stream, host_generator
from mft_engine.tasks.archives import is_one_hot
from mft_engine.tasks.files import read_table
from mft_engine.tasks.tables import DELIMITERS, MAX_BYTES, MAX_CLASSES, Options, Table
from mft_engine.tasks.task import OwnPoints, Task, TaskError, no_more, whole

SAMPLE = "xor-blobs.csv"
PARAMETERS = (
    "path", "target", "inputs", "standardise", "train_fraction", "split", "delimiter", "decimal", "header",
)  # fmt: skip


def build_dataset(name: str, parameters: Mapping[str, Any]) -> Task:
    """Rows of a file, `task.path`: inputs and target by column, 1/n each.

    Parameters, with what they are where they are left out: path (CSV or NPZ; a sample of 400 points); target (a
    column's name or number from 1, or an NPZ's array of several columns; the one called y, target or label in an NPZ,
    else the last one); inputs (a list of columns; all others); standardise (true: each input and the target by mean and
    standard deviation of the training part); train_fraction (1: nothing is held back but what the file itself does);
    split (which random split; 0); delimiter, decimal, header (guessed, and said in the summary).

    A target of two values is a classification by sign; one of words, or a one-hot array, has a readout for each class
    (two words: one readout).

    Raises:
        TaskError: whatever is wrong with the file or a parameter, with line and column.
    """
    no_more(name, parameters, PARAMETERS)
    path = _path(parameters.get("path", ""))
    table = read_table(path, options_of(parameters))
    chosen, input_names = _choose(table, parameters.get("target"), parameters.get("inputs"), path)
    inputs = np.column_stack([table.columns[column] for column in input_names])
    targets, words = _targets(table, chosen, path)
    fraction = parameters.get("train_fraction", 1.0)
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise TaskError(f"task.train_fraction = {fraction!r}: a number above 0 and at most 1")
    if table.n_test and fraction < 1:
        raise TaskError(
            f"task.train_fraction = {fraction!r}: {path.name} itself holds back {table.n_test:,} rows; leave it out"
        )
    split = whole(parameters, "split", 0, 0, 2**31, "the number of the split")
    n_train = len(targets) - table.n_test if table.n_test else max(1, round(fraction * len(targets)))
    if n_train < len(targets) and not table.n_test:
        order = host_generator(split, Stream.TASK).permutation(len(targets))
        inputs, targets = inputs[order], targets[order]
    standardise = parameters.get("standardise", True)
    if not isinstance(standardise, bool):
        raise TaskError(f"task.standardise = {standardise!r}: true or false")
    is_classification = bool(words) or _has_two_values(targets)
    if standardise:
        inputs = _standardised(inputs, n_train, input_names, path)
        if targets.ndim == 1:
            targets = _standardised(targets[:, None], n_train, [chosen], path)[:, 0]
        else:
            targets = targets - targets[:n_train].mean(axis=0)
    points = OwnPoints(inputs[:n_train], targets[:n_train], inputs[n_train:], targets[n_train:], path.name)
    n_test = len(targets) - n_train
    title = f"{path.name}: {n_train:,} points" + (f", {n_test:,} held back" if n_test else "")
    formula = f"{chosen} of {', '.join(input_names[:4])}" + (", ..." if len(input_names) > 4 else "")
    facts = {"path": str(path), **table.facts, "target": chosen, "inputs": input_names, "notes": list(table.notes)}
    return Task(
        name,
        title,
        formula + (f" ({' / '.join(words[:4])}{', ...' if len(words) > 4 else ''})" if words else ""),
        inputs.shape[1],
        NearestTarget(points),
        points=points,
        # The sign tells the class where both values lie around zero, as standardised ones do.
        is_classification=is_classification and (targets.ndim == 2 or bool(targets.min() < 0 < targets.max())),
        n_out=1 if targets.ndim == 1 else targets.shape[1],
        data=facts | ({"classes": list(words)} if words else {}),
    )


def options_of(parameters: Mapping[str, Any]) -> Options:
    """What the parameters say of the file's dialect.

    Raises:
        TaskError: a value that is not one of those allowed.
    """
    delimiter, decimal, header = (parameters.get(name) for name in ("delimiter", "decimal", "header"))
    known = DELIMITERS | {value: value for value in DELIMITERS.values()}
    if delimiter is not None and delimiter not in known:
        raise TaskError(f"task.delimiter = {delimiter!r}: one of {', '.join(DELIMITERS)}")
    if decimal not in (None, ".", ","):
        raise TaskError(f'task.decimal = {decimal!r}: "." or ","')
    if header is not None and not isinstance(header, bool):
        raise TaskError(f"task.header = {header!r}: true or false")
    return Options(None if delimiter is None else known[delimiter], decimal, header)


class NearestTarget:
    """The target of the nearest point: a picture of scattered data, nothing that is learnt from."""

    def __init__(self, points: OwnPoints) -> None:
        self.targets = points.targets
        self.tree = cKDTree(points.inputs)

    def __call__(self, inputs: Any) -> Any:
        if isinstance(inputs, torch.Tensor):
            found = self(inputs.detach().cpu().numpy())
            return torch.as_tensor(found, dtype=inputs.dtype, device=inputs.device)
        return self.targets[self.tree.query(np.asarray(inputs, dtype=np.float64))[1]]


def _path(value: Any) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise TaskError(f"task.path = {value!r}: write the path of a CSV or NPZ file as text")
    if not value:
        return resources_folder() / "data" / SAMPLE
    try:
        path = Path(value).expanduser()
        size = path.stat().st_size if path.is_file() else -1
    except (OSError, RuntimeError, ValueError) as error:
        raise TaskError(f"task.path = {value!r} cannot be looked at: {error}") from None
    if size < 0:
        raise TaskError(f"task.path = {value!r}: there is no such file (seen from {Path.cwd()})")
    if size > MAX_BYTES:
        raise TaskError(f"{path.name} has {size / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} MB are read")
    return path


# ---- columns --------------------------------------------------------------------------------------------------------


def _choose(table: Table, target: Any, inputs: Any, path: Path) -> tuple[str, list[str]]:
    """Name of the target (a column or a group) and of the input columns."""
    names = list(table.columns)
    if isinstance(target, str) and target in table.groups:
        chosen = target
    elif target is not None:
        chosen = _column(names, target, "target", path, table.groups)
    else:
        chosen = table.target or names[-1]
    own = table.groups.get(chosen, (chosen,))
    if inputs is None:
        found = [name for name in names if name not in own]
    else:
        wanted = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        found = [_column(names, name, "inputs", path) for name in wanted]
        if not found or len(set(found)) < len(found):
            raise TaskError(f"task.inputs = {inputs!r}: a list of different columns of {', '.join(names[:12])}")
        if set(own) & set(found):
            raise TaskError(f"task.inputs = {inputs!r}: {chosen!r} is the target already")
    worded = next((name for name in found if name in table.classes), None)
    if worded is not None:
        raise TaskError(
            f"{path.name}: column {worded!r} holds words ({', '.join(table.classes[worded][:3])}, ...), which cannot "
            "be an input: leave it out (task.inputs), make it the target (task.target), or write numbers"
        )
    if not found:
        raise TaskError(f"{path.name}: beside the target {chosen!r} there is no column left to learn from")
    return chosen, found


def _column(
    names: Sequence[str], wanted: Any, field: str, path: Path, groups: Mapping[str, Sequence[str]] | None = None
) -> str:
    if isinstance(wanted, str) and wanted in names:
        return wanted
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 1 <= wanted <= len(names):
        return names[wanted - 1]
    all_names = [*names, *(groups or ())]
    shown = ", ".join(all_names[:12]) + (", ..." if len(all_names) > 12 else "")
    raise TaskError(
        f"task.{field} = {wanted!r}: {path.name} has no such column; there are {shown} (or numbers 1 to {len(names)})"
    )


def _targets(table: Table, chosen: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n,) numbers, or (n, n_classes) 0 and 1, and the names of the classes (none for plain numbers)."""
    if chosen in table.groups:
        names = table.groups[chosen]
        values = np.column_stack([table.columns[name] for name in names])
        if not is_one_hot(values):
            raise TaskError(
                f"{path.name}: the array {chosen!r} has {len(names)} columns and is not one-hot (a single 1 in every "
                f"row): choose one of its columns as task.target ({', '.join(names[:4])})"
            )
        return values, names
    column = table.columns[chosen].copy()
    words = table.classes.get(chosen, ())
    if len(words) <= 2:
        return column, words
    if len(words) > MAX_CLASSES:
        raise TaskError(
            f"{path.name}: column {chosen!r} holds {len(words):,} different words; a target of words has at most "
            f"{MAX_CLASSES} classes"
        )
    return np.eye(len(words))[column.astype(int)], words


def _has_two_values(targets: np.ndarray) -> bool:
    return targets.ndim == 1 and len(np.unique(targets)) == 2


def _standardised(values: np.ndarray, n_train: int, names: Sequence[str], path: Path) -> np.ndarray:
    # Divided first, so that columns near the largest float have squares.
    size = np.abs(values).max(axis=0)
    scaled = values / np.where(size > 0, size, 1.0)
    mean, deviation = scaled[:n_train].mean(axis=0), scaled[:n_train].std(axis=0)
    for j in np.flatnonzero(deviation <= 1e-12).tolist():
        # Large numbers that differ little: what they have in common is taken off before anything is rounded.
        apart = values[:, j] - values[0, j]
        largest = np.abs(apart[:n_train]).max()
        if largest == 0:
            raise TaskError(
                f"{path.name}: column {names[j]!r} is the same in all {n_train:,} training rows, so it cannot be "
                "standardised; leave it out (task.inputs), or set task.standardise = false"
            )
        scaled[:, j] = apart / largest
        mean[j], deviation[j] = scaled[:n_train, j].mean(), scaled[:n_train, j].std()
    return np.asarray((scaled - mean) / deviation)
