"""The closure of modular addition: the printed numbers, the corrected ones, and the identity that tells them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mft_engine.rng import Stream, host_generator
from mft_engine.theory.modular_closure import (
    ModularAddition,
    aligned_well,
    birth_of_the_well,
    follow_modular_closure,
    fourier_pull,
    solve_modular_closure,
)

PRINTED = ModularAddition(0.2, form="printed")
CORRECTED = ModularAddition(0.2)


def unlearned(setting: ModularAddition, noise: float) -> float:
    (closure,) = solve_modular_closure(replace(setting, noise=noise))
    return closure.unlearned


def test_all_classes_together_see_four_p_cubed_times_the_product_of_powers() -> None:
    modulus = 7
    w, v = host_generator(0, Stream.THEORY).standard_normal((2, modulus))
    h = (w[:, None] + v[None, :]) ** 2
    n, m = np.meshgrid(np.arange(modulus), np.arange(modulus), indexing="ij")
    direct = sum(float(((((n + m) % modulus == p) - 1 / modulus) * h).sum()) ** 2 for p in range(modulus))
    assert fourier_pull(w, v) == pytest.approx(direct, rel=1e-12)
    # A neuron with one frequency, |w_k| = |v_k| = x (and its conjugate): 4 P^3 2 x^4.
    wave = 2 * 0.3 * np.cos(2 * np.pi * 2 * np.arange(modulus) / modulus)
    assert fourier_pull(wave, wave) == pytest.approx(4 * modulus**3 * 2 * 0.3**4, rel=1e-12)


@pytest.mark.parametrize("setting", [PRINTED, CORRECTED])
def test_the_onset_is_where_the_aligned_well_touches_zero(setting) -> None:
    assert setting.onset == pytest.approx(0.2360, abs=5e-5)
    amplitude, action = aligned_well(replace(setting, noise=setting.onset), 1.0)
    # The action is a difference of terms of size P w_+^2 = 7e4.
    assert abs(action) < 1e-9 * 401 * amplitude
    assert amplitude**2 == pytest.approx(3 / setting.gamma, rel=1e-9)
    assert unlearned(setting, 0.24) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("noise", "value"), [(0.227, 0.962), (0.20, 0.847), (0.18, 0.763), (0.176, 0.746)])
def test_the_printed_mixed_phase_and_its_end(noise, value) -> None:
    assert unlearned(PRINTED, noise) == pytest.approx(value, abs=5.1e-4)


def test_the_printed_mixed_phase_is_linear_and_ends_at_its_bound() -> None:
    assert PRINTED.mixed_end == pytest.approx(0.176, abs=5e-5)
    for noise in np.linspace(0.18, 0.23, 6):
        # S is of order 1 there and not 0: dS/d(u a^2) = -P w_+^4 = -1.2e7, against u a^2 = .0115, 1e-4 at most.
        assert unlearned(PRINTED, noise) == pytest.approx(noise / PRINTED.onset, rel=1e-4)
    phases = [solution.phase for (solution,) in follow_modular_closure(PRINTED, [0.25, 0.2, 0.17])]
    assert phases == ["unaligned", "mixed", "aligned"]
    assert unlearned(PRINTED, 0.1) > 1.05 * 0.1 / PRINTED.onset, "beyond its end the printed curve leaves the line"


def test_with_the_missing_factor_the_line_goes_on() -> None:
    assert CORRECTED.gain == pytest.approx(4 * 401**2 * PRINTED.gain, rel=1e-12)
    assert unlearned(CORRECTED, 0.10) == pytest.approx(0.4237, abs=5.1e-5)
    assert CORRECTED.mixed_end == 0.0
    for noise in (0.05, 0.1, 0.176, 0.2, 0.227):
        (closure,) = solve_modular_closure(replace(CORRECTED, noise=noise))
        assert closure.phase == "mixed"
        assert closure.unlearned == pytest.approx(noise / CORRECTED.onset, rel=1e-4)
        # So few neurons are needed that S stays some 15 nats above 0.
        assert closure.aligned_mass < 1e-5 and 13 < closure.action < 18


@pytest.mark.parametrize("setting", [PRINTED, CORRECTED])
@pytest.mark.parametrize("noise", [0.227, 0.2, 0.15])
def test_solutions_satisfy_the_closure_as_written(setting, noise) -> None:
    for branch in ("equilibrium", "aligned"):
        for closure in solve_modular_closure(replace(setting, noise=noise), branch):
            s = closure.setting
            pull = 2 * s.readout_variance * s.modulus**2 / (s.n_neurons * noise**2) * closure.unlearned**2
            x = (pull + np.sqrt(pull**2 - s.gamma)) / s.gamma
            action = s.modulus * (x - pull * x**2 + s.gamma * x**3 / 3)
            full = branch == "aligned"
            mass = 1.0 if full else 4 * np.exp(-action) / (1 + 4 * np.exp(-action)) if action > -600 else 1.0
            factor = 4 * s.modulus**2 if s.form == "corrected" else 1.0
            learning = factor * s.readout_variance * x**2 * mass
            # e^-S turns an error of 1e-15 in |a| into P u a^2 x^2 1e-15 = 1e-10 in S, and as much in L.
            assert closure.unlearned == pytest.approx(noise / (learning + noise), rel=1e-8)


def test_branches_that_hold_no_or_every_neuron_in_the_well() -> None:
    (rest,) = solve_modular_closure(PRINTED, "unaligned")
    (full,) = solve_modular_closure(PRINTED, "aligned")
    (closure,) = solve_modular_closure(PRINTED)
    assert full.unlearned < closure.unlearned < rest.unlearned == 1.0
    # Aligned neurons alone would be better off at 0 in the mixed phase, and where nothing is learnt they are not there.
    assert full.action > 0 and rest.action < 0
    assert solve_modular_closure(replace(PRINTED, noise=0.3), "aligned") == []
    assert aligned_well(PRINTED, 0.999 * birth_of_the_well(PRINTED)) is None


def test_an_unknown_form_or_a_vanishing_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="printed"):
        ModularAddition(0.2, form="guessed")
    with pytest.raises(ValueError, match="noise"):
        ModularAddition(0.0)
    assert "printed" in PRINTED.label and "corrected" in CORRECTED.label
