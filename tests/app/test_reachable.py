"""Every widget that a person can act on says what it is, what it does, and can be reached with the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QHeaderView,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QTabBar,
    QTextEdit,
    QWidget,
)

from app.engine.messages import DataPreview, Reading
from app.library import Curve, RunsCompared, Side
from app.panels.command_palette import CommandPalette
from app.panels.composer import ComposerDialog
from app.panels.data_dialog import DataDialog
from app.panels.export_dialog import ExportDialog
from app.panels.help_pages import HelpPages
from app.views.compare_runs import CompareDialog
from app.window import MainWindow

INTERACTIVE = (
    QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit,
    QTextEdit,
)  # fmt: skip
# Parts of Qt's own widgets: a person acts on the whole.
PARTS_OF = (QAbstractItemView, QAbstractSpinBox, QComboBox, QLineEdit, QTabBar)


def own_parts(root: QWidget) -> Iterator[QWidget]:
    """What can be acted on inside a window, without the parts that Qt makes such things of."""
    for widget in root.findChildren(QWidget):
        if not isinstance(widget, INTERACTIVE) or isinstance(widget, (QScrollBar, QHeaderView)):
            continue
        if widget.window() is not root or widget.objectName().startswith("qt_"):
            continue
        above = widget.parentWidget()
        while above is not None and above is not root and not isinstance(above, PARTS_OF):
            above = above.parentWidget()
        if not isinstance(above, PARTS_OF):
            yield widget


def name_of(widget: QWidget) -> str:
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    return widget.accessibleName() or text.replace("&", "")


def lacks(root: QWidget) -> list[str]:
    """What is missing, widget by widget."""
    found = []
    for widget in own_parts(root):
        place, parent = type(widget).__name__, widget.parentWidget()
        place += f" '{name_of(widget)}' in {type(parent).__name__} {parent.objectName() if parent else ''}"
        if not name_of(widget).strip():
            found.append(f"no name: {place}")
        if not widget.toolTip().strip():
            found.append(f"no tooltip: {place}")
        # A disabled widget gets its turn once it is enabled.
        if not widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            found.append(f"not reached by Tab: {place}")
    return found


def preview() -> DataPreview:
    return DataPreview(
        Path("table.csv"), ("x1", "x2", "y"), 120, (("1", "2", "3"),), target="y",
        reading=Reading("comma", ".", True), found=Reading("comma", ".", True),
    )  # fmt: skip


def compared() -> RunsCompared:
    sides = [
        Side(Path(name), name, np.eye(3, dtype=np.float32), ("w1", "w2", "a"), 0.5,
             Curve(Path(name), np.arange(3.0), np.ones(3)))
        for name in ("first", "second")
    ]  # fmt: skip
    return RunsCompared(sides[0], sides[1], (("seed", 0, 1),), (), "They cannot be compared.")


DIALOGS: dict[str, Callable[[MainWindow], QDialog]] = {
    "export": lambda window: ExportDialog(Path(), window),
    "composer": lambda window: ComposerDialog(Path(), window),
    "data": lambda window: DataDialog(preview(), window),
    "palette": lambda window: CommandPalette(window.actions(), window),
    "help": lambda window: HelpPages(window),
    "compare": lambda window: CompareDialog(compared(), parent=window),
}


def test_every_widget_of_the_window_has_a_name_a_tooltip_and_a_place_in_the_tab_order(
    window: MainWindow, qtbot: Any
) -> None:
    for dock in window.docks:
        dock.show()
    assert sum(1 for _ in own_parts(window)) > 140
    assert lacks(window) == []


@pytest.mark.parametrize("name", DIALOGS)
def test_every_widget_of_a_dialog_has_a_name_a_tooltip_and_a_place_in_the_tab_order(
    name: str, window: MainWindow, qtbot: Any
) -> None:
    dialog = DIALOGS[name](window)
    dialog.show()
    assert any(True for _ in own_parts(dialog))
    assert lacks(dialog) == []
    dialog.close()
    dialog.deleteLater()


def test_tab_goes_through_all_that_can_be_seen_and_comes_back(window: MainWindow, qtbot: Any) -> None:
    seen = {w for w in own_parts(window) if w.isVisible() and w.isEnabled() and not w.visibleRegion().isEmpty()}
    window.setFocus()
    passed: set[QWidget] = set()
    for _ in range(4 * len(seen) + 50):
        qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
        now = QApplication.focusWidget()
        if now in passed and len(passed & seen) == len(seen):
            break
        if now is not None:
            passed.add(now)
    # Buttons of one group are one stop of the keyboard: the arrows go on from there.
    missed = {w for w in seen - passed if not (isinstance(w, QAbstractButton) and w.group() is not None)}
    assert not missed, [f"{type(w).__name__} {name_of(w)}" for w in missed]
