"""What a comparison of neurons and riders would have noticed: alternatives planted on the riders themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist

from mft_engine.compare.clouds import Comparison
from mft_engine.compare.paths import LEVEL, PathComparison
from mft_engine.compare.resolution import FOUND, Resolution
from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array

# Riders on which an alternative is planted; each is compared with itself, so their own noise cancels.
N_ALTERED = 512
# Multiply-adds of one table of distances; of wide neurons fewer are altered.
WORK = 4e7
N_BISECTIONS = 16


def resolution_of(found: PathComparison, riders: Values, start: Values, n_inputs: int) -> Resolution | None:
    """The smallest alternatives that 9 of 10 draws would find, by the one or the other of the two tests.

    An alternative of size s is found where the energy distance of the riders to the altered ones, D(s), lifts the lower
    tenth of the null over its critical value. Of neurons that have never left their start, D(s) = s^2 D(1).

    Args:
        riders, start: (n, n_params), where the riders are and where they began.
        n_inputs: columns before the readouts.
    """
    if found.verdict is None or len(riders) < 4:
        return None
    n = min(N_ALTERED, max(64, int(math.sqrt(WORK / riders.shape[1]))), len(riders))
    cloud, begun = host_array(riders)[:n], host_array(start)[:n]
    level = LEVEL if found.way is not None else P_VALUE_LIMIT
    tests = [(found.now, np.zeros_like(begun))] + ([] if found.way is None else [(found.way, begun)])

    def strength(altered: np.ndarray) -> float:
        """The distance over what is needed, of the test that finds the alternative more easily."""
        return max(_distance(cloud - origin, altered - origin) / _needed(test, level) for test, origin in tests)

    def scaled(size: float, columns: slice) -> float:
        altered = cloud.copy()
        altered[:, columns] *= 1.0 + size
        return strength(altered)

    # Another half of the riders stays at its start: two samples of one law are not at distance 0 either.
    half = n // 2
    shares = []
    for test, origin in tests:
        ours, theirs = cloud[:half] - origin[:half], begun[half:] - origin[half:]
        apart = _distance(ours, theirs) - (_spread(ours) / len(ours) + _spread(theirs) / len(theirs))
        shares.append(math.sqrt(_needed(test, level) / apart) if apart > 0 else math.inf)
    return Resolution(
        prior_share=min(shares) if min(shares) <= 1 else None,
        weight_scale=_smallest(lambda size: scaled(size, slice(0, n_inputs))),
        readout_scale=_smallest(lambda size: scaled(size, slice(n_inputs, None))),
    )


def _needed(test: Comparison, level: float) -> float:
    return float(np.quantile(test.null, 1 - level) - np.quantile(test.null, 1 - FOUND))


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The energy distance in pooled standard deviations."""
    spread = np.concatenate([ours, theirs]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    ours, theirs = ours / scale, theirs / scale
    return 2.0 * _mean(ours, theirs) - _mean(ours, ours) - _mean(theirs, theirs)


def _spread(cloud: np.ndarray) -> float:
    """Mean distance within a cloud, in its own standard deviations."""
    spread = cloud.std(axis=0)
    return _mean(cloud / np.where(spread > 0, spread, 1.0), cloud / np.where(spread > 0, spread, 1.0))


def _mean(first: np.ndarray, second: np.ndarray) -> float:
    return float(cdist(first, second).mean())


def _smallest(strength: Callable[[float], float]) -> float | None:
    """The size, up to 1, from which on a change is found; None where even that is not."""
    if strength(1.0) < 1.0:
        return None
    low, high = math.log(1e-3), 0.0
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if strength(math.exp(middle)) < 1.0 else (low, middle)
        if high - low < 0.02:
            break
    return math.exp(high)
