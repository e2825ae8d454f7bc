"""The neuron under the mouse: a ring around it and a card with its numbers, in whichever plot it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, QTimer, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QWidget

from app.theme import Theme
from app.views.cloud_layer import CloudLayer
from app.views.neuron_card import NeuronCard
from app.views.plot_style import line_pen

_REACH = 9.0
_WAIT_MILLISECONDS = 25


class NeuronHover(QObject):
    """Watches the mouse over some plots; nothing is looked for while it drags.

    Args:
        layers: the clouds by name; show: puts a neuron's numbers on the card.
    """

    drag_ended = Signal()

    def __init__(
        self,
        plots: tuple[pg.PlotWidget, ...],
        layers: Mapping[str, CloudLayer],
        card: NeuronCard,
        show: Callable[[CloudLayer, int], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._parent, self._plots, self._layers, self._card, self._show = parent, plots, layers, card, show
        self.is_dragging = False
        self._cursor, self._under = QPoint(), plots[0]
        self._found: tuple[CloudLayer, int] | None = None
        self._rings = {}
        for plot in plots:
            ring = self._rings[plot] = pg.ScatterPlotItem(size=13, brush=None, pxMode=True)
            ring.setZValue(30)
            plot.addItem(ring, ignoreBounds=True)
            plot.viewport().installEventFilter(self)
            plot.viewport().setMouseTracking(True)
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(_WAIT_MILLISECONDS)
        self._wait.timeout.connect(lambda: self.look(self._under, self._cursor))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.MouseButtonPress:
            self.is_dragging = True
            self.drop()
        elif kind == QEvent.Type.MouseButtonRelease:
            self.is_dragging = False
            self.drag_ended.emit()
        elif isinstance(event, QMouseEvent) and kind == QEvent.Type.MouseMove and not self.is_dragging:
            self._under = next(plot for plot in self._plots if plot.viewport() is watched)
            self._cursor = event.position().toPoint()
            if not self._wait.isActive():
                self._wait.start()
        elif kind == QEvent.Type.Leave:
            self._wait.stop()
            self.drop()
        return False

    def look(self, plot: pg.PlotWidget, cursor: QPoint) -> None:
        """Show the neuron under a point of a plot's viewport, if there is one."""
        box, scene = plot.getViewBox(), plot.mapToScene(cursor)
        if not box.sceneBoundingRect().contains(scene):
            self.drop()
            return
        place = box.mapSceneToView(scene)
        across, up = box.viewPixelSize()
        best, found = _REACH**2, None
        for name in ("initial", "background", "foreground"):
            layer = self._layers[name]
            if not layer.has_places or layer.scatter.getViewBox() is not box:
                continue
            distance = ((layer.x - place.x()) / across) ** 2 + ((layer.y - place.y()) / up) ** 2
            index = int(np.argmin(distance))
            if distance[index] <= best:
                best, found = float(distance[index]), (layer, index)
        self.drop()
        if found is not None:
            self._found = found
            self.refresh()
            self._card.place(plot.viewport().mapTo(self._parent, cursor))

    def choose(self, layer: CloudLayer, index: int, plot: pg.PlotWidget) -> None:
        """Show a neuron by its number, beside its point."""
        self.drop()
        self._found = (layer, index)
        self.refresh()
        place = plot.getViewBox().mapViewToScene(QPointF(float(layer.x[index]), float(layer.y[index])))
        self._card.place(plot.viewport().mapTo(self._parent, plot.mapFromScene(place)))

    def refresh(self, only: str | None = None) -> None:
        """The neuron's numbers of now.

        Args:
            only: the cloud that changed; None for any.
        """
        if self._found is None or only not in (None, self._found[0].name):
            return
        layer, index = self._found
        if layer.theta is None or index >= len(layer.x) or not layer.has_places:
            self.drop()
            return
        self._show(layer, index)
        for plot, ring in self._rings.items():
            if plot.getViewBox() is layer.scatter.getViewBox():
                ring.setData(x=layer.x[index : index + 1], y=layer.y[index : index + 1])

    def drop(self, only: str | None = None) -> None:
        """No neuron any more.

        Args:
            only: where it is of this cloud; None for any.
        """
        if only is not None and (self._found is None or self._found[0].name != only):
            return
        self._found = None
        self._card.hide()
        for ring in self._rings.values():
            ring.setData(x=[], y=[])

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        for ring in self._rings.values():
            ring.setPen(line_pen(theme.text, 2))
