"""One verdict from many independent runs of one recipe.

    distances:  X = -2 sum_k log p_k          chi^2 with 2 K degrees (Fisher); at most, as p_k are discrete
    averages:   d = mean of d_k,  T^2 = d' (sum_k Sigma_k / K^2)^-1 d   chi^2 with as many degrees as one run has

Each is tested at half of the level, as for one run. What all runs have in common stands out sqrt(K) times as much; what
each has of its own does not: that is what the K verdicts are for.

Source: Fisher, Statistical Methods for Research Workers (1932), section 21.1; docs/method.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from mft_engine.compare.averages import AveragesTest, Expectation, Statistic, largest_noncentrality
from mft_engine.compare.clouds import Comparison
from mft_engine.compare.resolution import Resolution
from mft_engine.compare.rules import ONE_MOMENT, P_VALUE_LIMIT, Verdict, judge, smallest_p_value, told_p


@dataclass(frozen=True)
class Pooled:
    """What K runs say together.

    Attributes:
        n_runs: with a comparison; n_rejected: whose own p-value is at most 0.01; n_silent: without a verdict of their
            own.
        p_value_distance: Fisher's; None in the field of one moment. p_value_averages: of the pooled T^2, None
            where a run has no averages. p_value_way: Fisher's, of runs whose neurons were followed.
        t_square, n_degrees: of the pooled averages; kl_upper: as in `AveragesTest`, of what the runs have in common.
        p_value: of both together, as `Comparison.p_value_all`; ratio: mean distance over mean null.
        resolution: of the pooled averages, where it was worked out.
        largest_difference: a sentence, empty where nothing was noticed; why: why there is no verdict.
    """

    n_runs: int
    n_rejected: int
    n_silent: int
    p_value: float
    p_value_distance: float | None
    p_value_averages: float | None
    p_value_way: float | None
    t_square: float | None
    n_degrees: int | None
    kl_upper: float | None
    ratio: float
    verdict: Verdict | None
    largest_difference: str = ""
    why: str = ""
    resolution: Resolution | None = None

    def with_resolution(self, resolution: Resolution) -> Pooled:
        """The same with what the pooled averages would have noticed."""
        return replace(self, resolution=resolution)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        own = f"{self.n_rejected} of {self.n_runs} runs are rejected by themselves"
        if self.verdict is None:
            return f"No verdict from {self.n_runs} runs: {self.why}"
        told = f"{self.n_runs} runs together are {self.verdict} ({told_p(self.p_value)}); {own}."
        if self.verdict != "consistent":
            return f"{told} {self.largest_difference}".rstrip()
        noticed = self.resolution.words if self.resolution is not None else ""
        return told + (f" Together they would have noticed {noticed}." if noticed else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "largest_difference": self.largest_difference or None, "sentence": self.sentence}


def pool(comparisons: Sequence[Comparison], eta_theta: float | None = None) -> Pooled:
    """The verdict of independent runs of one recipe.

    Args:
        comparisons: one a run, K >= 1; eta_theta: the largest of the runs.
    """
    is_of_one_moment = any(one.is_of_one_moment for one in comparisons)
    test = _pooled_averages(comparisons)
    distance = None if is_of_one_moment and test is not None else fisher([one.p_value for one in comparisons])
    followed = [one.way for one in comparisons if one.way is not None]
    way = fisher([one.p_value for one in followed]) if len(followed) == len(comparisons) else None
    parts = [value for value in (distance, way, None if test is None else test.p_value) if value is not None]
    p_value = min(1.0, len(parts) * min(parts))
    is_by_way = way is not None and (distance is None or way < distance)
    verdict: Verdict | None = judge(p_value, mean_ratio(followed if is_by_way else comparisons), eta_theta)
    least = fisher([smallest_p_value(one.n_background, one.n_foreground, one.n_permutations) for one in comparisons])
    why = ""
    if verdict == "consistent" and distance is not None and least > P_VALUE_LIMIT / len(parts) * (1 + 1e-9):
        verdict = None
        why = f"whatever the clouds look like, their p-value together cannot fall below {least:.2g}. Take more runs."
    if is_of_one_moment and verdict != "consistent":
        verdict, why = None, ONE_MOMENT
    told = ""
    if p_value <= P_VALUE_LIMIT and verdict is not None:
        worst = min(comparisons, key=lambda one: one.p_value_all)
        is_by_averages = test is not None and (distance is None or test.p_value < distance)
        told = (test.largest_difference or test.together) if test and is_by_averages else worst.what_differs
    return Pooled(
        n_runs=len(comparisons),
        n_rejected=sum(one.p_value_all <= P_VALUE_LIMIT for one in comparisons),
        n_silent=sum(one.verdict is None for one in comparisons),
        p_value=p_value,
        p_value_distance=distance,
        p_value_averages=None if test is None else test.p_value,
        p_value_way=way,
        t_square=None if test is None else test.t_square,
        n_degrees=None if test is None else test.n_degrees,
        kl_upper=None if test is None else test.kl_upper,
        ratio=mean_ratio(comparisons),
        verdict=verdict,
        largest_difference=told,
        why=why,
    )


def fisher(p_values: Sequence[float]) -> float:
    """One p-value from independent ones."""
    return float(special.chdtrc(2 * len(p_values), -2.0 * float(np.log(p_values).sum())))


def mean_ratio(comparisons: Sequence[Comparison]) -> float:
    """Mean distance over mean null."""
    null = sum(one.null_mean for one in comparisons)
    return sum(one.energy_distance for one in comparisons) / null if null > 0 else 0.0


def _pooled_averages(comparisons: Sequence[Comparison]) -> AveragesTest | None:
    """The quadratic test of the mean differences; None where a run has no averages, or other ones."""
    tests = [one.averages for one in comparisons]
    names = {tuple(s.name for s in test.statistics) if test is not None and test.covariance else () for test in tests}
    if len(names) != 1 or not all(names):
        return None
    known = [test for test in tests if test is not None]
    n = len(known)
    difference = np.mean([[s.value - s.expected for s in test.statistics] for test in known], axis=0)
    covariance = np.sum([np.array(test.covariance) for test in known], axis=0) / n**2
    words = {s.name: s.words for s in known[0].statistics}
    law = Expectation.of(words, np.zeros(len(words)), covariance, np.zeros((0, 0)))
    direction = law.coordinates(difference)
    t_square = float(direction @ direction)
    rows = []
    for k, (name, text) in enumerate(words.items()):
        value, expected = (float(np.mean([getattr(test.statistics[k], part) for test in known]))
                           for part in ("value", "expected"))  # fmt: skip
        error = math.sqrt(max(float(covariance[k, k]), 0.0))
        z = difference[k] / error if error > 0 else 0.0
        rows.append(Statistic(name, text, value, expected, error, float(2 * special.ndtr(-abs(z)))))
    n_neurons = sum(one.n_background for one in comparisons)
    return AveragesTest(
        statistics=tuple(rows),
        t_square=t_square,
        n_degrees=law.n_degrees,
        p_value=float(special.chdtrc(law.n_degrees, t_square)),
        kl_upper=0.5 * largest_noncentrality(t_square, law.n_degrees) / n_neurons,
        outliers=np.zeros(0, dtype=np.int64),
    )
