"""Quadrature rules against exact Gaussian expectations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate

from mft_engine.points.measure import (
    MeasureError,
    grid_rule,
    half_range_gauss,
    polar_rule,
    population_measure,
    sobol_rule,
)
from mft_engine.sections import TrainingSection


@pytest.mark.parametrize("n_radii", [1, 4, 8, 16, 64])
def test_half_range_gauss_integrates_polynomials_up_to_twice_its_size(n_radii: int) -> None:
    nodes, weights = half_range_gauss(n_radii)
    for power in range(2 * n_radii):
        # int rho^(power+1) exp(-rho^2/2) = 2^(power/2) Gamma(power/2 + 1), in logarithms for the high powers
        exact = 0.5 * power * math.log(2) + math.lgamma(0.5 * power + 1)
        assert math.log(np.sum(weights * np.exp(power * np.log(nodes) - exact))) == pytest.approx(0, abs=1e-9)


def test_the_polar_rule_has_antipodal_pairs_and_staggered_angles() -> None:
    rule = polar_rule(8, 32)
    x = rule.inputs.reshape(8, 32, 2)
    np.testing.assert_allclose(x[:, :16], -x[:, 16:], atol=1e-14)
    first = np.arctan2(x[:, 0, 1], x[:, 0, 0]) * 32 / (2 * np.pi)
    np.testing.assert_allclose(first, np.modf(0.6180339887 * np.arange(8))[0], atol=1e-12)
    assert rule.weights.sum() == pytest.approx(1, abs=1e-14)


def test_the_polar_rule_beats_the_gauss_hermite_grid_on_a_kinked_activation() -> None:
    """E[x1 x2 max(0, tanh(w.x))] for w on the diagonal, by one-dimensional integrals along w and across it."""
    w = 1.3 / math.sqrt(2) * np.ones(2)

    def exact() -> float:
        # x = (u e + v e_perp), x1 x2 = (u^2 - v^2)/2 and E v^2 = 1
        def integrand(u: float) -> float:
            return 0.5 * (u * u - 1) * max(0.0, math.tanh(1.3 * u)) * math.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)

        return scipy.integrate.quad(integrand, 0, 12, epsabs=1e-13)[0]

    def error(rule) -> float:
        x = rule.inputs
        return abs(np.sum(rule.weights * x[:, 0] * x[:, 1] * np.maximum(0, np.tanh(x @ w))) - exact())

    assert error(polar_rule(8, 32)) < 0.1 * error(grid_rule(16, 2))


def test_rules_have_the_moments_of_the_standard_normal() -> None:
    for rule, tolerance in ((polar_rule(8, 32), 1e-12), (grid_rule(8, 3), 1e-12), (sobol_rule(4096, 5, 0), 0.02)):
        second = np.einsum("n,ni,nj->ij", rule.weights, rule.inputs, rule.inputs)
        np.testing.assert_allclose(second, np.eye(rule.inputs.shape[1]), atol=tolerance)


def test_a_polar_rule_in_five_dimensions_is_refused_with_a_remedy() -> None:
    with pytest.raises(MeasureError, match="sobol"):
        population_measure(TrainingSection(), 5, 0)
    with pytest.raises(MeasureError, match="too many points"):
        population_measure(TrainingSection(rule="grid", rule_size=(64, 1)), 9, 0)
