"""Which of a layer's neurons stand where no rider goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import binom

from mft_engine.compare.rules import P_VALUE_LIMIT
from mft_engine.points.statistics import Values, host_array

# Share of the riders that stand farther from the other riders than this: a neuron beyond stands out.
FAR = 0.01
N_NAMED = 8


@dataclass(frozen=True)
class Outliers:
    """Neurons farther from their nearest rider than 99 of 100 riders are from theirs.

    Attributes:
        indices: of the neurons, farthest first.
        distances: to the nearest rider, in pooled standard deviations.
        expected: how many there would be by chance.
        p_value: of so many or more, by the binomial law.
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
        background, foreground: (n_neurons, n_params), two riders at least.
    """
    neurons, riders = (host_array(cloud) for cloud in (background, foreground))
    spread = np.concatenate([neurons, riders]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    tree = cKDTree(riders / scale)
    # A neuron has one more rider to be near to than a rider has; with hundreds of them that is nothing.
    own = tree.query(riders / scale, k=2)[0][:, 1]
    distances = tree.query(neurons / scale)[0]
    far = distances > np.quantile(own, 1 - FAR)
    indices = np.flatnonzero(far)[np.argsort(-distances[far], kind="stable")]
    n, expected = len(indices), FAR * len(neurons)
    p_value = float(binom.sf(n - 1, len(neurons), FAR))
    count = f"{n} of {len(neurons)} neurons stand where hardly a rider goes ({expected:.1f} expected by chance)"
    if p_value > P_VALUE_LIMIT:
        sentence = f"{count}: none stands out."
    else:
        named = ", ".join(str(index) for index in indices[:N_NAMED]) + (", ..." if n > N_NAMED else "")
        sentence = f"{count}: look at neurons {named}."
    return Outliers(indices, distances[indices], expected, p_value, sentence)
