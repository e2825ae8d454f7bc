"""Networks of several hidden layers in compiled steps: on the CPU, in float32, by as many threads as pay."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from mft_engine import rng
from mft_engine.device import n_threads
from mft_engine.kernels import layered_loop
from mft_engine.kernels.forms import FORMS
from mft_engine.kernels.plan import BackgroundResult, StepPlan
from mft_engine.kernels.team import Crew, built, run_shift
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.scaling import drive, output_scale

# Points that go through the network together. Fewer make the products slow, more leave work for fewer threads; beyond
# MOST_CHUNKS, each of which leaves a drift of all parameters, chunks are larger.
CHUNK, MOST_CHUNKS = 128, 8
# Points x parameters below which a second thread costs more than it saves.
WORK_FOR_ONE = 2**20


@cache
def _loop() -> Any:
    return built(layered_loop.build_advance)


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of matrix products that compiled code calls, and how many threads they take."""
    import scipy.linalg.cython_blas  # noqa: F401  (what compiled code calls must be there to be found)

    return ThreadpoolController()


def one_thread_each() -> AbstractContextManager[Any]:
    """Inside, every product that compiled code asks for takes one thread: its members are the threads."""
    return _libraries().limit(limits=1, user_api="blas")


def cut(n_points: int) -> tuple[int, int]:
    """Points of a chunk and number of chunks; the last one may be smaller."""
    chunk = max(CHUNK, -(-n_points // MOST_CHUNKS))
    return chunk, -(-n_points // chunk)


class FusedLayeredKernel:
    """Like `LayeredKernel`, to float32 rounding, with the same bits for any number of threads.

    After a step that is not finite the remaining steps are not taken; their losses are NaN.
    """

    name = "layered, compiled"

    def __init__(self, network: LayeredNetwork) -> None:
        self.network = network
        self._crews: dict[tuple[int, int], Crew] = {}

    @property
    def is_ready(self) -> bool:
        """Whether a call would run at once."""
        return bool(_loop().signatures)

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile, or load from the cache; takes some seconds for the first time on a machine."""
        n = self.network.n_inputs
        one, flat = torch.zeros(1), torch.zeros(self.network.n_parameters)
        n_groups = self.network.n_layers + 1
        plan = StepPlan((0.0,) * n_groups, (0.0,) * n_groups, (0.0,) * n_groups, "euler", 0, 0)
        self.advance_background(flat, torch.zeros(1, n), one, one, plan, 0, 1, one.double())

    def predict(self, theta: Tensor, points: Tensor, readout_exponent: float) -> Tensor:
        """f at the points, (n_points,)."""
        return self.network.forward(self.network.split(theta), points, readout_exponent).prediction

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
        """n_steps of the whole network; arguments and result as for `Kernel.advance_background`.

        Raises:
            ValueError: theta that is not float32, or a prediction_sum that is not float64.
        """
        if theta.dtype != torch.float32 or prediction_sum.dtype != torch.float64:
            raise ValueError(
                "compiled layers compute in float32 and sum f in float64, "
                f"not in {theta.dtype} and {prediction_sum.dtype}"
            )
        network, n_points = self.network, len(points)
        chunk, n_chunks = cut(n_points)
        n_padded = -(-network.n_parameters // layered_loop.PARAMETERS) * layered_loop.PARAMETERS
        state, total = own_copy(theta, np.float32), own_copy(prediction_sum, np.float64)
        losses, finite = np.full(n_steps, np.nan), np.zeros(n_steps, dtype=np.bool_)
        prediction = np.empty(n_points, dtype=np.float32)
        n_most = max(1, min(n_threads(), n_chunks, n_points * network.n_parameters // WORK_FOR_ONE))
        is_bad = np.zeros(n_most, dtype=np.bool_)
        key_0, key_1 = rng.seed_key(plan.seed)
        exponent, top = plan.readout_exponent, network.n_neurons[-1]
        forms = [FORMS[activation.name] for activation in network.activations]
        shared = (
            state, np.cumsum([0, *network.sizes]), np.array([network.n_inputs, *network.n_neurons]),
            np.array([base for base, _ in forms]), np.array([is_one_sided for _, is_one_sided in forms]),
            np.array([network.input_scale(layer) for layer in range(1, network.n_layers + 1)], dtype=np.float32),
            own_copy(points, np.float32), own_copy(targets, np.float32), own_copy(weights, np.float64),
            own_copy(weights * drive(top, exponent), np.float32), np.float32(output_scale(top, exponent)), chunk,
            *(np.array(values, dtype=np.float32) for values in (plan.rate, plan.decay, plan.noise)),
            plan.is_noisy, plan.uses_next, np.uint64(key_0), np.uint64(key_1),
            np.uint64(int(plan.stream) & rng.MASK_32),
        )  # fmt: skip
        moved = np.empty((n_chunks, network.n_parameters), dtype=np.float32)
        xi_now = np.empty(n_padded, dtype=np.float32)
        loop = _loop()

        def work(member: int, n_members: int, first: int, n: int, counter: NDArray[np.int64]) -> None:
            loop(
                *shared, np.uint64(first_step + first), n, prediction, total, losses[first : first + n],
                finite[first : first + n], moved, xi_now, member, n_members, counter, is_bad,
            )  # fmt: skip

        with one_thread_each():
            crew = self._crews.setdefault((n_most, n_points), Crew(n_most))
            for shift in crew.shifts(n_steps):
                if not run_shift(work, *shift, is_bad):
                    break
        return BackgroundResult(
            torch.from_numpy(state),
            torch.from_numpy(total),
            torch.from_numpy(losses),
            torch.from_numpy(prediction),
            torch.from_numpy(finite & np.isfinite(losses)),
            first_step,
        )


def own_copy(tensor: Tensor, dtype: type) -> NDArray[Any]:
    """A contiguous array that shares no memory with the tensor."""
    return np.array(tensor.detach().numpy(), dtype=dtype, order="C")
