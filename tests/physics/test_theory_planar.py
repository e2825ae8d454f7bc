"""The planar infinite-width solution: reference numbers, uniqueness, robustness, what it may not see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planar_targets import TARGETS

from mft_engine.laws.harmonics import SuperlinearActivationError, angular_table
from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import get_activation, phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.planar import solve_planar
from mft_engine.theory.projection import NonFiniteTargetError

CASES = json.loads((Path(__file__).parent / "planar_reference.json").read_text())["cases"]


def case_name(case: dict) -> str:
    return f"{case['target']}-{case['activation']}-T{case['temperature']}-{case['lambda_w']}-{case['lambda_a']}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_every_reference_case_is_met_within_1e_4_and_the_gap_is_below_1e_6(case):
    theory = solve_planar(
        TARGETS[case["target"]], case["activation"], case["temperature"], case["lambda_w"], case["lambda_a"]
    )
    for name in ("loss", "target_power", "alignment", "free_energy", "mean_norm", "readout_free_kl"):
        assert getattr(theory, name) == pytest.approx(case[name], abs=1e-4), name
    for name in ("mean_square_norm", "mean_square_readout"):
        assert getattr(theory, name) == pytest.approx(case[name], rel=1e-4), name
    for name, value in theory.order_parameters.items():
        assert value == pytest.approx(case[name], abs=1e-4), name
    assert theory.gap < 1e-6


@pytest.mark.parametrize("name", ["relu_tanh", "clip01", "tanh", "erf", "relu", "sin", "hardtanh"])
def test_angular_harmonics_agree_with_a_fine_angular_sum(name):
    z = np.array([0.03, 0.7, 0.999, 1.02, 3.3, 25.0])
    harmonics = np.array([0, 1, 2, 3, 7, 20])
    n_angles = 400_000
    u = 2 * np.pi * (np.arange(n_angles) + 0.5) / n_angles
    values = phi_numpy(name, z[:, None] * np.cos(u))
    expected = values @ np.cos(np.outer(u, harmonics)) / n_angles
    # midpoint sums of a function with kinks are right to (2 pi / n)^2 times the jump of the slope, at most z
    np.testing.assert_allclose(angular_table(name)(z, harmonics), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["product", "kite", "no_symmetry", "wedges", "disc", "petals6"])
@pytest.mark.parametrize("scale", [1e-3, 3e-2])
def test_finer_grids_change_nothing(name, scale):
    coarse = solve_planar(TARGETS[name], "relu_tanh", 0.004, 5 * scale, scale)
    fine = solve_planar(TARGETS[name], "relu_tanh", 0.004, 5 * scale, scale, resolution=2)
    assert coarse.loss == pytest.approx(fine.loss, abs=1e-5)
    assert coarse.free_energy == pytest.approx(fine.free_energy, abs=1e-5)
    for key, value in coarse.order_parameters.items():
        assert value == pytest.approx(fine.order_parameters[key], abs=1e-4)


def test_narrow_lumps_at_low_temperature_are_resolved():
    """At T = lambda = 1e-3 the density has lumps far narrower than the prior; fixed panels miss 0.1 nats of KL."""
    coarse = solve_planar(TARGETS["kite"], "relu_tanh", 1e-3, 1e-3, 1e-3)
    fine = solve_planar(TARGETS["kite"], "relu_tanh", 1e-3, 1e-3, 1e-3, resolution=2)
    assert coarse.loss == pytest.approx(fine.loss, abs=1e-6)
    assert coarse.kl == pytest.approx(fine.kl, abs=1e-4)


@pytest.mark.parametrize("input_weight", [20.0, 1.0])
@pytest.mark.parametrize("name", ["product", "wedges", "kite", "ring"])
def test_no_failure_over_temperature_and_scale(name, input_weight):
    for temperature in np.geomspace(1e-3, 1, 4):
        previous = None
        for scale in np.geomspace(1e-3, 1, 4):
            theory = solve_planar(TARGETS[name], "relu_tanh", temperature, scale * input_weight, scale)
            assert theory.gap < 1e-6
            assert 0 <= theory.loss <= theory.target_power * (1 + 1e-9)
            if previous is not None:
                # F(mu; lambda) rises with lambda for every law, so its minimum does
                assert theory.free_energy >= previous - 1e-9
            previous = theory.free_energy


@pytest.mark.slow
@pytest.mark.parametrize("input_weight", [20.0, 1.0])
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_failure_on_the_8_by_8_grid(name, input_weight):
    for temperature in np.geomspace(1e-3, 1, 8):
        for scale in np.geomspace(1e-3, 1, 8):
            theory = solve_planar(TARGETS[name], "relu_tanh", temperature, scale * input_weight, scale)
            assert theory.gap < 1e-6
            assert np.isfinite(theory.loss)


@pytest.mark.parametrize("name", ["product", "no_symmetry"])
def test_a_warm_start_along_a_drag_ends_at_the_cold_solution(name):
    warm = None
    for scale in np.geomspace(1e-3, 0.3, 9):
        warm = solve_planar(TARGETS[name], "relu_tanh", 0.02, 20 * scale, scale, warm=warm)
    cold = solve_planar(TARGETS[name], "relu_tanh", 0.02, 20 * scale, scale)
    assert warm.loss == pytest.approx(cold.loss, abs=1e-7)
    assert warm.free_energy == pytest.approx(cold.free_energy, abs=1e-7)
    assert warm.gap < 1e-12


@pytest.mark.parametrize("activation", ["tanh", "erf", "sin", "hardtanh"])
@pytest.mark.parametrize("name", ["product", "ring", "petals4", "wedges"])
def test_an_odd_activation_on_an_even_target_is_exactly_nothing(activation, name):
    assert get_activation(activation).parity == "odd"
    theory = solve_planar(TARGETS[name], activation, 0.01, 0.01, 0.01)
    assert theory.loss == theory.target_power
    assert theory.kl == 0.0
    assert np.all(theory.prediction(np.array([[0.3, -1.2], [2.0, 0.5]])) == 0.0)


def test_residual_and_field_are_what_monte_carlo_finds():
    theory = solve_planar(TARGETS["no_symmetry"], "relu_tanh", 0.02, 0.02, 0.001)
    x = host_generator(3, Stream.THEORY).standard_normal((200_000, 2))
    residual = theory.residual(x)
    square = residual**2
    # four standard errors of the sample mean
    assert abs(square.mean() - theory.loss) < 4 * square.std() / np.sqrt(len(x))
    for rho, angle in ((0.5, 0.3), (2.0, -2.0), (4.0, 1.3)):
        w = rho * np.array([np.cos(angle), np.sin(angle)])
        terms = residual * phi_numpy("relu_tanh", x @ w)
        value = theory.field(np.array([rho]), np.array([angle]))[0, 0]
        assert abs(terms.mean() - value) < 4 * terms.std() / np.sqrt(len(x))


def test_prediction_far_outside_continues_the_one_inside():
    theory = solve_planar(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)
    direction = np.array([np.cos(0.7), np.sin(0.7)])
    # on either side of the radius where the evaluation changes its method
    radii = np.array([7.2249, 7.2251])
    inside, outside = theory.prediction(radii[:, None] * direction)
    assert inside == pytest.approx(outside, abs=1e-3)
    assert abs(inside) > 0.1


def test_a_turned_target_has_the_same_numbers_and_turned_order_parameters():
    angle = 0.37
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight = solve_planar(TARGETS["kite"], "relu_tanh", 0.02, 0.02, 0.001)
    turned = solve_planar(lambda x: TARGETS["kite"](x @ turn), "relu_tanh", 0.02, 0.02, 0.001)
    assert turned.loss == pytest.approx(straight.loss, abs=1e-8)
    assert turned.free_energy == pytest.approx(straight.free_energy, abs=1e-8)
    # the mirror axis of x1^2 - x2 makes E sin(2 t) vanish
    assert turned.order_parameters["cos2"] == pytest.approx(
        np.cos(2 * angle) * straight.order_parameters["cos2"], abs=1e-7
    )


def test_the_equilibrium_background_fluctuates_far_less_than_an_iid_foreground():
    theory = solve_planar(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001)
    # docs/physics.md section 10 gives .197 and 12.3 for the points of an 8 x 32 rule; these are for N(0, I) itself
    assert theory.trace_response == pytest.approx(0.191, abs=0.003)
    assert theory.trace_covariance == pytest.approx(12.13, abs=0.02)


def test_a_stop_request_abandons_the_solve():
    with pytest.raises(SolveStopped):
        solve_planar(TARGETS["product"], "relu_tanh", 0.02, 0.02, 0.001, should_stop=lambda: True)


def test_what_has_no_solution_is_refused_with_a_reason():
    with pytest.raises(SuperlinearActivationError, match="faster than linearly"):
        solve_planar(TARGETS["product"], "quadratic", 0.02, 0.02, 0.001)
    with pytest.raises(ValueError, match="temperature"):
        solve_planar(TARGETS["product"], "relu_tanh", 0.0, 0.02, 0.001)
    with pytest.raises(NonFiniteTargetError):
        solve_planar(lambda x: np.log(x[:, 0]), "relu_tanh", 0.02, 0.02, 0.001)


def test_a_solve_is_fast_enough_for_a_slider():
    """Must hold: cold below 1 s, warm below 100 ms, at the median (about 20 and 2 ms on an idle core)."""
    cold, warm = [], []
    for case in CASES:
        settings = (case["temperature"], case["lambda_w"], case["lambda_a"])
        target = TARGETS[case["target"]]
        theory = solve_planar(target, case["activation"], *settings)
        cold.append(theory.seconds)
        near = (settings[0], 1.03 * settings[1], 1.03 * settings[2])
        warm.append(solve_planar(target, case["activation"], *near, warm=theory).seconds)
    assert np.median(cold) < 1.0
    assert np.median(warm) < 0.1
