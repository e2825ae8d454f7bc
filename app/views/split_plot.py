"""The foreground beside the background instead of over it: a second plot with the first one's axes."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QWidget

from app.theme import Theme
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.views.range_follower import RangeFollower
from app.views.theory_overlay import TheoryOverlay


class PaintedPlot(pg.PlotWidget):
    """Says when it has been painted."""

    painted = Signal()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        self.painted.emit()


class SplitPlot(pg.PlotWidget):
    """Follows the first plot's range, and is followed by it where a person moves this one."""

    def __init__(self, first: pg.PlotWidget, follower: RangeFollower, parent: QWidget) -> None:
        super().__init__(parent, enableMenu=False)
        self.setAccessibleName("Cloud of foreground neurons")
        item = self.getPlotItem()
        quiet_plot(item)
        self.zero_lines = tuple(pg.InfiniteLine(pos=0, angle=angle) for angle in (0, 90))
        for line in self.zero_lines:
            line.setZValue(-20)
            self.addItem(line, ignoreBounds=True)
        self.theory = TheoryOverlay(item, below=-10, above=25)
        item.layout.setContentsMargins(2, 8, 10, 2)
        self.getAxis("left").setWidth(52)
        self.getAxis("bottom").setHeight(40)
        self.setXLink(first)
        self.setYLink(first)
        self.getViewBox().sigRangeChangedManually.connect(follower.taken)
        self.hide()

    def set_axes(self, x: str, y: str, *, is_square: bool) -> None:
        """What is on the axes."""
        self.getPlotItem().setLabel("bottom", x)
        self.getPlotItem().setLabel("left", y)
        self.getViewBox().setAspectLocked(is_square)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.setBackground(theme.panel)
        style_plot(self.getPlotItem(), theme)
        for line in self.zero_lines:
            line.setPen(line_pen(theme.grid, 1))
