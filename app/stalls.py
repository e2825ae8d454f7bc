"""A watch on the window's event loop: when it stands still, the log says for how long and who was at work.

A timer of the window beats; a thread of its own notices when it does not, and looks where every thread is. It also
notices that it could not run itself: then some thread held the interpreter, and it is named as soon as it lets go.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from loguru import logger
from PySide6.QtCore import QObject, Qt, QTimer

BEAT_MILLISECONDS = 40
STALL_SECONDS = 0.25
# A machine that was asleep has not stood still.
LONGEST_SECONDS = 60.0
N_KEPT = 100
N_PLACES = 4
OWN = tuple(str(Path(__file__).resolve().parents[1] / room) for room in ("app", "mft_engine"))


@dataclass(frozen=True)
class Stall:
    """The window stood still.

    Attributes:
        seconds: for so long; places: what each thread was doing, by the thread's name, the innermost place first.
        is_held: whether another thread than the window's kept the interpreter for itself.
    """

    seconds: float
    places: dict[str, str]
    is_held: bool

    def __str__(self) -> str:
        whose = "another thread held the interpreter" if self.is_held else "its own thread was at work"
        places = "; ".join(f"{name}: {place}" for name, place in self.places.items())
        return f"The window stood still for {self.seconds:.2f} s, {whose} ({places})"


class StallWatch(QObject):
    """Beats in the window's thread, which must make it, and is watched from another."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stalls: deque[Stall] = deque(maxlen=N_KEPT)
        self._window = threading.get_ident()
        self._beaten = time.perf_counter()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MILLISECONDS)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Begin to watch; nothing happens where that was done already."""
        if self._thread is None:
            self._beat()
            self._timer.start()
            self._ended.clear()
            self._thread = threading.Thread(target=self._watch, name="stall watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End of the watch, before the event loop ends."""
        self._timer.stop()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _beat(self) -> None:
        self._beaten = time.perf_counter()

    def _watch(self) -> None:
        pause, woken = BEAT_MILLISECONDS / 1000, time.perf_counter()
        begun, places, was_held = 0.0, dict[str, str](), False  # the last beat before a stall; 0 where there is none
        while not self._ended.wait(pause):
            now, beaten = time.perf_counter(), self._beaten
            late, woken = now - woken, now
            if begun and beaten != begun:
                self._report(Stall(beaten - begun, places, was_held))
                begun = 0.0
            if not begun and now - beaten > STALL_SECONDS:
                begun, places, was_held = beaten, self._places(), late > STALL_SECONDS
            elif not begun and late > STALL_SECONDS:
                # The window had its turn again before the watch had: it stood still as long as the watch did.
                self._report(Stall(late, self._places(), True))

    def _report(self, stall: Stall) -> None:
        if stall.seconds < LONGEST_SECONDS:
            self.stalls.append(stall)
            logger.info("{}", stall)

    def _places(self) -> dict[str, str]:
        names = {thread.ident: thread.name for thread in threading.enumerate()} | {self._window: "window"}
        me = threading.get_ident()
        return {
            # Qt's threads are unknown to Python's list of threads.
            names.get(ident, f"thread {ident}"): place_of(frame)
            for ident, frame in sys._current_frames().items()
            if ident != me
        }


def place_of(frame: FrameType) -> str:
    """Where a thread is: the innermost function, and those of this program that called it."""
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    own = [entry for entry in stack[1:] if entry.filename.startswith(OWN)]
    shown = [stack[0], *own[:N_PLACES]]
    return " < ".join(f"{entry.name} ({Path(entry.filename).name}:{entry.lineno})" for entry in shown)
