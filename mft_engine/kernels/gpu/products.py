"""Device memory of a step made of matrix products, and its launches: a cloud's, a layered network's, frozen neurons'.

Products are torch's, in float32 (a device's shorter formats are off unless a user's own code turns them on); all that
is between them is in `product_steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.device import current
from mft_engine.kernels.gpu import product_steps as steps
from mft_engine.kernels.gpu.repeated import MAX_STEPS, Repeated
from mft_engine.kernels.layered import spread_over_layers
from mft_engine.kernels.plan import StepPlan
from mft_engine.network.scaling import drive, output_scale

# Elements of a program of `activate` and `pull`, small and large; values of one of `measure`; fours of one of `update`.
FEW_ELEMENTS, MANY_ELEMENTS, LARGE = 256, 1024, 2**18
VALUES, QUADS = 256, 128
# Numbers of one layer's features (points x neurons, 1 GB) up to which nothing is walked through in blocks.
MOST_FEATURES = 2**28


@dataclass(frozen=True)
class ProductKind:
    """What a compiled and recorded step cannot change.

    Attributes:
        n_neurons, forms: of each hidden layer; a form is a row of `forms.FORMS`.
        is_flat: parameters lie one after the other, layer by layer, with input scales N_(l-1)^(-1/2), else as a cloud
            (n_neurons, n_inputs + n_out).
        is_frozen: the signal is given.
    """

    n_points: int
    n_inputs: int
    n_neurons: tuple[int, ...]
    n_out: int
    forms: tuple[tuple[int, bool], ...]
    is_flat: bool
    is_frozen: bool
    is_noisy: bool
    uses_next: bool
    readout_exponent: float
    device: torch.device

    @property
    def sizes(self) -> tuple[int, ...]:
        """Parameters of the weights of each layer and of the readouts."""
        below = (self.n_inputs, *self.n_neurons[:-1])
        weights = [n * m for n, m in zip(self.n_neurons, below, strict=True)]
        return (*weights, self.n_neurons[-1] * self.n_out)

    @property
    def n_columns(self) -> int:
        """Columns of a row of noise."""
        return 4 if self.is_flat else self.n_inputs + self.n_out

    def input_scale(self, layer: int) -> float:
        """By which what reaches layer 1, 2, ... is multiplied."""
        return float(self.n_neurons[layer - 2]) ** -0.5 if layer > 1 else 1.0


class ProductBuffers:
    """Arrays of one kind of step, named as in `product_steps`, and the launches that work on them."""

    def __init__(self, kind: ProductKind) -> None:
        self.kind = kind
        self.n_params, self.n_values = sum(kind.sizes), kind.n_points * kind.n_out
        n_numbers = self.n_params if kind.is_flat else kind.n_columns

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=kind.device)

        self.theta, self.drift, self.numbers = zeros(self.n_params), zeros(self.n_params), zeros(3, n_numbers)
        self.inputs = zeros(kind.n_points, kind.n_inputs)
        self.features, self.slopes, self.backs = (
            [zeros(kind.n_points, n) for n in kind.n_neurons] for _ in range(3)
        )  # fmt: skip
        self.f, self.signal = zeros(kind.n_points, kind.n_out), zeros(kind.n_points, kind.n_out)
        n_measured = 1 if kind.is_frozen else self.n_values
        self.points, self.found = zeros(2, n_measured, dtype=torch.float64), zeros(2, n_measured, dtype=torch.float64)
        self.n_parts = -(-n_measured // VALUES)
        self.parts = zeros(self.n_parts, dtype=torch.float64)
        self.counts = zeros(6, dtype=torch.int64)
        self.marks, self.losses = zeros(MAX_STEPS, dtype=torch.int32), zeros(MAX_STEPS, dtype=torch.float64)
        top = kind.n_neurons[-1]
        scales = [output_scale(top, kind.readout_exponent), drive(top, kind.readout_exponent)]
        self.scales = torch.tensor(scales, dtype=torch.float64).to(kind.device)
        self._weights, self._readouts = self._parts_of(self.theta)
        self._drifts, self._readout_drift = self._parts_of(self.drift)
        self._numbers: tuple[tuple[float, ...], ...] | None = None
        self._repeated: Repeated | None = None

    def _parts_of(self, flat: Tensor) -> tuple[list[Tensor], Tensor]:
        """Views of parameters: W_l (N_l, N_(l-1)) of every layer, and the readouts (N_L, n_out)."""
        kind = self.kind
        if not kind.is_flat:
            rows = flat.view(kind.n_neurons[0], kind.n_columns)
            return [rows[:, : kind.n_inputs]], rows[:, kind.n_inputs :]
        parts = flat.split_with_sizes(list(kind.sizes))
        return [part.view(n, -1) for part, n in zip(parts, kind.n_neurons, strict=False)], parts[-1].view(-1, 1)

    def load(self, theta: Tensor, points: Tensor, plan: StepPlan, first_step: int) -> None:
        """Neurons, points and numbers of one call; waits for nothing."""
        self.theta.copy_(theta.reshape(-1))
        self.inputs.copy_(points)
        numbers = (plan.rate, plan.decay, plan.noise)
        if numbers != self._numbers:
            self._numbers = numbers
            self.numbers.copy_(self._spread(numbers))
        counts = (first_step, 0, *rng.seed_key(plan.seed), int(plan.stream) & rng.MASK_32, plan.first_neuron)
        self.counts.copy_(torch.tensor(counts, dtype=torch.int64), non_blocking=True)
        self.marks.zero_()

    def _spread(self, numbers: tuple[tuple[float, ...], ...]) -> Tensor:
        """Rates, decays and noises, (3, n_numbers); an input scale that a drift lacks is in its rate."""
        table = torch.tensor(numbers, dtype=torch.float64)
        for layer in range(1, len(self.kind.n_neurons) + 1):
            table[0, layer - 1] *= self.kind.input_scale(layer)
        # A few numbers go to the device, where they are spread: more would make the host wait.
        there = table.float().to(self.kind.device, non_blocking=True)
        return spread_over_layers(there, self.kind.sizes) if self.kind.is_flat else there

    def load_targets(self, targets: Tensor, weights: Tensor, prediction_sum: Tensor) -> None:
        """What a background is measured by: targets and sum (n_points,) or (n_points, n_out), weights (n_points,)."""
        self.points[0].copy_(targets.reshape(-1))
        self.points[1].view(-1, self.kind.n_out).copy_(weights[:, None].expand(-1, self.kind.n_out))
        self.found[1].copy_(prediction_sum.reshape(-1))

    def step(self) -> None:
        """The launches of one step."""
        kind, below = self.kind, self.inputs
        with current(kind.device):
            for layer, weight in enumerate(self._weights, start=1):
                torch.mm(below, weight.T, out=self.features[layer - 1])
                self._activate(layer)
                below = self.features[layer - 1]
            if not kind.is_frozen:
                torch.mm(below, self._readouts, out=self.f)
                self._measure()
            torch.mm(below.T, self.signal, out=self._readout_drift)
            if kind.n_out > 1:
                torch.mm(self.signal, self._readouts.T, out=self.backs[-1])
            for layer in range(len(self._weights), 0, -1):
                self._pull(layer)
                back = self.backs[layer - 1]
                torch.mm(back.T, self.features[layer - 2] if layer > 1 else self.inputs, out=self._drifts[layer - 1])
                if layer > 1:
                    torch.mm(back, self._weights[layer - 1], out=self.backs[layer - 2])
            self._update()

    def _activate(self, layer: int) -> None:
        features, kind = self.features[layer - 1], self.kind
        steps.activate[grid_of(kind, "activate", layer)](
            features, self.slopes[layer - 1], self.counts, features.numel(), kind.input_scale(layer),
            **constants_of(kind, "activate", layer),
        )  # fmt: skip

    def _pull(self, layer: int) -> None:
        kind = self.kind
        # What comes from above lacks the scale with which this layer's features reached it.
        scale = 1.0 if layer == len(kind.n_neurons) else kind.input_scale(layer + 1)
        steps.pull[grid_of(kind, "pull", layer)](
            self.backs[layer - 1], self.slopes[layer - 1], self.signal, self._readouts, kind.n_neurons[layer - 1],
            self._readouts.stride(0), scale, **constants_of(kind, "pull", layer),
        )  # fmt: skip

    def _measure(self) -> None:
        steps.measure[grid_of(self.kind, "measure")](
            self.f, self.points, self.found, self.signal, self.scales, self.parts, self.n_values,
            **constants_of(self.kind, "measure"),
        )  # fmt: skip

    def _update(self) -> None:
        steps.update[grid_of(self.kind, "update")](
            self.theta, self.drift, self.numbers, self.counts, self.marks, self.losses, self.parts, self.n_params,
            self.n_parts, **constants_of(self.kind, "update"),
        )  # fmt: skip

    def run(self, n_steps: int) -> None:
        """n_steps of what was loaded."""
        assert self._repeated is not None, "record first"
        self._repeated.run(n_steps)

    def record(self) -> None:
        """Record the launches, once and before a call is loaded: rehearsals work on what lies in the buffers."""
        if self._repeated is None:
            self._repeated = Repeated(self.step, self.counts.zero_, self.kind.device)


def launches_of(kind: ProductKind) -> list[tuple[str, int]]:
    """Name and layer of every launch between the products of a step."""
    layers = range(1, len(kind.n_neurons) + 1)
    rows = [("activate", layer) for layer in layers] + [("pull", layer) for layer in layers]
    return [*rows, ("update", 0)] if kind.is_frozen else [*rows, ("measure", 0), ("update", 0)]


def constants_of(kind: ProductKind, name: str, layer: int = 0) -> dict[str, Any]:
    """What a kernel of `product_steps` is compiled for."""
    n_neurons = kind.n_neurons[layer - 1]
    if name == "activate":
        base, is_one_sided = kind.forms[layer - 1]
        block = FEW_ELEMENTS if kind.n_points * n_neurons < LARGE else MANY_ELEMENTS
        return {"BASE": base, "IS_ONE_SIDED": is_one_sided, "IS_FIRST": layer == 1, "BLOCK": block}
    if name == "pull":
        is_outer = layer == len(kind.n_neurons) and kind.n_out == 1
        return {"IS_OUTER": is_outer, "BLOCK": FEW_ELEMENTS if n_neurons <= FEW_ELEMENTS else MANY_ELEMENTS}
    if name == "measure":
        return {"BLOCK": VALUES}
    return {
        "N_COLUMNS": kind.n_columns, "IS_FLAT": kind.is_flat, "IS_NOISY": kind.is_noisy,
        "USES_NEXT": kind.uses_next, "HAS_LOSS": not kind.is_frozen, "BLOCK": QUADS,
    }  # fmt: skip


def grid_of(kind: ProductKind, name: str, layer: int = 0) -> tuple[int, ...]:
    """How many programs of a kernel are launched."""
    block, n_neurons = constants_of(kind, name, layer)["BLOCK"], kind.n_neurons[layer - 1]
    if name == "activate":
        return (-(-kind.n_points * n_neurons // block),)
    if name == "pull":
        return kind.n_points, -(-n_neurons // block)
    if name == "measure":
        return (-(-kind.n_points * kind.n_out // block),)
    n_rows, n_quads = -(-sum(kind.sizes) // kind.n_columns), -(-kind.n_columns // 4)
    return (-(-n_rows * n_quads // block),)
