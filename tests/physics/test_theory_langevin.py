"""Exact sampling against small-step Langevin dynamics of the engine: backgrounds on three tasks, foregrounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from planar_targets import TARGETS
from scipy.stats import chi2

from mft_engine import kernels
from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.device import host_device
from mft_engine.kernels import StepPlan
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import get_activation
from mft_engine.points.measure import polar_rule
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.gibbs import GibbsBackground
from mft_engine.theory.planar import solve_planar


def plan(eta: float, temperature: float, lambda_w: float, lambda_a: float, seed: int) -> StepPlan:
    """Leimkuhler-Matthews steps in prior units."""
    penalties = (lambda_w, lambda_w, lambda_a)
    rate = tuple(eta / penalty for penalty in penalties)
    return StepPlan(
        rate=rate,
        decay=(eta, eta, eta),
        noise=tuple(math.sqrt(2 * r * temperature) for r in rate),
        integrator="leimkuhler-matthews",
        seed=seed,
        stream=int(Stream.BACKGROUND),
    )


def kernel(activation: str):
    return kernels.choose(
        get_activation(activation), device=host_device(), dtype=torch.float32, n_inputs=2, n_out=1, kind="auto"
    )


def observables(theta: np.ndarray, f: np.ndarray, y: np.ndarray, weights: np.ndarray) -> list[float]:
    norm, angle = np.hypot(theta[:, 0], theta[:, 1]), np.arctan2(theta[:, 1], theta[:, 0])
    return [
        float(weights @ (y - f) ** 2),
        float(norm.mean()),
        float((theta[:, 2] ** 2).mean()),
        float(np.cos(4 * angle).mean()),
    ]


def mean_and_error(series: np.ndarray, n_batches: int = 10) -> tuple[np.ndarray, np.ndarray]:
    batches = series[: len(series) // n_batches * n_batches].reshape(n_batches, -1, series.shape[1]).mean(axis=1)
    return batches.mean(axis=0), batches.std(axis=0, ddof=1) / np.sqrt(n_batches)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "temperature", "lambda_w", "lambda_a", "eta"),
    [
        ("product", 0.05, 0.05, 0.001, 4e-4),
        ("kite", 0.05, 0.05, 0.004, 1e-3),
        ("three_leaf", 0.02, 0.02, 0.004, 1e-3),
    ],
)
def test_exact_gibbs_and_leimkuhler_matthews_backgrounds_have_the_same_observables(
    name, temperature, lambda_w, lambda_a, eta
):
    """Loss, E|w|, E a^2 and cos4 of 256 neurons, within 3 standard errors of their difference.

    Ten batches of 16 units of time: clouds remember an imbalance of their leaves for about ten (kite), so that
    shorter batches understate the error.
    """
    n_neurons = 256
    rule = polar_rule(8, 32)
    y = TARGETS[name](rule.inputs)
    settings = ("relu_tanh", temperature, lambda_w, lambda_a)
    exact = GibbsBackground(rule.inputs, y, rule.weights, n_neurons, *settings, seed=2)
    exact.sweep(100)
    trace = exact.sweep(2_400)
    columns = [trace.loss, trace.mean_norm, trace.mean_square_readout, trace.order_parameters["cos4"]]
    gibbs, gibbs_error = mean_and_error(np.stack(columns, axis=1))

    # the chain starts at equilibrium, so that nothing has to be forgotten
    theta = torch.as_tensor(exact.theta, dtype=torch.float32)
    inputs, weights = (torch.as_tensor(v, dtype=torch.float32) for v in (rule.inputs, rule.weights))
    targets = torch.as_tensor(y, dtype=torch.float32)
    moves, walk = kernel("relu_tanh"), plan(eta, temperature, lambda_w, lambda_a, seed=5)
    series, step, stride = [], 0, round(0.05 / eta)
    while step * eta < 160:
        result = moves.advance_background(
            theta, inputs, targets, weights, walk, step, stride, torch.zeros(len(y), dtype=torch.float64)
        )
        theta, step = result.theta, step + stride
        f = moves.predict(theta, inputs, 1.0).numpy().astype(np.float64)
        series.append(observables(theta.numpy().astype(np.float64), f, y, rule.weights))
    langevin, langevin_error = mean_and_error(np.array(series))
    assert np.all(np.abs(langevin - gibbs) < 3 * np.hypot(langevin_error, gibbs_error))


@pytest.mark.slow
def test_gibbs_and_long_langevin_foregrounds_agree_with_each_other_and_with_the_density():
    """20 seeds of 512 neurons each, from the prior: p > 0.01 in at least 18; all of them by chi-square on a grid."""
    settings = (0.05, 0.05, 0.001)
    rule = polar_rule(8, 32)
    theory = solve_planar(TARGETS["product"], "relu_tanh", *settings)
    signal = rule.weights * theory.residual(rule.inputs)
    law = PlanarLaw.from_field(rule.inputs, signal, "relu_tanh", *settings)
    n_seeds, n = 20, 512
    prior = np.sqrt(settings[0] / np.array([settings[1], settings[1], settings[2]]))
    start = host_generator(0, Stream.FOREGROUND_INITIAL).standard_normal((n_seeds * n, 3)) * prior
    eta = 1e-3
    theta = kernel("relu_tanh").advance_frozen(
        torch.as_tensor(start, dtype=torch.float32),
        torch.as_tensor(rule.inputs, dtype=torch.float32),
        torch.as_tensor(signal, dtype=torch.float32),
        plan(eta, *settings, seed=1),
        0,
        round(16 / eta),
    )
    langevin = theta.theta.numpy().astype(np.float64).reshape(n_seeds, n, 3)
    n_consistent = 0
    gibbs = np.empty_like(langevin)
    for seed in range(n_seeds):
        gibbs[seed] = law.sample(n, host_generator(seed, Stream.FOREGROUND_GIBBS))
        *_, comparison = compare_clouds(gibbs[seed], langevin[seed], 2, n_permutations=199, seed=seed)
        assert isinstance(comparison, Comparison)
        n_consistent += comparison.p_value > 0.01
    assert n_consistent >= 18

    edges = np.linspace(-3, 3, 13)
    axis = (np.arange(480) + 0.5) * 6 / 480 - 3
    w1, w2 = np.meshgrid(axis, axis, indexing="ij")
    density = law.density(np.stack([w1.ravel(), w2.ravel()], axis=1)).reshape(12, 40, 12, 40)
    expected = (density.sum(axis=(1, 3)) * 0.0125**2).ravel()
    expected = np.append(expected, 1 - expected.sum()) * n_seeds * n
    kept = expected > 10
    for cloud in (gibbs.reshape(-1, 3), langevin.reshape(-1, 3)):
        counts = np.histogram2d(cloud[:, 0], cloud[:, 1], bins=[edges, edges])[0].ravel()
        counts = np.append(counts, len(cloud) - counts.sum())
        observed, wanted = (
            np.append(counts[kept], counts[~kept].sum()),
            np.append(expected[kept], expected[~kept].sum()),
        )
        assert chi2.sf(((observed - wanted) ** 2 / wanted).sum(), len(wanted) - 1) > 0.001
