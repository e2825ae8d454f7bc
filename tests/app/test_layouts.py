"""What a person does to the docks is in the history, by name, and can be taken back and done again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QDockWidget, QLabel, QMenu, QTabBar, QToolButton

from app.panels.history import HistoryPanel
from app.window import MainWindow

LEFT = Qt.MouseButton.LeftButton
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def settled(window: MainWindow, qtbot: Any) -> MainWindow:
    """A window whose docks have come to rest."""
    qtbot.wait(50)
    rest(window, qtbot)
    assert window.session.undo_stack.count() == 0
    return window


def rest(window: MainWindow, qtbot: Any) -> None:
    """Until the docks are where they are going to be, and the history knows it."""
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not window.layouts._timer.isActive() and not window.layouts._deed)


def texts(window: MainWindow) -> list[str]:
    stack = window.session.undo_stack
    return [stack.text(k) for k in range(stack.count())]


def places(window: MainWindow) -> dict[str, tuple[bool, bool, object]]:
    return {d.windowTitle(): (d.isHidden(), d.isFloating(), window.dockWidgetArea(d)) for d in window.docks}


def press_button(dock: QDockWidget, name: str, qtbot: Any) -> None:
    qtbot.mouseClick(dock.findChild(QAbstractButton, f"qt_dockwidget_{name}button"), LEFT)
    rest(dock.parentWidget(), qtbot)


def pick_from_view_menu(window: MainWindow, name: str, qtbot: Any) -> None:
    bar, action = window.menuBar(), window.docks[name].toggleViewAction()
    menu = next(menu for menu in bar.findChildren(QMenu) if action in menu.actions())
    qtbot.mouseClick(bar, LEFT, pos=bar.actionGeometry(menu.menuAction()).center())
    qtbot.waitUntil(menu.isVisible)
    qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(action).center())
    rest(window, qtbot)


def key(window: MainWindow, letter: Qt.Key, held: Qt.KeyboardModifier, qtbot: Any) -> None:
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.setFocus()
    qtbot.keyClick(window, letter, held)
    rest(window, qtbot)


def undo(window: MainWindow, qtbot: Any) -> None:
    key(window, Qt.Key.Key_Z, CONTROL, qtbot)


def redo(window: MainWindow, qtbot: Any) -> None:
    key(window, Qt.Key.Key_Z, CONTROL | SHIFT, qtbot)


def test_docks_closed_shown_and_made_to_float_are_entries_that_can_be_taken_back(
    settled: MainWindow, qtbot: Any
) -> None:
    window, before = settled, places(settled)
    press_button(window.docks["self_consistency"], "close", qtbot)
    pick_from_view_menu(window, "history", qtbot)
    pick_from_view_menu(window, "log", qtbot)
    press_button(window.docks["experiment"], "float", qtbot)
    after = places(window)
    assert texts(window) == ["close Self-consistency", "show History", "close Log", "float Experiment"]
    assert window.docks["experiment"].isFloating() and window.docks["self_consistency"].isHidden()
    for _ in range(4):
        undo(window, qtbot)
    assert places(window) == before and window.session.undo_stack.index() == 0
    for _ in range(4):
        redo(window, qtbot)
    assert places(window) == after and texts(window)[-1] == "float Experiment"


def test_named_layouts_stand_between_parameters_in_one_history_and_a_click_there_goes_back(
    settled: MainWindow, qtbot: Any
) -> None:
    window = settled
    pick_from_view_menu(window, "history", qtbot)
    window.session.edit("regularisation.scale", 0.02)
    window.session.edit_done()
    key(window, Qt.Key.Key_2, CONTROL, qtbot)
    qtbot.waitUntil(lambda: window.docks.front == "runs")
    assert texts(window) == ["show History", "regularisation scale", "layout Compare"]
    assert window.docks["experiment"].isHidden() and window.docks["history"].isHidden()
    undo(window, qtbot)
    assert not window.docks["experiment"].isHidden() and window.docks.front == "loss"
    assert window.session.recipe.regularisation.scale == 0.02
    window.docks.bring_up("history")
    panel = window.docks.view(HistoryPanel)
    place = panel.list.visualRect(panel.list.model().index(3, 0)).center()
    qtbot.mouseClick(panel.list.viewport(), LEFT, pos=place)
    qtbot.waitUntil(lambda: window.docks.front == "runs")
    assert window.docks["experiment"].isHidden()


def the_bar(window: MainWindow) -> QTabBar:
    """The tabs below the cloud."""
    bars = window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return next(bar for bar in bars if bar.isVisible() and bar.count() > 5)


def test_tabs_dragged_into_another_order_go_back(settled: MainWindow, qtbot: Any) -> None:
    def order() -> list[str]:
        bar = the_bar(settled)
        return [bar.tabText(k) for k in range(bar.count())]

    bar, before = the_bar(settled), order()
    start = bar.tabRect(0).center()
    qtbot.mousePress(bar, LEFT, pos=start)
    for step in range(1, 8):
        qtbot.mouseMove(bar, start + QPoint(20 * step, 0))
    qtbot.mouseRelease(bar, LEFT, pos=start + QPoint(140, 0))
    qtbot.wait(300)  # the tab glides into its place
    rest(settled, qtbot)
    assert order() != before and texts(settled) == ["move tabs"]
    undo(settled, qtbot)
    assert order() == before


def test_a_dock_dragged_by_its_title_to_the_other_side_goes_back(settled: MainWindow, qtbot: Any) -> None:
    window, before = settled, places(settled)
    dock = window.docks["self_consistency"]
    start = QPoint(60, 8)
    qtbot.mousePress(dock, LEFT, pos=start)
    for step in range(1, 12):
        qtbot.mouseMove(dock, start + QPoint(-6 * step, 4 * step))
        qtbot.wait(5)
    assert texts(window) == []  # not before it is let go
    qtbot.mouseRelease(dock, LEFT, pos=start)
    rest(window, qtbot)
    assert dock.isFloating() and texts(window) == ["float Self-consistency"]
    undo(window, qtbot)
    assert places(window) == before


def test_what_the_program_does_to_docks_is_no_entry(settled: MainWindow, qtbot: Any) -> None:
    window = settled
    window.docks.bring_up("neurons")  # as the first chosen neurons do
    rest(window, qtbot)
    assert texts(window) == []
    press_button(window.docks["experiment"], "close", qtbot)
    undo(window, qtbot)
    # What the program did before stays.
    assert not window.docks["neurons"].isHidden() and not window.docks["experiment"].isHidden()
    assert texts(window) == ["close Experiment"]


def test_in_the_narrowest_window_names_of_tabs_numbers_and_the_rest_of_the_toolbar_are_there(
    settled: MainWindow, qtbot: Any
) -> None:
    window = settled
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    qtbot.wait(200)
    window.resize(600, 700)
    qtbot.wait(100)
    bar = the_bar(window)
    for k in range(bar.count()):
        needed = bar.fontMetrics().horizontalAdvance(bar.tabText(k))
        assert needed <= bar.tabRect(k).width() and bar.rect().contains(bar.tabRect(k)), bar.tabText(k)
    panel = window.self_consistency
    assert panel.widget().width() <= panel.viewport().width()
    window.docks.bring_up("neurons")
    window.brush.choose({"background": np.arange(20)})
    qtbot.wait(100)
    labels = [one for one in window.docks["neurons"].findChildren(QLabel) if one.isVisible() and one.text()]
    assert len(labels) > 10
    for label in labels:
        assert label.wordWrap() or label.width() >= label.sizeHint().width(), label.text()
    more = window.findChild(QToolButton, "qt_toolbar_ext_button")
    assert window.speed.isVisible() or (more.isVisible() and more.width() >= more.iconSize().width() > 0)


def test_with_larger_letters_tabs_keep_their_names_and_scroll(settled: MainWindow, qtbot: Any) -> None:
    bar = the_bar(settled)
    bar.setStyleSheet("QTabBar { font-size: 22pt; }")
    qtbot.wait(50)
    assert bar.elideMode() == Qt.TextElideMode.ElideNone and bar.usesScrollButtons()
    arrows = [button for button in bar.findChildren(QToolButton) if button.isVisible()]
    assert len(arrows) == 2
    before = bar.tabRect(0).x()
    qtbot.mouseClick(arrows[1], LEFT)
    assert bar.tabRect(0).x() < before
