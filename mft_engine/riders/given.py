"""What a person gives to be watched, the modules of a layer and where its riders start, read as what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mft_engine.riders.neurons import Activation, Layer, WatchError

Initial = Callable[[int], Any]
Modules = nn.Module | Sequence[nn.Module]


def layer_of(hidden: Modules | Sequence[Any], readout: nn.Module, activation: Activation | None) -> Layer:
    """The hidden layer that these modules make.

    Raises:
        WatchError: they make none.
    """
    if activation is None:
        raise WatchError("Say what lies between the layer and its readout: activation=model[1], or torch.relu")
    incoming = (hidden,) if isinstance(hidden, nn.Module) else tuple(cast(Sequence[nn.Module], hidden))
    if len(incoming) not in (1, 2):
        raise WatchError(f"A layer has one incoming module, or two (gate, up); {len(incoming)} were given")
    return Layer(incoming, readout, activation)


def given(initial: Initial, n: int, like: Tensor) -> Tensor:
    """(n, n_params) neurons that the user's function draws, in the table's columns.

    Raises:
        WatchError: it gives others.
    """
    values = initial(n)
    parts = [values] if isinstance(values, Tensor) else [part for part in values if part is not None]
    if any(len(part) != n for part in parts):
        raise WatchError(f"`initial` was asked for {n} neurons and gave {[len(part) for part in parts]}")
    table = torch.cat([torch.as_tensor(part).detach().reshape(n, -1).to(like) for part in parts], dim=1)
    if table.shape[1] != like.shape[1]:
        raise WatchError(f"`initial` gave {table.shape[1]} numbers a neuron; the layer's neurons have {like.shape[1]}")
    return table
