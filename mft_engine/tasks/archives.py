"""NPZ files as tables: arrays with rows, splits into training and test, one-hot targets."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from mft_engine.ordinary_files import require_ordinary
from mft_engine.tasks.tables import MAX_BYTES, MAX_CELLS, MAX_INPUTS, Columns, Table
from mft_engine.tasks.task import TaskError

TARGET_NAMES = ("y", "t", "target", "targets", "label", "labels")
SPLIT = re.compile(r"(?i)(.+?)_?(train|test)$")


def read_archive(path: Path) -> Table:
    """The arrays of an NPZ file.

    Arrays (n,) are columns, (n, d) groups of columns. `X_train`, `y_train`, `X_test`, `y_test` are one table whose last
    rows are held back. What cannot be a column (a lone number, text, another number of rows) is left out with a word.

    Raises:
        TaskError: a damaged file, Python objects, or nothing in it that makes a table.
    """
    arrays, n_test = _joined(read_arrays(path))
    notes, left_out, usable = [], [], {}
    faults: dict[str, str] = {}
    for name, array in arrays.items():
        fault = _fault(array)
        if fault:
            faults[name] = fault
            left_out.append(name)
        else:
            usable[name] = array
    sizes = [len(array) for array in usable.values()]
    n_rows = max(sizes, key=lambda n: (sizes.count(n), n), default=0)
    shown = ", ".join(f"{name!r} {len(array):,}" for name, array in list(usable.items())[:6])
    if len(set(sizes)) > 1 and sizes.count(n_rows) < 2:
        raise TaskError(f"{path.name}: the arrays differ in their number of rows ({shown})")
    for name in [name for name, array in usable.items() if len(array) != n_rows]:
        faults[name] = f"has {len(usable.pop(name)):,} rows where the others have {n_rows:,}"
        left_out.append(name)
    if len(usable) < 1 or sum(1 if a.ndim == 1 else a.shape[1] for a in usable.values()) < 2:
        raise TaskError(
            f"{path.name} holds no table: real numbers of shape (n,) or (n, d) are expected"
            + "".join(f"; {name!r} {fault}" for name, fault in list(faults.items())[:3])
        )
    notes += [f"The array {name!r} {fault} and was left out." for name, fault in faults.items()]
    columns, groups = _columns(usable, path)
    target = next((name for name in usable if name.lower() in TARGET_NAMES), None)
    if target is None and (last := next(reversed(usable))) in groups and is_one_hot(usable[last]):
        target = last
    facts: dict[str, Any] = {"arrays": list(usable)}
    if n_test:
        notes.append(f"The file is split: {n_rows - n_test:,} rows to learn from, {n_test:,} held back.")
        facts["n_test"] = n_test
    if left_out:
        facts["left_out"] = left_out
    return Table(columns, groups, n_test=n_test, target=target, facts=facts, notes=tuple(notes))


def is_one_hot(values: np.ndarray) -> bool:
    """Whether every row of (n, d > 1) has a single 1 and else zeros."""
    return bool(
        values.ndim == 2
        and values.shape[1] > 1
        and np.isin(values, (0.0, 1.0)).all()
        and (values.sum(axis=1) == 1.0).all()
    )


def read_arrays(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Plain arrays of an NPZ file, whatever somebody put in its place; nothing is unpickled.

    Args:
        wanted: names of those to read; all by default.

    Raises:
        TaskError: a damaged file, one of Python objects, or one that unpacks to more than is read.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        require_ordinary(path, MAX_BYTES)
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            chosen = [name for name in entries if wanted is None or name in wanted]
            n_bytes = sum(entries[name].file_size for name in chosen)
            if n_bytes > MAX_BYTES:
                raise TaskError(
                    f"{path.name} unpacks to {n_bytes / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} MB are read"
                )
            for name in chosen:
                with archive.open(entries[name]) as file:
                    _require_as_declared(file, entries[name].file_size, name)
                with archive.open(entries[name]) as file:
                    # An archive's members are other files than NumPy expects, and are read as those are.
                    arrays[name] = np.lib.format.read_array(cast(BinaryIO, file), allow_pickle=False)
    except TaskError:
        raise
    except Exception as error:  # a damaged archive can raise anything, and none of it is a defect of this program
        words = str(getattr(error, "strerror", None) or error).partition("\n")[0][:120] or type(error).__name__
        raise TaskError(f"{path.name} cannot be read as an NPZ file of plain arrays: {words}") from None
    return arrays


def read_names(path: Path) -> list[str]:
    """The names of the arrays of an NPZ file that `read_arrays` can open."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _require_as_declared(file: IO[bytes], n_bytes: int, name: str) -> None:
    """Refuse an array whose header promises another number of bytes than follow: so many would be asked for."""
    shape, _, dtype = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
        np.lib.format.read_magic(file)
    ](file)
    if math.prod(shape) * dtype.itemsize != n_bytes - file.tell() and not dtype.hasobject:
        raise ValueError(f"the array {name!r} has another size than it declares")


def _joined(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """name_train and name_test as one array `name`, and the number of test rows; as they are where they do not pair."""
    pairs: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        match = SPLIT.fullmatch(name)
        if match:
            pairs.setdefault(match[1], {})[match[2].lower()] = array
    whole = {name: pair for name, pair in pairs.items() if len(pair) == 2}
    n_test = {len(pair["test"]) for pair in whole.values() if pair["test"].ndim}
    n_train = {len(pair["train"]) for pair in whole.values() if pair["train"].ndim}
    fits = all(p["train"].shape[1:] == p["test"].shape[1:] and p["train"].ndim for p in whole.values())
    if len(whole) < 2 or len(n_test) != 1 or len(n_train) != 1 or not fits:
        return arrays, 0
    joined = {name: np.concatenate([pair["train"], pair["test"]]) for name, pair in whole.items()}
    rest = {name: array for name, array in arrays.items() if not SPLIT.fullmatch(name)}
    return joined | rest, n_test.pop()


def _fault(array: np.ndarray) -> str:
    """Why an array cannot be columns; empty where it can."""
    if array.dtype.kind not in "fiub":
        return f"is an array of {array.dtype}, not of real numbers,"
    if array.ndim not in (1, 2):
        return "is a single number" if array.ndim == 0 else f"has shape {array.shape}"
    return ""


def _columns(arrays: dict[str, np.ndarray], path: Path) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    n_cells = sum(array.size for array in arrays.values())
    if n_cells > MAX_CELLS:
        raise TaskError(f"{path.name} has {n_cells:,} numbers; at most {MAX_CELLS:,} are read")
    columns: Columns = {}
    groups: dict[str, tuple[str, ...]] = {}
    single = {name for name, array in arrays.items() if array.ndim == 1 or array.shape[1] == 1}
    for name, array in arrays.items():
        if array.ndim == 2 and array.shape[1] > MAX_INPUTS:
            raise TaskError(f"{path.name}: {name!r} has {array.shape[1]:,} columns; at most {MAX_INPUTS:,} are read")
        values = array.astype(np.float64).reshape(len(array), -1) if array.size else np.zeros((0, 1))
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise TaskError(f"{path.name}: {name!r} has a number that is not finite in row {bad[0][0] + 1}")
        if name in single:
            columns[name] = values[:, 0].copy()
            continue
        plain = [f"{name}{j + 1}" for j in range(values.shape[1])]
        # Another array may have such a name already.
        taken = single | set(columns) | set(arrays)
        names = plain if not taken & set(plain) else [f"{name}[{j + 1}]" for j in range(values.shape[1])]
        if set(names) & taken:
            raise TaskError(f"{path.name}: the columns of {name!r} and another array have the same names; rename one")
        groups[name] = tuple(names)
        columns.update({column: values[:, j].copy() for j, column in enumerate(names)})
    return columns, groups
