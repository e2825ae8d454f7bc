"""Neurons that were followed: compared by where they are, and by how far each has come from its start.

Two clouds can look alike although half of the neurons of one have never moved; their ways tell them apart at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mft_engine.compare.clouds import Comparison, Theta, compare
from mft_engine.compare.resolution import Resolution
from mft_engine.compare.rules import P_VALUE_LIMIT, Verdict, judge, verdict_clause
from mft_engine.points.statistics import host_array

# Two tests share the level, half each.
LEVEL = P_VALUE_LIMIT / 2


@dataclass(frozen=True, repr=False)
class PathComparison:
    """Both clouds now, and the ways from their starts.

    Attributes:
        now: the neurons where they are; way: their displacements, None before anybody has moved.
        resolution: what the two tests together would notice; None where it was not asked for.
    """

    now: Comparison
    way: Comparison | None = None
    resolution: Resolution | None = None

    @property
    def decisive(self) -> Comparison:
        """The test that speaks more against one law."""
        if self.way is None:
            return self.now
        return min((self.now, self.way), key=lambda test: (test.p_value, -test.ratio))

    @property
    def p_value_all(self) -> float:
        """Of both tests, each at half of the level (Bonferroni)."""
        return self.now.p_value if self.way is None else min(1.0, 2.0 * min(self.now.p_value, self.way.p_value))

    @property
    def verdict(self) -> Verdict | None:
        """Consistent where p_value_all is above 0.01, else by the ratio; None where nothing could say no."""
        return None if self.now.verdict is None else judge(self.p_value_all, self.ratio)

    @property
    def ratio(self) -> float:
        """Of the decisive test: energy distance over its mean when labels are exchanged at random."""
        return self.decisive.ratio

    @property
    def p_value(self) -> float:
        """Of the decisive test alone."""
        return self.decisive.p_value

    @property
    def why(self) -> str:
        """Why there is no verdict; empty where there is one."""
        return self.now.why

    @property
    def what_differs(self) -> str:
        """What differs most, in a sentence; empty where nothing was noticed."""
        return self.decisive.what_differs if self.p_value_all <= P_VALUE_LIMIT else ""

    @property
    def noticed(self) -> str:
        """What these tests would have noticed, in a clause; empty where that is not known."""
        if self.resolution is None:
            return ""
        parts = [
            f"{100 * size:.2g} % {what}"
            for size, what in (
                (self.resolution.prior_share, "of neurons that never left their start"),
                (self.resolution.weight_scale, "longer weights"),
                (self.resolution.readout_scale, "longer readouts"),
            )
            if size is not None
        ]
        return ", ".join(parts[:-1]) + (" or " if len(parts) > 1 else "") + parts[-1] if parts else ""

    def __repr__(self) -> str:
        noticed = f"; would have noticed {self.noticed}" if self.noticed else ""
        differs = f". {self.what_differs}" if self.what_differs else ""
        return verdict_of(self) + noticed + differs

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{self!r}</p>"

    def with_resolution(self, resolution: Resolution) -> PathComparison:
        """The same with what it would notice."""
        return replace(self, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of the decisive test, with the verdict of both, and each by itself."""
        both = {
            "verdict": self.verdict,
            "p_value_all": self.p_value_all,
            "resolution": None if self.resolution is None else vars(self.resolution),
            "what_differs": self.what_differs or None,
        }
        return {
            **self.decisive.to_dict(),
            **both,
            "now": self.now.to_dict(),
            "way": None if self.way is None else self.way.to_dict(),
        }


def verdict_of(comparison: Comparison | PathComparison | None) -> str:
    """A comparison in a clause."""
    if comparison is None:
        return "not compared"
    return verdict_clause(comparison.verdict, comparison.p_value_all, comparison.ratio, comparison.why)


def compare_paths(
    now: tuple[Theta, Theta],
    start: tuple[Theta, Theta],
    n_inputs: int,
    names: Sequence[str],
    *,
    n_permutations: int = 500,
    seed: int = 0,
) -> PathComparison:
    """Compare neurons and their ways.

    Args:
        now, start: (background, foreground), each (n, n_params), row by row the same neurons.
        n_inputs: columns before the readouts; names: of the columns.
        n_permutations, seed: as `compare_clouds`.

    Raises:
        ComparisonError: clouds that are empty, not finite or of different columns; too few permutations.
    """
    options: dict[str, Any] = {"n_permutations": n_permutations, "seed": seed}
    here = compare(*now, n_inputs, names=names, **options)
    ways = [host_array(end) - host_array(begin) for end, begin in zip(now, start, strict=True)]
    if not any(np.any(way) for way in ways):
        return PathComparison(here)
    return PathComparison(
        here, compare(ways[0], ways[1], n_inputs, names=[f"way of {name}" for name in names], **options)
    )
