"""Workers that raise, hang, are killed or have no memory left: their points are rows with a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from test_faults import TINY_SET, limited, needs_limits

from mft_engine.runs.runs import list_runs, load
from mft_engine.studies.sweep_table import read_table

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")

N_POINTS = 12
PATIENCE_SECONDS = 200
# Steps enough that a worker is in the middle of a point whenever it is looked at.
SWEEP = [*TINY_SET, "--set", "training.n_steps=6000", "--param", f"regularisation.scale=1e-3:1e-1:log{N_POINTS}"]


def begin(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mft_engine.cli", "sweep", "clover", *SWEEP, "--workers", "2", "--out", str(out)]
    return subprocess.Popen(
        [*command, *more], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    end = time.time() + PATIENCE_SECONDS
    while time.time() < end and program.poll() is None and not condition():
        time.sleep(0.05)
    assert condition(), program.communicate()[1] if program.poll() is not None else "nothing happens"


def workers_of(program: subprocess.Popen[str]) -> list[psutil.Process]:
    """Processes that the sweep's own processes began, other than Python's tracker of resources."""
    children = psutil.Process(program.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def has_rows(out: Path, n: int) -> Callable[[], bool]:
    return lambda: (out / "table.csv").exists() and len((out / "table.csv").read_text().splitlines()) > n


def is_whole_after_resume(out: Path) -> None:
    """The resumed sweep has every point, each with the numbers of a run that nothing happened to."""
    program = begin(out, "--resume")
    _, err = program.communicate(timeout=PATIENCE_SECONDS)
    assert program.returncode == 0 and "Traceback" not in err, err
    rows = read_table(out)
    assert len(rows) == N_POINTS and all(row["failure"] is None for row in rows)
    for row in list_runs(out / "runs"):
        assert row["fault"] is None, row
        assert load(row["path"]).summary["faults"] == []


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_point_at_the_most(tmp_path):
    program = begin(tmp_path)
    try:
        wait_for(has_rows(tmp_path, 2), program)
        workers = workers_of(program)
        assert len(workers) >= 2
        os.kill(workers[0].pid, signal.SIGKILL)  # as the kernel does where memory ends
        _, err = program.communicate(timeout=PATIENCE_SECONDS)
    finally:
        program.kill()
    assert program.returncode == 0 and "Traceback" not in err, err
    rows = read_table(tmp_path)
    lost = [row for row in rows if row["failure"] is not None]
    assert len(rows) == N_POINTS and len(lost) <= 1
    assert all("The worker was lost" in row["failure"] for row in lost)
    is_whole_after_resume(tmp_path)


@pytest.mark.slow
def test_workers_that_hang_do_not_keep_a_sweep_from_being_stopped(tmp_path):
    program = begin(tmp_path)
    workers: list[psutil.Process] = []
    try:
        wait_for(has_rows(tmp_path, 2), program)
        workers = workers_of(program)
        for worker in workers:
            worker.suspend()
        os.kill(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=PATIENCE_SECONDS)
    finally:
        program.kill()
        for worker in workers:
            if worker.is_running():
                worker.kill()
    assert program.returncode == 130 and "--resume" in err and "Traceback" not in err, err
    is_whole_after_resume(tmp_path)


@needs_limits
def test_a_point_that_does_not_fit_into_memory_is_a_row_with_its_sentence(tmp_path):
    words = ["sweep", "clover", *TINY_SET, "--param", "network.n_neurons=24,4000000", "--workers", "1"]
    done = limited("RLIMIT_AS", 300_000_000, *words, "--out", str(tmp_path))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    good, bad = read_table(tmp_path)
    assert good["failure"] is None and good["background.loss"] > 0
    assert "memory" in bad["failure"] or "GB" in bad["failure"]
