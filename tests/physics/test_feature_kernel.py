"""The Gaussian process with any number of inputs: closed forms, the series, and the planar solver on equal points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mft_engine.questions.references import reference_lines
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.tasks import build_task
from mft_engine.theory import feature_kernel as module
from mft_engine.theory.feature_kernel import feature_kernel, solve_point_process
from mft_engine.theory.gaussian_process import solve_gaussian_process


def inputs(n: int, n_inputs: int) -> np.ndarray:
    return host_generator(0, Stream.SUBSAMPLE).standard_normal((n, n_inputs))


@pytest.mark.parametrize(("activation", "error"), [("erf", 1e-9), ("relu", 2e-4)])
def test_the_series_meets_the_closed_form(activation: str, error: float) -> None:
    # erf is smooth; the kink of relu leaves c_k^2 of order k^-5/2 beyond 200 terms, where inputs nearly coincide.
    x = inputs(30, 6)
    square = 0.5 * (x**2).sum(1)
    coefficients, diagonal = module._mehler(np.sqrt(square), activation)
    exact = feature_kernel(x, activation, 0.5)
    np.testing.assert_allclose(np.diag(exact), diagonal, rtol=1e-9)
    cosine = 0.5 * (x @ x.T) / np.sqrt(np.outer(square, square))
    series = sum(cosine**k * np.outer(c, c) for k, c in enumerate(coefficients))
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(series[off], exact[off], atol=error * diagonal.max())


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "relu_tanh", "tanh_squared"])
def test_the_kernel_is_the_mean_over_neurons(activation: str) -> None:
    x = inputs(8, 5)
    w = np.sqrt(0.7) * host_generator(1, Stream.SUBSAMPLE).standard_normal((200_000, 5))
    phi = module.phi_numpy(activation, w @ x.T)
    found = feature_kernel(x, activation, 0.7)
    for i in range(8):
        each = phi[:, i : i + 1] * phi
        assert np.all(np.abs(each.mean(0) - found[i]) < 5 * each.std(0) / np.sqrt(len(w)) + 1e-12)


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_kernel_and_posterior_are_those_of_neural_tangents(activation: str) -> None:
    reference = json.loads(Path(__file__).with_name("neural_tangents.json").read_text())
    x, y, expected = np.array(reference["inputs"]), np.array(reference["targets"]), reference[activation]
    variance, lambda_a, temperature, n = reference["variance"], reference["lambda_a"], 0.05, len(x)
    np.testing.assert_allclose(feature_kernel(x, activation, variance), expected["kernel"], atol=1e-10)
    found = solve_point_process(x, y, np.full(n, 1 / n), activation, temperature, temperature / variance, lambda_a)
    np.testing.assert_allclose(y - found.residual, expected["mean"], atol=1e-10)
    # Theirs is the posterior of f with a unit prior variance of the readouts: T / lambda_a of it is ours.
    assert found.variance == pytest.approx(temperature / lambda_a * expected["covariance_trace"] / n, abs=1e-10)


@pytest.mark.parametrize("activation", ["tanh", "erf", "relu_tanh"])
def test_planar_points_have_the_planar_gaussian_process(activation: str) -> None:
    x = inputs(40, 2)
    y, weights, settings = x[:, 0] * x[:, 1], np.full(40, 1 / 40), (activation, 0.05, 0.05, 0.01)
    planar = solve_gaussian_process(None, *settings, points=(x, y, weights))
    turn = np.linalg.qr(host_generator(2, Stream.SUBSAMPLE).standard_normal((7, 7)))[0][:2]
    found = solve_point_process(x @ turn, y[:, None], weights, *settings)
    # With a kink the planar grid of 192 angles is right to some 1e-4, without one to many digits.
    assert found.loss == pytest.approx(planar.loss, rel=5e-4 if activation == "relu_tanh" else 1e-6)
    assert found.variance == pytest.approx(planar.variance, rel=1e-3)
    np.testing.assert_allclose(found.residual[:, 0], planar.residual(x), atol=1e-3)


def test_tasks_with_many_inputs_and_readouts_have_the_line_of_the_lazy_network() -> None:
    for name, low, high in (("parity", 0.9, 1.1), ("modular-addition", 0.0, 6.1), ("digits", 0.0, 0.2)):
        recipe = load_recipe(name)
        lines = reference_lines(recipe, build_task(recipe.task, recipe.seed))
        assert lines.gaussian_process_loss is not None and lines.gaussian_process_network_loss is not None
        assert low < lines.gaussian_process_loss < high, name
        assert lines.gaussian_process_network_loss > lines.gaussian_process_loss
