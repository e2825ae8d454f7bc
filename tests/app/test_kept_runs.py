"""Nothing that was trained in the window is lost: runs keep themselves, and the next start shows where they stood."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine

from app.application import last_run, stored_run
from app.engine import keeping
from app.session import Session
from app.settings import Settings
from mft_engine.device import to_host
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs import keeping as store_keeping
from mft_engine.runs.keeping import Keeper
from mft_engine.runs.restore import restore

MakeSession = Callable[..., Session]
SMALL = {
    "network.n_neurons": 48,
    "foreground.n_neurons": 32,
    "comparison.n_permutations": 99,
    "training.n_steps": 400,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs are written as soon as they have moved."""
    monkeypatch.setattr(keeping, "KEEP_SECONDS", 0.0)
    yield


def test_a_run_is_written_while_it_trains_at_its_verdict_and_at_close(
    make_session: MakeSession, engine: FakeEngine, often: None, tmp_path: Path, qtbot: Any
) -> None:
    session = make_session(store=tmp_path)
    session.snapshot_ready.connect(session.frame_drawn)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    (keeper,) = engine.keepers
    assert keeper.kept == [] and session.kept_folder is None  # nothing was trained yet
    with qtbot.waitSignal(session.run_kept) as first:
        session.play()
    session.pause()
    with qtbot.waitSignal(session.certificate_ready):
        session.resample()
    qtbot.waitUntil(lambda: any(has_answers for _, _, has_answers in keeper.kept))
    session.step()
    step = engine.experiments[0].state.step + 1
    qtbot.waitUntil(lambda: engine.experiments[0].state.step == step)
    assert session.close()
    assert keeper.is_closed and keeper.kept[-1][1] == step
    assert {folder for folder, _, _ in keeper.kept} == {first.args[0]} == {session.kept_folder}


def test_a_verdict_is_kept_by_who_closes_before_its_certificate_is_there(
    make_session: MakeSession, engine: FakeEngine, tmp_path: Path, qtbot: Any
) -> None:
    session = make_session(store=tmp_path)
    session.snapshot_ready.connect(session.frame_drawn)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    session.step()
    seen: list[object] = []
    session.certificate_ready.connect(seen.append)
    session.comparison_ready.connect(lambda _: session.close())
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()
    (keeper,) = engine.keepers
    assert seen == [] and keeper.is_closed
    assert [has_answers for _, _, has_answers in keeper.kept] == [True]


def test_an_experiment_that_is_laid_aside_is_written_and_a_reset_begins_another_run(
    make_session: MakeSession, engine: FakeEngine, tmp_path: Path, qtbot: Any
) -> None:
    session = make_session(store=tmp_path)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    session.step()
    qtbot.waitUntil(lambda: engine.experiments[0].state.step == 1)
    with qtbot.waitSignal(session.experiment_changed) as built:
        session.edit("seed", 9)
    assert built.args[0].folder is None
    (keeper,) = engine.keepers
    assert [(step, answers) for _, step, answers in keeper.kept] == [(1, False)]


def test_a_run_that_cannot_be_written_is_one_sentence_and_training_goes_on(
    make_session: MakeSession, engine: FakeEngine, often: None, tmp_path: Path, qtbot: Any
) -> None:
    session = make_session(store=tmp_path)
    session.snapshot_ready.connect(session.frame_drawn)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    engine.keepers[0].fault = "the disk is full"
    said: list[str] = []
    session.status.connect(said.append)
    session.play()
    qtbot.waitUntil(lambda: engine.experiments[0].state.step > 500)
    session.pause()
    assert [sentence for sentence in said if "cannot be kept" in sentence] == [
        "This run cannot be kept: the disk is full"
    ]


def test_a_kept_run_with_changes_on_the_way_goes_on_to_the_same_bits(
    make_session: MakeSession, often: None, tmp_path: Path, qtbot: Any
) -> None:
    from app.engine.loading import load_engine

    session = make_session(load_recipe("clover").replace(SMALL), load=load_engine, store=tmp_path)
    session.snapshot_ready.connect(session.frame_drawn)
    with qtbot.waitSignal(session.snapshot_ready, timeout=60_000):
        session.start()
    with qtbot.waitSignal(session.run_kept, timeout=20_000):
        session.play()
    with qtbot.waitSignal(session.retuned, timeout=20_000):
        session.edit("regularisation.scale", 0.003)
    with qtbot.waitSignal(session.run_kept, timeout=20_000):
        pass
    session.pause()
    assert session.close() and session.kept_folder is not None
    kept = restore(session.kept_folder).experiment
    uninterrupted = Experiment(load_recipe(session.kept_folder))
    uninterrupted.advance(kept.state.step, beyond=True)
    assert kept.recipe.regularisation.scale == uninterrupted.recipe.regularisation.scale == 0.003
    for experiment in (kept, uninterrupted):
        experiment.advance(150, beyond=True)
    assert np.array_equal(to_host(kept.state.theta), to_host(uninterrupted.state.theta))
    assert kept.state.average_age == uninterrupted.state.average_age


def test_a_run_from_elsewhere_is_never_written_to_and_the_oldest_kept_runs_go_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_keeping, "MOST_KEPT", 3)
    recipe = load_recipe("clover").replace(SMALL)
    elsewhere = tmp_path / "runs" / "mine"
    elsewhere.mkdir(parents=True)
    (elsewhere / "recipe.toml").write_text(recipe.to_toml())
    experiment = Experiment(recipe)
    experiment.advance(50)
    keeper = Keeper(tmp_path / "kept")
    first = keeper.keep(experiment, recipe, elsewhere).result()
    assert first.parent == tmp_path / "kept" and sorted(p.name for p in elsewhere.iterdir()) == ["recipe.toml"]
    assert keeper.keep(experiment, recipe, first).result() == first
    second = keeper.keep(experiment, recipe.replace({"name": "second"}), None).result()
    for folder, age in ((first, 2), (second, 1)):
        os.utime(folder / "recipe.toml", (1_000_000_000 - age, 1_000_000_000 - age))
    keeper.close()
    # The next start begins two more runs: of four the oldest goes, and none that is in hand.
    keeper = Keeper(tmp_path / "kept")
    new = [keeper.keep(experiment, recipe.replace({"name": name}), None).result() for name in ("third", "fourth")]
    keeper.close()
    assert not first.exists() and all(folder.exists() for folder in (second, *new))


def test_the_oldest_runs_of_a_window_that_stays_open_go_away_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an hour of use 195 runs were kept of which 100 should have been: each counted as in hand."""
    monkeypatch.setattr(store_keeping, "MOST_KEPT", 3)
    monkeypatch.setattr(store_keeping, "MOST_IN_HAND", 2)
    recipe = load_recipe("clover").replace(SMALL)
    experiment = Experiment(recipe)
    experiment.advance(20)
    keeper = Keeper(tmp_path)
    folders = [keeper.keep(experiment, recipe.replace({"name": f"n{i}"}), None).result() for i in range(8)]
    there = [folder for folder in folders if folder.exists()]
    assert len(there) <= 4 and set(folders[-3:]) <= set(there)
    # The one that is written again is in hand again.
    assert keeper.keep(experiment, recipe, there[0]).result() == there[0] and (there[0] / "owner").exists()
    keeper.close()
    assert not list(tmp_path.rglob("owner"))


def test_a_run_that_another_window_keeps_is_left_to_it_and_one_of_a_killed_window_goes_on(tmp_path: Path) -> None:
    recipe = load_recipe("clover").replace(SMALL)
    experiment = Experiment(recipe)
    experiment.advance(50)
    keeper = Keeper(tmp_path)
    folder = keeper.keep(experiment, recipe, None).result()
    keeper.close()
    assert not (folder / "owner").exists()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (folder / "owner").write_text(str(other.pid))
    keeper = Keeper(tmp_path)
    assert keeper.keep(experiment, recipe, folder).result() != folder
    other.kill()
    other.communicate()
    assert keeper.keep(experiment, recipe, folder).result() == folder
    keeper.close()


def test_settings_remember_the_run_on_the_screen_and_a_run_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    folder = tmp_path / "run"
    settings.save_run(folder)
    assert settings.last_run is None
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe().to_toml())
    assert Settings(tmp_path).last_run == folder and last_run(folder) == str(folder)
    assert stored_run(str(folder)) == folder.resolve()
    (folder / "recipe.toml").write_text("no recipe at all")
    assert last_run(folder) is None and last_run(None) is None
    settings.save_run(None)
    assert Settings(tmp_path).last_run is None


def test_after_kill_nine_the_next_start_shows_the_run_where_it_stood(tmp_path: Path) -> None:
    start = (
        "import sys; import app.engine.keeping as k; k.KEEP_SECONDS = 0.2; "
        "from app.application import main; sys.exit(main({arguments}))"
    )
    environment = os.environ | dict.fromkeys(("XDG_STATE_HOME", "XDG_DATA_HOME", "HOME"), str(tmp_path))
    command = [sys.executable, "-c", start.format(arguments="'clover-warm', play=True, quit_after=200")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    settings = tmp_path / "mft-lab" / "window.json"
    try:
        for _ in range(2400):
            if settings.exists() and '"run": "/' in settings.read_text(encoding="utf-8"):
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    folder = Settings(tmp_path / "mft-lab").last_run
    assert folder is not None
    step = restore(folder).experiment.state.step
    assert step > 0
    command[2] = start.format(arguments="None, quit_after=4")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    # Nothing was trained in the second start: the same run, at the same step, is still the one on the screen.
    assert Settings(tmp_path / "mft-lab").last_run == folder
    assert restore(folder).experiment.state.step == step
