"""Which neuron is pointed at, by the mouse or by the keys: its ring in the plot and the card beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtWidgets import QWidget

from app.views.cloud_layer import CloudLayer
from app.views.neuron_card import NeuronCard, Phi
from app.views.plot_style import line_pen

if TYPE_CHECKING:
    from app.theme import Theme

_REACH = 9.0


class NeuronPointer:
    """Follows one neuron of one cloud until it is told to let go.

    Args:
        plot: where the neurons are drawn; parent: what the card lies in.
        note: a clause about a neuron of the background, by its number.
    """

    def __init__(self, plot: pg.PlotWidget, parent: QWidget, note: Callable[[int], str]) -> None:
        self.plot, self._parent, self._note = plot, parent, note
        self.card = NeuronCard(parent)
        self.target: tuple[CloudLayer, int] | None = None
        self.phi: Phi | None = None
        self.columns: Sequence[str] | None = None
        self._theme: Theme | None = None
        self.ring = pg.ScatterPlotItem(size=13, brush=None, pxMode=True)
        self.ring.setZValue(30)
        plot.addItem(self.ring, ignoreBounds=True)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.card.apply_theme(theme)
        self.ring.setPen(line_pen(theme.text, 2))

    def look(self, cursor: QPoint, layers: Iterable[CloudLayer]) -> None:
        """Points at the neuron under a point of the plot's viewport, if there is one; the last layer lies on top."""
        scene, box = self.plot.mapToScene(cursor), self.plot.getViewBox()
        if not box.sceneBoundingRect().contains(scene):
            self.drop()
            return
        place = box.mapSceneToView(scene)
        across, up = box.viewPixelSize()
        best, found = _REACH**2, None
        for layer in layers:
            if not layer.has_points:
                continue
            distance = ((layer.x - place.x()) / across) ** 2 + ((layer.y - place.y()) / up) ** 2
            index = int(np.argmin(distance))
            if distance[index] <= best:
                best, found = float(distance[index]), (layer, index)
        if found is None:
            self.drop()
            return
        self.target = found
        self.refresh()
        self.card.place(self.plot.viewport().mapTo(self._parent, cursor))

    def choose(self, layer: CloudLayer, index: int) -> None:
        """Points at a neuron by its number."""
        self.target = (layer, index)
        self.refresh()
        place = self.plot.getViewBox().mapViewToScene(QPointF(float(layer.x[index]), float(layer.y[index])))
        self.card.place(self.plot.viewport().mapTo(self._parent, self.plot.mapFromScene(place)))

    def refresh(self, only: str | None = None) -> None:
        """Ring and card again, after the neurons have moved (of the cloud `only`)."""
        if self.target is None or only not in (None, self.target[0].name):
            return
        layer, index = self.target
        if layer.theta is None or index >= len(layer.theta) or not layer.has_points:
            self.drop()
            return
        colour = getattr(self._theme, f"{layer.name}_cloud")
        note = self._note(index) if layer.name == "background" else ""
        if self.columns is not None:
            self.card.show_row(layer.name, index, self.columns, layer.theta[index], colour, note)
        else:
            self.card.show_neuron(layer.name, index, layer.theta[index], self.phi, colour, note)
        self.ring.setData(x=layer.x[index : index + 1], y=layer.y[index : index + 1])

    def drop(self, only: str | None = None) -> None:
        """Points at nothing any more (if it was a neuron of the cloud `only`)."""
        if only is not None and (self.target is None or self.target[0].name != only):
            return
        self.target = None
        self.card.hide()
        self.ring.setData(x=[], y=[])
