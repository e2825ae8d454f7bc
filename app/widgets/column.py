"""A page that scrolls up and down and is always as wide as what is on it needs: nothing is cut off at the side."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


class Column(QScrollArea):
    """Without a frame and without a horizontal bar; `setWidget` gives it its page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """What stands on the page has changed, and with it the width that it needs, with or without a bar."""
        page = self.widget()
        if page is not None and watched is page and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            bar = self.verticalScrollBar().sizeHint().width()
            self.setMinimumWidth(page.minimumSizeHint().width() + bar)
        return super().eventFilter(watched, event)
