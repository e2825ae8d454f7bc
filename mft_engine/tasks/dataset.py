"""Data of one's own: a CSV or NPZ file, its columns, standardised, with a part held back for testing."""

from __future__ import annotations

import csv
import functools
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from mft_engine.resources import resources_folder
from mft_engine.rng import Stream, host_generator
from mft_engine.tasks.task import OwnPoints, Task, TaskError, no_more, whole

MAX_BYTES = 500_000_000
MAX_CELLS = 50_000_000
MAX_INPUTS = 1000
SAMPLE = "xor-blobs.csv"
DELIMITERS = ",;\t"

Columns = dict[str, np.ndarray]


def build_dataset(name: str, parameters: Mapping[str, Any]) -> Task:
    """Rows of a file, `task.path`: inputs and target by column, 1/n each.

    Parameters, with what they are where they are left out: path (CSV or NPZ; a sample of 400 points); target (a
    column's name or number from 1; the last one); inputs (a list of columns; all others); standardise (true: each input
    and the target by mean and standard deviation of the training part); train_fraction (1: nothing is held back); split
    (which random split; 0).

    Raises:
        TaskError: whatever is wrong with the file or a parameter, with line and column.
    """
    no_more(name, parameters, ("path", "target", "inputs", "standardise", "train_fraction", "split"))
    path = _path(parameters.get("path", ""))
    columns = read_columns(path)
    target_name, input_names = _choose(columns, parameters.get("target"), parameters.get("inputs"), path)
    inputs = np.column_stack([columns[column] for column in input_names])
    targets = columns[target_name].copy()
    fraction = parameters.get("train_fraction", 1.0)
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise TaskError(f"task.train_fraction = {fraction!r}: a number above 0 and at most 1")
    split = whole(parameters, "split", 0, 0, 2**31, "the number of the split")
    n_train = max(1, round(fraction * len(targets)))
    order = host_generator(split, Stream.TASK).permutation(len(targets)) if n_train < len(targets) else slice(None)
    inputs, targets = inputs[order], targets[order]
    standardise = parameters.get("standardise", True)
    if not isinstance(standardise, bool):
        raise TaskError(f"task.standardise = {standardise!r}: true or false")
    if standardise:
        inputs = _standardised(inputs, n_train, input_names, path)
        targets = _standardised(targets[:, None], n_train, [target_name], path)[:, 0]
    points = OwnPoints(inputs[:n_train], targets[:n_train], inputs[n_train:], targets[n_train:], path.name)
    title = f"{path.name}: {n_train:,} points" + (f", {len(targets) - n_train:,} held back" if fraction < 1 else "")
    formula = f"{target_name} of {', '.join(input_names[:4])}" + (", ..." if len(input_names) > 4 else "")
    return Task(name, title, formula, inputs.shape[1], NearestTarget(points), points=points)


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


def read_columns(path: Path) -> Columns:
    """Name to column of a CSV file (with or without a header) or an NPZ file.

    Raises:
        TaskError: a file that cannot be read; the sentence says where and what is expected.
    """
    try:
        status = path.stat()
        return dict(_read(path, status.st_mtime_ns, status.st_size))
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror or error}") from None


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> Columns:
    with path.open("rb") as file:
        is_archive = file.read(4).startswith(b"PK")
    columns = _read_npz(path) if is_archive or path.suffix.lower() == ".npz" else _read_csv(path)
    if len(columns) < 2:
        raise TaskError(f"{path.name} has {len(columns)} column; inputs and a target need at least 2")
    n_rows = {len(column) for column in columns.values()}
    if n_rows == {0}:
        raise TaskError(f"{path.name} has no rows")
    for column in columns.values():
        column.setflags(write=False)
    return columns


# ---- CSV ------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> Columns:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path.name} is not a text file in UTF-8 (byte {error.start + 1}); save it as UTF-8") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise TaskError(f"{path.name} is empty")
    delimiter = max(DELIMITERS, key=first.count)
    try:
        if first.count(delimiter):
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        else:
            lines = enumerate(text.splitlines(), start=1)
            rows = [(number, line.split()) for number, line in lines if line.strip()]
    except csv.Error as error:
        raise TaskError(f"{path.name} is not a table: {error}") from None
    if not rows:
        raise TaskError(f"{path.name} is empty")
    cells = [cell.strip() for cell in rows[0][1]]
    has_header = not all(_is_number(cell) for cell in cells)
    names = _names(cells, path) if has_header else [str(j + 1) for j in range(len(cells))]
    return _table(rows[1:] if has_header else rows, names, path)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _names(cells: Sequence[str], path: Path) -> list[str]:
    names = [cell or str(j + 1) for j, cell in enumerate(cells)]
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) <= MAX_INPUTS + 1 else None
    if twice is not None:
        raise TaskError(f"{path.name} has two columns named {twice!r}")
    return names


def _table(rows: Sequence[tuple[int, list[str]]], names: Sequence[str], path: Path) -> Columns:
    if len(names) > MAX_INPUTS + 1:
        raise TaskError(f"{path.name} has {len(names):,} columns; at most {MAX_INPUTS + 1:,} are read")
    if len(rows) * len(names) > MAX_CELLS:
        raise TaskError(f"{path.name} has {len(rows) * len(names):,} cells; at most {MAX_CELLS:,} are read")
    values = np.empty((len(rows), len(names)))
    for i, (line, cells) in enumerate(rows):
        if len(cells) != len(names):
            raise TaskError(f"{path.name}, line {line}: {len(cells)} cells where the first line has {len(names)}")
        for j, cell in enumerate(cells):
            try:
                values[i, j] = float(cell)
            except ValueError:
                shown = cell.strip()[:30]
                what = f"{shown!r} is not a number" if shown else "the cell is empty"
                raise TaskError(f"{path.name}, line {line}, column {names[j]!r}: {what}") from None
            if not np.isfinite(values[i, j]):
                raise TaskError(f"{path.name}, line {line}, column {names[j]!r}: {cell.strip()[:30]} is not finite")
    return {name: np.ascontiguousarray(values[:, j]) for j, name in enumerate(names)}


# ---- NPZ ------------------------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Columns:
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
        if n_bytes > MAX_BYTES:
            raise TaskError(
                f"{path.name} unpacks to {n_bytes / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} MB are read"
            )
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except TaskError:
        raise
    except Exception as error:  # a damaged archive can raise anything, and none of it is a defect of this program
        words = str(error).partition("\n")[0][:120] or type(error).__name__
        raise TaskError(f"{path.name} cannot be read as an NPZ file of plain arrays: {words}") from None
    columns: Columns = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or array.size > MAX_CELLS:
            raise TaskError(
                f"{path.name}: {name!r} is an array of {array.dtype} with shape {array.shape}; real numbers "
                "of shape (n,) or (n, d) are expected"
            )
        if array.ndim == 2 and array.shape[1] > MAX_INPUTS:
            raise TaskError(f"{path.name}: {name!r} has {array.shape[1]:,} columns; at most {MAX_INPUTS:,} are read")
        values = array.astype(np.float64).reshape(len(array), -1) if array.size else np.zeros((0, 1))
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise TaskError(f"{path.name}: {name!r} has a number that is not finite in row {bad[0][0] + 1}")
        is_single = array.ndim == 1 or values.shape[1] == 1
        columns.update({name if is_single else f"{name}{j + 1}": values[:, j].copy() for j in range(values.shape[1])})
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        shown = ", ".join(f"{name!r} {len(column):,}" for name, column in list(columns.items())[:6])
        raise TaskError(f"{path.name}: the arrays differ in their number of rows ({shown})")
    return columns


# ---- columns --------------------------------------------------------------------------------------------------------


def _choose(columns: Columns, target: Any, inputs: Any, path: Path) -> tuple[str, list[str]]:
    names = list(columns)
    chosen = _column(names, target, "target", path) if target is not None else names[-1]
    if inputs is None:
        return chosen, [name for name in names if name != chosen]
    wanted = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    found = [_column(names, name, "inputs", path) for name in wanted]
    if not found or len(set(found)) < len(found):
        raise TaskError(f"task.inputs = {inputs!r}: a list of different columns of {', '.join(names[:12])}")
    if chosen in found:
        raise TaskError(f"task.inputs = {inputs!r}: {chosen!r} is the target already")
    return chosen, found


def _column(names: Sequence[str], wanted: Any, field: str, path: Path) -> str:
    if isinstance(wanted, str) and wanted in names:
        return wanted
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 1 <= wanted <= len(names):
        return names[wanted - 1]
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise TaskError(
        f"task.{field} = {wanted!r}: {path.name} has no such column; there are {shown} (or numbers 1 to {len(names)})"
    )


def _standardised(values: np.ndarray, n_train: int, names: Sequence[str], path: Path) -> np.ndarray:
    # Divided first, so that columns near the largest float have squares.
    size = np.abs(values).max(axis=0)
    scaled = values / np.where(size > 0, size, 1.0)
    mean, deviation = scaled[:n_train].mean(axis=0), scaled[:n_train].std(axis=0)
    flat = np.flatnonzero(deviation <= 1e-12)
    if len(flat):
        raise TaskError(
            f"{path.name}: column {names[flat[0]]!r} is the same in all {n_train:,} training rows, so it cannot be "
            "standardised; leave it out (task.inputs), or set task.standardise = false"
        )
    return (scaled - mean) / deviation
