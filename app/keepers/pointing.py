"""Pointing at a control instead of naming its field: the next click on a row of the experiment dock chooses it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from app.panels.experiment import ExperimentPanel
from app.widgets.row import Row


class Pointer(QObject):
    """While it waits, the experiment dock's controls do nothing: a click says which field is meant, Esc gives up."""

    pointed = Signal(str)  # path
    given_up = Signal()

    def __init__(self, panel: ExperimentPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._is_waiting = False
        self._hovered: Row | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the next click chooses."""
        return self._is_waiting

    def wait(self, is_waiting: bool) -> None:
        """Begin or end to wait for a click."""
        if is_waiting == self._is_waiting:
            return
        self._is_waiting = is_waiting
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        if is_waiting:
            application.installEventFilter(self)
            self._panel.setCursor(Qt.CursorShape.CrossCursor)
        else:
            application.removeEventFilter(self)
            self._panel.unsetCursor()
            self._mark(None)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Catches what happens over the dock; everything elsewhere goes its way."""
        kind = event.type()
        if kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape:
            self.wait(False)
            self.given_up.emit()
            return True
        if kind == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape:
            event.accept()  # Esc is the window's shortcut for cancelling a job otherwise
            return True
        is_press = kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick)
        is_move = kind in (QEvent.Type.MouseMove, QEvent.Type.HoverMove)
        if not (is_press or is_move or kind == QEvent.Type.MouseButtonRelease):
            return False
        if not isinstance(watched, QWidget) or not (watched is self._panel or self._panel.isAncestorOf(watched)):
            if is_move and isinstance(event, QMouseEvent):
                self._mark(None)
            return False
        row = self._row_of(watched)
        if is_move:
            self._mark(row)
            return isinstance(event, QMouseEvent)
        if is_press and row is not None:
            self.wait(False)
            self.pointed.emit(row.path)
        return True

    def _row_of(self, widget: QWidget) -> Row | None:
        found: QWidget | None = widget
        while found is not None and not isinstance(found, Row):
            found = found.parentWidget()
        return found

    def _mark(self, row: Row | None) -> None:
        if row is self._hovered:
            return
        for changed, is_marked in ((self._hovered, False), (row, True)):
            if changed is not None:
                changed.title.setProperty("role", "pointed" if is_marked else "")
                changed.title.style().polish(changed.title)
        self._hovered = row
