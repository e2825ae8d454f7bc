"""A network as its training knows it: how it starts, what its neurons feel, how stiff it is, how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from mft_engine.awaited import Awaited
from mft_engine.dynamics.hyper import Hyper
from mft_engine.estimates import Estimate
from mft_engine.field.field import MeanField
from mft_engine.network.activations import Activation
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream


class Network(Protocol):
    """One hidden layer (`TwoLayer`) or several (`Layered`); parameters are one tensor that only the network reads."""

    @property
    def is_whole(self) -> bool:
        """Whether all its parameters are in this process, so that nothing else has to be asked."""
        ...

    @property
    def n_layers(self) -> int:
        """L, hidden layers."""
        ...

    @property
    def activations(self) -> tuple[Activation, ...]:
        """phi_1 .. phi_L."""
        ...

    def initial(
        self, recipe: Recipe, *, stream: Stream, draw: int = 0, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Parameters drawn from the recipe's initial law."""
        ...

    def rates(self, hyper: Hyper) -> tuple[float, ...]:
        """rate / step_size of each group of parameters that moves alike, in the order in which kernels want them."""
        ...

    def penalties(self, hyper: Hyper) -> tuple[float, ...]:
        """lambda of the same groups."""
        ...

    def eigenvalue(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, rates: tuple[float, ...], exponent: float
    ) -> Tensor:
        """Theta, the top eigenvalue of the tangent kernel, 0-dim: a step is stable below 2/Theta."""
        ...

    def output(self, theta: Tensor, inputs: Tensor, exponent: float) -> Tensor:
        """f at the inputs, by plain products that a device can record."""
        ...

    def felt(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, residual: Tensor, hyper: Hyper, exponent: float
    ) -> Iterable[tuple[Tensor, MeanField]]:
        """Neurons of every layer as rows, and the field that they feel now.

        Args:
            weights: (n_points,); residual: (n_points,) or (n_points, n_out) y - f.
        """
        ...

    def fluctuation(self, theta: Tensor, inputs: Tensor, weights: Tensor, hyper: Hyper, exponent: float) -> float:
        """E f^2 of a network of this width whose readouts are drawn from the prior."""
        ...

    def tables(self, theta: Tensor, inputs: Tensor, exponent: float) -> tuple[Tensor, ...]:
        """Neurons as rows, one table a hidden layer."""
        ...

    def columns(self, layer: int) -> tuple[str, ...]:
        """Names of the columns of the table of layer 1 .. L."""
        ...

    def orders(self, theta: Tensor, inputs: Tensor, exponent: float) -> Awaited[dict[str, Estimate]]:
        """Order parameters."""
        ...
