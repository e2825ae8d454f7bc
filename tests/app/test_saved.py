"""Sessions, history and layouts: what a window looks like is kept, saved, opened again, and every change taken back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QTabBar

from app.logs import LogBuffer
from app.panels.history import HistoryPanel
from app.saved import SUFFIX, SavedSession, SavedSessionError, ViewState, read_session, session_from, write_session
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.window import MainWindow

LEFT = Qt.MouseButton.LeftButton
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def pick(box: Any, key: str, qtbot: Any) -> None:
    """Choose an entry of a picker with the keys, as a person does."""
    box.setFocus()
    steps = box.findData(key) - box.currentIndex()
    for _ in range(abs(steps)):
        qtbot.keyClick(box, Qt.Key.Key_Down if steps > 0 else Qt.Key.Key_Up)
    assert box.currentData() == key


def bars_of_tabs(window: MainWindow) -> list[QTabBar]:
    """Those that can be seen: Qt leaves some behind where docks were before."""
    direct = Qt.FindChildOption.FindDirectChildrenOnly
    bars = window.findChildren(QTabBar, options=direct)
    return [bar for bar in bars if bar.isVisible() and window.rect().intersects(bar.geometry())]


def arrange(window: MainWindow, qtbot: Any) -> None:
    """A window that looks unlike a fresh one, made by mouse and keys."""
    header = window.cloud.header
    pick(header.y_picker, "a", qtbot)
    pick(header.colour_picker, "norm", qtbot)
    qtbot.mouseClick(header.chips["initial"], LEFT)
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_B)
    window.docks.bring_up("loss")
    qtbot.mouseClick(window.loss.log_scale, LEFT, pos=QPoint(8, window.loss.log_scale.height() // 2))
    window.sweep_view.choose(0, "training.temperature", "0.01, 0.02")
    window.sweep_view.seeds.setValue(7)
    window.runs.search.setText("clover")
    window.docks.bring_up("marginals")
    window.session.edit("regularisation.scale", 0.02)
    window.session.edit_done()


def wheel(window: MainWindow) -> None:
    viewport = window.cloud.plot.viewport()
    middle = QPointF(viewport.rect().center())
    place, phase = QPointF(viewport.mapToGlobal(middle.toPoint())), Qt.ScrollPhase.NoScrollPhase
    no_button, no_key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(middle, place, QPoint(), QPoint(0, 240), no_button, no_key, phase, False)
    QApplication.sendEvent(viewport, event)


@pytest.fixture
def second(make_session: Callable[..., Session], themes: ThemeKeeper, qtbot: Any) -> Any:
    """Windows on a folder of settings that another window has left behind."""
    opened: list[tuple[MainWindow, LogBuffer]] = []

    def open_it(settings: Settings) -> MainWindow:
        session, log = make_session(settings.recipe), LogBuffer()
        window = MainWindow(session, settings, themes, log)
        opened.append((window, log))
        window.show()
        with qtbot.waitSignal(session.snapshot_ready):
            session.start()
        qtbot.wait(20)
        return window

    yield open_it
    for window, log in opened:
        window.close()
        log.close()
        window.deleteLater()
    QApplication.processEvents()


def test_a_session_saved_closed_and_opened_is_equal(
    window: MainWindow, second: Any, tmp_path: Path, qtbot: Any
) -> None:
    arrange(window, qtbot)
    wheel(window)
    saved = window.saved.capture()
    assert saved.view is not None and saved.view.span is not None and saved.view.is_split
    window.commands.session_saved.emit(tmp_path / f"mine{SUFFIX}")
    assert read_session(tmp_path / f"mine{SUFFIX}") == saved
    other = second(Settings(tmp_path / "fresh"))
    assert other.saved.capture() != saved
    other.resize(window.size())
    other.commands.open_path(tmp_path / f"mine{SUFFIX}")
    qtbot.waitUntil(lambda: other.cloud.axes == ("w1", "a"))
    qtbot.wait(30)
    again = other.saved.capture()
    assert again.view is not None
    ours, theirs = (np.array(view.span) for view in (saved.view, again.view))
    # A window of another size keeps the shape of its pixels, and shows more along one axis.
    assert np.allclose(ours.mean(axis=1), theirs.mean(axis=1), atol=0.05 * np.ptp(ours))
    without = {"view": saved.view.model_copy(update={"span": None}), "layout": ""}
    assert again.model_copy(update={"view": again.view.model_copy(update={"span": None}), "layout": ""}) == (
        saved.model_copy(update=without)
    )
    assert str(tmp_path / f"mine{SUFFIX}") in other.settings.recent


def test_the_next_start_looks_like_the_last_end(window: MainWindow, second: Any, qtbot: Any) -> None:
    arrange(window, qtbot)
    before = window.saved.capture()
    window.close()
    other = second(Settings(window.settings.folder))
    after = other.saved.capture()
    for name in ("view", "sweep", "runs_filter", "front", "recipe"):
        assert getattr(after, name) == getattr(before, name), name


def test_every_change_of_the_view_is_an_entry_of_the_history_and_a_click_there_goes_back(
    window: MainWindow, qtbot: Any
) -> None:
    stack, header = window.session.undo_stack, window.cloud.header
    pick(header.y_picker, "a", qtbot)
    pick(header.colour_picker, "a", qtbot)
    qtbot.mouseClick(header.chips["background"], LEFT)
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_B)
    assert window.cloud.is_split and window.actions_by_name["split"].isChecked()
    window.session.edit("regularisation.scale", 0.01)
    texts = [stack.text(k) for k in range(stack.count())]
    assert texts == ["y axis", "colour", "show background", "split view", "regularisation scale"]
    qtbot.keyClick(window, Qt.Key.Key_Z, CONTROL)
    assert window.session.recipe.regularisation.scale == 0.001 and window.cloud.is_split
    qtbot.keyClick(window, Qt.Key.Key_Z, CONTROL)
    assert not window.cloud.is_split and not window.actions_by_name["split"].isChecked()
    window.docks["history"].toggleViewAction().trigger()
    panel = window.docks.view(HistoryPanel)
    window.docks.bring_up("history")
    first = panel.list.visualRect(panel.list.model().index(0, 0)).center()
    qtbot.mouseClick(panel.list.viewport(), LEFT, pos=first)
    assert stack.index() == 0 and window.cloud.axes == ("w1", "w2")
    assert header.chips["background"].isChecked() and header.colour_picker.currentData() == "plain"
    for _ in range(5):
        qtbot.keyClick(window, Qt.Key.Key_Z, CONTROL | SHIFT)
    assert window.cloud.axes == ("w1", "a") and window.cloud.is_split and not header.chips["background"].isChecked()
    assert window.session.recipe.regularisation.scale == 0.01


def test_layouts_make_room_for_their_work_and_reset_brings_everything_back(window: MainWindow, qtbot: Any) -> None:
    names = ("experiment", "self_consistency", "runs", "sweep")
    window.setFocus()
    for key, hidden, front in (
        (Qt.Key.Key_2, "experiment", "runs"),
        (Qt.Key.Key_3, "self_consistency", "sweep"),
        (Qt.Key.Key_1, "", "loss"),
    ):
        qtbot.keyClick(window, key, CONTROL)
        qtbot.waitUntil(lambda front=front: window.docks.front == front)
        assert [name for name in names if window.docks[name].isHidden()] == ([hidden] if hidden else [])
        # Docks that stood side by side for a moment would have made it as wide as all of them.
        assert window.width() == 1280
        qtbot.waitUntil(lambda: len(bars_of_tabs(window)) == 1)
    window.docks["sweep"].setFloating(True)
    window.docks["loss"].hide()
    window.actions_by_name["layout"].trigger()
    assert not window.docks["sweep"].isFloating() and not window.docks["loss"].isHidden()


def test_in_the_split_view_blue_and_orange_have_plots_of_their_own_with_the_same_axes(
    window: MainWindow, qtbot: Any
) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    cloud, foreground = window.cloud, window.cloud.layers["foreground"]
    qtbot.waitUntil(lambda: foreground.is_drawn)
    assert foreground.scatter.getViewBox() is cloud.plot.getViewBox()
    over = foreground.scatter.opts["brush"].color().alphaF()
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_B)
    assert cloud.second.isVisible() and foreground.scatter.getViewBox() is cloud.second.getViewBox()
    # Over the background orange lets blue shine through; alone it need not.
    assert over < foreground.scatter.opts["brush"].color().alphaF()
    qtbot.wait(80)
    wheel(window)
    qtbot.wait(20)
    first, second = (np.array(plot.getViewBox().viewRange()) for plot in (cloud.plot, cloud.second))
    assert np.allclose(first.mean(axis=1), second.mean(axis=1), atol=0.05 * np.ptp(first))
    qtbot.keyClick(window, Qt.Key.Key_B)
    assert not cloud.second.isVisible() and foreground.scatter.getViewBox() is cloud.plot.getViewBox()


BROKEN = ["", "{", "[]", "null", '{"schema": "something else"}', '{"schema": 3}', "[" * 50_000, "\udcff"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_session_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken{SUFFIX}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SavedSessionError, match="broken"):
        read_session(path)


def test_files_that_are_no_files_are_no_sessions_either(tmp_path: Path) -> None:
    pipe = tmp_path / f"pipe{SUFFIX}"
    os.mkfifo(pipe)
    with pytest.raises(SavedSessionError, match="no ordinary file"):
        read_session(pipe)
    with pytest.raises(SavedSessionError, match="cannot be read"):
        read_session(tmp_path / "nowhere")
    with pytest.raises(SavedSessionError, match="cannot be written"):
        write_session(tmp_path / "nowhere" / "s", SavedSession())


@pytest.mark.parametrize(
    "values",
    [3, None, [], {"view": 3}, {"view": {"span": [[0, "a"], 1]}}, {"sweep": {"n_seeds": -4}}, {"run": ["x"]},
     {"recipe": 5, "opened": "x", "front": 4, "layout": 1}],
)  # fmt: skip
def test_what_cannot_be_read_of_a_session_costs_that_part_alone(values: Any) -> None:
    assert session_from(values) == SavedSession()
    if isinstance(values, dict):
        assert session_from(values | {"runs_filter": "kept"}).runs_filter == "kept"


def test_a_broken_session_never_blocks_the_start(second: Any, tmp_path: Path, qtbot: Any) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    odd = {"view": {"x": "no such axis", "colour": "none", "overlays": {"moon": True}}, "front": "nowhere"}
    session = odd | {"layout": "zz", "sweep": {"axes": {"no.field": "1"}, "n_seeds": 10**30}}
    (folder / "window.json").write_text(json.dumps({"session": session}))
    window = second(Settings(folder))
    assert window.cloud.axes == ("w1", "w2") and window.isVisible()
    (folder / "again").mkdir()
    path = folder / f"odd{SUFFIX}"
    path.write_text(json.dumps({"schema": "mft-lab/session/1", **session}))
    window.commands.open_path(path)
    assert "neither a run" in window.status_line.sentence.text()


def test_a_view_that_this_run_does_not_have_stays_as_it_is(window: MainWindow) -> None:
    window.view_keeper.restore(ViewState(x="PC1", y="no such axis", colour="nothing", overlays={"moon": True}))
    assert window.cloud.axes == ("PC1", "w2") and window.cloud.header.colour_picker.currentData() == "plain"
