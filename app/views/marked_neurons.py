"""Rings around the neurons that make a verdict's difference, and a walk from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut

from app.views.cloud_header import CloudHeader
from app.views.cloud_layer import CloudLayer
from app.views.neuron_hover import NeuronHover
from app.views.plot_style import line_pen

if TYPE_CHECKING:
    from app.theme import Theme

_SIZE = 11


class MarkedNeurons:
    """Numbers of background neurons, worst first, ringed while their chip is on.

    Args:
        plot: where the background is drawn; layer: the background.
        header: its chip "standing out" is there while some neurons are marked.
        hover: shows the card of the one that is walked to.
    """

    def __init__(self, plot: pg.PlotWidget, layer: CloudLayer, header: CloudHeader, hover: NeuronHover) -> None:
        self._plot, self._layer, self._header, self._hover = plot, layer, header, hover
        self.rings = pg.ScatterPlotItem(size=_SIZE, brush=None, pxMode=True)
        self.rings.setZValue(28)
        plot.addItem(self.rings, ignoreBounds=True)
        self.numbers = np.zeros(0, np.int64)
        self._chosen = -1
        header.overlay_toggled.connect(lambda name, _: self.draw() if name == "standing out" else None)
        for keys, by in (("N", 1), ("Shift+N", -1)):
            shortcut = QShortcut(QKeySequence(keys), plot)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda by=by: self.step(by))

    def show(self, numbers: Sequence[int] | np.ndarray) -> None:
        """Other neurons, those that stand out most first; none takes the rings away. The walk begins again."""
        self.numbers, self._chosen = np.asarray(numbers, np.int64), -1
        self._header.set_marked(len(self.numbers))
        self.draw()
        self._hover.refresh()

    def note(self, layer: CloudLayer, row: int) -> str:
        """How far the neuron in a row of a cloud stands out, in a clause; empty where it does not."""
        number = layer.number(row)
        if layer is not self._layer or number not in self.numbers:
            return ""
        return f"stands out: {int(np.argmax(self.numbers == number)) + 1} of {len(self.numbers)}"

    def step(self, by: int = 1) -> None:
        """Points at the next marked neuron that is on the screen, or the one before."""
        shown = self._rows()
        if len(shown):
            self._chosen = (self._chosen + by) % len(shown) if self._chosen >= 0 or by > 0 else len(shown) - 1
            self._hover.choose(self._layer, int(shown[self._chosen]), self._plot)

    def draw(self) -> None:
        """Rings where the neurons are now."""
        shown = self._rows()
        x, y = (self._layer.x[shown], self._layer.y[shown]) if len(shown) else ([], [])
        self.rings.setData(x=x, y=y)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.rings.setPen(line_pen(theme.bad, 1.6))

    def _rows(self) -> np.ndarray:
        layer, is_wanted = self._layer, self._header.chips["standing out"].isChecked()
        return layer.rows(self.numbers) if is_wanted and layer.has_places else self.numbers[:0]
