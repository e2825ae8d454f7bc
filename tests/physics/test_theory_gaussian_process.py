"""The lazy end: stated numbers, the wrong background's foreground, and the road from rich to lazy in T."""

from __future__ import annotations

import numpy as np
import pytest
from planar_targets import TARGETS, laguerre_rule

from mft_engine.network.activations import phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.gaussian_process import solve_gaussian_process
from mft_engine.theory.planar import solve_planar


def test_the_stated_numbers_of_the_clover_s_lazy_end_are_met():
    """docs/physics.md section 9: posterior mean's loss .4408, posterior variance .186, a network's own loss .627."""
    lazy = solve_gaussian_process(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)
    assert lazy.loss == pytest.approx(0.4408, abs=6e-5)
    assert lazy.variance == pytest.approx(0.186, abs=6e-4)
    assert lazy.network_loss == pytest.approx(0.627, abs=6e-4)


def test_the_foreground_of_the_lazy_background_is_the_stated_four_lumps():
    """docs/physics.md section 9, lazy: cos4 -.920, E|w| .557, E a^2 527 (on points; here N(0, I) itself)."""
    law = solve_gaussian_process(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001).foreground()
    assert law.moments["cos4"] == pytest.approx(-0.920, abs=2e-3)
    assert law.moments["mean_norm"] == pytest.approx(0.557, abs=2e-3)
    assert law.moments["mean_square_readout"] == pytest.approx(527, abs=2)


def test_the_mean_field_theory_tends_to_it_as_one_over_temperature():
    """At a fixed prior of w and fixed lambda_a: |f - f_GP| ~ 1/T and KL of w ~ 1/T^2."""
    temperatures = np.array([8.0, 16.0, 32.0, 64.0])
    x = host_generator(0, Stream.THEORY).standard_normal((2000, 2))
    distance, divergence = [], []
    for temperature in temperatures:
        settings = ("relu_tanh", temperature, temperature, 0.02)
        rich = solve_planar(TARGETS["product"], *settings)
        lazy = solve_gaussian_process(TARGETS["product"], *settings)
        distance.append(np.sqrt(np.mean((rich.prediction(x) - lazy.prediction(x)) ** 2)))
        divergence.append(rich.readout_free_kl)
    slopes = [np.polyfit(np.log(temperatures), np.log(values), 1)[0] for values in (distance, divergence)]
    # the next order is relative 1/T: below 0.05 of a slope at T >= 8 here
    assert slopes[0] == pytest.approx(-1, abs=0.05)
    assert slopes[1] == pytest.approx(-2, abs=0.05)


def test_the_posterior_mean_solves_the_kernel_equation_on_training_points():
    points, weights = laguerre_rule(4, 10)
    y = TARGETS["no_symmetry"](points)
    lazy = solve_gaussian_process(None, "clip01", 0.05, 0.05, 0.01, points=(points, y, weights))
    w = host_generator(0, Stream.THEORY).standard_normal((400_000, 2))
    features = phi_numpy("clip01", w @ points.T)
    kernel = features.T @ features / len(w) / 0.01
    residual = np.linalg.solve(np.eye(len(y)) + kernel * weights, y)
    # the kernel is a Monte Carlo mean of 400,000 weights: 0.2 % of itself
    np.testing.assert_allclose(lazy.residual(points), residual, atol=0.01)
    assert lazy.loss == pytest.approx(weights @ lazy.residual(points) ** 2, rel=1e-12)
    matrix = kernel * np.sqrt(np.outer(weights, weights))
    expected = 0.05 * np.trace(matrix @ np.linalg.inv(np.eye(len(y)) + matrix))
    assert lazy.variance == pytest.approx(expected, rel=0.01)
    np.testing.assert_allclose(lazy.prediction(points), y - lazy.residual(points), atol=1e-9)


def test_what_is_not_one_problem_is_refused():
    with pytest.raises(ValueError, match="either"):
        solve_gaussian_process(None, "tanh", 0.1, 0.1, 0.1)
    with pytest.raises(ValueError, match="positive"):
        solve_gaussian_process(TARGETS["kite"], "tanh", 0.0, 0.1, 0.1)
