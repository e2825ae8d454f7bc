"""The number of training points: a slider from 8 to infinity, said once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.engine.messages import TaskCard
from app.widgets.points_control import FEWEST, MOST, TICKS, PointsControl, number_at, tick_of
from app.window import MainWindow
from mft_engine.recipe import load_recipe


@pytest.fixture
def control(qtbot: QtBot) -> PointsControl:
    control = PointsControl()
    qtbot.addWidget(control)
    control.show()
    return control


def test_the_slider_runs_from_few_points_to_infinity() -> None:
    numbers = [number_at(tick) for tick in range(TICKS + 2)]
    assert numbers[0] == FEWEST and numbers[TICKS] == MOST and numbers[-1] == 0
    assert all(a <= b for a, b in pairwise(numbers[:-1]))
    # Two significant digits move a number by 5 % at most, which is 3 of the slider's 440 places.
    assert all(abs(tick_of(number_at(tick)) - tick) <= 3 or number_at(tick) < 30 for tick in range(TICKS + 1))


def test_a_drag_shows_numbers_and_says_the_last_one_once(control: PointsControl, qtbot: QtBot) -> None:
    said: list[Any] = []
    control.edited.connect(said.append)
    control.show_value(0)
    assert control.entry.text() == "∞" and control.slider.value() == TICKS + 1
    control.slider.setSliderDown(True)
    for number in (5000, 900, 200):
        control.slider.setValue(tick_of(number))
    assert not said and control.entry.text() == "200"
    control.slider.setSliderDown(False)
    control.slider.sliderReleased.emit()
    assert said == [200]


def test_keys_are_said_when_they_rest(control: PointsControl, qtbot: QtBot) -> None:
    control.show_value(0)
    with qtbot.waitSignal(control.edited) as caught:
        qtbot.keyClick(control.slider, Qt.Key.Key_Left)
    assert caught.args == [number_at(TICKS + 1 - control.slider.singleStep())]


@pytest.mark.parametrize(("typed", "value"), [("1,234", 1234), ("∞", 0), ("inf", 0), ("0", 0), ("5", 5)])
def test_any_number_can_be_typed(control: PointsControl, qtbot: QtBot, typed: str, value: int) -> None:
    said: list[Any] = []
    control.edited.connect(said.append)
    control.show_value(77)
    control.entry.selectAll()
    control.entry.insert(typed)  # the test library types Latin letters only
    qtbot.keyClick(control.entry, Qt.Key.Key_Return)
    assert said == [value]


def test_what_is_no_number_is_refused_and_the_old_one_stays(control: PointsControl, qtbot: QtBot) -> None:
    control.show_value(77)
    control.entry.selectAll()
    qtbot.keyClicks(control.entry, "many")
    with qtbot.waitSignal(control.refused) as caught:
        qtbot.keyClick(control.entry, Qt.Key.Key_Return)
    assert "'many' is no number of points" in caught.args[0] and control.entry.text() == "77"


def test_the_slider_is_for_tasks_that_bring_no_points_of_their_own(window: MainWindow) -> None:
    image = np.zeros((8, 8))
    window.session._receive(TaskCard("digits", "Digits", "±1", {}, image, brings_points=True))
    row = window.experiment.rows["training.n_points"]
    assert not row.isHidden()
    window.session.edit("training.n_points", 300)
    window.session.choose_task("digits", {})
    assert window.session.recipe.training.n_points == 0
    assert row.isHidden() and window.experiment.rows["training.rule"].isHidden()
    # A recipe may ask for a part of the data: then the number is seen, and can be taken back.
    window.session.open_recipe(load_recipe("digits").replace({"training.n_points": 100}))
    assert not row.isHidden()
