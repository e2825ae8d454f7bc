"""The dynamics against laws that are known exactly: Ornstein-Uhlenbeck, ridge regression, order of convergence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mft_engine import kernels
from mft_engine.device import host_device
from mft_engine.dynamics import Hyper, step_plan
from mft_engine.kernels import StepPlan
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import get_activation
from mft_engine.points.measure import polar_rule
from mft_engine.questions.theory import solve_theory
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator

TEMPERATURE, LAMBDA_W, LAMBDA_A = 0.02, 0.02, 0.001


def _plan(eta: float, integrator: str, *, frozen_weights: bool = False, seed: int = 3) -> StepPlan:
    lambdas = (LAMBDA_W, LAMBDA_W, LAMBDA_A)
    rate = tuple(0.0 if frozen_weights and j < 2 else eta / penalty for j, penalty in enumerate(lambdas))
    return StepPlan(
        rate=rate,
        decay=tuple(r * penalty for r, penalty in zip(rate, lambdas, strict=True)),
        noise=tuple(math.sqrt(2 * r * TEMPERATURE) for r in rate),
        integrator=integrator,
        seed=seed,
        stream=1,
    )


def _kernel(kind: str = "auto"):
    return kernels.choose(
        get_activation("relu_tanh"), device=host_device(), dtype=torch.float32, n_inputs=2, n_out=1, kind=kind
    )


@pytest.mark.parametrize("kind", ["reference", "auto"])
@pytest.mark.parametrize(("integrator", "factor"), [("leimkuhler-matthews", 0.0), ("euler", 0.5)])
@pytest.mark.parametrize("eta", [0.1, 0.8])
def test_the_ornstein_uhlenbeck_variance_is_the_discrete_law(
    kind: str, integrator: str, factor: float, eta: float
) -> None:
    """At zero field, in prior units: T/lambda for Leimkuhler-Matthews, (T/lambda)/(1 - eta/2) for Euler.

    Neurons start *at* the law and stay: the variance of n independent normals has standard error sqrt(2/n) of itself.
    """
    n = 40_000
    penalties = np.array([LAMBDA_W, LAMBDA_W, LAMBDA_A])
    exact = TEMPERATURE / penalties / (1 - factor * eta)
    start = np.random.default_rng(1).standard_normal((n, 3)) * np.sqrt(exact)
    inputs = torch.as_tensor(polar_rule(2, 4).inputs, dtype=torch.float32)
    theta = torch.as_tensor(start, dtype=torch.float32)
    result = _kernel(kind).advance_frozen(theta, inputs, torch.zeros(8), _plan(eta, integrator), 0, 80)
    variance = result.theta.double().numpy().var(axis=0)
    assert np.all(np.abs(variance / exact - 1) < 4 * math.sqrt(2 / n))


def test_readouts_with_fixed_input_weights_sample_the_ridge_posterior() -> None:
    """The network of N neurons has energy N (1/2) E r^2 + sum_i (lambda_a/2) a_i^2; with w fixed it is Gaussian in a.

    precision A = (lambda_a I + Phi' W Phi / N)/T, mean = A^-1 Phi' W y / T. Errors from 40 batch means.
    """
    n, eta, n_steps, thin = 4, 0.02, 240_000, 20
    rule = polar_rule(4, 8)
    inputs, weights = (torch.as_tensor(v, dtype=torch.float32) for v in (rule.inputs, rule.weights))
    y = inputs[:, 0] * inputs[:, 1] + 0.5 * inputs[:, 0]
    # Small weights keep the data part of the precision comparable with the prior, so that both are tested.
    w = 0.15 * torch.as_tensor(np.random.default_rng(2).standard_normal((n, 2)), dtype=torch.float32)
    phi = get_activation("relu_tanh").phi(inputs @ w.T).double().numpy()
    m = rule.weights
    precision = (LAMBDA_A * np.eye(n) + phi.T @ (m[:, None] * phi) / n) / TEMPERATURE
    mean = np.linalg.solve(precision, phi.T @ (m * y.double().numpy())) / TEMPERATURE
    spread = np.sqrt(np.diag(np.linalg.inv(precision)))

    kernel, plan = _kernel(), _plan(eta, "leimkuhler-matthews", frozen_weights=True)
    theta = torch.cat([w, torch.as_tensor(mean, dtype=torch.float32)[:, None]], dim=1)
    scratch = torch.zeros(len(inputs), dtype=torch.float64)
    samples = []
    for step in range(0, n_steps, thin):
        theta = kernel.advance_background(theta, inputs, y, weights, plan, step, thin, scratch).theta
        samples.append(theta[:, 2].double().numpy().copy())
    assert torch.equal(theta[:, :2], w)
    a = np.array(samples)
    batches = a.reshape(40, -1, n)
    for values, exact in ((batches, mean), ((batches - mean) ** 2, spread**2)):
        means = values.mean(axis=1)
        error = means.std(axis=0, ddof=1) / math.sqrt(40)
        assert np.all(np.abs(means.mean(axis=0) - exact) < 4 * error)


def test_the_bias_of_euler_vanishes_linearly_and_leimkuhler_matthews_has_none_within_the_noise() -> None:
    """Neurons that start at the exact law of the frozen theory field and stay; the observable is cos 4 angle.

    Each mean over n neurons has standard error s = std/sqrt(n). Bias(eta) - 2 bias(eta/2) has error sqrt(5) s.
    """
    recipe = load_recipe("clover-sharp")
    rule = polar_rule(16, 64)
    signal = rule.weights * solve_theory(recipe).residual(rule.inputs)
    law = PlanarLaw.from_field(
        rule.inputs, signal, "relu_tanh", recipe.training.temperature, recipe.lambda_w, recipe.lambda_a
    )
    n = 40_000
    start = torch.as_tensor(law.sample(n, host_generator(0, Stream.THEORY)), dtype=torch.float32)
    inputs, signal = (torch.as_tensor(v, dtype=torch.float32) for v in (rule.inputs, signal))
    error = np.cos(4 * torch.atan2(start[:, 1], start[:, 0]).numpy()).std() / math.sqrt(n)

    def bias(integrator: str, eta: float) -> float:
        hyper = Hyper.of(recipe.replace({"training.integrator": integrator}))
        plan = step_plan(hyper, eta, 2, seed=0, stream=Stream.FOREGROUND, readout_exponent=1.0)
        theta = _kernel().advance_frozen(start, inputs, signal, plan, 0, round(2 / eta)).theta
        return float(torch.cos(4 * torch.atan2(theta[:, 1], theta[:, 0])).mean()) - law.moments["cos4"]

    coarse, fine = bias("euler", 0.01), bias("euler", 0.005)
    assert coarse > 8 * error
    assert abs(coarse - 2 * fine) < 4 * math.sqrt(5) * error
    for eta in (0.01, 0.005):
        assert abs(bias("leimkuhler-matthews", eta)) < 4 * error
