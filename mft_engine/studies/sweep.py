"""Many runs of one recipe: swept fields times seeds, on a Dask cluster of this machine or at an address.

Every point is a stored run of its own in `runs/`; `table.csv` has a row a point and is replaced whole whenever points
have finished, so a killed sweep shows what it has and resumes.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from mft_engine.experiment import storage
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe, parse_recipe
from mft_engine.runs.data import share_data
from mft_engine.runs.folder import Run
from mft_engine.runs.lock import working_alone
from mft_engine.runs.runs import run_stored
from mft_engine.studies.grid import Axis, Point, parse_axis, plan_sweep

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
TABLE = "table.csv"
RUNS = "runs"
FAILURE = "failure"
SAVE_SECONDS = 0.5
CONNECT_SECONDS = 20
NO_WORKERS = (
    'The workers of the sweep did not start. Each of them imports the script that sweeps: put what it does under "if '
    '__name__ == "__main__":", or sweep in this process (n_workers=1); if it is there, look whether there is memory.'
)
# Columns of the summary that say nothing about a point, or say it twice.
_LEFT_OUT = {"schema", "recipe", "seed", "layers"}

# Columns that are text whatever they look like.
_TEXTS = ("digest", FAILURE)

Row = dict[str, Any]
Report = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Sweep:
    """A finished (or interrupted) sweep.

    Attributes:
        axes: what was swept.
        rows: one a finished point, in the order of the grid: seed, the swept paths, the summary's leaves, failure.
        n_points: of the whole grid.
        folder: where table and runs are.
    """

    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]
    n_points: int
    folder: Path

    @property
    def n_failed(self) -> int:
        """Points that ended in a sentence instead of numbers."""
        return sum(bool(row.get(FAILURE)) for row in self.rows)


# ---- one point ------------------------------------------------------------------------------------------------------


def run_point(recipe_toml: str, folder: str, should_resume: bool = False) -> Row:
    """Carry out and store one point, in whatever process this is called; a fault becomes a sentence in the row."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = run_stored(parse_recipe(recipe_toml), folder, resume=should_resume)
        return {**flatten(stored.summary), FAILURE: None}
    except Exception as error:  # one point must not take the others with it, whatever is wrong with it
        return {FAILURE: " ".join(str(error).split()) or type(error).__name__}


def flatten(summary: Mapping[str, Any], prefix: str = "") -> Row:
    """The leaves of a summary by dotted name; of `layers` those beyond the first, which is `comparison`."""
    leaves: Row = {}
    # Numbers first: what describes the run as a whole (device, digest, folder) ends the row.
    for key, value in sorted(summary.items(), key=lambda item: not (prefix or isinstance(item[1], Mapping))):
        if key in _LEFT_OUT and not prefix:
            continue
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        elif not isinstance(value, (list, tuple)):
            leaves[f"{prefix}{key}"] = value
    for number, layer in enumerate(summary.get("layers", ())[1:] if not prefix else (), start=2):
        leaves.update(flatten(layer, f"layers.{number}."))
    return leaves


# ---- all of them ----------------------------------------------------------------------------------------------------


def run_sweep(
    recipe: Recipe,
    axes: Sequence[Axis],
    n_seeds: int,
    out: str | Path,
    *,
    n_workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> Sweep:
    """Every point of a sweep, stored; the table is written as points finish.

    Args:
        recipe: its seed is the first of `n_seeds` that follow each other.
        n_workers: processes of one thread each (all cores but one by default); 1 runs in this process.
        scheduler: address of a Dask scheduler whose workers see `out` under the same path; instead of `n_workers`.
        resume: keep the finished rows of `out`, go on with its unfinished runs, try failed points again.
        report: called with part, fraction and a text.

    Returns:
        the sweep, failed points included.

    Raises:
        RecipeError: bad axes. RunError: a folder that cannot be written or has a sweep already; no scheduler there;
            workers that do not start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports a script without `if __name__ == "__main__"`: the program that sweeps says so.
        raise SystemExit(1)
    plan_sweep(recipe, axes, n_seeds)  # refuses what cannot be, before anything is written
    folder = Path(out).absolute()
    tell = report or (lambda part, fraction, text: None)
    with storage.writing_to(folder):
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
    with working_alone(folder):
        return _sweep_alone(recipe, axes, n_seeds, folder, n_workers, scheduler, resume, tell)


def _sweep_alone(
    recipe: Recipe,
    axes: Sequence[Axis],
    n_seeds: int,
    folder: Path,
    n_workers: int | None,
    scheduler: str | None,
    resume: bool,
    tell: Report,
) -> Sweep:
    # A sweep that ended before its first point has left nothing that could be mixed up.
    if not resume and (folder / TABLE).exists() and (_rows_left(folder) or any((folder / RUNS).iterdir())):
        raise RunError(f"{folder} has a sweep already: go on with it (--resume), or choose another folder (--out)")
    if all(axis.path != "task.path" for axis in axes):
        recipe = share_data(folder / RUNS, recipe)
    points = plan_sweep(recipe, axes, n_seeds)
    table = _Table(folder, tuple(axes), points)
    places = _unfinished(folder / RUNS) if resume else {}
    if resume:
        table.take_finished()
    table.save()
    todo = [number for number in range(len(points)) if number not in table.rows]
    jobs = [(points[i].recipe.to_toml(), str(places.get(points[i].recipe.digest, folder / RUNS))) for i in todo]
    tell("sweep", 1 - len(todo) / len(points), f"{len(points) - len(todo)} of {len(points)} points were there")
    saved = time.perf_counter()
    try:
        for number, row in _carry_out(jobs, n_workers, scheduler, resume):
            table.add(todo[number], row)
            if time.perf_counter() - saved > SAVE_SECONDS:
                table.save()
                saved = time.perf_counter()
            tell("sweep", len(table.rows) / len(points), table.describe())
    finally:
        table.save()
    return table.sweep()


def _carry_out(
    jobs: Sequence[tuple[str, str]], n_workers: int | None, scheduler: str | None, resume: bool
) -> Iterator[tuple[int, Row]]:
    workers = min(n_workers or max(1, (os.cpu_count() or 2) - 1), len(jobs))
    if not jobs:
        return
    if scheduler is None and workers == 1:
        for number, (toml, folder) in enumerate(jobs):
            yield number, run_point(toml, folder, resume)
        return
    from distributed import as_completed

    with _client(workers, scheduler) as client:
        futures = {
            client.submit(run_point, toml, folder, resume, pure=False, key=f"point-{number}"): number
            for number, (toml, folder) in enumerate(jobs)
        }
        try:
            for future in as_completed(futures):
                row = future.result() if future.status == "finished" else {FAILURE: _lost(future)}
                yield futures[future], row
        finally:
            client.cancel(list(futures), force=True)


def _lost(future: Any) -> str:
    if future.status == "cancelled":
        return "The scheduler cancelled this point"
    return f"The worker was lost with this point ({type(future.exception()).__name__}): was there enough memory?"


@contextmanager
def _client(n_workers: int, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            sentence = f"No Dask scheduler answers at {scheduler!r} ({str(error).splitlines()[0] or 'no reason given'})"
            raise RunError(sentence) from None
        with client:
            yield client
        return
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.memory.terminate": False,
        "distributed.scheduler.allowed-failures": 1,
        # Dask's servers of pages cannot be left out; without a page they tell nobody anything.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with dask.config.set(settings), warnings.catch_warnings():
        # Another program on the port of the pages that nobody asked for is no news.
        warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
        # Keys of this sweep alone, in memory alone: another user of the machine finds ports that do not know him.
        try:
            with _interrupts_held_back():
                cluster = LocalCluster(
                    n_workers=n_workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    silence_logs="CRITICAL",
                    security=Security.temporary(),
                    env={**dict.fromkeys(ONE_THREAD, "1"), "OMP_WAIT_POLICY": "passive"},
                )
        except RuntimeError:
            raise RunError(NO_WORKERS) from None
        with cluster, Client(cluster) as client:
            yield client


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: workers born here never see it, this one a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its own start would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unfinished(folder: Path) -> dict[str, Path]:
    """Digest to folder of the runs that are worth going on with; a finished one wins."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        try:
            stored = Run(path)
            if stored.state != "failed" and (stored.is_complete or stored.recipe.digest not in found):
                found[stored.recipe.digest] = path
        except (RunError, OSError):
            continue
    return found


class _Table:
    """The rows that are there, and the file that has them."""

    def __init__(self, folder: Path, axes: tuple[Axis, ...], points: Sequence[Point]) -> None:
        self.folder, self.axes, self.points = folder, axes, points
        self.rows: dict[int, Row] = {}

    def add(self, number: int, row: Row) -> None:
        """The row of a point, with what identifies it in front."""
        point = self.points[number]
        names = dict(zip((axis.path for axis in self.axes), point.values, strict=True))
        head = {"seed": point.recipe.seed, **{path: _cell(value) for path, value in names.items()}}
        self.rows[number] = {**head, **row, "digest": point.recipe.digest}

    def take_finished(self) -> None:
        """The rows of an earlier table that belong to this grid and did not fail."""
        numbers = {point.recipe.digest: number for number, point in enumerate(self.points)}
        for row in _rows_left(self.folder):
            number = numbers.get(str(row.get("digest")))
            if number is not None and not row.get(FAILURE):
                self.add(number, {name: row[name] for name in row if name not in self._head()})

    def _head(self) -> list[str]:
        return ["seed", *(axis.path for axis in self.axes)]

    def save(self) -> None:
        """Replace the file by one with the rows of now."""
        names = dict.fromkeys([*self._head(), *(name for row in self.rows.values() for name in row)])
        names.pop(FAILURE, None)
        memory = io.StringIO()
        writer = csv.DictWriter(memory, [*names, FAILURE], restval="", lineterminator="\n")
        writer.writeheader()
        for number in sorted(self.rows):
            writer.writerow({name: "" if value is None else value for name, value in self.rows[number].items()})
        storage.write_atomically(self.folder / TABLE, memory.getvalue().encode())

    def describe(self) -> str:
        """How far it is, in words."""
        n_failed = self.sweep().n_failed
        return f"{len(self.rows)} of {len(self.points)} points" + (f", {n_failed} failed" if n_failed else "")

    def sweep(self) -> Sweep:
        """What is there."""
        rows = tuple(self.rows[number] for number in sorted(self.rows))
        return Sweep(self.axes, rows, len(self.points), self.folder)


def _cell(value: Any) -> Any:
    return str(list(value)) if isinstance(value, tuple) else value


def read_table(folder: str | Path) -> list[Row]:
    """The rows of a stored sweep; numbers as numbers, empty cells as None.

    Raises:
        RunError: no table there, or one that is damaged.
    """
    path = Path(folder) / TABLE
    with storage.reading_from(path, "the runs are kept: --resume makes it again"):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        if "seed" not in (reader.fieldnames or ()):
            raise ValueError("no column named seed")
        if any(None in row or None in row.values() or "digest" not in row for row in rows):
            raise ValueError("rows of another length than their header")
    return [{name: (text or None) if name in _TEXTS else _value(text) for name, text in row.items()} for row in rows]


def _rows_left(folder: Path) -> list[Row]:
    """The rows of an earlier sweep; none where its table cannot be read, for its runs are there all the same."""
    try:
        return read_table(folder) if (folder / TABLE).exists() else []
    except RunError:
        return []


def _value(text: str | None) -> Any:
    """What was written as this text: only what a number is written as is one ("402e535387068602" is none)."""
    if not text:
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text


__all__ = ["Axis", "Point", "Sweep", "parse_axis", "plan_sweep", "read_table", "run_point", "run_sweep"]
