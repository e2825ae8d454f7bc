"""A scatter plot that moves its points in place: the one class that reaches into pyqtgraph's record array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QBrush


class MovingScatter(pg.ScatterPlotItem):
    """Points of one size and symbol whose positions and colours change every frame.

    `setData` rebuilds pyqtgraph's record array (1.9 frames a second at 100,000 points); writing the two position fields
    is ten times cheaper. So positions and colours are written in place as long as the number of points stays.
    Equal to `setData` with the same points, which a test checks pixel by pixel.
    """

    def __init__(self) -> None:
        super().__init__(pen=None, pxMode=True, useCache=True, antialias=True)
        self._palette: list[QBrush] | None = None
        self._palette_objects: np.ndarray | None = None

    def show_points(self, x: np.ndarray, y: np.ndarray) -> None:
        """Draws points at (x, y); keeps every point's colour when their number has not changed.

        Args:
            x, y: (n,) in plot coordinates; finite.
        """
        if len(x) != len(self.data):
            self._palette_objects = None
            self.setData(x=x, y=y)
            return
        self.data["x"] = x
        self.data["y"] = y
        self.bounds = [None, None]
        self.prepareGeometryChange()
        self.informViewBoundsChanged()
        self.update()

    def set_style(self, brush: QBrush, size: float, symbol: str = "o") -> None:
        """One brush, size (device-independent pixels) and symbol for all points; forgets colours given one by one."""
        self.data["brush"] = None
        self._palette_objects = None
        self.opts["pen"] = pg.mkPen(None)
        self.setSymbol(symbol, update=False)
        self.setSize(size, update=False)
        # Styles that are no longer in use would stay in the atlas for ever.
        self.fragmentAtlas.clear()
        self.setBrush(brush)

    def colour_points(self, palette: list[QBrush], index: np.ndarray) -> None:
        """Gives each point one of the palette's brushes.

        Args:
            palette: shared brushes; pass the same list object each time, the symbols are drawn once per list.
            index: (n,) entries of the palette.
        """
        if self._palette is not palette or self._palette_objects is None:
            self._palette = palette
            self._palette_objects = np.array(palette, dtype=object)
        self.data["brush"] = self._palette_objects[index]
        self.data["sourceRect"] = self._atlas_places(palette)[index]
        self._updateMaxSpotSizes(data=self.data)
        self.invalidate()

    def _atlas_places(self, palette: list[QBrush]) -> np.ndarray:
        # The atlas hands out the place of each symbol; asking for 256 styles replaces one look-up per point.
        pen, size, symbol = self.opts["pen"], self.opts["size"], self.opts["symbol"]
        places: list[Any] = self.fragmentAtlas[[(symbol, size, pen, brush) for brush in palette]]
        return np.array(places, dtype=self.data["sourceRect"].dtype)
