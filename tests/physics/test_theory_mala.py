"""Metropolis-adjusted Langevin neurons: the planar density, a law known in closed form, honest diagnostics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planar_targets import TARGETS, polar_rule
from scipy.stats import chi2, kstest, norm

from mft_engine.laws.frozen import FrozenLaw
from mft_engine.laws.law import Sample
from mft_engine.laws.planar import PlanarLaw
from mft_engine.slices import finished
from mft_engine.theory.planar import solve_planar


def frozen_sample(
    points: np.ndarray, signal: np.ndarray, *neuron: str | float, n: int, seed: int, n_steps: int
) -> Sample:
    """Neurons of a field, to the end of their chains."""
    law = FrozenLaw.from_field(torch.as_tensor(points), torch.as_tensor(signal), *neuron)
    return finished(law.draw(n, seed=seed, n_steps=n_steps))


def test_the_sample_agrees_with_the_planar_density():
    theory = solve_planar(TARGETS["product"], "relu_tanh", 0.05, 0.05, 0.004)
    points, weights = polar_rule(12, 32)
    signal = weights * theory.residual(points)
    law = PlanarLaw.from_field(points, signal, "relu_tanh", 0.05, 0.05, 0.004)
    n = 3000
    sample = frozen_sample(points, signal, "relu_tanh", 0.05, 0.05, 0.004, n=n, seed=0, n_steps=300)
    edges = np.linspace(-3, 3, 11)
    axis = (np.arange(300) + 0.5) * 6 / 300 - 3
    w1, w2 = np.meshgrid(axis, axis, indexing="ij")
    density = law.density(np.stack([w1.ravel(), w2.ravel()], axis=1)).reshape(10, 30, 10, 30)
    expected = (density.sum(axis=(1, 3)) * 0.02**2).ravel()
    expected = np.append(expected, 1 - expected.sum())
    counts = np.histogram2d(sample.theta[:, 0], sample.theta[:, 1], bins=[edges, edges])[0].ravel()
    counts = np.append(counts, n - counts.sum())
    kept = expected * n > 8
    observed, wanted = (
        np.append(counts[kept], counts[~kept].sum()),
        n * np.append(expected[kept], expected[~kept].sum()),
    )
    assert chi2.sf(((observed - wanted) ** 2 / wanted).sum(), len(wanted) - 1) > 0.001
    standard = (sample.theta[:, 2] - law.mean_readout(sample.theta[:, :2])) / np.sqrt(0.05 / 0.004)
    assert kstest(standard, norm.cdf).pvalue > 0.001
    assert 0.4 < sample.health["acceptance"] < 0.75
    assert abs(sample.health["drift"]) < 4
    assert sample.health["effective_sample_size"] >= n


def test_without_a_field_six_inputs_and_two_readouts_follow_the_prior():
    points = np.eye(6)
    sample = frozen_sample(points, np.zeros((6, 2)), "relu", 0.1, 0.4, 0.05, n=2000, seed=1, n_steps=100)
    assert sample.theta.shape == (2000, 8)
    assert kstest(sample.theta[:, :6].ravel() / np.sqrt(0.1 / 0.4), norm.cdf).pvalue > 0.001
    assert kstest(sample.theta[:, 6:].ravel() / np.sqrt(0.1 / 0.05), norm.cdf).pvalue > 0.001


def test_a_short_run_from_far_away_says_that_it_has_not_arrived():
    points, weights = polar_rule(6, 16)
    signal = weights * TARGETS["product"](points)
    with pytest.raises(ArithmeticError, match="still drift"):
        frozen_sample(points, 30 * signal, "relu_tanh", 0.01, 0.002, 0.01, n=2000, seed=0, n_steps=24)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="at least 20"):
        frozen_sample(np.eye(3), np.zeros(3), "tanh", 0.1, 0.1, 0.1, n=10, seed=0, n_steps=5)


def test_another_draw_is_another_sample_and_the_same_is_the_same():
    law = FrozenLaw.from_field(
        torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), "tanh", 0.1, 0.1, 0.1
    )
    first, again, other = (finished(law.draw(10, seed=0, number=number, n_steps=20)).theta for number in (0, 0, 1))
    assert np.array_equal(first, again) and not np.isclose(first, other).any()
