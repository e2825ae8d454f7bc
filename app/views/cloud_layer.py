"""One population of neurons in the cloud plot: points while they are few, a density image when they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QBrush

from app.views.density import DensityImage
from app.views.scatter import MovingScatter
from app.widgets.colours import fade, with_opacity
from mft_engine.looks import MOST_POINTS, Coordinate, Ends, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """The neurons of one cloud and the two plot items that can show them; only one is visible at a time.

    Attributes:
        theta: (n, n_params) neurons that are here: all of the cloud, or of a large one the first `n_sent` and those
            that were asked for by number; n_neurons: of the whole cloud.
        is_counted: the cloud lives elsewhere, and `seen` is what was counted of it there; None until it comes.
        x, y: places of `theta` in the plane.
    """

    def __init__(self, plot: pg.PlotItem, name: str, z: float) -> None:
        self._plot, self.name = plot, name
        self.theta: np.ndarray | None = None
        self.n_neurons = self.n_sent = 0
        self.is_wanted = True
        self.is_counted = False
        self.seen: Seen | None = None
        self._plane: tuple[Coordinate, Coordinate] | None = None
        self._drawn: Seen | None = None
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
        return self.is_drawn and not self.is_counted and self.theta is not None and len(self.theta) <= MOST_POINTS

    @property
    def has_places(self) -> bool:
        """Whether neurons can be pointed at: those that are drawn, or in an image those that are here."""
        return self.has_points or (self.is_drawn and self.is_counted and len(self.x) > 0)

    @property
    def ends(self) -> tuple[np.ndarray | Ends, np.ndarray | Ends] | None:
        """How far the cloud reaches along both axes: its neurons or what was counted; None while that is not known."""
        if not self.is_counted:
            return self.x, self.y
        return self.seen.ends if self.seen is not None and self._fits(self.seen) else None

    def take(self, theta: np.ndarray, n_neurons: int, *, is_counted: bool, seen: Seen | None = None) -> None:
        """Other neurons; what was counted before stays until something newer comes."""
        self.n_sent, self.n_neurons, self.is_counted = len(theta), n_neurons, is_counted
        self.theta = np.asarray(theta, np.float32)
        if not is_counted:
            self.seen = self._drawn = None
        elif seen is not None:
            self.take_seen(seen)

    def take_seen(self, seen: Seen) -> None:
        """What was counted of the neurons that are here."""
        self.seen = seen
        if seen.marked is not None and self.theta is not None:
            self.theta = np.concatenate([self.theta[: self.n_sent], np.asarray(seen.marked, np.float32)])

    def number(self, index: int) -> int:
        """Of the neuron in a row of `theta`."""
        return index if index < self.n_sent or self.seen is None else self.seen.look.marked[index - self.n_sent]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Where in `theta` neurons are, those that are not here left out."""
        marked = {} if self.seen is None else {n: self.n_sent + k for k, n in enumerate(self.seen.look.marked)}
        rows = [n if n < self.n_sent else marked.get(n, -1) for n in map(int, numbers)]
        return np.array([row for row in rows if 0 <= row < len(self.x)], np.int64)

    def set_colour(self, colour: str, strength: float) -> None:
        """The colour of the cloud and how strongly it covers what lies below (0..1)."""
        self._colour, self._strength = colour, strength
        self.image.setLookupTable(fade(colour, lowest=60, highest=round(255 * strength), power=0.7))
        self._styled_for = None

    def set_colouring(self, colouring: Colouring | None, symbol: str) -> None:
        """Colours points one by one (None: all in the cloud's colour)."""
        self._colouring, self._symbol = colouring, symbol
        self._styled_for = None

    def draw(self, plane: tuple[Coordinate, Coordinate] | None, rect: QRectF) -> None:
        """Moves the plot items to the neurons' present places.

        Args:
            plane: what is on the axes; None while that is not known yet. rect: the visible part of the plane.
        """
        if plane != self._plane:
            self._plane, self._drawn = plane, None
        if self.is_drawn and self.theta is not None and plane is not None:
            self.x, self.y = (np.asarray(along.of(self.theta)) for along in plane)
        elif self.is_drawn:
            self.x = self.y = np.empty(0, np.float32)
        self.scatter.setVisible(self.has_points)
        if self.has_points:
            self._draw_points()
        else:
            self.redraw_density(rect)
        self.image.setVisible(
            self.is_drawn and not self.has_points and (not self.is_counted or self._drawn is not None)
        )

    def redraw_density(self, rect: QRectF) -> None:
        """Counts anew after the visible part of the plane changed; of a counted cloud the newest counts are drawn."""
        if not self.is_drawn or self.has_points:
            return
        if not self.is_counted:
            if rect.width() > 0 and rect.height() > 0:
                self.image.show_points(self.x, self.y, rect)
            return
        seen = self.seen
        if seen is None or seen is self._drawn or not self._fits(seen) or seen.image is None:
            return
        assert seen.look.plane is not None and seen.look.plane.spans is not None
        self._drawn = seen
        self.image.show_counts(seen.image, seen.look.plane.spans)

    def _fits(self, seen: Seen) -> bool:
        plane = seen.look.plane
        return plane is not None and (plane.x, plane.y) == self._plane

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
        self.theta = self.seen = self._drawn = None
        self.n_neurons = self.n_sent = 0
        self.is_counted = False
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
