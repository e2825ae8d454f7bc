"""Finite width: the stated table, exactness at N = 1, the law in a run's own residual, the exact Gibbs background."""

from __future__ import annotations

import numpy as np
import pytest
from planar_targets import TARGETS, laguerre_rule

from mft_engine.laws.planar import PlanarLaw
from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.finite_width import solve_finite_width
from mft_engine.theory.gibbs import GibbsBackground
from mft_engine.theory.planar import solve_planar

SETTINGS = ("relu_tanh", 0.02, 0.02, 0.001)
# docs/physics.md section 10: N -> (-cos4, E|w|, E|w|^2, E a^2, loss), sampled exactly and predicted
SAMPLED = {
    8: (0.6384, 0.5979, 0.4808, 120.58, 0.3103),
    32: (0.5781, 0.6559, 0.6056, 128.17, 0.2989),
    128: (0.5652, 0.6842, 0.6786, 131.89, 0.2948),
    512: (0.5632, 0.6935, 0.7049, 133.25, 0.2933),
}
SAMPLED_ERROR = {
    8: (3e-4, 3e-4, 6e-4, 0.04, 5e-5),
    32: (2e-4, 2e-4, 5e-4, 0.02, 5e-5),
    128: (2e-4, 2e-4, 5e-4, 0.02, 5e-5),
    512: (1e-4, 1e-4, 2e-4, 0.01, 5e-5),
}
PREDICTED = {
    8: (0.6412, 0.5947, 0.4732, 119.66, 0.3092),
    32: (0.5779, 0.6554, 0.6043, 128.07, 0.2989),
    128: (0.5654, 0.6846, 0.6796, 131.92, 0.2948),
    512: (0.5632, 0.6938, 0.7056, 133.26, 0.2933),
}


def clover_points():
    points, weights = laguerre_rule()
    return points, TARGETS["product"](points), weights


def batch_error(values: np.ndarray, n_batches: int = 20) -> float:
    """Standard error of the mean of a correlated series, from the means of long batches."""
    batches = values[: len(values) // n_batches * n_batches].reshape(n_batches, -1).mean(axis=1)
    return float(batches.std(ddof=1) / np.sqrt(n_batches))


@pytest.mark.parametrize("n_neurons", sorted(PREDICTED))
def test_the_predicted_table_is_reproduced_without_simulation(n_neurons):
    theory = solve_finite_width(*clover_points(), n_neurons, *SETTINGS)
    found = (
        -theory.order_parameters["cos4"],
        theory.mean_norm,
        theory.mean_square_norm,
        theory.mean_square_readout,
        theory.loss,
    )
    # one unit of the last stated digit; the table's own grid differs from ours by as much
    for value, expected, digit in zip(found, PREDICTED[n_neurons], (1e-4, 1e-4, 1e-4, 0.02, 1e-4), strict=True):
        assert value == pytest.approx(expected, abs=1.6 * digit)
    assert theory.change < 1e-6


@pytest.mark.parametrize("n_neurons", [8, 32, 128, 512])
def test_the_sampled_table_is_reproduced_by_exact_gibbs_sweeps(n_neurons):
    background = GibbsBackground(*clover_points(), n_neurons, *SETTINGS, seed=1)
    n_sweeps = {8: 12_000, 32: 6_000, 128: 2_000, 512: 800}[n_neurons]
    background.sweep(n_sweeps // 10)
    trace = background.sweep(n_sweeps)
    found = (
        -trace.order_parameters["cos4"],
        trace.mean_norm,
        trace.mean_square_norm,
        trace.mean_square_readout,
        trace.loss,
    )
    for values, expected, stated in zip(found, SAMPLED[n_neurons], SAMPLED_ERROR[n_neurons], strict=True):
        # 20 numbers in all at 3 standard errors by 20 batches: one beyond with probability 0.1; 4 leaves 0.01
        assert abs(values.mean() - expected) < 4 * np.hypot(batch_error(values), stated)
    assert trace.acceptance > 0.05


def test_one_neuron_is_exact():
    """At N = 1 there are no others: p(w) ~ prior l^(-1/2) exp(<y, phi>^2 / (2 T l)), l = lambda_a + |phi|^2."""
    points, targets, weights = clover_points()
    theory = solve_finite_width(points, targets, weights, 1, *SETTINGS)
    np.testing.assert_allclose(theory.cavity_residual, targets, atol=1e-9)
    w = np.array([[0.5, 0.4], [-1.0, 0.2], [2.0, -1.5]])
    features = phi_numpy("relu_tanh", w @ points.T)
    stiffness = 0.001 + (features**2) @ weights
    log_density = -0.5 * (w**2).sum(axis=1) - 0.5 * np.log(stiffness)
    log_density += (features @ (weights * targets)) ** 2 / (0.04 * stiffness)
    found = np.log(theory.law.density(w))
    # interpolation on the law's grid, with the kinks of 256 points
    np.testing.assert_allclose(found - found[0], log_density - log_density[0], atol=0.01)


def test_many_neurons_come_to_the_infinite_width_law():
    points = clover_points()
    infinite = solve_planar(None, *SETTINGS, points=points)
    errors = []
    for n_neurons in (1000, 4000):
        n_angles = infinite.solution.n_angles
        theory = solve_finite_width(*points, n_neurons, *SETTINGS, n_angles=n_angles)
        errors.append(theory.mean_square_readout - infinite.mean_square_readout)
        assert theory.trace_response == pytest.approx(infinite.trace_response, rel=20 / n_neurons)
    # the correction is of order 1 / N
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_the_law_in_the_predicted_residual_is_the_predicted_law():
    points = clover_points()
    theory = solve_finite_width(*points, 32, *SETTINGS)
    again = solve_finite_width(*points, 32, *SETTINGS, residual=theory.residual)
    np.testing.assert_allclose(again.cavity_residual, theory.cavity_residual, atol=1e-5)
    assert again.mean_square_readout == pytest.approx(theory.mean_square_readout, abs=1e-3)


def test_in_a_run_s_own_residual_the_corrected_law_is_right_where_the_uncorrected_is_not():
    points, targets, weights = clover_points()
    background = GibbsBackground(points, targets, weights, 32, *SETTINGS, seed=3)
    background.sweep(500)
    background.forget()
    trace = background.sweep(8_000)
    residual = background.mean_residual
    assert background.n_averaged == 8_000
    corrected = solve_finite_width(points, targets, weights, 32, *SETTINGS, residual=residual)
    plain = PlanarLaw.from_field(points, weights * residual, *SETTINGS)
    readout = trace.mean_square_readout
    error = batch_error(readout)
    # the law's own error at N = 32 is 0.1 (table: 128.07 against 128.17), the residual's noise doubles the rest
    assert abs(corrected.mean_square_readout - readout.mean()) < 0.3 + 6 * error
    assert plain.moments["mean_square_readout"] - readout.mean() > 3
    assert corrected.law.moments["mean_norm"] == pytest.approx(corrected.mean_norm, abs=1e-3)


def test_samples_of_the_corrected_law_have_its_moments():
    theory = solve_finite_width(*clover_points(), 8, *SETTINGS)
    theta = theory.law.sample(40_000, host_generator(0, Stream.FOREGROUND_GIBBS))
    for values, expected in (
        (np.hypot(theta[:, 0], theta[:, 1]), theory.mean_norm),
        (theta[:, 2] ** 2, theory.mean_square_readout),
        (np.cos(4 * np.arctan2(theta[:, 1], theta[:, 0])), theory.order_parameters["cos4"]),
    ):
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values)) + 2e-3 * abs(expected)
    assert theory.law.kl > theory.law.readout_free_kl > 0


def test_the_chain_stays_at_its_law_and_is_reproducible():
    points = laguerre_rule(4, 12)
    problem = (points[0], TARGETS["kite"](points[0]), points[1])
    chains = [GibbsBackground(*problem, 16, "clip01", 0.05, 0.05, 0.01, seed=seed) for seed in (5, 5, 6)]
    traces = [chain.sweep(50) for chain in chains]
    np.testing.assert_array_equal(traces[0].loss, traces[1].loss)
    np.testing.assert_array_equal(chains[0].theta, chains[1].theta)
    assert not np.array_equal(traces[0].loss, traces[2].loss)
    # the network's function is that of the neurons shown
    theta = chains[0].theta
    f = phi_numpy("clip01", points[0] @ theta[:, :2].T) @ theta[:, 2] / 16
    assert traces[0].loss[-1] == pytest.approx(points[1] @ (problem[1] - f) ** 2, rel=1e-9)


def test_two_neurons_agree_with_direct_integration():
    """N = 2 on three points: E of the loss by brute-force importance sampling from the prior."""
    points = np.array([[1.0, 0.2], [-0.5, 1.1], [0.3, -1.4]])
    targets, weights = np.array([1.0, -0.6, 0.4]), np.array([0.5, 0.3, 0.2])
    temperature, lambda_w, lambda_a = 0.3, 0.3, 0.2
    n = 400_000
    generator = host_generator(0, Stream.THEORY)
    theta = generator.standard_normal((n, 2, 3)) * np.sqrt(temperature / np.array([lambda_w, lambda_w, lambda_a]))
    features = phi_numpy("tanh", theta[:, :, :2] @ points.T)
    f = np.einsum("nij,ni->nj", features, theta[:, :, 2]) / 2
    loss = ((targets - f) ** 2) @ weights
    weight = np.exp(-loss / temperature)  # N / 2 times the loss over T, N = 2
    expected = (weight @ loss) / weight.sum()
    expected_error = np.sqrt(weight**2 @ (loss - expected) ** 2) / weight.sum()
    chain = GibbsBackground(points, targets, weights, 2, "tanh", temperature, lambda_w, lambda_a, seed=0)
    chain.sweep(500)
    values = chain.sweep(40_000).loss
    assert abs(values.mean() - expected) < 4 * np.hypot(batch_error(values), expected_error)


def test_a_stop_request_ends_the_sweeps():
    points = laguerre_rule(2, 6)
    chain = GibbsBackground(
        points[0], points[0][:, 0], points[1], 4, "tanh", 0.1, 0.1, 0.1, seed=0,
        proposal=solve_planar(None, "tanh", 0.1, 0.1, 0.1, points=(points[0], points[0][:, 0], points[1])).law,
        should_stop=lambda: True,
    )  # fmt: skip
    with pytest.raises(SolveStopped):
        chain.sweep(1)
    with pytest.raises(ValueError, match="at least 1"):
        solve_finite_width(points[0], points[0][:, 0], points[1], 0, "tanh", 0.1, 0.1, 0.1)


@pytest.mark.slow
def test_the_error_of_the_corrected_law_falls_as_one_over_n_squared_and_the_uncorrected_as_one_over_n():
    points, targets, weights = clover_points()
    errors, spread, plain = [], [], []
    sizes = np.array([8, 16, 32])
    for n_neurons, n_sweeps in zip(sizes, (1_200_000, 600_000, 300_000), strict=True):
        background = GibbsBackground(points, targets, weights, int(n_neurons), *SETTINGS, seed=11)
        background.sweep(n_sweeps // 20)
        background.forget()
        readout = background.sweep(n_sweeps).mean_square_readout
        predicted = solve_finite_width(points, targets, weights, int(n_neurons), *SETTINGS)
        errors.append(predicted.mean_square_readout - readout.mean())
        spread.append(batch_error(readout, 40))
        law = PlanarLaw.from_field(points, weights * background.mean_residual, *SETTINGS)
        plain.append(law.moments["mean_square_readout"] - readout.mean())
    errors, spread = np.array(errors), np.array(spread)

    def misfit(power: float) -> float:
        """chi^2 of errors = c N^-power at the best c; two degrees of freedom."""
        shape = sizes.astype(float) ** -power
        best = (errors * shape / spread**2).sum() / (shape**2 / spread**2).sum()
        return float((((errors - best * shape) / spread) ** 2).sum())

    # chi^2 with two degrees of freedom exceeds 13.8 with probability 0.001 and 6.0 with 0.05. With the errors found
    # (-0.9 at N = 8, known to 0.06) 1/N is expected to miss by 23: below 6.0 it falls in one of fifty series.
    assert misfit(2.0) < 13.8
    assert misfit(1.0) > 6.0
    slope = np.polyfit(np.log(sizes), np.log(plain), 1)[0]
    # the noise of the averaged residual adds to the tilt at small N
    assert -1.4 < slope < -0.8


def test_sweeps_without_numba_are_the_same_sweeps(monkeypatch):
    from mft_engine.theory import gibbs

    points, weights = laguerre_rule(2, 6)
    problem = (points, TARGETS["product"](points), weights, 5, "relu_tanh", 0.05, 0.05, 0.01)
    compiled = GibbsBackground(*problem, seed=3)
    first = compiled.sweep(6)
    monkeypatch.setattr(gibbs, "_sweeps", gibbs._sweep_block)
    plain = GibbsBackground(*problem, seed=3)
    second = plain.sweep(6)
    # the compiled loop may add in another order
    np.testing.assert_allclose(second.loss, first.loss, rtol=1e-9)
    np.testing.assert_allclose(plain.theta, compiled.theta, rtol=1e-9)
