"""The line over the cloud that says when something else than the run itself is shown, with the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton, QWidget

from app.widgets.placing import parent_of

if TYPE_CHECKING:
    from app.theme import Theme

_TOP = 8


class CloudBanner(QFrame):
    """A sentence and a button in the middle of the upper edge of its parent; hidden while there is nothing to say."""

    left = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("cloudBanner")
        self.sentence = QLabel(self)
        self.back = QToolButton(self)
        self.back.setText("Back to the run")
        self.back.setToolTip("Show the network's neurons as they are now")
        self.back.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.back.clicked.connect(self.left)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 3, 4, 3)
        row.setSpacing(10)
        row.addWidget(self.sentence)
        row.addWidget(self.back)
        parent.installEventFilter(self)
        self.hide()

    def say(self, sentence: str) -> None:
        """What is shown instead of the run; empty when it is the run."""
        self.sentence.setText(sentence)
        self.setVisible(bool(sentence))
        self._place()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.setStyleSheet(
            f"#cloudBanner {{ background: {theme.raised}; border: 1px solid {theme.line}; border-radius: 6px; }}"
            f"#cloudBanner QLabel {{ color: {theme.text}; background: transparent; font-weight: 600; }}"
        )

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and watched is self.parent():
            self._place()
        return False

    def _place(self) -> None:
        self.adjustSize()
        self.move(max(0, (parent_of(self).width() - self.width()) // 2), _TOP)
