"""The activations phi and their derivatives, each declared once, for every kernel and solver."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Parity = Literal["none", "odd", "even"]


@dataclass(frozen=True)
class Activation:
    """One activation phi and its derivative.

    At a kink `dphi` takes the value of the flat side, as PyTorch's relu does.

    Args:
        name: the name in recipes.
        phi: z -> phi(z), elementwise; any shape, device and floating dtype.
        dphi: z -> phi'(z), likewise.
        both: z -> (phi(z), phi'(z)), sharing what the two have in common.
        parity: an "odd" activation without bias cannot see an even target, and the reverse.
        formula: phi as a user reads it.
        kinks: the z at which phi' jumps; quadrature rules for smooth functions are poor there.
        code: what compiled kernels know the activation by; never renumbered.
    """

    name: str
    phi: Callable[[Tensor], Tensor]
    dphi: Callable[[Tensor], Tensor]
    both: Callable[[Tensor], tuple[Tensor, Tensor]]
    parity: Parity
    formula: str
    kinks: tuple[float, ...]
    code: int


def _tanh(z: Tensor) -> Tensor:
    # On a CPU torch.tanh costs 5 to 9 times as much per element as torch.sigmoid. 2 sigmoid(2z) - 1 has the
    # same absolute error (roundings of a number near 1) but not the same relative error near z = 0.
    return torch.sigmoid(z + z).mul(2.0).sub_(1.0)


def _is_between(z: Tensor, low: float, high: float) -> Tensor:
    return ((z > low) & (z < high)).to(z.dtype)


def _relu_tanh(z: Tensor) -> Tensor:
    return _tanh(z).clamp_min(0.0)


def _relu_tanh_both(z: Tensor) -> tuple[Tensor, Tensor]:
    value = _relu_tanh(z)
    # The sign (1 or 0) instead of a mask: masked filling costs ten times as much on a CPU.
    return value, (value * value).neg_().add_(1.0).mul_(value.sign())


def _tanh_both(z: Tensor) -> tuple[Tensor, Tensor]:
    value = _tanh(z)
    return value, 1.0 - value * value


def _tanh_squared_both(z: Tensor) -> tuple[Tensor, Tensor]:
    t = _tanh(z)
    square = t * t
    return square, 2.0 * t * (1.0 - square)


def _erf_slope(z: Tensor) -> Tensor:
    return torch.exp(-z * z) * (2.0 / math.sqrt(math.pi))


_ALL = (
    Activation(
        "relu_tanh",
        _relu_tanh,
        lambda z: _relu_tanh_both(z)[1],
        _relu_tanh_both,
        "none",
        "max(0, tanh z)",
        (0.0,),
        0,
    ),
    Activation(
        "clip01",
        lambda z: z.clamp(0.0, 1.0),
        lambda z: _is_between(z, 0.0, 1.0),
        lambda z: (z.clamp(0.0, 1.0), _is_between(z, 0.0, 1.0)),
        "none",
        "min(1, max(0, z))",
        (0.0, 1.0),
        1,
    ),
    Activation("tanh", _tanh, lambda z: _tanh_both(z)[1], _tanh_both, "odd", "tanh z", (), 2),
    Activation("erf", torch.erf, _erf_slope, lambda z: (torch.erf(z), _erf_slope(z)), "odd", "erf z", (), 3),
    Activation(
        "relu",
        lambda z: z.clamp_min(0.0),
        lambda z: (z > 0.0).to(z.dtype),
        lambda z: (z.clamp_min(0.0), (z > 0.0).to(z.dtype)),
        "none",
        "max(0, z)",
        (0.0,),
        4,
    ),
    Activation("sin", torch.sin, torch.cos, lambda z: (torch.sin(z), torch.cos(z)), "odd", "sin z", (), 5),
    Activation("quadratic", lambda z: z * z, lambda z: z + z, lambda z: (z * z, z + z), "even", "z^2", (), 6),
    Activation(
        "hardtanh",
        lambda z: z.clamp(-1.0, 1.0),
        lambda z: _is_between(z, -1.0, 1.0),
        lambda z: (z.clamp(-1.0, 1.0), _is_between(z, -1.0, 1.0)),
        "odd",
        "min(1, max(-1, z))",
        (-1.0, 1.0),
        7,
    ),
    Activation(
        "tanh_squared",
        lambda z: _tanh(z).square(),
        lambda z: _tanh_squared_both(z)[1],
        _tanh_squared_both,
        "even",
        "tanh(z)^2",
        (),
        8,
    ),
)

ACTIVATIONS: dict[str, Activation] = {activation.name: activation for activation in _ALL}


def get_activation(name: str) -> Activation:
    """The activation of that name.

    Args:
        name: one of `ACTIVATIONS`.

    Raises:
        ValueError: no such name; the message gives the nearest one and all of them.
    """
    try:
        return ACTIVATIONS[name]
    except KeyError:
        nearest = difflib.get_close_matches(name, ACTIVATIONS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown activation {name!r}: did you mean {nearest!r}? (one of {', '.join(ACTIVATIONS)})"
        ) from None


def phi_numpy(name: str, z: ArrayLike) -> NDArray[np.float64]:
    """phi(z) in float64 for numpy code; the same function as `Activation.phi`, any shape.

    Raises:
        ValueError: no activation of that name.
    """
    return np.asarray(get_activation(name).phi(torch.tensor(np.asarray(z, dtype=np.float64))).numpy())


def dphi_numpy(name: str, z: ArrayLike) -> NDArray[np.float64]:
    """phi'(z) in float64 for numpy code; the flat side's value at a kink, as in `Activation`.

    Raises:
        ValueError: no activation of that name.
    """
    return np.asarray(get_activation(name).dphi(torch.tensor(np.asarray(z, dtype=np.float64))).numpy())
