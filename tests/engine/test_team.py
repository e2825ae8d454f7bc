"""Claims about compiled loops in several threads: the same bits for any number, whoever else is at work."""

from __future__ import annotations

import threading

import pytest
import torch

from mft_engine import rng
from mft_engine.kernels import StepPlan
from mft_engine.network.activations import get_activation
from mft_engine.points.measure import polar_rule

pytest.importorskip("numba")

from numba import njit

from mft_engine.kernels import fused, inner_loops, team
from mft_engine.kernels.fused import FusedKernel
from mft_engine.kernels.vectors import use_widest_vectors

# 20 blocks of neurons, the last one not full; with 128 slots enough for two members, with WORK_FOR_ONE = 1 for more.
N_NEURONS = 19 * 64 + 13


@pytest.fixture(autouse=True)
def _many_members(monkeypatch):
    monkeypatch.setattr(fused, "WORK_FOR_ONE", 1)
    monkeypatch.setattr(team.Crew, "_next", lambda crew: (crew.n_most, 7))  # whatever the clock says
    monkeypatch.setattr(team, "LOOK_STEPS", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawn(step, rows, columns):
    return rng.normal(7, rng.Stream.TASK, step, rows, columns, device="cpu", dtype=torch.float32)


def plan(n_inputs, rate=1e-2):
    n_params = n_inputs + 1
    return StepPlan(
        (rate,) * n_params, (1e-3,) * n_params, (1e-2,) * n_params, "leimkuhler-matthews", 3, rng.Stream.BACKGROUND
    )


def problem(n_inputs):
    inputs = polar_rule(8, 32).inputs if n_inputs == 2 else drawn(0, 101, n_inputs).numpy()
    points = torch.as_tensor(inputs, dtype=torch.float32)
    weights = torch.full((len(points),), 1 / len(points))
    return drawn(1, N_NEURONS, n_inputs + 1), points, points[:, 0] * points[:, -1], weights


def everything(kernel, n_inputs, *, rate=1e-2):
    theta, points, targets, weights = problem(n_inputs)
    total = torch.zeros(len(points), dtype=torch.float64)
    trained = kernel.advance_background(theta, points, targets, weights, plan(n_inputs, rate), 5, 30, total)
    frozen = kernel.advance_frozen(theta, points, weights * targets, plan(n_inputs, rate), 5, 30)
    predicted = kernel.predict(theta, points, 1.0)
    found = (trained.theta, trained.prediction_sum, trained.losses, trained.prediction, trained.finite)
    return [tensor.numpy().tobytes() for tensor in (*found, frozen.theta, frozen.finite, predicted)]


@pytest.mark.parametrize("n_inputs", [1, 2, 5])
@pytest.mark.parametrize("name", ["relu_tanh", "sin"])
@pytest.mark.parametrize("kept_bytes", [fused.KEPT_BYTES, 9 * 64 * 128 * 4, 0])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, name, n_inputs, kept_bytes):
    monkeypatch.setattr(fused, "KEPT_BYTES", kept_bytes)
    kernel = FusedKernel(get_activation(name))
    torch.set_num_threads(1)
    alone = everything(kernel, n_inputs)
    for n_threads in (2, 3, 7):
        torch.set_num_threads(n_threads)
        assert everything(kernel, n_inputs) == alone


@pytest.mark.parametrize("n_members", [1, 2, 3, 7])
@pytest.mark.parametrize("n_kept", [0, 9 * 64, N_NEURONS + 3])
def test_neurons_that_are_computed_twice_are_shared_as_evenly_as_the_others(n_kept, n_members):
    found = [inner_loops.blocks_of(member, n_members, N_NEURONS + 3, n_kept) for member in range(n_members)]
    parts = [range(first, first + n) for first, n, *_ in found]
    others = [range(first, first + n) for *_, first, n in found]
    assert sorted(block for part in (*parts, *others) for block in part) == list(range(20))
    assert all(block * 64 < n_kept for part in parts for block in part)
    for shares in (parts, others):
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_first_step_that_is_not_finite_is_the_same_for_any_number_of_threads():
    kernel = FusedKernel(get_activation("quadratic"))
    torch.set_num_threads(1)
    alone = everything(kernel, 2, rate=1e9)
    torch.set_num_threads(3)
    together = everything(kernel, 2, rate=1e9)
    theta, points, targets, weights = problem(2)
    total = torch.zeros(len(points), dtype=torch.float64)
    result = kernel.advance_background(theta, points, targets, weights, plan(2, 1e9), 5, 30, total)
    assert result.nonfinite_step is not None
    assert together[4] == alone[4]  # the flags


def test_two_callers_with_teams_of_their_own_do_not_wait_for_each_other_for_ever():
    torch.set_num_threads(1)
    kernel = FusedKernel(get_activation("relu_tanh"))
    alone = everything(kernel, 2)
    found = []

    def work():
        torch.set_num_threads(3)
        found.extend(everything(FusedKernel(get_activation("relu_tanh")), 2) == alone for _ in range(10))

    callers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=120)
    assert found == [True] * 30


def worked(crew, n_steps, seconds, monkeypatch):
    """Who did the steps of a call, on a clock that goes by `seconds` a step for so many members."""
    clock, done = [worked.now], {}
    monkeypatch.setattr(team.time, "perf_counter", lambda: clock[0])
    for n_members, first, n in crew.shifts(n_steps):
        assert first == sum(done.values())
        done[n_members] = done.get(n_members, 0) + n
        clock[0] += n * seconds[n_members]
    worked.now = clock[0]
    return done


worked.now = 0.0
QUIET, BUSY = {1: 1e-4, 4: 3e-5}, {1: 2e-4, 4: 1e-2}


@pytest.fixture
def _by_the_clock(_many_members, monkeypatch):
    monkeypatch.undo()
    worked.now = 0.0


@pytest.mark.usefixtures("_by_the_clock")
def test_members_that_wait_for_each_other_beside_other_programs_leave_the_work_to_one(monkeypatch):
    crew = team.Crew(4)
    assert worked(crew, 10_000, QUIET, monkeypatch) == {1: team.LOOK_STEPS, 4: 10_000 - team.LOOK_STEPS}
    done = worked(crew, 10_000, BUSY, monkeypatch)
    assert done[4] < 300
    # Looks become rare: of a minute, few hundredths are spent on finding out that nothing has changed.
    together = worked(crew, 300_000, BUSY, monkeypatch)[4]
    assert 0 < together * BUSY[4] < 0.05 * 60
    # And the whole team is back soon after the others have gone.
    assert worked(crew, 2_000_000, QUIET, monkeypatch)[1] * QUIET[1] < 2 * team.LONGEST_PAUSE


@pytest.mark.usefixtures("_by_the_clock")
def test_calls_of_single_steps_are_timed_together(monkeypatch):
    crew = team.Crew(4)
    for _ in range(50):
        worked(crew, 1, QUIET, monkeypatch)
    assert worked(crew, 1, QUIET, monkeypatch) == {4: 1}


def test_a_loop_that_asks_for_the_widest_vectors_is_compiled_for_them():
    """The attribute is one that llvmlite does not know by name: a version that drops it would only be slower."""

    @njit
    def doubled(values):
        use_widest_vectors()
        return values + values

    assert doubled(2.0) == 4.0
    (text,) = doubled.inspect_llvm().values()
    assert '"prefer-vector-width"="512"' in text
