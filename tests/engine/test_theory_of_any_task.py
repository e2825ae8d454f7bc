"""The infinite-width solution as commands, recipes and summaries give it, beyond the plane and at any exponent."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from mft_engine.experiment.experiment import Experiment
from mft_engine.laws.particles import LawLost, TiltedLaw, moved, prior_particles
from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import get_activation
from mft_engine.questions.theory import improve_theory, mean_field_problem, solve_theory, why_no_theory
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.theory.particle_theory import ParticleTheory
from tests.engine.test_cli import call

SMALL = load_recipe("modular-addition").replace({
    "task.modulus": 5, "theory.n_particles": 512, "engine.device": "cpu", "engine.n_threads": 1,
})  # fmt: skip
FLAGS = ("--set", "task.modulus=5", "--set", "theory.n_particles=512", "--set", "engine.device=cpu")


def test_the_theory_command_answers_for_many_readouts_with_errors_and_waves(capsys) -> None:
    code, out, err = call(capsys, "theory", "modular-addition", *FLAGS, "--json")
    document = json.loads(out)
    assert code == 0 and document["schema"] == "mft-lab/theory/2" and document["method"] == "particles"
    assert 0 < document["loss_error"] < document["loss"] < document["target_power"]
    assert document["train_accuracy"] == 1.0 and 0 <= document["test_accuracy"] <= 1
    # At the optimum the free energy is loss/2 + T KL and the dual is the same number.
    energy = 0.5 * document["loss"] + 0.003 * document["kl"]
    assert document["free_energy"] == document["dual"] == pytest.approx(energy)
    there, back = document["log_z"]
    # Two counts of one logarithm: eight populations of 64 agree to a few tenths.
    assert abs(there - back) < 1.0
    assert document["layers"][0]["mean_square_norm"] > 0 and document["fourier"]["phase_agreement"] > 0.5
    assert "by particles" in err


def test_a_precision_out_of_reach_is_refused_in_a_sentence_with_the_number_that_would_do(capsys) -> None:
    code, out, err = call(
        capsys, "theory", "modular-addition", *FLAGS, "--precision", "1e-7", "--seconds", "0.1", "--json"
    )
    assert code == 1 and out == "" and "theory.n_particles = " in err and "Traceback" not in err
    code, _, err = call(capsys, "theory", "modular-addition", *FLAGS, "--precision", "0")
    assert code == 2 and "--precision" in err


def test_the_answer_improves_while_one_waits_and_can_be_stopped() -> None:
    answers = (item for item in improve_theory(SMALL, precision=1e-6) if isinstance(item, ParticleTheory))
    first, second, third = itertools.islice(answers, 3)
    assert third.loss_error < first.loss_error and (first.n_rounds, second.n_rounds, third.n_rounds) == (1, 2, 3)
    calls = []

    def stop() -> bool:
        calls.append(0)
        return len(calls) > 3

    with pytest.raises(SolveStopped):
        solve_theory(SMALL, should_stop=stop)
    with pytest.raises(LawLost, match="was asked for"):
        solve_theory(SMALL, precision=1e-7, seconds=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.temperature": 0.0, "initial.law": "gaussian", "training.dynamics": "sgd"}, "temperature 0"),
        ({"network.train_readout": False}, "trained readouts"),
        ({"network.n_neurons": [16, 16, 16]}, "one or two hidden layers"),
        ({"network.activation": "quadratic"}, "faster than linearly"),
    ],
)
def test_a_recipe_without_a_law_is_told_why(changes: dict[str, object], words: str) -> None:
    recipe = Recipe().replace(changes)
    assert words in why_no_theory(recipe)
    with pytest.raises(RecipeError, match=words):
        solve_theory(recipe)


def test_an_exponent_is_the_mean_field_theory_of_a_hotter_and_stiffer_network() -> None:
    recipe = Recipe().replace({"network.readout_exponent": 0.75, "network.n_neurons": 16})
    assert mean_field_problem(recipe) == (0.02 * 4, pytest.approx(0.02 * 4), 0.001)
    mapped = solve_theory(recipe)
    direct = solve_theory(Recipe().replace({
        "training.temperature": 0.08, "regularisation.input_weight": 80.0,
    }))  # fmt: skip
    assert mapped.loss == pytest.approx(direct.loss, rel=1e-9)
    # The Gaussian-process end: at 1/2 and a large width w keeps its prior, and the loss is the posterior mean's.
    lazy = solve_theory(Recipe().replace({"network.readout_exponent": 0.5, "network.n_neurons": 4096}))
    assert lazy.loss == pytest.approx(0.4408, abs=5e-4) and abs(lazy.order_parameters["cos4"]) < 1e-3


def test_theory_options_leave_background_and_fingerprint_of_old_runs_alone() -> None:
    plain, asked = Recipe(), Recipe().replace({"theory.n_particles": 1000})
    assert plain.digest != asked.digest and plain.background_digest == asked.background_digest
    tree = plain.model_dump(mode="json")
    del tree["theory"]
    assert Recipe.model_validate(tree).digest == plain.digest


def test_another_number_of_particles_solves_anew() -> None:
    experiment = Experiment(SMALL.replace({"network.n_neurons": 16, "foreground.n_neurons": 16}))
    list(experiment.theory())
    first = experiment.solution
    experiment.retune(experiment.recipe.replace({"theory.n_particles": 1024}))
    list(experiment.theory())
    assert first is not None and experiment.solution is not None
    assert experiment.solution.loss != first.loss
    error = np.hypot(first.loss_error, experiment.solution.loss_error)
    assert abs(first.loss - experiment.solution.loss) < 5 * error


def test_moves_of_particles_have_the_same_bits_for_any_number_of_threads() -> None:
    """Members of the team took threads of their own for products, and added up in another order."""
    numbers = torch.Generator().manual_seed(0)
    inputs, drive = torch.randn(300, 22, generator=numbers), 0.05 * torch.randn(300, 11, generator=numbers)
    law = TiltedLaw(inputs, get_activation("relu_tanh"), drive)
    start = prior_particles(22, 4, 600, seed=0, device=torch.device("cpu"), dtype=torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append(moved(start, law, 1).u.numpy().tobytes())
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
