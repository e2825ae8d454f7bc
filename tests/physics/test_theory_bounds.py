"""Certificates: the squared-loss identity, the sandwich, the dual gap, the Stein test's size and power."""

from __future__ import annotations

import numpy as np
import pytest
from planar_targets import TARGETS, laguerre_rule, polar_rule

from mft_engine.laws.planar import PlanarLaw
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.bounds import (
    certify_law,
    certify_residual,
    cloud_score,
    law_kl,
    residual_gap,
    stein_discrepancy,
)
from mft_engine.theory.planar import solve_planar


@pytest.fixture(scope="module")
def clover():
    return solve_planar(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)


@pytest.mark.parametrize("name", ["product", "kite", "wedges"])
@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 1.05])
def test_the_squared_loss_identity_holds_to_1e_6_and_the_sandwich_is_strict(name, factor):
    theory = solve_planar(TARGETS[name], "relu_tanh", 0.01, 0.02, 0.002)
    solution = theory.solution
    generator = host_generator(1, Stream.THEORY)
    turn = 1 + 0.2 * generator.standard_normal(len(solution.state.point))
    sandwich = certify_residual(theory, factor * turn * solution.state.point)
    assert sandwich.excess == pytest.approx(sandwich.lower + sandwich.function_distance, rel=1e-6)
    assert 0 < sandwich.lower < sandwich.excess < sandwich.upper


def test_the_sandwich_closes_at_the_optimum(clover):
    sandwich = certify_residual(clover, clover.solution.state.point)
    assert sandwich.free_energy == pytest.approx(clover.free_energy, abs=1e-12)
    assert max(abs(sandwich.lower), abs(sandwich.excess), abs(sandwich.upper)) < 1e-10


def test_the_dual_lies_below_every_free_energy(clover):
    """D(r) <= F(mu*) <= F(mu_r') for any two residuals: weak duality, which makes F - D a gap."""
    dual = clover.solution.dual
    unseen = 0.5 * (clover.target_power - float(dual.target @ dual.target))
    generator = host_generator(2, Stream.THEORY)
    for _ in range(5):
        point = clover.solution.state.point * (1 + 0.3 * generator.standard_normal(len(dual.target)))
        assert dual.at(point).value + unseen < clover.free_energy
        assert certify_residual(clover, point).free_energy > clover.free_energy


def test_a_law_from_points_has_the_certificate_of_its_residual(clover):
    points, weights = polar_rule()
    y = TARGETS["product"](points)
    residual = 0.8 * clover.residual(points)
    law = PlanarLaw.from_field(points, weights * residual, "relu_tanh", 0.02, 0.02, 0.001)
    rough = certify_law(law, clover, points, weights, y)
    exact = certify_residual(clover, 0.8 * clover.solution.state.point)
    # the rule's error in log Z, a few 1e-3 nats, times T = 0.02, and 3e-4 of the functions
    assert rough.lower == pytest.approx(exact.lower, abs=2e-4)
    assert rough.excess == pytest.approx(exact.excess, rel=1e-2)
    assert rough.upper == pytest.approx(exact.upper, rel=2e-2)
    assert rough.lower < rough.excess < rough.upper


def test_the_gap_of_a_residual_bounds_its_excess_and_vanishes_at_the_optimum(clover):
    points, weights = polar_rule()
    y = TARGETS["product"](points)
    gaps = []
    for factor in (1.0, 0.8):
        residual = factor * clover.residual(points)
        law = PlanarLaw.from_field(points, weights * residual, "relu_tanh", 0.02, 0.02, 0.001)
        gaps.append(residual_gap(law, points, weights, y, residual))
    # the rule's field is off by about 1e-4 in g^2 / (lambda_a T), which moves f by 1e-3 of itself
    assert gaps[0] < 1e-5
    assert gaps[1] > certify_residual(clover, 0.8 * clover.solution.state.point).excess


def test_the_kl_between_equal_laws_is_zero_and_between_others_positive(clover):
    cold = solve_planar(TARGETS["ring"], "relu_tanh", 0.02, 0.02, 0.001)
    assert law_kl(clover.law, clover.law) == pytest.approx(0.0, abs=1e-9)
    assert law_kl(clover.law, cold.law) > 0.1
    with pytest.raises(ValueError, match="same temperature"):
        law_kl(clover.law, solve_planar(TARGETS["ring"], "relu_tanh", 0.03, 0.02, 0.001).law)


def _clover_field(clover):
    points, weights = polar_rule(16, 48)
    return points, weights * clover.residual(points)


def test_samples_of_the_law_pass_the_stein_test_at_its_level(clover):
    points, signal = _clover_field(clover)
    law = PlanarLaw.from_field(points, signal, "relu_tanh", 0.02, 0.02, 0.001)
    p_values = []
    for seed in range(20):
        theta = law.sample(400, host_generator(seed, Stream.FOREGROUND_GIBBS))
        score = cloud_score(theta, points, signal, "relu_tanh", 0.02, 0.02, 0.001)
        p_values.append(stein_discrepancy(theta, score, host_generator(seed, Stream.PERMUTATION)).p_value)
    # more than 3 of 20 uniform p-values below 0.05 has probability 0.016
    assert np.sum(np.array(p_values) < 0.05) <= 3


@pytest.mark.parametrize("factor", [0.0, 0.8])
def test_a_wrong_cloud_fails_the_stein_test(clover, factor):
    """Power, not only level: the prior, and the law of a residual a fifth too small, at the size of a background."""
    points, signal = _clover_field(clover)
    law = PlanarLaw.from_field(points, factor * signal, "relu_tanh", 0.02, 0.02, 0.001)
    n_rejected = 0
    for seed in range(4):
        theta = law.sample(2048, host_generator(seed, Stream.FOREGROUND_GIBBS))
        score = cloud_score(theta, points, signal, "relu_tanh", 0.02, 0.02, 0.001)
        result = stein_discrepancy(theta, score, host_generator(seed, Stream.PERMUTATION))
        n_rejected += result.value > result.null_95
    # measured power at this size: 12 of 12 rejected at 5 % for either; a powerless test rejects 3 of 4 with p 5e-4
    assert n_rejected >= 3


def test_the_score_is_the_gradient_of_the_log_density():
    points, weights = laguerre_rule(4, 9)
    signal = weights * TARGETS["kite"](points)
    theta = host_generator(0, Stream.THEORY).standard_normal((6, 3))

    def log_density(at):
        fields = np.maximum(np.tanh(at[:, :2] @ points.T), 0) @ signal
        energy = 0.01 * (at[:, :2] ** 2).sum(axis=1) + 0.0005 * at[:, 2] ** 2
        return (at[:, 2] * fields - energy) / 0.02

    score = cloud_score(theta, points, signal, "relu_tanh", 0.02, 0.02, 0.001)
    for j in range(3):
        step = 1e-6 * np.eye(3)[j]
        slope = (log_density(theta + step) - log_density(theta - step)) / 2e-6
        np.testing.assert_allclose(score[:, j], slope, rtol=1e-5, atol=1e-6)
