"""A full disk, a folder that goes, memory that ends, a clock that jumps: a sentence, and the last good state opens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_interrupted import assert_equal, recipe_of

from mft_engine.cli import main
from mft_engine.device import is_trouble
from mft_engine.dynamics import langevin
from mft_engine.runs import runs as stored_runs
from mft_engine.runs.runs import Run, RunError, list_runs, load, run_stored

RECIPE = recipe_of("langevin")

LIMITED = """
import resource, sys
from mft_engine.runs import runs
from mft_engine.recipe import load_recipe
from mft_engine.cli import main
import mft_engine.experiment.experiment, mft_engine.figures.export
kind, most = getattr(resource, sys.argv[1]), int(sys.argv[2])
if kind == resource.RLIMIT_AS:
    most += int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(kind, (most, most))
main(sys.argv[3:])
"""
TINY_SET = [
    word
    for change in ("network.n_neurons=24", "foreground.n_neurons=24", "training.n_steps=200",
                   "comparison.n_permutations=99", "engine.n_threads=1", "engine.device=cpu")
    for word in ("--set", change)
]  # fmt: skip
needs_limits = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of Linux")


def limited(kind: str, most: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, kind, str(most), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    said = [line for line in done.stderr.splitlines() if line.startswith("mft-lab: ")]
    assert done.returncode == 1 and len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    return said[0]


@needs_limits
def test_a_disk_that_takes_no_more_ends_in_a_sentence_and_what_was_there_opens(tmp_path):
    """No file may grow beyond 8 kB: recipe and provenance fit, a checkpoint does not."""
    said = one_sentence(limited("RLIMIT_FSIZE", 8000, "run", "clover", *TINY_SET, "--out", str(tmp_path)))
    assert str(tmp_path) in said and "--out" in said
    (row,) = list_runs(tmp_path)
    assert row["state"] in ("interrupted", "failed") and Run(row["path"]).recipe.seed == 0
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_ends_in_a_sentence_and_the_last_good_state_opens(tmp_path):
    """A file system of 300 kB of its own, where making one is allowed."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(small)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be made here")
    try:
        program = (
            "import mft_engine.runs.folder as f; f.BYTES_PER_RUN = 0\n"
            "from mft_engine.cli import main; import sys; main(sys.argv[1:])\n"
        )
        words = ["run", "clover", *TINY_SET, "--set", "network.n_neurons=3000", "--set", "foreground.n_neurons=50"]
        command = [sys.executable, "-c", program, *words, "--out", str(small)]
        said = one_sentence(subprocess.run(command, capture_output=True, text=True, timeout=280))
        assert "--out" in said and ("No space" in said or "free" in said)
        assert list_runs(small) == [] or load(list_runs(small)[0]["path"]).background.theta.shape[0] == 3000
    finally:
        subprocess.run(["umount", str(small)], check=True)


@needs_limits
def test_memory_that_ends_ends_in_a_sentence(tmp_path):
    words = ["run", "clover", *TINY_SET, "--set", "network.n_neurons=4000000", "--set", "foreground.n_neurons=4000000"]
    said = one_sentence(limited("RLIMIT_AS", 300_000_000, *words, "--out", str(tmp_path)))
    assert "memory" in said or "space" in said


def test_a_folder_that_is_removed_during_the_run_is_said(tmp_path):
    def remove(part: str, fraction: float, text: str) -> None:
        if part == "train" and (tmp_path / "runs").exists():
            shutil.rmtree(tmp_path / "runs")

    with pytest.raises(RunError, match=r"runs.*--out"):
        run_stored(RECIPE, tmp_path / "runs", report=remove)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_becomes_read_only_is_said_and_the_last_good_state_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_runs, "CHECKPOINT_SECONDS", 0.0)

    def lock(part: str, fraction: float, text: str) -> None:
        if part == "foreground":
            (folder,) = tmp_path.iterdir()
            folder.chmod(0o500)

    with pytest.raises(RunError, match=r"may not be written"):
        run_stored(RECIPE, tmp_path, report=lock)
    (folder,) = tmp_path.iterdir()
    folder.chmod(0o700)
    assert load(folder).background.theta.shape[0] == 24


@needs_limits
def test_an_export_to_a_disk_that_takes_no_more_is_one_sentence_and_leaves_no_half_file(tmp_path):
    run = run_stored(RECIPE.replace({"network.n_neurons": 400}), tmp_path / "runs").folder
    words = [
        "export",
        str(run),
        "--figure",
        "foreground",
        "--data",
        "csv,npz,safetensors",
        "--out",
        str(tmp_path / "out"),
    ]
    said = one_sentence(limited("RLIMIT_FSIZE", 3000, *words))
    assert str(tmp_path / "out") in said and "--out" in said
    assert not list((tmp_path / "out").iterdir()) and load(run).summary["faults"] == []


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("x,y\n1,2\n")], ids=["gone", "changed"])
def test_a_run_whose_data_file_is_gone_or_changed_on_the_way_ends_with_the_numbers_it_began_with(change, tmp_path):
    data, x = tmp_path / "rows.csv", np.sin(np.arange(120.0)).reshape(60, 2)
    np.savetxt(data, np.column_stack([x, x[:, 0] * x[:, 1]]), delimiter=",", header="x,y,label")
    recipe = RECIPE.replace({"task": {"name": "dataset", "path": str(data)}})
    whole = run_stored(recipe, tmp_path / "whole")

    def meddle(part: str, fraction: float, text: str) -> None:
        if part == "train" and fraction > 0.3 and not told:
            told.append(text)
            change(data)

    told: list[str] = []
    other = run_stored(recipe, tmp_path / "other", report=meddle)
    assert told and other.is_complete and list_runs(tmp_path / "other")[0]["fault"] is None
    np.testing.assert_array_equal(load(other.folder).background.theta, load(whole.folder).background.theta)
    np.testing.assert_array_equal(load(other.folder).foreground.theta, load(whole.folder).foreground.theta)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might ..."), "The device failed"),
     (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory"),
     (MemoryError("cannot allocate 3 GB"), "not enough memory")],
    ids=["a device that is lost", "a device that is full", "a machine that is full"],
)  # fmt: skip
def test_a_device_that_is_lost_on_the_way_is_one_sentence_and_the_last_good_state_opens(
    fault, words, tmp_path, monkeypatch, capsys
):
    honest, calls = langevin._steps, []

    def steps(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise fault
        return honest(*arguments)

    monkeypatch.setattr(langevin, "_steps", steps)
    with pytest.raises(SystemExit) as stopped:
        main(["run", "clover", *TINY_SET, "--out", str(tmp_path)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 1 and said.startswith("mft-lab: ") and words in said and len(said) < 400
    (row,) = list_runs(tmp_path)
    assert row["state"] == "failed" and row["fault"]
    opened = load(row["path"])
    assert opened.summary["faults"] == [] and np.isfinite(opened.background.theta).all()


def test_a_defect_is_not_taken_for_a_device_that_is_lost():
    assert is_trouble(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_trouble(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_trouble(ValueError("cuda"))


KEPT_OFTEN = """
import sys
import app.engine.keeping as keeping
keeping.KEEP_SECONDS = 0.05
from app.application import main
sys.exit(main("clover-warm", play=True, quit_after=600))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs a display that may be killed")
def test_a_display_that_dies_ends_the_window_with_a_sentence_and_its_run_opens(tmp_path):
    reader, writer = os.pipe()
    screen = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    display = subprocess.Popen(screen, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as told:
        number = told.readline().strip()
    environment = os.environ | dict.fromkeys(("XDG_STATE_HOME", "XDG_DATA_HOME", "HOME"), str(tmp_path))
    environment |= {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
    window = subprocess.Popen([sys.executable, "-c", KEPT_OFTEN], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.time() + 200
        while time.time() < end and window.poll() is None and not list(tmp_path.rglob("checkpoint.safetensors")):
            time.sleep(0.1)
        display.kill()
        _, err = window.communicate(timeout=60)
    finally:
        window.kill()
        display.kill()
        display.wait()
    assert window.returncode == 1 and "X11" in err and "Traceback" not in err, (window.returncode, err)
    rows = list_runs(tmp_path / "mft-lab" / "runs" / "window")
    assert rows and all(row["fault"] is None and load(row["path"]).summary["faults"] == [] for row in rows)


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    whole = run_stored(RECIPE, tmp_path / "whole")
    jumps = iter(np.linspace(0, 1, 10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3e7 * next(jumps))
    assert_equal(run_stored(RECIPE, tmp_path / "jumped"), whole)


@pytest.mark.parametrize("kind", ["fixed step", "gibbs", "adam", "langevin", "minibatches"])
def test_a_run_has_the_same_bits_for_any_number_of_threads(kind, tmp_path):
    """Threads divide neurons among themselves; what an automatic step is found from is added up by one of them."""
    found = [
        load(run_stored(recipe_of(kind).replace({"engine.n_threads": n}), tmp_path / str(n)).folder) for n in (1, 2, 3)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.background.theta, found[0].background.theta)
        np.testing.assert_array_equal(other.foreground.theta, found[0].foreground.theta)
        assert other.summary["background"]["loss"] == found[0].summary["background"]["loss"]
