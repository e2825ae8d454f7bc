"""The small colour bar in a corner of the cloud, while colours stand for a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QObject, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.widgets.colours import with_opacity
from app.widgets.placing import parent_of

if TYPE_CHECKING:
    from app.theme import Theme


class ColourKey(QWidget):
    """A horizontal bar with a name and its two ends, in the top right corner of its parent."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._table: np.ndarray | None = None
        self._name = self._low = self._high = ""
        self._theme: Theme | None = None
        self.setFixedSize(150, 44)
        parent.installEventFilter(self)
        self.hide()

    def set_table(self, table: np.ndarray | None, name: str) -> None:
        """The (256, 4) colour table and what it stands for."""
        self._table, self._name = table, name
        self.update()

    def set_limits(self, low: str, high: str) -> None:
        """What the two ends stand for."""
        self._low, self._high = low, high
        self.update()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Show) and watched is self.parent():
            self.move(parent_of(self).width() - self.width() - 10, 8)
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._table is None or self._theme is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(with_opacity(self._theme.panel, 0.8))
        painter.drawRoundedRect(self.rect(), 5, 5)
        pixels = np.ascontiguousarray(self._table[None, :, :])
        image = QImage(pixels.data, len(self._table), 1, QImage.Format.Format_RGBA8888)
        bar = QRectF(8, 18, self.width() - 16, 7)
        painter.drawImage(bar, image)
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.85)
        painter.setFont(font)
        painter.setPen(QColor(self._theme.text))
        painter.drawText(QRectF(8, 2, bar.width(), 15), Qt.AlignmentFlag.AlignCenter, self._name)
        painter.drawText(QRectF(8, 26, bar.width(), 15), Qt.AlignmentFlag.AlignLeft, self._low)
        painter.drawText(QRectF(8, 26, bar.width(), 15), Qt.AlignmentFlag.AlignRight, self._high)
