"""Histograms as densities: of values that are here, or of counts that were made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.views.axis_range import StableRange
from mft_engine.looks import Ends, Line, Span, count

N_BINS = 60
_FEWEST_BINS = 12
Outline = tuple[np.ndarray, np.ndarray]


def outline(values: np.ndarray, low: float, high: float, n_bins: int = N_BINS) -> Outline:
    """A histogram as a density.

    The densities are shares of all values per unit: values outside [low, high] count as neurons but lie in no bin.

    Returns:
        edges (n_bins + 1,) and densities (n_bins,).
    """
    span = Span(low, high, n_bins)
    return _density(count(values, span), span, len(values))


def _density(counts: np.ndarray, span: Span, n_neurons: int) -> Outline:
    return span.edges, counts / (max(n_neurons, 1) * span.width)


@dataclass(frozen=True)
class CloudAlong:
    """A cloud along one axis.

    Attributes:
        values: (n_neurons,) where its neurons are here; else
        n_neurons: that are elsewhere; counted: their ends, the bins and the counts, once that is known.
    """

    values: np.ndarray | None
    n_neurons: int = 0
    counted: tuple[Ends, Line, np.ndarray | None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether its counts are still to come."""
        return self.values is None and (self.counted is None or self.counted[2] is None)

    def lead(self, span: StableRange) -> None:
        """Make room for it."""
        if self.values is not None:
            span.follow(self.values)
        elif self.counted is not None:
            span.follow(np.empty(0), [self.counted[0]])

    def outline(self, span: StableRange) -> Outline | None:
        """Its density in a range, or where it was counted; None while that is to come."""
        if self.values is not None and not span.is_set:
            return None
        if self.values is not None:
            # Bins of a few neurons each show nothing but their noise.
            n_bins = min(N_BINS, max(_FEWEST_BINS, round(2 * len(self.values) ** 0.5)))
            return outline(self.values, span.low, span.high, n_bins)
        if self.counted is None or self.counted[2] is None or self.counted[1].span is None:
            return None
        return _density(self.counted[2], self.counted[1].span, self.n_neurons)
