"""Heuristic sample scales: their exponents follow from their costs, and they say that they are heuristic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from mft_engine.theory.scaling import (
    cheapest,
    collapse_quality,
    specialised_neurons,
    three_layer_patterns,
    three_layer_samples,
    two_layer_patterns,
    two_layer_samples,
)


def slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def test_two_layers_need_d_samples_to_specialise_and_d_cubed_as_a_kernel() -> None:
    d = np.geomspace(10, 1000, 7)
    kernel, gaussian, special = two_layer_samples(d, neurons_per_input=4)
    assert slope(d, kernel.y) == pytest.approx(3, abs=1e-9)
    assert slope(d, gaussian.y) == pytest.approx(1.5, abs=1e-9)
    assert slope(d, special.y) == pytest.approx(1, abs=1e-9)
    assert cheapest(two_layer_patterns(100, 400)).name == "specialisation"


def test_the_number_of_specialised_neurons_is_the_root_of_width_over_dimension() -> None:
    widths = np.array([64.0, 256.0, 1024.0])
    np.testing.assert_allclose(specialised_neurons(16, widths).y, [2, 4, 8])
    assert two_layer_patterns(16, 1024)[2].n_special == (8.0,)


def test_three_layers_have_the_three_energies() -> None:
    d, n1, n2 = 50.0, 4000.0, 3000.0
    for factor in (1.0, 8.0):
        kernel, upper, both = three_layer_patterns(d, n1, factor * n2)
        assert kernel.samples == pytest.approx(d**3)
        assert upper.samples == pytest.approx(2 * (factor * n2 * d) ** 0.5)
        assert both.samples == pytest.approx(3 * (factor * n1 * n2 * d) ** (1 / 3))
    x = np.geomspace(10, 1000, 5)
    assert [round(slope(x, c.y), 6) for c in three_layer_samples(x, 80, 80)] == [3.0, 1.0, 1.0]


@pytest.mark.parametrize(("d", "n1", "n2"), [(50.0, 4000.0, 3000.0), (10.0, 500.0, 900.0)])
def test_every_energy_is_the_least_of_its_costs(d, n1, n2) -> None:
    gaussian, special = two_layer_patterns(d, n1)[1:]
    upper, both = three_layer_patterns(d, n1, n2)[1:]
    costs = [
        (special, 1, lambda m: m[0] * d + n1 / m[0]),
        (upper, 1, lambda m: m[0] * d + n2 / m[0]),
        (both, 2, lambda m: m[0] * d + n1 * m[1] / m[0] + n2 / m[1]),
    ]
    if np.isfinite(gaussian.samples):
        costs.append((gaussian, 1, lambda s: d**3 / s[0] ** 3 + n1 * s[0]))
    for pattern, n_open, cost in costs:
        least = minimize(lambda z, cost=cost: np.log(cost(np.exp(z))), np.ones(n_open), tol=1e-10)
        assert pattern.samples == pytest.approx(np.exp(least.fun), rel=1e-6)


def test_a_pattern_that_does_not_fit_the_network_has_no_number() -> None:
    assert np.isnan(two_layer_patterns(100, 50)[2].samples), "less than one neuron would specialise"
    assert np.isfinite(cheapest(two_layer_patterns(100, 50)).samples)


def test_every_curve_says_that_it_is_heuristic() -> None:
    curves = [*two_layer_samples([10, 20], 4), *three_layer_samples([10, 20], 80, 80), specialised_neurons(10, [100])]
    assert all(curve.is_heuristic and curve.label.endswith("(heuristic)") for curve in curves)
    with pytest.raises(ValueError, match="positive"):
        two_layer_samples([0.0, 1.0], 4)


def test_collapse_is_measured_against_the_right_scale() -> None:
    x = np.geomspace(1, 100, 12)

    def curve(scale: float) -> tuple[np.ndarray, np.ndarray]:
        return x, x**2 / (x**2 + scale**2)

    right = collapse_quality([(u / scale, v) for scale in (4.0, 8.0, 16.0) for u, v in [curve(scale)]])
    wrong = collapse_quality([(u / scale**2, v) for scale in (4.0, 8.0, 16.0) for u, v in [curve(scale)]])
    # Linear interpolation between points 1.5 apart in x: second derivative in log x at most .5, times .42^2/8.
    assert right < 0.02 < 0.1 < wrong
    assert np.isnan(collapse_quality([(np.array([1.0, 2.0]), np.zeros(2)), (np.array([5.0, 6.0]), np.zeros(2))]))
