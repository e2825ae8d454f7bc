"""Tempering and closures in the window: asked for with mouse and keys, shown as a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt

from app.panels.studies_dialog import StudiesDialog
from app.studying import Studying, StudyOrder
from app.window import MainWindow
from mft_engine.figures.closures import draw_closures
from mft_engine.studies.closure_table import closure_table

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dialog(window: MainWindow, qtbot: Any) -> StudiesDialog:
    window.docks.bring_up("sweep")
    qtbot.mouseClick(window.sweep_view.studies, LEFT)
    found = window.findChild(StudiesDialog)
    assert found is not None and found.isVisible()
    return found


def test_a_closure_is_computed_beside_the_window_and_its_figure_is_shown(
    dialog: StudiesDialog, window: MainWindow, qtbot: Any
) -> None:
    dialog.tabs.setCurrentIndex(1)
    dialog.noise.clear()
    qtbot.keyClicks(dialog.noise, "0.3,0.1")
    with qtbot.waitSignal(window.studying.done, timeout=120_000) as done:
        qtbot.mouseClick(dialog.go, LEFT)
        assert not dialog.go.isEnabled() and dialog.stop.isEnabled()
    assert not dialog.figure.pixmap().isNull() and "unaligned, mixed" in dialog.sentence.text()
    (document,) = done.args
    folder = Path(document["figures"][0]).parent
    assert folder.parent == window.settings.studies_folder
    assert json.loads((folder / "closure.json").read_text())["rows"] == document["rows"]
    assert document["rows"] == closure_table("cubic", "0.3,0.1", {})["rows"]


def test_what_cannot_be_is_one_sentence_and_a_study_can_be_stopped(
    dialog: StudiesDialog, window: MainWindow, qtbot: Any
) -> None:
    dialog.tabs.setCurrentIndex(1)
    dialog.noise.setText("no number")
    with qtbot.waitSignal(window.studying.failed, timeout=120_000):
        qtbot.mouseClick(dialog.go, LEFT)
    assert "no number" in dialog.sentence.text() and dialog.sentence.property("role") == "fault"
    dialog.tabs.setCurrentIndex(0)
    qtbot.mouseClick(dialog.go, LEFT)
    assert window.studying.is_running
    with qtbot.waitSignal(window.studying.failed, timeout=20_000) as failed:
        qtbot.mouseClick(dialog.stop, LEFT)
    assert failed.args == ["Stopped."] and dialog.go.isEnabled()


@pytest.mark.slow
def test_tempering_takes_the_recipe_of_the_controls_and_shows_its_ladder(
    dialog: StudiesDialog, window: MainWindow, qtbot: Any
) -> None:
    window.session.edit("training.time", 1.0)
    dialog.rungs.setValue(3)
    with qtbot.waitSignal(window.studying.done, timeout=250_000) as done:
        qtbot.mouseClick(dialog.go, LEFT)
    assert len(done.args[0]["rungs"]) == 3 and not dialog.figure.pixmap().isNull()


def test_a_study_that_cannot_be_written_is_a_sentence(tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "file").write_text("")
    studying = Studying()
    with qtbot.waitSignal(studying.failed) as failed:
        studying.start(StudyOrder(["closure", "cubic"], tmp_path / "file" / "in it"))
    assert "cannot be written" in failed.args[0] and not studying.is_running


def test_the_figure_has_a_panel_for_what_is_learnt_and_one_for_the_neurons_that_specialise() -> None:
    for teacher, title in (("cubic", "share of the cubic learned"), ("modular", "share left unlearned")):
        figure = draw_closures(closure_table(teacher, "0.2,0.1", {}))
        assert [axes.get_ylabel() for axes in figure.axes] == [title, "share of aligned neurons"]
        assert all(axes.lines for axes in figure.axes)
