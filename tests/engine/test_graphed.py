"""The recorded step: the reference's arithmetic in buffers of its own, and the recording itself where a device can."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine import kernels, rng
from mft_engine.device import record_graph
from mft_engine.kernels import (
    GraphedKernel,
    GraphedLayeredKernel,
    LayeredKernel,
    ReferenceKernel,
    StepPlan,
    choose,
    choose_layered,
    choose_movers,
    graphed,
)
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.network.layered import LayeredNetwork

every_kind = pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])


def plan(integrator: str = "euler", noise: float = 1e-2, rate: float = 1e-2) -> StepPlan:
    return StepPlan((rate, rate, 2 * rate), (1e-3,) * 3, (noise,) * 3, integrator, 5, int(rng.Stream.BACKGROUND))


def problem(device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """theta, points, targets, weights."""
    theta = rng.normal(1, rng.Stream.INITIAL, 0, 257, 3, device=device, dtype=dtype)
    points = rng.normal(1, rng.Stream.TASK, 0, 96, 2, device=device, dtype=dtype)
    return theta, points, points[:, 0] * points[:, 1], torch.full_like(points[:, 0], 1 / 96)


def agree(kernel: GraphedKernel, integrator: str, device: str, dtype: torch.dtype, tolerance: float) -> None:
    """Twice, with other numbers and other neurons the second time: a recording must read them anew."""
    reference = ReferenceKernel(kernel.activation)
    theta, points, targets, weights = problem(device, dtype)
    for call, numbers in enumerate((plan(integrator), plan(integrator, noise=0.03, rate=0.02))):
        total = torch.zeros(96, dtype=torch.float64, device=device)
        arguments = (points, targets, weights, numbers, 7 * call, 5, total)
        found = kernel.advance_background(theta, *arguments)
        wanted = reference.advance_background(theta, *arguments)
        for name in ("theta", "prediction_sum", "losses", "prediction"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=tolerance)
        assert found.is_finite and found.first_step == 7 * call
        frozen = (points, weights * targets, numbers, 7 * call, 5)
        moved = kernel.advance_frozen(theta, *frozen).theta
        torch.testing.assert_close(moved, reference.advance_frozen(theta, *frozen).theta, rtol=0, atol=tolerance)
        theta = found.theta


@every_kind
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_steps_in_buffers_are_the_reference_steps(name: str, integrator: str) -> None:
    # Ten float64 steps of numbers of order one: some hundred roundings of 1e-16.
    agree(GraphedKernel(get_activation(name)), integrator, "cpu", torch.float64, 1e-12)


def test_calls_longer_than_the_buffer_of_losses_are_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "MAX_STEPS", 4)
    theta, points, targets, weights = problem()
    arguments = (theta, points, targets, weights, plan(), 3, 11, torch.zeros(96, dtype=torch.float64))
    cut = GraphedKernel(get_activation("tanh")).advance_background(*arguments)
    monkeypatch.undo()
    whole = GraphedKernel(get_activation("tanh")).advance_background(*arguments)
    assert torch.equal(cut.theta, whole.theta) and torch.equal(cut.losses, whole.losses)
    assert torch.equal(cut.prediction_sum, whole.prediction_sum) and len(cut.losses) == 11


def test_only_so_many_recordings_are_kept_and_the_oldest_goes_first() -> None:
    kernel = GraphedKernel(get_activation("tanh"))
    _, points, targets, weights = problem()
    for n_neurons in range(10, 10 + graphed.MAX_RECORDINGS + 2):
        theta = torch.ones(n_neurons, 3)
        kernel.advance_frozen(theta, points, weights * targets, plan(), 0, 1)
    kept = [kind.theta[0] for kind in kernel._recordings.kept]
    assert kept == list(range(12, 12 + graphed.MAX_RECORDINGS))


def test_recorded_steps_run_on_the_meta_device_under_fake_tensors() -> None:
    """An `.item()` there raises: inside a recording it would be an error too."""
    with FakeTensorMode():
        theta, points, targets, weights = problem("meta")
        kernel = GraphedKernel(get_activation("relu_tanh"))
        total = torch.zeros(96, dtype=torch.float64, device="meta")
        found = kernel.advance_background(theta, points, targets, weights, plan(), 0, 3, total)
        assert found.theta.shape == (257, 3) and found.losses.shape == (3,)
        assert kernel.advance_frozen(theta, points, weights * targets, plan(), 0, 2).theta.shape == (257, 3)


def test_a_device_that_cannot_record_gets_the_steps_themselves() -> None:
    assert record_graph(lambda: pytest.fail("run"), torch.device("cpu")) is None
    kernel = choose("tanh", device="cpu", dtype=torch.float32, n_inputs=2, kind="graphed")
    assert isinstance(kernel, GraphedKernel)


def test_a_recording_that_does_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(graphed, "record_graph", lambda work, device: lambda: calls.append(1))
    agree(GraphedKernel(get_activation("tanh")), "euler", "cpu", torch.float64, 1e-12)
    assert len(calls) == 2  # once for the background, once for the frozen step, each found out


def test_a_device_that_fails_to_record_leaves_nothing_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "record_graph", lambda work, device: work())  # a rehearsal, then None
    agree(GraphedKernel(get_activation("tanh")), "leimkuhler-matthews", "cpu", torch.float64, 1e-12)


# ----------------------------------------------------------------------------------------------- several hidden layers


def network(*names: str) -> LayeredNetwork:
    return LayeredNetwork(2, (13, 9, 7)[: len(names)], tuple(get_activation(name) for name in names))


def layers_agree(kernel: LayeredKernel, integrator: str, device: str, dtype: torch.dtype, tolerance: float) -> None:
    """As `agree`, with other numbers and other neurons the second time."""
    reference = LayeredKernel(kernel.network, torch.device(device), dtype)
    _, points, targets, weights = problem(device, dtype)
    theta = rng.normal(1, rng.Stream.INITIAL, 0, kernel.network.n_parameters, 1, device=device, dtype=dtype)[:, 0]
    for call, rate in enumerate((0.01, 0.02)):
        groups = tuple(rate * (1.0 + 0.1 * i) for i in range(kernel.network.n_layers + 1))
        numbers = StepPlan(groups, groups, groups, integrator, 2**40 + 5, int(rng.Stream.BACKGROUND), 0.8)
        total = torch.zeros(96, dtype=torch.float64, device=device)
        arguments = (points, targets, weights, numbers, 7 * call, 5, total)
        found, wanted = kernel.advance_background(theta, *arguments), reference.advance_background(theta, *arguments)
        for name in ("theta", "prediction_sum", "losses"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=tolerance)
        torch.testing.assert_close(found.prediction.to(dtype), wanted.prediction, rtol=0, atol=tolerance)
        assert found.is_finite and found.first_step == 7 * call
        theta = found.theta


@every_kind
@pytest.mark.parametrize("names", [("relu_tanh", "tanh"), ("sin", "erf", "quadratic")])
def test_layered_steps_in_buffers_are_the_layered_steps(names: tuple[str, ...], integrator: str) -> None:
    # Ten float64 steps of numbers of order one to ten: some thousand roundings of 1e-16.
    kernel = GraphedLayeredKernel(network(*names), torch.device("cpu"), torch.float64)
    layers_agree(kernel, integrator, "cpu", torch.float64, 1e-11)


def test_layered_steps_in_buffers_are_the_same_for_any_split_and_told_where_they_end() -> None:
    shapes = network("relu_tanh", "tanh")
    kernel = GraphedLayeredKernel(shapes, torch.device("cpu"), torch.float32)
    _, points, targets, weights = problem()
    theta = rng.normal(1, rng.Stream.INITIAL, 0, shapes.n_parameters, 1, device="cpu")[:, 0]
    numbers = StepPlan((0.01,) * 3, (0.01,) * 3, (0.1,) * 3, "leimkuhler-matthews", 5, int(rng.Stream.BACKGROUND))
    nothing = torch.zeros(96, dtype=torch.float64)
    whole = kernel.advance_background(theta, points, targets, weights, numbers, 3, 5, nothing)
    part = kernel.advance_background(theta, points, targets, weights, numbers, 3, 2, nothing)
    rest = kernel.advance_background(part.theta, points, targets, weights, numbers, 5, 3, part.prediction_sum)
    assert torch.equal(rest.theta, whole.theta) and torch.equal(rest.prediction_sum, whole.prediction_sum)
    assert torch.equal(torch.cat([part.losses, rest.losses]), whole.losses)
    theta[7] = float("nan")
    assert kernel.advance_background(theta, points, targets, weights, numbers, 40, 2, nothing).nonfinite_step == 40


def test_recorded_layers_run_on_the_meta_device_under_fake_tensors() -> None:
    shapes = network("relu_tanh", "tanh")
    numbers = StepPlan((0.01,) * 3, (0.01,) * 3, (0.1,) * 3, "euler", 5, int(rng.Stream.BACKGROUND))
    with FakeTensorMode():
        _, points, targets, weights = problem("meta")
        kernel = GraphedLayeredKernel(shapes, torch.device("meta"), torch.float32)
        theta, total = (
            torch.zeros(shapes.n_parameters, device="meta"),
            torch.zeros(96, dtype=torch.float64, device="meta"),
        )
        found = kernel.advance_background(theta, points, targets, weights, numbers, 0, 3, total)
        assert found.theta.shape == (shapes.n_parameters,) and found.losses.shape == (3,)


def test_layers_are_recorded_where_a_device_can_and_compiled_where_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = network("relu_tanh", "tanh")

    def chosen(device: str = "cuda", dtype: torch.dtype = torch.float32, **more: Any) -> str:
        return type(choose_layered(shapes, torch.device(device), dtype, 96, **more)).__name__

    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: object())
    assert chosen() == chosen(kind="fused") == "LayeredProductKernel"
    assert chosen(dtype=torch.float64) == chosen(kind="graphed") == "GraphedLayeredKernel"
    assert chosen(kind="reference") == chosen("mps") == chosen("cpu", torch.float64) == "LayeredKernel"
    assert chosen("cpu") == "FusedLayeredKernel" and chosen("cpu", kind="graphed") == "GraphedLayeredKernel"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert chosen() == "GraphedLayeredKernel"
    monkeypatch.undo()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    assert chosen() == "GraphedLayeredKernel" and chosen("cpu") == "LayeredKernel"


def test_fresh_neurons_of_every_layer_are_moved_by_what_serves_their_inputs_and_readouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = network("relu_tanh", "tanh", "erf")

    def movers(device: str) -> list[str]:
        return [type(mover).__name__ for mover in choose_movers(shapes, torch.device(device), torch.float32)]

    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: object())
    assert movers("cuda") == ["ProductKernel", "ProductKernel", "TritonKernel"]
    assert movers("cpu") == movers("mps") == ["ReferenceKernel"] * 3
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    assert movers("cuda") == ["GraphedKernel"] * 3


def assert_recorded(kernel: GraphedKernel | GraphedLayeredKernel) -> None:
    kept = kernel._recordings.kept.values()
    assert kept and all(run._recording != run.one_step for run in kept), "the recording was found unfaithful"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="records graphs on CUDA only, and there is no such device")
@every_kind
def test_recorded_layers_on_a_gpu_are_the_layered_steps(integrator: str) -> None:
    kernel = GraphedLayeredKernel(network("relu_tanh", "tanh"), torch.device("cuda"), torch.float32)
    layers_agree(kernel, integrator, "cuda", torch.float32, 1e-4)
    assert_recorded(kernel)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="records graphs on CUDA only, and there is no such device")
@every_kind
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_recorded_steps_on_a_gpu_are_the_reference_steps(name: str, integrator: str) -> None:
    # Float32, ten steps: 1e-7 of numbers of order ten, times the square root of a hundred roundings.
    kernel = choose(name, device="cuda", dtype=torch.float32, n_inputs=2, kind="graphed")
    assert isinstance(kernel, GraphedKernel)
    agree(kernel, integrator, "cuda", torch.float32, 1e-4)
    assert_recorded(kernel)
