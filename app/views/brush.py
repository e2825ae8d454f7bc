"""Choosing with the mouse: Shift held, a line drawn around points of a cloud, or along the axis of a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent
from PySide6.QtWidgets import QWidget

from app.views.cloud_layer import CloudLayer
from app.views.neuron_hover import NeuronHover
from app.views.plot_style import line_pen
from app.widgets.colours import with_opacity

if TYPE_CHECKING:
    from app.theme import Theme

CLOUDS = ("background", "foreground")
_SIZE = 7
_CLICK = 3  # pixels that a hand moves while it clicks


class Stroke(QObject):
    """Follows a drag with Shift over plots, and keeps it from moving the picture.

    Signals say the viewport and the points so far, (n, 2) pixels; a click that went nowhere is a stroke of one point.
    """

    moved = Signal(object, object)
    ended = Signal(object, object)

    def __init__(self, viewports: tuple[QWidget, ...], parent: QObject) -> None:
        super().__init__(parent)
        self._points: list[QPoint] = []
        for viewport in viewports:
            viewport.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A press with Shift begins; nothing else is taken."""
        kind = event.type()
        if not isinstance(event, QMouseEvent):
            return False
        has_shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if kind == QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.LeftButton and has_shift:
            self._points = [event.position().toPoint()]
            return True
        if not self._points:
            return False
        if kind == QEvent.Type.MouseMove:
            self._points.append(event.position().toPoint())
            self.moved.emit(watched, self._drawn())
            return True
        if kind == QEvent.Type.MouseButtonRelease:
            points = self._drawn()
            self._points = []
            self.ended.emit(watched, points[:1] if np.ptp(points, axis=0).max() <= _CLICK else points)
            return True
        return False

    def _drawn(self) -> np.ndarray:
        return np.array([(point.x(), point.y()) for point in self._points], float)


class CloudBrush(QObject):
    """Chosen neurons of background and foreground: drawn with a dark edge, chosen by a line around them.

    Args:
        plots: the one of the background, and the one of the foreground beside it; layers: the clouds by name.
        hover: shows the card of a neuron that is pointed at.
    """

    brushed = Signal(object)  # cloud -> numbers, what a person drew a line around

    def __init__(
        self, plots: tuple[pg.PlotWidget, ...], layers: Mapping[str, CloudLayer], hover: NeuronHover, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._plots, self._layers, self._hover = plots, layers, hover
        self.numbers: dict[str, np.ndarray] = {name: np.zeros(0, np.int64) for name in CLOUDS}
        self._marks = {}
        self._lines = {}
        for plot in plots:
            line = self._lines[plot] = pg.PlotCurveItem()
            line.setZValue(40)
            plot.addItem(line, ignoreBounds=True)
            for name in CLOUDS:
                marks = self._marks[plot, name] = pg.ScatterPlotItem(size=_SIZE, pxMode=True)
                marks.setZValue(27)
                plot.addItem(marks, ignoreBounds=True)
        self._stroke = Stroke(tuple(plot.viewport() for plot in plots), self)
        self._stroke.moved.connect(self._draw_line)
        self._stroke.ended.connect(self._take)

    def show(self, numbers: Mapping[str, np.ndarray]) -> None:
        """Other chosen neurons."""
        self.numbers = {name: np.asarray(numbers.get(name, ()), np.int64) for name in CLOUDS}
        self.draw()

    def draw(self) -> None:
        """The marks where the neurons are now."""
        for (plot, name), marks in self._marks.items():
            layer, chosen = self._layers[name], self.numbers[name]
            is_here = layer.is_drawn and layer.scatter.getViewBox() is plot.getViewBox()
            chosen = chosen[chosen < len(layer.x)] if is_here else chosen[:0]
            marks.setData(x=layer.x[chosen], y=layer.y[chosen])

    def point_at(self, name: str, number: int) -> None:
        """Show the card of one neuron of a cloud that is drawn, beside its point."""
        layer = self._layers[name]
        if layer.has_places and number < layer.n_sent:
            plot = next(plot for plot in self._plots if plot.getViewBox() is layer.scatter.getViewBox())
            self._hover.choose(layer, number, plot)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        for line in self._lines.values():
            line.setPen(line_pen(theme.text, 1.4, Qt.PenStyle.DashLine))
        for (_, name), marks in self._marks.items():
            marks.setBrush(pg.mkBrush(with_opacity(getattr(theme, f"{name}_cloud"), 0.9)))
            marks.setPen(line_pen(QColor(theme.text), 1.3))

    def _plot_of(self, viewport: object) -> pg.PlotWidget:
        return next(plot for plot in self._plots if plot.viewport() is viewport)

    def _in_plane(self, plot: pg.PlotWidget, points: np.ndarray) -> np.ndarray:
        box = plot.getViewBox()
        places = [box.mapSceneToView(plot.mapToScene(QPoint(round(x), round(y)))) for x, y in points]
        return np.array([(place.x(), place.y()) for place in places])

    def _draw_line(self, viewport: object, points: np.ndarray) -> None:
        plot = self._plot_of(viewport)
        self._lines[plot].setData(*self._in_plane(plot, points).T)

    def _take(self, viewport: object, points: np.ndarray) -> None:
        plot = self._plot_of(viewport)
        self._lines[plot].setData([], [])
        found = {}
        for name in CLOUDS:
            layer = self._layers[name]
            if len(points) > 2 and layer.is_drawn and layer.scatter.getViewBox() is plot.getViewBox():
                x, y = layer.x[: layer.n_sent], layer.y[: layer.n_sent]
                found[name] = np.flatnonzero(inside(self._in_plane(plot, points), x, y))
        self.brushed.emit(found)


def inside(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie inside a closed line, by the even-odd rule.

    Args:
        polygon: (n_corners, 2), closed by itself; x, y: (n_points,).

    Returns:
        (n_points,) booleans.
    """
    found = np.zeros(len(x), bool)
    before = np.roll(polygon, 1, axis=0)
    for (x1, y1), (x2, y2) in zip(before, polygon, strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            found ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return found
