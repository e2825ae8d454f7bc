"""The width study in the window: its plots, its sentence, and when it no longer holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fake_engine import fake_width
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.theme import DARK, LIGHT
from app.views.width import WidthView, summary
from app.window import MainWindow
from mft_engine.applies import why_no_law
from mft_engine.estimates import Estimate
from mft_engine.questions.widths import WidthRow
from mft_engine.recipe import Recipe

NAMES = ("loss", "cos4", "mean_norm", "mean_square_norm", "mean_square_readout")


def row(
    n_neurons: int, mean: float = 1.0, error: float = 0.01, corrected: float = 1.02, uncorrected: float = 1.3
) -> WidthRow:
    return fake_width(
        n_neurons,
        {name: Estimate(mean, error) for name in NAMES},
        corrected=dict.fromkeys(NAMES, corrected),
        uncorrected=dict.fromkeys(NAMES, uncorrected),
        infinite=dict.fromkeys(NAMES, 0.9),
    )


@pytest.fixture
def view(qtbot: QtBot) -> WidthView:
    view = WidthView(LIGHT)
    qtbot.addWidget(view)
    view.resize(900, 260)
    view.show()
    return view


def test_every_width_is_a_point_with_its_error_and_three_laws_beside_it(view: WidthView) -> None:
    view.begin()
    for n in (8, 64):
        view.add_row(row(n, mean=1 + 1 / n))
    x, y = view._curves["loss", "sampled"].getOriginalDataset()
    assert np.allclose(x, np.log10([8, 64])) and np.allclose(y, [1.125, 1.015625])
    assert np.allclose(view._bars["loss"].opts["height"], 0.02)
    for name, value in (("finite width", 1.02), ("infinite width", 0.9), ("uncorrected", 1.3)):
        assert np.allclose(view._curves["loss", name].getOriginalDataset()[1], value)
        assert np.allclose(view._curves["cos4", name].getOriginalDataset()[1], -value)
    low, high = view._items["loss"].getViewBox().viewRange()[1]
    assert low < 0.9 and high > 1.3


def test_the_sentence_gives_the_distance_of_both_laws_in_standard_errors() -> None:
    # 0.02 and 0.3 away at an error of 0.01: 2 and 30 standard errors in every quantity.
    text = summary([row(8), row(64)])
    assert text.startswith("N = 8 to 64: finite-width law 2.0 standard errors")
    assert "uncorrected law 30." in text
    assert summary([]) == ""


def test_a_switched_off_law_leaves_the_picture_and_its_range(view: WidthView, qtbot: QtBot) -> None:
    view.begin()
    view.add_row(row(8))
    qtbot.mouseClick(view.chips["uncorrected"], Qt.MouseButton.LeftButton)
    assert not view._curves["loss", "uncorrected"].isVisible()
    assert view._items["loss"].getViewBox().viewRange()[1][1] < 1.2
    view.clear()
    assert view.empty.isVisible() and not view.sentence.isVisible()


def test_both_themes_reach_every_plot(view: WidthView) -> None:
    view.begin()
    view.add_row(row(8))
    view.apply_theme(DARK)
    view.grab()
    assert view._curves["loss", "finite width"].opts["pen"].color().name() == DARK.theory
    assert view._curves["cos4", "sampled"].opts["symbolBrush"].color().name() == DARK.background_cloud


@pytest.mark.parametrize(
    ("changes", "n_inputs", "words"),
    [
        ({}, 2, ""),
        ({"training.dynamics": "sgd", "training.temperature": 0.0, "training.preconditioner": "none",
          "initial.law": "gaussian"}, 2, "temperature 0"),
        ({}, 3, "two inputs; this task has 3"),
        ({"network.activation": "quadratic"}, 2, "quadratic"),
        ({"network.readout_exponent": 0.75}, 2, "readout exponent 1"),
        ({"training.n_points": 5000}, 2, "at most 1,024"),
    ],
)  # fmt: skip
def test_a_recipe_without_an_exact_law_has_a_reason(changes: dict[str, Any], n_inputs: int, words: str) -> None:
    reason = why_no_law(Recipe().replace(changes), n_inputs)
    assert words in reason
    assert bool(reason) == bool(words)


def test_the_study_fills_its_tab_and_an_edit_makes_it_old(window: MainWindow, qtbot: QtBot) -> None:
    view = window.width_view
    qtbot.keyClick(window, Qt.Key.Key_W)
    qtbot.waitUntil(lambda: "N = 8 to 512: finite-width law 0.50 standard errors" in view.sentence.text())
    assert view.isVisible() and not view.empty.isVisible()
    qtbot.waitUntil(lambda: not window.actions_by_name["cancel"].isEnabled())
    window.session.edit("regularisation.scale", 0.01)
    assert view.sentence.text().startswith("Out of date: the parameters have changed.")
    window.session.new_seed()
    qtbot.waitUntil(lambda: view.empty.isVisible())


def test_a_stopped_study_keeps_what_it_has(window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Any, recipe: Recipe, should_stop: Any) -> Any:
        yield row(8)
        while True:
            yield 0.5

    monkeypatch.setattr("fake_engine.FakeEngine.study_widths", slow)
    window.docks["width"].raise_()
    qtbot.waitUntil(window.width_view.button.isVisible)
    qtbot.mouseClick(window.width_view.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.width_view.has_rows)
    window.actions_by_name["cancel"].trigger()
    qtbot.waitUntil(lambda: window.width_view.sentence.text().startswith("Stopped. N = 8:"))


def test_a_long_step_of_the_study_hears_of_cancel_from_within(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_long_step(self: Any, recipe: Recipe, should_stop: Any) -> Any:
        yield row(8)
        heard.append(wait_for(should_stop))

    def wait_for(should_stop: Any) -> bool:
        for _ in range(30_000):
            if should_stop():
                return True
            time.sleep(0.001)
        return False

    heard: list[bool] = []
    monkeypatch.setattr("fake_engine.FakeEngine.study_widths", one_long_step)
    window.actions_by_name["widths"].trigger()
    qtbot.waitUntil(lambda: window.width_view.has_rows)
    window.actions_by_name["cancel"].trigger()
    qtbot.waitUntil(lambda: window.width_view.sentence.text().startswith("Stopped. N = 8:"))
    assert heard == [True]


def test_without_an_exact_law_the_study_is_disabled_with_the_reason(window: MainWindow) -> None:
    action = window.actions_by_name["widths"]
    assert action.isEnabled() and window.width_view.button.isEnabled()
    window.session.edit("network.train_readout", False)
    assert not action.isEnabled() and "needs trained readouts" in action.toolTip()
    assert not window.width_view.button.isEnabled() and "trained readouts" in window.width_view.button.toolTip()
    assert "trained readouts" in window.width_view.empty._hint.text()
