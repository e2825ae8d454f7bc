"""Claims about lists of many runs: what a row says, what is remembered, marks, trash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs import index, trash
from mft_engine.runs import keeping as store_keeping
from mft_engine.runs.folder import Run
from mft_engine.runs.index import INDEX, RunRow, loss_curve, read_index, read_row
from mft_engine.runs.keeping import Keeper
from mft_engine.runs.lock import working_alone
from mft_engine.runs.marks import MARKS, Marks, read_marks, tags_of, write_marks
from mft_engine.runs.runs import run_stored


def small(**changes: object) -> Recipe:
    values = {
        "network.n_neurons": 32,
        "foreground.n_neurons": 32,
        "comparison.n_permutations": 99,
        "training.n_steps": 200,
        "engine.n_threads": 1,
        "engine.device": "cpu",
    }
    return load_recipe("clover").replace(values | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_stored(small(), tmp_path_factory.mktemp("runs"))


def rows_of(store: Path) -> dict[str, RunRow]:
    return {row.folder.name: row for batch in read_index(store) for row in batch}


def test_a_row_says_what_the_summary_says(finished: Run) -> None:
    row = read_row(finished.folder)
    summary = finished.summary
    assert (row.step, row.loss) == (200, summary["background"]["loss"])
    assert (row.verdict, row.p_value) == (summary["comparison"]["verdict"], summary["comparison"]["p_value"])
    assert (row.recipe, row.task, row.seed, row.n_neurons, row.state) == ("clover", "product", 0, (32,), "complete")
    assert row.title == finished.folder.name and row.digest == finished.recipe.digest


def test_a_run_that_was_never_compared_shows_step_and_loss_of_its_checkpoint(tmp_path: Path) -> None:
    experiment = Experiment(small())
    experiment.advance(150)
    keeper = Keeper(tmp_path)
    folder = keeper.keep(experiment, small(), None).result()
    keeper.close()
    row = read_row(folder)
    assert (row.step, row.state, row.verdict) == (150, "interrupted", None)
    times, losses = loss_curve(folder)
    assert row.loss == losses[-1] and np.array_equal(losses, experiment.metrics()["loss"])
    assert np.array_equal(times, experiment.metrics()["time"])


def test_a_run_trained_beyond_its_verdict_has_the_later_loss_and_no_verdict(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    shutil.copytree(finished.folder, folder)
    later = time.time() + 10
    os.utime(folder / "checkpoint.safetensors", (later, later))
    row = read_row(folder)
    assert row.verdict is None and row.loss == loss_curve(folder)[1][-1]


def test_what_is_remembered_is_read_again_only_where_a_file_changed(
    tmp_path: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(finished.folder, tmp_path / name)
    assert set(rows_of(tmp_path)) == {"a", "b", "c"}
    read: list[str] = []
    monkeypatch.setattr(index, "read_row", lambda folder: read.append(folder.name) or read_row(folder))
    assert len(next(read_index(tmp_path))) == 3 and read == []
    write_marks(tmp_path / "b", Marks(name="the best"))
    shutil.rmtree(tmp_path / "c")
    rows = rows_of(tmp_path)
    assert read == ["b"] and set(rows) == {"a", "b"} and rows["b"].title == "the best"
    assert set(json.loads((tmp_path / INDEX).read_text())) == {"a", "b"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"signature": [], "row": {}}}', b"\xff\xfe"]
)
def test_a_broken_memory_of_a_store_is_read_anew(content: bytes, finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "a")
    (tmp_path / INDEX).write_bytes(content)
    assert rows_of(tmp_path)["a"].recipe == "clover"
    assert set(json.loads((tmp_path / INDEX).read_text())) == {"a"}


def test_a_moved_store_shows_its_runs_where_they_are_now(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "old" / "a")
    rows_of(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert rows_of(tmp_path / "new")["a"].folder == tmp_path / "new" / "a"
    assert rows_of(tmp_path / "nowhere") == {}


def test_a_damaged_run_is_a_row_with_a_sentence_and_hides_no_other(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "recipe.toml").write_text("no recipe at all")
    rows = rows_of(tmp_path)
    assert rows["good"].state == "complete"
    assert rows["bad"].state == "damaged" and "no readable recipe" in (rows["bad"].fault or "")


def test_marks_come_back_as_they_were_written_and_empty_ones_leave_no_file(tmp_path: Path) -> None:
    marks = Marks(name="Kleeblatt ☘", tags=("paper", "seed-3"), note="looks\nround")
    write_marks(tmp_path, marks)
    assert read_marks(tmp_path) == marks
    write_marks(tmp_path, Marks())
    assert not (tmp_path / MARKS).exists() and read_marks(tmp_path).is_empty
    (tmp_path / MARKS).write_text('{"tags": 3}')
    assert read_marks(tmp_path).is_empty
    assert tags_of(" #paper, seed-3;paper  round") == ("paper", "seed-3", "round")
    with pytest.raises(RunError, match="gone"):
        write_marks(tmp_path / "gone", marks)


def test_the_trash_gives_runs_back_and_forgets_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe().to_toml())
    place = trash.throw_away(folder)
    assert not folder.exists() and rows_of(tmp_path) == {}
    trash.take_back(place, folder)
    assert set(rows_of(tmp_path)) == {"run"}
    place = trash.throw_away(folder)
    folder.mkdir()
    with pytest.raises(RunError, match="another run has its place"):
        trash.take_back(place, folder)
    assert trash.throw_away(folder).name == "run-2"
    assert trash.empty(tmp_path) == 0
    long_ago = time.time() - 86_400 * (trash.KEPT_DAYS + 1)
    os.utime(place, (long_ago, long_ago))
    assert trash.empty(tmp_path) == 1
    with pytest.raises(RunError, match="not in the trash any more"):
        trash.take_back(place, tmp_path / "elsewhere")


def test_a_run_that_somebody_is_at_work_on_is_not_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(Recipe().to_toml())
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "owner").write_text(str(other.pid))
    with pytest.raises(RunError, match="kept by another window"):
        trash.throw_away(tmp_path)
    other.kill()
    other.communicate()
    with working_alone(tmp_path), pytest.raises(RunError, match="worked on by another program"):
        trash.throw_away(tmp_path)
    assert (tmp_path / "recipe.toml").exists()


def test_runs_with_a_name_a_tag_or_a_note_outlive_the_hundred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_keeping, "MOST_KEPT", 1)
    experiment = Experiment(small())
    keeper = Keeper(tmp_path)
    kept = []
    for k, marks in enumerate((Marks(name="mine"), Marks(tags=("paper",)), Marks(note="why?"), Marks())):
        kept.append(keeper.keep(experiment, small(name=f"run{k}"), None).result())
        write_marks(kept[-1], marks)
    keeper.close()
    keeper = Keeper(tmp_path)
    keeper.keep(experiment, small(name="last"), None).result()
    keeper.close()
    assert [folder.exists() for folder in kept] == [True, True, True, False]


def test_a_watched_training_is_a_row_among_the_runs(finished: Run, tmp_path: Path) -> None:
    import torch
    from torch import nn

    import mft_engine as mft

    shutil.copytree(finished.folder, tmp_path / "own")
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def loss() -> torch.Tensor:
        return model(torch.ones(4, 2)).square().mean()

    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], loss=loss, seed=5)
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    watch.save(tmp_path / "mine", name="a classifier")
    watch.save(tmp_path / "deep" / "layer1")
    watch.save(tmp_path / "wrong")
    document = json.loads((tmp_path / "wrong" / "watched.json").read_text())
    (tmp_path / "wrong" / "watched.json").write_text(json.dumps({**document, "seed": "five"}))
    for _ in range(2):  # read, then remembered
        rows = rows_of(tmp_path)
        assert rows.keys() == {"own", "mine", "layer1", "wrong"}
        row, found = rows["mine"], watch.compare()
        assert (row.title, row.recipe, row.state) == (
            "a classifier",
            "Linear(2, 16) -> Tanh -> Linear(16, 1)",
            "watched",
        )
        assert (row.seed, row.step, row.n_neurons) == (5, 3, (16,))
        assert (row.verdict, row.p_value) == (found.verdict, found.p_value_all)
        assert row.loss == watch.exchanges[-1].network and rows["layer1"].folder == tmp_path / "deep" / "layer1"
        assert rows["wrong"].state == "damaged" and "numbers" in str(rows["wrong"].fault)
    times, losses = loss_curve(tmp_path / "mine")
    assert times.tolist() == [0, 1, 2, 3] and losses[-1] == row.loss
    write_marks(tmp_path / "mine", Marks(name="another"))
    assert rows_of(tmp_path)["mine"].title == "another"
