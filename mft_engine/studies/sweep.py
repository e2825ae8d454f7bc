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
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from mft_engine.experiment import storage
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe, RecipeError, parse_recipe
from mft_engine.runs.data import share_data
from mft_engine.runs.folder import Run
from mft_engine.runs.lock import working_alone
from mft_engine.runs.runs import run_stored
from mft_engine.studies.chain import require_chain, run_link
from mft_engine.studies.grid import Axis, Point, parse_axis, plan_sweep
from mft_engine.studies.phase import is_numeric
from mft_engine.studies.refinement import grown as grown_by
from mft_engine.studies.refinement import values_to_add
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


def run_link_of_chain(recipe_toml: str, folder: str, before: Row | str | None) -> Row:
    """One point of a chain, from the neurons of the point before: its row, its folder, or None at the beginning."""
    if isinstance(before, Mapping):
        if before.get(FAILURE):
            return {FAILURE: "The point before this one failed, and it would have gone on from there"}
        before = str(before["run_dir"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = run_link(parse_recipe(recipe_toml), Path(before) if before else None, Path(folder))
        return {**flatten(stored.summary), "digest": stored.recipe.digest, FAILURE: None}
    except Exception as error:
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
    both_ways: bool = False,
    refine: int = 0,
    report: Report | None = None,
    told: Listener | None = None,
    grown: Callable[[tuple[Axis, ...], int], None] | None = None,
) -> Sweep:
    """Every point of a sweep, stored; the table is written as points finish.

    Args:
        recipe: its seed is the first of `n_seeds` that follow each other.
        n_workers: processes of one thread each (all cores but one by default); 1 runs in this process.
        scheduler: address of a Dask scheduler whose workers see `out` under the same path; instead of `n_workers`.
        resume: keep the finished rows of `out`, go on with its unfinished runs, try failed points again.
        both_ways: pull networks up the first axis' values and down again, every one from the neurons of the one before
            (`mft_engine.studies.chain`); rows say which way.
        refine: at most so many further values of numeric axes, where the first panel of the phase diagram bends.
        report: called with part, fraction and a text.
        told: called with every row of the table as it comes to be, those of an earlier part of the sweep first.
        grown: called with the axes, and how many values may still be added, whenever `refine` has added some.

    Returns:
        the sweep, failed points included.

    Raises:
        RecipeError: bad axes. RunError: a folder that cannot be written or has a sweep already; no scheduler there;
            workers that do not start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports a script without `if __name__ == "__main__"`: the program that sweeps says so.
        raise SystemExit(1)
    if both_ways and axes:
        require_chain(recipe, axes[0].path)
    if both_ways and refine:
        raise RecipeError("Values cannot be added to a chain: refine where every point begins anew")
    # Refuses what cannot be, before anything is written.
    plan_sweep(recipe, axes, n_seeds, both_ways=both_ways)
    if refine:
        axes = [grown_by(axis, ()) if is_numeric(axis) else axis for axis in axes]
    folder = Path(out).absolute()
    tell = report or (lambda part, fraction, text: None)
    with storage.writing_to(folder):
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
    with working_alone(folder):
        how = _How(n_workers, scheduler, both_ways)
        done = _sweep_alone(recipe, axes, n_seeds, folder, how, resume, refine, tell, told)
        while more := values_to_add(done, refine):
            refine -= sum(len(values) for values in more.values())
            axes = [grown_by(axis, more.get(axis.path, ())) for axis in axes]
            if grown is not None:
                grown(tuple(axes), refine)
            done = _sweep_alone(recipe, axes, n_seeds, folder, how, True, refine, tell, told)
        return done


@dataclass(frozen=True)
class _How:
    """Who carries a sweep out, and whether points go on from each other."""

    n_workers: int | None
    scheduler: str | None
    both_ways: bool


def _sweep_alone(
    recipe: Recipe,
    axes: Sequence[Axis],
    n_seeds: int,
    folder: Path,
    how: _How,
    resume: bool,
    n_refined: int,
    tell: Report,
    told: Listener | None,
) -> Sweep:
    # A sweep that ended before its first point has left nothing that could be mixed up.
    if not resume and (folder / TABLE).exists() and (rows_left(folder) or any((folder / RUNS).iterdir())):
        raise RunError(f"{folder} has a sweep already: go on with it (--resume), or choose another folder (--out)")
    if all(axis.path != "task.path" for axis in axes):
        recipe = share_data(folder / RUNS, recipe)
    points = plan_sweep(recipe, axes, n_seeds, both_ways=how.both_ways)
    table = Table(folder, tuple(axes), points, told)
    save_order(folder, recipe, axes, n_seeds, both_ways=how.both_ways, n_refined=n_refined)
    places = _unfinished(folder / RUNS) if resume else {}
    if resume:
        table.take_finished()
    table.save()
    todo = [number for number in range(len(points)) if number not in table.rows]
    jobs = [
        _job(points[i], i, table.rows, str(places.get(points[i].recipe.digest, folder / RUNS)), resume) for i in todo
    ]
    tell("sweep", 1 - len(todo) / len(points), f"{len(points) - len(todo)} of {len(points)} points were there")
    saved = time.perf_counter()
    try:
        for number, row in _carry_out(jobs, how.n_workers, how.scheduler):
            table.add(number, row)
            if time.perf_counter() - saved > SAVE_SECONDS:
                table.save()
                saved = time.perf_counter()
            tell("sweep", len(table.rows) / len(points), table.describe())
    finally:
        table.save()
    return table.sweep()


@dataclass(frozen=True)
class _Job:
    """A point to carry out.

    Attributes:
        number: of the point; toml, folder, resume: as `run_point` takes them.
        is_link: it goes on from the neurons of the point `after` (None: it begins a chain), whose folder is `before`
            where that point was there already.
    """

    number: int
    toml: str
    folder: str
    resume: bool
    is_link: bool
    after: int | None
    before: str | None


def _job(point: Point, number: int, rows: Mapping[int, Row], folder: str, resume: bool) -> _Job:
    known = rows.get(point.after) if point.after is not None else None
    before = str(known["run_dir"]) if known is not None else None
    return _Job(number, point.recipe.to_toml(), folder, resume, bool(point.way), point.after, before)


def _carry_out(jobs: Sequence[_Job], n_workers: int | None, scheduler: str | None) -> Iterator[tuple[int, Row]]:
    """Rows as they come to be; a link of a chain waits for the one before it, which is earlier in the list."""
    workers = min(n_workers or max(1, (os.cpu_count() or 2) - 1), len(jobs))
    if not jobs:
        return
    if scheduler is None and workers == 1:
        rows: dict[int, Row] = {}
        for job in jobs:
            before = job.before or rows.get(-1 if job.after is None else job.after)
            if job.is_link:
                rows[job.number] = run_link_of_chain(job.toml, job.folder, before)
            else:
                rows[job.number] = run_point(job.toml, job.folder, job.resume)
            yield job.number, rows[job.number]
        return
    from distributed import as_completed

    with _client(workers, scheduler) as client:
        futures: dict[int, Any] = {}
        for job in jobs:
            kind = {"pure": False, "key": f"point-{job.number}"}
            if job.is_link:
                before = job.before or futures.get(-1 if job.after is None else job.after)
                futures[job.number] = client.submit(run_link_of_chain, job.toml, job.folder, before, **kind)
            else:
                futures[job.number] = client.submit(run_point, job.toml, job.folder, job.resume, **kind)
        numbers = {future: number for number, future in futures.items()}
        try:
            for future in as_completed(numbers):
                row = future.result() if future.status == "finished" else {FAILURE: _lost(future)}
                yield numbers[future], row
        finally:
            client.cancel(list(numbers), force=True)


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
        # Dask's own has every array given back to the system at once, and its pages faulted in again a moment later.
        "distributed.nanny.pre-spawn-environ": {**dict.fromkeys(ONE_THREAD, "1"), "OMP_WAIT_POLICY": "passive"},
        "distributed.scheduler.allowed-failures": 1,
        # A fifth of it is the patience with one attempt; a busy machine takes seconds to answer.
        "distributed.comm.timeouts.connect": "150s",
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
