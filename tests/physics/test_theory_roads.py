"""Roads from rich to lazy: the exact dictionary of exponents, its lazy end, and linearised training."""

from __future__ import annotations

import numpy as np
import pytest
from planar_targets import TARGETS, laguerre_rule, polar_rule

from mft_engine.network.activations import dphi_numpy, phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.gaussian_process import solve_gaussian_process
from mft_engine.theory.planar import solve_planar
from mft_engine.theory.roads import equivalent_mean_field
from mft_engine.theory.tangent_kernel import tangent_kernel


def energy(theta, points, y, weights, kappa, lambda_w, lambda_a):
    """Section 1's energy of a whole network."""
    n = len(theta)
    f = n**-kappa * phi_numpy("relu_tanh", points @ theta[:, :2].T) @ theta[:, 2]
    data = 0.5 * n ** (2 * kappa - 1) * weights @ (y - f) ** 2
    return data + 0.5 * (lambda_w * (theta[:, :2] ** 2).sum() + lambda_a * (theta[:, 2] ** 2).sum())


@pytest.mark.parametrize("kappa", [0.5, 0.75, 1.0])
def test_the_equivalent_problem_has_the_same_boltzmann_weight_for_every_network(kappa):
    points, weights = laguerre_rule(4, 8)
    y = TARGETS["kite"](points)
    problem = equivalent_mean_field(30, kappa, 0.02, 0.03, 0.004)
    for seed in range(3):
        theta = host_generator(seed, Stream.THEORY).standard_normal((30, 3))
        own = energy(theta, points, y, weights, kappa, 0.03, 0.004) / 0.02
        theta[:, 2] *= problem.readout_factor
        same = energy(theta, points, y, weights, 1.0, problem.lambda_w, problem.lambda_a) / problem.temperature
        # b^2 lambda_a / T' = a^2 lambda_a / T as well: the whole exponent agrees
        assert same == pytest.approx(own, rel=1e-12)


def test_the_readout_exponent_road_ends_at_the_gaussian_process():
    lazy = solve_gaussian_process(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)
    excess = []
    for n_neurons in (500, 5000):
        problem = equivalent_mean_field(n_neurons, 0.5, 0.02, 0.02, 0.001)
        theory = solve_planar(TARGETS["product"], "relu_tanh", problem.temperature, problem.lambda_w, problem.lambda_a)
        excess.append(abs(theory.loss - lazy.loss))
        assert abs(theory.order_parameters["cos4"]) < 50 / n_neurons
    assert excess[1] < 0.01
    # the distance falls as 1 / T' = 1 / (N T)
    assert excess[0] / excess[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("train_readout", [True, False])
def test_linearised_training_is_that_of_the_kernel_matrix_on_a_fine_rule(train_readout):
    points, weights = polar_rule(16, 32)
    y = TARGETS["product"](points)
    kernel = tangent_kernel(TARGETS["product"], "relu_tanh", 1.0, 2.0, train_readout=train_readout)
    w = host_generator(0, Stream.THEORY).standard_normal((6000, 2))
    # the target is odd under a quarter turn, so the law of w may be turned by it at no cost in variance
    w = np.concatenate([w, np.stack([-w[:, 1], w[:, 0]], axis=1), -w, np.stack([w[:, 1], -w[:, 0]], axis=1)])
    z = points @ w.T
    phi, slope = phi_numpy("relu_tanh", z), dphi_numpy("relu_tanh", z)
    theta = 4.0 * (slope @ slope.T) * (points @ points.T)
    if train_readout:
        theta += phi @ phi.T
    root = np.sqrt(weights)
    values, vectors = np.linalg.eigh(theta / len(w) * np.outer(root, root))
    times = np.array([0.0, 0.5, 2.0, 10.0])
    expected = np.exp(-2 * np.outer(times, values)) @ (vectors.T @ (root * y)) ** 2
    # 24,000 weights and a rule of 512 points: about one per cent of the power
    np.testing.assert_allclose(kernel.loss(times), expected, atol=0.015)
    assert np.all(np.diff(kernel.loss(times)) < 0)


def test_what_the_kernel_cannot_see_is_never_learned():
    kernel = tangent_kernel(TARGETS["product"], "tanh", 1.0, 1.0)
    np.testing.assert_allclose(kernel.loss(np.array([0.0, 1e6])), kernel.target_power)
    with pytest.raises(ValueError, match="positive"):
        tangent_kernel(TARGETS["product"], "tanh", 0.0, 1.0)
