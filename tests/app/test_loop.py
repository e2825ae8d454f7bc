"""The self-consistency loop in the window: its plot, its choices, its sentences, and the recipes that have none."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from fake_engine import FakeExperiment, fake_turn
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.engine.messages import LOOP_TOLERANCE
from app.keepers.loop import start_of
from app.theme import DARK, LIGHT
from app.views.loop import LoopView
from app.window import MainWindow
from mft_engine.questions.loop import Iteration
from mft_engine.recipe import Recipe


def turn(index: int, gap: float, excess: float | None = None, kl: float | None = None) -> Iteration:
    return fake_turn(index, gap, np.zeros((4, 3), np.float32), excess=excess, kl=kl)


@pytest.fixture
def view(qtbot: QtBot) -> LoopView:
    view = LoopView(1e-6, LIGHT)
    qtbot.addWidget(view)
    view.resize(900, 260)
    view.show()
    return view


def test_every_turn_is_a_point_of_each_curve(view: LoopView) -> None:
    assert view.empty.isVisible()
    view.begin("trained, t = 24.00")
    for k in range(4):
        view.show_turns([turn(k, 10.0**-k, 10.0 ** (-k - 1), 10.0 ** (-k - 2))])
    assert not view.empty.isVisible()
    for name, first in (("gap", 1.0), ("excess", 0.1), ("KL", 0.01)):
        turns, values = view._curves[name].getOriginalDataset()
        assert np.array_equal(turns, [0, 1, 2, 3])
        assert np.allclose(values, first * 10.0 ** -np.arange(4))
    assert view.chips["gap"].detail == "0.0010"
    assert view._start_line.label.toPlainText() == "start: trained, t = 24.00"
    assert view._tolerance_line.value() == pytest.approx(-6.0)
    low, high = view.plot.getViewBox().viewRange()[1]
    assert low < -6 and high > 0


def test_without_an_exact_optimum_only_the_gap_is_drawn(view: LoopView) -> None:
    view.begin("lazy, t = 3.00")
    view.show_turns([turn(0, 0.5)])
    assert view._curves["gap"].isVisible()
    assert not view._curves["KL"].isVisible() and not view.chips["excess"].isEnabled()


def test_a_gap_of_zero_leaves_a_gap_in_the_curve_not_an_error(view: LoopView) -> None:
    view.begin("untrained")
    for k, gap in enumerate((1.0, 0.0, float("inf"), 1e-3)):
        view.show_turns([turn(k, gap)])
    view.grab()
    assert np.isfinite(view.plot.getViewBox().viewRange()).all()


def test_a_new_loop_forgets_the_old_one(view: LoopView) -> None:
    view.begin("trained")
    view.show_turns([turn(0, 1.0)])
    view.begin("untrained")
    assert len(view._curves["gap"].getOriginalDataset()[0] or ()) == 0
    view.clear()
    assert view.empty.isVisible() and not view.sentence.isVisible()


def test_the_damping_is_automatic_until_a_number_is_chosen_and_stays_within_its_bounds(
    view: LoopView, qtbot: QtBot
) -> None:
    assert view.damping is None and not view.damping_slider.isVisible()
    view.damping_choice.setFocus()
    qtbot.keyClick(view.damping_choice, Qt.Key.Key_Down)
    assert view.damping_slider.isVisible() and view.damping == 0.01
    entry = view.damping_slider.entry
    for typed, kept in (("0.3", 0.3), ("7", 1.0), ("1e-9", 0.001)):
        entry.setFocus()
        entry.selectAll()
        qtbot.keyClicks(entry, typed)
        qtbot.keyClick(entry, Qt.Key.Key_Return)
        assert view.damping == kept
    view.turns_choice.setCurrentIndex(2)
    assert view.n_turns == 200


def test_a_double_click_fits_the_picture_again(view: LoopView, qtbot: QtBot) -> None:
    view.begin("trained")
    view.show_turns([turn(0, 1.0)])
    port = view.plot.viewport()
    qtbot.mouseDClick(port, Qt.MouseButton.LeftButton, pos=port.rect().center())
    before = view.plot.getViewBox().viewRange()
    middle = QPointF(port.rect().center())
    wheel = QWheelEvent(
        middle, port.mapToGlobal(middle), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(port, wheel)
    zoomed = view.plot.getViewBox().viewRange()
    assert zoomed != before
    view.show_turns([turn(1, 0.9)])
    assert view.plot.getViewBox().viewRange() == zoomed
    qtbot.mouseDClick(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(100, 60))
    assert np.allclose(view.plot.getViewBox().viewRange(), before)


def test_both_themes_reach_the_curves(view: LoopView) -> None:
    view.begin("trained")
    view.show_turns([turn(0, 1.0, 0.1, 0.01)])
    view.apply_theme(DARK)
    assert view._curves["gap"].opts["pen"].color().name() == DARK.accent
    assert view._curves["KL"].opts["symbolBrush"].color().name() == DARK.warning


def test_the_start_is_named_by_what_the_background_is() -> None:
    recipe = Recipe()
    experiment = FakeExperiment(recipe, [])
    fresh = experiment.snapshot()
    begun = replace(fresh, step=10, time=1.25)
    assert start_of(recipe, begun) == "trained, t = 1.25"
    assert start_of(recipe, fresh) == "untrained"
    assert start_of(recipe.replace({"foreground.background": "lazy"}), begun) == "lazy, t = 1.25"
    assert start_of(recipe.replace({"foreground.background": "untrained"}), begun) == "untrained"
    assert start_of(recipe.replace({"foreground.background": "cloud.npz"}), begun) == "stored"


def test_the_tolerance_drawn_is_the_engines() -> None:
    from mft_engine.questions.loop import iterate

    assert inspect.signature(iterate).parameters["tolerance"].default == LOOP_TOLERANCE


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.jobs.TURN_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_iterate_raises_its_tab_and_says_how_it_converged(window: MainWindow, qtbot: QtBot) -> None:
    qtbot.keyClick(window, Qt.Key.Key_I)
    qtbot.waitUntil(lambda: window.loop.isVisible())
    qtbot.waitUntil(lambda: "Converged: gap 1.0 × 10⁻⁸ after 4 turns, free energy" in window.loop.sentence.text())
    assert window.loop._start_line.label.toPlainText() == "start: untrained"
    assert not window.actions_by_name["cancel"].isEnabled()


@pytest.mark.usefixtures("quick")
def test_a_loop_that_runs_away_ends_in_a_calm_sentence(window: MainWindow, qtbot: QtBot) -> None:
    faults: list[str] = []
    window.session.failed.connect(faults.append)
    window.loop.damping_choice.setCurrentIndex(1)
    window.loop.damping_slider.set_value(1.0)
    window.actions_by_name["iterate"].trigger()
    qtbot.waitUntil(lambda: "ran away at turn 3; choose a damping below 1" in window.loop.sentence.text())
    assert faults == []
    assert window.status_line.sentence.property("role") == ""


@pytest.mark.usefixtures("quick")
def test_a_loop_that_has_not_converged_says_so_and_cancel_stops_one(window: MainWindow, qtbot: QtBot) -> None:
    loop = window.loop
    loop.damping_choice.setCurrentIndex(1)
    loop.turns_choice.setItemData(0, 3)
    loop.turns_choice.setCurrentIndex(0)
    window.actions_by_name["iterate"].trigger()
    qtbot.waitUntil(lambda: "Not converged yet: gap 0.0010 after 3 turns" in loop.sentence.text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.engine.jobs.TURN_SECONDS", 60.0)
        window.actions_by_name["iterate"].trigger()
        qtbot.waitUntil(lambda: "Turn 0" in loop.sentence.text())
        window.actions_by_name["cancel"].trigger()
        qtbot.waitUntil(lambda: loop.sentence.text() == "Stopped at turn 0, gap 1.0.")


@pytest.mark.parametrize("way", ["play", "banner"])
def test_who_goes_back_to_the_run_during_the_loop_stays_there_while_its_curve_goes_on(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("app.engine.jobs.TURN_SECONDS", 0.2)
    window.actions_by_name["iterate"].trigger()
    qtbot.waitUntil(lambda: window.cloud.banner.isVisible())
    if way == "play":
        window.actions_by_name["play"].trigger()
    else:
        qtbot.mouseClick(window.cloud.banner.back, Qt.MouseButton.LeftButton)
    shown: list[bool] = []
    window.session.iteration_ready.connect(lambda turn: shown.append(window.cloud.banner.isVisible()))
    qtbot.waitUntil(lambda: "Converged" in window.loop.sentence.text())
    assert len(shown) >= 2 and not any(shown)
    assert len(window.cloud.layers["background"].x) == 64
    window.session.pause()


def test_where_no_loop_can_be_turned_the_action_is_disabled_with_the_reason(window: MainWindow, qtbot: QtBot) -> None:
    action = window.actions_by_name["iterate"]
    assert action.isEnabled()
    window.session.edit("network.readout_exponent", 0.75)
    assert not action.isEnabled() and "readout exponent 1" in action.toolTip()
    assert "readout exponent 1" in window.loop.empty._hint.text()
    window.session.undo_stack.undo()
    assert action.isEnabled() and "readout exponent" not in action.toolTip()
    assert "Iterate" in window.loop.empty._hint.text()


@pytest.mark.usefixtures("quick")
def test_an_edit_ends_the_loop_and_shows_the_run_again(window: MainWindow, qtbot: QtBot) -> None:
    window.actions_by_name["iterate"].trigger()
    qtbot.waitUntil(lambda: "Converged" in window.loop.sentence.text())
    assert not window.clouds.stage.is_live
    window.session.edit("regularisation.scale", 0.01)
    assert window.clouds.stage.is_live
    qtbot.waitUntil(lambda: len(window.cloud.layers["background"].x) == 64)
