"""Random sequences of what a person can do: actions of the table, controls and dialogs in an order nobody plans."""

from __future__ import annotations

import gc
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shiboken6
from loguru import logger
from PySide6.QtCore import QThread, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QDockWidget, QFileDialog, QMainWindow, QWidget

from app.actions import ACTIONS
from app.logs import LogBuffer
from app.saved import SUFFIX
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.window import MainWindow
from mft_engine.recipe import Recipe

HANG_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
VALUES: dict[str, tuple[Any, ...]] = {
    "regularisation.scale": (1e-4, 1e-3, 0.02, 0.3),
    "training.temperature": (0.003, 0.01, 0.1),
    "network.n_neurons": (16, 64, 96),
    "network.activation": ("tanh", "relu", "erf"),
    "network.readout_exponent": (1.0, 0.5),
    "foreground.background": ("trained", "lazy", "untrained"),
    "foreground.n_neurons": (16, 48),
    "training.step_size": ("auto", 0.05, 1e9),
    "seed": (0, 1, 7),
    "task.name": ("product", "ring", "parity"),
}


@dataclass
class Outcome:
    """What a sequence did, and whatever was wrong.

    Attributes:
        acts: names in their order; faults: exceptions and errors, each with the act before it; hangs: (act, seconds)
            of turns of the window's thread in which this process computed for longer than `HANG_SECONDS`, whatever
            else the machine did, or that took ten times as long; longest: the longest turn in seconds.
    """

    seed: int
    acts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    hangs: list[tuple[str, float]] = field(default_factory=list)
    longest: float = 0.0

    def __str__(self) -> str:
        return f"seed {self.seed}: {' '.join(self.acts)}\n" + "\n".join([*self.faults, *map(str, self.hangs)])


@dataclass(frozen=True)
class Clock:
    """A moment, by the wall and by what this process has computed."""

    wall: float = field(default_factory=time.perf_counter)
    computed: float = field(default_factory=time.process_time)


class Person:
    """Does one thing after the other in a window, by a seed.

    Args:
        files: what may be opened: recipes, run folders, tables, sessions, and things that are none of them.
    """

    def __init__(self, window: MainWindow, outcome: Outcome, files: list[Path], folder: Path) -> None:
        self.window, self.outcome, self.files, self.folder = window, outcome, files, folder
        self.random = random.Random(outcome.seed)
        self.ways: tuple[tuple[int, Callable[[], str]], ...] = (
            (12, self.act),
            (3, self.edit),
            (2, self.show_tab),
            (1, self.press_something),
            (1, self.open_something),
            (1, self.resize),
        )

    def do_something(self) -> None:
        """One act, then a moment in which the window goes on, then perhaps an answer to a dialog."""
        way = self.random.choices([way for _, way in self.ways], [weight for weight, _ in self.ways])[0]
        self._timed(way)
        self._go_on(self.random.choice((0.0, 0.0, 0.01, 0.05)))
        if self.random.random() < 0.6:
            self._timed(self.answer_dialogs)

    def _timed(self, call: Callable[[], str]) -> None:
        begun = Clock()
        place = len(self.outcome.acts)
        self.outcome.acts.append(getattr(call, "__name__", "?"))
        name = call()
        self.outcome.acts[place:] = [name] if name else []
        self._measured(begun)

    def _go_on(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while True:
            begun = Clock()
            QApplication.processEvents()
            self._measured(begun)
            if time.perf_counter() >= end:
                return
            time.sleep(0.001)

    def _measured(self, begun: Clock) -> None:
        seconds, computed = time.perf_counter() - begun.wall, time.process_time() - begun.computed
        self.outcome.longest = max(self.outcome.longest, seconds)
        if min(seconds, computed) > HANG_SECONDS or seconds > 10 * HANG_SECONDS:
            self.outcome.hangs.append((self.outcome.acts[-1] if self.outcome.acts else "start", seconds))

    # Ways ----------------------------------------------------------------------------------------------------

    def act(self) -> str:
        """An action of the table, where it is enabled; "quit" is how every sequence ends."""
        actions = self.window.actions_by_name
        usable = [spec.name for spec in ACTIONS if spec.name != "quit" and actions[spec.name].isEnabled()]
        name = self.random.choice(usable)
        actions[name].trigger()
        return name

    def edit(self) -> str:
        """A value of the recipe, as a control sets it; sometimes one that cannot be."""
        path = self.random.choice(list(VALUES))
        value = self.random.choice(VALUES[path])
        if path == "task.name":
            self.window.session.choose_task(value, {})
        else:
            self.window.session.edit(path, value)
        if self.random.random() < 0.7:
            self.window.session.edit_done()
        return f"{path}={value}"

    def show_tab(self) -> str:
        """A dock is brought up, closed or opened from the View menu."""
        dock = self.random.choice(list(self.window.docks))
        if self.random.random() < 0.7:
            dock.show()
            dock.raise_()
        else:
            dock.toggleViewAction().trigger()
        return dock.objectName()

    def press_something(self) -> str:
        """Whatever button can be seen; those that ask for a file are answered."""
        seen = [b for b in self.window.findChildren(QAbstractButton) if b.isVisible() and b.isEnabled()]
        button = self.random.choice(seen)
        name = button.accessibleName() or button.text() or type(button).__name__
        button.click()
        return f"press[{name}]"

    def open_something(self) -> str:
        """A file as it is dropped on the window."""
        path = self.random.choice(self.files)
        self.window.commands.open_path(path)
        return f"open[{path.name}]"

    def resize(self) -> str:
        """Another size of the window."""
        size = self.random.choice(((1280, 720), (1440, 900), (900, 640)))
        self.window.resize(*size)
        return f"{size[0]}x{size[1]}"

    def answer_dialogs(self) -> str:
        """Accept, reject or close what is open."""
        answered = []
        for dialog in [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]:
            how = self.random.choice(("accept", "reject", "close", ""))
            if how:
                getattr(dialog, how)()
                answered.append(f"{how}[{type(dialog).__name__}]")
        return " ".join(answered)

    # Answers to questions that wait ------------------------------------------------------------------------------

    def file_to_open(self, *args: Any, **more: Any) -> tuple[str, str]:
        return (str(self.random.choice([*self.files, Path()])) if self.random.random() < 0.7 else "", "")

    def file_to_save(self, owner: Any, title: str, *args: Any, **more: Any) -> tuple[str, str]:
        suffix = SUFFIX if "session" in title.lower() else self.random.choice(("", ".toml"))
        return (str(self.folder / f"saved{suffix}") if self.random.random() < 0.7 else "", "")

    def folder_to_use(self, *args: Any, **more: Any) -> str:
        return str(self.random.choice([self.folder / "exported", *self.files])) if self.random.random() < 0.7 else ""

    def run_dialog(self, dialog: QDialog) -> int:
        """A dialog that waits is shown, and answered at once."""
        dialog.show()
        QApplication.processEvents()
        code = self.random.choice((QDialog.DialogCode.Accepted, QDialog.DialogCode.Rejected))
        dialog.done(code)
        return int(code.value)


@contextmanager
def answered(person: Person, monkeypatch: Any) -> Iterator[None]:
    """Questions that would wait for a person are answered by the seed."""
    with monkeypatch.context() as patch:
        patch.setattr(QFileDialog, "getOpenFileName", person.file_to_open)
        patch.setattr(QFileDialog, "getSaveFileName", person.file_to_save)
        patch.setattr(QFileDialog, "getExistingDirectory", person.folder_to_use)
        patch.setattr(QDialog, "exec", lambda dialog: person.run_dialog(dialog))
        yield


@contextmanager
def overheard(outcome: Outcome) -> Iterator[None]:
    """Exceptions that nobody caught, in whatever thread, and errors of the log become faults of the sequence."""

    def caught(kind: type[BaseException], error: BaseException, where: Any) -> None:
        import traceback

        last = "".join(traceback.format_exception(kind, error, where))
        outcome.faults.append(f"after {outcome.acts[-1:]}: {last}")

    before = sys.excepthook, threading.excepthook
    sys.excepthook = caught
    threading.excepthook = lambda args: caught(args.exc_type, args.exc_value or RuntimeError(), args.exc_traceback)
    sink = logger.add(
        lambda message: outcome.faults.append(f"after {outcome.acts[-1:]}: {message}"),
        level="ERROR",
        filter=lambda record: is_unexpected(record["message"]),
    )
    try:
        yield
    finally:
        logger.remove(sink)
        sys.excepthook, threading.excepthook = before


def is_unexpected(text: str) -> bool:
    """Whether a logged error is a fault of the program: that a file or recipe cannot be used is said and is none."""
    kinds = re.findall(r"^([A-Za-z_.]+)(?::|$)", text.strip(), re.MULTILINE)
    said = (
        "DirectoryError",
        "FileExistsError",
        "PermissionError",
        "RecipeError",
        "RunError",
        "FigureError",
        "Diverged",
    )
    return "Traceback" in text and not (kinds and kinds[-1].endswith(said))


def run_sequence(
    seed: int,
    n_acts: int,
    make_session: Callable[..., Session],
    themes: ThemeKeeper,
    files: list[Path],
    folder: Path,
    monkeypatch: Any,
    recipe: Recipe | None = None,
) -> Outcome:
    """A window, `n_acts` acts in it, and its end; the outcome names everything that stayed behind."""
    outcome = Outcome(seed)
    gc.collect()
    before = {shiboken6.getCppPointer(w)[0] for w in own_widgets()}, set(threading.enumerate())
    settings = Settings(folder / "state")
    session = make_session(recipe, is_threaded=True, store=settings.runs_folder)
    log = LogBuffer()
    with overheard(outcome):
        window = MainWindow(session, settings, themes, log)
        window.resize(1280, 720)
        window.show()
        session.start()
        person = Person(window, outcome, files, folder)
        with answered(person, monkeypatch):
            wait_until(lambda: session.is_engine_ready)
            for _ in range(n_acts):
                person.do_something()
            outcome.acts.append("quit")
            window.actions_by_name["quit"].trigger()
        # The window is gone from the screen; its engine may still be inside one long call.
        thread = session._line.thread_of_engine
        if thread is not None and not thread.wait(round(1000 * PATIENCE_SECONDS)):
            outcome.faults.append("the engine's thread did not end")
        QApplication.processEvents()
        outcome.faults += [f"window left open: {w}" for w in QApplication.topLevelWidgets() if w.isVisible()]
        for left in [w for w in QApplication.topLevelWidgets() if w.isVisible()]:
            left.close()
        log.close()
        window.deleteLater()
        del window, person
        for _ in range(3):
            QApplication.sendPostedEvents(None, 52)  # DeferredDelete
            QApplication.processEvents()
            gc.collect()
    outcome.faults += left_behind(*before)
    return outcome


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.perf_counter() + PATIENCE_SECONDS
    while not is_so():
        assert time.perf_counter() < end, "the engine was not loaded"
        QApplication.processEvents()
        time.sleep(0.002)


def left_behind(widgets: set[int], threads: set[threading.Thread]) -> list[str]:
    """Widgets, threads and timers that were not there before."""
    found = []
    own = QApplication.instance().thread()  # type: ignore[union-attr]
    things = [o for o in gc.get_objects() if type(o) in (QThread, QTimer) and shiboken6.isValid(o)]
    found += [f"thread left: {o.objectName()}" for o in things if isinstance(o, QThread) and o != own and o.isRunning()]
    found += [
        f"timer left: {o.parent()} every {o.interval()} ms"
        for o in things
        if isinstance(o, QTimer) and o.isActive() and not o.isSingleShot()
    ]
    found += [f"thread left: {t.name}" for t in set(threading.enumerate()) - threads if not t.daemon]
    new = [w for w in own_widgets() if shiboken6.getCppPointer(w)[0] not in widgets]
    if new:
        found.append(f"{len(new)} widgets left: {sorted({type(w).__name__ for w in new})[:8]}")
    return found


def own_widgets() -> list[QWidget]:
    """Windows, dialogs and whatever is made in `app`; the hidden menus that the plotting library keeps are its own."""
    windows = (QDialog, QMainWindow, QDockWidget)
    return [w for w in QApplication.allWidgets() if isinstance(w, windows) or type(w).__module__.startswith("app.")]
