"""Modular addition: mean field generalises above a part of the table, the lazy network learns by heart."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.modular import run_seeds, summary_of
from mft_engine.experiment.experiment import Experiment
from mft_engine.laws.particles import follow, prior_particles
from mft_engine.questions.theory import improve_theory, solve_theory
from mft_engine.recipe import load_recipe
from mft_engine.slices import finished
from mft_engine.theory import particle_solver, well_solver
from mft_engine.theory.particle_theory import ParticleTheory


def small(**changes):
    """A sixth of the recipe's time, at which the accuracies are there already."""
    return load_recipe("modular-addition").replace(
        {"training.time": 4.0, "comparison.n_permutations": 99, "engine.n_threads": 1, **changes}
    )


def test_mean_field_answers_pairs_that_it_was_never_shown_and_its_phases_add() -> None:
    found = summary_of(small())
    # Measured over five seeds at t = 12: .93 to 1.00, agreement .90 +- .01 in each; at t = 4 some per cent less.
    # 36 pairs are held back: .75 leaves five of their binomial errors below .93, and chance is 1/11.
    assert found["background"]["train_accuracy"] > 0.99 and found["background"]["test_accuracy"] > 0.75
    waves = found["feature_learning"]["fourier"]
    agreement, error = (waves["background"][key] for key in ("phase_agreement", "phase_agreement_error"))
    assert agreement > 0.8 and abs(waves["initial"]["phase_agreement"]) < 4 * waves["initial"]["phase_agreement_error"]
    assert abs(agreement - waves["foreground"]["phase_agreement"]) < 0.1 + 4 * error
    # Level of the verdict: p > 0.01.
    assert found["comparison"]["p_value_weights"] > 0.01 and waves["frequency_test"]["p_value"] > 0.01


def test_the_lazy_network_learns_the_table_by_heart() -> None:
    found = summary_of(small(**{"network.readout_exponent": 0.5}))
    # Measured .96 and .04 over three seeds; chance is 1/11, and 36 pairs have an error of .05 there.
    assert found["background"]["train_accuracy"] > 0.9 and found["background"]["test_accuracy"] < 0.2


def test_fresh_neurons_in_the_lazy_background_are_told_from_it() -> None:
    found = summary_of(small(**{"foreground.background": "lazy"}))
    # Measured ratio 60 on w alone, 76 on (w, a) at t = 12; 4 is the limit of "inconsistent".
    assert found["comparison"]["verdict"] == "inconsistent" and found["comparison"]["ratio_weights"] > 10


def test_two_particles_an_unknown_do_not_fit_their_own_noise() -> None:
    recipe = load_recipe("modular-addition").replace(
        {"task.modulus": 7, "task.train_fraction": 0.6, "theory.n_particles": 400, "engine.n_threads": 1}
    )
    first = next(item for item in improve_theory(recipe) if not isinstance(item, float))
    # With whole Newton steps the first round's residual was .0022(2) of free energy from the optimum, with tenths of
    # them .0002(1). 8,000 particles give loss .02113(1) and free energy .17622(7).
    assert isinstance(first, ParticleTheory) and first.excess < 0.3 * recipe.training.temperature
    assert (
        abs(first.loss - 0.02113) < 4 * first.loss_error
        and abs(first.free_energy - 0.17622) < 4 * first.free_energy_error
    )


def test_particles_around_listed_wells_find_the_law_that_particles_from_the_prior_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(particle_solver, "MANY_UNKNOWNS", 0)
    for name, number in {"N_WALKERS": 400, "N_SCOUTS": 800, "N_ON_WAY": 2400, "N_DRAWN": 4800}.items():
        for module in (particle_solver, well_solver):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, number)
    recipe = load_recipe("modular-addition").replace(
        {"task.modulus": 7, "task.train_fraction": 0.6, "theory.n_particles": 400, "engine.n_threads": 1}
    )
    found = [item for item in improve_theory(recipe) if not isinstance(item, float)][-1]
    assert isinstance(found, ParticleTheory) and not found.shortfall
    # 8,000 particles from the prior give loss .02113(1) and free energy .17622(7).
    assert abs(found.loss - 0.02113) < 4 * found.loss_error and found.loss_error < 5e-4
    assert abs(found.free_energy - 0.17622) < 4 * found.free_energy_error and found.free_energy_error < 3e-3


@pytest.mark.slow
def test_the_law_of_the_larger_modulus_has_the_z_that_particles_from_the_prior_count() -> None:
    recipe = load_recipe("modular-addition-23").replace({"engine.n_threads": 1})
    found = solve_theory(recipe)
    assert isinstance(found, ParticleTheory)
    # From a walk of 14,576 particles instead of 4,000: loss .8439(4), free energy 1.9336(2).
    assert abs(found.loss - 0.8439) < 4 * np.hypot(found.loss_error, 4e-4)
    assert abs(found.free_energy - 1.9336) < 4 * np.hypot(found.free_energy_error, 2e-4)
    assert found.test_accuracy is not None and found.test_accuracy > 0.99
    problem, rho = found.problem, found.judgements[-1].rho
    plain, law = problem.law(0.0 * rho), problem.law(rho)
    shape = problem.inputs.shape[1], 8, 1000
    prior = prior_particles(*shape, seed=2**50, device=rho.device, dtype=problem.dtype)
    scouts = finished(follow(prior, (plain, law), 1, 0.97))
    counted = np.exp((scouts.log_z - scouts.log_z.max()).numpy())
    log_z = float(scouts.log_z.max()) + np.log(counted.mean())
    error = counted.std(ddof=1) / counted.mean() / np.sqrt(len(counted))
    # The listed wells hold all but a tenth: .1 is its logarithm.
    assert abs(found.log_z[0] - log_z) < 3 * error + 0.1


@pytest.mark.slow
def test_the_table_of_modular_addition_holds_over_five_seeds() -> None:
    recipe = load_recipe("modular-addition")
    shown = run_seeds(recipe)
    assert np.median(shown["test"]) > 0.95 and shown["train"].min() > 0.99
    # Independent tests at level 0.01: five of five pass with a chance of .95, four with .999.
    assert (shown["p of w"] > 0.01).sum() >= 4
    few = run_seeds(recipe.replace({"task.train_fraction": 0.45}))
    assert np.median(few["test"]) < 0.3 and few["train"].min() > 0.99
    lazy = run_seeds(recipe.replace({"network.readout_exponent": 0.5}))
    assert lazy["train"].min() > 0.9 and lazy["test"].max() < 0.15
    wrong = run_seeds(recipe.replace({"foreground.background": "lazy"}))
    assert wrong["ratio of w"].min() > 10


@pytest.mark.slow
def test_a_larger_modulus_is_learnt_too() -> None:
    found = []
    for seed in range(3):
        experiment = Experiment(load_recipe("modular-addition-23").replace({"seed": seed, "engine.n_threads": 1}))
        while not experiment.is_complete:
            experiment.advance(1000)
        found.append(experiment.outcome().summary["background"]["test_accuracy"])
    assert np.median(found) > 0.95
