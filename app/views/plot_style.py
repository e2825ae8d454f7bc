"""How every pyqtgraph plot of the window looks and behaves: one place, so that they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from PySide6.QtGui import QFont

from app.views.colormaps import mixed

if TYPE_CHECKING:
    from app.theme import Theme


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
        axis.setPen(pg.mkPen(line, width=1))
        axis.setTextPen(pg.mkPen(theme.text))
        axis.setTickFont(font)
        axis.setStyle(tickLength=-4, tickTextOffset=5)
        axis.labelStyle["color"] = theme.text
        axis.labelStyle["font-size"] = f"{font.pointSizeF() * 1.12:.1f}pt"
        if axis.labelText:
            axis.setLabel(axis.labelText, axis.labelUnits)
