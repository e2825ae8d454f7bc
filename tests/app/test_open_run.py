"""A stored run in the window: shown as it was, and going on to the same bits as if nobody had stopped it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PySide6.QtWidgets import QApplication

from app.application import stored_run
from app.logs import LogBuffer
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.window import MainWindow
from mft_engine.device import to_host
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs.folder import CHECKPOINT
from mft_engine.runs.runs import run_stored

SMALL = {
    "foreground.n_neurons": 32,
    "comparison.n_permutations": 99,
    "training.n_steps": 200,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}
RECIPES = {
    "clover": {"network.n_neurons": 48},
    "continuous-xor": {"network.n_neurons": [16, 16]},
}


def recipe_of(name: str) -> Recipe:
    return load_recipe(name).replace(SMALL | RECIPES[name])


@pytest.fixture
def open_window(themes: ThemeKeeper, tmp_path: Path, qtbot: Any) -> Iterator[Callable[[Path], MainWindow]]:
    """A window on the real engine that is started with a run folder, as `mft-lab gui RUN` does."""
    windows: list[MainWindow] = []
    log = LogBuffer()

    def open_it(folder: Path) -> MainWindow:
        session = Session(load_recipe(folder), origin=stored_run(str(folder)), is_threaded=False)
        window = MainWindow(session, Settings(tmp_path / "state"), themes, log)
        windows.append(window)
        window.resize(1280, 720)
        window.show()
        with qtbot.waitSignal(session.snapshot_ready, timeout=60_000):
            session.start()
        return window

    yield open_it
    for window in windows:
        window.close()
        window.deleteLater()
    log.close()
    QApplication.processEvents()


def steps_on(window: MainWindow, qtbot: Any, n_steps: int) -> tuple[np.ndarray, ...]:
    """Do some steps, one by one, and return the neurons of every layer."""
    for _ in range(n_steps):
        with qtbot.waitSignal(window.session.snapshot_ready, timeout=20_000) as told:
            window.session.step()
    return tuple(cloud.theta for cloud in told.args[0].clouds)


@pytest.mark.parametrize("name", RECIPES)
def test_a_complete_run_is_shown_as_it_was_and_goes_on_to_the_same_bits(
    name: str, open_window: Callable[[Path], MainWindow], tmp_path: Path, qtbot: Any
) -> None:
    stored = run_stored(recipe_of(name), tmp_path / "runs")
    window = open_window(stored.folder)
    outcome = stored.outcome
    assert outcome.foreground is not None
    assert f"step {stored.summary['background']['n_steps']:,}" in window.status_line.run.text()
    assert window.self_consistency.card.state == (outcome.comparisons[0].verdict or "none")
    keeper = window.clouds.layers
    for layer, (was, fresh) in enumerate(zip(outcome.background.clouds, outcome.foreground.clouds, strict=True)):
        keeper.pick(layer)
        assert len(window.cloud.layers["background"].x) == len(was.theta)
        assert len(window.cloud.layers["foreground"].x) == len(fresh.theta)
        assert np.array_equal(keeper.background[layer].theta, was.theta.astype(np.float32))
        assert np.array_equal(keeper.foreground[layer].theta, fresh.theta.astype(np.float32))
    with qtbot.waitSignal(window.session.metrics_ready, timeout=5_000) as curves:
        window.session.step()
    assert np.array_equal(curves.args[0].columns["loss"][: len(outcome.metrics["loss"])], outcome.metrics["loss"])
    assert len(curves.args[0].stored_times) >= len(outcome.snapshots)
    going_on = steps_on(window, qtbot, 2)
    uninterrupted = Experiment(recipe_of(name))
    uninterrupted.advance(10**6)
    uninterrupted.advance(3, beyond=True)
    for mine, theirs in zip(going_on, uninterrupted.snapshot().clouds, strict=True):
        assert np.array_equal(mine, theirs.theta)


def test_a_run_that_was_interrupted_stands_where_it_stopped_and_play_goes_on(
    open_window: Callable[[Path], MainWindow], tmp_path: Path, qtbot: Any
) -> None:
    def stop(part: str, done: float, text: str) -> None:
        if done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stored(recipe_of("clover"), tmp_path / "runs", report=stop)
    (folder,) = (tmp_path / "runs").iterdir()
    window = open_window(folder)
    assert "step 0 " not in window.status_line.run.text() and window.self_consistency.card.state == "none"
    with qtbot.waitSignal(window.session.recipe_complete, timeout=20_000):
        window.session.play()
    window.session.pause()
    with qtbot.waitSignal(window.session.snapshot_ready, timeout=20_000) as told:
        window.session.step()
    uninterrupted = Experiment(recipe_of("clover"))
    n_steps = uninterrupted.advance(10**6)
    uninterrupted.advance(told.args[0].step - n_steps, beyond=True)
    assert np.array_equal(told.args[0].theta, uninterrupted.snapshot().theta)


def test_a_run_without_its_checkpoint_begins_anew_and_says_so(
    open_window: Callable[[Path], MainWindow], tmp_path: Path, qtbot: Any
) -> None:
    stored = run_stored(recipe_of("clover"), tmp_path / "runs")
    (stored.folder / CHECKPOINT).unlink()
    window = open_window(stored.folder)
    qtbot.waitUntil(lambda: "training begins again at step 0" in window.status_line.sentence.text())
    assert "step 0 " in window.status_line.run.text() and window.self_consistency.card.state == "none"


def test_opening_a_run_over_another_experiment_can_be_undone_and_reset_starts_from_its_beginning(
    make_session: Callable[..., Session], engine: FakeEngine, tmp_path: Path, qtbot: Any
) -> None:
    session = make_session()
    session.snapshot_ready.connect(session.frame_drawn)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    before = session.recipe
    other = before.replace({"seed": 7})
    with qtbot.waitSignals([session.experiment_changed, session.comparison_ready, session.certificate_ready]):
        session.open_run(tmp_path / "other-250", other)
    steps = [experiment.state.step for experiment in engine.experiments]
    assert steps == [0, 250] and session.recipe == other
    with qtbot.waitSignal(session.experiment_changed) as back:
        session.undo_stack.undo()
    assert back.args[0].is_restored and session.recipe == before
    with qtbot.waitSignal(session.experiment_changed) as again:
        session.undo_stack.redo()
    assert again.args[0].step == 250
    with qtbot.waitSignal(session.experiment_changed) as fresh:
        session.reset()
    assert fresh.args[0].step == 0


def test_the_same_recipe_opened_from_a_folder_takes_the_folders_neurons(
    make_session: Callable[..., Session], tmp_path: Path, qtbot: Any
) -> None:
    session = make_session()
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    with qtbot.waitSignal(session.experiment_changed) as opened:
        session.open_run(tmp_path / "same-120", session.recipe)
    assert opened.args[0].step == 120


def test_an_experiment_taken_back_has_the_runs_own_bits(tmp_path: Path) -> None:
    from mft_engine.runs.restore import restore

    stored = run_stored(recipe_of("clover"), tmp_path)
    restored = restore(stored.folder)
    theta = to_host(restored.experiment.state.theta)
    assert np.array_equal(theta, stored.outcome.background.theta)
    assert restored.faults == () and restored.comparison is not None
    assert restored.comparison.comparisons[0].p_value == stored.outcome.comparisons[0].p_value


def test_a_run_that_went_on_after_its_recipe_is_marked_complete_where_the_recipe_ended(tmp_path: Path) -> None:
    from app.engine.hand import Hand
    from mft_engine.runs.keeping import Keeper
    from mft_engine.runs.restore import restore

    recipe = recipe_of("clover").replace({"training.n_steps": 0, "training.time": 0.3})
    experiment = Experiment(recipe)
    experiment.advance(10**6)
    end = experiment.state.step
    experiment.advance(500, beyond=True)
    keeper = Keeper(tmp_path)
    folder = keeper.keep(experiment, recipe, None).result()
    keeper.close()
    hand = Hand.of_stored(restore(folder), recipe, "cpu")
    assert hand.end is not None and hand.end[1] == 0.3
    # Records are 50 steps apart, and between them time is interpolated; the step may have changed once.
    assert abs(hand.end[0] - end) <= 50
