"""Which colour every neuron of the cloud view has: the cloud's own, or one by a quantity of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.theme import Theme
from app.views.axis_range import StableRange
from app.views.cloud_header import CloudHeader
from app.views.cloud_layer import CloudLayer, Colouring
from app.views.colour_key import ColourKey
from app.views.projections import Axis, project
from app.widgets import colours

_TABLES = {"a": colours.diverging_points, "norm": colours.sequential_points, "angle": colours.cyclic_points}
_LABELS = {"a": "readout a", "norm": "|w|", "angle": "angle(w)"}
# Of the neurons, whose quantities the colours span.
_INNER = 0.98


class CloudColouring:
    """Colours the layers, and says on the key what the colours mean.

    Attributes:
        chosen: "plain", "a", "norm" or "angle".
    """

    def __init__(self, layers: Mapping[str, CloudLayer], header: CloudHeader, key: ColourKey) -> None:
        self._layers, self._header, self._key = layers, header, key
        self._limit = StableRange(is_symmetric=True)
        self.chosen = "plain"

    def choose(self, chosen: str, choices: Mapping[str, Axis], theme: Theme) -> None:
        """Colour by another quantity, or in other colours; the layers show it when they are drawn."""
        self.chosen = chosen
        picker = self._header.colour_picker
        picker.setCurrentIndex(picker.findData(chosen))
        self.forget()
        table, colouring = None, None
        if chosen in _TABLES:
            table = _TABLES[chosen](theme)
            palette = colours.brushes(table, 0.85)
            colouring = Colouring(palette, lambda theta: self._index(theta, choices[chosen]))
        for name in ("background", "foreground"):
            # Where colour has another meaning, the clouds are told apart by their symbol.
            symbol = "d" if colouring is not None and name == "foreground" else "o"
            self._layers[name].set_colouring(colouring, symbol)
            self._header.chips[name].set_mark("diamond" if symbol == "d" else "dot")
        self._key.set_table(table, _LABELS.get(chosen, ""))

    def forget(self) -> None:
        """The next neurons set afresh how far the colours reach."""
        self._limit.forget()

    def show_key(self) -> None:
        """The key is there while some neuron is coloured."""
        has_points = any(self._layers[name].has_points for name in ("background", "foreground"))
        self._key.setVisible(self.chosen != "plain" and has_points)

    def _index(self, theta: np.ndarray, axis: Axis) -> np.ndarray:
        values = project(theta, axis)
        if axis.kind == "angle":
            self._key.set_limits("−180°", "180°")
            return colours.colour_index(values, 180.0, is_signed=True)
        last = int(_INNER * (len(values) - 1))
        if self._limit.follow(np.partition(np.abs(values), last)[: last + 1]):
            limit = f"{self._limit.high:.2g}"
            self._key.set_limits(f"−{limit}" if axis.kind == "readout" else "0", limit)
        return colours.colour_index(values, self._limit.high, is_signed=axis.kind == "readout")
