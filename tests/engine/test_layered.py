"""Claims about networks with several hidden layers: gradients, fields, noise, splits, checkpoints, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mft_engine.cli.reporting import describe_run
from mft_engine.compare.clouds import Comparison
from mft_engine.dynamics import Hyper
from mft_engine.experiment.events import ComparisonReady, ForegroundReady
from mft_engine.experiment.experiment import Experiment
from mft_engine.field.layered import layer_field, neurons_of
from mft_engine.kernels import reference
from mft_engine.kernels.layered import LayeredKernel
from mft_engine.laws import tempered as annealed
from mft_engine.network.activations import get_activation
from mft_engine.network.layered import LayeredNetwork, flat_normal
from mft_engine.points.measure import torus_rule
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs import checkpoint
from mft_engine.tasks import build_task
from mft_engine.tasks.task import TorusGrid


@pytest.fixture(autouse=True)
def few_walkers(monkeypatch):
    """Shapes and refusals need no accurate draw."""
    monkeypatch.setattr(annealed, "FEWEST_WALKERS", 64)


SMALL = load_recipe("continuous-xor").replace(
    {
        "network.n_neurons": [24, 20],
        "foreground.n_neurons": 30,
        "training.time": 0.3,
        "comparison.n_permutations": 99,
        "engine.dtype": "float64",
        "engine.device": "cpu",
    }
)
DEEP = SMALL.replace({"network.n_neurons": [12, 10, 8]})


def numbers(*shape: int, draw: int = 0) -> Tensor:
    return torch.from_numpy(host_generator(3, Stream.TEST_POINTS, draw).standard_normal(shape))


def a_network(*n_neurons: int) -> LayeredNetwork:
    names = ("relu_tanh", "tanh", "sin")
    return LayeredNetwork(4, n_neurons, tuple(get_activation(name) for name in names[: len(n_neurons)]))


@pytest.mark.parametrize("exponent", [1.0, 0.5])
@pytest.mark.parametrize("n_neurons", [(7,), (7, 5), (7, 5, 6)])
def test_drift_is_the_gradient_of_the_energy(n_neurons, exponent):
    network, inputs, targets = a_network(*n_neurons), numbers(9, 4, draw=1), numbers(9, draw=2)
    weights = torch.full((9,), 1 / 9, dtype=torch.float64)
    theta = numbers(network.n_parameters, draw=3).requires_grad_()
    top = n_neurons[-1]
    prediction = network.forward(network.split(theta), inputs, exponent).prediction
    energy = top ** (2 * exponent - 1) * 0.5 * (weights * (targets - prediction) ** 2).sum()
    (expected,) = torch.autograd.grad(energy, theta)
    with torch.no_grad():
        parts = network.split(theta)
        found = network.forward(parts, inputs, exponent)
        signal = weights * (targets - found.prediction) * top ** (exponent - 1)
        drift = network.drift(parts, inputs, found, signal)
    torch.testing.assert_close(-drift, expected, rtol=1e-11, atol=1e-13)


def test_one_hidden_layer_is_the_two_layer_network():
    network, inputs, signal = a_network(11), numbers(9, 4, draw=1), numbers(9, draw=2)
    theta = numbers(network.n_parameters, draw=3)
    parts = network.split(theta)
    rows = neurons_of(network, parts, 1)
    found = network.forward(parts, inputs, 1.0)
    torch.testing.assert_close(found.prediction, reference.predict(rows, inputs, 1.0, network.activations[0]))
    expected = reference.gradient(rows, inputs, signal, network.activations[0])
    w, b = network.split(network.drift(parts, inputs, found, signal))
    torch.testing.assert_close(torch.cat([w, b.T], dim=1), expected)


@pytest.mark.parametrize("n_neurons", [(7, 5), (7, 5, 6)])
def test_tangent_kernel_is_the_product_of_jacobians(n_neurons):
    network, inputs, rates = a_network(*n_neurons), numbers(6, 4, draw=1), (2.0, 3.0, 5.0, 7.0)[: len(n_neurons) + 1]
    theta = numbers(network.n_parameters, draw=3)

    def output(theta: Tensor) -> Tensor:
        return network.forward(network.split(theta), inputs, 1.0).prediction

    jacobian = torch.autograd.functional.jacobian(output, theta)
    rate = torch.cat([torch.full((n,), r, dtype=torch.float64) for n, r in zip(network.sizes, rates, strict=True)])
    # One unit of step size moves a parameter by rate x N_L x df/dp for a unit residual.
    expected = n_neurons[-1] * (jacobian * rate) @ jacobian.T
    torch.testing.assert_close(network.tangent_kernel(network.split(theta), inputs, 1.0, rates), expected)


@pytest.mark.parametrize("recipe", [SMALL, DEEP], ids=["two layers", "three layers"])
def test_every_neuron_feels_the_field_of_its_layer_as_it_feels_the_network(recipe):
    """dV/d(w, v) of a neuron in its layer's field of the moment is minus its drift in the whole network."""
    experiment = Experiment(recipe)
    experiment.advance(20)
    problem, hyper, network = experiment.problem, Hyper.of(recipe), experiment.setting.network.shapes
    theta = experiment.state.theta
    parts = network.split(theta)
    found = network.forward(parts, problem.inputs, 1.0)
    residual = problem.targets - found.prediction
    drift = network.split(network.drift(parts, problem.inputs, found, problem.weights * residual))
    for layer in range(1, network.n_layers + 1):
        signal = problem.weights * residual
        field = layer_field(network, problem.network.penalties(hyper), problem.inputs, parts, signal, layer)
        rows = neurons_of(network, parts, layer)
        n_in = parts[layer - 1].shape[1]
        penalty = torch.cat([field.lambda_w * rows[:, :n_in], field.lambda_a * rows[:, n_in:]], dim=1)
        expected = penalty - torch.cat([drift[layer - 1], drift[layer].T], dim=1)
        torch.testing.assert_close(field.gradient(rows), expected)


def test_any_split_of_a_run_gives_the_same_bits():
    whole, split = Experiment(SMALL), Experiment(SMALL)
    whole.advance(120)
    for n in (1, 7, 50, 62):
        split.advance(n)
    assert torch.equal(whole.state.theta, split.state.theta)
    assert torch.equal(whole.state.prediction_sum, split.state.prediction_sum)


def test_compiled_noise_is_the_noise_of_the_counter():
    network, device = a_network(7, 5), torch.device("cpu")
    kernel = LayeredKernel(network, device, torch.float32)
    n = network.n_parameters
    compiled = kernel._noise(5, int(Stream.BACKGROUND), 17, n)
    torch.testing.assert_close(
        compiled, flat_normal(5, Stream.BACKGROUND, 17, n, device, torch.float32), rtol=0, atol=2e-6
    )


def test_a_checkpoint_of_a_layered_run_goes_on_bit_for_bit():
    first, second = Experiment(SMALL), Experiment(SMALL)
    first.advance(60)
    checkpoint.unpack(second, *checkpoint.pack(first))
    first.advance(40)
    second.advance(40)
    assert torch.equal(first.state.theta, second.state.theta)
    assert first.history.rows == second.history.rows


@pytest.mark.parametrize("method", ["dynamics", "gibbs"])
@pytest.mark.parametrize("recipe", [SMALL, DEEP], ids=["two layers", "three layers"])
def test_every_layer_gets_a_cloud_a_foreground_and_a_verdict(recipe, method):
    experiment = Experiment(recipe.replace({"foreground.method": method}))
    experiment.advance(1000)
    n_layers = len(recipe.network.n_neurons)
    (ready,) = [e for e in experiment.foreground() if isinstance(e, ForegroundReady)]
    (compared,) = [e for e in experiment.compare() if isinstance(e, ComparisonReady)]
    assert len(ready.clouds) == len(compared.comparisons) == n_layers
    for k, (cloud, n_neurons) in enumerate(zip(experiment.snapshot().clouds, recipe.network.n_neurons, strict=True)):
        assert cloud.theta.shape == (n_neurons, len(cloud.names))
        assert ready.clouds[k].theta.shape == (30, len(cloud.names)) and np.isfinite(ready.clouds[k].theta).all()
        assert isinstance(compared.comparisons[k], Comparison)
    assert experiment.initial_clouds()[0].theta.shape[0] == recipe.network.n_neurons[0]
    summary = experiment.outcome().summary
    assert len(summary["layers"]) == n_layers and summary["comparison"] == summary["layers"][0]
    assert summary["theory"] is None and set(summary["feature_learning"]["order_parameters"]) == {
        "overlap_u",
        "overlap_v",
        "overlap_uv",
    }


def test_tables_of_a_task_without_named_functions_use_principal_components():
    recipe = SMALL.replace({"task.name": "product", "training.rule": "polar"})
    recipe = Recipe.model_validate({**recipe.model_dump(), "task": {"name": "product"}})
    cloud = Experiment(recipe).snapshot().clouds[1]
    assert cloud.names == ("⟨φ, PC 1⟩", "⟨φ, PC 2⟩", "⟨φ, PC 3⟩", "b")


def test_one_number_of_neurons_is_for_every_hidden_layer():
    assert SMALL.replace({"network.n_neurons": 64}).network.n_neurons == (64, 64)
    assert load_recipe("clover").replace({"network.n_neurons": 64}).network.n_neurons == (64,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network.n_neurons": [8, 8, 8, 8]}, "1 to 3 hidden layers"),
        ({"network.n_neurons": [5000, 8]}, "at most 4096"),
        ({"training.dynamics": "gibbs"}, "one hidden layer"),
        ({"training.batch_size": 32}, "points that change"),
        ({"foreground.method": "replay"}, "one hidden layer"),
        ({"network.train_readout": False}, "one hidden layer"),
        ({"task.n_angles": 3}, "task.n_angles"),
        ({"task.target": "both"}, "task.target"),
        ({"foreground.background": "some/run"}, "some/run"),
        ({"task.name": "modular-addition"}, "one hidden layer"),
    ],
)
def test_what_several_layers_cannot_do_is_refused_with_the_remedy(changes, words):
    with pytest.raises(RecipeError, match=words):
        Experiment(SMALL.replace(changes))


def test_the_torus_grid_makes_u_v_and_uv_orthonormal():
    task = build_task(SMALL.task)
    measure = torus_rule(TorusGrid(16))
    functions = np.stack([function.of(measure.inputs) for function in task.functions])
    np.testing.assert_allclose(functions @ (measure.weights * functions).T, np.eye(3), atol=1e-14)
    assert np.sum(measure.weights * task.target(measure.inputs) ** 2) == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose((measure.inputs**2).sum(1), 4.0)


def test_the_report_of_a_run_has_a_line_for_every_layer():
    experiment = Experiment(SMALL)
    *_, finished = experiment
    words = describe_run(finished.summary)
    assert "layer 1 " in words and "layer 2 " in words and "times its null mean" in words
