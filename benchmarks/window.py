"""How the window feels, in numbers: start, event loop, frames, slider; printed as one JSON document.

    python benchmarks/window.py [--seconds 8] [--neurons 2048]

Delay is how much later than asked a 4 ms timer of the window's thread fires. The slider's latency runs from the edit to
the end of the paint of the first cloud that was trained with the new value. Needs a display (or xvfb-run).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEAT_MILLISECONDS = 4
EDIT_EVERY_MILLISECONDS = 173

FIRST_WINDOW = """
import os, sys, time
begun = float(sys.argv[1])
import app.application as application
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication
class Watch(QObject):
    said = False
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and not self.said and watched.objectName() == "main_window":
            self.said = True
            QTimer.singleShot(0, lambda: print(time.time() - begun, flush=True))
        return False
application.QApplication([])
watch = Watch()
QApplication.instance().installEventFilter(watch)
sys.exit(application.main("clover", quit_after=1.0))
"""


def quantile(values: list[float], share: float) -> float | None:
    """The value below which `share` of the values lie, in milliseconds with one digit."""
    if not values:
        return None
    return round(1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 1)


def time_to_first_window(n_starts: int = 3) -> list[float]:
    """Seconds from the start of the process to the first painted window, one per start."""
    times = []
    for _ in range(n_starts):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", FIRST_WINDOW, str(time.time())],
                capture_output=True,
                text=True,
                env=os.environ | {"XDG_STATE_HOME": folder, "XDG_DATA_HOME": folder},
                check=True,
            )
        times.append(round(float(done.stdout.split()[0]), 2))
    return times


class Bench:
    """A real window on the real engine, with a heartbeat and a hand that moves the slider."""

    def __init__(self, n_neurons: int) -> None:
        from PySide6.QtCore import Qt, QTimer
        from PySide6.QtWidgets import QApplication

        from app.garbage import GarbageKeeper
        from app.logs import LogBuffer, quiet_standard_error
        from app.session import Session
        from app.settings import Settings
        from app.theme import ThemeKeeper
        from app.window import MainWindow
        from mft_engine.recipe import load_recipe

        self.application = QApplication.instance() or QApplication([])
        quiet_standard_error()
        sys.setswitchinterval(0.001)
        themes = ThemeKeeper("light", self.application)
        themes.apply()
        recipe = load_recipe("clover").replace({"network.n_neurons": n_neurons})
        self.session = Session(recipe)
        garbage = GarbageKeeper(self.application)
        self.session.engine_ready.connect(garbage.forget_imports)
        folder = Path(tempfile.mkdtemp())
        self.window = MainWindow(self.session, Settings(folder), themes, LogBuffer())
        self.window.resize(1440, 900)
        self.window.show()
        self.beats: list[float] = []
        self.frames: list[float] = []
        self.latencies: list[float] = []
        self._edited: tuple[float, int] | None = None
        self._shown = -1
        self._scale = recipe.regularisation.scale
        self._timer = QTimer(self.window)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MILLISECONDS)
        self._timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))
        self._timer.start()
        self._hand = QTimer(self.window)
        self._hand.setInterval(EDIT_EVERY_MILLISECONDS)
        self._hand.timeout.connect(self._edit)
        self.session.snapshot_ready.connect(self._arrived)
        self.window.cloud.painted.connect(self._painted)

    def _edit(self) -> None:
        if self._edited is None:
            self._scale = 0.002 if self._scale < 0.0015 else 0.001
            self._edited = (time.perf_counter(), self.session.generation + 1)
            self.session.edit("regularisation.scale", self._scale)
            self.session.edit_done()

    def _arrived(self, snapshot: Any) -> None:
        self._shown = snapshot.generation
        self._is_new = True

    def _painted(self) -> None:
        now = time.perf_counter()
        if getattr(self, "_is_new", False):
            self._is_new = False
            self.frames.append(now)
            if self._edited is not None and self._shown >= self._edited[1]:
                self.latencies.append(now - self._edited[0])
                self._edited = None

    def run(self, until: Any, limit: float) -> float:
        """Let the window live until `until()` is true; seconds that took."""
        from PySide6.QtCore import QEventLoop, QTimer

        loop, started = QEventLoop(), time.perf_counter()
        watch = QTimer()
        watch.setInterval(20)
        watch.timeout.connect(lambda: loop.quit() if until() or time.perf_counter() - started > limit else None)
        watch.start()
        loop.exec()
        watch.stop()
        return time.perf_counter() - started

    def part(self, until: Any, limit: float, *, is_hand_moving: bool) -> dict[str, Any]:
        """One part of the measurement, as numbers."""
        self.beats.clear()
        self.frames.clear()
        self.latencies.clear()
        if is_hand_moving:
            self._hand.start()
        first = self.session_step
        seconds = self.run(until, limit)
        self._hand.stop()
        gaps = [b - a - BEAT_MILLISECONDS / 1000 for a, b in zip(self.beats, self.beats[1:], strict=False)]
        return {
            "seconds": round(seconds, 1),
            "delay_ms": {"p95": quantile(gaps, 0.95), "p99": quantile(gaps, 0.99), "max": quantile(gaps, 1.0)},
            "frames_per_second": round(len(self.frames) / seconds, 1),
            "slider_to_cloud_ms": {
                "p50": quantile(self.latencies, 0.5),
                "p95": quantile(self.latencies, 0.95),
                "n": len(self.latencies),
            },
            "steps_per_second": round((self.session_step - first) / seconds),
        }

    @property
    def session_step(self) -> int:
        """The background's step, read across threads: one integer."""
        bench = self.session._worker._bench
        return bench.step if bench is not None else 0


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--neurons", type=int, default=2048)
    wanted = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    answer: dict[str, Any] = {"load_before": os.getloadavg(), "first_window_seconds": time_to_first_window()}
    bench = Bench(wanted.neurons)
    session = bench.session
    session.start()
    answer["loading"] = bench.part(lambda: session.is_engine_ready, 60, is_hand_moving=False)
    session.play()
    bench.run(lambda: bench.session_step > 200, 60)
    answer["training"] = bench.part(lambda: False, wanted.seconds, is_hand_moving=True)
    for n_foreground in (2048, 20_000):
        session.edit("foreground.n_neurons", n_foreground)
        session.edit_done()
        bench.run(lambda: False, 0.3)
        done: list[Any] = []
        session.comparison_ready.connect(done.append)
        session.resample()
        still = bench.part(lambda done=done: bool(done), 120, is_hand_moving=False)
        answer[f"resampling_{n_foreground}"] = {**still, "is_done": bool(done)}
    started = time.perf_counter()
    bench.window.close()
    answer["close_seconds"] = round(time.perf_counter() - started, 2)
    answer["load_after"] = os.getloadavg()
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
