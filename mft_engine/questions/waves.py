"""Waves on the circle of numbers: the neurons of a network that adds modulo P as Fourier series.

A neuron sees w_n + v_m and answers with a_c; its three vectors of length P are series in n, m and c. This module
imports no torch, so that the window can use it.

Source: Gromov (2301.02679) for the known solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Waves:
    """Each neuron's Fourier series; frequencies k = 1 .. (P - 1)/2 (the mean over numbers is left out).

    Attributes:
        power: (n_neurons, n_frequencies) |w_k|^2 + |v_k|^2 over its sum: shares of the input weights' power.
        frequency: (n_neurons,) the k of the largest share; concentration: (n_neurons,) that share.
        phases: (n_neurons, 3) u_n, u_m, u_c of w, v, a at that frequency, w_n ~ cos(2 pi k n/P + u_n), in radians.
        strength: (n_neurons,) |w_k| |v_k| |a_k| there: what the neuron adds to the wave of its frequency.
    """

    power: Array
    frequency: Array
    concentration: Array
    phases: Array
    strength: Array

    @property
    def mismatch(self) -> Array:
        """u_c - u_n - u_m in (-pi, pi], (n_neurons,): zero in the known solution."""
        return np.asarray(np.angle(np.exp(1j * (self.phases[:, 2] - self.phases[:, 0] - self.phases[:, 1]))))


def waves(theta: Array, modulus: int) -> Waves:
    """The Fourier series of every neuron.

    Args:
        theta: (n_neurons, 3 P), columns w (P), v (P), a (P).
        modulus: P.
    """
    parts = np.asarray(theta, dtype=np.float64).reshape(len(theta), 3, modulus)
    series = np.fft.rfft(parts, axis=2)[:, :, 1 : (modulus - 1) // 2 + 1]
    power = (np.abs(series[:, :2]) ** 2).sum(axis=1)
    power = power / np.maximum(power.sum(axis=1, keepdims=True), 1e-300)
    best = power.argmax(axis=1)
    rows = np.arange(len(theta))
    chosen = series[rows, :, best]
    return Waves(power, best + 1, power[rows, best], np.angle(chosen), np.abs(chosen).prod(axis=1))


def phase_agreement(found: Waves) -> tuple[float, float]:
    """Mean of cos(u_c - u_n - u_m), neurons counted by their strength, and its standard error over neurons.

    1 in the known solution; 0 without a relation between the phases.
    """
    weight, value = found.strength, np.cos(found.mismatch)
    mean = float(weight @ value / weight.sum()) if weight.any() else float("nan")
    scatter = (weight * (value - mean)).std() / max(float(weight.mean()), 1e-300)
    return mean, float(scatter / np.sqrt(len(weight)))
