"""An axis range that stays: wide enough for the far arms of a cloud, and never a different one at every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mft_engine.looks import Ends, ends_of

_MARGIN = 1.06
_SPARE = 1.08
_SHRINK_BELOW = 0.45
_PATIENCE = 30


class StableRange:
    """The interval shown on an axis.

    Grows when points leave it, by some spare room, so that the next growth is not due at the next frame; shrinks only
    after the points have needed less than half of it for many frames on end.
    """

    def __init__(self, *, is_symmetric: bool, patience: int = _PATIENCE) -> None:
        self._is_symmetric = is_symmetric
        self._patience = patience
        self._n_loose = 0
        self.low = 0.0
        self.high = 0.0

    @property
    def is_set(self) -> bool:
        """Whether any values have been seen."""
        return self.high > self.low

    def follow(self, values: np.ndarray, counted: Sequence[Ends] = ()) -> bool:
        """Makes room for the values; says whether the range changed.

        Args:
            values: (n,) positions on the axis; not finite ones are ignored, nor need all of the farthest have room.
            counted: ends of clouds whose neurons are not here.
        """
        needed = self._needed(values, counted)
        if needed is None:
            return False
        low, high = needed
        if not self.is_set:
            self._set(low, high)
            return True
        if low < self.low or high > self.high:
            self._n_loose = 0
            self._set(min(low, self.low), max(high, self.high))
            return True
        if high - low < _SHRINK_BELOW * (self.high - self.low):
            self._n_loose += 1
            if self._n_loose >= self._patience:
                self._n_loose = 0
                self._set(low, high)
                return True
        else:
            self._n_loose = 0
        return False

    def forget(self) -> None:
        """The next values set the range afresh."""
        self.low = self.high = 0.0
        self._n_loose = 0

    def _set(self, low: float, high: float) -> None:
        spare = 0.5 * (_SPARE - 1.0) * (high - low)
        # Only an end that moved takes spare room; the other one stays where the eye knows it.
        self.low = low if self.is_set and low == self.low else low - spare
        self.high = high if self.is_set and high == self.high else high + spare

    def _needed(self, values: np.ndarray, counted: Sequence[Ends]) -> tuple[float, float] | None:
        own = ends_of(values)
        found = [*counted, *([own] if own is not None else [])]
        if not found:
            return None
        low, high = min(ends.low for ends in found), max(ends.high for ends in found)
        if self._is_symmetric:
            high = max(abs(low), abs(high)) * _MARGIN
            low = -high
        else:
            margin = 0.5 * (_MARGIN - 1.0) * (high - low)
            low, high = low - margin, high + margin
        if high <= low:
            pad = 0.1 * abs(high) or 0.5
            low, high = low - pad, high + pad
        return low, high
