"""Claims about compiled steps of several readouts and many inputs: equal to the reference, the same bits every way."""

from __future__ import annotations

import pytest
import torch

from mft_engine import rng
from mft_engine.kernels import ReferenceKernel, StepPlan
from mft_engine.network.activations import ACTIVATIONS, get_activation

pytest.importorskip("numba")

from mft_engine.kernels import fused_many, team
from mft_engine.kernels.fused_many import FusedManyKernel

# Two blocks of neurons and three chunks of points, the last of each not full.
N_NEURONS, N_INPUTS, N_POINTS, FIRST_STEP = 77, 19, 300, 5


@pytest.fixture(autouse=True)
def _many_members(monkeypatch):
    monkeypatch.setattr(fused_many, "WORK_FOR_ONE", 1)
    monkeypatch.setattr(team.Crew, "_next", lambda crew: (crew.n_most, 7))  # whatever the clock says
    monkeypatch.setattr(team, "LOOK_STEPS", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def problem(n_out, dtype=torch.float32):
    def drawn(step, rows, columns):
        return rng.normal(7, rng.Stream.TASK, step, rows, columns, device="cpu", dtype=dtype)

    theta, points, targets = (
        drawn(0, N_NEURONS, N_INPUTS + n_out),
        drawn(1, N_POINTS, N_INPUTS),
        drawn(2, N_POINTS, n_out),
    )
    weights = drawn(3, N_POINTS, 1)[:, 0].square() / N_POINTS
    return 0.5 * theta, points, targets[:, 0] if n_out == 1 else targets, weights


def plan(n_out, integrator="leimkuhler-matthews", *, rate=1e-2, noise=1e-2, first_neuron=0):
    steps = tuple(rate * (1 + j % 3) for j in range(N_INPUTS + n_out))
    decay, noises = tuple(0.1 * step for step in steps), tuple(noise * (1 + j % 2) for j in range(len(steps)))
    return StepPlan(steps, decay, noises, integrator, 3, rng.Stream.BACKGROUND, 1.0, first_neuron)


def both(kernel, n_out, how, n_steps=30, dtype=torch.float32):
    theta, points, targets, weights = problem(n_out, dtype)
    total = torch.zeros(targets.shape, dtype=torch.float64)
    trained = kernel.advance_background(theta, points, targets, weights, how, FIRST_STEP, n_steps, total)
    signal = targets * weights.reshape(-1, *(1,) * (targets.dim() - 1))
    return trained, kernel.advance_frozen(theta, points, signal, how, FIRST_STEP, n_steps)


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("n_out", [1, 6])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_compiled_steps_equal_the_reference_in_double_precision(name, n_out, integrator):
    how = plan(n_out, integrator, rate=1e-3, first_neuron=11)
    trained, frozen = both(FusedManyKernel(get_activation(name)), n_out, how)
    exact, exact_frozen = both(ReferenceKernel(get_activation(name)), n_out, how, dtype=torch.float64)
    assert trained.is_finite and frozen.is_finite
    # Rounding of single precision is 6e-8 a number; quadratic neurons enlarge it most.
    torch.testing.assert_close(trained.theta.double(), exact.theta, rtol=5e-5, atol=5e-5)
    torch.testing.assert_close(trained.losses, exact.losses, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trained.prediction_sum, exact.prediction_sum, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trained.prediction, exact.prediction, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(frozen.theta.double(), exact_frozen.theta, rtol=5e-5, atol=5e-5)


def test_any_number_of_threads_and_any_split_give_the_same_bits():
    def everything(n_threads, n_out=6):
        torch.set_num_threads(n_threads)
        trained, frozen = both(FusedManyKernel(get_activation("relu_tanh")), n_out, plan(n_out))
        tensors = (trained.theta, trained.prediction_sum, trained.losses, trained.finite, frozen.theta)
        return [tensor.numpy().tobytes() for tensor in tensors]

    alone = everything(1)
    assert all(everything(n_threads) == alone for n_threads in (2, 3, 7))
    kernel, (theta, *rest) = FusedManyKernel(get_activation("relu_tanh")), problem(6)
    step, total = FIRST_STEP, torch.zeros(N_POINTS, 6, dtype=torch.float64)
    for n in (1, 20, 9):
        part = kernel.advance_background(theta, *rest, plan(6), step, n, total)
        theta, total, step = part.theta, part.prediction_sum, step + n
    assert [theta.numpy().tobytes(), total.numpy().tobytes()] == alone[:2]


def test_the_first_step_that_is_not_finite_is_told_and_is_the_last():
    trained, frozen = both(FusedManyKernel(get_activation("quadratic")), 6, plan(6, rate=1e9))
    bad = trained.nonfinite_step
    assert bad is not None and torch.isnan(trained.losses[bad - FIRST_STEP + 1 :]).all()
    assert not frozen.is_finite


@pytest.mark.parametrize("limit", ["MOST_NUMBERS", "MOST_FEATURES"])
def test_clouds_too_large_for_compiled_products_go_step_by_step(monkeypatch, limit):
    monkeypatch.setattr(fused_many, limit, 100)
    for found, wanted in zip(
        both(FusedManyKernel(get_activation("tanh")), 6, plan(6)),
        both(ReferenceKernel(get_activation("tanh")), 6, plan(6)),
        strict=True,
    ):
        assert torch.equal(found.theta, wanted.theta)
