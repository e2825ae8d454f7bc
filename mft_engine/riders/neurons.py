"""The neurons of somebody's layer: their parameters as a table of one row a neuron, and what they compute."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

Tensors = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
READOUT = "readout"


class WatchError(ValueError):
    """What cannot be watched, and why, in one sentence."""


class Layer:
    """h -> act(W h + b) -> V, or h -> act(W h + b) * (U h + c) -> V, of linear or convolutional modules.

    A neuron owns its rows of W, b (and U, c) and its columns of V; the readout's bias belongs to nobody. A neuron of a
    convolution is a channel. A linear readout behind a flattened convolution has a block of columns for every channel.

    Args:
        incoming: one module, or two of a gated layer (gate, up).
        readout: the module that reads the neurons.
        activation: what lies between (of a gated layer: of the gate alone); anything that treats neurons alike.

    Raises:
        WatchError: modules that are no such layer.
    """

    def __init__(self, incoming: tuple[nn.Module, ...], readout: nn.Module, activation: Activation) -> None:
        for module in (*incoming, readout):
            _check_module(module)
        if len({id(module) for module in (*incoming, readout)}) <= len(incoming):
            raise WatchError("The same module is given twice: a layer and its readout must be different modules")
        self.incoming, self.readout = incoming, readout
        self.activation = OwnActivation(activation)
        parts = list(activation.children()) if isinstance(activation, nn.Sequential) else [activation]
        names = [getattr(part, "__name__", type(part).__name__) for part in parts]
        self._between = ", ".join("a function" if name == "<lambda>" else name for name in names)
        sizes = {int(cast(Tensor, module.weight).shape[0]) for module in incoming}
        if len(sizes) > 1:
            raise WatchError(f"Gate and up have different numbers of neurons, {sorted(sizes)}: they must agree")
        self.n_neurons = sizes.pop()
        n_read = int(cast(Tensor, readout.weight).shape[1])
        if n_read % self.n_neurons or (n_read != self.n_neurons and not isinstance(readout, nn.Linear)):
            raise WatchError(
                f"The readout reads {n_read} features and the layer has {self.n_neurons} neurons: "
                "they are not the two ends of one hidden layer"
            )
        weights = [cast(Tensor, module.weight) for module in (*incoming, readout)]
        if len({weight.data_ptr() for weight in weights if weight.device.type != "meta"}) < len(weights):
            raise WatchError("Weights are tied: the layer and its readout share one tensor, so no neuron is its own")

    @property
    def words(self) -> str:
        """The layer for people: Linear(2, 256) -> Tanh -> Linear(256, 1)."""
        return " -> ".join(
            [" * ".join(_shape(module) for module in self.incoming), self._between, _shape(self.readout)]
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that neurons own, in the order of the table's columns."""
        found: dict[str, nn.Parameter] = {}
        for number, module in enumerate(self.incoming):
            found[f"weight{number}"] = cast(nn.Parameter, module.weight)
            if module.bias is not None:
                found[f"bias{number}"] = cast(nn.Parameter, module.bias)
        found[READOUT] = cast(nn.Parameter, self.readout.weight)
        return found

    def columns(self) -> Iterator[tuple[str, int]]:
        """(parameter, numbers a neuron has of it), in the order of the table."""
        for name, parameter in self.parameters().items():
            yield name, parameter.numel() // self.n_neurons

    @property
    def n_inputs(self) -> int:
        """Columns of the table before the readouts."""
        return sum(width for name, width in self.columns() if name != READOUT)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the table's columns: w1 .., b, (u1 .., c of a gated layer,) v1 .."""
        letters = {"weight0": "w", "bias0": "b", "weight1": "u", "bias1": "c", READOUT: "v"}
        return tuple(
            letters[name] if name.startswith("bias") else f"{letters[name]}{number}"
            for name, width in self.columns()
            for number in range(1, width + 1)
        )

    def table(self, tensors: dict[str, Any]) -> Tensor:
        """(n, n_params): a row a neuron."""
        n = len(tensors["weight0"])
        rows = [
            # (out, n * block, ...) -> (n, out, block, ...)
            tensor.reshape(len(tensor), n, -1).transpose(0, 1).reshape(n, -1)
            if name == READOUT
            else tensor.reshape(n, -1)
            for name, tensor in tensors.items()
        ]
        table = torch.cat([row.detach() for row in rows], dim=1)
        # Half precision is for training: what is asked of clouds needs more, and float32 holds every such number.
        return table.float() if table.dtype in (torch.bfloat16, torch.float16) else table.clone()

    def tensors(self, table: Tensor) -> Tensors:
        """The parameters of the neurons in a table, shaped as the modules have theirs."""
        n, found, first = len(table), {}, 0
        for (name, width), parameter in zip(self.columns(), self.parameters().values(), strict=True):
            part = table[:, first : first + width]
            first += width
            shape = list(parameter.shape)
            if name == READOUT:
                part = part.reshape(n, shape[0], -1).transpose(0, 1)
                shape[1] = shape[1] // self.n_neurons * n
            else:
                shape[0] = n
            found[name] = part.reshape(shape).to(parameter).clone().contiguous()
        return found

    def redrawn(self, n: int) -> Tensor:
        """(n, n_params) neurons drawn by the modules' own `reset_parameters`, with torch's generator as it stands."""
        tables, parameters = [], self.parameters()
        for _ in range(-(-n // self.n_neurons)):
            fresh = [_without_hooks(module) for module in (*self.incoming, self.readout)]
            for module in fresh:
                cast(Any, module).reset_parameters()
            values: dict[str, Tensor] = {}
            for number, module in enumerate(fresh[:-1]):
                values[f"weight{number}"] = cast(Tensor, module.weight)
                values[f"bias{number}"] = cast(Tensor, module.bias)
            values[READOUT] = cast(Tensor, fresh[-1].weight)
            tables.append(self.table({name: values[name] for name in parameters}))
        return torch.cat(tables)[:n]

    def outputs(self, tensors: Tensors, inputs: Tensor) -> Tensor:
        """What neurons of these parameters add up to: (batch, ..., n_out), or as a convolution has it."""
        return _apply(self.readout, self.features(tensors, inputs), tensors[READOUT], None)

    def features(self, tensors: Tensors, inputs: Tensor) -> Tensor:
        """What the neurons tell the readout."""
        fields = [
            _apply(module, inputs, tensors[f"weight{number}"], tensors.get(f"bias{number}"))
            for number, module in enumerate(self.incoming)
        ]
        features = self.activation(fields[0])
        return features if len(fields) == 1 else features * fields[1]

    def activations(self, tensors: Tensors, inputs: Tensor, n_rows: int) -> Tensor:
        """(at most n_rows, n_neurons) what neurons answer to inputs (or places in them), dropout off."""
        with torch.no_grad(), self.activation.still(), torch.autocast(inputs.device.type, enabled=False):
            found = self.features({name: tensor.detach() for name, tensor in tensors.items()}, inputs)
        n = len(tensors["weight0"])
        is_image = isinstance(self.incoming[0], CONVOLUTIONS)
        if is_image and isinstance(self.readout, nn.Linear):
            # Flattened in front of a linear readout: a channel has a block of features.
            found = found.reshape(found.shape[0], n, -1)
        rows = (found.movedim(1, -1) if is_image else found).reshape(-1, n)
        kept = torch.linspace(0, len(rows) - 1, min(n_rows, len(rows)), device=rows.device).long()
        return rows[kept]

    def readout_of(self, tensors: Tensors, features: Tensor) -> Tensor:
        """The readout of given features."""
        return _apply(self.readout, features, tensors[READOUT], None)

    def gradients(self, tensors: Tensors, inputs: Tensor, delta: Tensor, names: list[str]) -> Tensors:
        """sum over the batch of delta d outputs / d parameters, of neurons that the rest of the model does not see."""
        leaves = {name: tensor.detach().requires_grad_(name in names) for name, tensor in tensors.items()}
        with torch.enable_grad(), torch.autocast(delta.device.type, enabled=False):
            outputs = self.outputs(leaves, inputs)
            found = torch.autograd.grad(outputs, [leaves[name] for name in names], delta)
        return dict(zip(names, found, strict=True))


class OwnActivation:
    """The activation without anybody's hooks, in whichever of the modes train and eval the user's module is.

    Raises:
        WatchError: it cannot be called, or has numbers of its own.
    """

    def __init__(self, activation: Activation) -> None:
        modules = activation.modules() if isinstance(activation, nn.Module) else ()
        self.is_random = any("Dropout" in type(module).__name__ for module in modules)
        self._modules: list[tuple[nn.Module, nn.Module]] = []
        self._is_still = False
        if isinstance(activation, nn.Module):
            for name, _ in (*activation.named_parameters(), *activation.named_buffers()):
                raise WatchError(f"The activation has numbers of its own ({name}), which riders would need copies of")
            mine = _without_hooks(activation)
            self._modules = list(zip(mine.modules(), activation.modules(), strict=True))
            self._call: Activation = mine
        elif callable(activation):
            self._call = activation
        else:
            raise WatchError(f"activation = {activation!r} cannot be called; give the module or function in between")

    def __call__(self, fields: Tensor) -> Tensor:
        for module, original in self._modules:
            module.training = original.training and not self._is_still
        return self._call(fields)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Inside, no dropout."""
        self._is_still = True
        try:
            yield
        finally:
            self._is_still = False


def _check_module(module: nn.Module) -> None:
    name = type(module).__name__
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in module.parameters()):
        raise WatchError(f"{name} has no weights yet: run one batch through the model before watching it")
    if not isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        raise WatchError(f"{name} cannot be watched; linear layers and convolutions can")
    if parametrize.is_parametrized(module):
        raise WatchError(f"The weights of {name} are computed from others (a parametrisation), so riders cannot follow")
    if isinstance(module, CONVOLUTIONS) and module.groups != 1:
        raise WatchError(f"{name} has groups = {module.groups}: its channels do not read the same inputs")


def _shape(module: nn.Module) -> str:
    weight = cast(Tensor, module.weight)
    return (
        f"{type(module).__name__}({', '.join(str(n) for n in (weight.shape[1], weight.shape[0], *weight.shape[2:]))})"
    )


def _without_hooks(module: nn.Module) -> nn.Module:
    mine = copy.deepcopy(module)
    for part in mine.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks):
            hooks.clear()
    return mine


def _apply(module: nn.Module, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(module, CONVOLUTIONS):
        return module._conv_forward(inputs, weight, bias)
    return F.linear(inputs, weight, bias)
