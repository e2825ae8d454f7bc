"""The recorded step: the reference's arithmetic in buffers of its own, and the recording itself where a device can."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine import rng
from mft_engine.device import record_graph
from mft_engine.kernels import GraphedKernel, ReferenceKernel, StepPlan, choose, graphed
from mft_engine.network.activations import ACTIVATIONS, get_activation

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
    kept = [kind.theta[0] for kind in kernel._recordings]
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="records graphs on CUDA only, and there is no such device")
@every_kind
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_recorded_steps_on_a_gpu_are_the_reference_steps(name: str, integrator: str) -> None:
    # Float32, ten steps: 1e-7 of numbers of order ten, times the square root of a hundred roundings.
    kernel = choose(name, device="cuda", dtype=torch.float32, n_inputs=2, kind="graphed")
    assert isinstance(kernel, GraphedKernel)
    agree(kernel, integrator, "cuda", torch.float32, 1e-4)
    recordings = kernel._recordings.values()
    assert all(run._replay != run.one_step for run in recordings), "the recording was found unfaithful"
