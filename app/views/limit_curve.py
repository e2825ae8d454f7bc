"""The loss of infinite width along a training, and the band in which a network of this width strays about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from app.theme import Theme
from app.views.plot_style import line_pen
from app.widgets.colours import with_opacity

# Standard deviations of a single network that the band is wide.
BAND = 3.0
# Of a logarithmic axis, on which a band may not reach below 0.
LOWEST = 0.1


class LimitCurve:
    """Items of a plot that are shown together.

    Args:
        plot: where they are drawn.
    """

    def __init__(self, plot: pg.PlotWidget) -> None:
        self._line, self._low, self._high = (pg.PlotDataItem() for _ in range(3))
        self._band = pg.FillBetweenItem(self._low, self._high)
        self._line.setZValue(11)  # its dashes lie over the run that follows it
        self._band.setZValue(2)
        for item in (self._line, self._low, self._high, self._band):
            plot.addItem(item, ignoreBounds=True)
        self._low.setPen(None)
        self._high.setPen(None)
        self.losses = np.empty(0)

    @property
    def is_known(self) -> bool:
        """Whether there is a curve."""
        return len(self.losses) > 0

    def show_curve(
        self, times: Sequence[float], losses: Sequence[float], expected: Sequence[float], spread: Sequence[float]
    ) -> None:
        """The curve, (n_records,) each; empty ones take it away.

        Args:
            losses: of infinite width; expected, spread: mean and standard deviation of single networks.
        """
        self.losses = np.array(losses)
        middle, width = np.array(expected), BAND * np.array(spread)
        self._line.setData(np.array(times), self.losses)
        self._low.setData(np.array(times), np.maximum(middle - width, LOWEST * middle))
        self._high.setData(np.array(times), middle + width)

    def set_visible(self, is_visible: bool) -> None:
        """Shows or hides it."""
        for item in (self._line, self._band):
            item.setVisible(is_visible and self.is_known)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._line.setPen(line_pen(theme.theory, 1.8, Qt.PenStyle.DashLine))
        self._band.setBrush(pg.mkBrush(with_opacity(theme.theory, 0.18)))
