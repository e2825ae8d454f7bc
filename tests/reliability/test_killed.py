"""Killed without warning at random moments, any run and any sweep opens, goes on, and ends with the same bits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_interrupted import KINDS, assert_equal, recipe_of

from mft_engine.recipe import Recipe, parse_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs import runs as stored_runs
from mft_engine.runs.runs import list_runs, load, run_stored
from mft_engine.studies.sweep import Axis, read_table, run_sweep

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")

# Kills a kind: the short suite, and with --runslow.
N_KILLS, N_KILLS_SLOW = 2, 9
# Prefilled, a child begins within milliseconds and may be killed early as well as late.
FORKS = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
FORKS.set_forkserver_preload(["mft_engine.runs.runs", "mft_engine.studies.sweep", "mft_engine.tasks.digits"])
AXES = (Axis("regularisation.scale", (0.01, 0.02)), Axis("training.temperature", (0.02, 0.05, 0.1)))


def carry_out(recipe: str, folder: str, told: object = None) -> None:
    """In a process of its own: begin or go on, with a checkpoint after every slice of work."""
    stored_runs.CHECKPOINT_SECONDS = 0.0
    run_stored(parse_recipe(recipe), folder, resume=True)


def carry_out_sweep(recipe: str, folder: str) -> None:
    """A sweep in a process of its own."""
    stored_runs.CHECKPOINT_SECONDS = 0.0
    run_sweep(parse_recipe(recipe), AXES, 1, folder, n_workers=1, resume=True)


def run_in_a_child(target, recipe: Recipe, folder: Path, seconds: float | None = None) -> float:
    """Run to the end, or kill after so many seconds; returns how long the child lived."""
    child = FORKS.Process(target=target, args=(recipe.to_toml(), str(folder)))
    start = time.perf_counter()
    child.start()
    child.join(seconds)
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    lived = time.perf_counter() - start
    code = child.exitcode
    child.close()
    assert code in (0, -signal.SIGKILL), f"the child ended with {code}"
    return lived


def kill_and_resume(kind: str, place: Path, n_kills: int, n_steps: int) -> None:
    recipe = recipe_of(kind).replace({"training.n_steps": n_steps})
    length = run_in_a_child(carry_out, recipe, place / "whole")
    (whole,) = (stored_runs.Run(path) for path in (place / "whole").iterdir())
    # Moments are random but for the machine's load the same ones every time.
    generator = host_generator(sorted(KINDS).index(kind), Stream.TEST_POINTS)
    for moment in generator.uniform(0, length, size=n_kills):
        run_in_a_child(carry_out, recipe, place / "killed", float(moment))
        for row in list_runs(place / "killed"):
            assert row["state"] in ("interrupted", "complete") and row["fault"] is None, row
            assert load(row["path"]).summary["faults"] == []
    run_in_a_child(carry_out, recipe, place / "killed")
    # A kill before the recipe was written leaves a folder without a run, which nobody takes for one.
    (row,) = list_runs(place / "killed")
    assert row["state"] == "complete"
    assert_equal(stored_runs.Run(row["path"]), whole)


@pytest.mark.parametrize("kind", ["langevin", "two hidden layers"])
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_one_that_was_not(kind, tmp_path):
    kill_and_resume(kind, tmp_path, N_KILLS, 200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_killed_at_random_moments_ends_with_the_bits_of_one_that_was_not(kind, tmp_path):
    kill_and_resume(kind, tmp_path, N_KILLS_SLOW, 1000)


def kill_and_resume_a_sweep(place: Path, n_kills: int) -> None:
    recipe = recipe_of("langevin")
    length = run_in_a_child(carry_out_sweep, recipe, place / "whole")
    for moment in host_generator(1, Stream.TEST_POINTS).uniform(0, length, size=n_kills):
        run_in_a_child(carry_out_sweep, recipe, place / "killed", float(moment))
        if (place / "killed" / "table.csv").exists():
            assert all(row["failure"] is None for row in read_table(place / "killed"))
    run_in_a_child(carry_out_sweep, recipe, place / "killed")
    clocks = ("seconds", "steps_per_second", "run_dir")
    tables = [
        [{name: value for name, value in row.items() if name.rpartition(".")[2] not in clocks} for row in rows]
        for rows in (read_table(place / "killed"), read_table(place / "whole"))
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 6


def test_a_sweep_killed_at_random_moments_ends_with_the_table_of_one_that_was_not(tmp_path):
    kill_and_resume_a_sweep(tmp_path, N_KILLS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_killed_at_many_random_moments_ends_with_the_table_of_one_that_was_not(tmp_path):
    kill_and_resume_a_sweep(tmp_path, 3 * N_KILLS_SLOW)


def test_two_programs_never_work_on_one_run(tmp_path):
    recipe = recipe_of("langevin").replace({"training.n_steps": 1000})
    run_in_a_child(carry_out, recipe, tmp_path / "whole")
    told = []

    def begin_another(part: str, fraction: float, text: str) -> None:
        if part == "train" and not told:
            with pytest.raises(stored_runs.RunError, match="another program") as refused:
                run_stored(recipe, tmp_path / "shared", resume=True)
            told.append(str(refused.value))

    first = run_stored(recipe, tmp_path / "shared", report=begin_another)
    assert told and str(first.folder) in told[0]
    (whole,) = (stored_runs.Run(path) for path in (tmp_path / "whole").iterdir())
    assert_equal(first, whole)
    assert np.isfinite(first.summary["background"]["loss"])


def test_two_programs_never_work_on_one_sweep(tmp_path):
    recipe, told = recipe_of("langevin"), []

    def begin_another(part: str, fraction: float, text: str) -> None:
        if not told:
            with pytest.raises(stored_runs.RunError, match="another program") as refused:
                run_sweep(recipe, AXES[:1], 1, tmp_path, n_workers=1, resume=True)
            told.append(str(refused.value))

    done = run_sweep(recipe, AXES[:1], 1, tmp_path, n_workers=1, report=begin_another)
    assert told and done.n_failed == 0 and len(done.rows) == 2
