"""The density image that stands for a cloud with too many neurons to draw one by one."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF

from mft_engine.looks import Span, count_plane

N_BINS = 256


def bins_of(rect: QRectF, n_bins: int = N_BINS) -> tuple[Span, Span]:
    """The cells of an image over a rectangle of plot coordinates, along x and y."""
    return Span(rect.left(), rect.right(), n_bins), Span(rect.top(), rect.bottom(), n_bins)


def density_counts(x: np.ndarray, y: np.ndarray, rect: QRectF, n_bins: int = N_BINS) -> np.ndarray:
    """Points per cell of a grid over a rectangle.

    Args:
        x, y: (n,) positions; points outside the rectangle (and not finite ones) are left out.
        rect: the rectangle, in the same coordinates.

    Returns:
        (n_bins, n_bins) counts; row = y ascending, column = x ascending.
    """
    return count_plane(x, y, bins_of(rect, n_bins))


def density_tone(image: np.ndarray) -> np.ndarray:
    """How strongly to draw each cell of a density: the mass of all cells that are at most as dense.

    So equal steps of tone hold equal shares of the neurons, and far arms with a fifth of them are visible beside sharp
    lumps; the density itself would show the lumps alone.

    Args:
        image: (n, n) density, any scale.

    Returns:
        (n, n) in 0..1; 1 at the densest cell.
    """
    values = np.clip(image, 0.0, None).ravel()
    order = np.argsort(values)
    ordered = values[order]
    mass = np.cumsum(ordered)
    if mass[-1] <= 0:
        return np.zeros_like(image, dtype=float)
    # Cells of equal density have equal tone: that of the last of them.
    last = np.searchsorted(ordered, ordered, side="right") - 1
    tone = np.empty_like(values)
    tone[order] = mass[last] / mass[-1]
    return tone.reshape(image.shape)


class DensityImage(pg.ImageItem):
    """Counts per cell as opacity of one colour, on a logarithmic tone scale so that thin arms stay visible."""

    def __init__(self) -> None:
        super().__init__(axisOrder="row-major")
        self._ceiling = 0.0

    def show_points(self, x: np.ndarray, y: np.ndarray, rect: QRectF) -> None:
        """Draws the density of the points over a rectangle of plot coordinates."""
        self.show_counts(density_counts(x, y, rect), bins_of(rect))

    def show_counts(self, counts: np.ndarray, spans: tuple[Span, Span]) -> None:
        """Draws counts per cell, row = y ascending, in their place."""
        peak = float(counts.max())
        # The tone scale follows the peak slowly: a frame's noise must not make the whole image flicker.
        if not 0.5 * self._ceiling < peak <= self._ceiling:
            self._ceiling = max(peak, 1.0) * 1.25
        tone = np.log1p(counts.astype(float)) * (255.0 / np.log1p(self._ceiling))
        self.setImage(tone.astype(np.ubyte), autoLevels=False, levels=(0, 255))
        across, up = spans
        self.setRect(QRectF(across.low, up.low, across.high - across.low, up.high - up.low))
