"""The reference step as one recorded graph of device work: a replay costs one launch instead of a hundred.

A small network's step is over before the host has queued its next operation; where the device can record its work
(`mft_engine.device.record_graph`) the whole step is recorded once for each shape and replayed. Whatever may change
between calls (neurons, points, rates, noise, step number) lies in buffers that the recording reads. Elsewhere the same
buffers and operations run one by one, so that the arithmetic is tested on any device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.device import record_graph
from mft_engine.kernels.layered import LayeredKernel, spread_over_layers
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan
from mft_engine.kernels.reference import ReferenceKernel, check_arguments, gradient, predict
from mft_engine.network.activations import Activation
from mft_engine.network.layered import LayeredNetwork, flat_normal
from mft_engine.network.scaling import drive
from mft_engine.points.loss import LOSS

# Steps whose losses fit into one buffer; longer calls are cut.
MAX_STEPS = 1024
# Recordings kept, each with the memory of one step: a background, its foreground, and their wrong twins.
MAX_RECORDINGS = 4


@dataclass(frozen=True)
class _Kind:
    """What a recording cannot change: shapes, types, the noise's stream, and which of the two steps it is."""

    theta: tuple[int, ...]
    points: tuple[int, ...]
    targets: tuple[int, ...]
    dtype: torch.dtype
    sum_dtype: torch.dtype
    device: torch.device
    readout_exponent: float
    uses_next: bool
    is_noisy: bool
    seed: int
    stream: int
    first_neuron: int
    is_frozen: bool


# The drift that signals make, (n_points,) or (n_points, n_out) -> theta's shape.
Drift = Callable[[Tensor], Tensor]


class _Cloud:
    """Steps of one hidden layer: theta (n_neurons, n_inputs + n_out)."""

    def __init__(self, kind: _Kind, activation: Activation) -> None:
        self.kind, self.activation = kind, activation
        self.n_last, self.n_numbers = kind.theta

    def pass_through(self, theta: Tensor, points: Tensor) -> tuple[Tensor | None, Drift]:
        """f, where it is not frozen, and the drift that signals make."""

        def drift(signal: Tensor) -> Tensor:
            return gradient(theta, points, signal, self.activation)

        if self.kind.is_frozen:
            return None, drift
        return predict(theta, points, self.kind.readout_exponent, self.activation, dtype=self.kind.sum_dtype), drift

    def draw(self, step: Tensor) -> Tensor:
        """The noise of a step."""
        kind = self.kind
        return rng.normal(
            kind.seed,
            kind.stream,
            step,
            *kind.theta,
            device=kind.device,
            dtype=kind.dtype,
            first_row=kind.first_neuron,
        )

    def spread(self, numbers: Tensor) -> Tensor:
        """Rate, decay and noise, (3, n), as they multiply theta."""
        return numbers


class _Layers:
    """Steps of several hidden layers: theta flat."""

    def __init__(self, kind: _Kind, network: LayeredNetwork) -> None:
        self.kind, self.network = kind, network
        self.n_last, self.n_numbers = network.n_neurons[-1], network.n_parameters

    def pass_through(self, theta: Tensor, points: Tensor) -> tuple[Tensor | None, Drift]:
        """As `_Cloud.pass_through`."""
        parts = self.network.split(theta)
        found = self.network.forward(parts, points, self.kind.readout_exponent)
        return found.prediction.to(self.kind.sum_dtype), lambda signal: self.network.drift(parts, points, found, signal)

    def draw(self, step: Tensor) -> Tensor:
        """As `_Cloud.draw`."""
        kind = self.kind
        return flat_normal(kind.seed, kind.stream, step, self.n_numbers, kind.device, kind.dtype)

    def spread(self, numbers: Tensor) -> Tensor:
        """As `_Cloud.spread`; `numbers` has a column for each layer and the readouts."""
        return spread_over_layers(numbers, self.network.sizes)


class _Recording:
    """Buffers of one kind of step, and the step that works on them."""

    def __init__(self, kind: _Kind, network: _Cloud | _Layers) -> None:
        self.kind, self.network = kind, network
        here, dtype, sums = kind.device, kind.dtype, kind.sum_dtype
        self.theta = torch.zeros(kind.theta, dtype=dtype, device=here)
        self.points = torch.zeros(kind.points, dtype=dtype, device=here)
        self.targets = torch.zeros(kind.targets, dtype=sums, device=here)
        self.weights = torch.zeros_like(self.targets)
        self.signal = torch.zeros(kind.targets, dtype=dtype, device=here)
        self.total = torch.zeros_like(self.targets)
        self.prediction = torch.zeros_like(self.targets)
        self.rate, self.decay, self.noise = torch.zeros(3, network.n_numbers, dtype=dtype, device=here).unbind(0)
        self.xi = torch.zeros_like(self.theta)
        self.step = torch.zeros((), dtype=torch.int64, device=here)
        self.slot = torch.zeros(1, dtype=torch.int64, device=here)
        self.losses = torch.zeros(MAX_STEPS, dtype=sums, device=here)
        self.finite = torch.zeros(MAX_STEPS, dtype=torch.bool, device=here)
        self._recording: Callable[[], None] | None = None

    def load(self, theta: Tensor, points: Tensor, plan: StepPlan, first_step: int) -> None:
        """Put one call's neurons, points and numbers where the recording reads them."""
        self.theta.copy_(theta)
        self.points.copy_(points)
        numbers = torch.tensor([plan.rate, plan.decay, plan.noise], dtype=torch.float64).to(self.theta.dtype)
        spread = self.network.spread(numbers.to(self.theta.device, non_blocking=True))
        for buffer, values in zip((self.rate, self.decay, self.noise), spread, strict=True):
            buffer.copy_(values)
        self.step.fill_(first_step)
        self.slot.zero_()
        if self.kind.is_noisy:
            self.xi.copy_(self.network.draw(self.step))

    def run(self, n_steps: int) -> None:
        """n_steps from what was loaded; recorded at the first call."""
        if self._recording is None:
            self._recording = self._recorded()
        for _ in range(n_steps):
            self._recording()

    def _recorded(self) -> Callable[[], None]:
        """The recording where this device can make one that does what the step does, else the step itself."""
        moved = (self.theta, self.total, self.prediction, self.signal, self.xi, self.step, self.slot)
        before = [buffer.clone() for buffer in moved]

        def rewind() -> None:
            for buffer, value in zip(moved, before, strict=True):
                buffer.copy_(value)

        recording = record_graph(self.one_step, self.theta.device)
        rewind()
        if recording is None:
            return self.one_step
        self.one_step()
        wanted = self.theta.clone()
        rewind()
        recording()
        is_faithful = torch.allclose(self.theta, wanted, rtol=1e-4, atol=1e-6, equal_nan=True)
        rewind()
        return recording if is_faithful else self.one_step

    def one_step(self) -> None:
        """One step, in place, with no number that the host would have to wait for."""
        kind = self.kind
        prediction, drift = self.network.pass_through(self.theta, self.points)
        if prediction is not None:
            prediction = prediction.reshape(kind.targets)
            self.prediction.copy_(prediction)
            self.total.add_(prediction)
            squares = LOSS.values(self.targets, prediction)
            self.losses.index_copy_(0, self.slot, (self.weights * squares).sum().reshape(1))
            factor = drive(self.network.n_last, kind.readout_exponent)
            self.signal.copy_(factor * self.weights * LOSS.signal(self.targets, prediction))
        change = self.rate * drift(self.signal) - self.decay * self.theta
        self.step.add_(1)
        if kind.is_noisy:
            following = self.network.draw(self.step)
            change += self.noise * ((self.xi + following) * 0.5 if kind.uses_next else self.xi)
            self.xi.copy_(following)
        self.theta.add_(change)
        self.finite.index_copy_(0, self.slot, torch.isfinite(self.theta).all().reshape(1))
        self.slot.add_(1)


class _Recordings:
    """The latest recordings of one network, and the steps they take."""

    def __init__(self, network: Callable[[_Kind], _Cloud | _Layers]) -> None:
        self._network = network
        self.kept: OrderedDict[_Kind, _Recording] = OrderedDict()

    def of(
        self, theta: Tensor, points: Tensor, targets: Tensor, sum_dtype: torch.dtype, plan: StepPlan, is_frozen: bool
    ) -> _Recording:
        """The recording that serves such tensors."""
        kind = _Kind(
            tuple(theta.shape), tuple(points.shape), tuple(targets.shape), theta.dtype, sum_dtype, theta.device,
            plan.readout_exponent, plan.uses_next, plan.is_noisy, plan.seed, plan.stream,
            plan.first_neuron, is_frozen,
        )  # fmt: skip
        if kind not in self.kept:
            self.kept[kind] = _Recording(kind, self._network(kind))
            while len(self.kept) > MAX_RECORDINGS:
                self.kept.popitem(last=False)
        self.kept.move_to_end(kind)
        return self.kept[kind]

    def background(
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
        """n_steps of a whole network."""
        run = self.of(theta, points, targets, prediction_sum.dtype, plan, is_frozen=False)
        run.targets.copy_(targets)
        run.weights.copy_(weights.reshape(-1, *(1,) * (targets.dim() - 1)).expand_as(targets))
        run.total.copy_(prediction_sum)
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        for done in range(0, n_steps, MAX_STEPS):
            n = min(MAX_STEPS, n_steps - done)
            run.load(theta, points, plan, first_step + done)
            run.run(n)
            theta = run.theta.clone()
            losses.append(run.losses[:n].clone())
            finite.append(run.finite[:n] & torch.isfinite(losses[-1]))
        return BackgroundResult(
            theta, run.total.clone(), torch.cat(losses), run.prediction.clone(), torch.cat(finite), first_step
        )


class GraphedKernel(ReferenceKernel):
    """The reference kernel with recorded steps; equal to it to rounding, and to itself for any split of n_steps.

    Memory O(n_neurons) for the noise of a step: its random words are held all at once.
    """

    name = "graphed"

    def __init__(self, activation: Activation) -> None:
        super().__init__(activation)
        self._recordings = _Recordings(lambda kind: _Cloud(kind, activation))

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
        return self._recordings.background(theta, points, targets, weights, plan, first_step, n_steps, prediction_sum)

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """See `ReferenceKernel.advance_frozen`."""
        check_arguments(theta, points, plan, n_steps)
        run = self._recordings.of(theta, points, signal, theta.dtype, plan, is_frozen=True)
        run.signal.copy_(signal)
        for done in range(0, n_steps, MAX_STEPS):
            run.load(theta, points, plan, first_step + done)
            run.run(min(MAX_STEPS, n_steps - done))
            theta = run.theta.clone()
        return FrozenResult(theta, torch.isfinite(theta).all())


class GraphedLayeredKernel(LayeredKernel):
    """`LayeredKernel` with recorded steps; equal to it to rounding, and to itself for any split of n_steps."""

    name = "layered, graphed"

    def __init__(self, network: LayeredNetwork, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(network, device, dtype)
        self._recordings = _Recordings(lambda kind: _Layers(kind, network))

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
        """See `LayeredKernel.advance_background`."""
        return self._recordings.background(theta, points, targets, weights, plan, first_step, n_steps, prediction_sum)
