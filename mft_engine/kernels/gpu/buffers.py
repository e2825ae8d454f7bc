"""Device memory of one kind of step, what is put there for a call, and the launches, recorded where the device can."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.device import current
from mft_engine.kernels import forms
from mft_engine.kernels.gpu import steps
from mft_engine.kernels.gpu.repeated import MAX_STEPS, Repeated
from mft_engine.kernels.gpu.tiles import tiles
from mft_engine.kernels.plan import StepPlan
from mft_engine.kernels.slots import SLOT_GROUP, Slots

# A unit of the integers that sum f is 2^-40 of f's own unit.
FRACTION_BITS = 40
_INTEGER_BITS = 62


@dataclass(frozen=True)
class Kind:
    """What a compiled and recorded step cannot change."""

    n_neurons: int
    n_inputs: int
    n_slots: int
    base: int
    mode: int
    is_noisy: bool
    uses_next: bool
    readout_exponent: float
    parity: float
    device: torch.device


def constants_of(kind: Kind) -> dict[str, Any]:
    """What both kernels are compiled for, and how many threads run them."""
    tile = tiles(kind.n_neurons, kind.n_slots, kind.n_inputs)
    return {
        "N_INPUTS": kind.n_inputs, "BASE": kind.base, "MODE": kind.mode, "IS_NOISY": kind.is_noisy,
        "USES_NEXT": kind.uses_next, "BLOCK": tile.block, "LANES": tile.lanes, "UNROLL": tile.unroll,
        "num_warps": tile.n_warps, "num_stages": 1,
    }  # fmt: skip


class DeviceSlots:
    """Slots of points on a device (see `slots.Slots`), and the place of every point in a (2, n_slots) array.

    Attributes:
        x: (n_inputs, n_slots) float32.
        place: (n_points,) int64; slot of a point at x, n_slots more for a point at -x.
    """

    def __init__(self, x: Tensor, place: Tensor, is_paired: bool) -> None:
        self.x, self.place, self.n_slots, self.is_paired = x, place, x.shape[1], is_paired

    @classmethod
    def of(cls, slots: Slots, n_inputs: int, device: torch.device) -> DeviceSlots:
        """What `slots.arrange` has found on the host."""
        n_slots = slots.x.shape[1]
        place = torch.empty(max(slots.plus.max(), slots.minus.max()) + 1, dtype=torch.int64)
        for shift, numbers in ((0, torch.from_numpy(slots.plus)), (n_slots, torch.from_numpy(slots.minus))):
            there = torch.nonzero(numbers >= 0)[:, 0]
            place[numbers[there]] = there + shift
        return cls(torch.from_numpy(slots.x[:n_inputs].copy()).to(device), place.to(device), slots.is_paired)

    @classmethod
    def unseen(cls, points: Tensor) -> DeviceSlots:
        """A slot for each point, whatever it is: nothing has to be known of the points, and nobody waits."""
        n_points, n_inputs = points.shape
        x = torch.zeros(n_inputs, -(-n_points // SLOT_GROUP) * SLOT_GROUP, dtype=torch.float32, device=points.device)
        x[:, :n_points] = points.T
        return cls(x, torch.arange(n_points, device=points.device), False)

    def spread(self, values: Tensor) -> Tensor:
        """Numbers of points -> (2, n_slots) float64, zero where there is no point."""
        wide = torch.zeros(2 * self.n_slots, dtype=torch.float64, device=values.device)
        return wide.index_copy_(0, self.place, values.double()).reshape(2, self.n_slots)

    def collect(self, wide: Tensor) -> Tensor:
        """The reverse: (2, n_slots) -> (n_points,)."""
        return wide.reshape(-1)[self.place]


class Buffers:
    """Arrays of one kind of step, named as in `steps`, and the launches that work on them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        here, n_slots, n_params = kind.device, kind.n_slots, kind.n_inputs + 1
        self.tiles = tiles(kind.n_neurons, n_slots, kind.n_inputs)
        self.constants = constants_of(kind)
        self.n_programs = -(-kind.n_neurons // self.tiles.block)
        self.n_padded = self.n_programs * self.tiles.block

        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=here)

        self.state = zeros(n_params, self.n_padded, dtype=torch.float32)
        self.xi = zeros(n_params, self.n_padded if kind.uses_next else 1, dtype=torch.float32)
        self.x = zeros(kind.n_inputs, n_slots, dtype=torch.float32)
        self.c = zeros(2, n_slots, dtype=torch.float32)
        self.numbers = zeros(3, n_params, dtype=torch.float32)
        self.points = zeros(4, n_slots, dtype=torch.float64)
        self.found = zeros(4, n_slots, dtype=torch.float64)
        self.sums = zeros(2, n_slots, dtype=torch.int64)
        self.counts = zeros(6, dtype=torch.int64)
        self.marks = zeros(2 + MAX_STEPS, dtype=torch.int32)
        self.losses = zeros(MAX_STEPS, dtype=torch.float64)
        exponent = FRACTION_BITS - round(kind.readout_exponent * math.log2(kind.n_neurons))
        self.scale = 2.0**exponent
        self.limit = 2.0 ** (_INTEGER_BITS - exponent) / self.n_programs
        size = float(kind.n_neurons)
        scales = [size**-kind.readout_exponent / self.scale, size ** (kind.readout_exponent - 1.0), kind.parity]
        self.scales = torch.tensor(scales, dtype=torch.float64).to(here)
        self._numbers: tuple[tuple[float, ...], ...] | None = None
        self._repeated: tuple[Repeated, Repeated, Repeated] | None = None

    def load(self, theta: Tensor, slots: DeviceSlots, plan: StepPlan, first_step: int) -> None:
        """Neurons, points and numbers of one call; waits for nothing."""
        self.state[:, : self.kind.n_neurons].copy_(theta.T)
        self.x.copy_(slots.x)
        numbers = (plan.rate, plan.decay, plan.noise)
        if numbers != self._numbers:
            self._numbers = numbers
            self.numbers.copy_(torch.tensor(numbers, dtype=torch.float64).float(), non_blocking=True)
        counts = (first_step, 0, *rng.seed_key(plan.seed), int(plan.stream) & rng.MASK_32, plan.first_neuron)
        self.counts.copy_(torch.tensor(counts, dtype=torch.int64), non_blocking=True)

    def load_signal(self, signal: Tensor, slots: DeviceSlots) -> None:
        """The frozen signal, as `steps.measure` writes its own."""
        plus, minus = slots.spread(signal)
        if self.kind.mode == forms.PLAIN:
            self.c[0].copy_(plus + self.kind.parity * minus)
        else:
            self.c.copy_(torch.stack([plus, -minus]))

    @property
    def theta(self) -> Tensor:
        """The neurons, (n_neurons, n_params), a new tensor."""
        return self.state[:, : self.kind.n_neurons].T.clone(memory_format=torch.contiguous_format)

    def launch(self, *, goes_back: bool, goes_on: bool) -> None:
        """One launch of `steps.background_step`."""
        with current(self.kind.device):
            steps.background_step[(self.n_programs,)](
                self.state, self.xi, self.x, self.c, self.numbers, self.points, self.found, self.scales, self.sums,
                self.counts, self.marks, self.losses, self.kind.n_neurons, self.n_padded, self.kind.n_slots, self.scale,
                self.limit, GOES_BACK=goes_back, GOES_ON=goes_on, SLOTS=self.tiles.slots, **self.constants,
            )  # fmt: skip

    def launch_frozen(self, n_steps: int) -> None:
        """One launch of `steps.frozen_steps`."""
        with current(self.kind.device):
            steps.frozen_steps[(self.n_programs,)](
                self.state, self.x, self.c, self.numbers, self.counts, self.kind.n_neurons, self.n_padded,
                self.kind.n_slots, n_steps, **self.constants,
            )  # fmt: skip

    def record(self) -> None:
        """Record the launches, once and before a call is loaded: rehearsals work on what lies in the buffers."""
        if self._repeated is not None:
            return
        here, rewind = self.kind.device, self.counts.zero_
        self._repeated = (
            Repeated(lambda: self.launch(goes_back=False, goes_on=True), rewind, here, (1,)),
            Repeated(lambda: self.launch(goes_back=True, goes_on=True), rewind, here),
            Repeated(lambda: self.launch(goes_back=True, goes_on=False), rewind, here, (1,)),
        )

    def run(self, n_steps: int) -> None:
        """n_steps of the cloud that was loaded."""
        assert self._repeated is not None, "record first"
        for repeated, n_times in zip(self._repeated, (1, n_steps - 1, 1), strict=True):
            repeated.run(n_times)
