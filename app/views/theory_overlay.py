"""The infinite-width density of w in the cloud plot: a soft heat below the neurons, contour lines above them."""

from __future__ import annotations

from typing import cast

import contourpy
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsItem

from app.theme import Theme
from app.views.density import density_tone
from app.views.plot_style import line_pen
from app.widgets.colours import fade, with_opacity

# Shares of the neurons inside the three lines, innermost first, with the width and opacity of each.
LINES = ((0.5, 1.8, 1.0), (0.9, 1.5, 0.9), (0.99, 1.2, 0.7))


class SmoothImage(pg.ImageItem):
    """An image whose cells blend into each other when they are larger than pixels."""

    def paint(self, painter: QPainter, *args: object) -> None:
        """Draws with bilinear interpolation."""
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        super().paint(painter, *args)


class ContourLines(pg.GraphicsObject):
    """Several lines with a pen each, as one item: one picture to keep between frames."""

    def __init__(self) -> None:
        super().__init__()
        self._paths: list[QPainterPath] = []
        self._pens: list[QPen] = []

    def set_lines(self, lines: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """x and y of each line, pieces separated by nan."""
        self.prepareGeometryChange()
        self._paths = [pg.arrayToQPath(x, y, connect="finite") if len(x) else QPainterPath() for x, y in lines]
        self.update()

    def set_pens(self, pens: list[QPen]) -> None:
        """One pen for each line."""
        self._pens = pens
        self.update()

    def boundingRect(self) -> QRectF:
        """All lines, with room for their thickness."""
        rect = QRectF()
        for path in self._paths:
            rect = rect.united(path.boundingRect())
        margin = 0.02 * max(rect.width(), rect.height())
        return rect.adjusted(-margin, -margin, margin, margin)

    def paint(self, painter: QPainter, *args: object) -> None:
        """Draws the lines smoothly."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for path, pen in zip(self._paths, self._pens, strict=False):
            painter.setPen(pen)
            painter.drawPath(path)


class TheoryOverlay:
    """Heat and lines of one density; shown and hidden together."""

    def __init__(self, plot: pg.PlotItem, below: float, above: float) -> None:
        self.heat = SmoothImage(axisOrder="row-major")
        self.lines = ContourLines()
        for item, z in ((self.heat, below), (self.lines, above)):
            item.setZValue(z)
            item.setVisible(False)
            # Thick smooth lines cost 3 ms a frame, and they move only with the range or a new theory.
            item.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
            plot.addItem(item, ignoreBounds=True)

    def show_density(self, image: np.ndarray, extent: float) -> None:
        """Takes a density on [-extent, extent]^2, (n, n), row = w2 ascending."""
        self.show_on(image, QRectF(-extent, -extent, 2 * extent, 2 * extent))

    def show_on(self, image: np.ndarray, rect: QRectF) -> None:
        """Takes a density on a rectangle, (n, n), row = y ascending."""
        tone = (density_tone(image) * 255.0 + 0.5).astype(np.ubyte)
        self.heat.setImage(tone, autoLevels=False, levels=(0, 255))
        self.heat.setRect(rect)
        middle, width, height = rect.center(), rect.width() / 2, rect.height() / 2
        lines = mass_contours(image, 1.0, [mass for mass, *_ in LINES])
        self.lines.set_lines([(middle.x() + width * x, middle.y() + height * y) for x, y in lines])

    def clear(self) -> None:
        """Draws nothing, shown or not."""
        self.heat.clear()
        self.lines.set_lines([])

    def set_visible(self, is_visible: bool) -> None:
        """Shows or hides all of it."""
        self.heat.setVisible(is_visible)
        self.lines.setVisible(is_visible)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.heat.setLookupTable(fade(theme.theory, highest=150, power=0.8))
        self.lines.set_pens([line_pen(with_opacity(theme.theory, alpha), width) for _, width, alpha in LINES])


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
        lines = cast(list[np.ndarray], generator.lines(float(np.cbrt(level))))  # of the line type that is the default
        pieces = [np.vstack([piece, [[np.nan, np.nan]]]) for piece in lines]
        points = np.concatenate(pieces) if pieces else np.empty((0, 2))
        found.append((points[:, 0], points[:, 1]))
    return found
