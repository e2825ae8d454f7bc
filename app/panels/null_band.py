"""The null band: what distances chance alone gives, and where the observed one lies."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import LIGHT, Theme
from app.widgets.colours import mixed, with_opacity
from app.widgets.words import written

# Beyond this multiple of the null's mean a linear axis would squeeze the band into a line.
_LOG_BEYOND = 5.0
_N_BINS = 36


class NullBand(QWidget):
    """Histogram of the permutation distances with its 95 % mark and the observed distance as a marker.

    The axis is linear while the observed distance is of the null's size and logarithmic beyond, so that a distance a
    hundred times too large is still on the picture together with the band.
    """

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._null = np.empty(0)
        self._null_95 = 0.0
        self._observed = 0.0
        self._role = "muted"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Grey: energy distances after exchanging neurons between the two clouds at random, which is what "
            "chance alone gives. 95 % of them lie in the shaded band. The marker is the observed distance, "
            "in pooled standard deviations."
        )

    def sizeHint(self) -> QSize:
        return QSize(300, 116)

    def minimumSizeHint(self) -> QSize:
        return QSize(200, 116)

    def show_null(self, null: np.ndarray, null_95: float, observed: float, role: str) -> None:
        """Draws a null and an observed distance.

        Args:
            null: (n_permutations,) distances after random exchange.
            null_95: their 95 % quantile.
            observed: the distance of the two clouds.
            role: the theme's colour of the marker ("good", "warning", "bad", "muted").
        """
        self._null, self._null_95, self._observed, self._role = np.asarray(null), null_95, observed, role
        self.setAccessibleName(
            f"Null band: 95 percent of chance distances lie below {written(null_95)}; observed {written(observed)}"
        )
        self.update()

    def clear(self) -> None:
        """Forgets the distances."""
        self._null = np.empty(0)
        self.setAccessibleName("Null band: nothing compared yet")
        self.update()

    def fade(self) -> None:
        """Greys the marker."""
        self._role = "muted"
        self.update()

    @property
    def is_logarithmic(self) -> bool:
        """Whether the axis is logarithmic."""
        return len(self._null) > 0 and self._observed > _LOG_BEYOND * float(self._null.mean())

    def position(self, value: float) -> float:
        """Where a distance lies on the axis, 0 (left end) to 1 (right end)."""
        low, high = self._limits()
        if self.is_logarithmic:
            return float(np.log(max(value, low) / low) / np.log(high / low))
        return (value - low) / (high - low)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def _limits(self) -> tuple[float, float]:
        largest = max(float(self._null.max()), self._observed, self._null_95)
        if self.is_logarithmic:
            smallest = float(self._null[self._null > 0].min(initial=self._observed))
            return smallest / 1.3, largest * 1.6
        low = min(float(self._null.min()), self._observed)
        margin = 0.08 * (largest - low) or 0.1 * abs(largest) or 1.0
        return max(low - margin, 0.0), largest + margin

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme = self._theme
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.88)
        painter.setFont(font)
        area = QRectF(self.rect()).adjusted(4, 20, -4, -34)
        if not len(self._null):
            painter.setPen(QColor(theme.muted))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "the null band appears with a comparison")
            return
        edge_95 = area.left() + self.position(self._null_95) * area.width()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(with_opacity(theme.muted, 0.13))
        painter.drawRect(QRectF(area.left(), area.top(), edge_95 - area.left(), area.height()))
        self._draw_histogram(painter, area)
        painter.setPen(QPen(QColor(theme.muted), 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(edge_95, area.top()), QPointF(edge_95, area.bottom()))
        painter.setPen(QPen(mixed(theme.panel, theme.text, 0.35), 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        self._draw_axis(painter, area)
        self._draw_observed(painter, area, edge_95)

    def _draw_histogram(self, painter: QPainter, area: QRectF) -> None:
        low, high = self._limits()
        edges = np.geomspace(low, high, _N_BINS + 1) if self.is_logarithmic else np.linspace(low, high, _N_BINS + 1)
        counts, _ = np.histogram(self._null, edges)
        top = float(counts.max()) or 1.0
        x = area.left() + np.linspace(0, 1, _N_BINS + 1) * area.width()
        y = area.bottom() - counts / top * area.height() * 0.92
        path = QPainterPath(QPointF(x[0], area.bottom()))
        for k in range(_N_BINS):
            path.lineTo(x[k], y[k])
            path.lineTo(x[k + 1], y[k])
        path.lineTo(x[-1], area.bottom())
        painter.setPen(QPen(QColor(self._theme.muted), 1))
        painter.setBrush(with_opacity(self._theme.muted, 0.35))
        painter.drawPath(path)

    def _draw_axis(self, painter: QPainter, area: QRectF) -> None:
        painter.setPen(QColor(self._theme.text))
        low, high = self._limits()
        metrics = QFontMetricsF(painter.font())
        right_of_last = -np.inf
        for value in _ticks(low, high, self.is_logarithmic):
            x = area.left() + self.position(value) * area.width()
            text = written(value, 1) if self.is_logarithmic else f"{value:.3g}"
            width = metrics.horizontalAdvance(text)
            start = min(max(x - width / 2, 0.0), self.width() - width)
            if start < right_of_last + 8:
                continue
            right_of_last = start + width
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 3))
            painter.drawText(QPointF(start, area.bottom() + 4 + metrics.ascent()), text)
        painter.setPen(QColor(self._theme.muted))
        name = "energy distance" + (" (logarithmic)" if self.is_logarithmic else "")
        painter.drawText(QRectF(0, self.height() - 16, self.width(), 15), Qt.AlignmentFlag.AlignCenter, name)

    def _draw_observed(self, painter: QPainter, area: QRectF, edge_95: float) -> None:
        x = area.left() + self.position(self._observed) * area.width()
        colour = QColor(getattr(self._theme, self._role))
        painter.setPen(QPen(colour, 2.2))
        painter.drawLine(QPointF(x, area.top() - 2), QPointF(x, area.bottom()))
        painter.setBrush(colour)
        painter.setPen(Qt.PenStyle.NoPen)
        top = area.top()
        painter.drawPolygon([QPointF(x - 5, top - 4), QPointF(x + 5, top - 4), QPointF(x, top + 4)])
        metrics = QFontMetricsF(painter.font())
        text = f"observed {written(self._observed)}"
        width = metrics.horizontalAdvance(text)
        start = min(max(x - width / 2, 0.0), self.width() - width)
        painter.setPen(colour)
        painter.drawText(QPointF(start, area.top() - 8), text)
        mark_width = metrics.horizontalAdvance("95 %")
        has_room = edge_95 + mark_width + 5 < self.width() and not edge_95 - 2 < x < edge_95 + mark_width + 9
        painter.setPen(QColor(self._theme.muted))
        mark_start = edge_95 + 5 if has_room else edge_95 - mark_width - 5
        painter.drawText(QPointF(mark_start, area.top() + metrics.ascent()), "95 %")


def _ticks(low: float, high: float, is_logarithmic: bool) -> list[float]:
    if is_logarithmic:
        powers = range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)
        return [10.0**p for p in powers] or [low, high]
    span = high - low
    step = 10.0 ** np.floor(np.log10(span))
    step = next(s for s in (step / 5, step / 2, step, step * 2, step * 5) if span / s <= 4.5)
    return [float(k * step) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
