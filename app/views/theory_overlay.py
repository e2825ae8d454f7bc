"""The infinite-width density of w in the cloud plot: a soft heat below the neurons, contour lines above them."""

from __future__ import annotations

import contourpy
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QGraphicsItem

from app.theme import Theme
from app.views.colormaps import fade, with_opacity
from app.views.density import density_tone
from app.views.plot_style import line_pen

# Shares of the neurons inside the three lines, innermost first, with the width and opacity of each.
LINES = ((0.5, 1.8, 1.0), (0.9, 1.5, 0.9), (0.99, 1.2, 0.7))


class SmoothImage(pg.ImageItem):
    """An image whose cells blend into each other when they are larger than pixels."""

    def paint(self, painter: QPainter, *args: object) -> None:
        """Draws with bilinear interpolation."""
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        super().paint(painter, *args)


class TheoryOverlay:
    """Plot items of one density; shown and hidden together."""

    def __init__(self, plot: pg.PlotItem, below: float, above: float) -> None:
        self.heat = SmoothImage(axisOrder="row-major")
        self.heat.setZValue(below)
        self.lines = [pg.PlotCurveItem(connect="finite", antialias=True) for _ in LINES]
        for item in (self.heat, *self.lines):
            item.setVisible(False)
            # Thick smooth lines cost 3 ms a frame, and they move only with the range or a new theory.
            item.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
            plot.addItem(item, ignoreBounds=True)
        for line in self.lines:
            line.setZValue(above)

    def show_density(self, image: np.ndarray, extent: float) -> None:
        """Takes a density on [-extent, extent]^2, (n, n), row = w2 ascending."""
        self.heat.setImage(density_tone(image), autoLevels=False, levels=(0.0, 1.0))
        self.heat.setRect(QRectF(-extent, -extent, 2 * extent, 2 * extent))
        for line, (x, y) in zip(self.lines, mass_contours(image, extent, [mass for mass, *_ in LINES]), strict=True):
            line.setData(x, y)

    def set_visible(self, is_visible: bool) -> None:
        """Shows or hides all of it."""
        for item in (self.heat, *self.lines):
            item.setVisible(is_visible)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.heat.setLookupTable(fade(theme.theory, highest=150, power=0.8))
        for line, (_, width, opacity) in zip(self.lines, LINES, strict=True):
            line.setPen(line_pen(with_opacity(theme.theory, opacity), width))


def mass_contours(image: np.ndarray, extent: float, masses: list[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The lines of equal density that hold given shares of the mass.

    Args:
        image: (n, n) density at the centres of n x n cells of [-extent, extent]^2, row = y ascending.
        masses: shares, each between 0 and 1.

    Returns:
        for each share x and y of its lines, pieces separated by nan; empty for a density of zero.
    """
    image = np.clip(image, 0.0, None)
    ordered = np.sort(image.ravel())
    mass = np.cumsum(ordered)
    nothing = (np.empty(0), np.empty(0))
    if mass[-1] <= 0 or ordered[0] == ordered[-1]:
        return [nothing for _ in masses]
    n = len(image)
    centres = (np.arange(n) + 0.5) * (2 * extent / n) - extent
    # Densities vary by many decades from cell to cell: cube roots interpolate better than the densities themselves.
    generator = contourpy.contour_generator(centres, centres, np.cbrt(image))
    found = []
    for share in masses:
        level = ordered[min(np.searchsorted(mass, (1.0 - share) * mass[-1]), len(ordered) - 1)]
        pieces = [np.vstack([piece, [[np.nan, np.nan]]]) for piece in generator.lines(float(np.cbrt(level)))]
        points = np.concatenate(pieces) if pieces else np.empty((0, 2))
        found.append((points[:, 0], points[:, 1]))
    return found
