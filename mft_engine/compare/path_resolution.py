"""What a comparison of followed neurons would have noticed: alternatives planted on the fresh ones themselves."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from mft_engine.compare.clouds import Comparison
from mft_engine.compare.resolution import FOUND, Resolution, smallest
from mft_engine.compare.rules import AVERAGES_LEVEL, P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array

# Fresh neurons on which an alternative is planted; each is compared with itself, so their own noise cancels.
N_ALTERED = 256
# Multiply-adds of one table of distances; of wide neurons fewer are altered.
WORK = 4e7
# Smallest alternative that is tried.
LEAST = 1e-3


def resolution_of(found: Comparison, riders: Values, start: Values, n_inputs: int) -> Resolution | None:
    """The smallest alternatives that 9 of 10 draws would find, by the one or the other of the two tests.

    The energy distance of samples whose laws are D apart is D + (the null) + (a term linear in the samples), so that it
    exceeds the critical value q in 9 of 10 draws where

        D >= q - mean(null) + 1.28 sqrt(var(null) + 4 var h(X)/n_background + 4 var h(Y)/n_foreground)

    with h(x) = E|x - Y| - E|x - X|, and 1.28 the 90 % quantile of a normal law. D and h are those of the riders and
    the same riders altered, so that their own noise cancels.

    Args:
        riders, start: (n, n_params), where the riders are and where they began.
        n_inputs: columns before the readouts.
    """
    if found.verdict is None or len(riders) < 4:
        return None
    n = min(N_ALTERED, max(64, int(math.sqrt(WORK / riders.shape[1]))), len(riders))
    cloud, begun = host_array(riders)[:n], host_array(start)[:n]
    level = AVERAGES_LEVEL if found.way is not None else P_VALUE_LIMIT
    tests = [(found, np.zeros_like(begun))] + ([] if found.way is None else [(found.way, begun)])

    def is_found(altered: np.ndarray) -> bool:
        return any(_is_found(test, level, cloud - origin, altered - origin) for test, origin in tests)

    def frozen(share: float) -> bool:
        # Neurons are exchangeable: the first ones are as good as any.
        stays = np.arange(n)[:, None] < share * n
        return is_found(np.where(stays, begun, cloud))

    def scaled(size: float, columns: slice) -> bool:
        altered = cloud.copy()
        altered[:, columns] *= 1.0 + size
        return is_found(altered)

    return Resolution(
        prior_share=smallest(frozen, 1.0, LEAST),
        weight_scale=smallest(lambda size: scaled(size, slice(0, n_inputs)), 1.0, LEAST),
        readout_scale=smallest(lambda size: scaled(size, slice(n_inputs, None)), 1.0, LEAST),
    )


def _is_found(test: Comparison, level: float, ours: np.ndarray, theirs: np.ndarray) -> bool:
    spread = np.concatenate([ours, theirs]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    ours, theirs = ours / scale, theirs / scale
    across, own, other = cdist(ours, theirs), cdist(ours, ours), cdist(theirs, theirs)
    # A rider and the same one altered are no two independent ones.
    distance = 2.0 * across.mean() - own.mean() - other.mean() - 2.0 * np.diag(across).mean() / len(across)
    witness = across.mean(axis=1) - own.mean(axis=1), across.mean(axis=0) - other.mean(axis=0)
    linear = 4.0 * (witness[0].var() / test.n_foreground + witness[1].var() / test.n_background)
    critical = float(np.quantile(test.null, 1.0 - level))
    return bool(distance >= critical - test.null.mean() + ndtri(FOUND) * math.sqrt(test.null.var() + linear))
