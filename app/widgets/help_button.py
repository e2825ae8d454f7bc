"""The small "?" beside a number or a title: asks for the part of the help pages that explains it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QToolButton, QWidget


class HelpButton(QToolButton):
    """Says which heading of the page of numbers is wanted."""

    asked = Signal(str)

    def __init__(self, heading: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = heading
        self.setText("?")
        self.setProperty("role", "quiet")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(f"Help: {heading}")
        self.setToolTip(f"What these numbers mean: {heading}")
        self.clicked.connect(lambda: self.asked.emit(heading))
