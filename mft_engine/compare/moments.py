"""Do the moments of two clouds agree? A quadratic test where no law of a neuron is known, as between two runs.

    T^2 = d' S^-1 d,   d the difference of the means of the columns and of their squares, S the pooled covariance

against exchanges of neurons between the clouds, so that its level is exact for clouds of independent neurons (those of
a background repel, which makes it cautious). A distance of clouds hardly sees that one column is wider.

Source: Hotelling, Ann. Math. Statist. 2 (1931) 360.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from mft_engine import rng
from mft_engine.compare.averages import AveragesTest, Expectation, Statistic, largest_noncentrality
from mft_engine.compare.clouds import Comparison, Theta, fold
from mft_engine.compare.resolution import Resolution, found_share, smallest
from mft_engine.compare.rules import AVERAGES_LEVEL, why_no_verdict
from mft_engine.curves import Parity
from mft_engine.points.statistics import host_array
from mft_engine.rng import Stream

# Neurons a cloud for each statistic, below which covariances are not known.
PER_STATISTIC = 20
N_OUTLIERS = 50
# Statistics of which the covariance is kept, to be pooled with that of other runs.
MOST_KEPT = 40
# Labels (permutations x neurons) held at once, 40 MB.
MAX_LABELS = 5_000_000


def with_moments(
    comparison: Comparison,
    background: Theta,
    foreground: Theta,
    n_inputs: int,
    names: Sequence[str],
    *,
    parity: Parity = "none",
    seed: int = 0,
    eta_theta: float | None = None,
    n_pooled: int = 1,
) -> Comparison:
    """The comparison of the same two clouds with their moments, which have a say in the verdict.

    Args:
        background, foreground: (n_neurons, n_columns); n_inputs: leading columns that are input weights.
        names: of the columns; parity, seed, eta_theta: as in `compare_clouds`.
        n_pooled: runs that the resolution is told for, whose moments are pooled.

    Returns:
        as it was for clouds with too few neurons for so many columns, or too few permutations to share the level.
    """
    own, other = (fold(host_array(cloud), n_inputs, parity) for cloud in (background, foreground))
    is_too_small = min(len(own), len(other)) < 2 * PER_STATISTIC * own.shape[1]
    if is_too_small or why_no_verdict(len(own), len(other), comparison.n_permutations, AVERAGES_LEVEL):
        return comparison
    pool = np.concatenate([own, other])
    scale = np.where(pool.std(axis=0) > 0, pool.std(axis=0), 1.0)
    centre = pool.mean(axis=0)

    def statistics(cloud: np.ndarray) -> np.ndarray:
        points = (cloud - centre) / scale
        return np.hstack([points, points**2])

    rows = statistics(pool)
    n, m = len(own), len(other)
    covariance = np.cov(rows.T, bias=True) * (1 / n + 1 / m)
    words = {f"mean_{name}": f"mean of {name}" for name in names}
    words |= {f"spread_{name}": f"mean square deviation of {name}" for name in names}
    law = Expectation.of(words, rows[n:].mean(axis=0), covariance, np.zeros((0, 0)))
    whitened = law.coordinates(rows - rows.mean(axis=0))
    direction = whitened[:n].mean(axis=0) - whitened[n:].mean(axis=0)
    t_square = float(direction @ direction)
    null = _exchanged(whitened, n, comparison.n_permutations, seed)
    p_value = float((1 + np.count_nonzero(null >= t_square * (1 - 1e-9))) / (1 + len(null)))
    # In units of the columns, not of their spread.
    units, start = np.concatenate([scale, scale**2]), np.concatenate([centre, np.zeros(len(names))])
    values, expected = (part.mean(axis=0) * units + start for part in (rows[:n], rows[n:]))
    covariance = covariance * np.outer(units, units)
    errors = np.sqrt(np.diag(covariance))
    found = []
    for k, (name, text) in enumerate(words.items()):
        z = (values[k] - expected[k]) / errors[k] if errors[k] > 0 else 0.0
        p = float(2 * special.ndtr(-abs(z)))
        found.append(Statistic(name, text, float(values[k]), float(expected[k]), float(errors[k]), p))
    test = AveragesTest(
        statistics=tuple(found),
        t_square=t_square,
        n_degrees=law.n_degrees,
        p_value=p_value,
        kl_upper=0.5 * largest_noncentrality(t_square, law.n_degrees) * (1 / n + 1 / m),
        covariance=tuple(tuple(row) for row in covariance.tolist()) if len(words) <= MOST_KEPT else (),
        against="counterpart",
        outliers=np.argsort(-(whitened[:n] @ direction), kind="stable")[:N_OUTLIERS],
    )
    critical = float(special.chdtri(law.n_degrees, AVERAGES_LEVEL))

    def scaled(first: int, last: int) -> float | None:
        def chance(size: float) -> float:
            altered = other.copy()
            altered[:, first:last] *= 1.0 + size
            shift = math.sqrt(n_pooled) * law.coordinates(statistics(altered).mean(axis=0) - law.mean)
            return found_share(shift, None, critical, rows[:0])

        return smallest(chance, 1.0)

    resolution = Resolution(weight_scale=scaled(0, n_inputs), readout_scale=scaled(n_inputs, own.shape[1]))
    return comparison.with_averages(test, resolution, eta_theta)


def _exchanged(whitened: np.ndarray, n_background: int, n_permutations: int, seed: int) -> np.ndarray:
    """(n_permutations,) T^2 after exchanging neurons at random."""
    n = len(whitened)
    labels = np.full(n, -1.0 / (n - n_background))
    labels[:n_background] = 1.0 / n_background
    generator = rng.host_generator(seed, Stream.PERMUTATION, 1)
    n_rows = max(1, MAX_LABELS // n)
    values = []
    for first in range(0, n_permutations, n_rows):
        block = np.tile(labels, (min(n_rows, n_permutations - first), 1))
        generator.permuted(block, axis=1, out=block)
        values.append(((block @ whitened) ** 2).sum(axis=1))
    return np.concatenate(values)
