"""The clouds of the picked runs, laid over each other on one pair of axes, each in its run's colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from app.theme import LIGHT, Theme
from app.views.cloud_layer import point_size
from app.views.plot_style import quiet_plot, style_plot
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState

if TYPE_CHECKING:
    from app.library import StoredPlane

_NOTHING = ("No run picked", "Click runs in the table to lay their clouds over each other.")


class RunClouds(pg.PlotWidget):
    """Told planes and colours; the axes fit all that is shown."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent, enableMenu=False)
        self.setAccessibleName("Clouds of the picked runs")
        quiet_plot(self.getPlotItem())
        self.getPlotItem().layout.setContentsMargins(4, 4, 10, 2)
        self.getViewBox().setAspectLocked(True)
        self.setMinimumWidth(150)
        self.empty = EmptyState(*_NOTHING, self, covers=True)
        self.drawn: dict[Path, pg.ScatterPlotItem] = {}
        self.apply_theme(theme)

    def show_planes(self, planes: Mapping[Path, StoredPlane], colours: Mapping[Path, str]) -> None:
        """Draw the planes of the folders that have a colour."""
        self.clear()
        self.drawn = {}
        for folder, colour in colours.items():
            plane = planes.get(folder)
            if plane is None or not len(plane.points):
                continue
            item = pg.ScatterPlotItem(
                plane.points[:, 0], plane.points[:, 1], size=point_size(len(plane.points)), pen=None,
                brush=with_opacity(colour, 0.6),
            )  # fmt: skip
            self.addItem(item, ignoreBounds=True)
            self.drawn[folder] = item
        shown = [planes[folder] for folder in self.drawn]
        self.empty.setVisible(not shown)
        if shown:
            self.setLabel("bottom", shown[0].names[0])
            self.setLabel("left", shown[0].names[1])
            reach = max(float(np.quantile(np.abs(plane.points), 0.995)) for plane in shown) * 1.08 or 1.0
            self.getViewBox().setRange(xRange=(-reach, reach), yRange=(-reach, reach), padding=0)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.setBackground(theme.panel)
        style_plot(self.getPlotItem(), theme, small=True)
        self.empty.apply_theme(theme)
