"""What a network that adds modulo P has become: frequencies of both clouds, clock or pizza.

Source: Zhong, Liu, Tegmark, Andreas (2306.17844) for the measures of clock and pizza.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mft_engine.network.activations import dphi_numpy, phi_numpy
from mft_engine.questions.waves import phase_agreement, waves
from mft_engine.rng import Stream, host_generator

Array = np.ndarray
# A neuron with this share of its input weights' power in one frequency is called pure.
PURE = 0.7
# Triples (n, m, c) at which the network's derivative is taken; more are thinned to a fixed stride.
MAX_TRIPLES = 4096
N_PERMUTATIONS = 1999
# Apart from the permutations that compare clouds, which use the stream from step 0.
FREQUENCY_STEP = 1


def logits(theta: Array, modulus: int, activation: str, input_scale: float) -> Array:
    """sum_i a_ic phi(scale (w_in + v_im))/N at all pairs, (P, P, P) over n, m, c; scores that have no scale use it."""
    w, v, a = np.split(np.asarray(theta, dtype=np.float64), 3, axis=1)
    features = phi_numpy(activation, input_scale * (w[:, :, None] + v[:, None, :]))
    return np.asarray((features.reshape(len(w), -1).T @ a / len(w)).reshape(modulus, modulus, modulus))


def distance_irrelevance(outputs: Array) -> float:
    """How little the right answer's output depends on n - m: below 0.6 mostly pizza, near 1 a clock.

        q = mean over d of std_n L(n, n + d), over the standard deviation of all L(n, m) = Q(n, m, n + m)

    Args:
        outputs: (P, P, P) Q over n, m, c.

    Source: 2306.17844, section 4.2.
    """
    p = len(outputs)
    n = np.arange(p)
    right = outputs[n[:, None], n[None, :], (n[:, None] + n[None, :]) % p]
    by_distance = right[n[:, None], (n[:, None] + n[None, :]) % p]
    spread = right.std()
    return float(by_distance.std(axis=0).mean() / spread) if spread > 0 else float("nan")


def gradient_symmetricity(theta: Array, modulus: int, activation: str, input_scale: float) -> float:
    """Mean cosine between the derivatives of an output by the first and by the second number's input vector.

    The numbers' one-hot vectors take the place of the paper's embedding. Above 0.98 for a pizza, lower for a clock.

    Source: 2306.17844, section 4.1.
    """
    w, v, a = np.split(np.asarray(theta, dtype=np.float64), 3, axis=1)
    stride = max(1, modulus**3 // MAX_TRIPLES)
    # An odd stride that shares no factor with P visits all numbers alike.
    while stride > 1 and np.gcd(stride, modulus) > 1:
        stride += 1
    n, m, c = np.unravel_index(np.arange(0, modulus**3, stride), (modulus,) * 3)
    cosines = []
    for start in range(0, len(n), 512):
        rows = slice(start, start + 512)
        slope = dphi_numpy(activation, input_scale * (w[:, n[rows]] + v[:, m[rows]])) * a[:, c[rows]]
        first, second = slope.T @ w, slope.T @ v
        length = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosines.append((first * second).sum(axis=1) / np.maximum(length, 1e-300))
    return float(np.concatenate(cosines).mean())


@dataclass(frozen=True)
class FrequencyTest:
    """Are the frequencies of two clouds drawn alike? Pearson's chi-squared of their counts against its own null.

    Attributes:
        statistic, null_mean: chi-squared as observed, and the mean over permutations of the neurons.
        p_value: (1 + #{null >= statistic}) / (1 + n_permutations).
    """

    statistic: float
    null_mean: float
    p_value: float


def compare_frequencies(background: Array, foreground: Array, n_frequencies: int, seed: int) -> FrequencyTest:
    """Test that two clouds have the same law of frequencies.

    The null exchanges neurons between the clouds, which is exact for independent neurons. Neurons of a background
    spread out over the frequencies more evenly than independent ones, so the test is conservative for it.

    Args:
        background, foreground: (n_neurons,) frequencies, 1 .. n_frequencies.
        seed: of the permutations.
    """
    counts = [np.bincount(found, minlength=n_frequencies + 1)[1:] for found in (background, foreground)]
    pooled = counts[0] + counts[1]
    share = len(background) / pooled.sum()
    expected = pooled * share

    def chi_squared(first: Array) -> Array:
        is_there = expected > 0
        excess = (first[..., is_there] - expected[is_there]) ** 2 / expected[is_there]
        # The second cloud misses what the first has too many.
        return np.asarray(excess.sum(axis=-1) / (1.0 - share))

    generator = host_generator(seed, Stream.PERMUTATION, FREQUENCY_STEP)
    null = chi_squared(generator.multivariate_hypergeometric(pooled, len(background), size=N_PERMUTATIONS))
    observed = float(chi_squared(counts[0]))
    # A permutation with the observed counts in another order is a tie, up to rounding.
    p_value = (1 + np.count_nonzero(null >= observed * (1 - 1e-12))) / (1 + N_PERMUTATIONS)
    return FrequencyTest(observed, float(null.mean()), float(p_value))


def describe(theta: Array, modulus: int, activation: str, input_scale: float) -> dict[str, Any]:
    """The numbers of one cloud for the summary: how pure its waves are, whether phases add, clock or pizza."""
    found = waves(theta, modulus)
    agreement, error = phase_agreement(found)
    participation = (found.power**2).sum(axis=1)
    n = len(theta)
    return {
        "concentration": float(found.concentration.mean()),
        "concentration_error": float(found.concentration.std() / np.sqrt(n)),
        "inverse_participation": float(participation.mean()),
        "pure_share": float((found.concentration > PURE).mean()),
        "phase_agreement": agreement,
        "phase_agreement_error": error,
        "gradient_symmetricity": gradient_symmetricity(theta, modulus, activation, input_scale),
        "distance_irrelevance": distance_irrelevance(logits(theta, modulus, activation, input_scale)),
        "frequencies": np.bincount(found.frequency, minlength=(modulus + 1) // 2)[1:].tolist(),
    }


def fourier_summary(
    clouds: dict[str, Array], modulus: int, activation: str, input_scale: float, seed: int
) -> dict[str, Any]:
    """`describe` for each cloud and, where there are background and foreground, the test of their frequencies."""
    document: dict[str, Any] = {
        name: describe(theta, modulus, activation, input_scale) for name, theta in clouds.items()
    }
    if "background" in clouds and "foreground" in clouds:
        pair = [waves(clouds[name], modulus).frequency for name in ("background", "foreground")]
        test = compare_frequencies(pair[0], pair[1], (modulus - 1) // 2, seed)
        document["frequency_test"] = {
            "statistic": test.statistic,
            "null_mean": test.null_mean,
            "p_value": test.p_value,
        }
    return document
