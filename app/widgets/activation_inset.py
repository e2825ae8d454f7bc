"""The function that one neuron contributes, as a small curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from app.widgets.colours import mixed

if TYPE_CHECKING:
    from app.theme import Theme

Phi = Callable[[np.ndarray], np.ndarray]
_REACH = 3.0


class ActivationInset(QWidget):
    """The curve a phi(s |w|) of one neuron along its own direction, s = x . w/|w| from -3 to 3."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.values: np.ndarray | None = None
        self._theme: Theme | None = None
        self._colour = ""

    def sizeHint(self) -> QSize:
        return QSize(150, 64)

    def show_neuron(self, phi: Phi, norm: float, readout: float, colour: str) -> None:
        """Draws the curve of a neuron with this |w| and readout."""
        s = np.linspace(-_REACH, _REACH, 121)
        self.values = readout * np.asarray(phi(s * norm), float)
        self._colour = colour
        self.update()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.values is None or self._theme is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(2, 3, -2, -15)
        low, high = min(0.0, float(self.values.min())), max(0.0, float(self.values.max()))
        span = (high - low) or 1.0
        zero = area.bottom() - (0.0 - low) / span * area.height()
        painter.setPen(QPen(mixed(self._theme.panel, self._theme.text, 0.25), 1))
        painter.drawLine(QPointF(area.left(), zero), QPointF(area.right(), zero))
        painter.drawLine(QPointF(area.center().x(), area.top()), QPointF(area.center().x(), area.bottom()))
        x = np.linspace(area.left(), area.right(), len(self.values))
        y = area.bottom() - (self.values - low) / span * area.height()
        path = QPainterPath(QPointF(x[0], y[0]))
        for px, py in zip(x[1:], y[1:], strict=True):
            path.lineTo(px, py)
        painter.setPen(QPen(QColor(self._colour), 2))
        painter.drawPath(path)
        painter.setPen(QColor(self._theme.muted))
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.8)
        painter.setFont(font)
        below = QRectF(area.left(), area.bottom() + 1, area.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "−3")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "x along w")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, "3")
