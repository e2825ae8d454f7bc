"""The fused kernel: whole training steps in compiled code, on the CPU, in float32, for one readout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine import rng
from mft_engine.device import n_threads
from mft_engine.kernels import inner_loops, passes
from mft_engine.kernels.forms import FORMS, PARITY, mode_of
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan, check_sizes
from mft_engine.kernels.reference import check_arguments
from mft_engine.kernels.slots import Slots, arrange
from mft_engine.kernels.team import Crew, built, run_shift
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive, output_scale

# u of as many neurons is kept between the two passes as fits a third-level cache; for the others it is computed twice,
# which costs no more than main memory.
KEPT_BYTES = 2**24
# Blocks of neurons x slots of points below which a second thread costs more than it saves (some 15 microseconds).
WORK_FOR_ONE = 1024

_compiled: dict[tuple[int, int, bool], Any] = {}
_registering = threading.Lock()
_scratch = threading.local()


def _advance_function(base: int, mode: int, is_planar: bool) -> Any:
    key = (base, mode, is_planar)
    with _registering:
        if key not in _compiled:
            _compiled[key] = built(inner_loops.build_advance, *key)
        return _compiled[key]


def _kept_array(n_rows: int, n_slots: int) -> NDArray[np.float32]:
    """Scratch of this thread, reused while it is large enough: fresh pages cost more than a step."""
    flat: NDArray[np.float32] | None = getattr(_scratch, "u", None)
    if flat is None or flat.size < n_rows * n_slots:
        flat = _scratch.u = np.empty(n_rows * n_slots, dtype=np.float32)
    return flat[: n_rows * n_slots].reshape(n_rows, n_slots)


def _float32(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return np.array(tensor.detach().numpy(), dtype=np.float64)


class FusedKernel:
    """Compiled step loops; see `Kernel` for the methods and `mft_engine.kernels.inner_loops` for what they compute.

    Equal to the reference kernel to float32 rounding (functions to 5e-7, sums over neurons in float64 beyond
    blocks of 64). After a step that is not finite the remaining steps are not taken; their losses are NaN.
    """

    name = "fused"

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._base, self._is_one_sided = FORMS[activation.name]
        self._parity = PARITY[activation.parity]
        self._last: tuple[NDArray[np.float32], Slots] | None = None
        self._crews: dict[tuple[int, ...], Crew] = {}

    @property
    def is_ready(self) -> bool:
        """Whether a symmetric rule in the plane would run at once."""
        return self._is_compiled(is_paired=True, is_planar=True)

    def is_ready_for(self, points: Tensor) -> bool:
        """Whether a call with such points would run at once, with nothing to compile."""
        return self._is_compiled(self._slots(points).is_paired, points.shape[1] <= 2)

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile, or load from the cache, what such points need (None: a symmetric rule in the plane).

        Takes some seconds for the first time on a machine.
        """
        if points is None:
            points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        self.predict(torch.zeros(1, points.shape[1] + 1), points, 1.0)

    def advance_background(
        self,
        theta: Tensor,
        points: Tensor,
        targets: Tensor,
        weights: Tensor,
        plan: StepPlan,
        first_step: int,
        n_steps: int,
        prediction_sum: Tensor,
    ) -> BackgroundResult:
        """n_steps of the interacting cloud; arguments and result as in `ReferenceKernel.advance_background`.

        Raises:
            ValueError: arguments that do not fit, or a prediction_sum that is not float64.
        """
        check_arguments(theta, points, plan, n_steps)
        check_sizes("fused", theta, points, targets=targets, weights=weights, prediction_sum=prediction_sum)
        if prediction_sum.dtype != torch.float64:
            raise ValueError(f"the fused kernel sums predictions in float64, not in {prediction_sum.dtype}")
        n_points = len(points)
        total, prediction = _float64(prediction_sum), np.zeros(n_points)
        losses, finite = np.full(n_steps, np.nan), np.zeros(n_steps, dtype=np.bool_)
        state = self._state(theta)
        self._run(
            state, points, plan, first_step, n_steps, n_neurons=theta.shape[0],
            targets=_float64(targets), weights=_float64(weights), signal=np.zeros(n_points), total=total,
            prediction=prediction, losses=losses, finite=finite,
        )  # fmt: skip
        return BackgroundResult(
            self._theta(state, theta),
            torch.from_numpy(total),
            torch.from_numpy(losses),
            torch.from_numpy(prediction),
            torch.from_numpy(finite & np.isfinite(losses)),
            first_step,
        )

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons; arguments and result as in `ReferenceKernel.advance_frozen`."""
        check_arguments(theta, points, plan, n_steps)
        check_sizes("fused", theta, points, signal=signal)
        empty, state = np.zeros(0), self._state(theta)
        is_whole = self._run(
            state, points, plan, first_step, n_steps, n_neurons=theta.shape[0], is_frozen=True,
            targets=empty, weights=empty, signal=_float64(signal), total=empty, prediction=empty,
            losses=empty, finite=np.zeros(0, dtype=np.bool_),
        )  # fmt: skip
        return FrozenResult(self._theta(state, theta), torch.tensor(is_whole))

    def predict(
        self, theta: Tensor, points: Tensor, readout_exponent: float, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """f(x_mu) = N^-kappa sum_i a_i phi(w_i . x_mu), (n_points,) float32 or `dtype`; sums in float64."""
        n_params = theta.shape[1]
        zeros = (0.0,) * n_params
        plan = StepPlan(zeros, zeros, zeros, "euler", 0, 0, readout_exponent)
        check_arguments(theta, points, plan, 1)
        check_sizes("fused", theta, points)
        none, prediction = np.zeros(len(points)), np.zeros(len(points))
        self._run(
            self._state(theta), points, plan, 0, 1, n_neurons=theta.shape[0], moves_last=False,
            targets=none, weights=none, signal=none.copy(), total=none.copy(), prediction=prediction,
            losses=np.zeros(1), finite=np.zeros(1, dtype=np.bool_),
        )  # fmt: skip
        return torch.from_numpy(prediction).to(dtype or theta.dtype)

    def _run(
        self,
        state: NDArray[np.float32],
        points: Tensor,
        plan: StepPlan,
        first_step: int,
        n_steps: int,
        *,
        n_neurons: int,
        targets: NDArray[np.float64],
        weights: NDArray[np.float64],
        signal: NDArray[np.float64],
        total: NDArray[np.float64],
        prediction: NDArray[np.float64],
        losses: NDArray[np.float64],
        finite: NDArray[np.bool_],
        is_frozen: bool = False,
        moves_last: bool = True,
    ) -> bool:
        """All steps; False where one was not finite, which is the last."""
        slots = self._slots(points)
        n_inputs, n_slots = points.shape[1], slots.x.shape[1]
        # With one input the second weight is a row of zeros behind the parameters.
        w = np.array([0, 2] if n_inputs == 1 else range(n_inputs), dtype=np.int64)
        # A frozen field needs no sum over neurons: each block goes forward and backward at once.
        n_kept = 0 if is_frozen else KEPT_BYTES // (4 * n_slots)
        n_kept = min(n_kept - n_kept % inner_loops.NEURON_BLOCK, state.shape[1])
        n_blocks = -(-state.shape[1] // inner_loops.NEURON_BLOCK)
        n_most = max(1, min(n_threads(), n_blocks, n_blocks * n_slots // WORK_FOR_ONE))
        u = _kept_array(n_kept + n_most * inner_loops.NEURON_BLOCK, n_slots)
        xi_now = np.empty((4 * -(-len(plan.rate) // 4) if plan.is_noisy else 0, state.shape[1]), dtype=np.float32)
        parts = np.empty((2, n_blocks if n_most > 1 and not is_frozen else 0, n_slots), dtype=np.float32)
        is_bad, sums = np.zeros(n_most, dtype=np.bool_), np.zeros((2, n_slots))
        key_0, key_1 = rng.seed_key(plan.seed)
        advance = self._function(slots.is_paired, n_inputs <= 2)

        def work(member: int, n_members: int, first: int, n: int, counter: NDArray[np.int64]) -> None:
            own = [signal, total, prediction, losses[first : first + n]]
            if member:
                own = [array.copy() for array in own]
            advance(
                state, n_neurons, w, n_inputs, slots.x, u, n_kept, slots.plus, slots.minus,
                self._parity, is_frozen, moves_last, targets, weights, output_scale(n_neurons, plan.readout_exponent),
                drive(n_neurons, plan.readout_exponent), _float32(plan.rate), _float32(plan.decay),
                _float32(plan.noise), plan.is_noisy, plan.uses_next, np.uint64(key_0),
                np.uint64(key_1), np.uint64(int(plan.stream) & rng.MASK_32), plan.first_neuron,
                np.uint64(first_step + first), n, *own, finite[first : first + n], xi_now,
                member, n_members, counter, parts, sums, is_bad,
            )  # fmt: skip

        # Members of a frozen field never wait for each other.
        key = (n_most, n_blocks, n_slots, n_inputs, slots.is_paired, moves_last)
        crew = self._crews.setdefault(key, Crew(n_most))
        shifts: Iterable[tuple[int, int, int]] = [(n_most, 0, n_steps)] if is_frozen else crew.shifts(n_steps)
        return all(run_shift(work, *shift, is_bad) for shift in shifts)

    def _function(self, is_paired: bool, is_planar: bool) -> Callable[..., None]:
        mode = mode_of(self._is_one_sided, is_paired)
        function: Callable[..., None] = _advance_function(self._base, mode, is_planar)
        return function

    def _is_compiled(self, is_paired: bool, is_planar: bool) -> bool:
        return bool(self._function(is_paired, is_planar).signatures)  # type: ignore[attr-defined]

    def _slots(self, points: Tensor) -> Slots:
        array = points.detach().numpy()
        last = self._last
        if last is None or not np.array_equal(last[0], array):
            own = np.array(array, dtype=np.float32)
            last = self._last = (own, arrange(own))
        return last[1]

    @staticmethod
    def _state(theta: Tensor) -> NDArray[np.float32]:
        """Rows of parameters, padded with zero neurons; with one input also a row of zeros."""
        n_neurons, n_params = theta.shape
        n_padded = -(-n_neurons // passes.NEURON_GROUP) * passes.NEURON_GROUP
        state = np.empty((n_params + (n_params == 2), n_padded), dtype=np.float32)
        state[:n_params, :n_neurons] = theta.detach().numpy().T
        state[:, n_neurons:] = 0.0
        state[n_params:] = 0.0
        return state

    @staticmethod
    def _theta(state: NDArray[np.float32], like: Tensor) -> Tensor:
        n_neurons, n_params = like.shape
        theta = np.empty((n_neurons, n_params), dtype=np.float32)
        for j in range(n_params):  # column by column: less than half the time of numpy's transposed copy
            theta[:, j] = state[j, :n_neurons]
        return torch.from_numpy(theta)
