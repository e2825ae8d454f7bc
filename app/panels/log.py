"""The log dock: what happened, newest last."""

from __future__ import annotations

import html

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from app.logs import N_LINES, LogBuffer
from app.theme import LIGHT, Theme

DRAIN_MILLISECONDS = 250


class LogPanel(QWidget):
    """Drains the log buffer four times a second."""

    def __init__(self, buffer: LogBuffer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._buffer, self._theme = buffer, LIGHT
        self.text = QPlainTextEdit(self)
        self.text.setReadOnly(True)
        self.text.setMaximumBlockCount(N_LINES)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setPlaceholderText("Nothing has happened yet.")
        self.text.setAccessibleName("Log")
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        copy, clear = QPushButton("Copy all", self), QPushButton("Clear", self)
        self.text.setToolTip("What was done, and errors with their traceback")
        self.text.setTabChangesFocus(True)
        copy.setToolTip("Copy every line, for a report")
        clear.setToolTip("Forget the lines that are shown")
        copy.clicked.connect(self._copy)
        clear.clicked.connect(self.text.clear)
        note = QLabel("Errors come with their traceback; copy it into a report.", self)
        note.setProperty("role", "muted")
        line = QHBoxLayout()
        line.addWidget(note, 1)
        line.addWidget(copy)
        line.addWidget(clear)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 8, 6)
        layout.addWidget(self.text, 1)
        layout.addLayout(line)
        self._timer = QTimer(self)
        self._timer.setInterval(DRAIN_MILLISECONDS)
        self._timer.timeout.connect(self.drain)
        self._timer.start()

    @Slot()
    def drain(self) -> None:
        """Show what has been logged since."""
        for line in self._buffer.take():
            colour = {"ERROR": self._theme.bad, "CRITICAL": self._theme.bad, "WARNING": self._theme.warning}.get(
                line.level, self._theme.text
            )
            for part in line.text.splitlines():
                shown = html.escape(part).replace(" ", "&nbsp;")
                self.text.appendHtml(f'<span style="color:{colour}">{shown}</span>')

    def whole(self) -> str:
        """Everything that has been logged, as text."""
        self.drain()
        return self.text.toPlainText()

    def stop(self) -> None:
        """The end: no more draining."""
        self._timer.stop()

    def apply_theme(self, theme: Theme) -> None:
        """New lines take the theme's colours; older ones are written again in plain text."""
        self._theme = theme
        self.text.setPlainText(self.text.toPlainText())

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.whole())
