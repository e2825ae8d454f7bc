"""Several readouts, or many inputs, in compiled steps: on the CPU, in float32, by as many threads as pay."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine import rng
from mft_engine.device import n_threads
from mft_engine.kernels import many_loop
from mft_engine.kernels.forms import FORMS
from mft_engine.kernels.fused_layered import cut, one_thread_each, own_copy
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan
from mft_engine.kernels.reference import ReferenceKernel, check_arguments
from mft_engine.kernels.team import Crew, built, run_shift
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive, output_scale

# Numbers in all the parts of a drift (64 MB), and in the features of a chunk (16 MB, three times for each member), up
# to which nothing is walked through in blocks.
MOST_NUMBERS, MOST_FEATURES = 2**24, 2**22
# Points x parameters below which a second thread costs more than it saves.
WORK_FOR_ONE = 2**20


@cache
def _loop() -> Any:
    return built(many_loop.build_advance)


class FusedManyKernel(ReferenceKernel):
    """The reference kernel with compiled steps, to float32 rounding; the same bits for any number of threads.

    Clouds too large for it go step by step, as in the reference. After a step that is not finite the remaining steps
    are not taken; their losses are NaN.
    """

    name = "compiled products"

    def __init__(self, activation: Activation) -> None:
        super().__init__(activation)
        self._crews: dict[tuple[int, int, bool], Crew] = {}

    @property
    def is_ready(self) -> bool:  # type: ignore[override]
        """Whether a call would run at once."""
        return bool(_loop().signatures)

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile, or load from the cache; takes some seconds for the first time on a machine."""
        plan = StepPlan((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), "euler", 0, 0)
        self.advance_frozen(torch.zeros(1, 2), torch.zeros(1, 1), torch.zeros(1), plan, 0, 1)

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
        """n_steps of the interacting cloud; arguments and result as in `ReferenceKernel.advance_background`."""
        check_arguments(theta, points, plan, n_steps)
        if not _fits(theta, points) or prediction_sum.dtype != torch.float64:
            return super().advance_background(
                theta, points, targets, weights, plan, first_step, n_steps, prediction_sum
            )  # fmt: skip
        wanted, total = _columns(targets, points, np.float32), _columns(prediction_sum, points, np.float64)
        losses, prediction = np.full(n_steps, np.nan), np.empty_like(wanted)
        factor = own_copy(weights * drive(theta.shape[0], plan.readout_exponent), np.float32)
        state, finite = self._run(
            theta, points, plan, first_step, n_steps, wanted, own_copy(weights, np.float64), factor,
            np.empty_like(wanted), prediction, total, losses, is_frozen=False,
        )  # fmt: skip
        return BackgroundResult(
            state,
            torch.from_numpy(total.reshape(prediction_sum.shape)),
            torch.from_numpy(losses),
            torch.from_numpy(prediction.astype(np.float64).reshape(prediction_sum.shape)),
            torch.from_numpy(finite & np.isfinite(losses)),
            first_step,
        )

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons; arguments and result as in `ReferenceKernel.advance_frozen`."""
        check_arguments(theta, points, plan, n_steps)
        if not _fits(theta, points):
            return super().advance_frozen(theta, points, signal, plan, first_step, n_steps)
        given = _columns(signal, points, np.float32)
        none = np.zeros(len(points))
        state, finite = self._run(
            theta, points, plan, first_step, n_steps, given, none, none.astype(np.float32), given,
            np.empty_like(given), np.empty((0, 0)), np.empty(n_steps), is_frozen=True,
        )  # fmt: skip
        return FrozenResult(state, torch.tensor(bool(finite.all())))

    def _run(
        self,
        theta: Tensor,
        points: Tensor,
        plan: StepPlan,
        first_step: int,
        n_steps: int,
        targets: NDArray[np.float32],
        weights: NDArray[np.float64],
        factor: NDArray[np.float32],
        signal: NDArray[np.float32],
        prediction: NDArray[np.float32],
        total: NDArray[np.float64],
        losses: NDArray[np.float64],
        *,
        is_frozen: bool,
    ) -> tuple[Tensor, NDArray[np.bool_]]:
        """The neurons after all steps, and which steps were finite."""
        n_points, (n_neurons, n_params) = len(points), theta.shape
        chunk, n_chunks = cut(n_points)
        state, finite = own_copy(theta.T, np.float32), np.zeros(n_steps, dtype=np.bool_)
        n_most = max(1, min(n_threads(), n_chunks, n_points * theta.numel() // WORK_FOR_ONE))
        is_bad = np.zeros(n_most, dtype=np.bool_)
        key_0, key_1 = rng.seed_key(plan.seed)
        base, is_one_sided = FORMS[self.activation.name]
        scale = np.float32(output_scale(n_neurons, plan.readout_exponent))
        shared = (
            state, base, is_one_sided, own_copy(points, np.float32), targets, weights, factor, scale, chunk, is_frozen,
            *(np.array(values, dtype=np.float32) for values in (plan.rate, plan.decay, plan.noise)),
            plan.is_noisy, plan.uses_next, np.uint64(key_0), np.uint64(key_1),
            np.uint64(int(plan.stream) & rng.MASK_32), plan.first_neuron,
        )  # fmt: skip
        moved = np.empty((n_chunks, n_params, n_neurons), dtype=np.float32)
        xi_now = np.empty((4 * -(-n_params // 4), n_neurons), dtype=np.float32)
        loop = _loop()

        def work(member: int, n_members: int, first: int, n: int, counter: NDArray[np.int64]) -> None:
            loop(
                *shared, np.uint64(first_step + first), n, signal, prediction, total, losses[first : first + n],
                finite[first : first + n], moved, xi_now, member, n_members, counter, is_bad,
            )  # fmt: skip

        with one_thread_each():
            crew = self._crews.setdefault((n_most, n_points, is_frozen), Crew(n_most))
            for shift in crew.shifts(n_steps):
                if not run_shift(work, *shift, is_bad):
                    break
        return torch.from_numpy(np.ascontiguousarray(state.T)), finite


def _fits(theta: Tensor, points: Tensor) -> bool:
    chunk, n_chunks = cut(len(points))
    is_small = n_chunks * theta.numel() <= MOST_NUMBERS and chunk * theta.shape[0] <= MOST_FEATURES
    return theta.dtype == torch.float32 and is_small


def _columns(tensor: Tensor, points: Tensor, dtype: type) -> NDArray[Any]:
    """(n_points, n_out), a copy."""
    return own_copy(tensor.reshape(len(points), -1), dtype)
