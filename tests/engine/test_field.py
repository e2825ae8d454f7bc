"""What one neuron feels, against automatic differentiation and dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine.field.field import MeanField, stiffness, tangent_kernel
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.points.measure import polar_rule


def _cloud(n: int, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((n, 3)))


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_the_gradient_of_the_potential_equals_autograds_to_1e_10(name: str) -> None:
    rule = polar_rule(4, 8)
    inputs = torch.as_tensor(rule.inputs)
    signal = torch.sin(3 * inputs[:, 0]) * torch.as_tensor(rule.weights)
    field = MeanField(inputs, signal, get_activation(name), 0.3, 0.7)
    theta = _cloud(20).requires_grad_(True)
    (oracle,) = torch.autograd.grad(field.potential(theta).sum(), theta)
    assert (field.gradient(theta.detach()) - oracle).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["relu_tanh", "tanh", "erf"])
def test_the_tangent_kernel_is_the_change_of_f_under_one_small_step(name: str) -> None:
    """df = step_size K (weights residual) to first order, for f = N^-kappa sum a phi, drift N^(kappa-1), any kappa."""
    rule, activation = polar_rule(4, 8), get_activation(name)
    inputs, weights = torch.as_tensor(rule.inputs), torch.as_tensor(rule.weights)
    theta, rates, eta, n = _cloud(30), (2.0, 2.0, 5.0), 1e-7, 30
    residual = torch.cos(inputs[:, 1])
    kernel = tangent_kernel(theta, inputs, activation, rates)
    for kappa in (0.5, 1.0):

        def f(t: torch.Tensor, kappa: float = kappa) -> torch.Tensor:
            return n**-kappa * activation.phi(inputs @ t[:, :2].T) @ t[:, 2]

        zero = MeanField(inputs, weights * residual * n ** (kappa - 1), activation, 0.0, 0.0)
        moved = theta - eta * torch.tensor(rates) * zero.gradient(theta)
        change = (f(moved) - f(theta)) / eta
        torch.testing.assert_close(change, kernel @ (weights * residual), rtol=1e-4, atol=1e-6)


def test_the_power_iteration_finds_the_top_eigenvalue() -> None:
    rule, activation = polar_rule(8, 32), get_activation("relu_tanh")
    inputs, weights = torch.as_tensor(rule.inputs), torch.as_tensor(rule.weights)
    theta, rates = _cloud(800), (50.0, 50.0, 1000.0)
    root = weights.sqrt()
    dense = tangent_kernel(theta, inputs, activation, rates) * root[:, None] * root[None, :]
    exact = torch.linalg.eigvalsh(dense)[-1]
    # A Rayleigh quotient is a lower bound; 2 % is far inside the margin between 1.4/Theta and 2/Theta.
    value = stiffness(theta, inputs, weights, activation, rates)
    assert 0.98 * exact < value <= exact * (1 + 1e-9)
