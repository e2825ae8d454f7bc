"""The history dock: every change that can be taken back, the present state marked; a click goes there."""

from __future__ import annotations

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QUndoView, QVBoxLayout, QWidget

from app.theme import Theme


class HistoryPanel(QWidget):
    """A list of the undo stack's entries."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = QUndoView(self)
        self.list.setEmptyLabel("As it was opened")
        self.list.setAccessibleName("History of changes")
        self.list.setToolTip("Click an entry to go back or forward to it (Ctrl+Z, Ctrl+Shift+Z)")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 6)
        layout.addWidget(self.list)
        self.setMinimumSize(160, 100)

    def set_stack(self, stack: QUndoStack) -> None:
        """The stack whose entries are listed."""
        self.list.setStack(stack)

    def apply_theme(self, theme: Theme) -> None:
        """The list follows the application's stylesheet."""
