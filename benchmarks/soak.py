"""The window for an hour: what grows, what stands still, what is said.

    python -m benchmarks.soak [--minutes 60] [--neurons 2048] [--speed 0] [--json]

By turns the slider moves, the foreground is sampled, the task changes, a wrong background is tried, a step back is
taken, another dock comes to the front, and a small sweep is ordered; runs keep themselves as they do for a person.
After the first twelfth of the time (five minutes of an hour) memory, threads and open files are watched. The event loop
is measured by a timer of 4 ms in the window's thread: the time between two of its beats. Needs a display or
`QT_QPA_PLATFORM=offscreen`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from benchmarks.window import Bench

HAND_MILLISECONDS = 2000
SAMPLE_MILLISECONDS = 2000
# Bins of the time between two beats: a list of all of them would itself be memory that grows.
BIN_SECONDS, N_BINS = 1e-4, 100_000
# What Qt says of the platform without a screen, and of nothing else.
OFFSCREEN = "This plugin does not support"
# Of the time, before what stays is measured: caches fill, kernels are compiled.
WARM_SHARE = 1 / 12
TASKS = ("product", "ring", "lobes")
SCALES = (0.001, 0.002, 0.005, 0.002)
# Of the swept runs, so that a sweep lasts seconds.
SMALL = {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.n_steps": 50,
         "comparison.n_permutations": 99}  # fmt: skip


class Soak:
    """A window on the real engine, a hand that does one thing after the other, and a meter."""

    def __init__(self, n_neurons: int, steps_per_frame: int = 0) -> None:
        from loguru import logger
        from PySide6.QtCore import QTimer, qInstallMessageHandler

        from app.docks import DOCKS
        from app.stalls import StallWatch

        self.bench = Bench(n_neurons, keeps_runs=True)
        self.session = self.bench.session
        self.session.set_speed(steps_per_frame)
        self.said: list[str] = []
        self._sink = logger.add(lambda message: self.said.append(str(message)), level="WARNING")
        warnings.showwarning = lambda message, *_: self.said.append(f"Python: {message}")
        qInstallMessageHandler(self._qt_said)
        self.watch = StallWatch()
        self.samples: list[dict[str, float]] = []
        self.done: dict[str, int] = {}
        self._acts = itertools.cycle([
            *3 * [self._slide, self._resample, self._step_back, self._slide, self._change_task, self._resample,
                  self._wrong_background, self._play, self._look], self._sweep,
        ])  # fmt: skip
        self._scales, self._tasks = itertools.cycle(SCALES), itertools.cycle(TASKS)
        self._docks = itertools.cycle([spec.name for spec in DOCKS])
        self._gaps = np.zeros(N_BINS, np.int64)
        self._last_beat = 0.0
        self._process = psutil.Process()
        self._begun = time.perf_counter()
        self._timers = []
        for milliseconds, act in ((HAND_MILLISECONDS, self._act), (SAMPLE_MILLISECONDS, self._sample)):
            timer = QTimer(self.bench.window)
            timer.setInterval(milliseconds)
            timer.timeout.connect(act)
            self._timers.append(timer)

    # What the hand does --------------------------------------------------------------------------------------------

    def _act(self) -> None:
        act: Callable[[], None] = next(self._acts)
        self.done[act.__name__.strip("_")] = self.done.get(act.__name__.strip("_"), 0) + 1
        act()

    def _play(self) -> None:
        self.session.play()

    def _slide(self) -> None:
        self.session.edit("regularisation.scale", next(self._scales))
        self.session.edit_done()
        self.session.play()

    def _resample(self) -> None:
        self.session.resample()

    def _step_back(self) -> None:
        self.session.undo_stack.undo()

    def _change_task(self) -> None:
        self.session.choose_task(next(self._tasks), {})
        self.session.edit_done()
        self.session.play()

    def _wrong_background(self) -> None:
        kind = "lazy" if self.session.recipe.foreground.background == "trained" else "trained"
        self.session.edit("foreground.background", kind)
        self.session.edit_done()

    def _look(self) -> None:
        self.bench.window.docks.bring_up(next(self._docks))

    def _sweep(self) -> None:
        from app.sweeping import SweepOrder

        recipe = self.session.recipe.replace(SMALL)
        self.bench.window.sweeping.start(SweepOrder(recipe, {"regularisation.scale": "0.001, 0.01"}, n_workers=1))

    def _qt_said(self, kind: object, context: object, message: str) -> None:
        if not message.startswith(OFFSCREEN):
            self.said.append(f"Qt: {message}")

    # The meter -----------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        """Beats become counts of the times between them."""
        beats = np.array([self._last_beat or self.bench.beats[0], *self.bench.beats])
        self.bench.beats.clear()
        self.bench.frames.clear()
        self._last_beat = float(beats[-1])
        np.add.at(self._gaps, np.minimum(np.diff(beats) / BIN_SECONDS, N_BINS - 1).astype(int), 1)

    def _late(self, share: float) -> float:
        """Milliseconds between two beats, below which this share of them lies."""
        reached = np.cumsum(self._gaps)
        return round(1000 * BIN_SECONDS * float(np.searchsorted(reached, share * reached[-1]) + 1), 1)

    def _sample(self) -> None:
        self._fold()
        self.samples.append(
            {
                "time": time.perf_counter() - self._begun,
                "megabytes": self._process.memory_info().rss / 1e6,
                "threads": self._process.num_threads(),
                "files": self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
            }
        )
        if len(self.samples) % (60_000 // SAMPLE_MILLISECONDS) == 0:
            said = ", ".join(f"{name} {value:.0f}" for name, value in self.samples[-1].items())
            print(f"{said}, loop p99 {self._late(0.99)} ms, {len(self.said)} warnings", file=sys.stderr, flush=True)

    def run(self, seconds: float) -> dict[str, Any]:
        """Do all that for so long; returns the figures."""
        from loguru import logger

        ready: list[Any] = []
        self.session.engine_ready.connect(ready.append)
        self.session.start()
        self.bench.run(lambda: bool(ready), 120)
        self.session.play()
        self.watch.start()
        for timer in self._timers:
            timer.start()
        self._begun = self._last_beat = time.perf_counter()
        self.bench.beats.clear()
        self.bench.run(lambda: time.perf_counter() - self._begun > seconds, seconds + 60)
        for timer in self._timers:
            timer.stop()
        self.watch.stop()
        found = self.figures(seconds)
        self.bench.window.close()
        shutil.rmtree(self.bench.window.settings.folder, ignore_errors=True)
        logger.remove(self._sink)
        return found

    def figures(self, seconds: float) -> dict[str, Any]:
        """What the meter says of the time after the warm-up."""
        warm = [sample for sample in self.samples if sample["time"] > WARM_SHARE * seconds]
        ends = max(1, len(warm) // 10)

        def level(part: list[dict[str, float]], name: str) -> float:
            return sorted(sample[name] for sample in part)[len(part) // 2]

        return {
            "seconds": round(seconds),
            "acts": self.done,
            "megabytes": [round(level(part, "megabytes")) for part in (warm[:ends], warm[-ends:])],
            "growth": round(level(warm[-ends:], "megabytes") / level(warm[:ends], "megabytes") - 1, 4),
            "threads": [level(part, "threads") for part in (warm[:ends], warm[-ends:])],
            "files": [level(part, "files") for part in (warm[:ends], warm[-ends:])],
            "most": {name: max(sample[name] for sample in warm) for name in ("megabytes", "threads", "files")},
            "minutes": [round(level(part, "megabytes")) for part in _parts(self.samples, 60.0)],
            "beats": int(self._gaps.sum()),
            "loop_milliseconds": {"p50": self._late(0.5), "p99": self._late(0.99), "max": self._late(1.0)},
            "load": [round(number, 1) for number in os.getloadavg()] if hasattr(os, "getloadavg") else None,
            "steps": self.bench.session_step,
            "n_runs": len(list(self.bench.window.settings.runs_folder.glob("*/recipe.toml"))),
            "n_swept": len(list(self.bench.window.settings.sweeps_folder.glob("*/runs/*/summary.json"))),
            "stalls": [str(stall) for stall in self.watch.stalls],
            "warnings": self.said,
        }


def _parts(samples: list[dict[str, float]], seconds: float) -> list[list[dict[str, float]]]:
    """The samples by the minute."""
    by_minute = itertools.groupby(samples, lambda sample: int(sample["time"] / seconds))
    return [list(part) for _, part in by_minute]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--neurons", type=int, default=2048)
    parser.add_argument("--speed", type=int, default=0, help="steps of training a frame; 0 for as many as fit")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = Soak(arguments.neurons, arguments.speed).run(60 * arguments.minutes)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:<20}{value}")


if __name__ == "__main__":
    main()
