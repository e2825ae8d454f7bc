"""How every pyqtgraph plot of the window looks and behaves: one place, so that they agree."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QGuiApplication, QPen

from app.widgets.colours import mixed

if TYPE_CHECKING:
    from app.theme import Theme


def line_pen(colour: str | QColor, width: float = 1.0, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """A pen of a width in device-independent pixels.

    Plots draw with cosmetic pens, whose widths Qt takes in pixels of the device: on a screen of twice the resolution
    they would be half as thick.
    """
    application = QGuiApplication.instance()
    scale = application.devicePixelRatio() if isinstance(application, QGuiApplication) else 1.0
    return pg.mkPen(colour, width=width * scale, style=style)


class SparseLogAxis(pg.AxisItem):
    """A logarithmic axis whose labels never crowd: powers of ten, with as many numbers between as there is room for."""

    def logTickValues(
        self, minVal: float, maxVal: float, size: float, stdTicks: object
    ) -> list[tuple[None, list[float]]]:
        """Tick positions (log10), the densest set with some 24 pixels for each."""
        room = max(int(size / 24), 2)
        powers = range(int(np.floor(minVal)), int(np.ceil(maxVal)) + 1)
        stride = -(-len(powers) // room)
        if stride > 1:
            return [(None, [float(p) for p in powers if p % stride == 0 and minVal <= p <= maxVal])]
        chosen: list[float] = []
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.5))):
            ticks = [float(np.log10(d) + p) for p in powers for d in digits]
            ticks = [tick for tick in ticks if minVal <= tick <= maxVal]
            if chosen and (len(ticks) > room or _closest(ticks) * size / (maxVal - minVal) < 16):
                break
            chosen = ticks
        return [(None, chosen)]

    def logTickStrings(self, values: list[float], scale: float, spacing: float | None) -> list[str]:
        """The numbers themselves."""
        return [f"{10.0**value:.3g}" for value in values]


class WholeAxis(pg.AxisItem):
    """An axis of whole numbers: no ticks between them."""

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:
        """The usual levels of ticks that are whole."""
        levels = super().tickSpacing(minVal, maxVal, size)
        return [(spacing, offset) for spacing, offset in levels if spacing >= 1] or [(1.0, 0.0)]


def _closest(ticks: list[float]) -> float:
    return min((b - a for a, b in pairwise(ticks)), default=np.inf)


def quiet_plot(plot: pg.PlotItem) -> None:
    """Switches off pyqtgraph's own menus, export and auto-range button: figures are exported from the data."""
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.getViewBox().scene().contextMenu = []
    for name in ("left", "bottom"):
        # A loss of 0.3 is not "300 (x0.001)".
        plot.getAxis(name).enableAutoSIPrefix(False)


def style_plot(plot: pg.PlotItem, theme: Theme, *, small: bool = False) -> None:
    """Gives axes, ticks and labels the colours and sizes of the theme."""
    font = QFont()
    font.setPointSizeF(font.pointSizeF() * (0.85 if small else 0.92))
    line = mixed(theme.panel, theme.text, 0.35)
    for name in ("left", "bottom"):
        axis = plot.getAxis(name)
        axis.setPen(line_pen(line))
        axis.setTextPen(pg.mkPen(theme.text))
        axis.setTickFont(font)
        axis.setStyle(tickLength=-4, tickTextOffset=5)
        axis.labelStyle["color"] = theme.text
        axis.labelStyle["font-size"] = f"{font.pointSizeF() * 1.12:.1f}pt"
        if axis.labelText:
            axis.setLabel(axis.labelText, axis.labelUnits)
