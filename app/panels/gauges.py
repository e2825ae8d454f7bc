"""A small gauge with zones: how far a number may go before it should worry anyone."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import LIGHT, Theme
from app.widgets.colours import mixed

WARN_ABOVE = 1.5
BAD_ABOVE = 1.8
_END = 2.2


class StabilityGauge(QWidget):
    """Step size times the tangent kernel's top eigenvalue, 0 to 2.2: calm to 1.5, doubtful to 1.8, wrong above."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._value: float | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(220, 34)

    def minimumSizeHint(self) -> QSize:
        return QSize(120, 34)

    def show_value(self, value: float | None) -> None:
        """Moves the needle; None takes it away."""
        self._value = value if value is not None and value == value else None
        words = "unknown" if self._value is None else f"{self._value:.2f}, {zone(self._value)}"
        self.setAccessibleName(f"Step size times Theta: {words}")
        self.update()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme = self._theme
        bar = QRectF(8, 9, self.width() - 16, 8)
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.82)
        painter.setFont(font)
        here = "" if self._value is None else zone(self._value)
        for start, end, name, role in (
            (0.0, WARN_ABOVE, "good", "good"),
            (WARN_ABOVE, BAD_ABOVE, "warning", "warning"),
            (BAD_ABOVE, _END, "bad", "bad"),
        ):
            left, right = self._at(bar, start), self._at(bar, end)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(mixed(theme.panel, getattr(theme, role), 0.85 if here == name else 0.35))
            painter.drawRect(QRectF(left, bar.top(), right - left, bar.height()))
        painter.setPen(QColor(theme.muted))
        for value in (0.0, WARN_ABOVE, BAD_ABOVE):
            x = self._at(bar, value)
            painter.drawText(QRectF(x - 15, bar.bottom() + 2, 30, 14), Qt.AlignmentFlag.AlignCenter, f"{value:g}")
        if self._value is not None:
            x = self._at(bar, min(self._value, _END))
            painter.setPen(QPen(QColor(theme.panel), 1.2))
            painter.setBrush(QColor(theme.text))
            painter.drawPolygon([QPointF(x - 6, 1), QPointF(x + 6, 1), QPointF(x, bar.top() + 4)])
            painter.setPen(QPen(QColor(theme.text), 2))
            painter.drawLine(QPointF(x, bar.top() + 2), QPointF(x, bar.bottom() + 1))

    @staticmethod
    def _at(bar: QRectF, value: float) -> float:
        return bar.left() + max(value, 0.0) / _END * bar.width()


def zone(value: float) -> str:
    """ "good", "warning" or "bad": the theme's role for a value of step size times Theta."""
    return "good" if value <= WARN_ABOVE else "warning" if value <= BAD_ABOVE else "bad"


def stability_sentence(eta_theta: float, step_size: float) -> str:
    """What the gauge means for the numbers on screen; names the largest safe step where the present one is not."""
    safe = 1.4 * step_size / eta_theta if eta_theta > 0 else step_size
    if eta_theta > BAD_ABOVE:
        return (
            f"The step is too large: the cloud shrinks and its numbers are wrong, however smooth they look. "
            f"The largest safe step size is {safe:.2g}."
        )
    if eta_theta > WARN_ABOVE:
        return f"The step is near its limit of 2: expect distorted numbers. The largest safe step size is {safe:.2g}."
    return "Well below the limit of 2: the step size does not distort the cloud."
