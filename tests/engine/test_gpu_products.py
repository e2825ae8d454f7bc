"""Steps of matrix products for GPUs, without one: many readouts or inputs, and several hidden layers."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from interpreting import CPU, Problem, interpreted_module, layers, trusted

from mft_engine import rng
from mft_engine.kernels import GraphedKernel, LayeredKernel, ReferenceKernel, StepPlan, choose, choose_layered
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.network.layered import LayeredNetwork, flat_normal

triton = pytest.importorskip("triton", reason="Triton, which compiles steps for GPUs, is not installed")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """`mft_engine.kernels.gpu.product_kernels` whose kernels Triton's interpreter runs."""
    yield from interpreted_module("product_kernels")


def assert_same(found: Any, wanted: Any, tolerance: float) -> None:
    """Roundings of float32: relative to the largest neuron, and to the largest f, of which terms cancel."""
    size = 1.0 + float(wanted.theta.abs().max())
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=tolerance * size)
    scale = 1.0 + float(wanted.prediction_sum.abs().max())
    for name in ("prediction", "prediction_sum"):
        one, other = getattr(found, name).double(), getattr(wanted, name).double()
        torch.testing.assert_close(one, other, rtol=0, atol=2 * tolerance * scale)
    # The loss is a mean of squares of y - f.
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-5, atol=tolerance * scale**2)
    assert torch.equal(found.finite, wanted.finite) and found.first_step == wanted.first_step


# ----------------------------------------------------------------------------------------------- the logic, interpreted


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_interpreted_products_of_several_readouts_are_the_reference_steps(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, integrator: str
) -> None:
    problem, phi = Problem(5, 19, 3), get_activation(name)
    fast, slow = trusted(interpreted.ProductKernel(phi, 3), monkeypatch), ReferenceKernel(phi)
    plan = problem.plan(integrator)
    # A step rounds each neuron to 1.2e-7 of it, its drift (sums of 23 and 19 terms) to about as much; twice.
    assert_same(problem.background(fast, plan, 2**32 - 1, 2), problem.background(slow, plan, 2**32 - 1, 2), 1e-6)
    if integrator == "euler":
        return
    still, unmoved = problem.frozen(fast, plan, 3, 2), problem.frozen(slow, plan, 3, 2)
    torch.testing.assert_close(still, unmoved, rtol=0, atol=1e-6 * (1.0 + float(unmoved.abs().max())))


@pytest.mark.parametrize(
    ("n_inputs", "n_neurons", "n_out", "n_points"), [(18, 7, 1, 23), (2, 1030, 2, 3), (3, 9, 4, 97)]
)
def test_interpreted_products_take_any_shape(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, n_inputs: int, n_neurons: int, n_out: int, n_points: int
) -> None:
    """One readout of many inputs; more neurons than a program takes; more values than one program measures."""
    problem, phi = Problem(n_inputs, n_neurons, n_out, n_points=n_points), get_activation("relu_tanh")
    fast, slow = trusted(interpreted.ProductKernel(phi, n_out), monkeypatch), ReferenceKernel(phi)
    # A thousand neurons of order one make N^-0.8 sums of order ten.
    assert_same(problem.background(fast, problem.plan(), 5, 2), problem.background(slow, problem.plan(), 5, 2), 2e-6)
    still, unmoved = (
        problem.frozen(fast, problem.plan("euler"), 5, 2),
        problem.frozen(slow, problem.plan("euler"), 5, 2),
    )
    torch.testing.assert_close(still, unmoved, rtol=0, atol=5e-6)
    quiet = problem.plan(noise=0.0)
    assert_same(problem.background(fast, quiet, 5, 1), problem.background(slow, quiet, 5, 1), 2e-6)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_interpreted_layers_are_the_layered_steps(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, integrator: str
) -> None:
    network = layers("relu_tanh", name) if integrator == "euler" else layers(name, "tanh", "erf")
    problem = Problem(3, network.n_neurons)
    fast = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    slow, plan = LayeredKernel(network, CPU, torch.float32), problem.plan(integrator)
    assert_same(problem.background(fast, plan, 2**32 - 1, 2), problem.background(slow, plan, 2**32 - 1, 2), 2e-6)


def test_no_parameter_of_an_odd_number_of_them_is_left_behind(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """513 of them: fours of a whole program, and one more."""
    network = LayeredNetwork(1, (1, 256), (get_activation("tanh"), get_activation("erf")))
    problem = Problem(1, network.n_neurons, n_points=3)
    assert len(problem.theta) == 513
    fast = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    found, wanted = (
        problem.background(kernel, problem.plan(), 0, 1)
        for kernel in (fast, LayeredKernel(network, CPU, torch.float32))
    )
    assert_same(found, wanted, 1e-6)


def test_the_noise_of_a_launch_is_that_of_the_program(interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters at zero, moved by noise alone, are the noise: rows of any length, parts of a cloud, flat layers."""
    problem = Problem(5, 19, 2)
    zeros = (0.0,) * 7
    plan = StepPlan(zeros, zeros, (1.0,) * 7, "euler", 2**50 + 3, int(rng.Stream.FOREGROUND), 1.0, 11)
    kernel = trusted(interpreted.ProductKernel(get_activation("tanh"), 2), monkeypatch)
    wanted = rng.normal(2**50 + 3, rng.Stream.FOREGROUND, 2**33 + 7, 19, 7, device="cpu", first_row=11)
    # Normal numbers below 5.8 from polynomials: equal to about 1e-6.
    found = problem.frozen(kernel, plan, 2**33 + 7, 1, torch.zeros(19, 7))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
    network = layers("tanh", "erf")
    flat = Problem(3, network.n_neurons)
    plan = StepPlan(zeros[:3], zeros[:3], (1.0,) * 3, "leimkuhler-matthews", 8, int(rng.Stream.BACKGROUND))
    layered = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    moved = flat.background(layered, plan, 6, 1, torch.zeros_like(flat.theta)).theta
    one, two = (flat_normal(8, rng.Stream.BACKGROUND, k, len(moved), CPU, torch.float32) for k in (6, 7))
    torch.testing.assert_close(moved, 0.5 * (one + two), rtol=0, atol=2e-6)


def test_interpreted_products_give_the_same_bits_for_any_split(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = layers("relu_tanh", "tanh")
    cloud = trusted(interpreted.ProductKernel(get_activation("relu_tanh"), 3), monkeypatch)
    deep = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    for kernel, problem in ((cloud, Problem(5, 19, 3)), (deep, Problem(3, network.n_neurons))):
        plan = problem.plan()
        whole = problem.background(kernel, plan, 5, 4)
        part = problem.background(kernel, plan, 5, 1)
        problem.total = part.prediction_sum
        rest = problem.background(kernel, plan, 6, 3, part.theta)
        assert torch.equal(rest.theta, whole.theta) and torch.equal(rest.prediction, whole.prediction)
        assert torch.equal(rest.prediction_sum, whole.prediction_sum)
        assert torch.equal(torch.cat([part.losses, rest.losses]), whole.losses)
    problem, plan = Problem(5, 19, 3), Problem(5, 19, 3).plan()
    still = problem.frozen(cloud, plan, 5, 4)
    assert torch.equal(problem.frozen(cloud, plan, 6, 3, problem.frozen(cloud, plan, 5, 1)), still)


def test_interpreted_products_longer_than_the_buffer_of_losses_are_the_same(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(2, 3, 2)
    kernel = trusted(interpreted.ProductKernel(get_activation("tanh"), 2), monkeypatch)
    whole, still = problem.background(kernel, problem.plan(), 0, 3), problem.frozen(kernel, problem.plan(), 0, 3)
    monkeypatch.setattr(interpreted, "MAX_STEPS", 2)
    cut = problem.background(kernel, problem.plan(), 0, 3)
    assert torch.equal(cut.theta, whole.theta) and torch.equal(cut.losses, whole.losses) and len(cut.losses) == 3
    assert torch.equal(cut.prediction_sum, whole.prediction_sum)
    assert torch.equal(problem.frozen(kernel, problem.plan(), 0, 3), still)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_step_of_products_that_is_not_finite_is_told_by_its_number(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = layers("relu_tanh", "tanh")
    cloud = trusted(interpreted.ProductKernel(get_activation("relu"), 2), monkeypatch)
    deep = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    for kernel, problem in ((cloud, Problem(5, 7, 2)), (deep, Problem(3, network.n_neurons))):
        assert problem.background(kernel, problem.plan(), 40, 2).is_finite
        for bad in (float("nan"), float("inf")):
            theta = problem.theta.clone()
            theta.view(-1)[-3] = bad
            assert problem.background(kernel, problem.plan(), 40, 2, theta).nonfinite_step == 40
    # A readout, of a neuron that nobody hears, leaves the finite numbers in the second step.
    problem, theta = Problem(2, 3, 2), torch.zeros(3, 4)
    theta[0, 2] = 1.0
    plan = StepPlan((0.0,) * 4, (0.0, 0.0, -1e20, 0.0), (0.0,) * 4, "euler", 0, 0)
    assert problem.background(cloud, plan, 40, 3, theta).nonfinite_step == 41


def test_products_that_differ_from_the_reference_or_do_not_compile_are_not_used(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreted.trial, "N_NEURONS", 9)
    monkeypatch.setattr(interpreted.trial, "N_POINTS", 6)
    said: list[str] = []
    monkeypatch.setattr(interpreted.trial.logger, "warning", lambda text, *values: said.append(text.format(*values)))
    phi, network = get_activation("tanh"), layers("relu_tanh", "tanh")

    def kernels() -> list[tuple[Any, Any, Problem]]:
        deep = interpreted.LayeredProductKernel(network, CPU)
        return [
            (interpreted.ProductKernel(phi, 3), ReferenceKernel(phi), Problem(5, 7, 3)),
            (deep, LayeredKernel(network, CPU, torch.float32), Problem(3, network.n_neurons)),
        ]

    for kernel, _, problem in kernels():
        assert not kernel.is_ready
        kernel.warm_up(problem.points)
        assert kernel.is_ready and kernel.name.endswith("triton products") and not said
    run = interpreted.ProductBuffers.run
    with monkeypatch.context() as patch:
        patch.setattr(interpreted.ProductBuffers, "run", lambda self, n: (run(self, n), self.theta.mul_(1.001)))
        for kernel, slow, problem in kernels():
            found, wanted = (problem.background(one, problem.plan(), 0, 1) for one in (kernel, slow))
            assert kernel.name.endswith("graphed") and "differ from the reference" in said.pop()
            torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)

    def refuses(self: Any, n_steps: int) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(interpreted.ProductBuffers, "run", refuses)
    for kernel, slow, problem in kernels():
        found, wanted = (problem.background(one, problem.plan(), 0, 1) for one in (kernel, slow))
        assert "no such instruction" in said.pop()
        torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    assert isinstance(kernels()[0][0]._fallback, GraphedKernel)


def test_features_that_would_not_fit_go_through_the_recorded_steps_in_blocks(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, phi = Problem(2, 40, 2), get_activation("tanh")
    kernel = trusted(interpreted.ProductKernel(phi, 2), monkeypatch)
    monkeypatch.setattr(interpreted, "MOST_FEATURES", 23 * 39)
    monkeypatch.setattr(kernel, "_background", lambda *given: pytest.fail("too large for it"))
    monkeypatch.setattr(kernel, "_frozen", lambda *given: pytest.fail("too large for it"))
    wanted = problem.background(ReferenceKernel(phi), problem.plan(), 0, 2)
    torch.testing.assert_close(problem.background(kernel, problem.plan(), 0, 2).theta, wanted.theta, rtol=0, atol=1e-6)
    assert problem.frozen(kernel, problem.plan(), 0, 1).shape == (40, 4)


# ------------------------------------------------------------------------------------------------------ on a device

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and there is none")


def assert_device_agrees(kernel: Any, slow: Any, problem: Problem, tolerance: float) -> None:
    """Ninety steps against the reference; the same bits twice and for a split."""
    found, wanted = (problem.background(one, problem.plan(), 5, 90) for one in (kernel, slow))
    assert kernel.name.endswith("triton products"), "the trial has failed"
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-4, atol=1e-5)
    assert torch.equal(problem.background(kernel, problem.plan(), 5, 90).theta, found.theta)
    part = problem.background(kernel, problem.plan(), 5, 31)
    problem.total = part.prediction_sum
    rest = problem.background(kernel, problem.plan(), 36, 59, part.theta)
    assert torch.equal(rest.theta, found.theta) and torch.equal(rest.prediction_sum, found.prediction_sum)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize(("name", "n_inputs", "n_out"), [("tanh_squared", 22, 11), ("relu_tanh", 33, 1), ("erf", 5, 2)])
def test_products_on_a_gpu_are_the_reference_steps_and_the_same_bits_for_any_split(
    name: str, n_inputs: int, n_out: int
) -> None:
    problem = Problem(n_inputs, 513, n_out, n_points=257).to("cuda")
    kernel = choose(name, device="cuda", dtype=torch.float32, n_inputs=n_inputs, n_out=n_out)
    slow = ReferenceKernel(get_activation(name))
    # Ninety steps of rounding 3e-7 of numbers below ten, like a random walk or, at worst, all alike.
    assert_device_agrees(kernel, slow, problem, 3e-4)
    still, unmoved = (problem.frozen(one, problem.plan(), 5, 90) for one in (kernel, slow))
    torch.testing.assert_close(still, unmoved, rtol=0, atol=3e-4)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("names", [("relu_tanh", "tanh"), ("tanh", "sin", "erf")])
def test_layers_on_a_gpu_are_the_layered_steps_and_the_same_bits_for_any_split(names: tuple[str, ...]) -> None:
    network = LayeredNetwork(4, (257, 129, 65)[: len(names)], tuple(get_activation(name) for name in names))
    device, problem = torch.device("cuda"), Problem(4, network.n_neurons, n_points=257).to("cuda")
    kernel = choose_layered(network, device, torch.float32, 257)
    assert_device_agrees(kernel, LayeredKernel(network, device, torch.float32), problem, 3e-4)
