"""How the window feels, in numbers: start, event loop, frames, slider, memory.

    python benchmarks/window.py [--quick] [--json]

Delay is how much later than asked a 4 ms timer of the window's thread fires. The slider's latency runs from the edit to
the end of the paint of the first cloud that was trained with the new value. Needs a display (or xvfb-run).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

IS_LINUX = sys.platform.startswith("linux")
SIZES = (2048, 65_536, 1_000_000)
LIMIT_SECONDS = 300
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

    def __init__(self, n_neurons: int, *, keeps_runs: bool = False) -> None:
        from pyqtgraph.util.garbage_collector import GarbageCollector
        from PySide6.QtCore import Qt, QTimer
        from PySide6.QtWidgets import QApplication

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
        settings = Settings(Path(tempfile.mkdtemp()))
        self.session = Session(recipe, store=settings.runs_folder if keeps_runs else None)
        self._collector = GarbageCollector()  # as the program does
        self.session.engine_ready.connect(lambda ready: gc.freeze())
        self.window = MainWindow(self.session, settings, themes, LogBuffer())
        self.window.resize(1440, 900)
        self.window.show()
        self.beats: list[float] = []
        self.frames: list[float] = []
        self.latencies: list[float] = []
        self._edited: tuple[float, int] | None = None
        self._shown = -1
        self.frame: Any = None
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
        self._shown, self.frame = snapshot.generation, snapshot
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
        hand = self.session._worker._hand
        return hand.step if hand is not None else 0


def live(n_neurons: int, seconds: float, *, has_resampling: bool) -> dict[str, Any]:
    """One window of n_neurons: loading, training with and without a moving slider, foregrounds where asked for."""
    # The command line sets the threads of the numerical libraries before they are imported.
    import mft_engine.cli  # noqa: F401

    answer: dict[str, Any] = {"n_neurons": n_neurons}
    bench = Bench(n_neurons)
    session = bench.session
    session.start()
    answer["loading"] = bench.part(lambda: session.is_engine_ready, 60, is_hand_moving=False)
    session.play()
    bench.run(lambda: bench.session_step > 0 and bool(bench.frames), 60)
    answer["moving_seconds"] = round(time.time() - psutil.Process().create_time(), 2)
    bench.run(lambda: bench.session_step > 200, 8)
    answer["training"] = bench.part(lambda: False, seconds, is_hand_moving=False)
    answer["frame_kilobytes"] = round(len(pickle.dumps(bench.frame)) / 1000)
    answer["dragging"] = bench.part(lambda: False, seconds, is_hand_moving=True)
    for n_foreground in (2048, 20_000) if has_resampling else ():
        session.edit("foreground.n_neurons", n_foreground)
        session.edit_done()
        bench.run(lambda: False, 0.3)
        done: list[Any] = []
        session.comparison_ready.connect(done.append)
        session.resample()
        still = bench.part(lambda done=done: bool(done), 60, is_hand_moving=False)
        answer[f"resampling {n_foreground:,}"] = {**still, "is_done": bool(done)}
    started = time.perf_counter()
    bench.window.close()
    answer["close_seconds"] = round(time.perf_counter() - started, 2)
    answer["peak_mb"] = round(peak_megabytes())
    return answer


def peak_megabytes() -> float:
    """The largest resident memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def display() -> tuple[list[str], str]:
    """What to put before a command so that it has a display, and what that display is in words ("": there is none)."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or not IS_LINUX:
        return [], "the desktop"
    if shutil.which("xvfb-run"):
        return ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"], "a virtual screen (Xvfb, drawn by the CPU)"
    return [], ""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """A window per number of neurons, each in a process of its own; without a display only the reason why not."""
    prefix, kind = display()
    if not kind:
        return {"display": None, "rows": [], "first_window_seconds": []}
    rows = []
    for n_neurons in SIZES[: 1 if quick else None]:
        seconds = "2" if quick else "8"
        flags = ["--resampling"] if n_neurons == SIZES[0] and not quick else []
        command = [*prefix, sys.executable, __file__, "--live", str(n_neurons), "--seconds", seconds, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
        rows.append(json.loads(done.stdout))
    command = [*prefix, sys.executable, __file__, "--starts", "1" if quick else "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    starts = json.loads(done.stdout)
    return {"display": kind, "rows": rows, "first_window_seconds": starts}


def markdown(document: dict[str, Any]) -> str:
    """The parts as a table."""
    if document["display"] is None:
        return "No display here, and no xvfb-run: the window was not measured."
    lines = [
        f"On {document['display']}.",
        "",
        "| neurons | doing | frames/s | event loop late by, ms p95 / p99 / max | slider to cloud, ms p50 / p95 "
        "| steps/s |",
        "|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        for doing, part in row.items():
            if isinstance(part, dict):
                delay, latency = part["delay_ms"], part["slider_to_cloud_ms"]
                hand = f"{latency['p50']} / {latency['p95']}" if latency["n"] else ""
                lines.append(
                    f"| {row['n_neurons']:,} | {doing} | {part['frames_per_second']} | "
                    f"{delay['p95']} / {delay['p99']} / {delay['max']} | {hand} | {part['steps_per_second']:,} |"
                )
    starts = document["first_window_seconds"]
    lines += ["", f"Start to the first painted window: median {statistics.median(starts):.2f} s of {starts}."]
    for row in document["rows"]:
        lines.append(
            f"{row['n_neurons']:,} neurons: first moving cloud {row['moving_seconds']} s after the start of the "
            f"process, {row['frame_kilobytes']} kB a frame, closed in {row['close_seconds']} s, peak memory "
            f"{row['peak_mb']} MB."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print; the parts that need a process of their own are started with the hidden options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--live", type=int, metavar="N_NEURONS", help=argparse.SUPPRESS)
    parser.add_argument("--starts", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=8.0, help=argparse.SUPPRESS)
    parser.add_argument("--resampling", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.live:
        print(json.dumps(live(wanted.live, wanted.seconds, has_resampling=wanted.resampling)))
    elif wanted.starts:
        print(json.dumps(time_to_first_window(wanted.starts)))
    else:
        document = measure(quick=wanted.quick)
        print(json.dumps(document, indent=1) if wanted.json else markdown(document))


if __name__ == "__main__":
    main()
