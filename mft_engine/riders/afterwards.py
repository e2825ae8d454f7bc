"""Riders after the fact: a training that nobody watched, from the checkpoints that it left."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mft_engine import rng
from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.path_resolution import resolution_of
from mft_engine.compare.paths import compare_paths
from mft_engine.device import to_host
from mft_engine.riders.given import Initial, Modules, check_options, given, layer_of
from mft_engine.riders.neurons import Activation, Layer, WatchError
from mft_engine.riders.portrait import functions_of
from mft_engine.riders.twin import ELEMENTWISE
from mft_engine.riders.watch import Loss
from mft_engine.rng import Stream
from mft_engine.runs.origin import origin
from mft_engine.runs.watched import WatchedRun, write_watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_MOMENT = (
    "The field is that of one moment, whose noise alone pulls right clouds apart, so that their distance is no "
    "evidence against the network: give several checkpoints of the stationary part."
)

# Of their way, by which the network's own neurons may miss their end before a rejection is no evidence.
MOST_ERROR = 0.3
TOO_COARSE = (
    "What lies between the checkpoints is known too coarsely: the network's own neurons, moved as the riders are, miss "
    "their end by {} % of their way, so that a difference is no evidence against the network. Give more checkpoints."
)

Checkpoints = Sequence[tuple[int, dict[str, Any]]]
Rule = Callable[[list[Tensor]], Optimizer]


@dataclass(frozen=True)
class Field:
    """What a layer's neurons see at one checkpoint: inputs h, and delta = dL/d(output of the readout)."""

    step: int
    inputs: Tensor
    delta: Tensor


@dataclass(frozen=True, repr=False)
class Afterwards:
    """Riders through stored checkpoints.

    Attributes:
        background, foreground: (n, n_params) neurons of the last checkpoint, and the riders.
        initial_background: neurons of step 0, None where there is no such checkpoint; initial_foreground: the riders'.
        error: how far the neurons of step 0, moved as the riders are, end from those of the last checkpoint, over the
            way of those; None where there is no checkpoint of step 0, or the steps are noisy.
        n_steps: made; n_inputs, names: of the columns.
        sentence: what was done, and how exact it is.
    """

    background: Tensor
    foreground: Tensor
    initial_background: Tensor | None
    initial_foreground: Tensor
    error: float | None
    n_steps: int
    n_inputs: int
    names: tuple[str, ...]
    sentence: str
    layer: Layer
    field: Field
    optimizer_words: str
    seed: int
    is_of_one_moment: bool = False

    def __repr__(self) -> str:
        return f"{self.sentence} {self.compare()!r}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{self!r}</p>"

    def compare(self, *, n_permutations: int = 500) -> Comparison:
        """Whether the neurons of the last checkpoint and the riders have one law."""
        options: dict[str, Any] = {"n_permutations": n_permutations, "seed": self.seed}
        if self.initial_background is None:
            found = compare(self.background, self.foreground, self.n_inputs, names=self.names, **options)
            noticed = resolution_of(found, self.foreground, self.initial_foreground, self.n_inputs)
            found = replace(found, resolution=noticed)
        else:
            now, start = (self.background, self.foreground), (self.initial_background, self.initial_foreground)
            found = compare_paths(now, start, self.n_inputs, self.names, **options)
        if self.is_of_one_moment and found.verdict not in ("consistent", None):
            # Sampled networks fluctuate, and the law of a neuron amplifies what the field of one moment has of that.
            return replace(found, verdict=None, why=ONE_MOMENT)
        if self.error is not None and self.error > MOST_ERROR and found.verdict not in ("consistent", None):
            return replace(found, verdict=None, why=TOO_COARSE.format(_percent(self.error)))
        return found

    def save(self, folder: str | Path, name: str = "") -> Path:
        """Keep a run that `mft-lab` and the window open, as `Watch.save`."""
        return write_watched(self.run(name or Path(folder).name), folder)

    def figure(self, name: str = "clouds", *, width_mm: float = 170.0) -> Figure:
        """A figure that a notebook shows: "clouds" with the verdict, or the data "kernel"."""
        from mft_engine.figures.watched import draw_watched

        return draw_watched(name, self.run(), width_mm=width_mm)

    def run(self, name: str = "watched layer") -> WatchedRun:
        """Everything that is known, as values without a model: what `save` keeps and `figure` draws."""
        own = self.initial_background
        clouds = {
            "background": self.background,
            "foreground": self.foreground,
            # Where nobody kept the network's start, the riders' stands for it: both are draws of one law.
            "initial_background": self.initial_foreground if own is None else own,
            "initial_foreground": self.initial_foreground,
        }
        functions = functions_of(self.layer, clouds, self.field.inputs)
        about: dict[str, Any] = {
            "name": name,
            "layer": self.layer.words,
            "optimizer": self.optimizer_words,
            "n_steps": self.n_steps,
            "seed": self.seed,
            "n_neurons": len(self.background),
            "n_foreground": len(self.foreground),
            "n_inputs": self.n_inputs,
            "columns": list(self.names),
            "kernel_change": functions.kernel_change if own is not None else None,
            "sentences": [self.sentence],
            "stopped": "",
            **origin(),
        }
        start = None if own is None else compare(own, self.initial_foreground, self.n_inputs, seed=self.seed)
        host = {name: to_host(cloud) for name, cloud in clouds.items()}
        return WatchedRun(about, host, start, self.compare(), functions=functions.components, spectra=functions.spectra)


def watch_checkpoints(
    model: nn.Module,
    hidden: Modules,
    readout: nn.Module,
    *,
    activation: Activation,
    checkpoints: Checkpoints,
    loss: Loss,
    optimizer: Rule,
    n_foreground: int | None = None,
    initial: Initial | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Afterwards:
    """Riders for a training that is over: they move in the field of its checkpoints, interpolated between them.

    Of one checkpoint the field is frozen, and the riders make as many steps in it as the training had. With a
    temperature every step of plain SGD adds noise sqrt(2 lr T): a Langevin foreground for networks that were sampled.
    Its field is frozen too, and is the mean over the checkpoints: give those of the stationary part, and that of step 0
    if there is one, which is no part of the mean.

    Args:
        model: of the checkpoints; it has its own weights back afterwards.
        hidden, readout, activation, n_foreground, initial, seed: as `watch`.
        checkpoints: (step, state dict) of the model, in order.
        loss: called without arguments, returns the model's loss, on the same data each time.
        optimizer: makes the training's optimiser from a list of tensors: lambda p: torch.optim.Adam(p, 1e-3).

    Raises:
        WatchError: a layer, an optimiser, or checkpoints that this cannot be done with.
    """
    check_options(n_foreground, initial, seed, loss)
    layer = layer_of(hidden, readout, activation)
    _check_checkpoints(checkpoints)
    if isinstance(optimizer, Optimizer) or not callable(optimizer):
        raise WatchError("`optimizer` makes one from a list of tensors here: lambda p: torch.optim.Adam(p, 1e-3)")
    with _own_weights(model):
        fields, tables = [], []
        for step, state in checkpoints:
            try:
                model.load_state_dict(state)
            except (RuntimeError, TypeError, AttributeError) as fault:
                why = " ".join(str(fault).split())
                raise WatchError(f"The checkpoint of step {step} is none of this model: {why}") from None
            fields.append(_field_of(model, layer, loss, step))
            tables.append(layer.table(layer.parameters()))
        n = layer.n_neurons if n_foreground is None else n_foreground
        if initial is not None:
            begun = given(initial, n, tables[0])
        else:
            with rng.own_torch_draws(seed, Stream.RIDERS, 0, tables[0].device):
                begun = layer.redrawn(n)
    has_start = checkpoints[0][0] == 0 and len(checkpoints) > 1
    start = torch.cat([begun, tables[0]])
    passed = [_mean_field(layer, fields[has_start:])] if temperature > 0 else fields
    end, words = _ride(layer, passed, start, optimizer, temperature, seed)
    error = None
    if has_start and temperature == 0:
        went = (tables[-1] - tables[0]).norm().clamp_min(1e-30)
        error = float((end[n:] - tables[-1]).norm() / went)
    n_steps = checkpoints[-1][0]
    n_fields = len(fields) - has_start if temperature > 0 else len(fields)
    if len(checkpoints) == 1 or n_fields == 1:
        how = f"Riders made {n_steps} steps in the frozen field of one checkpoint"
    elif temperature > 0:
        how = f"Riders made {n_steps} steps in the frozen mean field of {n_fields} checkpoints"
    else:
        how = f"Riders made {n_steps} steps in the field of {len(checkpoints)} checkpoints, interpolated between them"
    exact = "how exact that is cannot be told without the checkpoint of step 0"
    if error is not None:
        exact = f"the network's own neurons, moved so, miss their end by {_percent(error)} % of their way"
    elif temperature > 0:
        exact = f"with the noise of temperature {temperature:g}"
    return Afterwards(
        tables[-1], end[:n], tables[0] if has_start else None, begun, error, n_steps,
        layer.n_inputs, layer.names, f"{how}; {exact}.", layer, fields[-1], words, seed,
        is_of_one_moment=temperature > 0 and n_fields == 1,
    )  # fmt: skip


def _check_checkpoints(checkpoints: object) -> None:
    pairs = checkpoints if isinstance(checkpoints, Sequence) else ()
    is_right = bool(pairs) and all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs)
    is_right = is_right and all(isinstance(step, int) and step >= 0 for step, _ in pairs)
    if not is_right or any(a[0] >= b[0] for a, b in pairwise(pairs)):
        raise WatchError("Give checkpoints as (step, state dict), with growing steps, one at least")


def _ride(
    layer: Layer, fields: list[Field], start: Tensor, optimizer: Rule, temperature: float, seed: int
) -> tuple[Tensor, str]:
    tensors = layer.tensors(start)
    rule = optimizer(list(tensors.values()))
    name = type(rule).__name__
    if name not in ELEMENTWISE:
        raise WatchError(f"{name} does not move every weight by its own gradient alone, as riders must")
    is_plain = name == "SGD" and not any(group["momentum"] for group in rule.param_groups)
    if temperature < 0 or (temperature > 0 and not is_plain):
        raise WatchError("A temperature is 0 or more, and goes with torch.optim.SGD without momentum")
    rate = float(rule.param_groups[0]["lr"])
    place = 0
    for step in range(fields[-1].step):
        while place + 1 < len(fields) - 1 and fields[place + 1].step <= step:
            place += 1
        here, there = fields[place], fields[min(place + 1, len(fields) - 1)]
        gap = there.step - here.step
        share = min(1.0, max(0.0, (step - here.step) / gap)) if gap else 0.0
        inputs = torch.lerp(here.inputs, there.inputs, share)
        delta = torch.lerp(here.delta, there.delta, share)
        found = layer.gradients(tensors, inputs, delta, list(tensors))
        for key, tensor in tensors.items():
            tensor.grad = found[key]
        rule.step()
        if temperature > 0:
            table = layer.table(tensors)
            like: dict[str, Any] = {"device": table.device, "dtype": table.dtype}
            noise = rng.normal(seed, Stream.RIDERS, step + 1, *table.shape, **like)
            for key, kick in layer.tensors(noise * math.sqrt(2 * rate * temperature)).items():
                tensors[key].add_(kick)
    return layer.table(tensors), f"{name}, learning rate {rate:.3g}"


def _mean_field(layer: Layer, fields: list[Field]) -> Field:
    """The field whose gradients are the mean of those in each: all inputs as one batch, delta over their number."""
    hidden = layer.incoming[0]
    n_dims = 2 if isinstance(hidden, nn.Linear) else cast(Tensor, hidden.weight).dim()
    if fields[0].inputs.dim() < n_dims:
        raise WatchError("A mean over checkpoints needs a loss over batches of inputs, not of a single one")
    inputs, delta = (torch.cat([getattr(one, name) for one in fields]) for name in ("inputs", "delta"))
    return Field(fields[-1].step, inputs, delta / len(fields))


def _field_of(model: nn.Module, layer: Layer, loss: Loss, step: int) -> Field:
    seen: list[Tensor] = []
    deltas: list[Tensor] = []

    def on_inputs(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append(inputs[0].detach())

    def on_readout(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        cast(Any, output).register_hook(lambda delta: deltas.append(delta.detach()))

    handles = [
        layer.incoming[0].register_forward_hook(on_inputs),
        layer.readout.register_forward_hook(on_readout),
    ]
    try:
        with torch.enable_grad():
            told = loss()
            if not isinstance(told, Tensor) or told.numel() != 1 or not told.requires_grad:
                raise WatchError("`loss` must return the model's loss as a tensor of one number, to be differentiated")
            torch.autograd.grad(told, list(layer.parameters().values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) != 1 or len(deltas) != 1:
        raise WatchError(
            f"The layer was used {len(seen)} times and its error signal seen {len(deltas)} times in one loss: riders "
            "need one use of it"
        )
    return Field(step, seen[0], deltas[0])


@contextmanager
def _own_weights(model: nn.Module) -> Iterator[None]:
    own = copy.deepcopy(model.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(own)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share > 0.1 else f"{100 * share:.2g}"
