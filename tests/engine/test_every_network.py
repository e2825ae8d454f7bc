"""Claims about every network of `mft_engine.dynamics.network.Network`: the same protocol, kept by each."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch

from mft_engine.dynamics import Hyper
from mft_engine.dynamics.hyper import plan_of
from mft_engine.dynamics.network import Network
from mft_engine.experiment.setting import Setting
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.rng import Stream

RECIPES = {
    "one hidden layer": ("clover", {"network.n_neurons": 48}),
    "several readouts": ("modular-addition", {"network.n_neurons": 48, "task.modulus": 5}),
    "two hidden layers": ("continuous-xor", {"network.n_neurons": [24, 16]}),
}
every_network = pytest.mark.parametrize("name", RECIPES)


def recipe_of(name: str) -> Recipe:
    recipe, changes = RECIPES[name]
    return load_recipe(recipe).replace(changes | {"engine.device": "cpu", "engine.dtype": "float64"})


def initial(name: str, draw: int = 0) -> tuple[Recipe, Setting, torch.Tensor]:
    recipe = recipe_of(name)
    setting = Setting.of(recipe, kernel="reference")
    where = {"device": setting.device, "dtype": setting.dtype}
    return recipe, setting, setting.network.initial(recipe, stream=Stream.INITIAL, draw=draw, **where)


@every_network
def test_it_takes_what_the_protocol_says(name: str) -> None:
    network = Setting.of(recipe_of(name)).network
    for method, wanted in inspect.getmembers(Network, inspect.isfunction):
        if not method.startswith("_"):
            theirs = inspect.signature(getattr(type(network), method)).parameters.values()
            assert list(theirs) == list(inspect.signature(wanted).parameters.values()), method


@every_network
def test_its_start_is_a_function_of_seed_and_draw(name: str) -> None:
    (_, _, first), (_, _, again), (_, _, other) = (initial(name, draw) for draw in (0, 0, 1))
    assert torch.equal(first, again) and not torch.isclose(first, other).any()


@every_network
def test_it_has_a_table_and_columns_for_every_hidden_layer(name: str) -> None:
    recipe, setting, theta = initial(name)
    network, problem = setting.network, setting.problem(recipe)
    tables = network.tables(theta, problem.inputs, 1.0)
    assert len(tables) == network.n_layers == len(network.activations) == recipe.network.n_layers
    for layer, table in enumerate(tables, start=1):
        assert table.shape == (recipe.network.n_neurons[layer - 1], len(network.columns(layer)))
        assert torch.isfinite(table).all()


@every_network
def test_theta_is_how_far_a_step_of_the_dynamics_can_move_the_function(name: str) -> None:
    # Without noise and decay a small step moves f by eta K W (y - f): turned into the next error again and again, what
    # is moved converges to the top eigenvector, and the factor to the eigenvalue (from below; 40 turns leave 1 %).
    recipe, setting, theta = initial(name)
    problem, step = setting.problem(recipe), 1e-7
    hyper = replace(Hyper.of(recipe), temperature=0.0, is_preconditioned=False)
    rates = setting.network.rates(hyper)
    still = plan_of(hyper, step, rates, (0.0,) * len(rates), seed=0, stream=Stream.BACKGROUND, readout_exponent=1.0)
    f = problem.kernel.predict(theta, problem.inputs, 1.0)
    root = problem.weights.sqrt().reshape(-1, *(1,) * (f.dim() - 1))
    generator = torch.Generator().manual_seed(1)
    error, factor = torch.randn(f.shape, dtype=f.dtype, generator=generator), 0.0
    for _ in range(40):
        error = error / (root * error).norm()
        result = problem.kernel.advance_background(
            theta, problem.inputs, f + error, problem.weights, still, 0, 1, torch.zeros_like(f)
        )
        error = (problem.kernel.predict(result.theta, problem.inputs, 1.0) - f) / step
        factor = float((root * error).norm())
    assert factor == pytest.approx(
        float(setting.network.eigenvalue(theta, problem.inputs, problem.weights, rates, 1.0)), rel=0.02
    )


@every_network
def test_every_neuron_that_feels_a_field_feels_it_with_as_many_penalties_as_it_has_parameters(name: str) -> None:
    recipe, setting, theta = initial(name)
    problem, hyper = setting.problem(recipe), Hyper.of(recipe)
    felt = list(
        setting.network.felt(theta, problem.inputs, problem.weights, problem.targets, hyper, problem.readout_exponent)
    )
    assert len(felt) == setting.network.n_layers
    for neurons, field in felt:
        assert neurons.shape[1] == len(field.penalties)
        assert field.gradient(neurons).shape == neurons.shape
