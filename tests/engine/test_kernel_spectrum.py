"""The spectrum of the data kernel against kernels known in closed form, and the test of two clouds' kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mft_engine.network.activations import get_activation
from mft_engine.points.measure import FieldPoints, polar_rule, sobol_rule
from mft_engine.questions.data_kernel import kernel_change, thinned
from mft_engine.questions.kernel_spectrum import eigenfunctions_at, spectrum_of, weighted_features
from mft_engine.questions.kernel_study import (
    MAX_NEURONS,
    MAX_POINTS,
    N_MAPS,
    DataKernels,
    kernel_agreement,
    last_of,
    study_kernels,
    turn_towards,
)
from mft_engine.rng import Stream, host_generator

RELU, SQUARE, RELU_TANH = (get_activation(name) for name in ("relu", "quadratic", "relu_tanh"))
N_RING = 64
ANGLES = 2 * np.pi * np.arange(N_RING) / N_RING
RING, EVEN = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), np.full(N_RING, 1 / N_RING)
RULE = polar_rule(8, 32)
POINTS = FieldPoints(RULE.inputs, RULE.weights, RULE.inputs[:, 0] * RULE.inputs[:, 1], RULE.rule)


def directions(n: int, length: float) -> np.ndarray:
    """Neurons of one length at equal angles: every angular moment up to n is that of the uniform law."""
    angle = 2 * np.pi * (np.arange(n) + 0.37) / n
    return np.stack([length * np.cos(angle), length * np.sin(angle), np.ones(n)], axis=1)


def gaussian(n: int, number: int, stretch: float = 1.0) -> np.ndarray:
    return host_generator(3, Stream.TEST_POINTS, number).standard_normal((n, 3)) * [stretch, 1.0, 1.0]


def spectrum(theta: np.ndarray, activation, points: FieldPoints):
    features = weighted_features(theta, points.inputs, points.weights, activation)
    return spectrum_of(features, points.weights, points.targets)


def ring(targets: np.ndarray) -> FieldPoints:
    return FieldPoints(RING, EVEN, targets, "a ring")


def test_relu_neurons_of_gaussian_weights_have_the_arc_cosine_kernels_fourier_coefficients() -> None:
    # E relu(w.x) relu(w.y) = (sin t + (pi - t) cos t)/(2 pi) on the unit circle (Cho and Saul 2009). Its Fourier
    # coefficients: 2/pi^2, 1/8 for cos t, 2/(pi^2 (k^2 - 1)^2) for even k, 0 for odd k > 1; every k > 0 twice.
    # Only |w|^2 = 2 on average matters, relu being homogeneous. 64 points alias k with 64 - k: 2/(pi^2 62^4) = 1e-8.
    found = spectrum(directions(4096, 2**0.5), RELU, ring(np.cos(ANGLES)))
    even = [2 / (np.pi * (k**2 - 1)) ** 2 for k in (2, 2, 4, 4, 6, 6)]
    np.testing.assert_allclose(found.eigenvalues[:9], [2 / np.pi**2, 1 / 8, 1 / 8, *even], atol=1e-6)
    assert found.trace == pytest.approx(0.5, abs=1e-6)
    # The target is the pair of the second coefficient, which the first function, a constant, does not see.
    np.testing.assert_allclose(found.captured[:3], [0, found.target_shares[1], 1], atol=1e-6)


def test_squares_of_gaussian_neurons_have_rank_three_and_a_known_alignment() -> None:
    # E (w.x)^2 (w.y)^2 = 1 + 2 cos^2 t = 2 + cos 2t: eigenvalues 2, 1/2, 1/2. Only E|w|^4 = 8 matters.
    found = spectrum(directions(4096, 8**0.25), SQUARE, ring(np.cos(2 * ANGLES)))
    np.testing.assert_allclose(found.eigenvalues[:4], [2, 0.5, 0.5, 0], atol=1e-12)
    assert found.n_trusted == 3
    assert found.effective_rank == pytest.approx(9 / 4.5)
    assert found.alignment == pytest.approx(0.5 / 4.5**0.5)
    assert found.captured[2] == pytest.approx(1)


def test_functions_are_orthonormal_under_the_measure_and_eigenvalues_sum_to_the_trace() -> None:
    theta = gaussian(500, 1)
    found = spectrum(theta, RELU_TANH, POINTS)
    products = (found.functions * POINTS.weights) @ found.functions.T
    np.testing.assert_allclose(products, np.eye(len(products)), atol=1e-12)
    activity = RELU_TANH.phi(torch.from_numpy(POINTS.inputs @ theta[:, :2].T)).numpy()
    assert found.trace == pytest.approx(float(POINTS.weights @ (activity**2).mean(axis=1)), rel=1e-12)
    assert np.all(np.diff(found.eigenvalues) <= 0)


def test_all_functions_together_hold_the_part_of_the_target_that_the_neurons_span() -> None:
    # Sixteen neurons span sixteen functions; least squares gives the part of the target in them.
    theta = gaussian(16, 2)
    found = spectrum(theta, RELU_TANH, POINTS)
    assert found.n_trusted == 16
    features = weighted_features(theta, POINTS.inputs, POINTS.weights, RELU_TANH)
    target = np.sqrt(POINTS.weights) * POINTS.targets
    left = target - features @ np.linalg.lstsq(features, target)[0]
    assert found.captured[15] == pytest.approx(1 - left @ left / (target @ target), abs=1e-9)


def test_one_neuron_is_aligned_with_its_own_function_and_has_no_error() -> None:
    theta = np.array([[0.7, -0.4, 1.0]])
    own = RELU_TANH.phi(torch.from_numpy(POINTS.inputs @ theta[0, :2])).numpy()
    found = spectrum(theta, RELU_TANH, replace(POINTS, targets=-3 * own))
    assert found.alignment == pytest.approx(1) and found.effective_rank == pytest.approx(1)
    assert found.target_shares[0] == pytest.approx(1) and np.isnan(found.errors).all()
    # Its sign is the target's.
    assert np.all(found.functions[0] * own <= 1e-12)


def test_a_vanishing_target_or_cloud_gives_no_alignment_and_no_division_by_zero() -> None:
    for theta, points in ((gaussian(50, 3), replace(POINTS, targets=0 * POINTS.targets)), (np.zeros((50, 3)), POINTS)):
        found = spectrum(theta, RELU_TANH, points)
        assert np.isnan(found.alignment) and np.isfinite(found.target_shares).all()


def test_extended_eigenfunctions_are_themselves_at_the_points_and_known_between_them() -> None:
    theta = gaussian(300, 4)
    found = spectrum(theta, RELU_TANH, POINTS)
    at_points = eigenfunctions_at(found, theta, POINTS.inputs, POINTS.weights, RELU_TANH, POINTS.inputs, 8)
    np.testing.assert_allclose(at_points, found.functions[:8], atol=1e-9)
    # On the ring 2 + cos 2t has the eigenfunction sqrt 2 cos 2t; off it both are homogeneous of degree two.
    cloud, circle = directions(512, 8**0.25), ring(np.cos(2 * ANGLES))
    found = spectrum(cloud, SQUARE, circle)
    between = np.array([[0.3, 1.1], [-2.0, 0.4]])
    values = eigenfunctions_at(found, cloud, RING, EVEN, SQUARE, between, 4)
    pair = (found.functions[1:3] * EVEN) @ (2**0.5 * np.cos(2 * ANGLES)) @ values[1:3]
    np.testing.assert_allclose(pair, 2**0.5 * (between[:, 0] ** 2 - between[:, 1] ** 2), atol=1e-9)
    assert np.isnan(values[3]).all()


def test_errors_are_the_scatter_of_independent_clouds() -> None:
    # 200 clouds: a standard deviation to 1/sqrt(400) = 5 %; the mean of squared jackknife errors with 7 degrees of
    # freedom to sqrt(2/7/200) = 4 %, half of that in the root. Four standard errors of the ratio: 22 %.
    found = [spectrum(gaussian(256, 100 + k), RELU_TANH, POINTS) for k in range(200)]
    scatter = np.std([s.eigenvalues[0] for s in found], ddof=1)
    error = np.mean([s.errors[0] ** 2 for s in found]) ** 0.5
    assert error == pytest.approx(scatter, rel=0.22)


def features_of(theta: np.ndarray) -> np.ndarray:
    return weighted_features(theta, POINTS.inputs, POINTS.weights, RELU_TANH)


def test_p_values_of_clouds_of_one_law_are_uniform_and_another_law_is_rejected() -> None:
    found = [
        kernel_agreement(features_of(gaussian(150, 400 + k)), features_of(gaussian(100, 500 + k)), 99, seed=k)
        for k in range(80)
    ]
    p = np.array([a.p_value for a in found])
    # Uniform: mean 1/2 with the error 1/sqrt(12 x 80) = .032; at most .05 four times out of 80, and 13 or more
    # once in 10,000 such tests.
    assert abs(p.mean() - 0.5) < 4 * 0.033
    assert np.count_nonzero(p <= 0.05) < 13
    # The observed distance is one more draw of its null.
    assert np.mean([a.distance for a in found]) == pytest.approx(np.mean([a.null_mean for a in found]), rel=0.1)
    other = kernel_agreement(features_of(gaussian(500, 600)), features_of(gaussian(500, 601, stretch=2)), 199)
    assert other.p_value == 1 / 200 and other.distance > 1.5 * other.null_95


def test_the_distance_is_that_of_the_whole_kernels() -> None:
    first, second = features_of(gaussian(300, 602)), features_of(gaussian(400, 603, stretch=1.3))
    kernels = [part @ part.T / part.shape[1] for part in (first, second)]
    pooled = (300 * kernels[0] + 400 * kernels[1]) / 700
    direct = np.linalg.norm(kernels[0] - kernels[1]) / np.linalg.norm(pooled)
    assert kernel_agreement(first, second, 9).distance == pytest.approx(direct, rel=1e-3)
    same = kernel_agreement(first, first, 99)
    assert same.distance == pytest.approx(0, abs=1e-6) and same.p_value == 1


def test_a_degenerate_pair_is_turned_to_the_backgrounds_and_the_pairs_share_stays() -> None:
    background, foreground = (spectrum(gaussian(2000, 700 + k), RELU_TANH, POINTS) for k in range(2))
    turn = turn_towards(background, foreground, POINTS.weights)
    np.testing.assert_allclose(turn @ turn.T, np.eye(len(turn)), atol=1e-12)
    # The Gaussian law is isotropic: x1 and x2 alike, whose two functions the clouds turn as they like.
    before, after = (
        np.abs(np.sum(background.functions * POINTS.weights * functions, axis=1))
        for functions in (foreground.functions, turn @ foreground.functions)
    )
    assert after[1:3].min() > 0.99 and before[1:3].min() < 0.95
    np.testing.assert_allclose(turn[1:3, 3:], 0)
    assert abs(turn[0, 0]) == pytest.approx(1)


def study(foreground: np.ndarray | None = None, points: FieldPoints = POINTS, **options: int) -> DataKernels:
    n = points.inputs.shape[1]
    initial, background = (host_generator(3, Stream.TEST_POINTS, k).standard_normal((600, n + 1)) for k in (800, 801))
    return last_of(
        study_kernels(initial, 1.5 * background, foreground, points, RELU_TANH, n_permutations=99, **options)
    )


def test_a_study_tells_its_progress_and_knows_what_is_not_there_yet() -> None:
    answers = list(
        study_kernels(gaussian(50, 1), gaussian(50, 2), gaussian(40, 3), POINTS, RELU_TANH, n_permutations=9)
    )
    fractions, last = answers[:-1], answers[-1]
    assert fractions == sorted(fractions) and all(0 < f < 1 for f in fractions)
    assert last.n_neurons == {"initial": 50, "background": 50, "foreground": 40}
    alone = study()
    assert alone.theory is None
    law = gaussian(400, 9)
    (*_, known) = study_kernels(gaussian(50, 1), gaussian(50, 2), None, POINTS, RELU_TANH, n_permutations=9, law=law)
    assert isinstance(known, DataKernels) and known.theory is not None and "theory" not in known.spectra
    np.testing.assert_allclose(known.theory.eigenvalues, spectrum(law, RELU_TANH, POINTS).eigenvalues, atol=1e-12)
    assert alone.foreground is None and alone.agreement is None and alone.foreground_maps is None
    assert set(alone.spectra) == {"initial", "background"} and alone.to_dict()["p_value"] is None


def test_the_change_is_the_certificates() -> None:
    found = study()
    initial, background = (host_generator(3, Stream.TEST_POINTS, k).standard_normal((600, 3)) for k in (800, 801))
    inputs, weights = torch.as_tensor(POINTS.inputs), torch.as_tensor(POINTS.weights)
    change = kernel_change(torch.as_tensor(initial), torch.as_tensor(1.5 * background), inputs, weights, RELU_TANH)
    assert found.change == pytest.approx(change, rel=1e-9)


def test_maps_are_the_extended_functions_and_the_foregrounds_look_like_the_backgrounds() -> None:
    found = study(1.5 * gaussian(600, 802), n_pixels=20)
    assert found.background_maps.shape == found.foreground_maps.shape == (N_MAPS, 20, 20)
    background = 1.5 * host_generator(3, Stream.TEST_POINTS, 801).standard_normal((600, 3))
    x = np.array([[(17 + 0.5) / 20 * 6 - 3, (4 + 0.5) / 20 * 6 - 3]])
    value = eigenfunctions_at(found.background, background, POINTS.inputs, POINTS.weights, RELU_TANH, x, N_MAPS)
    np.testing.assert_allclose(found.background_maps[:, 4, 17], value[:, 0], rtol=1e-9)
    for k in range(3):
        assert np.corrcoef(found.background_maps[k].ravel(), found.foreground_maps[k].ravel())[0, 1] > 0.9


def test_many_points_and_neurons_are_thinned_and_other_inputs_have_no_maps() -> None:
    rule = sobol_rule(2048, 4, seed=1)
    points = FieldPoints(rule.inputs, rule.weights, rule.inputs[:, 0], rule.rule)
    crowd = host_generator(3, Stream.TEST_POINTS, 803).standard_normal((MAX_NEURONS + 100, 5))
    found = study(crowd, points)
    assert found.background_maps is None and found.foreground_maps is None
    assert found.n_points == MAX_POINTS and found.n_neurons["foreground"] == MAX_NEURONS
    assert found.background.eigenvalues[0] < 1
    np.testing.assert_allclose(
        (found.foreground.functions**2).mean(axis=1), 1, rtol=1e-9
    )  # the thinned weights are equal, and sum to one again


def test_thinned_corners_of_a_cube_keep_their_targets_and_thinned_rules_their_spectrum() -> None:
    corners = np.array([[1.0 if c >> k & 1 else -1.0 for k in range(11)] for c in range(2048)])
    kept = corners[thinned(2048, MAX_POINTS, 11)]
    assert len(kept) == MAX_POINTS
    # Independent signs: every mean of an input, or of a product of some, has the error 1/sqrt(512) = .044.
    for columns in ([0], [1], [0, 1], [0, 1, 2], [0, 9, 10]):
        assert abs(kept[:, columns].prod(axis=1).mean()) < 4 * 0.044
    fine = polar_rule(16, 64)
    points = FieldPoints(fine.inputs, fine.weights, fine.inputs[:, 0] * fine.inputs[:, 1], fine.rule)
    theta = gaussian(1000, 804)
    whole = spectrum(theta, RELU_TANH, points)
    part = last_of(study_kernels(theta, theta, None, points, RELU_TANH, n_pixels=0)).background
    assert part.functions.shape[1] == MAX_POINTS
    np.testing.assert_allclose(part.eigenvalues[:8], whole.eigenvalues[:8], rtol=0.01)
    assert len(thinned(256, MAX_POINTS, 2)) == 256 and np.all(np.diff(thinned(1300, MAX_POINTS, 2)) > 0)


def test_the_power_of_several_outputs_adds_up() -> None:
    # On the ring of squares' kernel 2 + cos 2t: outputs cos 2t and 1 have powers 1/2 and 1.
    both = np.stack([np.cos(2 * ANGLES), np.ones(N_RING)], axis=1)
    found = spectrum(directions(4096, 8**0.25), SQUARE, ring(both))
    np.testing.assert_allclose(found.captured[:3], [2 / 3, 2 / 3 + found.target_shares[1], 1], atol=1e-9)
    assert found.alignment == pytest.approx((0.5 * 0.5 + 2) / 1.5 / 4.5**0.5)
