"""The activations on tensors, with their derivatives, for kernels and solvers; their table is `mft_engine.curves`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mft_engine.curves import CURVES, Parity, known_activation

Function = Callable[[Tensor], Tensor]
Pair = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Activation:
    """One activation phi and its derivative.

    At a kink `dphi` takes the value of the flat side, as PyTorch's relu does.

    Args:
        name: the name in recipes.
        phi: z -> phi(z), elementwise; any shape, device and floating dtype.
        dphi: z -> phi'(z), likewise.
        both: z -> (phi(z), phi'(z)), sharing what the two have in common.
        parity, formula, kinks: as in `curves.Curve`.
    """

    name: str
    phi: Function
    dphi: Function
    both: Pair
    parity: Parity
    formula: str
    kinks: tuple[float, ...]

    def linearised(self, z: Tensor) -> tuple[Tensor, Function]:
        """phi(z), and g -> g * phi'(z), which may use up g's memory and is to be called once.

        Fewer passes over memory than `both` and a product: what a law's gradient costs beside its matrix products.
        """
        if self.name in _LINEARISED:
            return _LINEARISED[self.name](z)
        value, slope = self.both(z)
        return value, slope.mul_


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
    # Capped where nothing is left of it (1e-26): subnormal numbers take fifteen times as long.
    return torch.exp(-(z * z).clamp(max=60.0)) * (2.0 / math.sqrt(math.pi))


def _clipped(low: float, high: float) -> tuple[Function, Function, Pair]:
    return (
        lambda z: z.clamp(low, high),
        lambda z: _is_between(z, low, high),
        lambda z: (z.clamp(low, high), _is_between(z, low, high)),
    )


def _own_tanh(z: Tensor) -> Tensor:
    """`_tanh` in one new piece of memory, without autograd."""
    return (z + z).sigmoid_().mul_(2.0).sub_(1.0)


def _tanh_linearised(z: Tensor) -> tuple[Tensor, Function]:
    value = _own_tanh(z)
    return value, lambda g: torch.ops.aten.tanh_backward(g, value)


def _relu_tanh_linearised(z: Tensor) -> tuple[Tensor, Function]:
    value = _own_tanh(z).clamp_min_(0.0)
    return value, lambda g: torch.ops.aten.threshold_backward(torch.ops.aten.tanh_backward(g, value), value, 0)


def _relu_linearised(z: Tensor) -> tuple[Tensor, Function]:
    value = z.clamp_min(0.0)
    return value, lambda g: torch.ops.aten.threshold_backward(g, value, 0)


def _tanh_squared_linearised(z: Tensor) -> tuple[Tensor, Function]:
    t = _own_tanh(z)
    return t * t, lambda g: torch.ops.aten.tanh_backward(g.mul_(t), t).mul_(2.0)


_LINEARISED: dict[str, Callable[[Tensor], tuple[Tensor, Function]]] = {
    "tanh": _tanh_linearised,
    "relu_tanh": _relu_tanh_linearised,
    "relu": _relu_linearised,
    "tanh_squared": _tanh_squared_linearised,
}

# phi, phi' and both at once, sharing what the two have in common.
_ON_TENSORS: dict[str, tuple[Function, Function, Pair]] = {
    "relu_tanh": (_relu_tanh, lambda z: _relu_tanh_both(z)[1], _relu_tanh_both),
    "clip01": _clipped(0.0, 1.0),
    "tanh": (_tanh, lambda z: _tanh_both(z)[1], _tanh_both),
    "erf": (torch.erf, _erf_slope, lambda z: (torch.erf(z), _erf_slope(z))),
    "relu": (
        lambda z: z.clamp_min(0.0),
        lambda z: (z > 0.0).to(z.dtype),
        lambda z: (z.clamp_min(0.0), (z > 0.0).to(z.dtype)),
    ),
    "sin": (torch.sin, torch.cos, lambda z: (torch.sin(z), torch.cos(z))),
    "quadratic": (lambda z: z * z, lambda z: z + z, lambda z: (z * z, z + z)),
    "hardtanh": _clipped(-1.0, 1.0),
    "tanh_squared": (lambda z: _tanh(z).square(), lambda z: _tanh_squared_both(z)[1], _tanh_squared_both),
}

ACTIVATIONS: dict[str, Activation] = {
    curve.name: Activation(curve.name, *_ON_TENSORS[curve.name], curve.parity, curve.formula, curve.kinks)
    for curve in CURVES.values()
}


def get_activation(name: str) -> Activation:
    """The activation of that name.

    Args:
        name: one of `ACTIVATIONS`.

    Raises:
        ValueError: no such name; the message gives the nearest one and all of them.
    """
    return ACTIVATIONS[known_activation(name)]


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
