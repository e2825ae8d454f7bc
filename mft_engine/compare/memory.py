"""How noisy the averaged field is, from how long single neurons remember.

Along an eigenfunction of S_hh the outputs h of single neurons have the autocovariance C(t), measured in the clouds that
a run keeps: over thousands of neurons, so that a window not much longer than the memory is enough. The dynamics are
reversible, C(t) = sum_i A_i exp(-t/tau_i), and the network's f = sum_i z_i answers to itself:

    dz_i = -(z_i + (A_i/T) f)/tau_i dt + sqrt(2 A_i/(N tau_i)) dB_i        stationary: exp(-N (sum z_i^2/2A_i + f^2/2T))

which has the variance of f's average over the window in closed form. What neurons do not forget within the window stays
in it undamped by its own share of the stiffness: that is why a field can be far noisier than its stiff modes relax.

Source: linear response and the fluctuation-dissipation theorem; docs/verdict.md, "The noise of the field".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

# Leading eigenfunctions that are looked at; the law hardly answers to the others.
N_REMEMBERED = 32
# Clouds of the window below which nothing is said, and outputs that are made.
FEWEST_CLOUDS = 16
MOST_OUTPUTS = 20_000_000
# Time, in windows, that stands for never.
NEVER = 1e6


@dataclass(frozen=True)
class Path:
    """Clouds of an averaging window, at even intervals.

    Attributes:
        clouds: (n_clouds, n_neurons, n_inputs + n_out), the same neurons in each; duration: from first to last.
        window: time over which f was averaged, in the same units.
    """

    clouds: np.ndarray
    duration: float
    window: float

    @classmethod
    def of(
        cls, clouds: np.ndarray, cloud_steps: np.ndarray, steps: np.ndarray, times: np.ndarray, window: float
    ) -> Path:
        """The clouds of the last `window` of a run.

        Args:
            clouds: (n_stored, n_shown, n_params) with their (n_stored,) steps; steps, times: (n_records,) that say
                when a step was.
        """
        if not len(steps) or not len(clouds):
            return cls(clouds, 0.0, window)
        at = np.interp(cloud_steps, steps, times)
        kept = at >= times[-1] - window * (1 + 1e-9)
        return cls(clouds[kept], float(np.ptp(at[kept])) if kept.any() else 0.0, window)

    @property
    def is_known(self) -> bool:
        """Whether there are clouds enough."""
        return len(self.clouds) >= FEWEST_CLOUDS and self.duration > 0

    def autocovariance(
        self, outputs: Callable[[np.ndarray], np.ndarray], vectors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lags, and C(lag)/C(0) along the columns of `vectors` at 0, 1, 2, 4 ... intervals and three quarters of all.

        Args:
            outputs: of neurons (n, n_params) on the points, (n, n_outputs); vectors: (n_outputs, r).

        Returns:
            (n_lags,) times and (n_lags, r) shares that do not rise.
        """
        n = len(self.clouds)
        taken = self.clouds[:, : max(1, MOST_OUTPUTS // (n * len(vectors)))]
        found = np.stack([outputs(cloud) @ vectors for cloud in taken])
        found -= found.mean(axis=1, keepdims=True)
        steps = [0, *(2**k for k in range(n.bit_length()) if 2**k <= n // 2), 3 * n // 4]
        covariance = np.stack([np.mean(found[: n - s] * found[s:], axis=(0, 1)) for s in steps])
        shares = covariance / np.maximum(covariance[0], 1e-300)
        lags = np.array(steps) * (self.duration / (n - 1))
        return lags, np.maximum(np.minimum.accumulate(shares, axis=0), 0.0)


def averaged_variance(lags: np.ndarray, covariance: np.ndarray, temperature: float, window: float) -> float:
    """N times the variance of f's average over the window, along one eigenfunction.

    Args:
        lags: (n,) from 0; covariance: (n,) C of a single neuron's output there, falling. What is lost between two lags
            is taken to be lost at the later one, and what is left at the last to stay.
        temperature: T > 0.
    """
    lost = -np.diff(np.append(covariance, 0.0))
    times = np.append(lags[1:], NEVER * window)
    kept = lost > 1e-9 * covariance[0]
    if not kept.any():
        return 0.0
    lost, times = lost[kept], times[kept]
    # Detailed balance makes the drift similar to this symmetric matrix, whose modes are independent.
    rates = np.sqrt(lost / times)
    decay, modes = linalg.eigh(np.diag(1.0 / times) + np.outer(rates, rates) / temperature)
    return float((rates @ modes) ** 2 / decay @ _share_of_an_average(window * decay))


def _share_of_an_average(x: np.ndarray) -> np.ndarray:
    """Variance of the average of an exponential memory over x times its length, over that of one moment."""
    short = np.maximum(x, 1e-3)
    return np.where(x < 1e-3, 1.0 - x / 3.0, 2.0 * (short - 1.0 + np.exp(-short)) / short**2)
