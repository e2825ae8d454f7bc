"""Networks of N neurons beside the exact law and its finite-width correction, for tasks of any number of inputs.

In the plane `questions.widths.study_widths` samples exactly; here networks start from the exact law and are trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mft_engine.estimates import Estimate, averaged
from mft_engine.experiment.experiment import Experiment
from mft_engine.points.accuracy import accuracy
from mft_engine.points.measure import judging_measure, targets_on
from mft_engine.questions.theory import improve_theory, why_no_theory
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.tasks import Task, build_task
from mft_engine.theory.finite_particles import FiniteParticles, solve_finite_particles
from mft_engine.theory.particle_theory import ParticleTheory

# Steps of training between two looks, and the part of the recipe's time that a network from the law is trained.
SLICE = 200
SHARE_OF_TIME = 0.5
SHARE_OF_THEORY = 0.3


@dataclass(frozen=True)
class WideRow:
    """One width.

    Attributes:
        n_neurons: N.
        simulated: loss over the averaging window and mean-square length at the end, of a network that started from the
            exact law, with standard errors; test accuracy of its mean function, without one.
        corrected: the law of one neuron of N, solved without simulation; with `_error` of the loss and length.
        infinite: the infinite-width law, likewise.
    """

    n_neurons: int
    simulated: dict[str, Estimate]
    corrected: dict[str, float]
    infinite: dict[str, float]


def is_for_plane(recipe: Recipe) -> bool:
    """Whether the exact sampler of the plane studies the widths of a recipe."""
    task = build_task(recipe.task, recipe.seed)
    return task.n_inputs == 2 and task.n_out == 1


def study_any_widths(recipe: Recipe, widths: Sequence[int]) -> Iterator[float | WideRow]:
    """Predict and simulate each width.

    Args:
        recipe: one with an exact law, at readout exponent 1; its own `network.n_neurons` is not used.
        widths: N.

    Yields:
        share behind; a row for each width.

    Raises:
        RecipeError: a recipe without an exact law, or one that it is not found for.
        ArithmeticError: particles that do not suffice; the message says what would.
    """
    if recipe.network.n_layers > 1:
        raise RecipeError("The law of finite width is known for one hidden layer; mft-lab theory solves two.")
    if recipe.network.readout_exponent != 1.0:
        raise RecipeError("Widths are compared at network.readout_exponent = 1 (mean field).")
    reason = why_no_theory(recipe)
    if reason:
        raise RecipeError(reason)
    runs = [
        recipe.replace(
            {
                "network.n_neurons": n,
                "initial.law": "theory",
                "training.time": SHARE_OF_TIME * recipe.training.time,
                "training.n_steps": int(SHARE_OF_TIME * recipe.training.n_steps),
            }
        )
        for n in widths
    ]
    task = build_task(recipe.task, recipe.seed)
    theory: ParticleTheory | None = None
    for item in improve_theory(recipe, task=task):
        if isinstance(item, float):
            yield SHARE_OF_THEORY * item
        elif isinstance(item, ParticleTheory):
            theory = item
    assert theory is not None
    if theory.shortfall:
        raise ArithmeticError(theory.shortfall)
    costs = np.cumsum([0.0, *widths]) / sum(widths)
    for k, run in enumerate(runs):
        start, length = costs[k], costs[k + 1] - costs[k]

        def told(done: float, start: float = start, length: float = length) -> float:
            return float(SHARE_OF_THEORY + (1 - SHARE_OF_THEORY) * (start + length * done))

        try:
            *_, finite = solve_finite_particles(theory, widths[k])
        except ValueError as error:
            raise RecipeError(str(error)) from None
        assert isinstance(finite, FiniteParticles)
        experiment = Experiment(run, solution=theory)
        while not experiment.is_complete:
            experiment.advance(SLICE)
            yield told(min(1.0, experiment.state.time / run.training.time))
        yield _row(experiment, theory, finite, recipe, task)


def _row(
    experiment: Experiment, theory: ParticleTheory, finite: FiniteParticles, recipe: Recipe, task: Task
) -> WideRow:
    losses = np.array([row["loss"] for row in experiment.history.rows if row["is_averaged"]])
    square = (experiment.background.tables()[0][:, : task.n_inputs].double() ** 2).sum(1)
    simulated = {
        "loss": averaged(losses),
        "mean_square_norm": Estimate(float(square.mean()), float(square.std()) / len(square) ** 0.5),
    }
    names = ("loss", "loss_error", "mean_square_norm", "mean_square_norm_error")
    corrected, infinite = ({name: float(getattr(law, name)) for name in names} for law in (finite, theory))
    found: dict[str, Any] = experiment.outcome().summary["background"]
    if theory.test_accuracy is not None and found.get("test_accuracy") is not None:
        judges = judging_measure(recipe.training, task, recipe.seed)
        targets = targets_on(judges, task).reshape(len(judges.weights), -1)
        simulated["test_accuracy"] = Estimate(float(found["test_accuracy"]), float("nan"))
        corrected["test_accuracy"] = accuracy(finite.prediction(judges.inputs), targets)
        infinite["test_accuracy"] = theory.test_accuracy
    return WideRow(finite.n_neurons, simulated, corrected, infinite)
