"""Whether neurons of one law are also independent of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from mft_engine import rng
from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array
from mft_engine.rng import Stream

# Riders that are split into halves, and how often: the scatter is known to some 10 %.
MOST_SPLIT = 512
N_SPLITS = 60
# Neurons and riders that have neighbours to speak of.
FEWEST = 4


@dataclass(frozen=True)
class Independence:
    """How near neurons stand to their nearest neighbours, against riders, which are independent.

    Attributes:
        spacing: median distance to the nearest other neuron, over that of the riders; below 1: neurons come in groups,
            above 1: they repel.
        p_value: of riders standing no farther apart than neurons (Mann-Whitney, one-sided; its variance is that of
            riders among themselves, for two neurons that are each other's nearest tell one distance twice).
        sentence: in words.
    """

    spacing: float
    p_value: float
    sentence: str

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{self.sentence}</p>"


def distinct(*clouds: Values) -> np.ndarray:
    """Numbers of the neurons that are not the copy of an earlier one in every one of the clouds, (n, n_params) each."""
    rows = np.concatenate([host_array(cloud) for cloud in clouds], axis=1)
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])


def independence_of(background: Values, foreground: Values) -> Independence:
    """Whether the neurons of a cloud come in groups, as copies or tied neurons do.

    Distances to the nearest neighbour in pooled standard deviations, in clouds of the same number of neurons.

    Args:
        background, foreground: (n_neurons, n_params), four at least, or the answer says that they are too few.
    """
    clouds = [host_array(cloud) for cloud in (background, foreground)]
    n = min(map(len, clouds))
    if n < FEWEST:
        return Independence(math.nan, 1.0, f"Of {n} neurons or riders nobody can say whether they come in groups.")
    clouds = [cloud[np.linspace(0, len(cloud) - 1, n).astype(int)] if len(cloud) > n else cloud for cloud in clouds]
    spread = np.concatenate(clouds).std(axis=0)
    scaled = [cloud / np.where(spread > 0, spread, 1.0) for cloud in clouds]
    ours, theirs = (cKDTree(cloud).query(cloud, k=2)[0][:, 1] for cloud in scaled)
    p_value = float(ndtr(_z(ours, theirs) / _scatter(scaled[1])))
    typical = float(np.median(theirs))
    spacing = float(np.median(ours)) / typical if typical > 0 else 1.0
    if p_value > P_VALUE_LIMIT:
        sentence = f"Neurons stand {spacing:.2f} times as far apart as independent ones: they show no groups."
    else:
        n_copies = len(host_array(background)) - len(distinct(background))
        copies = f"{n_copies} are copies of others, which the comparison of laws leaves out" if n_copies else ""
        sentence = (
            f"Neurons are not independent: nearest neighbours stand {spacing:.2g} times as far apart as independent "
            f"ones ({copies or 'tied or initialised together?'}). Their law may be right all the same."
        )
    return Independence(spacing, p_value, sentence)


def _z(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mann-Whitney's U in standard deviations of independent distances; negative where ours are the smaller ones."""
    n, m = len(ours), len(theirs)
    from scipy.stats import rankdata  # slow to import

    ranks = rankdata(np.concatenate([ours, theirs]))
    return float((ranks[:n].sum() - n * (n + m + 1) / 2) / math.sqrt(n * m * (n + m + 1) / 12))


def _scatter(riders: np.ndarray) -> float:
    """Standard deviation of `_z` between halves of the riders, which are independent; 1 at least."""
    kept = riders[np.linspace(0, len(riders) - 1, min(len(riders), MOST_SPLIT)).astype(int)]
    distances = cdist(kept, kept)
    np.fill_diagonal(distances, np.inf)
    n = len(kept) // 2
    if n < 2:
        return 1.0
    generator = rng.host_generator(0, Stream.PERMUTATION)
    squares = []
    for _ in range(N_SPLITS):
        order = generator.permutation(len(kept))
        halves = (distances[np.ix_(part, part)].min(axis=1) for part in (order[:n], order[n : 2 * n]))
        squares.append(_z(*halves) ** 2)
    return max(1.0, math.sqrt(float(np.mean(squares))))
