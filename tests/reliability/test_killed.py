"""Killed without warning at random moments, any run, sweep, export or window leaves what opens and goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from test_interrupted import KINDS, assert_equal, recipe_of

from app.saved import SavedSession, read_session, write_session
from app.settings import Settings
from mft_engine.figures.export import save_animation, save_data
from mft_engine.recipe import Recipe, parse_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs import runs as stored_runs
from mft_engine.runs.runs import list_runs, load, run_stored
from mft_engine.studies.sweep import Axis, read_table, run_sweep

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")

# Kills a kind: the short suite, and with --runslow.
N_KILLS, N_KILLS_SLOW = 2, 9
N_EXPORTS, N_SAVES, N_WINDOWS = 24, 24, 16
# Prefilled, a child begins within milliseconds and may be killed early as well as late.
FORKS = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
FORKS.set_forkserver_preload(
    ["mft_engine.runs.runs", "mft_engine.studies.sweep", "mft_engine.tasks.digits", "mft_engine.figures.export"]
)
AXES = (Axis("regularisation.scale", (0.01, 0.02)), Axis("training.temperature", (0.02, 0.05, 0.1)))


def carry_out(recipe: str, folder: str, told: object = None) -> None:
    """In a process of its own: begin or go on, with a checkpoint after every slice of work."""
    stored_runs.CHECKPOINT_SECONDS = 0.0
    run_stored(parse_recipe(recipe), folder, resume=True)


def carry_out_sweep(recipe: str, folder: str) -> None:
    """A sweep in a process of its own."""
    stored_runs.CHECKPOINT_SECONDS = 0.0
    run_sweep(parse_recipe(recipe), AXES, 1, folder, n_workers=1, resume=True)


def carry_out_an_export(run: str, folder: str) -> None:
    """Clouds in every format, over and over the same files, and an animation."""
    outcome = load(run)
    while True:
        save_data(outcome, folder, ("npz", "csv", "safetensors"))
        save_animation(outcome, folder, "gif", n_pixels=64)


def save_for_ever(text: str, folder: str) -> None:
    """A session file and the settings, over and over, with other words every time."""
    settings = Settings(Path(folder))
    for number in range(10**9):
        write_session(
            Path(folder) / "desk.mftsession", SavedSession(runs_filter=text * (number % 9), front=str(number))
        )
        settings.set("theme", f"{number}")


def run_in_a_child(target, what: Recipe | str | Path, folder: Path, seconds: float | None = None) -> float:
    """Run to the end, or kill after so many seconds; returns how long the child lived."""
    told = what.to_toml() if isinstance(what, Recipe) else str(what)
    child = FORKS.Process(target=target, args=(told, str(folder)))
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
def test_a_sweep_killed_at_many_random_moments_ends_with_the_table_of_one_that_was_not(tmp_path):
    kill_and_resume_a_sweep(tmp_path, 3 * N_KILLS_SLOW)


def killed_exports(place: Path, n_kills: int) -> None:
    run = run_stored(recipe_of("langevin"), place / "runs").folder
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    whole = save_data(load(run), place / "whole", ("npz", "csv", "safetensors")) + save_animation(
        load(run), place / "whole", "gif", n_pixels=64
    )
    for moment in host_generator(2, Stream.TEST_POINTS).uniform(0, 1.0, size=n_kills):
        run_in_a_child(carry_out_an_export, run, place / "out", float(moment))
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before, "an export changed the run"
        for path in whole:
            found = place / "out" / path.name
            # Half a file under its own name would be taken for a whole one.
            assert not found.exists() or same_data(found, path), path.name
    again = save_data(load(run), place / "out", ("npz", "csv", "safetensors"))
    assert all(same_data(found, path) for found, path in zip(again, whole, strict=False))


def same_data(found: Path, path: Path) -> bool:
    if path.suffix == ".npz":  # whose entries carry the time at which they were written
        with np.load(found) as mine, np.load(path) as theirs:
            return mine.files == theirs.files and all(np.array_equal(mine[name], theirs[name]) for name in mine.files)
    if path.suffix == ".safetensors":  # whose words about the arrays come in any order
        one, other = (safetensors.numpy.load_file(file) for file in (found, path))
        return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    return found.read_bytes() == path.read_bytes()


def test_an_export_killed_at_random_moments_leaves_whole_files_and_the_run_as_it_was(tmp_path):
    killed_exports(tmp_path, N_KILLS)


@pytest.mark.slow
def test_an_export_killed_at_many_random_moments_leaves_whole_files_and_the_run_as_it_was(tmp_path):
    killed_exports(tmp_path, N_EXPORTS)


def killed_saves(place: Path, n_kills: int) -> None:
    write_session(place / "desk.mftsession", SavedSession())
    Settings(place).set("theme", "0")
    for moment in host_generator(3, Stream.TEST_POINTS).uniform(0, 0.5, size=n_kills):
        run_in_a_child(save_for_ever, "words ", place, float(moment))
        saved = read_session(place / "desk.mftsession")
        assert saved.runs_filter == "words " * (int(saved.front or 0) % 9)
        assert Settings(place).get("theme", "gone").isdigit()
    assert not (place / "window.broken.json").exists()


def test_sessions_and_settings_killed_in_the_middle_of_a_save_are_those_before_or_after(tmp_path):
    killed_saves(tmp_path, N_KILLS)


@pytest.mark.slow
def test_sessions_and_settings_killed_at_many_random_moments_are_those_before_or_after(tmp_path):
    killed_saves(tmp_path, N_SAVES)


WINDOW = """
import sys
import app.engine.keeping as keeping
keeping.KEEP_SECONDS = 0.05
from app.application import main
sys.exit(main({recipe}, play={play}, quit_after={seconds}))
"""


@pytest.mark.slow
def test_a_window_killed_while_its_run_keeps_itself_loses_nothing_that_was_written(tmp_path):
    """Copies are written all the time; every run that was written opens, and the window starts again."""
    environment = os.environ | dict.fromkeys(("XDG_STATE_HOME", "XDG_DATA_HOME", "HOME"), str(tmp_path))
    place = tmp_path / "mft-lab"
    for moment in host_generator(4, Stream.TEST_POINTS).uniform(0, 4, size=N_WINDOWS):
        n_before = len(list(place.rglob("checkpoint.safetensors")))
        recipe = "'clover-warm'" if moment < 2 else "None"  # a new run, or the last one going on
        words = [sys.executable, "-c", WINDOW.format(recipe=recipe, play=True, seconds=600)]
        window = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            end = time.time() + 120
            while time.time() < end and window.poll() is None and not is_kept(place, n_before, recipe):
                time.sleep(0.02)
            time.sleep(moment / 4)
        finally:
            window.kill()
        _, err = window.communicate()
        assert window.returncode == -signal.SIGKILL and "Traceback" not in err, err
        for row in list_runs(place / "runs" / "window"):
            assert row["fault"] is None and row["state"] in ("interrupted", "complete"), row
            assert load(row["path"]).summary["faults"] == []
        assert not (place / "window.broken.json").exists()
    words = [sys.executable, "-c", WINDOW.format(recipe="None", play=False, seconds=4)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert list_runs(place / "runs" / "window")


def is_kept(place: Path, n_before: int, recipe: str) -> bool:
    """Whether this window has written its run; one that goes on with the last run is looked at by that run's owner."""
    if recipe == "None":
        return any(place.rglob("owner"))
    return len(list(place.rglob("checkpoint.safetensors"))) > n_before


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
