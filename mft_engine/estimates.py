"""Numbers with errors: the mean of a few independent parts, and of an autocorrelated series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

# Sokal's constant: the window is this many autocorrelation times, so an exponential tail of exp(-5) is cut.
WINDOW_IN_TIMES = 5.0


class Estimate(NamedTuple):
    """A mean and its standard error; the error is nan where the data cannot give one."""

    mean: float
    standard_error: float


def standard_error(parts: ArrayLike, n_means: int = 1) -> float:
    """Half the width of the interval about the mean of independent parts that holds the truth in 68 % of cases.

    Of a few parts the scatter is itself uncertain: Student's factor, 1.09 for eight parts and 1.84 for two.

    Args:
        parts: (n,) numbers, or what is left of them; n_means: how many means are lost to their freedom.

    Returns:
        nan where no freedom is left.
    """
    x = np.asarray(parts, dtype=np.float64)
    freedom = len(x) - n_means
    if freedom < 1:
        return float("nan")
    return float(np.sqrt(x.var(ddof=n_means) / len(x)) * stdtrit(freedom, ndtr(1.0)))


def autocorrelation_time(series: ArrayLike) -> float:
    """Integrated autocorrelation time in steps of the series; 1 for independent values.

        tau = 1 + 2 sum_{t=1}^{W} rho(t),   W the first t >= 5 max(tau(t), 1)

    A series shorter than some tens of its own time gives an underestimate, as any method would.

    Args:
        series: (n,) equally spaced values of a stationary series, or (n, k) vectors: then rho is the sum over their
            components.

    Returns:
        tau >= 1/n in steps (below 1 for a series that alternates).

    Source: Sokal, "Monte Carlo methods in statistical mechanics" (1996), section 3.
    """
    x = np.asarray(series, dtype=np.float64)
    n = len(x)
    x = x - x.mean(axis=0)
    if n < 2 or not np.any(x):
        return 1.0
    power = np.abs(np.fft.rfft(x, n=2 << (n - 1).bit_length(), axis=0)) ** 2
    correlation = np.fft.irfft(power if x.ndim == 1 else power.sum(axis=1))[:n]
    tau = 2.0 * np.cumsum(correlation / correlation[0]) - 1.0
    closed = np.flatnonzero(np.arange(n) >= WINDOW_IN_TIMES * np.maximum(tau, 1.0))
    # A window that never closes: the series is shorter than 5 of its times; the largest sum is what it shows.
    estimate = tau[closed[0]] if len(closed) else tau.max()
    return float(max(estimate, 1.0 / n))


def averaged(series: ArrayLike) -> Estimate:
    """Mean of an autocorrelated series and its standard error.

        error^2 = tau var / (n - tau),   tau the integrated autocorrelation time (`autocorrelation_time`)

    Dividing by sqrt(n) instead, as for independent values, understates the error of a loss curve several
    times. The n - tau corrects the variance, which is taken about the series' own mean.

    Args:
        series: (n,) equally spaced values.

    Returns:
        mean and standard error; the error is nan for fewer than two effective values.

    Raises:
        ValueError: empty or non-finite series.
    """
    x = np.asarray(series, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ValueError("An average needs a series of at least one value, all finite")
    n = len(x)
    tau = autocorrelation_time(x)
    if n < 2 or tau >= n:
        return Estimate(float(x.mean()), float("nan"))
    return Estimate(float(x.mean()), float(np.sqrt(tau * x.var() / (n - tau))))
