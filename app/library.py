"""The window's door to the stored runs: lists, marks, trash, curves and comparisons, read and written in a thread.

Nothing here imports torch before something is asked; every answer comes as a signal in the window's thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from loguru import logger
from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QUndoCommand, QUndoStack

from mft_engine.recipe import differences

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.experiment.outcome import Outcome
    from mft_engine.runs.index import RunRow
    from mft_engine.runs.marks import Marks
    from mft_engine.runs.watched import WatchedRun

# What tells watched trainings apart, where recipes tell the lab's own.
WATCHED_SETTINGS = ("layer", "optimizer", "n_steps", "n_neurons", "n_foreground", "seed")


MOST_POINTS = 5000


@dataclass(frozen=True)
class Curve:
    """Loss E (y - f)^2 of a stored run along its time; of a watched training its own loss along the steps."""

    folder: Path
    times: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class StoredPlane:
    """First-layer neurons of a stored run in the plane of their first two columns, (n, 2), with the columns' names."""

    folder: Path
    points: np.ndarray
    names: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Side:
    """One of two runs that are compared: its first layer's neurons (n, columns) and its loss curve."""

    folder: Path
    title: str
    theta: np.ndarray
    names: tuple[str, ...]
    loss: float
    curve: Curve


@dataclass(frozen=True)
class RunsCompared:
    """Two stored runs beside each other.

    Attributes:
        differences: (path, value of the first, value of the second) of their recipes, or of what was watched.
        comparisons: one a hidden layer; empty where they cannot be compared, and `fault` says why.
    """

    first: Side
    second: Side
    differences: tuple[tuple[str, Any, Any], ...]
    comparisons: tuple[Comparison, ...]
    fault: str = ""


class Library(QObject):
    """Asked by methods, answers by signals; one thing after the other, and a newer list takes the place of an older.

    Args:
        stores: folders whose runs are listed, asked anew for every list.
        undo_stack: where renaming, tagging and throwing away can be taken back.
    """

    rows_ready = Signal(object, bool)  # every RunRow known so far, whether that is all
    row_changed = Signal(object)  # RunRow
    rows_gone = Signal(object)  # folders
    curves_ready = Signal(object)  # tuple of Curve
    planes_ready = Signal(object)  # tuple of StoredPlane
    compared = Signal(object)  # RunsCompared
    comparing_changed = Signal(bool)
    progress = Signal(str, float, str)  # of a comparison: its name, fraction, words
    failed = Signal(str)
    said = Signal(str)

    _done = Signal(object, object)

    def __init__(
        self, stores: Callable[[], Sequence[Path]], undo_stack: QUndoStack, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._stores, self._undo_stack = stores, undo_stack
        self._worker: ThreadPoolExecutor | None = None
        self._round = self._comparison = 0
        self._is_closed = False
        self.failed.connect(self.cancel)
        self._done.connect(self._deliver)

    # What a person does ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the stored runs."""
        self._round += 1
        self._ask(partial(_list_runs, tuple(self._stores()), partial(self._is_current, self._round)), self._listed)

    def mark(self, rows: Sequence[RunRow], text: str, **changes: Any) -> None:
        """Set name, tags or note of some runs; undo puts the old words back."""
        changed = [row for row in rows if any(getattr(row, name) != value for name, value in changes.items())]
        if changed:
            before = [(row.folder, _words_of(row)) for row in changed]
            after = [(folder, words | changes) for folder, words in before]
            self._undo_stack.push(_Act(text, partial(self._write_marks, after), partial(self._write_marks, before)))

    def throw_away(self, folders: Sequence[Path]) -> None:
        """Move runs to the trash of their store; undo puts them back."""
        if folders:
            what = folders[0].name if len(folders) == 1 else f"{len(folders)} runs"
            places: list[tuple[Path, Path]] = []
            away = partial(self._to_trash, tuple(folders), places)
            self._undo_stack.push(_Act(f"trash {what}", away, partial(self._from_trash, places)))

    def read_curves(self, folders: Sequence[Path]) -> None:
        """Ask for the loss curves of some runs."""
        self._ask(partial(_read_curves, tuple(folders)), lambda curves: self.curves_ready.emit(curves))

    def read_planes(self, folders: Sequence[Path]) -> None:
        """Ask for the clouds of some runs."""
        self._ask(partial(_read_planes, tuple(folders)), lambda planes: self.planes_ready.emit(planes))

    def compare(self, first: RunRow, second: RunRow) -> None:
        """Ask how two runs differ, in recipe and cloud."""
        self._comparison += 1
        self.comparing_changed.emit(True)
        self.progress.emit("compare", 0.0, f"comparing {first.title} with {second.title}")
        places = (first.folder, first.title), (second.folder, second.title)
        is_wanted = partial(self._is_wanted, self._comparison)
        self._ask(partial(_compare, *places, is_wanted=is_wanted), partial(self._compared, self._comparison))

    @Slot()
    def cancel(self) -> None:
        """Compare no longer."""
        self._comparison += 1
        self.comparing_changed.emit(False)

    def close(self) -> None:
        """Finish what is being written, forget the rest."""
        self._is_closed = True
        self._round += 1
        self._comparison += 1
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)

    # In the window's thread --------------------------------------------------------------------------------------

    def _is_current(self, number: int) -> bool:
        return number == self._round

    def _ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        if self._is_closed:
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "library")
        self._worker.submit(self._carry_out, work, then)

    def _carry_out(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """In the library's thread; an answer in parts comes part by part."""
        try:
            answer = work()
            for part in answer if isinstance(answer, Iterator) else (answer,):
                self._done.emit(then, part)
        except (RuntimeError, OSError, ValueError, ArithmeticError) as error:
            logger.opt(exception=error).warning("{}", error)
            self._done.emit(self.failed.emit, str(error))

    @Slot(object, object)
    def _deliver(self, then: Callable[[Any], None], answer: Any) -> None:
        if not self._is_closed:
            then(answer)

    def _is_wanted(self, number: int) -> bool:
        return number == self._comparison

    def _compared(self, number: int, part: float | RunsCompared) -> None:
        if not self._is_wanted(number):
            return
        if isinstance(part, float):
            self.progress.emit("compare", part, "comparing the clouds")
            return
        self.comparing_changed.emit(False)
        self.compared.emit(part)

    def _listed(self, part: tuple[tuple[RunRow, ...], bool]) -> None:
        self.rows_ready.emit(*part)

    def _write_marks(self, wanted: Sequence[tuple[Path, dict[str, Any]]]) -> None:
        self._ask(partial(_write_marks, tuple(wanted)), lambda row: self.row_changed.emit(row))

    def _to_trash(self, folders: Sequence[Path], places: list[tuple[Path, Path]]) -> None:
        places.clear()

        def tell(moved: tuple[Path, Path]) -> None:
            places.append(moved)
            self.rows_gone.emit((moved[0],))

        self._ask(partial(_throw_away, folders), tell)
        self.said.emit(f"{len(folders)} run{'s' * (len(folders) > 1)} in the trash for 30 days; Ctrl+Z takes them back")

    def _from_trash(self, places: list[tuple[Path, Path]]) -> None:
        # Asked after the throwing away, and so carried out after it: by then every place is known.
        self._ask(lambda: _take_back(places), lambda row: self.row_changed.emit(row))


class _Act(QUndoCommand):
    """A deed in the store and its opposite."""

    def __init__(self, text: str, redo: Callable[[], None], undo: Callable[[], None]) -> None:
        super().__init__(text)
        self._redo, self._undo = redo, undo

    def redo(self) -> None:
        """Do it."""
        self._redo()

    def undo(self) -> None:
        """Take it back."""
        self._undo()


def _words_of(row: RunRow) -> dict[str, Any]:
    return {"name": row.name, "tags": row.tags, "note": row.note}


# ---- in the library's thread --------------------------------------------------------------------------------------


def _list_runs(stores: Sequence[Path], is_current: Callable[[], bool]) -> Iterator[tuple[tuple[RunRow, ...], bool]]:
    """Everything known so far and whether that is all, ever more of it."""
    from mft_engine.runs.index import read_index

    rows: list[RunRow] = []
    for store in dict.fromkeys(path.resolve() for path in stores):
        for batch in read_index(store):
            if not is_current():
                return
            rows += batch
            yield tuple(rows), False
    yield tuple(rows), True


def _write_marks(wanted: Iterable[tuple[Path, dict[str, Any]]]) -> Iterator[RunRow]:
    from mft_engine.runs.index import read_row
    from mft_engine.runs.marks import Marks, write_marks

    for folder, words in wanted:
        marks: Marks = Marks(**words)
        write_marks(folder, marks)
        yield read_row(folder)


def _throw_away(folders: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    from mft_engine.runs.trash import throw_away

    for folder in folders:
        yield folder, throw_away(folder)


def _take_back(places: Sequence[tuple[Path, Path]]) -> Iterator[RunRow]:
    from mft_engine.runs.index import read_row
    from mft_engine.runs.trash import take_back

    for folder, place in places:
        take_back(place, folder)
        yield read_row(folder)


def _read_curves(folders: Sequence[Path]) -> tuple[Curve, ...]:
    from mft_engine.experiment.storage import RunError
    from mft_engine.runs.index import loss_curve

    found = []
    for folder in folders:
        try:
            found.append(Curve(folder, *loss_curve(folder)))
        except RunError as error:  # the others are drawn all the same
            logger.warning("{}", error)
            found.append(Curve(folder, np.empty(0), np.empty(0)))
    return tuple(found)


def _read_planes(folders: Sequence[Path]) -> tuple[StoredPlane, ...]:
    from mft_engine.experiment.storage import RunError
    from mft_engine.runs.runs import load

    found = []
    for folder in folders:
        try:
            cloud = load(folder).background.clouds[0]
            points = cloud.theta[:MOST_POINTS, :2].astype(np.float32)
            found.append(StoredPlane(folder, points, (cloud.names[0], cloud.names[1])))
        except (RunError, IndexError) as error:
            logger.warning("{}", error)
            found.append(StoredPlane(folder, np.empty((0, 2), np.float32)))
    return tuple(found)


def _compare(*places: tuple[Path, str], is_wanted: Callable[[], bool]) -> Iterator[float | RunsCompared]:
    from mft_engine.experiment.storage import RunError
    from mft_engine.runs.compare import comparing, read_any

    folders = [folder for folder, _ in places]
    first, second = (read_any(folder) for folder in folders)
    sides = [
        _side(*place, run, curve)
        for place, run, curve in zip(places, (first, second), _read_curves(folders), strict=True)
    ]
    found = _differences(first, second)
    try:
        for part in comparing(first, second):
            if not is_wanted():
                return
            yield part if isinstance(part, float) else RunsCompared(sides[0], sides[1], found, part)
    except (RunError, ValueError, ArithmeticError) as error:
        yield RunsCompared(sides[0], sides[1], found, (), str(error))


def _side(folder: Path, title: str, run: Outcome | WatchedRun, curve: Curve) -> Side:
    from mft_engine.experiment.outcome import Outcome

    if isinstance(run, Outcome):
        cloud, loss = run.background.clouds[0], float(run.background.loss)
        return Side(folder, title, cloud.theta.astype(np.float32), tuple(cloud.names), loss, curve)
    asked, theta = run.about.get("loss"), run.clouds["background"].astype(np.float32)
    return Side(folder, title, theta, run.columns, math.nan if asked is None else float(asked), curve)


def _differences(first: Outcome | WatchedRun, second: Outcome | WatchedRun) -> tuple[tuple[str, Any, Any], ...]:
    from mft_engine.experiment.outcome import Outcome
    from mft_engine.runs.watched import WatchedRun

    if isinstance(first, Outcome) and isinstance(second, Outcome):
        return tuple(differences(first.recipe, second.recipe))
    if isinstance(first, WatchedRun) and isinstance(second, WatchedRun):
        ours, theirs = first.about, second.about
        return tuple((name, ours[name], theirs[name]) for name in WATCHED_SETTINGS if ours[name] != theirs[name])
    kinds = ["run of the lab" if isinstance(run, Outcome) else "watched training" for run in (first, second)]
    return (("kind", kinds[0], kinds[1]),)
