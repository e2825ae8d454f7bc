"""Claims about every row of `mft_engine.dynamics.table.DYNAMICS`: the same protocol, kept by each."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
import torch

from mft_engine.dynamics.table import DYNAMICS, Dynamics
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.sections import TrainingSection

OWN = {
    "langevin": {},
    "sgd": {"training.temperature": 0.0, "training.preconditioner": "none", "initial.law": "gaussian"},
    "adam": {"training.temperature": 0.0, "training.step_size": 0.02, "initial.law": "gaussian"},
    "gibbs": {},
}

every_dynamics = pytest.mark.parametrize("name", DYNAMICS)


def recipe_for(name: str) -> Recipe:
    changes = {
        "training.dynamics": name, "training.n_steps": 120, "network.n_neurons": 48, "foreground.n_neurons": 32,
        "foreground.method": "dynamics", "foreground.n_steps": 20, "engine.device": "cpu", "engine.n_threads": 1,
    }  # fmt: skip
    return load_recipe("clover").replace(changes | OWN[name])


def test_recipes_know_every_dynamics_and_no_other() -> None:
    assert set(get_args(TrainingSection.model_fields["dynamics"].annotation)) == set(DYNAMICS) == set(OWN)


@every_dynamics
def test_it_takes_what_the_protocol_says(name: str) -> None:
    one = DYNAMICS[name]()
    for method in ("advance", "forget", "walk"):
        wanted = list(inspect.signature(getattr(Dynamics, method)).parameters.values())[1:]
        assert list(inspect.signature(getattr(one, method)).parameters.values()) == wanted, method
    assert one.sample_every > 0


@every_dynamics
def test_any_split_gives_the_same_bits_and_stops_at_the_recipes_end(name: str) -> None:
    recipe = recipe_for(name)
    whole, split = Experiment(recipe), Experiment(recipe)
    assert whole.advance(500) == 120 and whole.is_complete and whole.advance(1) == 0
    for n in (1, 6, 43, 70):
        split.advance(n)
    assert split.state.step == 120 and torch.equal(split.state.theta, whole.state.theta)
    assert torch.equal(split.state.prediction_sum, whole.state.prediction_sum)
    assert split.history.rows == whole.history.rows
    assert whole.advance(10, beyond=True) == 10


@every_dynamics
def test_no_argument_is_written_and_the_same_call_gives_the_same_state(name: str) -> None:
    experiment = Experiment(recipe_for(name))
    experiment.advance(60)
    before, problem = experiment.state, experiment.problem
    kept = {key: value.clone() for key, value in vars(before).items() if isinstance(value, torch.Tensor)}
    results = [DYNAMICS[name]().advance(before, problem, experiment.recipe, 10)[0] for _ in range(2)]
    for key, value in kept.items():
        assert torch.equal(getattr(before, key), value), key
    assert results[0].step == before.step + 10
    assert torch.equal(results[0].theta, results[1].theta) and not torch.equal(results[0].theta, before.theta)


@every_dynamics
def test_fresh_neurons_move_in_a_field_that_stays_and_end_as_a_cloud(name: str) -> None:
    experiment = Experiment(recipe_for(name))
    experiment.advance(60)
    field, start = experiment.sampler.frozen_field(), experiment.sampler.fresh_neurons(0)
    kept = start.clone()
    (mover,) = experiment.setting.movers

    def plan(hyper, step_size):
        return experiment.sampler.plan(0, hyper, step_size)

    *told, cloud = DYNAMICS[name]().walk(start, field, experiment.recipe, experiment.state, mover, plan)
    assert all(0 < fraction <= 1 for fraction in told) and told == sorted(told)
    assert cloud.shape == start.shape and torch.isfinite(cloud).all() and not torch.equal(cloud, start)
    assert torch.equal(start, kept)
