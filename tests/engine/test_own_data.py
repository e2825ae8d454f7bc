"""Claims about runs that learn from a file: its content counts, it is kept with the run, and it is never mixed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mft_engine.figures.export import export_run
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs.runs import Run, RunError, load, run_stored
from mft_engine.studies.sweep import Axis, read_table, run_sweep

SMALL = {
    "task.name": "dataset", "network.n_neurons": 24, "foreground.n_neurons": 24, "training.n_steps": 200,
    "comparison.n_permutations": 99, "engine.n_threads": 1, "engine.device": "cpu",
}  # fmt: skip


def table(path: Path, seed: int = 0) -> Path:
    x = np.random.default_rng(seed).normal(size=(30, 2))
    path.write_text("a,b,y\n" + "\n".join(f"{p},{q},{p * q}" for p, q in x))
    return path


def recipe_of(path: Path) -> Recipe:
    return load_recipe("clover").replace(SMALL | {"task.path": str(path)})


def interrupted(recipe: Recipe, parent: Path) -> Run:
    def stop(part: str, done: float, text: str) -> None:
        if part == "train" and done > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stored(recipe, parent, report=stop)
    return Run(next(path for path in parent.iterdir() if path.name != ".data"))


def test_the_digest_follows_the_content_and_not_the_place_of_the_data(tmp_path):
    recipe = recipe_of(table(tmp_path / "one.csv"))
    before, background = recipe.digest, recipe.background_digest
    moved = recipe_of(Path(shutil.copy(tmp_path / "one.csv", tmp_path / "two.csv")))
    assert moved.digest == before and moved.background_digest == background
    table(tmp_path / "one.csv", seed=1)
    assert recipe.digest != before and recipe.background_digest != background


def test_a_relative_path_is_relative_to_the_recipes_file_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    path = table(tmp_path / "project" / "points.csv")
    text = recipe_of(path).to_toml().replace(str(path), "points.csv")
    (tmp_path / "project" / "mine.toml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_recipe(tmp_path / "project" / "mine.toml").data_path == str(path)
    monkeypatch.chdir(tmp_path / "project")
    assert load_recipe("mine.toml").data_path == str(path)


def test_resume_refuses_in_a_sentence_where_the_data_have_changed(tmp_path):
    """It went on with other points: exit 0, no word, foreground loss 50,632."""
    path = table(tmp_path / "points.csv")
    recipe = recipe_of(path)
    whole = run_stored(recipe, tmp_path / "whole")
    stopped = interrupted(recipe, tmp_path / "out")
    table(path, seed=1)
    with pytest.raises(RunError, match=r"points\.csv has changed since .* was begun.*name the run itself"):
        run_stored(recipe, tmp_path / "out", resume=True)
    # Each of the three remedies works: the run's own copy ...
    again = run_stored(load_recipe(stopped.folder), stopped.folder, resume=True)
    np.testing.assert_array_equal(again.background.theta, whole.background.theta)
    # ... the old file put back (a copy of it is in the run) ...
    shutil.copy(load_recipe(stopped.folder).data_path, path)
    found = run_stored(recipe, tmp_path / "out", resume=True)
    assert found.folder == stopped.folder
    # ... and a new start.
    table(path, seed=1)
    assert run_stored(recipe, tmp_path / "out").folder != found.folder


def test_a_finished_run_needs_no_other_file(tmp_path):
    path = table(tmp_path / "points.csv")
    run = run_stored(recipe_of(path), tmp_path / "out")
    before = load(run.folder)
    path.unlink()
    moved = tmp_path / "moved"
    shutil.move(run.folder, moved)
    after = load(moved)
    assert after.summary["faults"] == [] and after.theory.loss == pytest.approx(before.theory.loss, abs=1e-12)
    files = export_run(moved, tmp_path / "figures", figures=["all"], data=["npz"])
    assert {"fields.pdf", "foreground.pdf", "clouds.npz"} <= {file.name for file in files}
    assert Run(moved).provenance["data"]["path"] == str(path)
    assert 'path = "data/points.csv"' in (moved / "recipe.toml").read_text()


def test_a_sweep_never_mixes_two_contents_of_its_data(tmp_path):
    path = table(tmp_path / "points.csv")
    axis = Axis("regularisation.scale", (0.001, 0.01))

    def change(part: str, done: float, text: str) -> None:
        table(path, seed=1)  # while it runs

    swept = run_sweep(recipe_of(path), [axis], 1, tmp_path / "s", n_workers=1, report=change)
    assert swept.n_failed == 0
    first, second = (load(folder) for folder in sorted((tmp_path / "s" / "runs").glob("*seed*")))
    np.testing.assert_array_equal(first.points.targets, second.points.targets)
    with pytest.raises(RunError, match="has changed since this sweep was begun"):
        run_sweep(recipe_of(path), [axis], 2, tmp_path / "s", n_workers=1, resume=True)
    table(path, seed=0)
    more = run_sweep(recipe_of(path), [axis], 2, tmp_path / "s", n_workers=1, resume=True)
    assert len(more.rows) == 4 and more.n_failed == 0
    copies = list((tmp_path / "s").rglob("points.csv"))
    assert len({os.stat(copy).st_ino for copy in copies}) == 1  # kept once


def test_a_digest_that_looks_like_a_number_is_read_as_text(tmp_path):
    (tmp_path / "table.csv").write_text(
        "seed,x,digest,failure\n0,1e-05,402e535387068602,\n1,0.1,1234567890123456,\n2,007,9e9,no\n"
    )
    rows = read_table(tmp_path)
    assert [row["digest"] for row in rows] == ["402e535387068602", "1234567890123456", "9e9"]
    assert [row["x"] for row in rows] == [1e-05, 0.1, "007"] and [row["seed"] for row in rows] == [0, 1, 2]
