"""The Fourier view and the ways of several readouts through the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.session import Session
from app.theme import LIGHT
from app.views.cloud import CloudView
from app.views.fourier import FourierView
from app.views.projections import available_axes, joined_readouts
from mft_engine.looks import WavesSeen
from mft_engine.rng import Stream, host_generator
from mft_engine.tasks.modular import fourier_planes

P = 7


def waves_of(frequency: int, n: int = 200) -> np.ndarray:
    first, second = host_generator(0, Stream.INITIAL).uniform(-np.pi, np.pi, (2, n, 1))
    turn = 2 * np.pi * frequency * np.arange(P)[None, :] / P
    return np.concatenate([np.cos(turn + u) for u in (first, second, first + second)], axis=1).astype(np.float32)


@pytest.fixture
def view(qtbot: QtBot) -> FourierView:
    view = FourierView(LIGHT)
    qtbot.addWidget(view)
    view.resize(1000, 240)
    view.show()
    return view


def test_frequencies_of_both_clouds_stand_side_by_side_and_phases_lie_on_the_diagonal(view: FourierView) -> None:
    view.set_modulus(P)
    view.show_clouds(waves_of(2), waves_of(3, 100))
    assert view.empty.isHidden()
    np.testing.assert_array_equal(view._bars["background"].opts["height"], [0, 1, 0])
    np.testing.assert_array_equal(view._bars["foreground"].opts["height"], [0, 0, 1])
    x, y = view._points["background"].getData()
    # float32 neurons: phases to about 1e-6.
    np.testing.assert_allclose(np.angle(np.exp(1j * (y - x))), 0, atol=1e-4)
    assert view.chips["background"].detail == "phases 1.00"
    view.chips["foreground"].setChecked(False)
    assert not view._bars["foreground"].isVisible() and view._bars["background"].isVisible()


def test_of_a_large_cloud_the_waves_of_all_neurons_are_drawn_though_few_are_here(view: FourierView) -> None:
    view.set_modulus(P)
    told = WavesSeen(np.array([10, 0, 30]), np.array([[0.5, 0.5], [-1.0, 1.0]]), 0.87)
    view.show_clouds(waves_of(2, 40), waves_of(3, 100), {"background": told, "foreground": None})
    np.testing.assert_allclose(view._bars["background"].opts["height"], [0.25, 0, 0.75])
    np.testing.assert_array_equal(view._bars["foreground"].opts["height"], [0, 0, 1])  # until its counts come
    np.testing.assert_array_equal(np.transpose(view._points["background"].getData()), told.phases)
    assert view.chips["background"].detail == "phases 0.87"
    view.show_chosen({"background": np.arange(10)})
    np.testing.assert_allclose(view._chosen_bars["background"].opts["height"], [0, 0.25, 0])  # of those that are here


def test_the_law_stands_behind_the_clouds_with_its_share_of_right_answers(view: FourierView) -> None:
    view.set_modulus(P)
    view.show_theory(np.concatenate([waves_of(1, 150), waves_of(3, 50)]), 0.92)
    view.show_clouds(waves_of(2), None)
    _, y = view._law_shares.getData()
    np.testing.assert_allclose(y[::3], [0.75, 0.0, 0.25])
    assert view._law_level.isVisible() and view._law_level.value() == pytest.approx(0.92)
    assert view.chips["theory"].detail == "phases 1.00"
    view.chips["theory"].setChecked(False)
    assert not view._law_shares.isVisible() and not view._law_level.isVisible()
    view.set_modulus(P)
    assert view._law_answers is None


def test_other_tasks_are_told_that_the_view_is_not_for_them(view: FourierView) -> None:
    view.show_clouds(host_generator(0, Stream.INITIAL).standard_normal((50, 3)), None)
    assert view.empty.isVisible() and not view.chips["background"].isEnabled()
    view.set_modulus(P)
    view.show_clouds(waves_of(1), None)
    assert not view.empty.isVisible()
    view.set_modulus(0)
    assert view.empty.isVisible()


def test_right_answers_are_drawn_along_the_run(view: FourierView) -> None:
    view.set_modulus(P)
    view.show_clouds(waves_of(1), None)
    time = np.array([1.0, 2.0, 3.0])
    view.show_metrics({"time": time, "train_accuracy": 0 * time + 1, "test_accuracy": time / 4})
    np.testing.assert_array_equal(view._curves["test_accuracy"].getData()[1], time / 4)
    assert "held back 75 %" in view._labels["test"].toPlainText()


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_words_on_right_answers_stand_clear_of_the_held_back_pairs(view: FourierView, share: float) -> None:
    view.set_modulus(P)
    view.show_clouds(waves_of(1), None)
    time = np.linspace(0.0, 3.0, 20)
    view.show_metrics({"time": time, "train_accuracy": 0 * time + 1, "test_accuracy": 0 * time + share})
    top, bottom = view._labels["train"].pos().y(), view._labels["test"].pos().y() - 0.2  # a line is 0.2 high or less
    assert not bottom < share < top


def test_several_readouts_are_shown_by_their_length() -> None:
    theta = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(joined_readouts(theta, 2), [[1, 2, 5]])
    assert joined_readouts(theta, 1) is theta
    assert [axis.label for axis in available_axes(2, None, 2) if axis.kind == "readout"] == ["|a|"]


def test_a_task_with_planes_of_its_own_is_shown_in_the_first_of_them(qtbot: QtBot) -> None:
    cloud = CloudView(LIGHT)
    qtbot.addWidget(cloud)
    planes = fourier_planes(P)
    cloud.set_projections(planes, P)
    assert cloud.axes == ("cos 2π·1 n/7", "sin 2π·1 n/7")
    theta = waves_of(1)
    cloud.show_background(joined_readouts(theta, P), len(theta))
    layer = cloud.layers["background"]
    radius = np.hypot(layer.x, layer.y)
    # w_n = cos(2 pi n/P + u) has the length sqrt(P/2) in the plane of its frequency, whatever its phase.
    np.testing.assert_allclose(radius, np.sqrt(P / 2), rtol=1e-5)
    cloud.set_projections({}, 1)
    cloud.show_background(np.zeros((5, 3), np.float32), 5)
    assert cloud.axes == ("w1", "w2")


def test_choosing_modular_addition_brings_the_settings_that_it_is_learnt_with(
    make_session: Callable[..., Session], qtbot: Any
) -> None:
    session = make_session()
    seed = session.recipe.seed
    assert session.choose_task("modular-addition", {"modulus": 13})
    recipe = session.recipe
    assert recipe.task.parameters == {"modulus": 13} and recipe.seed == seed
    assert recipe.network.activation == "tanh_squared" and recipe.training.temperature == 0.003
    session.undo_stack.undo()
    assert session.recipe.task.name == "product"
