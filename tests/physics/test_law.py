"""The law of a planar neuron: samples against the density, and the density against the theory."""

from __future__ import annotations

import numpy as np
import pytest
from planar_targets import TARGETS, polar_rule
from scipy.stats import chi2, kstest, norm

from mft_engine.laws.planar import PlanarLaw
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.planar import solve_planar


@pytest.fixture(scope="module")
def clover():
    return solve_planar(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)


def test_the_law_of_the_theory_has_the_theory_s_numbers(clover):
    law = clover.law
    # midpoint rule, 160 radii to R = 8.25: h^2 / 12 of a radial variance, relative to E|w|^2 = 0.7
    assert law.kl == pytest.approx(clover.kl, abs=1e-4)
    assert law.readout_free_kl == pytest.approx(clover.readout_free_kl, abs=1e-4)
    assert law.moments["mean_norm"] == pytest.approx(clover.mean_norm, abs=1e-4)
    assert law.moments["mean_square_norm"] == pytest.approx(clover.mean_square_norm, abs=2e-3)
    assert law.moments["mean_square_readout"] == pytest.approx(clover.mean_square_readout, rel=1e-4)
    for key, value in clover.order_parameters.items():
        assert law.moments[key] == pytest.approx(value, abs=1e-5)
    x = host_generator(0, Stream.THEORY).standard_normal((50, 2))
    np.testing.assert_allclose(law.prediction(x), clover.prediction(x), atol=2e-3)


def test_samples_pass_a_chi_square_test_against_the_density_on_a_cartesian_grid(clover):
    """Cartesian cells, because the sampler's own are polar: a mistake in the area element cannot cancel."""
    law, n = clover.law, 20_000
    edges = np.linspace(-3, 3, 13)
    fine = 40
    axis = (np.arange(12 * fine) + 0.5) * 6 / (12 * fine) - 3
    w1, w2 = np.meshgrid(axis, axis, indexing="ij")
    density = law.density(np.stack([w1.ravel(), w2.ravel()], axis=1)).reshape(12, fine, 12, fine)
    expected = density.sum(axis=(1, 3)) * (0.5 / fine) ** 2
    expected = np.append(expected.ravel(), 1 - expected.sum())
    kept = expected * n > 10
    p_values = []
    for seed in range(20):
        theta = law.sample(n, host_generator(seed, Stream.FOREGROUND_GIBBS))
        counts = np.histogram2d(theta[:, 0], theta[:, 1], bins=[edges, edges])[0].ravel()
        counts = np.append(counts, n - counts.sum())
        observed = np.append(counts[kept], counts[~kept].sum())
        wanted = n * np.append(expected[kept], expected[~kept].sum())
        p_values.append(chi2.sf(((observed - wanted) ** 2 / wanted).sum(), len(wanted) - 1))
    # 20 uniform p-values: fewer than two below 0.01 with probability 0.98
    assert np.sum(np.array(p_values) > 0.01) >= 18
    assert kstest(p_values, "uniform").pvalue > 1e-3


def test_the_readout_given_the_weight_is_normal_with_the_stated_mean(clover):
    law = clover.law
    theta = law.sample(20_000, host_generator(1, Stream.FOREGROUND_GIBBS))
    standard = (theta[:, 2] - law.mean_readout(theta[:, :2])) / np.sqrt(0.02 / 0.001)
    assert kstest(standard, norm.cdf).pvalue > 1e-3


def test_marginals_are_those_of_the_samples(clover):
    law, n = clover.law, 50_000
    theta = law.sample(n, host_generator(2, Stream.FOREGROUND_GIBBS))
    for column, marginal, edges in (
        (0, lambda v: law.marginal_weight(v, 0), np.linspace(-4, 4, 41)),
        (1, lambda v: law.marginal_weight(v, 1), np.linspace(-4, 4, 41)),
        (2, law.marginal_readout, np.linspace(-40, 40, 41)),
    ):
        fine = (np.arange(400) + 0.5) / 400 * (edges[-1] - edges[0]) + edges[0]
        expected = n * marginal(fine).reshape(40, 10).mean(axis=1) * (edges[1] - edges[0])
        counts = np.histogram(theta[:, column], bins=edges)[0]
        kept = expected > 20
        statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
        assert chi2.sf(statistic, kept.sum()) > 1e-3


def test_a_law_from_points_is_the_law_of_the_field_they_sample(clover):
    points, weights = polar_rule()
    law = PlanarLaw.from_field(points, weights * clover.residual(points), "relu_tanh", 0.02, 0.02, 0.001)
    # the rule resolves the kink to about 1e-4 in g^2 / (lambda_a T)
    assert law.kl == pytest.approx(clover.kl, abs=5e-3)
    assert law.moments["cos4"] == pytest.approx(clover.order_parameters["cos4"], abs=1e-3)
    w = np.array([[0.4, 0.5], [1.0, -0.7], [-2.0, 1.5]])
    np.testing.assert_allclose(law.density(w), clover.law.density(w), rtol=1e-2)


def test_no_field_gives_the_prior():
    points, weights = polar_rule(4, 8)
    law = PlanarLaw.from_field(points, 0 * weights, "relu_tanh", 0.02, 0.02, 0.001)
    assert law.kl == pytest.approx(0.0, abs=1e-5)
    # w ~ N(0, 1): E|w| = sqrt(pi / 2)
    assert law.moments["mean_norm"] == pytest.approx(np.sqrt(np.pi / 2), abs=1e-3)
    np.testing.assert_allclose(
        law.density(np.array([[0.0, 0.0], [1.0, 1.0]])), np.array([1, np.exp(-1)]) / (2 * np.pi), rtol=1e-4
    )


def test_the_density_image_sums_to_one_and_its_rows_run_along_w2(clover):
    kite = solve_planar(TARGETS["kite"], "relu_tanh", 0.02, 0.02, 0.001)
    extent = kite.law.radius
    image = kite.law.density_image(extent, 300)
    assert image.sum() * (2 * extent / 300) ** 2 == pytest.approx(1.0, abs=1e-3)
    # x1^2 - x2 is even in x1 and not in x2
    np.testing.assert_allclose(image, image[:, ::-1], rtol=1e-6, atol=1e-12)
    assert np.abs(image - image[::-1]).max() > 0.1 * image.max()
