"""The window's door to sweeps: each runs in a process of its own, told and telling by lines.

What is carried out is `mft_engine.studies.sweep`, the same as behind `mft-lab sweep`: a sweep of the one can be resumed
by the other.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger
from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal, Slot

from mft_engine.itself import own_command
from mft_engine.recipe import Recipe, RecipeError

if TYPE_CHECKING:
    from mft_engine.studies.sweep_table import Sweep

PATIENCE_MILLISECONDS = 12_000
CLOSE_MILLISECONDS = 3000


@dataclass(frozen=True)
class SweepOrder:
    """What is to be swept.

    Attributes:
        axes: path -> values as they are typed, `START:STOP:logN`, `START:STOP:linN` or a,b,c.
        n_workers: processes; None for all cores but one. scheduler: address of a Dask scheduler instead, or empty.
        both_ways, refine: as `mft_engine.studies.sweep.run_sweep` takes them.
    """

    recipe: Recipe
    axes: Mapping[str, str]
    n_seeds: int = 1
    n_workers: int | None = None
    scheduler: str = ""
    both_ways: bool = False
    refine: int = 0


class Sweeping(QObject):
    """One sweep at a time; what is there of it is told as it grows.

    Args:
        folder: in which every sweep gets a folder of its own.
    """

    changed = Signal(object, object)  # Sweep as it stands, and the recipe that it is of
    progress = Signal(float, str)  # fraction and words, with the time that is left
    running_changed = Signal(bool)
    refused = Signal(str)  # why an order cannot be carried out
    ended = Signal(str, bool)  # a sentence; whether there is something left to resume

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._folder = folder
        self._process: QProcess | None = None
        self._buffer = b""
        self._sweep: Sweep | None = None
        self._recipe = Recipe()
        self._n_seeds, self._n_refined = 1, 0
        self._rows: dict[str, dict[str, Any]] = {}
        self._started = 0.0
        self._n_before = 0
        self._fault = ""
        self._is_stopped = self._has_begun = self._is_pooled = False
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MILLISECONDS)
        self._patience.timeout.connect(self._lose_patience)

    @property
    def is_running(self) -> bool:
        """Whether points are being computed."""
        return self._process is not None

    @property
    def sweep(self) -> Sweep | None:
        """What is there of the sweep in hand."""
        return self._sweep

    # What a person does ------------------------------------------------------------------------------------------

    def start(self, order: SweepOrder) -> bool:
        """Begin a new sweep; False where it cannot be, and `refused` says why."""
        from mft_engine.studies.chain import require_chain
        from mft_engine.studies.grid import parse_axis, plan_sweep
        from mft_engine.studies.sweep_table import Sweep

        if self.is_running:
            return False
        try:
            if not order.axes:
                raise RecipeError("Choose at least one field to sweep, by its name or by pointing at its control")
            axes = tuple(parse_axis(f"{path}={values}", order.recipe) for path, values in order.axes.items())
            if order.both_ways:
                require_chain(order.recipe, axes[0].path)
            points = plan_sweep(order.recipe, axes, order.n_seeds, both_ways=order.both_ways)
        except RecipeError as error:
            self.refused.emit(str(error).removeprefix("--param "))
            return False
        folder = _new_folder(self._folder, order.recipe.name, [axis.path for axis in axes])
        self._take(Sweep(axes, (), len(points), folder, order.both_ways), order.recipe, order.n_seeds, order.refine)
        self._launch(order.n_workers, order.scheduler, resume=False)
        return True

    @property
    def n_seeds(self) -> int:
        """Of the sweep in hand."""
        return self._n_seeds

    def open(self, folder: Path) -> bool:
        """Show a stored sweep, which may be resumed; False where it cannot be read, and `refused` says why."""
        from mft_engine.experiment.storage import RunError
        from mft_engine.studies.sweep_table import open_sweep

        if self.is_running:
            return False
        try:
            stored = open_sweep(folder)
        except (RunError, RecipeError) as error:
            self.refused.emit(str(error))
            return False
        self._take(stored.sweep, stored.recipe, stored.n_seeds, stored.n_refined)
        n, n_points = len(stored.sweep.rows), stored.sweep.n_points
        self.ended.emit(f"{folder.name}: {n:,} of {n_points:,} points", self._is_unfinished)
        return True

    def resume(self, n_workers: int | None = None, scheduler: str = "") -> None:
        """Go on with the sweep in hand; points that failed are tried again."""
        if self._sweep is not None and not self.is_running:
            self._rows = {key: row for key, row in self._rows.items() if not row.get("failure")}
            self._launch(n_workers, scheduler, resume=True)

    def cancel(self) -> None:
        """Stop; what is there stays, and points under way go on from their checkpoints when it is resumed."""
        if self._process is not None and not self._is_stopped:
            self._is_stopped = True
            self._process.write(b"stop\n")
            self._patience.start()
            self.progress.emit(self._fraction, "Stopping …")

    def stored(self) -> list[Path]:
        """Folders of the sweeps that were begun here, the newest first."""
        from mft_engine.studies.sweep_table import ORDER

        try:
            found = [path for path in self._folder.iterdir() if (path / ORDER).exists()]
        except OSError:
            return []
        return sorted(found, key=lambda path: (path / ORDER).stat().st_mtime, reverse=True)

    def close(self) -> None:
        """The end: the process loses its input, and ends by itself as if it had been stopped."""
        self._patience.stop()
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            process.closeWriteChannel()
            if not process.waitForFinished(CLOSE_MILLISECONDS):
                process.kill()
                process.waitForFinished(1000)

    # The process ---------------------------------------------------------------------------------------------------

    def _take(self, sweep: Sweep, recipe: Recipe, n_seeds: int, n_refined: int) -> None:
        self._sweep, self._recipe, self._n_seeds, self._n_refined = sweep, recipe, n_seeds, n_refined
        self._rows, self._is_pooled = {_key(row): row for row in sweep.rows}, False
        self.changed.emit(sweep, recipe)

    def _launch(self, n_workers: int | None, scheduler: str, *, resume: bool) -> None:
        assert self._sweep is not None
        self._fault, self._buffer, self._is_stopped, self._has_begun = "", b"", False, False
        self._started, self._n_before = time.monotonic(), len(self._rows)
        # What was pooled of fewer runs holds no more.
        self._sweep = replace(self._sweep, pooled=())
        order = {
            "recipe": self._recipe.to_toml(),
            "axes": [{"path": axis.path, "values": list(axis.values)} for axis in self._sweep.axes],
            "n_seeds": self._n_seeds,
            "out": str(self._sweep.folder),
            "n_workers": n_workers,
            "scheduler": scheduler or None,
            "resume": resume,
            "both_ways": self._sweep.has_ways,
            "refine": self._n_refined,
        }
        process = self._process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("OMP_NUM_THREADS", "1")  # before torch is there; the window may have more
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_complaints)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._not_started)
        process.start(*own_command("apart"))
        process.write(json.dumps(order).encode() + b"\n")
        self.running_changed.emit(True)
        self.progress.emit(self._fraction, "Starting the workers …")

    @Slot()
    def _read(self) -> None:
        if self._process is None:
            return
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        has_news = False
        for line in lines:
            with contextlib.suppress(ValueError):
                has_news |= self._hear(json.loads(line))
        if has_news:
            self._tell()

    def _hear(self, line: dict[str, Any]) -> bool:
        if "row" in line:
            self._rows[_key(line["row"])] = line["row"]
            return True
        if "pooled" in line:
            assert self._sweep is not None
            self._sweep = replace(self._sweep, pooled=(*self._sweep.pooled, line["pooled"]))
            return True
        if "axes" in line:
            self._grow(line["axes"], line["refine"])
        if "progress" in line and not self._has_begun:
            # Loading the engine and its workers says nothing about how long a point takes.
            self._has_begun, self._started = True, time.monotonic()
        self._is_pooled |= "done" in line
        if "fault" in line:
            self._fault = str(line["fault"])
        return False

    def _grow(self, axes: list[dict[str, Any]], n_left: int) -> None:
        """The sweep has added values where the curve bends."""
        from mft_engine.studies.grid import Axis

        assert self._sweep is not None
        found = tuple(Axis(axis["path"], tuple(axis["values"])) for axis in axes)
        n_points = self._n_seeds * prod(len(axis.values) for axis in found)
        self._sweep, self._n_refined = replace(self._sweep, axes=found, n_points=n_points), n_left

    def _tell(self) -> None:
        assert self._sweep is not None
        self._sweep = replace(self._sweep, rows=tuple(self._rows.values()))
        self.changed.emit(self._sweep, self._recipe)
        if not self._is_stopped:
            self.progress.emit(self._fraction, self._words())

    def _words(self) -> str:
        assert self._sweep is not None
        n, n_points = len(self._rows), self._sweep.n_points
        n_failed = sum(bool(row.get("failure")) for row in self._rows.values())
        words = f"{n:,} of {n_points:,} points" + (f", {n_failed} failed" if n_failed else "")
        n_new = n - self._n_before
        if 0 < n_new and n < n_points and self.is_running and not self._is_stopped:
            left = (time.monotonic() - self._started) / n_new * (n_points - n)
            words += f", {_duration(left)} left"
        if self._sweep.pooled and self.is_running:
            words += ", pooling the seeds"
        return words

    @property
    def _fraction(self) -> float:
        return len(self._rows) / self._sweep.n_points if self._sweep is not None else 0.0

    @property
    def _is_unfinished(self) -> bool:
        if self._sweep is None:
            return False
        done = [row for row in self._rows.values() if not row.get("failure")]
        is_pooled = self._is_pooled or bool(self._sweep.pooled) or self._n_seeds == 1 or self._sweep.has_ways
        return len(done) < self._sweep.n_points or not is_pooled

    @Slot()
    def _read_complaints(self) -> None:
        if self._process is not None:
            text = bytes(self._process.readAllStandardError().data()).decode(errors="replace").strip()
            if text and not self._is_stopped:  # workers that are stopped complain about it
                logger.info("From the sweep: {}", text)

    @Slot(int, object)
    def _finished(self, code: int, status: object) -> None:
        self._read()
        self._patience.stop()
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        self.running_changed.emit(False)
        words = self._words()
        if self._is_stopped:
            self.ended.emit(f"Stopped: {words}", self._is_unfinished)
        elif self._fault:
            self.refused.emit(self._fault)
            self.ended.emit(words, self._is_unfinished)
        elif code != 0:
            self.refused.emit("The sweep's process ended before its time; the log tells more, and Resume goes on")
            self.ended.emit(words, self._is_unfinished)
        else:
            self.ended.emit(f"Done: {words} in {_duration(time.monotonic() - self._started)}", self._is_unfinished)

    @Slot(object)
    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and self._process is not None:
            self._process.deleteLater()
            self._process = None
            self.running_changed.emit(False)
            self.refused.emit(f"A process for the sweep could not be started ({own_command()[0]})")

    @Slot()
    def _lose_patience(self) -> None:
        if self._process is not None:
            self._process.kill()


def _key(row: Mapping[str, Any]) -> str:
    """What tells a row from the others: a failed link of a chain has no digest."""
    return str(row.get("digest") or sorted((name, str(value)) for name, value in row.items()))


def _new_folder(parent: Path, name: str, paths: list[str]) -> Path:
    stem = "-".join([name, *(path.rpartition(".")[2] for path in paths)])
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:60] or "sweep"
    number = 1
    while (folder := parent / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
