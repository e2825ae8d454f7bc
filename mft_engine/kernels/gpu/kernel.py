"""The kernel of GPUs: compiled steps, tried against the reference before they are trusted."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch
from torch import Tensor

from mft_engine.device import host_device
from mft_engine.kernels.forms import FORMS, PARITY, mode_of
from mft_engine.kernels.gpu import trial
from mft_engine.kernels.gpu.buffers import Buffers, DeviceSlots, Kind
from mft_engine.kernels.gpu.repeated import MAX_STEPS
from mft_engine.kernels.graphed import GraphedKernel
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan, check_sizes
from mft_engine.kernels.reference import ReferenceKernel, check_arguments
from mft_engine.kernels.slots import arrange
from mft_engine.network.activations import Activation

# Kinds of steps whose memory is kept: a background, its foreground, and their wrong twins.
MAX_KINDS = 4
# Tensors of points whose slots are kept: training, field, pictures.
MAX_ARRANGED = 8


class TritonKernel:
    """Whole steps on the device; see `Kernel` for the methods and `mft_engine.kernels.gpu.steps` for what they compute.

    Equal to the reference kernel to float32 rounding, and to itself bit for bit for any split of the steps. Before its
    first use for an activation, a kind of points and a device two noisy steps are compared with the reference; where
    they differ, or do not compile, the recorded steps of `GraphedKernel` serve instead and a sentence is logged.
    After a step that is not finite the neurons are of no use.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._base, self._is_one_sided = FORMS[activation.name]
        self._parity = PARITY[activation.parity]
        self._fallback = GraphedKernel(activation)
        self._buffers: OrderedDict[Kind, Buffers] = OrderedDict()
        self._arranged: OrderedDict[tuple[object, ...], tuple[Tensor, DeviceSlots]] = OrderedDict()
        self._trials = trial.Trials(activation.name)
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """What serves: "triton", or "graphed" where a trial has failed."""
        return "triton" if self._trials.is_passed else self._fallback.name

    @property
    def is_ready(self) -> bool:
        """Whether something has been compiled and tried."""
        return self._trials.is_begun

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile what such points need, some seconds for the first time on a machine, and try it.

        Args:
            points: on the device that will be used; None: nothing can be known yet.
        """
        if points is not None:
            self._serves(points)

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
        check_sizes("triton", theta, points, targets=targets, weights=weights, prediction_sum=prediction_sum)
        with self._lock:
            if not self._serves(points, plan.has_fresh_points):
                return self._fallback.advance_background(
                    theta, points, targets, weights, plan, first_step, n_steps, prediction_sum
                )
            return self._background(theta, points, targets, weights, plan, first_step, n_steps, prediction_sum)

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons; arguments and result as in `ReferenceKernel.advance_frozen`."""
        check_arguments(theta, points, plan, n_steps)
        check_sizes("triton", theta, points, signal=signal)
        with self._lock:
            if not self._serves(points, plan.has_fresh_points):
                return self._fallback.advance_frozen(theta, points, signal, plan, first_step, n_steps)
            return self._frozen(theta, points, signal, plan, first_step, n_steps)

    def predict(
        self, theta: Tensor, points: Tensor, readout_exponent: float, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """f(x_mu) = N^-kappa sum_i a_i phi(w_i . x_mu), (n_points,) float32 or `dtype`; sums in integers of 2^-40."""
        zeros = (0.0,) * theta.shape[1]
        plan = StepPlan(zeros, zeros, zeros, "euler", 0, 0, readout_exponent)
        check_arguments(theta, points, plan, 1)
        check_sizes("triton", theta, points)
        with self._lock:
            if not self._serves(points):
                return self._fallback.predict(theta, points, readout_exponent, dtype=dtype)
            slots = self._slots(points)
            buffers = Buffers(self._kind(theta, slots, plan))
            buffers.load(theta, slots, plan, 0)
            buffers.launch(goes_back=False, goes_on=True)
            return slots.collect(buffers.found[:2]).to(dtype or theta.dtype)

    def _background(
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
        slots = self._slots(points, plan.has_fresh_points)
        run = self._kept(self._kind(theta, slots, plan))
        run.record()
        run.points.copy_(torch.cat([slots.spread(targets), slots.spread(weights)]))
        run.found[2:].copy_(slots.spread(prediction_sum))
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        for done in range(0, n_steps, MAX_STEPS):
            n = min(MAX_STEPS, n_steps - done)
            run.load(theta, slots, plan, first_step + done)
            run.marks.zero_()
            run.run(n)
            theta = run.theta
            losses.append(run.losses[:n].clone())
            finite.append((run.marks[2 : 2 + n] == 0) & torch.isfinite(losses[-1]))
        return BackgroundResult(
            theta,
            slots.collect(run.found[2:]).to(prediction_sum.dtype),
            torch.cat(losses).to(prediction_sum.dtype),
            slots.collect(run.found[:2]).to(prediction_sum.dtype),
            torch.cat(finite),
            first_step,
        )

    def _frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        slots = self._slots(points, plan.has_fresh_points)
        run = self._kept(self._kind(theta, slots, plan))
        run.load(theta, slots, plan, first_step)
        run.load_signal(signal, slots)
        run.launch_frozen(n_steps)
        theta = run.theta
        return FrozenResult(theta, torch.isfinite(theta).all())

    def _kind(self, theta: Tensor, slots: DeviceSlots, plan: StepPlan) -> Kind:
        return Kind(
            theta.shape[0], theta.shape[1] - 1, slots.n_slots, self._base, mode_of(self._is_one_sided, slots.is_paired),
            plan.is_noisy, plan.uses_next, plan.readout_exponent,
            self._parity, theta.device,
        )  # fmt: skip

    def _kept(self, kind: Kind) -> Buffers:
        if kind not in self._buffers:
            self._buffers[kind] = Buffers(kind)
            while len(self._buffers) > MAX_KINDS:
                self._buffers.popitem(last=False)
        self._buffers.move_to_end(kind)
        return self._buffers[kind]

    def _slots(self, points: Tensor, is_fresh: bool = False) -> DeviceSlots:
        """Where the points sit; looked at on the host once for every tensor of points that will be met again."""
        if is_fresh:
            return DeviceSlots.unseen(points)
        key = (points.data_ptr(), tuple(points.shape), points.stride(), points._version)
        if key not in self._arranged:
            arranged = arrange(points.detach().to(host_device(), torch.float32).numpy())
            # The points are kept too: their address then belongs to nobody else.
            self._arranged[key] = (points, DeviceSlots.of(arranged, points.shape[1], points.device))
            while len(self._arranged) > MAX_ARRANGED:
                self._arranged.popitem(last=False)
        self._arranged.move_to_end(key)
        return self._arranged[key][1]

    def _serves(self, points: Tensor, is_fresh: bool = False) -> bool:
        """Whether the compiled steps passed their trial for such points on this device."""
        mode = mode_of(self._is_one_sided, not is_fresh and self._slots(points).is_paired)
        is_paired = mode != mode_of(self._is_one_sided, False)
        return self._trials.passed(
            (mode, points.shape[1]), points.device, lambda: self._failure(points.shape[1], is_paired, points.device)
        )

    def _failure(self, n_inputs: int, is_paired: bool, device: torch.device) -> str | None:
        """What went wrong in a trial on a small cloud, in words."""
        half = trial.numbers(2, trial.N_POINTS // 2, n_inputs, device)
        problem = trial.Trial(
            trial.numbers(3, trial.N_NEURONS, n_inputs + 1, device),
            torch.cat([half, -half if is_paired else half + 0.1]),
            trial.numbers(4, trial.N_POINTS, 1, device)[:, 0],
            torch.full((trial.N_POINTS,), 1.0 / trial.N_POINTS, device=device),
            trial.plan_of(n_inputs + 1),
        )
        reference = ReferenceKernel(self.activation)
        return problem.failure(self._background, reference, self._frozen, reference)
