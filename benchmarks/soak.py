"""The window for an hour: what grows, what stands still, what is said.

    python -m benchmarks.soak [--minutes 60] [--neurons 2048] [--json]

By turns the slider moves, the foreground is sampled, the task changes, a wrong background is tried, a step back is
taken and a small sweep runs in a thread beside the training. After the first twelfth of the time (five minutes of an
hour) memory, threads and open files are watched. Needs a display or `QT_QPA_PLATFORM=offscreen`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.window import Bench, quantile

HAND_MILLISECONDS = 2000
SAMPLE_MILLISECONDS = 1000
# Of the time, before what stays is measured: caches fill, kernels are compiled.
WARM_SHARE = 1 / 12
TASKS = ("product", "ring", "lobes")
SCALES = (0.001, 0.002, 0.005, 0.002)


class Soak:
    """A window on the real engine, a hand that does one thing after the other, and a meter."""

    def __init__(self, n_neurons: int) -> None:
        from loguru import logger
        from PySide6.QtCore import QTimer

        from app.stalls import StallWatch

        self.bench = Bench(n_neurons)
        self.session = self.bench.session
        self.said: list[str] = []
        self._sink = logger.add(lambda message: self.said.append(str(message)), level="WARNING")
        self.watch = StallWatch()
        self.samples: list[dict[str, float]] = []
        self.done: dict[str, int] = {}
        self._acts = itertools.cycle([
            self._slide, self._resample, self._step_back, self._slide, self._change_task, self._resample,
            self._wrong_background, self._play, self._sweep,
        ])  # fmt: skip
        self._scales, self._tasks = itertools.cycle(SCALES), itertools.cycle(TASKS)
        self._sweeping: threading.Thread | None = None
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

    def _sweep(self) -> None:
        if self._sweeping is None or not self._sweeping.is_alive():
            self._sweeping = threading.Thread(target=_small_sweep, name="sweep")
            self._sweeping.start()

    # The meter -----------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        self.samples.append(
            {
                "time": time.perf_counter() - self._begun,
                "megabytes": self._process.memory_info().rss / 1e6,
                "threads": self._process.num_threads(),
                "files": self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
            }
        )

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
        self._begun = time.perf_counter()
        self.bench.beats.clear()
        self.bench.run(lambda: time.perf_counter() - self._begun > seconds, seconds + 60)
        for timer in self._timers:
            timer.stop()
        if self._sweeping is not None:
            self._sweeping.join()
        self.watch.stop()
        found = self.figures(seconds)
        self.session.close()
        logger.remove(self._sink)
        return found

    def figures(self, seconds: float) -> dict[str, Any]:
        """What the meter says of the time after the warm-up."""
        warm = [sample for sample in self.samples if sample["time"] > WARM_SHARE * seconds]
        ends = max(1, len(warm) // 10)
        beats = self.bench.beats
        gaps = [after - before for before, after in itertools.pairwise(beats)]

        def level(part: list[dict[str, float]], name: str) -> float:
            return sorted(sample[name] for sample in part)[len(part) // 2]

        return {
            "seconds": round(seconds),
            "acts": self.done,
            "megabytes": [round(level(part, "megabytes")) for part in (warm[:ends], warm[-ends:])],
            "growth": round(level(warm[-ends:], "megabytes") / level(warm[:ends], "megabytes") - 1, 4),
            "threads": [level(part, "threads") for part in (warm[:ends], warm[-ends:])],
            "files": [level(part, "files") for part in (warm[:ends], warm[-ends:])],
            "loop_milliseconds": {"p50": quantile(gaps, 0.5), "p99": quantile(gaps, 0.99), "max": quantile(gaps, 1.0)},
            "stalls": [str(stall) for stall in self.watch.stalls],
            "warnings": self.said,
        }


def _small_sweep() -> None:
    from mft_engine.recipe import load_recipe
    from mft_engine.studies.sweep import Axis, run_sweep

    recipe = load_recipe("clover").replace(
        {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.n_steps": 50, "comparison.n_permutations": 99}
    )
    with tempfile.TemporaryDirectory() as folder:
        run_sweep(recipe, [Axis("regularisation.scale", (0.001, 0.01))], 1, Path(folder), n_workers=1)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--neurons", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = Soak(arguments.neurons).run(60 * arguments.minutes)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:<20}{value}")


if __name__ == "__main__":
    main()
