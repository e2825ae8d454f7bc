"""Claims about `mft_engine.questions.training_curve`: the limit that networks of any width scatter about."""

from __future__ import annotations

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.questions import training_curve as question
from mft_engine.questions.training_curve import TrainingCurve, training_curve
from mft_engine.recipe import Recipe, load_recipe

FREE = load_recipe("sgd-clover-free").replace({
    "engine.device": "cpu", "engine.n_threads": 1, "training.n_steps": 150, "network.n_neurons": 256,
})  # fmt: skip


def trained(recipe: Recipe) -> Experiment:
    experiment = Experiment(recipe)
    while not experiment.is_complete:
        experiment.advance(500)
    return experiment


def curve_of(experiment: Experiment, rows=None) -> TrainingCurve:
    rows = experiment.history.rows if rows is None else rows
    *told, found = training_curve(
        experiment.recipe, experiment.problem, experiment.path, experiment.state, rows
    )  # fmt: skip
    assert told == sorted(told) and 0 < told[-1] <= 1 + 1e-9
    return found


def losses_from(experiment: Experiment, theta) -> np.ndarray:
    *_, losses = question._trained(theta, experiment.problem, experiment.path, experiment.state.step)
    return losses


def test_neurons_on_a_net_carry_the_law_far_better_than_independent_ones() -> None:
    experiment = trained(FREE)
    recipe, problem = experiment.recipe, experiment.problem
    n = 512
    nets = np.array([losses_from(experiment, question._net(recipe, problem, 9, k)) for k in range(8)])
    drawn = np.array([losses_from(experiment, question._independent(recipe, problem, k)) for k in range(8)])
    assert drawn.shape == nets.shape == (8, 3) and question.N_SMALL == n
    # Standard deviations of 8 each are right to 27 %: measured 20 to 40 times apart, four is far from chance.
    assert (nets.std(axis=0) < drawn.std(axis=0) / 4).all()


def test_the_error_of_a_net_falls_faster_than_that_of_independent_neurons() -> None:
    """kinks included: 16 times the neurons, better than 8 times the precision (independent ones: 4 times)."""
    experiment = trained(FREE)
    recipe, problem = experiment.recipe, experiment.problem
    spread = {}
    for exponent in (7, 11):
        found = [losses_from(experiment, question._net(recipe, problem, exponent, k))[-1] for k in range(12)]
        spread[exponent] = np.std(found, ddof=1)
    # The ratio of two deviations of 12 each is right to 30 %: an order of 1/2 would have to be 2.3 errors off.
    assert spread[7] / spread[11] > 8


def test_a_run_is_on_the_curve_and_one_from_another_start_is_off() -> None:
    run, other = trained(FREE), trained(FREE.replace({"initial.readout_std": 2.0}))
    found = curve_of(run)
    assert found.verdict == "on the curve" and found.remark == "" and len(found.times) == 3
    assert found.losses[-1] == pytest.approx(found.expected[-1], abs=10 * found.spread[-1])
    wrong = curve_of(run, other.history.rows)
    assert wrong.verdict == "off the curve" and wrong.remark == wrong.why and wrong.farthest > 5
    assert TrainingCurve.from_dict(wrong.to_dict()) == wrong


@pytest.mark.slow
def test_a_quench_with_automatic_steps_is_on_the_curve_too() -> None:
    """Every network would choose steps of its own, and be compared at other times than the run's: 7 to 10 off."""
    changes = {"training.temperature": 0.0, "initial.law": "gaussian", "training.time": 2.0, "engine.n_threads": 1}
    for seed in range(3):
        run = trained(load_recipe("clover").replace({**changes, "seed": seed}))
        found = curve_of(run)
        assert len(found.times) > 8 and found.verdict == "on the curve", found.why


def test_other_networks_take_the_steps_that_the_run_took() -> None:
    cold, colder = FREE.replace({"training.step_size": "auto"}), FREE.replace({"regularisation.scale": 0.2})
    rows = [{"step": 50, "time": 1.0}, {"step": 100, "time": 1.5}, {"step": 150, "time": 2.0}]
    path = question._at_the_runs_pace([(0, cold), (60, colder)], rows)
    sizes = [(step, recipe.training.step_size, recipe.regularisation.scale) for step, recipe in path]
    scale = cold.regularisation.scale
    assert sizes == [(0, 0.02, scale), (50, 0.01, scale), (60, 0.01, 0.2)]
    steps = [*(step for step, _, _ in sizes), 150]
    assert sum(size * (steps[k + 1] - steps[k]) for k, (_, size, _) in enumerate(sizes)) == pytest.approx(2.0)


def test_changes_on_the_way_are_followed() -> None:
    change = {"step": 60, "path": "regularisation.scale", "value": 0.2}
    scheduled = FREE.model_validate(FREE.model_dump() | {"schedule": [change]})
    run, still = trained(scheduled), trained(FREE)
    assert curve_of(run).verdict == "on the curve"
    assert curve_of(run).losses[-1] > curve_of(still).losses[-1] + 0.01
    assert curve_of(still, run.history.rows).verdict == "off the curve"


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [("clover", {"training.n_steps": 100}, "without noise"), ("adam-clover", {}, "gradient descent"),
     ("sgd-clover-free", {"training.rule": "batch", "training.batch_size": 32}, "points that stay"),
     ("sgd-clover-free", {"training.n_steps": 20}, "first record"),
     ("sgd-clover-free", {"foreground.background": "untrained"}, "trained network")],
)  # fmt: skip
def test_where_there_is_no_curve_the_reason_is_said(name: str, changes: dict, words: str) -> None:
    recipe = load_recipe(name).replace({"network.n_neurons": 32, "engine.device": "cpu", **changes})
    experiment = Experiment(recipe)
    experiment.advance(100)
    (found,) = training_curve(recipe, experiment.problem, experiment.path, experiment.state, experiment.history.rows)
    assert found.verdict is None and words in found.why and found.losses == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_free_clover_at_2048_neurons_stays_in_the_band_at_every_recorded_time(seed: int) -> None:
    found = curve_of(trained(load_recipe("sgd-clover-free").replace({"seed": seed, "engine.device": "cpu"})))
    assert len(found.times) == 10 and found.farthest < 3
