"""The dictionary between a recipe and the paper's posterior, and where the closure shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mft_engine.cli import main
from mft_engine.cli.reporting import describe_run
from mft_engine.experiment.experiment import Experiment
from mft_engine.figures.phase import draw_phase_diagram
from mft_engine.network.activations import phi_numpy
from mft_engine.questions.closure import closure_summary, cubic_teacher_of, solve_closure, why_no_closure
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.studies.sweep import Axis, Sweep
from mft_engine.theory.cubic_closure import paper_teacher

PREVIEW = load_recipe("cubic-teacher-preview")


@pytest.mark.parametrize("kappa", [1.0, 0.75, 0.5])
def test_a_recipe_has_the_papers_posterior_weight_for_every_network(kappa) -> None:
    # The paper's side: noise .3 on n points, f = sum a' erf(w.x), variances .5/d and sigma_a^2/N.
    n, d, n_neurons, noise, weight_power, readout_variance = 375, 53, 88, 0.3, 0.5, 8 / 700 * math.sqrt(8)
    temperature = n_neurons ** (2 * kappa - 1) * noise / n
    lambda_w = temperature * d / weight_power
    lambda_a = temperature / (n_neurons ** (2 * kappa - 1) * readout_variance)
    generator = host_generator(0, Stream.THEORY)
    x = generator.standard_normal((n, d))
    y = x[:, 0]
    for _ in range(3):
        w = generator.standard_normal((n_neurons, d)) * math.sqrt(weight_power / d)
        a = generator.standard_normal(n_neurons) * math.sqrt(readout_variance / n_neurons)
        f = phi_numpy("erf", x @ w.T) @ a
        theirs = ((y - f) ** 2).sum() / (2 * noise) + 0.5 * (
            d / weight_power * (w**2).sum() + n_neurons / readout_variance * (a**2).sum()
        )
        ours = a * n_neurons**kappa
        same = n_neurons**-kappa * phi_numpy("erf", x @ w.T) @ ours
        energy = n_neurons ** (2 * kappa - 1) / 2 * np.mean((y - same) ** 2) + 0.5 * (
            lambda_w * (w**2).sum() + lambda_a * (ours**2).sum()
        )
        assert energy / temperature == pytest.approx(theirs, rel=1e-12)
    recipe = PREVIEW.replace(
        {
            "network.readout_exponent": kappa,
            "training.temperature": temperature,
            "regularisation.scale": lambda_a,
            "regularisation.input_weight": lambda_w / lambda_a,
        }
    )
    found = cubic_teacher_of(recipe)
    expected = paper_teacher(noise, n_points=n, n_inputs=d, n_neurons=n_neurons, readout_variance=readout_variance)
    assert found.u == pytest.approx(expected.u, rel=1e-9)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-9)
    assert found.weight_variance == pytest.approx(expected.weight_variance, rel=1e-9)
    assert found.readout_variance == pytest.approx(expected.readout_variance, rel=1e-9)
    assert found.transverse_power == pytest.approx(expected.transverse_power * (d - 1) / d, rel=1e-9)


def test_the_preview_recipe_is_the_paper_at_an_eighth_of_its_scale() -> None:
    # Recipe values have six digits, and its task the paper's epsilon in units of a normalised H3.
    found = cubic_teacher_of(PREVIEW)
    expected = paper_teacher(0.3, n_points=375, n_inputs=53, n_neurons=88, readout_variance=8 / 700 * math.sqrt(8))
    assert found.u == pytest.approx(expected.u, rel=1e-5)
    assert found.epsilon == pytest.approx(-0.3, abs=1e-7)
    assert solve_closure(PREVIEW).tail(0.6) == pytest.approx(0.0029, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task.name": "parity"}, "cubic-teacher"),
        ({"network.activation": "tanh"}, "erf"),
        ({"network.train_readout": False}, "readouts"),
        ({"training.temperature": 0.0, "training.dynamics": "sgd", "initial.law": "gaussian"}, "temperature"),
    ],
)
def test_recipes_without_a_closure_say_why(changes, reason) -> None:
    recipe = PREVIEW.replace(changes)
    assert reason in why_no_closure(recipe).lower() and closure_summary(recipe) is None
    with pytest.raises(RecipeError):
        solve_closure(recipe)


def test_the_lazy_background_is_compared_with_the_closure_of_its_own_exponent() -> None:
    lazy = closure_summary(PREVIEW.replace({"foreground.background": "lazy"}))
    assert lazy is not None and lazy == closure_summary(PREVIEW.replace({"network.readout_exponent": 0.5}))
    assert lazy["overlap"] < closure_summary(PREVIEW)["overlap"]
    assert closure_summary(PREVIEW.replace({"foreground.background": "untrained"})) is None
    json.dumps(lazy, allow_nan=False)


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_theory_answers_for_a_cubic_teacher_with_its_law_and_the_closure_beside_it(capsys) -> None:
    changes = {"task.n_inputs": 3, "training.temperature": 0.1, "training.n_points": 40, "engine.device": "cpu"}
    flags = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    code, out, _ = call(
        capsys, "theory", "cubic-teacher", *flags, "--set", "theory.n_particles=512", "--seconds", ".1", "--json"
    )
    document = json.loads(out)
    assert code == 0 and document["schema"] == "mft-lab/theory/2" and document["method"] == "particles"
    assert 0 < document["loss_error"] < document["loss"] < document["target_power"]
    assert document["closure"]["overlap"] == solve_closure(load_recipe("cubic-teacher").replace(changes)).overlap
    code, _, err = call(capsys, "theory", "sgd-clover")
    assert code == 2 and "temperature 0" in err


def test_the_command_lists_every_branch_in_the_papers_units(capsys) -> None:
    code, out, _ = call(capsys, "closure", "cubic", "--noise", "0.185,0.175", "--set", "beta=512", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [(row["noise"], row["branch"]) for row in rows] == [
        (0.185, "equilibrium"), (0.185, "unaligned"), (0.175, "equilibrium"), (0.175, "unaligned")
    ]  # fmt: skip
    assert rows[2]["learned_cubic"] == pytest.approx(0.0096, abs=6e-5)
    code, out, _ = call(capsys, "closure", "modular", "--noise", "0.2", "--set", "form=printed")
    assert code == 0 and "as printed" in out and "0.8474" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("quartic",), "modular"),
        (("cubic", "--set", "bata=2"), "beta"),
        (("cubic", "--set", "beta=0"), "from 1e-12"),
        (("cubic", "--noise", "-1"), "from 1e-12"),
        (("modular", "--set", "form=guess"), "printed"),
    ],
)
def test_what_the_command_cannot_use_is_named(capsys, arguments, word) -> None:
    code, out, err = call(capsys, "closure", *arguments)
    assert code == 2 and out == "" and word in err


def test_the_phase_diagram_of_a_cubic_teacher_has_its_closure_as_a_line() -> None:
    axis = Axis("training.temperature", (0.01, 0.1))
    rows = tuple(
        {
            "seed": 0, axis.path: value, "background.loss": 0.5, "failure": None, "theory": None,
            "feature_learning.order_parameters.overlap": 0.3, "closure.overlap": 10 * value,
        }
        for value in axis.values
    )  # fmt: skip
    upper = draw_phase_diagram(Sweep((axis,), rows, 2, Path("."))).axes[0]
    (line,) = [line for line in upper.lines if line.get_label() == "closure"]
    assert line.get_ydata() == pytest.approx([0.1, 1.0])


def test_a_run_of_the_preview_carries_its_closure() -> None:
    changes = {"training.time": 0.4, "foreground.n_neurons": 64, "comparison.n_permutations": 99}
    changes |= {"theory.n_particles": 512}
    *_, finished = Experiment(PREVIEW.replace(changes))
    summary = finished.summary
    assert summary["theory"]["method"] == "particles" and summary["closure"] == closure_summary(PREVIEW)
    assert summary["background"]["test_loss"] is not None
    assert f"closure {summary['closure']['overlap']:.3f}" in describe_run(summary)
