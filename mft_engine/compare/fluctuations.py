"""How much the averages of a background scatter: its neurons repel, so far less than those of independent neurons.

With h = a phi(w . x) on the points (weights W), S the covariances of one neuron, and N neurons at temperature T:

    background:      Sigma = S_mm - S_mh (S_hh + T W^-1)^-1 S_hm             of sqrt(N) times the averages
    its function:    K = S_hh - S_hh (S_hh + T W^-1)^-1 S_hh                 of sqrt(N) f
    its field:       the averaged f misses its mean by Q (`memory`); the foreground's law tilts with it, by S_mh W/T

All of it is the Gaussian limit of the Gibbs measure exp(-N (|y - f|^2/2 + penalties)/T), exact to leading order in 1/N,
and the same for every readout exponent. The function itself is compared with its own average along the run, which no
law amplifies: that is what makes the test sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mft_engine.compare.memory import N_REMEMBERED, Path, averaged_variance

# Leading eigenfunctions of S_hh along which the network's function is compared with its average.
N_MODES = 4
# More outputs on the points than these are not inverted: the scatter is then that of independent neurons.
MAX_OUTPUTS = 3000
# By which the averaging window is counted shorter where no clouds along it say how long neurons remember: they hop
# between far parts of their law more slowly than the stiffness of a mode has it relax.
CAUTION = 10.0


@dataclass(frozen=True)
class Averaging:
    """How the field was averaged.

    Attributes:
        window: time in prior units (0: one moment); n_predictions: predictions in the average.
        is_exact: exact sweeps, each nearly independent of the last, instead of a dynamics.
        path: clouds along the window, from which the memory of neurons is measured; without them it is guessed.
    """

    window: float
    n_predictions: int
    is_exact: bool = False
    path: Path | None = None

    def n_independent(self, stiffness: np.ndarray) -> np.ndarray:
        """How many independent functions the average is worth, for modes of stiffness c = eigenvalue of S_hh W/T.

        A guess, from their stiffness alone.
        """
        if self.n_predictions <= 1:
            return np.ones_like(stiffness)
        most = max(1.0, self.n_predictions / 2.0)
        if self.is_exact:
            return np.full_like(stiffness, max(1.0, most / CAUTION))
        return np.clip(self.window * (1.0 + stiffness) / (2.0 * CAUTION), 1.0, most)


@dataclass(frozen=True)
class Fluctuations:
    """Of k statistics and of the function along r modes, for one background.

    Attributes:
        modes: (n_outputs, r) functions e_j, of E_W e_j^2 = 1; empty where the outputs are too many.
        scatter: (k + r, k + r) covariance of the background's averages and of E_W[f e_j], times N.
        tilt: (k + r, k + r) covariance of the expected values for the field's own noise, times N.
    """

    modes: np.ndarray
    scatter: np.ndarray
    tilt: np.ndarray


def fluctuations(
    statistics: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray,
    temperature: float,
    averaging: Averaging,
    outputs_of: Callable[[np.ndarray], np.ndarray],
) -> Fluctuations:
    """From neurons of the foreground's law.

    Args:
        statistics: (n, k); outputs: (n, n_outputs) h of each neuron on the points, readouts side by side.
        weights: (n_outputs,) of the points, repeated for each readout.
        temperature: T > 0; outputs_of: makes such outputs of neurons (m, n_params) of the averaging's path.
    """
    n, k = statistics.shape
    own = np.cov(statistics.T, bias=True).reshape(k, k)
    if outputs.shape[1] > MAX_OUTPUTS:
        return Fluctuations(np.zeros((outputs.shape[1], 0)), own, np.zeros((k, k)))
    root = np.sqrt(weights)
    centred = (outputs - outputs.mean(axis=0)) * root
    values, vectors = linalg.eigh(centred.T @ centred / n)
    values = np.maximum(values, 0.0)
    # Coordinates along the eigenfunctions, in which everything about h is diagonal.
    cross = (statistics - statistics.mean(axis=0)).T @ (centred @ vectors) / n  # (k, n_outputs)
    stiffness = values / temperature
    last = np.argsort(-values)[: min(N_MODES, len(values))]
    modes = vectors[:, last] / np.where(root > 0, root, np.inf)[:, None]
    r = len(last)
    joint = np.vstack([cross, np.zeros((r, len(values)))])
    joint[k + np.arange(r), last] = values[last]
    whole = np.zeros((k + r, k + r))
    whole[:k, :k] = own
    whole[:k, k:] = cross[:, last]
    whole[k:, :k] = cross[:, last].T
    whole[k:, k:] = np.diag(values[last])
    scatter = whole - (joint / (values + temperature)) @ joint.T
    noise = temperature * stiffness / (1.0 + stiffness) / averaging.n_independent(stiffness)
    if averaging.path is not None and averaging.path.is_known:
        leading = np.argsort(-values)[:N_REMEMBERED]
        lags, shares = averaging.path.autocovariance(outputs_of, root[:, None] * vectors[:, leading])
        for j, share in zip(leading, shares.T, strict=True):
            noise[j] = averaged_variance(lags, values[j] * share, temperature, averaging.path.window)
    # A larger f in the average is a smaller residual: the law's statistics fall by S_mh/T, the average itself rises.
    moved = np.vstack([-cross / temperature, np.zeros((r, len(values)))])
    moved[k + np.arange(r), last] = 1.0
    return Fluctuations(modes, scatter, (moved * noise) @ moved.T)
