"""Many runs of one recipe: swept fields times seeds, on a Dask cluster of this machine or at an address.

Every point is a stored run of its own in `runs/`; `table.csv` has a row a point and is replaced whole whenever points
have finished, so a killed sweep shows what it has and resumes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from mft_engine.studies.sweep_table import (
    FAILURE,
    TABLE,
    Listener,
    Row,
    StoredSweep,
    Sweep,
    Table,
    open_sweep,
    read_table,
    rows_left,
    save_order,
)

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
RUNS = "runs"
SAVE_SECONDS = 0.5
CONNECT_SECONDS = 20
NO_WORKERS = (
    'The workers of the sweep did not start. Each of them imports the script that sweeps: put what it does under "if '
    '__name__ == "__main__":", or sweep in this process (n_workers=1); if it is there, look whether there is memory.'
)
# Columns of the summary that say nothing about a point, or say it twice.
_LEFT_OUT = {"schema", "recipe", "seed", "layers"}

Report = Callable[[str, float, str], None]


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
    told: Listener | None = None,
) -> Sweep:
    """Every point of a sweep, stored; the table is written as points finish.

    Args:
        recipe: its seed is the first of `n_seeds` that follow each other.
        n_workers: processes of one thread each (all cores but one by default); 1 runs in this process.
        scheduler: address of a Dask scheduler whose workers see `out` under the same path; instead of `n_workers`.
        resume: keep the finished rows of `out`, go on with its unfinished runs, try failed points again.
        report: called with part, fraction and a text.
        told: called with every row of the table as it comes to be, those of an earlier part of the sweep first.

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
        return _sweep_alone(recipe, axes, n_seeds, folder, n_workers, scheduler, resume, tell, told)


def _sweep_alone(
    recipe: Recipe,
    axes: Sequence[Axis],
    n_seeds: int,
    folder: Path,
    n_workers: int | None,
    scheduler: str | None,
    resume: bool,
    tell: Report,
    told: Listener | None,
) -> Sweep:
    # A sweep that ended before its first point has left nothing that could be mixed up.
    if not resume and (folder / TABLE).exists() and (rows_left(folder) or any((folder / RUNS).iterdir())):
        raise RunError(f"{folder} has a sweep already: go on with it (--resume), or choose another folder (--out)")
    if all(axis.path != "task.path" for axis in axes):
        recipe = share_data(folder / RUNS, recipe)
    points = plan_sweep(recipe, axes, n_seeds)
    table = Table(folder, tuple(axes), points, told)
    save_order(folder, recipe, axes, n_seeds)
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


__all__ = [
    "FAILURE",
    "Axis",
    "Point",
    "StoredSweep",
    "Sweep",
    "open_sweep",
    "parse_axis",
    "plan_sweep",
    "read_table",
    "run_point",
    "run_sweep",
]
