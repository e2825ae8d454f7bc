"""The seeds of each point of a sweep, pooled into one verdict a point."""

from __future__ import annotations

import csv
import io
from typing import Any

from mft_engine.experiment.storage import RunError, write_atomically
from mft_engine.experiment.summary import without_nan
from mft_engine.runs.folder import Run
from mft_engine.runs.seeds import pool_runs
from mft_engine.studies.sweep_table import FAILURE, POOLED, Listener, Row, Sweep

COLUMNS = ("n_runs", "verdict", "p_value", "p_value_distance", "p_value_averages", "ratio", "n_rejected", "kl_upper",
           "sentence")  # fmt: skip


def pool_points(sweep: Sweep, told: Listener | None = None) -> list[Row]:
    """One row a point of the grid: its values and what its seeds say together, of the first hidden layer.

    Points that failed, and runs that cannot be read any more, are left out. The rows stand in `pooled.csv` as well.

    Args:
        told: hears every row as soon as it is there (a second each).
    """
    paths = [axis.path for axis in sweep.axes]
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for row in sweep.rows:
        if not row.get(FAILURE) and row.get("run_dir"):
            groups.setdefault(tuple(row[path] for path in paths), []).append(Run(row["run_dir"]))
    rows = []
    for values, runs in groups.items():
        try:
            found = pool_runs(runs, has_resolution=True)
        except RunError:
            continue
        if found:
            rows.append(without_nan({**dict(zip(paths, values, strict=True)), **found[0].to_dict()}))
            if told is not None:
                told(rows[-1])
    memory = io.StringIO()
    writer = csv.DictWriter(memory, [*paths, *COLUMNS], restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    write_atomically(sweep.folder / POOLED, memory.getvalue().encode())
    return rows
