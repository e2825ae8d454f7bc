"""What a plot says while there is nothing to plot yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.widgets.placing import parent_of

if TYPE_CHECKING:
    from app.theme import Theme


class EmptyState(QWidget):
    """A quiet title and a hint in the middle of another widget; lets the mouse through.

    Args:
        covers: whether it hides what is below it, where ticks and labels would stand in the words.
    """

    def __init__(self, title: str, hint: str, parent: QWidget, *, covers: bool = False) -> None:
        super().__init__(parent)
        self.setAutoFillBackground(covers)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title = QLabel(title, self)
        self._hint = QLabel(hint, self)
        for label in (self._title, self._hint):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 0, 24, 0)
        layout.setSpacing(6)
        layout.addStretch(1)
        layout.addWidget(self._title)
        layout.addWidget(self._hint)
        layout.addStretch(1)
        parent.installEventFilter(self)
        self.setGeometry(parent.rect())

    def set_text(self, title: str, hint: str) -> None:
        """Another title and hint."""
        self._title.setText(title)
        self._hint.setText(hint)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        size = self.font().pointSizeF()
        palette = self.palette()
        palette.setColor(QPalette.ColorRole.Window, QColor(theme.panel))
        self.setPalette(palette)
        self._title.setStyleSheet(f"color: {theme.text}; font-size: {size * 1.25:.1f}pt; background: transparent;")
        self._hint.setStyleSheet(f"color: {theme.muted}; background: transparent;")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and watched is self.parent():
            self.setGeometry(parent_of(self).rect())
        return False
