"""One population of neurons in the cloud plot: points while they are few, a density image when they are many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QBrush

from app.views.density import DensityImage
from app.views.projections import Axis, Components, project
from app.views.scatter import MovingScatter
from app.widgets.colours import fade, with_opacity

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_POINTS = 30_000
_FRAMES_PER_COLOUR = 8
_USUAL_SIDE = 560.0


class Colouring:
    """How points are coloured one by one: a palette, and the palette entry of each neuron."""

    def __init__(self, palette: list[QBrush], index: Callable[[np.ndarray], np.ndarray]) -> None:
        """
        Args:
            palette: shared brushes.
            index: theta (n_neurons, n_params) -> (n_neurons,) entries of the palette.
        """
        self.palette = palette
        self.index = index


class CloudLayer:
    """The neurons of one cloud and the two plot items that can show them; only one is visible at a time."""

    def __init__(self, plot: pg.PlotItem, name: str, z: float) -> None:
        self._plot, self.name = plot, name
        self.theta: np.ndarray | None = None
        self.n_neurons = 0
        self.is_wanted = True
        self.side = _USUAL_SIDE
        self.x = self.y = np.empty(0, np.float32)
        self._colour = "#808080"
        self._strength = 1.0
        self._symbol = "o"
        self._colouring: Colouring | None = None
        self._n_frames = 0
        self._styled_for: tuple[object, ...] | None = None
        self.scatter = MovingScatter()
        self.image = DensityImage()
        for item in (self.image, self.scatter):
            item.setZValue(z)
            item.setVisible(False)
            plot.addItem(item, ignoreBounds=True)

    def move_to(self, plot: pg.PlotItem) -> None:
        """Draw in another plot from now on."""
        for item in (self.image, self.scatter):
            self._plot.removeItem(item)
            plot.addItem(item, ignoreBounds=True)
        self._plot = plot
        self._styled_for = None

    @property
    def is_drawn(self) -> bool:
        """Whether there are neurons and they are switched on."""
        return self.theta is not None and self.is_wanted and len(self.theta) > 0

    @property
    def has_points(self) -> bool:
        """Whether the neurons are drawn one by one."""
        return self.is_drawn and self.theta is not None and len(self.theta) <= MOST_POINTS

    def set_colour(self, colour: str, strength: float) -> None:
        """The colour of the cloud and how strongly it covers what lies below (0..1)."""
        self._colour, self._strength = colour, strength
        self.image.setLookupTable(fade(colour, lowest=60, highest=round(255 * strength), power=0.7))
        self._styled_for = None

    def set_colouring(self, colouring: Colouring | None, symbol: str) -> None:
        """Colours points one by one (None: all in the cloud's colour)."""
        self._colouring, self._symbol = colouring, symbol
        self._styled_for = None

    def draw(
        self,
        axes: tuple[Axis, Axis],
        components: Components | None,
        projections: Mapping[str, np.ndarray],
        rect: QRectF,
    ) -> None:
        """Moves the plot items to the neurons' present places; `rect` is the visible part of the plane."""
        self.scatter.setVisible(self.has_points)
        self.image.setVisible(self.is_drawn and not self.has_points)
        if not self.is_drawn:
            return
        self.locate(axes, components, projections)
        if self.has_points:
            self._draw_points()
        else:
            self.redraw_density(rect)

    def locate(
        self, axes: tuple[Axis, Axis], components: Components | None, projections: Mapping[str, np.ndarray]
    ) -> None:
        """Computes the neurons' places in the plane of two axes."""
        if self.theta is not None:
            self.x = project(self.theta, axes[0], components, projections)
            self.y = project(self.theta, axes[1], components, projections)

    def redraw_density(self, rect: QRectF) -> None:
        """Counts anew after the visible part of the plane changed."""
        if self.is_drawn and not self.has_points and rect.width() > 0 and rect.height() > 0:
            self.image.show_points(self.x, self.y, rect)

    def _draw_points(self) -> None:
        assert self.theta is not None
        self.scatter.show_points(self.x, self.y)
        n = len(self.theta)
        size = point_size(n, self._symbol, self.side)
        style = (n, self._colour, self._strength, self._symbol, size)
        if self._styled_for != style:
            self._styled_for = style
            self._n_frames = 0
            opacity = self._strength * float(np.clip(0.95 - 0.22 * np.log10(max(n, 1) / 1000), 0.45, 0.95))
            brush = QBrush(with_opacity(self._colour, opacity))
            self.scatter.set_style(brush, size, self._symbol)
        if self._colouring is not None and self._n_frames % _FRAMES_PER_COLOUR == 0:
            self.scatter.colour_points(self._colouring.palette, self._colouring.index(self.theta))
        self._n_frames += 1

    def clear(self) -> None:
        """Forgets the neurons."""
        self.theta = None
        self.n_neurons = 0
        self.scatter.setVisible(False)
        self.image.setVisible(False)


def point_size(n_points: int, symbol: str = "o", side: float = _USUAL_SIDE) -> float:
    """Diameter of a point in device-independent pixels, so that structure stays visible.

    Args:
        n_points: smaller in larger clouds.
        side: shorter side of the plot, pixels; smaller in smaller plots, in steps of a tenth.
    """
    scale = round(float(np.clip(side / _USUAL_SIDE, 0.6, 1.2)), 1)
    size = float(np.clip(5.0 - 1.1 * np.log10(max(n_points, 1) / 1000), 2.6, 6.0)) * scale
    return size + 1.5 if symbol == "d" else size
