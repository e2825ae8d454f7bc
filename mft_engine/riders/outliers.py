"""Which of a layer's neurons stand where no rider goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array

# Share of the riders that stand farther from the other riders than this: a neuron beyond stands out.
FAR = 0.01
N_NAMED = 8
# The riders' tail, and how many it takes to know it.
TAIL = 0.1
FEWEST_IN_TAIL = 5


@dataclass(frozen=True)
class Outliers:
    """Neurons farther from their nearest rider than all but the k-th rider of m is from its own, k/m about 1/100.

    Attributes:
        indices: of the neurons, farthest first.
        distances: to the nearest rider, in pooled standard deviations.
        expected: how many there would be by chance.
        p_value: of so many or more (the distance that counts as far is itself one of a sample, so that their number is
            beta-binomial with parameters k and m + 1 - k), or of the farthest so far out, at half of the level each.
        sentence: in words.
    """

    indices: np.ndarray
    distances: np.ndarray
    expected: float
    p_value: float
    sentence: str

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{self.sentence}</p>"


def outliers_of(background: Values, foreground: Values) -> Outliers:
    """The neurons that stand out.

    Args:
        background, foreground: (n_neurons, n_params), two riders at least, or the answer says that they are too few.
    """
    from scipy.stats import betabinom  # slow to import

    neurons, riders = (host_array(cloud) for cloud in (background, foreground))
    if len(riders) < 2:
        return Outliers(
            np.zeros(0, np.int64), np.zeros(0), 0.0, 1.0, "One rider is too few to say which neurons stand out."
        )
    spread = np.concatenate([neurons, riders]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    tree = cKDTree(riders / scale)
    # A neuron has one more rider to be near to than a rider has; with hundreds of them that is nothing.
    own = tree.query(riders / scale, k=2)[0][:, 1]
    distances = tree.query(neurons / scale)[0]
    m = len(own)
    k = math.ceil(FAR * m)
    far = distances > np.sort(own)[m - k]
    indices = np.flatnonzero(far)[np.argsort(-distances[far], kind="stable")]
    n, expected = len(indices), len(neurons) * k / (m + 1)
    by_count = float(betabinom.sf(n - 1, len(neurons), k, m + 1 - k))
    p_value = min(1.0, 2.0 * min(by_count, _by_size(float(distances.max()), own, len(neurons))))
    count = f"{n} of {len(neurons)} neurons stand where hardly a rider goes ({expected:.1f} expected by chance)"
    if p_value > P_VALUE_LIMIT:
        sentence = f"{count}: none stands out."
    else:
        named = ", ".join(str(index) for index in indices[:N_NAMED]) + (", ..." if n > N_NAMED else "")
        sentence = f"{count}: look at neurons {named}."
    return Outliers(indices, distances[indices], expected, p_value, sentence)


def _by_size(farthest: float, own: np.ndarray, n_neurons: int) -> float:
    """Chance that the farthest of so many is so far out, from a power law through the riders' largest distances.

    A few neurons far away are no evidence by their number. Most laws fall off faster than a power: the chance is rather
    too large. Source: Hill, Ann. Statist. 3 (1975) 1163.
    """
    start = float(np.quantile(own, 1 - TAIL))
    if start <= 0 or farthest <= start:
        return 1.0
    excess = np.log(own[own > start] / start)
    if len(excess) < FEWEST_IN_TAIL:
        return 1.0
    scale = float(excess.mean()) * (1.0 + 2.0 / math.sqrt(len(excess)))
    share = TAIL * math.exp(-math.log(farthest / start) / scale)
    return float(-np.expm1(n_neurons * np.log1p(-share)))
