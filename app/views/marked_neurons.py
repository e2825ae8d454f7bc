"""Rings around the neurons that make a verdict's difference, and a walk from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg

from app.views.cloud_layer import CloudLayer
from app.views.plot_style import line_pen

if TYPE_CHECKING:
    from app.theme import Theme

_SIZE = 11


class MarkedNeurons:
    """Numbers of background neurons, worst first, ringed while they are wanted."""

    def __init__(self, plot: pg.PlotWidget) -> None:
        self.rings = pg.ScatterPlotItem(size=_SIZE, brush=None, pxMode=True)
        self.rings.setZValue(28)
        plot.addItem(self.rings, ignoreBounds=True)
        self.numbers = np.zeros(0, np.int64)
        self.is_wanted = True
        self._chosen = -1

    def show(self, numbers: Sequence[int] | np.ndarray) -> None:
        """Other neurons; the walk begins again."""
        self.numbers = np.asarray(numbers, np.int64)
        self._chosen = -1

    def rank(self, number: int) -> int | None:
        """The place of a neuron among the marked ones, 1 for the worst; None where it is not marked."""
        found = np.flatnonzero(self.numbers == number)
        return int(found[0]) + 1 if len(found) else None

    def step(self, layer: CloudLayer, by: int = 1) -> int | None:
        """The next marked neuron that is on the screen."""
        shown = self._shown(layer)
        if not len(shown):
            return None
        self._chosen = (self._chosen + by) % len(shown) if self._chosen >= 0 or by > 0 else len(shown) - 1
        return int(shown[self._chosen])

    def draw(self, layer: CloudLayer) -> None:
        """Rings where the neurons are now."""
        shown = self._shown(layer)
        self.rings.setData(x=layer.x[shown], y=layer.y[shown]) if len(shown) else self.rings.setData(x=[], y=[])

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.rings.setPen(line_pen(theme.bad, 1.6))

    def _shown(self, layer: CloudLayer) -> np.ndarray:
        if not self.is_wanted or layer.theta is None or not layer.is_drawn or not layer.has_points:
            return self.numbers[:0]
        return self.numbers[self.numbers < len(layer.theta)]
