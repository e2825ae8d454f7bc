"""The fields view: target, the two networks and what is left over, as functions on the plane of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolTip, QWidget

from app.theme import LIGHT, Theme
from app.widgets.colours import colour_index, diverging_map, mixed
from app.widgets.empty_state import EmptyState

if TYPE_CHECKING:
    from mft_engine.experiment.events import FieldsReady

_TITLES = (
    ("target", "target y"),
    ("background", "background f"),
    ("foreground", "foreground f"),
    ("residual", "residual y − f"),
)
_TITLE, _TICKS, _LEFT, _GAP, _BAR = 22, 30, 38, 12, 58
_APART = 18  # maps of one row
_NOTHING = ("No fields yet", "They are drawn with the first steps of training.")
_NO_PLANE = ("No fields", "Heat maps are drawn for two inputs and one hidden layer.")


class FieldsView(QWidget):
    """Four heat maps with zero in the middle of the colours.

    The first three share one colour bar, so that equal colours are equal values; the residual has its own, because
    one wants to see it once it is small.
    """

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._fields: FieldsReady | None = None
        self._chosen: np.ndarray | None = None
        self._titles = _TITLES
        self._images: dict[str, QImage] = {}
        self._limits = (1.0, 1.0)
        self._places: dict[str, QRectF] = {}
        self.setMouseTracking(True)
        self.setMinimumSize(320, 120)
        self.setAccessibleName("Target, background, foreground and residual as heat maps")
        self.empty = EmptyState(*_NOTHING, self)
        self.apply_theme(theme)

    def sizeHint(self) -> QSize:
        return QSize(900, 230)

    def show_fields(self, fields: FieldsReady | None) -> None:
        """Draws the maps; None where the input is not two-dimensional."""
        self._fields = fields
        self.empty.setVisible(fields is None)
        if fields is not None:
            self._limits = (
                _stable_limit(self._limits[0], _largest(fields.target, fields.background, fields.foreground)),
                _stable_limit(self._limits[1], _largest(fields.residual)),
            )
        self._colour()

    def show_chosen(self, values: np.ndarray | None, cloud: str = "") -> None:
        """What chosen neurons of a cloud contribute to its function, on the same square; None takes the map away.

        Args:
            values: (n_pixels, n_pixels), row = x2 ascending.
        """
        if values is None and self._chosen is None:
            return
        self._chosen = values
        title = (("chosen", "chosen f" if cloud == "background" else "chosen f, fresh"),) if values is not None else ()
        self._titles = (*_TITLES[:-1], *title, _TITLES[-1])
        self._colour()

    def _values(self, name: str) -> np.ndarray | None:
        if name == "chosen":
            return self._chosen
        values: np.ndarray | None = getattr(self._fields, name)
        return values

    def clear(self, *, has_plane: bool = True) -> None:
        """Forgets the maps; without a plane of inputs there will be none."""
        self.empty.set_text(*(_NOTHING if has_plane else _NO_PLANE))
        self._limits = (1.0, 1.0)
        self.show_fields(None)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the two colour bars: of the three functions, and of the residual."""
        return self._limits

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.empty.apply_theme(theme)
        self._colour()

    def _colour(self) -> None:
        self._images = {}
        if self._fields is not None:
            table = diverging_map()
            for name, _ in self._titles:
                values = self._values(name)
                if values is not None:
                    limit = self._limits[1 if name == "residual" else 0]
                    # Images run downwards, x2 runs upwards.
                    rows = np.ascontiguousarray(table[colour_index(values[::-1], limit, is_signed=True)])
                    height, width = values.shape
                    image = QImage(rows.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
                    self._images[name] = image.copy()
        self.update()

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._theme.panel))
        if self._fields is None:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.85)
        self._lay_out()
        for name, title in self._titles:
            place = self._places[name]
            painter.setFont(self.font())
            painter.setPen(QColor(self._theme.text))
            above = QRectF(place.left() - 10, place.top() - _TITLE, place.width() + 20, _TITLE - 3)
            painter.drawText(above, Qt.AlignmentFlag.AlignCenter, title)
            painter.setFont(small)
            self._draw_map(painter, name, place)
        self._draw_bar(painter, self._places["shared bar"], self._limits[0])
        self._draw_bar(painter, self._places["residual bar"], self._limits[1])

    def _lay_out(self) -> None:
        """Equal squares as large as the widget allows, in one row, or in two when it is tall."""
        width, height, n = self.width(), self.height(), len(self._titles)
        across = -(-n // 2)
        # In one row the first map alone has numbers on its left.
        row_side = min((width - _LEFT - 2 * _BAR - (n - 1) * _APART) / n, float(height - _TITLE - _TICKS - 6))
        block_side = min(
            (width - across * _LEFT - _BAR - (across - 1) * _GAP) / across, (height - 2 * (_TITLE + _TICKS) - 6) / 2
        )
        is_block = block_side > row_side
        side = max(block_side if is_block else row_side, 24.0)
        cell = QSize(round(_LEFT + side), round(_TITLE + side + _TICKS))
        self._places = {}
        if is_block:
            total = across * cell.width() + (across - 1) * _GAP + _BAR
            left, top = (width - total) / 2, (height - 2 * cell.height()) / 2
            for k, (name, _) in enumerate(self._titles):
                x = left + (k % across) * (cell.width() + _GAP) + _LEFT
                y = top + (k // across) * cell.height() + _TITLE
                self._places[name] = QRectF(x, y, side, side)
            bar_x = left + across * cell.width() + (across - 1) * _GAP + 10
            for name, row in (("shared bar", 0), ("residual bar", 1)):
                self._places[name] = QRectF(bar_x, top + row * cell.height() + _TITLE, 10, side)
            return
        whole = _LEFT + n * side + 2 * _BAR + (n - 1) * _APART
        x, top = (width - whole) / 2 + _LEFT, (height - cell.height()) / 2 + _TITLE
        last_shared = self._titles[-2][0]
        for name, _ in self._titles:
            self._places[name] = QRectF(x, top, side, side)
            x += side
            if name in (last_shared, "residual"):
                bar = "shared bar" if name == last_shared else "residual bar"
                self._places[bar] = QRectF(x + 10, top, 10, side)
                x += _BAR
            x += _APART

    def _draw_map(self, painter: QPainter, name: str, place: QRectF) -> None:
        edge = mixed(self._theme.panel, self._theme.text, 0.35)
        image = self._images.get(name)
        if image is None:
            painter.setPen(QPen(edge, 1, Qt.PenStyle.DashLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(place)
            painter.setPen(QColor(self._theme.muted))
            words = "no foreground yet:\npress Resample" if place.width() > 90 else "not yet"
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, words)
            return
        painter.drawImage(place, image)
        painter.setPen(QPen(edge, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(place)
        self._draw_ticks(painter, place, has_left=name == "target" or self._is_first_column(name))

    def _is_first_column(self, name: str) -> bool:
        return self._places[name].left() == self._places["target"].left()

    def _draw_ticks(self, painter: QPainter, place: QRectF, has_left: bool) -> None:
        assert self._fields is not None
        extent = self._fields.extent
        step = _tick_step(extent)
        painter.setPen(QColor(self._theme.text))
        for value in (-step, 0.0, step):
            along = (value + extent) / (2 * extent)
            text = f"{value:g}".replace("-", "−")
            x, y = place.left() + along * place.width(), place.bottom() - along * place.height()
            painter.drawLine(QPointF(x, place.bottom()), QPointF(x, place.bottom() + 3))
            painter.drawText(QRectF(x - 20, place.bottom() + 3, 40, 13), Qt.AlignmentFlag.AlignCenter, text)
            if has_left:
                painter.drawLine(QPointF(place.left() - 3, y), QPointF(place.left(), y))
                align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                painter.drawText(QRectF(place.left() - 26, y - 8, 20, 16), align, text)
        painter.setPen(QColor(self._theme.muted))
        below = QRectF(place.left(), place.bottom() + 15, place.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, "x₁")
        if has_left:
            painter.drawText(
                QRectF(place.left() - 36, place.top(), 14, place.height()), Qt.AlignmentFlag.AlignCenter, "x₂"
            )

    def _draw_bar(self, painter: QPainter, place: QRectF, limit: float) -> None:
        table = np.ascontiguousarray(diverging_map()[::-1, None, :])
        painter.drawImage(place, QImage(table.data, 1, len(table), 4, QImage.Format.Format_RGBA8888))
        painter.setPen(QPen(mixed(self._theme.panel, self._theme.text, 0.35), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(place)
        painter.setPen(QColor(self._theme.text))
        for value, y in ((limit, place.top()), (0.0, place.center().y()), (-limit, place.bottom())):
            text = f"{value:.2g}".replace("-", "−")
            align = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(place.right() + 4, y - 8, 36, 16), align, text)

    # Values under the mouse

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        text = self.value_at(event.position())
        if text:
            QToolTip.showText(event.globalPosition().toPoint(), text, self)
        else:
            QToolTip.hideText()

    def value_at(self, position: QPointF) -> str:
        """The inputs and all four values under a point of the widget; empty outside the maps."""
        if self._fields is None:
            return ""
        places = (self._places[name] for name, _ in self._titles if name in self._places)
        place = next((place for place in places if place.contains(position)), None)
        if place is None:
            return ""
        across = (position.x() - place.left()) / place.width()
        up = (place.bottom() - position.y()) / place.height()
        n = len(self._fields.target)
        column, row = min(int(across * n), n - 1), min(int(up * n), n - 1)
        extent = self._fields.extent
        lines = [f"x = ({(2 * across - 1) * extent:.2f}, {(2 * up - 1) * extent:.2f})"]
        for name, title in self._titles:
            values = self._values(name)
            if values is not None:
                lines.append(f"{title}: {values[row, column]:.3f}")
        return "\n".join(lines)


def _largest(*maps: np.ndarray | None) -> float:
    # The corners of the square hold next to no data and often the largest values: colours may saturate there.
    return max(float(np.quantile(np.abs(m), 0.92)) for m in maps if m is not None)


def _stable_limit(before: float, needed: float) -> float:
    """Ends of a colour bar in steps of 1, 1.5, 2, 3, 5, 7 x 10^k, so that colours do not breathe with every frame."""
    if 0.55 * before <= needed <= before:
        return before
    needed = max(needed, 1e-6)
    decade = 10.0 ** np.floor(np.log10(needed))
    return float(next(decade * m for m in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0) if decade * m >= needed * 0.999))


def _tick_step(extent: float) -> float:
    decade = 10.0 ** np.floor(np.log10(extent))
    return float(max(decade * m for m in (0.5, 1.0, 2.0, 5.0) if decade * m <= extent * 0.9))
