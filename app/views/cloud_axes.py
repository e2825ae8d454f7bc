"""What can be put on the axes of the cloud view, and what is on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.views.projections import Axis, Components, available_axes, coordinate, table_axes
from mft_engine.looks import Coordinate


@dataclass
class CloudAxes:
    """Told of the neurons what they are made of; `choices` by key, and the two of them that are `chosen`.

    Attributes:
        n_inputs: columns before the readout (or its length).
        n_out: readouts of a neuron, of which theta has the length.
        projections: the task's own directions in input space, name -> (n_inputs,).
        columns: names of a table's columns, whether they are weights, and a sentence for each (or none); None: the
            columns are w1 .. wd, a.
        components: the principal ones, once they are known.
    """

    n_inputs: int = 0
    n_out: int = 1
    projections: Mapping[str, np.ndarray] = field(default_factory=dict)
    columns: tuple[tuple[str, ...], bool, tuple[str, ...]] | None = None
    choices: dict[str, Axis] = field(default_factory=dict)
    chosen: tuple[Axis, Axis] | None = None
    components: Components | None = None

    def offer(self, n_inputs: int) -> Sequence[Axis]:
        """The axes of neurons with so many columns before their readout."""
        self.n_inputs = max(n_inputs, 1)
        if self.columns is not None and len(self.columns[0]) == self.n_inputs + 1:
            names, has_weights, meanings = self.columns
            axes = table_axes(names, has_weights=has_weights, meanings=meanings)
        else:
            axes = available_axes(self.n_inputs, self.projections, self.n_out)
        self.choices = {axis.key: axis for axis in axes}
        self.components = None
        return axes

    def choose(self, x: str, y: str) -> tuple[Axis, Axis]:
        """Two axes by their keys."""
        self.chosen = self.choices[x], self.choices[y]
        return self.chosen

    @property
    def names(self) -> tuple[str, ...]:
        """Of a neuron's columns."""
        return self.columns[0] if self.columns is not None else (*(f"w{k + 1}" for k in range(self.n_inputs)), "a")

    @property
    def plane(self) -> tuple[Coordinate, Coordinate] | None:
        """What is on the axes; None while these are principal components that nobody knows yet."""
        if self.chosen is None or (
            self.components is None and "component" in (self.chosen[0].kind, self.chosen[1].kind)
        ):
            return None
        x, y = (coordinate(axis, self.components, self.projections) for axis in self.chosen)
        return x, y
