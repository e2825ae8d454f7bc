"""What a comparison of neurons and riders would have noticed: alternatives planted on the riders themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.distance import cdist

from mft_engine.compare.clouds import Comparison
from mft_engine.compare.resolution import FOUND, Resolution
from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array

# Riders on which an alternative is planted; each is compared with itself, so their own noise cancels.
N_ALTERED = 512
# Multiply-adds of one table of distances; of wide neurons fewer are altered.
WORK = 4e7
N_BISECTIONS = 16


def with_resolution(comparison: Comparison, riders: Values, start: Values, n_inputs: int) -> Comparison:
    """The comparison with the smallest alternatives that 9 of 10 draws would find at its level.

    An alternative of size s is found where the energy distance of the riders to the altered ones, D(s), lifts the lower
    tenth of the null over its critical value. Of untrained neurons mixed in, D(s) = s^2 D(1).

    Args:
        riders: (n, n_params) as they are; start: as they began.
        n_inputs: columns before the readouts.
    """
    if comparison.verdict is None:
        return comparison
    n = min(N_ALTERED, max(64, int(math.sqrt(WORK / riders.shape[1]))))
    cloud, fresh = host_array(riders)[:n], host_array(start)[:n]
    null = comparison.null
    needed = float(np.quantile(null, 1 - P_VALUE_LIMIT) - np.quantile(null, 1 - FOUND))

    def distance(altered: np.ndarray) -> tuple[float, float]:
        """The energy distance in pooled standard deviations, and what two samples of one law would have of it."""
        spread = np.concatenate([cloud, altered]).std(axis=0)
        ours, theirs = (part / np.where(spread > 0, spread, 1.0) for part in (cloud, altered))
        within = _mean(ours, ours) + _mean(theirs, theirs)
        return 2.0 * _mean(ours, theirs) - within, within / len(cloud)

    def scaled(size: float, columns: slice) -> np.ndarray:
        altered = cloud.copy()
        altered[:, columns] *= 1.0 + size
        return altered

    apart, noise = distance(fresh)
    share = math.sqrt(needed / (apart - noise)) if apart - noise > needed else None
    found = Resolution(
        prior_share=share,
        weight_scale=_smallest(lambda size: distance(scaled(size, slice(0, n_inputs)))[0], needed),
        readout_scale=_smallest(lambda size: distance(scaled(size, slice(n_inputs, None)))[0], needed),
    )
    return replace(comparison, resolution=found)


def _mean(first: np.ndarray, second: np.ndarray) -> float:
    return float(cdist(first, second).mean())


def _smallest(strength: Callable[[float], float], needed: float) -> float | None:
    """The size, up to 1, from which on a change is found; None where even that is not."""
    if strength(1.0) < needed:
        return None
    low, high = math.log(1e-3), 0.0
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if strength(math.exp(middle)) < needed else (low, middle)
        if high - low < 0.02:
            break
    return math.exp(high)
