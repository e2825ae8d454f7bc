"""Neurons of a frozen field without step-size bias in any number of inputs: Metropolis-adjusted Langevin.

    U(w) = [lambda_w |w|^2 / 2 - |g(w)|^2 / (2 lambda_a)] / T,    a_c | w ~ N(g_c(w) / lambda_a, T / lambda_a)

The readouts are integrated out and drawn exactly at the end, so the chain moves in w alone. In the plane
`PlanarLaw.sample` gives independent draws at once; this is for what a grid cannot hold.

Source: Roberts and Tweedie (Bernoulli 2, 1996); docs/physics.md, section 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import dphi_numpy, phi_numpy
from mft_engine.rng import Stream, host_generator

Array = NDArray[np.float64]

# Acceptance at which a Langevin proposal moves fastest in many dimensions.
TARGET_ACCEPTANCE = 0.574
BLOCK_ROWS = 256


@dataclass(frozen=True)
class MalaSample:
    """One chain per neuron, all from the prior, each at its last state.

    Attributes:
        theta: (n, d + n_out) columns w, a.
        acceptance: share of accepted proposals after the adaptation.
        effective_sample_size: independent draws that the recorded halves of all chains are worth, by the
            autocorrelation of U; n at least, one per chain.
        drift: shift of the mean of U between the first and the last quarter of the recorded half, in standard
            errors; beyond 4 in size the chains have not reached equilibrium and the sample must not be called exact.
        step_size: reached by adaptation, in units of the prior's variance.
    """

    theta: Array
    acceptance: float
    effective_sample_size: float
    drift: float
    step_size: float


def sample_frozen_law(
    points: Array,
    signal: Array,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    n: int,
    *,
    seed: int,
    n_steps: int = 400,
    stream: int = Stream.FOREGROUND_GIBBS,
    should_stop: Callable[[], bool] | None = None,
) -> MalaSample:
    """Independent neurons in the frozen field g_c(w) = sum_mu signal_mu,c phi(w.x_mu).

    The step size is tuned during the first half, which is then forgotten; the second half has it fixed, as exact
    invariance demands.

    Args:
        points: (n_points, d) inputs of the layer.
        signal: (n_points,) or (n_points, n_out), weight times residual.
        activation, temperature, lambda_w, lambda_a: of the problem.
        n: neurons, one chain each.
        seed, stream: of the randomness; step k of the chain uses counter k.
        n_steps: of every chain.
        should_stop: asked at every step.

    Returns:
        the sample and its diagnostics.

    Raises:
        ValueError: fewer than 20 steps or 2 neurons.
        SolveStopped: `should_stop` answered True.
    """
    if n_steps < 20 or n < 2:
        raise ValueError("at least 20 steps and 2 neurons are needed")
    signals = signal[:, None] if signal.ndim == 1 else signal
    variance = temperature / lambda_w

    def energy(w: Array) -> tuple[Array, Array, Array]:
        fields = np.empty((len(w), signals.shape[1]))
        slope = np.empty_like(w)
        for start in range(0, len(w), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            z = w[rows] @ points.T
            fields[rows] = phi_numpy(activation, z) @ signals
            slope[rows] = (dphi_numpy(activation, z) * (fields[rows] @ signals.T)) @ points
        value = ((w**2).sum(axis=1) * lambda_w - (fields**2).sum(axis=1) / lambda_a) / (2 * temperature)
        return value, w / variance - slope / (lambda_a * temperature), fields

    generator = host_generator(seed, stream, 0)
    w = np.sqrt(variance) * generator.standard_normal((n, points.shape[1]))
    value, slope, fields = energy(w)
    n_adapt = n_steps // 2
    log_step, n_accepted = np.log(0.1), 0
    history = np.empty((n_steps - n_adapt, n))
    for step in range(n_steps):
        if should_stop is not None and should_stop():
            raise SolveStopped
        generator = host_generator(seed, stream, step + 1)
        size = float(np.exp(log_step)) * variance
        noise = generator.standard_normal(w.shape)
        trial = w - size * slope + np.sqrt(2 * size) * noise
        trial_value, trial_slope, trial_fields = energy(trial)
        back = w - trial + size * trial_slope
        log_ratio = value - trial_value + 0.5 * (noise**2).sum(axis=1) - (back**2).sum(axis=1) / (4 * size)
        is_accepted = np.log(1.0 - generator.random(n)) < log_ratio
        w[is_accepted], value[is_accepted] = trial[is_accepted], trial_value[is_accepted]
        slope[is_accepted], fields[is_accepted] = trial_slope[is_accepted], trial_fields[is_accepted]
        if step < n_adapt:
            log_step += (float(is_accepted.mean()) - TARGET_ACCEPTANCE) / np.sqrt(1 + 0.1 * step)
        else:
            n_accepted += int(is_accepted.sum())
            history[step - n_adapt] = value
    readout = fields / lambda_a + np.sqrt(temperature / lambda_a) * host_generator(
        seed, stream, n_steps + 1
    ).standard_normal(fields.shape)
    effective, drift = _diagnose(history)
    return MalaSample(
        theta=np.hstack([w, readout]),
        acceptance=n_accepted / history.size,
        effective_sample_size=effective,
        drift=drift,
        step_size=float(np.exp(log_step)),
    )


def _diagnose(history: Array) -> tuple[float, float]:
    """Effective sample size and drift of (n_steps, n_chains) values.

    The autocorrelation is taken about the mean of *all* chains: chains that sit in different lumps then count as
    correlated with themselves for ever, as they should.
    """
    n_steps, n_chains = history.shape
    centred = history - history.mean()
    variance = float((centred**2).mean())
    time = 1.0
    for lag in range(1, n_steps):
        correlation = float((centred[:-lag] * centred[lag:]).mean()) / max(variance, 1e-300)
        if correlation < 0.02:
            break
        time += 2 * correlation
    quarter = n_steps // 4
    shift = history[-quarter:].mean(axis=0) - history[:quarter].mean(axis=0)
    error = shift.std(ddof=1) / np.sqrt(n_chains)
    return float(history.size / min(time, n_steps)), float(shift.mean() / max(error, 1e-300))
