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


def check_options(n_foreground: object, initial: object, seed: object, loss: object) -> None:
    """Refuse what is none of what `watch` asks for.

    Raises:
        WatchError: the sentence names it.
    """
    if n_foreground is not None and (not isinstance(n_foreground, int) or n_foreground < 1):
        raise WatchError(f"n_foreground = {n_foreground!r} is no number of riders; one is the least")
    if not isinstance(seed, int) or seed < 0:
        raise WatchError(f"seed = {seed!r} is no seed; give a whole number from 0 on")
    for name, value in (("initial", initial), ("loss", loss)):
        if value is not None and not callable(value):
            raise WatchError(f"{name} = {value!r} cannot be called; give a function")


def given(initial: Initial, n: int, like: Tensor) -> Tensor:
    """(n, n_params) neurons that the user's function draws, in the table's columns.

    Raises:
        WatchError: it gives others.
    """
    values = initial(n)
    listed = values if isinstance(values, list | tuple) else [values]
    try:
        parts = [torch.as_tensor(part).detach() for part in listed if part is not None]
    except (TypeError, ValueError, RuntimeError) as error:
        raise WatchError(
            f"`initial` gave {type(values).__name__} where tensors (w, b, v) are needed: {error}"
        ) from None
    if not parts or any(part.dim() == 0 or len(part) != n for part in parts):
        found = [len(part) if part.dim() else "a number" for part in parts]
        raise WatchError(f"`initial` was asked for {n} neurons and gave {found}")
    table = torch.cat([part.reshape(n, -1).to(like) for part in parts], dim=1)
    if table.shape[1] != like.shape[1]:
        raise WatchError(f"`initial` gave {table.shape[1]} numbers a neuron; the layer's neurons have {like.shape[1]}")
    if not bool(torch.isfinite(table).all()):
        raise WatchError("`initial` gave neurons that are not finite")
    return table
