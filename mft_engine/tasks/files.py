"""A file of data, whatever its kind, as a table."""

from __future__ import annotations

import functools
from pathlib import Path

from mft_engine.tasks.archives import read_archive
from mft_engine.tasks.delimited import read_text
from mft_engine.tasks.tables import Options, Table
from mft_engine.tasks.task import TaskError

GUESS = Options()


def read_table(path: Path, options: Options = GUESS) -> Table:
    """A CSV file, text as `numpy.savetxt` writes it, or an NPZ file.

    Raises:
        TaskError: a file that cannot be read; the sentence says where and what is expected.
    """
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size, options)
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror or error}") from None


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int, options: Options) -> Table:
    with path.open("rb") as file:
        is_archive = file.read(4).startswith(b"PK")
    table = read_archive(path) if is_archive or path.suffix.lower() == ".npz" else read_text(path, options)
    if len(table.columns) < 2:
        raise TaskError(f"{path.name} has {len(table.columns)} column; inputs and a target need at least 2")
    if not table.n_rows:
        raise TaskError(f"{path.name} has no rows")
    for column in table.columns.values():
        column.setflags(write=False)
    return table
