"""What somebody looks at in a cloud of neurons, and what was counted there: values that window and engine exchange.

A cloud of a million neurons stays on its device; what leaves it are counts. The arithmetic of coordinates and bins is
written once, for numpy and for torch (`xp` is either module), so that both count the same. No torch is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray

# From here on a cloud is drawn as an image, and the engine counts its neurons.
MOST_POINTS = 30_000
# Neurons of a larger cloud that are sent one by one, always the same: at most so many, and fewer of wide tables.
N_SAMPLE, FEWEST_IN_SAMPLE, SAMPLE_BYTES = 2048, 32, 2**16
# Phases of waves that are drawn.
N_PHASES = 2000
# The share of neurons that may lie beyond either end of an axis, and how many are asked for it.
TAIL, N_ASKED = 5e-4, 20_000


@dataclass(frozen=True)
class Coordinate:
    """One number of a neuron, made of its row of a table: weights, then `n_out` readouts (several count as length |a|).

    Attributes:
        kind: column (`column` of the table), readout, length (|w|), angle (of (w1, w2), degrees) or direction.
        direction: (n_weights,) or (n_weights + 1,) factors of the weights and the readout; offset: taken off their sum.
    """

    kind: Literal["column", "readout", "length", "angle", "direction"]
    column: int = 0
    direction: tuple[float, ...] = ()
    offset: float = 0.0

    def of(self, table: Any, n_out: int = 1, xp: Any = np, wide: Any = np.float64) -> Any:
        """(n_neurons,) float32, reckoned in `wide` and rounded once, so that every device finds the same numbers.

        Args:
            table: (n_neurons, n_columns), an array or tensor of the module `xp`.
        """
        n_weights = table.shape[1] - n_out
        if self.kind == "column":
            found = table[:, self.column]
        elif self.kind == "readout":
            found = _readout(table, n_out, xp, wide)
        elif self.kind == "length":
            found = _length(xp.asarray(table[:, :n_weights], dtype=wide), xp)
        elif self.kind == "angle":
            first, second = (xp.asarray(table[:, j], dtype=wide) for j in (0, 1))
            found = xp.arctan2(second, first) * (180.0 / math.pi)
        else:
            columns = [table[:, j] for j in range(n_weights)]
            if len(self.direction) > n_weights:
                columns.append(_readout(table, n_out, xp, wide))
            # One by one: a product of matrices would add up in another order on every device.
            found = xp.zeros_like(xp.asarray(columns[0], dtype=wide)) - self.offset
            for factor, column in zip(self.direction, columns, strict=True):
                if factor:
                    found = found + factor * xp.asarray(column, dtype=wide)
        return xp.asarray(found, dtype=xp.float32)


def _readout(table: Any, n_out: int, xp: Any, wide: Any) -> Any:
    return table[:, -1] if n_out == 1 else _length(xp.asarray(table[:, -n_out:], dtype=wide), xp)


def _length(part: Any, xp: Any) -> Any:
    return xp.sqrt((part * part).sum(axis=1))


@dataclass(frozen=True)
class Span:
    """Equal bins between two ends."""

    low: float
    high: float
    n_bins: int

    @property
    def edges(self) -> Array:
        """(n_bins + 1,)."""
        return np.linspace(self.low, self.high, self.n_bins + 1)

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.high - self.low) / self.n_bins

    def places(self, values: Any) -> Any:
        """Float32 values in units of bins from the low end: inside where 0 <= place < n_bins."""
        return (values - float(np.float32(self.low))) * float(np.float32(self.n_bins / (self.high - self.low)))

    def is_inside(self, places: Any) -> Any:
        """Whether a value lies in a bin; what is not finite does not."""
        return (places >= 0) & (places < self.n_bins)


@dataclass(frozen=True)
class Plane:
    """Two coordinates and the rectangle that is looked at; no spans while only the ends of the cloud are asked for."""

    x: Coordinate
    y: Coordinate
    spans: tuple[Span, Span] | None = None


@dataclass(frozen=True)
class Line:
    """A coordinate and the bins of its histogram; no span while only the ends of the cloud are asked for."""

    of: Coordinate
    span: Span | None = None


@dataclass(frozen=True)
class Look:
    """What somebody looks at.

    Attributes:
        layer: 0 for the first; n_columns: of its table; n_out: readouts of its neurons.
        clouds: which of "initial", "background", "foreground" are shown.
        plane, lines: of the picture and of the histograms.
        has_moments: means and covariances are asked for; modulus: P where the waves of an addition are, else 0.
        marked: numbers of background neurons that are asked for one by one.
    """

    layer: int = 0
    n_columns: int = 3
    n_out: int = 1
    clouds: tuple[str, ...] = ("background",)
    plane: Plane | None = None
    lines: tuple[Line, ...] = ()
    has_moments: bool = False
    modulus: int = 0
    marked: tuple[int, ...] = ()

    def is_of(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether tables of such shapes, one a layer, are those of the look, and the one that is looked at is large."""
        if self.layer >= len(shapes):
            return False
        n_neurons, n_columns = shapes[self.layer]
        return n_neurons > MOST_POINTS and n_columns == self.n_columns


@dataclass(frozen=True)
class Ends:
    """Between which all but `TAIL` of a cloud's neurons lie at either end."""

    low: float
    high: float


@dataclass(frozen=True)
class Moments:
    """mean (n,) and covariance (n, n) of the weights and the readout."""

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class WavesSeen:
    """Of all neurons that add modulo P, what `questions.waves` says of each.

    Attributes:
        counts: ((P - 1)/2,) neurons whose largest share is at frequency 1, 2, ...
        phases: (n, 2) of the strongest: phase of n plus that of m, and that of the answer.
        agreement: mean of cos(u_c - u_n - u_m), neurons counted by their strength.
    """

    counts: Array
    phases: Array
    agreement: float


@dataclass(frozen=True)
class Seen:
    """What was counted of all neurons of one cloud.

    Attributes:
        look: what was asked.
        n_neurons: that were counted.
        image: (n_bins, n_bins) neurons in each cell of the plane, row = y ascending, unsigned integers as small as they
            may be; None without spans.
        ends: of the plane's two coordinates.
        histograms: of every line the ends, and (n_bins,) counts where it has a span.
        marked: (n_marked, n_columns) rows of the neurons asked for by number.
    """

    look: Look
    n_neurons: int
    image: Array | None = None
    ends: tuple[Ends, Ends] | None = None
    histograms: tuple[tuple[Ends, Array | None], ...] = ()
    moments: Moments | None = None
    waves: WavesSeen | None = None
    marked: Array | None = None

    def histogram(self, of: Coordinate) -> tuple[Ends, Line, Array | None] | None:
        """The ends, the bins and the counts of a coordinate; None where it was not asked for."""
        for line, (ends, counts) in zip(self.look.lines, self.histograms, strict=True):
            if line.of == of:
                return ends, line, counts
        return None


def n_sent(n_neurons: int, n_columns: int) -> int:
    """How many neurons of a cloud are sent one by one: all of a small one."""
    if n_neurons <= MOST_POINTS:
        return n_neurons
    return min(N_SAMPLE, max(FEWEST_IN_SAMPLE, SAMPLE_BYTES // (4 * n_columns)))


def count(values: Array, span: Span) -> Array:
    """(n_bins,) values in each bin."""
    with np.errstate(invalid="ignore", over="ignore"):
        places = span.places(np.asarray(values, np.float32))
        inside = places[span.is_inside(places)]
    return np.bincount(inside.astype(np.int64), minlength=span.n_bins)


def count_plane(x: Array, y: Array, spans: tuple[Span, Span]) -> Array:
    """(n_bins of y, n_bins of x) points in each cell; row = y ascending."""
    with np.errstate(invalid="ignore", over="ignore"):
        across, up = (s.places(np.asarray(v, np.float32)) for s, v in zip(spans, (x, y), strict=True))
        inside = spans[0].is_inside(across) & spans[1].is_inside(up)
    n_across, n_up = spans[0].n_bins, spans[1].n_bins
    cell = up[inside].astype(np.int64) * n_across + across[inside].astype(np.int64)
    return np.bincount(cell, minlength=n_up * n_across).reshape(n_up, n_across)


def ends_of(values: Array) -> Ends | None:
    """The ends of finite values; None where there are none."""
    values = values[:: max(1, len(values) // N_ASKED)]
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    last = len(values) - 1
    cut = int(TAIL * len(values))
    ordered = np.partition(values, (cut, last - cut))
    return Ends(float(ordered[cut]), float(ordered[last - cut]))
