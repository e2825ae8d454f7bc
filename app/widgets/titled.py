"""A part of the self-consistency panel with a title."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.theme import Theme
from app.widgets.help_button import HelpButton


class TitledSection(QWidget):
    """A title with a "?", and below it what is added to `column`."""

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._title = QLabel(title, self)
        self._notes: list[QLabel] = []
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 8, 0, 0)
        self.column.setSpacing(6)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(HelpButton(title, self))
        self.column.addLayout(head)

    def add_note(self, text: str = "") -> QLabel:
        """A sentence below what is there so far; hidden while empty."""
        note = QLabel(text, self)
        note.setWordWrap(True)
        note.setVisible(bool(text))
        self._notes.append(note)
        self.column.addWidget(note)
        return note

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        size = self.font().pointSizeF()
        self._title.setStyleSheet(f"color: {theme.text}; font-weight: 600; font-size: {size * 1.08:.1f}pt;")
        for note in self._notes:
            note.setStyleSheet(f"color: {theme.muted};")
