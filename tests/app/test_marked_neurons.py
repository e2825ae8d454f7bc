"""Neurons that make the verdict's difference: ringed in the cloud, told on the card, walked through by keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_engine import fake_comparison
from plot_clouds import clover
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.keepers.layers import LayerKeeper
from app.keepers.stage import CloudStage
from app.panels.self_consistency import SelfConsistencyPanel
from app.theme import LIGHT
from app.views.cloud import CloudView
from app.views.marginals import MarginalsView
from mft_engine.experiment.events import ForegroundReady
from mft_engine.experiment.outcome import Cloud

THETA = clover(300)


@pytest.fixture
def view(qtbot: QtBot) -> CloudView:
    view = CloudView(LIGHT)
    qtbot.addWidget(view)
    view.resize(700, 640)
    view.show()
    view.show_background(THETA, 300)
    return view


def ringed(view: CloudView) -> np.ndarray:
    return np.stack(view.marked.rings.getData(), axis=1)


def test_neurons_that_stand_out_are_ringed_where_they_are_and_move_with_the_cloud(view: CloudView) -> None:
    assert view.header.chips["standing out"].isHidden() and len(ringed(view)) == 0
    view.marked.show([7, 3, 250])
    assert np.allclose(ringed(view), THETA[[7, 3, 250], :2]) and not view.header.chips["standing out"].isHidden()
    view.show_background(THETA + 0.5, 300)
    assert np.allclose(ringed(view), THETA[[7, 3, 250], :2] + 0.5)
    view.header.chips["standing out"].setChecked(False)
    assert len(ringed(view)) == 0
    view.header.chips["standing out"].setChecked(True)
    view.marked.show([])
    assert len(ringed(view)) == 0 and view.header.chips["standing out"].isHidden()


def test_no_chip_is_cut_off_in_a_narrow_window(view: CloudView, qtbot: QtBot) -> None:
    view.show_initial(THETA)
    view.show_foreground(THETA)
    view.name_theory("theory (mean field)")
    view.marked.show([7, 3, 250])
    chips = view.header.chips.values()

    def fit() -> bool:
        ends = [chip.mapTo(view, chip.rect().topRight()).x() for chip in chips]
        return max(ends) < view.width() and all(chip.width() >= chip.sizeHint().width() for chip in chips)

    for width, is_brief in ((1200, False), (606, True), (1200, False)):
        view.resize(width, 400)
        qtbot.waitUntil(fit)
        assert all((chip.sizeHint().width() < chip.full_width()) == is_brief for chip in chips if chip.detail)


def test_neurons_beyond_those_shown_are_left_out(view: CloudView) -> None:
    view.marked.show([900, 4])
    assert np.allclose(ringed(view), THETA[[4], :2])


def test_keys_walk_through_them_and_the_card_says_how_far_they_stand_out(view: CloudView, qtbot: QtBot) -> None:
    view.marked.show([7, 3])
    view.activateWindow()
    qtbot.waitUntil(view.isActiveWindow)  # keys reach the active window only
    view.plot.setFocus()
    plain, shift = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
    for held, number, rank in ((plain, 7, 1), (plain, 3, 2), (plain, 7, 1), (shift, 3, 2)):
        qtbot.keyClick(view.plot, Qt.Key.Key_N, held)
        assert view.card.isVisible() and f"background neuron {number}" in view.card.text
        assert f"stands out: {rank} of 2" in view.card.text
        assert np.allclose(np.stack(view._hover._rings[view.plot].getData(), axis=1), THETA[[number], :2])
    view._hover.choose(view.layers["background"], 5, view.plot)
    assert "stands out" not in view.card.text


def test_a_rejection_marks_its_neurons_until_its_foreground_is_gone(view: CloudView, qtbot: QtBot) -> None:
    marginals, panel = MarginalsView(), SelfConsistencyPanel()
    for widget in (marginals, panel):
        qtbot.addWidget(widget)
    stage = CloudStage(view)
    keeper = LayerKeeper(view, marginals, panel, stage)
    stage.show_background(THETA, 300)
    fresh = Cloud(THETA[:50], ("w1", "w2", "a"))
    keeper.show_foreground(ForegroundReady(clouds=(fresh,), loss=1.0, method="gibbs", seconds=0.1))
    keeper.show_comparisons((replace(fake_comparison(False), outliers=np.array([9, 2])),))
    assert np.allclose(ringed(view), THETA[[9, 2], :2])
    stage.show_stored(THETA[:80], 1.0)  # an earlier cloud is not what was judged
    assert len(ringed(view)) == 0
    stage.go_live()
    assert len(ringed(view)) == 2
    keeper.forget_foreground()
    assert len(ringed(view)) == 0
    keeper.show_comparisons((fake_comparison(True),))
    assert len(ringed(view)) == 0
