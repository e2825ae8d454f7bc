"""Claims about compiled steps of layered networks: equal to matrix products one by one, the same bits every way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine import rng
from mft_engine.experiment.experiment import Experiment
from mft_engine.kernels import LayeredKernel, StepPlan, choose_layered
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.network.layered import LayeredNetwork
from mft_engine.recipe import load_recipe

pytest.importorskip("numba")

from mft_engine.kernels import fused_layered, team
from mft_engine.kernels.fused_layered import FusedLayeredKernel

HOST = torch.device("cpu")
N_POINTS, FIRST_STEP = 300, 5  # three chunks, the last one not full


@pytest.fixture(autouse=True)
def _many_members(monkeypatch):
    monkeypatch.setattr(fused_layered, "WORK_FOR_ONE", 1)
    monkeypatch.setattr(team.Crew, "_next", lambda crew: (crew.n_most, 7))  # whatever the clock says
    monkeypatch.setattr(team, "LOOK_STEPS", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def a_network(widths=(24, 19), names=("relu_tanh", "tanh"), n_inputs=3):
    return LayeredNetwork(n_inputs, widths, tuple(get_activation(name) for name in names))


def problem(network, n_points=N_POINTS):
    def drawn(step, rows, columns):
        return rng.normal(7, rng.Stream.TASK, step, rows, columns, device=HOST)

    points = drawn(0, n_points, network.n_inputs)
    weights = torch.rand(n_points, generator=torch.Generator().manual_seed(1)) / n_points
    return drawn(1, network.n_parameters, 1)[:, 0], points, points[:, 0] * points[:, -1], weights


def plan(network, integrator="leimkuhler-matthews", *, rate=1e-2, noise=1e-2, exponent=1.0):
    rates = tuple(rate * (k + 1) for k in range(network.n_layers + 1))
    decay, noises = tuple(0.1 * r for r in rates), tuple(noise * (k + 1) for k in range(network.n_layers + 1))
    return StepPlan(rates, decay, noises, integrator, 3, rng.Stream.BACKGROUND, exponent)


def advanced(kernel, network, how, n_steps=30, dtype=torch.float32, n_points=N_POINTS):
    tensors = [tensor.to(dtype) for tensor in problem(network, n_points)]
    return kernel.advance_background(*tensors, how, FIRST_STEP, n_steps, torch.zeros(n_points, dtype=torch.float64))


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("noise", [0.0, 1e-2])
@pytest.mark.parametrize(
    ("widths", "names", "exponent"),
    [
        ((24, 19), ("relu_tanh", "tanh"), 1.0),
        ((24, 19), ("clip01", "erf"), 0.5),
        ((11, 30, 7), ("sin", "quadratic", "relu"), 1.0),
        ((8, 5), ("tanh_squared", "hardtanh"), 1.0),
    ],
)
def test_compiled_steps_equal_matrix_products_in_double_precision(widths, names, exponent, noise, integrator):
    network = a_network(widths, names)
    how = plan(network, integrator, noise=noise, exponent=exponent)
    compiled = advanced(FusedLayeredKernel(network), network, how)
    exact = advanced(LayeredKernel(network, HOST, torch.float64), network, how, dtype=torch.float64)
    assert compiled.is_finite
    # Rounding of single precision is 6e-8 a number; thirty steps move parameters by tenths and double it a few times.
    torch.testing.assert_close(compiled.theta.double(), exact.theta, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(compiled.prediction_sum, exact.prediction_sum, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compiled.losses, exact.losses, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(compiled.prediction.double(), exact.prediction, rtol=1e-4, atol=1e-5)


def test_every_activation_has_its_compiled_form_and_slope():
    for name in ACTIVATIONS:
        network = a_network((16, 16), (name, name))
        how = plan(network, noise=0.0)
        compiled = advanced(FusedLayeredKernel(network), network, how, 1)
        exact = advanced(LayeredKernel(network, HOST, torch.float64), network, how, 1, dtype=torch.float64)
        torch.testing.assert_close(compiled.theta.double(), exact.theta, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_points", [1, 128, N_POINTS, 1100])
def test_any_number_of_threads_gives_the_same_bits(n_points):
    network = a_network((70, 40))

    def everything(n_threads):
        torch.set_num_threads(n_threads)
        found = advanced(FusedLayeredKernel(network), network, plan(network), n_points=n_points)
        tensors = (found.theta, found.prediction_sum, found.losses, found.prediction, found.finite)
        return [tensor.numpy().tobytes() for tensor in tensors]

    alone = everything(1)
    assert all(everything(n_threads) == alone for n_threads in (2, 3, 7))


def test_any_split_of_the_steps_gives_the_same_bits():
    network = a_network()
    kernel, (theta, *rest) = FusedLayeredKernel(network), problem(network)
    whole = advanced(kernel, network, plan(network))
    step, total = FIRST_STEP, torch.zeros(N_POINTS, dtype=torch.float64)
    for n in (1, 20, 9):
        part = kernel.advance_background(theta, *rest, plan(network), step, n, total)
        theta, total, step = part.theta, part.prediction_sum, step + n
    assert torch.equal(theta, whole.theta) and torch.equal(total, whole.prediction_sum)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_first_step_that_is_not_finite_is_told_and_is_the_last(n_threads):
    torch.set_num_threads(n_threads)
    network = a_network((12, 9), ("quadratic", "quadratic"))
    found = advanced(FusedLayeredKernel(network), network, plan(network, rate=1e9))
    bad = found.nonfinite_step
    assert bad is not None and not found.finite[bad - FIRST_STEP :].any()
    assert torch.isnan(found.losses[bad - FIRST_STEP + 1 :]).all()


def test_small_networks_are_compiled_and_what_compiled_steps_cannot_bear_goes_product_by_product():
    small, large = a_network(), a_network((4096, 4096))
    assert isinstance(choose_layered(small, HOST, torch.float32, N_POINTS), FusedLayeredKernel)
    for network, dtype, kind in (
        (small, torch.float64, "auto"),
        (small, torch.float32, "reference"),
        (large, torch.float32, "auto"),
    ):
        assert isinstance(choose_layered(network, HOST, dtype, N_POINTS, kind), LayeredKernel)
    with pytest.raises(ValueError, match="float32"):
        advanced(FusedLayeredKernel(small), small, plan(small), dtype=torch.float64)


def test_small_products_of_a_step_do_not_wait_for_several_threads(monkeypatch):
    """Beside other programs the threads of torch take many times as long as one for products of this size."""
    seen = []
    forward = LayeredNetwork.forward
    monkeypatch.setattr(
        LayeredNetwork, "forward", lambda *arguments: (seen.append(torch.get_num_threads()), forward(*arguments))[1]
    )
    torch.set_num_threads(2)
    network = a_network()
    advanced(LayeredKernel(network, HOST, torch.float64), network, plan(network), 2, dtype=torch.float64)
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2


def test_a_layered_run_has_the_same_numbers_with_one_thread_and_with_two():
    recipe = load_recipe("continuous-xor").replace({"network.n_neurons": [48, 40], "training.time": 0.2})
    found = []
    for n_threads in (1, 2):
        experiment = Experiment(recipe.replace({"engine.n_threads": n_threads, "engine.device": "cpu"}))
        experiment.advance(150)
        found.append((experiment.state.theta.numpy().tobytes(), experiment.history.rows))
    assert found[0] == found[1]
    assert np.isfinite(experiment.state.theta.numpy()).all()
