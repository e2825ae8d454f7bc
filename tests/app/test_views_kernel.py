"""The kernel view: what is plotted is what was computed, and it is computed only where it is looked at and in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, FakeExperiment, fake_kernels
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from app.theme import DARK, LIGHT
from app.views.eigenmaps import share_words
from app.views.kernel import KernelView
from app.window import MainWindow


@pytest.fixture
def view(qtbot: QtBot) -> KernelView:
    view = KernelView(LIGHT)
    qtbot.addWidget(view)
    view.resize(620, 210)
    view.show()
    return view


def colour(view: KernelView, name: str, k: int, across: float, up: float) -> QColor:
    place = view.maps.places[name, k]
    at = QPointF(place.left() + across * place.width(), place.bottom() - up * place.height())
    return view.maps.grab().toImage().pixelColor(at.toPoint())


def test_eigenvalues_stand_at_their_number_on_a_logarithmic_axis_with_their_errors(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 500)
    x, y = view._curves["spectrum", "background"].getOriginalDataset()
    np.testing.assert_allclose(x, np.arange(1, 13))
    np.testing.assert_allclose(y, np.log10(0.5 ** np.arange(12)))
    bars = view._bars["background"].opts
    np.testing.assert_allclose(bars["top"], np.log10(1.05))
    np.testing.assert_allclose(bars["bottom"], -np.log10(0.95))
    low, high = view._items["spectrum"].getViewBox().viewRange()[1]
    assert low < np.log10(0.5**11) and high > np.log10(2 * 1.05)
    # The three clouds' symbols of one number stand beside each other.
    shifts = [view._curves["spectrum", name].getOriginalDataset()[0][0] for name in ("initial", "foreground")]
    assert shifts[0] < 1 < shifts[1]


def test_the_laws_spectrum_is_a_dashed_line_of_its_own(view: KernelView) -> None:
    kernels = fake_kernels()
    view.show_kernels(kernels, 500)
    assert not view.chips["theory"].isEnabled() and not view._curves["spectrum", "theory"].isVisible()
    view.show_kernels(replace(kernels, theory=kernels.foreground), 500)
    curve = view._curves["spectrum", "theory"]
    assert view.chips["theory"].isEnabled() and curve.isVisible()
    assert curve.opts["symbol"] is None and curve.opts["pen"].style() == Qt.PenStyle.DashLine
    np.testing.assert_allclose(
        curve.getOriginalDataset()[1], view._curves["spectrum", "foreground"].getOriginalDataset()[1]
    )
    # The sentence is about the clouds.
    assert view.sentence.text().count("(") == 2


def test_the_second_plot_is_the_part_of_the_target_in_the_first_functions(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 500)
    _, y = view._curves["captured", "foreground"].getOriginalDataset()
    np.testing.assert_allclose(y[:3], [0.01, 0.81, 0.82])


def test_maps_have_their_zero_white_and_their_cloud_beside_them(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 500)
    view.grab()
    assert view.maps.n_shown >= 4
    for name in ("background", "foreground"):
        # x1 grows to the right, x2 upwards: blue below zero, red above.
        assert colour(view, name, 0, 0.9, 0.5).red() > colour(view, name, 0, 0.1, 0.5).red() + 50
        assert colour(view, name, 1, 0.5, 0.9).red() > colour(view, name, 1, 0.5, 0.1).red() + 50
        middle = colour(view, name, 2, 0.5, 0.9)
        assert min(middle.red(), middle.green(), middle.blue()) > 200
    place = view.maps.places["foreground", 1]
    words = view.maps.words_at(QPointF(place.center().x(), place.top() + 0.1 * place.height()))
    assert words.startswith("foreground, eigenfunction 2\neigenvalue 0.550 ± 0.028\n80 % of the target")
    assert view.maps.words_at(QPointF(0, 0)) == ""


def test_maps_are_square_inside_and_apart_at_any_size(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 500)
    for size in ((620, 210), (340, 150), (1270, 230), (900, 500), (420, 700)):
        view.resize(*size)
        view.grab()
        places = list(view.maps.places.values())
        for k, place in enumerate(places):
            assert place.width() == pytest.approx(place.height())
            assert view.maps.rect().contains(place.toRect())
            assert not any(place.intersects(other) for other in places[:k])
    assert view.maps.n_shown >= 1


def test_without_a_foreground_its_row_is_an_outline_and_nothing_is_compared(view: KernelView) -> None:
    view.show_kernels(fake_kernels(has_foreground=False), 500)
    view.grab()
    assert not view.chips["foreground"].isEnabled() and view.chips["background"].isEnabled()
    assert not view.strip.isVisible() and not view._curves["spectrum", "foreground"].isVisible()
    inside = colour(view, "foreground", 0, 0.5, 0.5)
    assert inside == QColor(LIGHT.panel)


def test_without_a_plane_each_functions_share_takes_the_place_of_the_maps(view: KernelView) -> None:
    view.show_kernels(fake_kernels(has_maps=False), 500)
    assert not view.maps.isVisible()
    assert view._items["shares"] in view.plots.ci.items
    x, y = view._curves["shares", "background"].getOriginalDataset()
    assert y[1] == 0.8 and x[1] == 2
    view.show_kernels(fake_kernels(), 600)
    assert view.maps.isVisible() and view._items["shares"] not in view.plots.ci.items


def test_the_sentence_gives_alignment_rank_and_change_and_the_strip_the_verdict(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 1500)
    words = view.sentence.text()
    for number in ("0.80", "0.40", "0.44", "6.0", "3.0", "3.3", "change 0.014", "step 1,500"):
        assert number in words
    assert view.strip.verdict == "kernels agree, p = 0.40"
    assert "below 0.0870 in 95 % of 99 exchanges" in view.strip.toolTip()
    view.show_kernels(fake_kernels(p_value=0.01), 1500)
    assert view.strip.verdict == "kernels differ, p ≤ 0.010"
    view.mark_stale("the parameters have changed")
    assert view.sentence.text().startswith("Out of date: the parameters have changed.")
    assert not view.strip.isVisible()


def test_a_cloud_that_is_switched_off_leaves_every_plot(view: KernelView, qtbot: QtBot) -> None:
    view.show_kernels(fake_kernels(), 500)
    before = view._items["spectrum"].getViewBox().viewRange()[1][1]
    qtbot.mouseClick(view.chips["initial"], Qt.MouseButton.LeftButton)
    assert not view._curves["captured", "initial"].isVisible() and not view._bars["initial"].isVisible()
    assert view._items["spectrum"].getViewBox().viewRange()[1][1] < before


def test_both_themes_reach_every_part(view: KernelView) -> None:
    view.show_kernels(fake_kernels(), 500)
    view.apply_theme(DARK)
    view.grab()
    assert view._curves["captured", "background"].opts["pen"].color().name() == DARK.background_cloud
    assert view._curves["spectrum", "foreground"].opts["symbolBrush"].color().name() == DARK.foreground_cloud
    assert view.maps.grab().toImage().pixelColor(1, 1) == QColor(DARK.panel)


def test_nothing_to_show_is_said_and_forgotten_things_are_gone(view: KernelView) -> None:
    assert view.empty.isVisible() and not view.has_kernels and not view.plots.isVisible()
    view.mark_stale("the parameters have changed")
    assert view.sentence.text() == ""
    view.show_kernels(fake_kernels(), 500)
    assert not view.empty.isVisible() and view.plots.isVisible()
    view.clear()
    view.grab()
    assert view.empty.isVisible() and not view.maps.isVisible()
    view.clear(has_layers=True)
    assert "one hidden layer" in view.empty._hint.text()


@pytest.mark.parametrize(("share", "words"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.686, "69 %"), (1.0, "100 %")])
def test_shares_are_short(share: float, words: str) -> None:
    assert share_words(share) == words


# In the window


def kernel_lines(engine: FakeEngine) -> list[str]:
    return [line for line in engine.log if line.startswith("kernel")]


def test_the_kernel_is_computed_after_a_comparison_and_only_while_its_tab_is_open(
    window: MainWindow, engine: FakeEngine, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    qtbot.wait(100)
    assert kernel_lines(engine) == []
    with qtbot.waitSignal(window.session.kernel_ready):
        window.docks["kernel"].raise_()
    assert window.docks.view(KernelView).strip.verdict.startswith("kernels agree")
    with qtbot.waitSignal(window.session.kernel_ready):
        window.session.resample()
    qtbot.wait(100)
    assert len(kernel_lines(engine)) == 2


def test_a_pause_brings_a_new_kernel_and_a_drag_makes_it_old_without_computing(
    window: MainWindow, engine: FakeEngine, qtbot: QtBot
) -> None:
    window.docks["kernel"].raise_()
    window.session.play()
    qtbot.waitUntil(lambda: engine.experiments[-1].state.step > 20)
    assert kernel_lines(engine) == []
    with qtbot.waitSignal(window.session.kernel_ready):
        window.session.pause()
    step = engine.experiments[-1].state.step
    assert (
        kernel_lines(engine) == [f"kernel at step {step}"]
        and f"step {step:,}" in window.docks.view(KernelView).sentence.text()
    )
    for scale in (0.002, 0.003, 0.004):
        window.session.edit("regularisation.scale", scale)
        qtbot.wait(30)
    assert window.docks.view(KernelView).sentence.text().startswith("Out of date")
    assert len(kernel_lines(engine)) == 1
    window.session.new_seed()
    qtbot.waitUntil(lambda: window.docks.view(KernelView).empty.isVisible())


def test_a_kernel_that_cannot_be_computed_is_said_once(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FakeExperiment) -> Any:
        raise ArithmeticError("no eigenvalues today")
        yield

    monkeypatch.setattr(FakeExperiment, "data_kernel", broken)
    sentences: list[str] = []
    window.session.failed.connect(sentences.append)
    window.docks["kernel"].raise_()
    window.session.step()
    qtbot.waitUntil(lambda: bool(sentences))
    qtbot.wait(100)
    assert sentences == ["no eigenvalues today"]
    assert window.docks.view(KernelView).empty.isVisible()
