"""The window and the command line give the same numbers, and what was dragged can be repeated headless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication

from app.engine.loading import TorchEngine
from app.session import Session
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.theory import solve_theory
from mft_engine.recipe import Recipe, load_recipe

SMALL = {"network.n_neurons": 128, "foreground.n_neurons": 64, "training.time": 3.0, "comparison.n_permutations": 99}


@pytest.fixture
def session(qapp: QApplication) -> Iterator[Session]:
    session = Session(load_recipe("clover").replace(SMALL))
    yield session
    assert session.close(), "the engine's thread did not end in time"


def _headless_rows(recipe: Recipe) -> list[dict[str, float]]:
    experiment = Experiment(recipe)
    while not experiment.is_complete:
        experiment.advance(1000)
    return experiment.history.rows


def _play_to_the_end(session: Session, qtbot: Any) -> list[dict[str, float]]:
    """Rows recorded up to the stamp; sampling goes on beyond it until the pause has arrived."""
    with qtbot.waitSignal(session.recipe_complete, timeout=60_000) as stamp:
        session.play()
    session.pause()
    qtbot.wait(100)
    rows = session._worker._hand.experiment.history.rows
    return [row for row in rows if row["step"] <= stamp.args[0].step]


def test_the_window_and_a_headless_run_record_the_same_numbers_bit_for_bit(session: Session, qtbot: Any) -> None:
    with qtbot.waitSignal(session.snapshot_ready, timeout=60_000):
        session.start()
    rows = _play_to_the_end(session, qtbot)
    assert len(rows) > 10
    assert rows == _headless_rows(session.recipe)


def test_a_drag_in_the_window_is_repeated_by_its_replay_recipe_bit_for_bit(session: Session, qtbot: Any) -> None:
    with qtbot.waitSignal(session.snapshot_ready, timeout=60_000):
        session.start()
    session.play()
    qtbot.waitUntil(lambda: session._worker._hand.step > 100, timeout=60_000)
    for value in (0.0012, 0.0015, 0.002):
        session.edit("regularisation.scale", value)
        qtbot.wait(30)
    session.edit_done()
    rows = _play_to_the_end(session, qtbot)
    replay = session.repeating_recipe
    assert [change.value for change in replay.schedule][-1] == 0.002
    assert rows == _headless_rows(replay)


def test_the_law_of_a_task_beyond_the_plane_reaches_the_window_with_its_errors() -> None:
    recipe = load_recipe("modular-addition").replace({"task.modulus": 5, "theory.n_particles": 512})
    theory = solve_theory(recipe)
    picture = TorchEngine(recipe.engine, 0.0).theory_picture(theory, Experiment(recipe))
    assert picture.numbers["loss"] == theory.loss and picture.numbers["loss_error"] == theory.loss_error
    assert picture.numbers["test_accuracy"] == theory.test_accuracy
    (neurons,) = picture.samples  # whole neurons: w, v and five readouts
    assert picture.image is None and neurons.shape == (4000, 15)
    # Of 4,000 neurons whose squares scatter by about a third of their mean, twins counting like one.
    length = float((neurons[:, :10].astype(float) ** 2).sum(axis=1).mean())
    assert length == pytest.approx(theory.mean_square_norm, rel=0.05)


def test_readouts_of_the_law_are_as_large_as_those_of_the_cloud_at_any_exponent() -> None:
    recipe = load_recipe("clover").replace(SMALL | {"network.readout_exponent": 0.75})
    theory = solve_theory(recipe)
    picture = TorchEngine(recipe.engine, 0.0).theory_picture(theory, Experiment(recipe))
    a, density = picture.marginals["a"]
    step, spread = a[1] - a[0], picture.samples[0][:, -1].std()
    # Ends at five spreads; 4,000 neurons know their spread to 1.1 %.
    assert density.sum() * step == pytest.approx(1.0, abs=0.01)
    assert ((a**2 * density).sum() * step) ** 0.5 == pytest.approx(spread, rel=0.05)
    # f is the same with a' = N^(1 - kappa) a.
    assert spread**2 == pytest.approx(theory.mean_square_readout * 128**-0.5, rel=0.05)
