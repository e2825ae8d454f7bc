"""Claims about runs on disk: whole or not at all, opened when killed or damaged, resumed bit for bit."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import mft_engine as mft
from mft_engine.experiment import storage
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs import checkpoint, runs
from mft_engine.runs import folder as run_folder
from mft_engine.runs.runs import Run, RunError, list_runs, load, run_stored


def small(**changes: object) -> Recipe:
    values = {
        "network.n_neurons": 64,
        "foreground.n_neurons": 48,
        "training.time": 1.0,
        "engine.n_threads": 1,
        "engine.device": "cpu",
    }
    return load_recipe("clover").replace(values | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return mft.run(small(), tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copied(finished, tmp_path) -> Run:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return Run(folder)


def test_python_users_get_tensors_of_both_clouds(finished):
    assert finished.background.theta.shape == (64, 3) and finished.foreground.theta.shape == (48, 3)
    assert isinstance(finished.background.theta, torch.Tensor)
    assert finished.background.kind == "trained" and finished.foreground.kind == "dynamics"
    assert mft.run.__name__ == "run" and mft.Run is Run


def test_a_stored_run_opens_as_what_was_computed(finished):
    experiment = Experiment(small())
    *_, last = experiment
    expected, found = last.outcome, load(finished.folder)
    for name in ("initial_theta", "snapshots", "snapshot_steps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("inputs", "weights", "targets"):
        np.testing.assert_array_equal(getattr(found.points, name), getattr(expected.points, name))
    for name in ("background", "foreground"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(one.theta, other.theta)
        np.testing.assert_array_equal(one.prediction, other.prediction)
        assert (one.loss, one.kind) == (other.loss, other.kind)
    assert found.metrics.keys() == expected.metrics.keys() and "cos4" in found.metrics
    for name, column in found.metrics.items():
        np.testing.assert_array_equal(column, expected.metrics[name])
    np.testing.assert_array_equal(found.comparison.null, expected.comparison.null)
    np.testing.assert_array_equal(found.comparison.null_weights, expected.comparison.null_weights)
    assert found.comparison.to_dict() == expected.comparison.to_dict()
    assert found.certificate == expected.certificate and found.certificate.stein is not None
    assert found.theory.loss == pytest.approx(expected.theory.loss, abs=1e-9)
    assert found.recipe == expected.recipe and found.points.rule == expected.points.rule
    assert found.summary["faults"] == []


def test_summary_says_where_it_lies_even_after_the_folder_was_moved(finished, copied):
    assert finished.summary["run_dir"] == str(finished.folder.absolute())
    assert copied.summary["run_dir"] == str(copied.folder.absolute())
    document = json.loads((finished.folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert document["schema"] == "mft-lab/summary/1"
    assert document["comparison"]["verdict"] == finished.outcome.comparison.verdict


def test_provenance_names_versions_device_and_command(finished):
    found = finished.provenance
    assert found["versions"]["torch"] == torch.__version__
    assert found["device"] == "cpu" and found["digest"] == small().digest
    assert found["command"] and found["created"].endswith("+00:00")


def test_folders_are_readable_unique_and_safe(tmp_path):
    recipe = small(seed=7).replace({"name": "my / strange ../ name é"})
    folders = [Run.create(tmp_path, recipe).folder for _ in range(3)]
    assert [f.parent for f in folders] == [tmp_path] * 3
    assert [f.name for f in folders] == [f"my-strange-..-name-seed7{end}" for end in ("", "-2", "-3")]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "may not be written"),
        (errno.EROFS, "may not be written"),
        (errno.ENOSPC, "No space is left"),
        (errno.ENAMETOOLONG, "cannot be written"),
    ],
)
def test_a_folder_that_refuses_is_said_before_anything_is_computed(tmp_path, monkeypatch, number, words):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    def compute(*args):
        pytest.fail("computed before the folder was proved writable")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(runs, "_train", compute)
    with pytest.raises(RunError, match=words) as caught:
        run_stored(small(), tmp_path / "out")
    assert str(tmp_path / "out") in str(caught.value) and "--out" in str(caught.value)


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file where a folder is needed"):
        run_stored(small(), tmp_path / "file")
    with pytest.raises(RunError, match="a file where a folder is needed"):
        run_stored(small(), tmp_path / "file" / "deeper")


def test_a_disk_without_room_is_said_with_both_sizes(tmp_path, monkeypatch):
    usage = run_folder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda path: usage._replace(free=3_000_000))
    with pytest.raises(RunError, match="has 3 MB free and this run may need 20 MB"):
        Run.create(tmp_path, small())
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    storage.write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="No space"):
        storage.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_is_flushed_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (order.append("flush"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), rename(a, b)))
    storage.write_atomically(tmp_path / "file", b"data")
    assert order == ["flush", "rename", "flush"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit_of_the_largest_array(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if path.suffix == ".h5":
        found = []
        with h5py.File(path, "r") as file:
            file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
            place = max(found, key=lambda item: item.nbytes).id.get_chunk_info(0).byte_offset
    else:
        place = len(data) - 100
    data[place + 5] ^= 16
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit_of_the_largest_array, Path.unlink])
@pytest.mark.parametrize(
    ("name", "lost"),
    [("metrics.h5", "metrics"), ("snapshots.h5", "snapshots"), ("result.h5", "foreground")],
)
def test_a_damaged_file_costs_what_is_in_it_and_is_named(finished, copied, damage, name, lost):
    damage(copied.folder / name)
    found, whole = load(copied.folder), finished.outcome
    np.testing.assert_array_equal(found.background.theta, whole.background.theta)
    # Without result.h5 the checkpoint tells it all again, except for the foreground.
    for part in {"metrics", "snapshots"} - {lost}:
        assert len(getattr(found, part)) == len(getattr(whole, part)) > 0
    assert not len(getattr(found, lost)) if lost != "foreground" else found.foreground is None
    is_named = any(name in fault for fault in found.summary["faults"])
    assert is_named or (damage is Path.unlink and name == "result.h5")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit_of_the_largest_array])
def test_a_damaged_checkpoint_is_noticed(copied, damage):
    damage(copied.folder / "checkpoint.safetensors")
    assert copied.read_checkpoint() is None
    assert "checkpoint.safetensors is damaged" in copied.faults[0]
    assert load(copied.folder).foreground is not None


@pytest.mark.parametrize("text", ["", "name = [", 'surprise = "field"'])
def test_an_unreadable_recipe_is_found_in_the_other_files(finished, copied, text):
    (copied.folder / "recipe.toml").write_text(text)
    assert copied.recipe == finished.recipe
    (copied.folder / "result.h5").unlink()
    assert copied.recipe == finished.recipe
    (copied.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="no readable recipe"):
        _ = copied.recipe


def test_a_damaged_summary_or_provenance_leaves_the_numbers(copied):
    (copied.folder / "summary.json").write_text("[1, 2")
    (copied.folder / "provenance.json").write_text("[1, 2]")
    found = load(copied.folder)
    assert found.comparison is not None and "summary.json" in found.summary["faults"][0]
    (row,) = list_runs(copied.folder.parent)
    assert (row["state"], row["recipe"], row["created"]) == ("interrupted", "clover", None)


def test_nothing_in_a_run_is_a_pickle(finished):
    for path in finished.folder.iterdir():
        if path.name == ".lock":
            assert path.stat().st_size == 0
            continue
        assert path.suffix in {".toml", ".json", ".h5", ".safetensors"}
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(lambda _, item: assert_plain(item))


def assert_plain(item: h5py.Dataset | h5py.Group) -> None:
    assert not isinstance(item, h5py.Dataset) or item.dtype.kind in "fi"


def test_runs_are_listed_newest_first_with_damaged_ones(tmp_path, finished):
    folders = [Run.create(tmp_path, small(seed=seed)).folder for seed in (1, 2)]
    for age, folder in enumerate(folders):
        os.utime(folder / "recipe.toml", (1e9 + age, 1e9 + age))
    (folders[0] / "recipe.toml").write_text("name = [")
    os.utime(folders[0] / "recipe.toml", (1e9, 1e9))
    (tmp_path / "unrelated").mkdir()
    rows = list_runs(tmp_path)
    assert [(row["seed"], row["state"]) for row in rows] == [(2, "interrupted"), (None, "damaged")]
    assert "no readable recipe" in rows[1]["fault"]
    assert list_runs(tmp_path / "missing") == []
    (row,) = list_runs(finished.folder)
    assert row["verdict"] == finished.summary["comparison"]["verdict"] and row["state"] == "complete"


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(RunError, match="no run in"):
        load(tmp_path)


def stopped_at(fraction: float, error: BaseException):
    """A report that raises once training has come so far."""

    def report(part: str, done: float, text: str) -> None:
        if part != "train" or done >= fraction:
            raise error

    return report


@pytest.mark.parametrize("fraction", [0.3, 1.0, 2.0])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(finished, tmp_path, fraction):
    with pytest.raises(KeyboardInterrupt):
        run_stored(small(), tmp_path, report=stopped_at(fraction, KeyboardInterrupt()))
    (row,) = list_runs(tmp_path)
    assert row["state"] == "interrupted"
    seen = load(row["path"])
    assert 0 < seen.metrics["step"][-1] and seen.foreground is None
    resumed = run_stored(small(), tmp_path, resume=True)
    assert [str(resumed.folder)] == [row["path"] for row in list_runs(tmp_path)]
    for name in ("background", "foreground"):
        assert torch.equal(getattr(resumed, name).theta, getattr(finished, name).theta)
    one, other = resumed.outcome, finished.outcome
    np.testing.assert_array_equal(one.comparison.null, other.comparison.null)
    np.testing.assert_array_equal(one.snapshots, other.snapshots)
    np.testing.assert_array_equal(one.metrics["loss"], other.metrics["loss"])


def test_resume_starts_where_there_is_nothing_and_returns_what_is_finished(tmp_path):
    first = run_stored(small(), tmp_path, resume=True)
    stamp = (first.folder / "summary.json").stat().st_mtime_ns
    again = run_stored(small(), tmp_path, resume=True)
    assert again.folder == first.folder and (again.folder / "summary.json").stat().st_mtime_ns == stamp
    other = run_stored(small(seed=1), tmp_path, resume=True)
    assert other.folder != first.folder


KILLED = """
import sys
from mft_engine.runs import runs
from mft_engine.recipe import load_recipe
runs.CHECKPOINT_SECONDS = 0.0
recipe = load_recipe("clover").replace({"network.n_neurons": 64, "training.time": 1000.0, "engine.n_threads": 1})
runs.run_stored(recipe, sys.argv[1])
"""


def test_a_killed_run_opens_and_shows_what_it_has(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/checkpoint.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (row,) = list_runs(tmp_path)
    outcome = load(row["path"])
    assert outcome.metrics["step"][-1] >= 50 and len(outcome.snapshots) > 0
    assert outcome.background.theta.shape == (64, 3) and outcome.foreground is None
    assert not np.array_equal(outcome.background.theta, outcome.initial_theta)
    assert outcome.summary["background"]["is_complete"] is False


def test_a_run_killed_before_its_first_checkpoint_shows_its_start(tmp_path):
    stored = Run.create(tmp_path, small())
    np.testing.assert_array_equal(stored.outcome.background.theta, Experiment(small()).background.initial_theta)


def test_what_a_killed_process_left_half_written_is_cleared_on_resume(tmp_path):
    stored = Run.create(tmp_path, small())
    litter = stored.folder / ".result.h5.123.part"
    litter.write_bytes(b"half")
    run_stored(small(), stored.folder, resume=True)
    assert not litter.exists() and stored.is_complete


def test_a_run_that_fails_keeps_its_last_state_and_its_reason(tmp_path):
    with pytest.raises(ArithmeticError, match="out of its mind"):
        run_stored(small(), tmp_path, report=stopped_at(0.5, ArithmeticError("out of its mind")))
    (row,) = list_runs(tmp_path)
    assert (row["state"], row["fault"]) == ("failed", "out of its mind")
    assert load(row["path"]).metrics["step"][-1] > 0
    # A failure would only repeat itself: resuming makes a new run.
    assert str(run_stored(small(), tmp_path, resume=True).folder) != row["path"]


def test_a_checkpoint_keeps_every_bit_of_arrays_and_numbers(tmp_path):
    experiment = Experiment(small())
    experiment.advance(75)
    stored = Run.create(tmp_path, small())
    stored.save_checkpoint(*checkpoint.pack(experiment))
    arrays, numbers = stored.read_checkpoint()
    expected_arrays, expected_numbers = checkpoint.pack(experiment)
    assert numbers == expected_numbers
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == expected_arrays[name].dtype
        np.testing.assert_array_equal(array, expected_arrays[name])


def test_a_run_of_three_neurons_is_stored_and_told_without_a_verdict(tmp_path):
    run = run_stored(small(**{"network.n_neurons": 3, "foreground.n_neurons": 3, "training.n_steps": 60}), tmp_path)
    assert run.is_complete and run.summary["comparison"]["verdict"] is None
    assert "too few for a verdict" in run.summary["comparison"]["why"]
    assert load(run.folder).comparison.why == run.summary["comparison"]["why"]
