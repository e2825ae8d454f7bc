"""Mean and variance of the function of a network: the estimator, exact sweeps against theory, where it is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine.dynamics.gibbs import SWEEPS_A_SAMPLE
from mft_engine.estimates import autocorrelation_time
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.posterior import FEWEST_SAMPLES, MAX_SAMPLES, MOST_POINTS, FunctionSamples
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs import checkpoint
from mft_engine.theory.finite_width import solve_finite_width

SMALL = load_recipe("clover").replace({
    "engine.n_threads": 1, "network.n_neurons": 64, "foreground.n_neurons": 64, "comparison.n_permutations": 99,
    "training.time": 3.0,
})  # fmt: skip


def _autoregression(seed: int, n: int, n_points: int, memory: float, spread: np.ndarray) -> np.ndarray:
    """n stationary samples of n_points independent chains with the given standard deviations, (n, n_points)."""
    kicks = host_generator(seed, Stream.GIBBS).standard_normal((n, n_points)) * np.sqrt(1 - memory**2)
    kicks[0] /= np.sqrt(1 - memory**2)
    values = np.empty_like(kicks)
    values[0] = kicks[0]
    for k in range(1, n):
        values[k] = memory * values[k - 1] + kicks[k]
    return values * spread


def test_mean_variance_and_error_of_a_known_process_are_found() -> None:
    # An autoregression with memory m has tau = (1 + m)/(1 - m); 60 repetitions tell whether the error bars are right.
    n_points, memory = 24, 0.7
    weights = np.linspace(1, 2, n_points)
    weights /= weights.sum()
    spread, mean, targets = np.linspace(0.5, 1.5, n_points), np.linspace(-1, 1, n_points), np.zeros(n_points)
    exact, bias = float(weights @ spread**2), float(weights @ mean**2)
    found, errors, losses = [], [], []
    for seed in range(60):
        samples = FunctionSamples(1, n_points)
        series = mean + _autoregression(seed, 200, n_points, memory, spread)
        for k, f in enumerate(series):
            samples.offer(k, 0.0, lambda f=f: torch.from_numpy(f))
        estimate = samples.estimate(0.0, series.mean(axis=0), targets, weights, 10, 0.5)
        found.append(estimate.variance)
        errors.append(estimate.variance_error)
        losses.append(estimate.mean_loss)
        assert estimate.n_samples == 200 and estimate.variance_theory == 0.5
    standard_error = np.std(found, ddof=1) / np.sqrt(60)
    # The series of 35 autocorrelation times understates tau, hence the correction, by some per cent of tau/n = .03.
    assert abs(np.mean(found) - exact) < 4 * standard_error + 0.005 * exact
    # The scatter of 60 values is known to 1/sqrt(120) = 9 %, the error bars of one run to about 15 %.
    assert np.mean(errors) == pytest.approx(np.std(found, ddof=1), rel=0.4)
    assert abs(np.mean(losses) - bias) < 4 * np.std(losses, ddof=1) / np.sqrt(60) + 0.005 * exact


def test_the_autocorrelation_time_of_a_vector_weighs_its_components_by_their_variance() -> None:
    slow = _autoregression(3, 20_000, 1, 0.8, np.array([1.0]))
    fast = _autoregression(4, 20_000, 1, 0.0, np.array([1.0]))
    # tau of the sum of correlations: (9 + 1)/2; an estimate from n values errs by about tau sqrt(20 tau/n) = 7 %.
    assert autocorrelation_time(np.hstack([slow, fast])) == pytest.approx(5.0, rel=0.3)
    assert autocorrelation_time(slow) == pytest.approx(autocorrelation_time(slow[:, 0]), rel=1e-12)


def test_a_long_run_keeps_an_even_series_of_bounded_length_and_large_fields_are_thinned() -> None:
    samples = FunctionSamples(10, 5 * MOST_POINTS)
    assert samples.stride == 5
    for step in range(0, 40_000, 10):
        samples.offer(step, 1.0, lambda step=step: torch.full((4,), float(step)))
    arrays, values = samples.pack()
    assert MAX_SAMPLES / 2 <= len(arrays["function_steps"]) <= MAX_SAMPLES
    assert np.array_equal(np.diff(arrays["function_steps"]), np.full(len(arrays["function_steps"]) - 1, 80))
    assert values["spacing"] == 80 and (arrays["function_samples"][:, 0] == arrays["function_steps"]).all()
    samples.offer(40_000, 2.0, lambda: torch.zeros(4))
    assert len(samples.pack()[0]["function_steps"]) == 1, "a new window begins anew"


@pytest.mark.parametrize("n_neurons", [128, 512])
def test_exact_sweeps_meet_the_finite_width_variance(n_neurons: int) -> None:
    # Tr C (I + C/T)^-1 under the corrected law is right to 1/N^2. 2,000 sweeps give 360 samples: error about 3 %.
    experiment = Experiment(
        SMALL.replace(
            {
                "training.dynamics": "gibbs",
                "network.n_neurons": n_neurons,
                "training.n_steps": 2000,
                "foreground.window": 0.9,
            }
        )
    )
    experiment.advance(2000)
    list(experiment.theory())
    points = experiment.field_points
    recipe = experiment.recipe
    law = solve_finite_width(
        points.inputs, points.targets, points.weights, n_neurons, "relu_tanh", 0.02, recipe.lambda_w, recipe.lambda_a
    )
    found = experiment.posterior()
    assert found.n_samples == 1800 // SWEEPS_A_SAMPLE + 1 and found.variance_error < 0.1 * found.variance
    assert abs(found.variance - law.trace_response / n_neurons) < 4 * found.variance_error
    # Infinite width is a different number (.1911/N on these points): beside it, not instead of it.
    assert found.variance_theory == pytest.approx(experiment.solution.trace_response / n_neurons)
    # The posterior mean's loss: that of the finite network less its variance.
    assert abs(found.mean_loss - (law.loss - law.trace_response / n_neurons)) < 0.001
    # The network of independent neurons would scatter 60 times as much.
    assert law.trace_covariance > 40 * law.trace_response


def test_loss_is_bias_squared_plus_variance_along_a_langevin_run() -> None:
    experiment = Experiment(SMALL)
    experiment.advance(100_000)
    found = experiment.posterior()
    # Loss averaged over all steps, the variance over every 50th: they share the mean and differ by sampling alone.
    scatter = found.mean_loss + found.variance * (1 + found.autocorrelation_time / found.n_samples)
    assert experiment.background.loss == pytest.approx(scatter, abs=4 * found.variance_error)
    assert found.variance > 4 * found.variance_error


def test_it_restarts_with_the_averages_and_survives_a_checkpoint() -> None:
    recipe = SMALL.replace({"training.step_size": 0.001, "training.time": 1.2, "foreground.window": 0.5})
    experiment = Experiment(recipe)
    experiment.advance(600)
    assert experiment.posterior() is None, "the burn-in is not over"
    experiment.advance(300)
    assert experiment.posterior() is None, "six samples are not enough"
    resumed = Experiment(recipe)
    checkpoint.unpack(resumed, *checkpoint.pack(experiment))
    for each in (experiment, resumed):
        each.advance(10_000)
    assert experiment.posterior().n_samples >= FEWEST_SAMPLES and experiment.posterior() == resumed.posterior()
    experiment.retune(experiment.recipe.replace({"regularisation.scale": 0.01}))
    assert experiment.posterior() is None


def test_the_summary_has_it_with_theory_where_the_theory_is_the_backgrounds_own() -> None:
    *_, finished = Experiment(SMALL)
    posterior = finished.summary["posterior"]
    assert set(posterior) >= {"mean_loss", "variance", "variance_error", "variance_theory"}
    assert "posterior" not in finished.summary["certificate"]
    assert posterior["variance_theory"] == pytest.approx(0.1911 / 64, rel=0.01)
    *_, lazy = Experiment(SMALL.replace({"foreground.background": "lazy", "training.n_steps": 1500}))
    assert lazy.summary["posterior"]["variance"] > 0 and lazy.summary["posterior"]["variance_theory"] is None
    *_, descent = Experiment(load_recipe("sgd-clover").replace({"network.n_neurons": 64, "training.n_steps": 60}))
    assert descent.summary["posterior"] is None, "gradient descent samples nothing"


def test_several_readouts_are_summed_as_in_the_loss() -> None:
    recipe = load_recipe("modular-addition").replace({"network.n_neurons": 128, "training.time": 9.0})
    experiment = Experiment(recipe)
    experiment.advance(100_000)
    found = experiment.posterior()
    # The weights of this loss sum to .7 (it is divided by all P^2 pairs): variance and loss count alike.
    assert experiment.field_points.weights.sum() == pytest.approx(85 / 121)
    scatter = found.mean_loss + found.variance * (1 + found.autocorrelation_time / found.n_samples)
    assert experiment.background.loss == pytest.approx(scatter, abs=4 * found.variance_error)
    assert found.variance_theory is None and found.variance > 8 * found.variance_error
