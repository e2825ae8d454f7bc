"""Kernels of GPUs made of matrix products: clouds of many readouts or inputs, and networks of several hidden layers."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch
from torch import Tensor

from mft_engine.kernels.forms import FORMS
from mft_engine.kernels.gpu import trial
from mft_engine.kernels.gpu.products import MOST_FEATURES, ProductBuffers, ProductKind
from mft_engine.kernels.gpu.repeated import MAX_STEPS
from mft_engine.kernels.graphed import GraphedKernel, GraphedLayeredKernel
from mft_engine.kernels.layered import LayeredKernel
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan
from mft_engine.kernels.reference import ReferenceKernel, check_arguments
from mft_engine.network.activations import Activation
from mft_engine.network.layered import LayeredNetwork

# Kinds of steps whose memory is kept: a background, its foreground, and their wrong twins.
MAX_KINDS = 4


class _Steps:
    """Kinds of steps with their memory, the latest few of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[ProductKind, ProductBuffers] = OrderedDict()

    def of(self, kind: ProductKind) -> ProductBuffers:
        """Memory for such steps, recorded."""
        if kind not in self._kept:
            self._kept[kind] = ProductBuffers(kind)
            while len(self._kept) > MAX_KINDS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(kind)
        self._kept[kind].record()
        return self._kept[kind]

    def background(
        self,
        kind: ProductKind,
        theta: Tensor,
        points: Tensor,
        targets: Tensor,
        weights: Tensor,
        plan: StepPlan,
        first_step: int,
        n_steps: int,
        prediction_sum: Tensor,
    ) -> BackgroundResult:
        """n_steps of a network; f in the dtype of its running sum."""
        run, shape = self.of(kind), theta.shape
        run.load_targets(targets, weights, prediction_sum)
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        for done in range(0, n_steps, MAX_STEPS):
            n = min(MAX_STEPS, n_steps - done)
            run.load(theta, points, plan, first_step + done)
            run.run(n)
            theta = run.theta.clone()
            losses.append(run.losses[:n].clone())
            finite.append((run.marks[:n] == 0) & torch.isfinite(losses[-1]))
        prediction, total = run.found.to(prediction_sum.dtype, copy=True).reshape(2, *targets.shape)
        loss = torch.cat(losses).to(prediction_sum.dtype)
        return BackgroundResult(theta.reshape(shape), total, loss, prediction, torch.cat(finite), first_step)


class ProductKernel(ReferenceKernel):
    """The reference kernel with recorded products, to float32 rounding, the same bits for any split of the steps.

    Before its first use on a device two noisy steps are compared with the reference; where they differ, or do not
    compile, `GraphedKernel` serves instead and a sentence is logged. It also serves where the features of a step would
    take more than 1 GB.

    Args:
        activation: phi; n_out: readouts.
    """

    def __init__(self, activation: Activation, n_out: int) -> None:
        super().__init__(activation)
        self._n_out = n_out
        self._fallback = GraphedKernel(activation)
        self._steps = _Steps()
        self._trials = trial.Trials(f"{activation.name} with {n_out} readouts" if n_out > 1 else activation.name)
        self._lock = threading.RLock()

    @property
    def name(self) -> str:  # type: ignore[override]
        """What serves: "triton products", or "graphed" where a trial has failed."""
        return "triton products" if self._trials.is_passed else self._fallback.name

    @property
    def is_ready(self) -> bool:  # type: ignore[override]
        """Whether something has been compiled and tried."""
        return self._trials.is_begun

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile what such points need, some seconds for the first time on a machine, and try it."""
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
        """See `ReferenceKernel.advance_background`."""
        check_arguments(theta, points, plan, n_steps)
        given = (theta, points, targets, weights, plan, first_step, n_steps, prediction_sum)
        with self._lock:
            if _fits(theta, len(points) * len(theta)) and self._serves(points):
                return self._background(*given)
            return self._fallback.advance_background(*given)

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """See `ReferenceKernel.advance_frozen`."""
        check_arguments(theta, points, plan, n_steps)
        given = (theta, points, signal, plan, first_step, n_steps)
        with self._lock:
            if _fits(theta, len(points) * len(theta)) and self._serves(points):
                return self._frozen(*given)
            return self._fallback.advance_frozen(*given)

    def _kind(self, theta: Tensor, points: Tensor, plan: StepPlan, *, is_frozen: bool) -> ProductKind:
        return ProductKind(
            n_points=len(points),
            n_inputs=points.shape[1],
            n_neurons=(theta.shape[0],),
            n_out=theta.shape[1] - points.shape[1],
            forms=(FORMS[self.activation.name],),
            is_flat=False,
            is_frozen=is_frozen,
            is_noisy=plan.is_noisy,
            uses_next=plan.uses_next,
            readout_exponent=0.0 if is_frozen else plan.readout_exponent,
            device=theta.device,
        )

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
        kind = self._kind(theta, points, plan, is_frozen=False)
        return self._steps.background(
            kind, theta, points, targets, weights, plan, first_step, n_steps, prediction_sum
        )  # fmt: skip

    def _frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        run, shape = self._steps.of(self._kind(theta, points, plan, is_frozen=True)), theta.shape
        run.signal.copy_(signal.reshape(run.signal.shape))
        for done in range(0, n_steps, MAX_STEPS):
            run.load(theta, points, plan, first_step + done)
            run.run(min(MAX_STEPS, n_steps - done))
            theta = run.theta.clone()
        return FrozenResult(theta.reshape(shape), torch.isfinite(theta).all())

    def _serves(self, points: Tensor) -> bool:
        return self._trials.passed(points.shape[1], points.device, lambda: self._failure(points))

    def _failure(self, like: Tensor) -> str | None:
        n_inputs, device = like.shape[1], like.device
        problem = trial.Trial(
            trial.numbers(3, trial.N_NEURONS, n_inputs + self._n_out, device),
            trial.numbers(2, trial.N_POINTS, n_inputs, device) * n_inputs**-0.5,
            trial.numbers(4, trial.N_POINTS, self._n_out, device),
            torch.full((trial.N_POINTS,), 1.0 / trial.N_POINTS, device=device),
            trial.plan_of(n_inputs + self._n_out),
        )
        reference = ReferenceKernel(self.activation)
        return problem.failure(self._background, reference, self._frozen, reference)


class LayeredProductKernel(LayeredKernel):
    """`LayeredKernel` with recorded products, to float32 rounding, the same bits for any split of the steps.

    Tried as `ProductKernel` is; where it fails `GraphedLayeredKernel` serves.
    """

    def __init__(self, network: LayeredNetwork, device: torch.device) -> None:
        super().__init__(network, device, torch.float32)
        self._fallback = GraphedLayeredKernel(network, device, torch.float32)
        self._steps = _Steps()
        names = ", ".join(activation.name for activation in network.activations)
        self._trials = trial.Trials(f"{network.n_layers} hidden layers ({names})")
        self._lock = threading.RLock()

    @property
    def name(self) -> str:  # type: ignore[override]
        """What serves: "layered, triton products", or the recorded steps where the trial has failed."""
        return "layered, triton products" if self._trials.is_passed else self._fallback.name

    @property
    def is_ready(self) -> bool:  # type: ignore[override]
        """Whether something has been compiled and tried."""
        return self._trials.is_begun

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile what such points need, some seconds for the first time on a machine, and try it."""
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
        """n_steps of the whole network; arguments and result as for `LayeredKernel.advance_background`."""
        given = (theta, points, targets, weights, plan, first_step, n_steps, prediction_sum)
        with self._lock:
            if _fits(theta, len(points) * max(self.network.n_neurons)) and self._serves(points):
                return self._background(*given)
            return self._fallback.advance_background(*given)

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
        network = self.network
        kind = ProductKind(
            n_points=len(points),
            n_inputs=network.n_inputs,
            n_neurons=network.n_neurons,
            n_out=1,
            forms=tuple(FORMS[activation.name] for activation in network.activations),
            is_flat=True,
            is_frozen=False,
            is_noisy=plan.is_noisy,
            uses_next=plan.uses_next,
            readout_exponent=plan.readout_exponent,
            device=theta.device,
        )
        return self._steps.background(
            kind, theta, points, targets, weights, plan, first_step, n_steps, prediction_sum
        )  # fmt: skip

    def _serves(self, points: Tensor) -> bool:
        return self._trials.passed("layers", points.device, lambda: self._failure(points.device))

    def _failure(self, device: torch.device) -> str | None:
        network = self.network
        problem = trial.Trial(
            trial.numbers(3, network.n_parameters, 1, device).flatten(),
            trial.numbers(2, trial.N_POINTS, network.n_inputs, device) * network.n_inputs**-0.5,
            trial.numbers(4, trial.N_POINTS, 1, device).flatten(),
            torch.full((trial.N_POINTS,), 1.0 / trial.N_POINTS, device=device),
            trial.plan_of(network.n_layers + 1),
        )
        return problem.failure(self._background, LayeredKernel(network, device, torch.float32))


def _fits(theta: Tensor, n_features: int) -> bool:
    return theta.dtype == torch.float32 and n_features <= MOST_FEATURES
