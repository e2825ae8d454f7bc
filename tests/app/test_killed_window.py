"""kill -9 of the window at random moments of training, resampling and sweeping: what is lost, and how it goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.application import last_run
from app.settings import Settings
from mft_engine.device import to_host
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import load_recipe
from mft_engine.runs.index import read_index
from mft_engine.runs.restore import restore
from mft_engine.studies.sweep import open_sweep, run_sweep

N_KILLS = 20
MOST_LOST_SECONDS = 10.0
# A window that does by itself what a person would, and writes down at which step it was at which time.
DRIVER = """
import json, sys, time
from pathlib import Path
import app.window as w
from PySide6.QtCore import QTimer
what, diary = sys.argv[1], Path(sys.argv[2]).open("w")
class Window(w.MainWindow):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.session.snapshot_ready.connect(self._note)
        self.session.run_kept.connect(lambda folder: self._say("kept", str(folder)))
        self.session.engine_ready.connect(self._begin)
    def _say(self, *words):
        diary.write(json.dumps([time.time(), *words]) + "\\n"); diary.flush()
    def _note(self, snapshot):
        self._say("step", snapshot.step)
    def _begin(self):
        self.session.play()
        self.again = QTimer(self)
        if what == "resample":
            self.again.timeout.connect(self.session.resample); self.again.start(1500)
        if what == "sweep":
            self.sweep_view.choose(0, "regularisation.scale", "0.001:0.1:log3")
            self.sweep_view.seeds.setValue(2); self.sweep_view.workers.setValue(1)
            QTimer.singleShot(300, self.sweep_view.start.click)
w.MainWindow = Window
from app.application import main
sys.exit(main(sys.argv[3], quit_after=600))
"""
SMALL = {
    "network.n_neurons": 256,
    "foreground.n_neurons": 128,
    "comparison.n_permutations": 99,
    "training.time": 2.0,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(N_KILLS))
def test_a_killed_window_loses_at_most_ten_seconds_and_goes_on_to_the_same_bits(number: int, tmp_path: Path) -> None:
    chance = random.Random(number)
    what = ("train", "resample", "sweep")[number % 3]
    recipe = load_recipe("clover").replace(SMALL)
    (tmp_path / "small.toml").write_text(recipe.to_toml())
    diary = tmp_path / "diary"
    environment = os.environ | dict.fromkeys(("XDG_STATE_HOME", "XDG_DATA_HOME", "HOME"), str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, what, str(diary), str(tmp_path / "small.toml")], env=environment,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: diary.exists() and '"step", ' in diary.read_text(), process)
        time.sleep(chance.uniform(0.5, 20.0))
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    written = [json.loads(line) for line in diary.read_text().splitlines() if line.endswith("]")]
    steps = [(at, step) for at, kind, step in written if kind == "step"]
    settings = Settings(tmp_path / "mft-lab")
    # The store opens, and all that is listed can be read.
    rows = [row for batch in read_index(settings.runs_folder) for row in batch]
    assert all(not row.fault for row in rows)
    last = last_run(settings.last_run)
    if last is None:  # nothing had been written yet: then no more than that much was trained
        assert killed_at - next(at for at, step in steps if step > 0) < MOST_LOST_SECONDS + slack(steps)
    else:
        stored = restore(last)
        assert not stored.faults
        step = stored.experiment.state.step
        # What was trained after the stored step: from when it was passed until the end.
        passed = next((at for at, at_step in steps if at_step > step), killed_at)
        assert killed_at - passed < MOST_LOST_SECONDS + slack(steps)
        uninterrupted = Experiment(load_recipe(last))
        uninterrupted.advance(step, beyond=True)
        for experiment in (stored.experiment, uninterrupted):
            experiment.advance(150, beyond=True)
        assert np.array_equal(to_host(stored.experiment.state.theta), to_host(uninterrupted.state.theta))
    if what == "sweep" and settings.sweeps_folder.exists():
        (folder,) = settings.sweeps_folder.iterdir()
        wait_for(lambda: not is_working(folder), None)
        if (folder / "sweep.json").exists():
            kept = open_sweep(folder)
            axes = kept.sweep.axes
            done = run_sweep(kept.recipe, axes, kept.n_seeds, folder, n_workers=1, resume=True)
            whole = run_sweep(kept.recipe, axes, kept.n_seeds, tmp_path / "whole", n_workers=1)
            assert [row["background.loss"] for row in done.rows] == [row["background.loss"] for row in whole.rows]


def slack(steps: list[tuple[float, int]]) -> float:
    """How far apart two entries of the diary are: when something happened is not known better than that."""
    return max((b[0] - a[0] for a, b in pairwise(steps)), default=0.0) + 0.5


def wait_for(is_so: object, process: subprocess.Popen[bytes] | None) -> None:
    for _ in range(3000):
        if is_so():  # type: ignore[operator]
            return
        assert process is None or process.poll() is None, "the window ended by itself"
        time.sleep(0.1)
    raise AssertionError("it did not come")


def is_working(folder: Path) -> bool:
    """Whether the sweep's process, which ends by itself without its window, is still there."""
    from mft_engine.experiment.storage import RunError
    from mft_engine.runs.lock import working_alone

    try:
        with working_alone(folder):
            return False
    except RunError:
        return True
