"""A network of one hidden layer whose neurons are spread over processes, in training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mft_engine.awaited import Awaited
from mft_engine.dynamics.hyper import Hyper
from mft_engine.dynamics.two_layer import TwoLayer
from mft_engine.estimates import Estimate
from mft_engine.field.field import CURVATURE_NEURONS, STIFFNESS_NEURONS, MeanField
from mft_engine.kernels.sharded import Shards
from mft_engine.network.activations import Activation
from mft_engine.points.measure import weighted
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream


class ShardedTwoLayer:
    """`TwoLayer` for a theta that is this process's part: looks at the neurons see a fixed number of those of all.

    Every process calls the same methods in the same order, and gets the same numbers.
    """

    def __init__(self, network: TwoLayer, shards: Shards) -> None:
        self._network, self._shards = network, shards

    @property
    def n_neurons(self) -> int:
        """N of the whole network."""
        return self._network.n_neurons

    @property
    def n_layers(self) -> int:
        """One."""
        return 1

    @property
    def is_whole(self) -> bool:
        """Only a part is here."""
        return False

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Of the hidden layer."""
        return self._network.activations

    def initial(
        self, recipe: Recipe, *, stream: Stream, draw: int = 0, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """This process's part of the neurons drawn from the recipe's initial law."""
        return self._shards.own(self._network.initial(recipe, stream=stream, draw=draw, device=device, dtype=dtype))

    def rates(self, hyper: Hyper) -> tuple[float, ...]:
        """One a column."""
        return self._network.rates(hyper)

    def penalties(self, hyper: Hyper) -> tuple[float, ...]:
        """One a column."""
        return self._network.penalties(hyper)

    def eigenvalue(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, rates: tuple[float, ...], exponent: float
    ) -> Tensor:
        """Theta of the whole network."""
        neurons = self._shards.thinned(theta, STIFFNESS_NEURONS)
        return self._network.eigenvalue(neurons, inputs, weights, rates, exponent)

    def output(self, theta: Tensor, inputs: Tensor, exponent: float) -> Tensor:
        """The part of f that this process makes."""
        return self._network.output(theta, inputs, exponent)

    def felt(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, residual: Tensor, hyper: Hyper, exponent: float
    ) -> Iterable[tuple[Tensor, MeanField]]:
        """Some neurons of all processes in the field that all make."""
        signal = weighted(self.n_neurons ** (exponent - 1.0) * weights, residual)
        field = MeanField(inputs, signal, self._network.activation, hyper.lambda_w, hyper.lambda_a)
        yield self._shards.thinned(theta, CURVATURE_NEURONS), field

    def fluctuation(self, theta: Tensor, inputs: Tensor, weights: Tensor, hyper: Hyper, exponent: float) -> float:
        """E f^2 of a network of the whole size drawn from the prior."""
        own = self._network.fluctuation(theta, inputs, weights, hyper, exponent)
        return own * (self.n_neurons / theta.shape[0]) ** (1.0 - 2.0 * exponent)

    def tables(self, theta: Tensor, inputs: Tensor, exponent: float) -> tuple[Tensor, ...]:
        """This process's part of the cloud."""
        return (theta,)

    def columns(self, layer: int) -> tuple[str, ...]:
        """w1 .. wd and the readouts."""
        return self._network.columns(layer)

    def orders(self, theta: Tensor, inputs: Tensor, exponent: float) -> Awaited[dict[str, Estimate]]:
        """Of the whole cloud."""
        found = self._shards.order_parameters(theta, self._network.n_inputs, self._network.n_relevant)
        return Awaited((), lambda _: found)
