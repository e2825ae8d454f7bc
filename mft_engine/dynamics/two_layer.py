"""The network of one hidden layer, in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.awaited import Awaited
from mft_engine.dynamics.hyper import Hyper
from mft_engine.estimates import Estimate
from mft_engine.field.field import MeanField, stiffness
from mft_engine.kernels import reference
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive, output_variance_scale
from mft_engine.network.two_layer import column_names, initial_cloud
from mft_engine.points.measure import weighted
from mft_engine.points.statistics import awaited_order_parameters
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream

# Neurons drawn from the prior that tell how large a network's function may be.
PROBED_NEURONS = 256
# Points that they are looked at together.
BLOCK = 65_536


@dataclass(frozen=True)
class TwoLayer:
    """theta is (n_neurons, n_inputs + n_out): a row is a whole neuron, and a cloud of any size is a network.

    Attributes:
        n_neurons: N of the background; n_relevant: the target depends on the first so many inputs alone (0: on all,
            or unknown).
    """

    activation: Activation
    n_inputs: int
    n_out: int
    n_neurons: int
    n_relevant: int = 0

    @property
    def is_whole(self) -> bool:
        """It is."""
        return True

    @property
    def n_layers(self) -> int:
        """One."""
        return 1

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Of the hidden layer."""
        return (self.activation,)

    def initial(
        self, recipe: Recipe, *, stream: Stream, draw: int = 0, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """The background's neurons drawn from the recipe's initial law."""
        return self.neurons(recipe, self.n_neurons, stream=stream, draw=draw, device=device, dtype=dtype)

    def neurons(
        self, recipe: Recipe, n_neurons: int, *, stream: Stream, draw: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Any number of them; a wider cloud contains the narrower one."""
        cloud = initial_cloud(
            recipe, self.n_inputs, n_neurons, n_out=self.n_out, stream=stream, draw=draw, device=device, dtype=dtype
        )
        return cloud.theta

    def rates(self, hyper: Hyper) -> tuple[float, ...]:
        """One a column."""
        return hyper.rate_per_step(self.n_inputs, self.n_out)

    def penalties(self, hyper: Hyper) -> tuple[float, ...]:
        """One a column."""
        return hyper.penalties(self.n_inputs, self.n_out)

    def eigenvalue(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, rates: tuple[float, ...], exponent: float
    ) -> Tensor:
        """Theta; the exponent drops out."""
        return stiffness(theta, inputs, weights, self.activation, rates)

    def output(self, theta: Tensor, inputs: Tensor, exponent: float) -> Tensor:
        """By the reference's products."""
        return reference.predict(theta, inputs, exponent, self.activation)

    def felt(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, residual: Tensor, hyper: Hyper, exponent: float
    ) -> Iterable[tuple[Tensor, MeanField]]:
        """All neurons in the field that they make."""
        signal = weighted(drive(theta.shape[0], exponent) * weights, residual)
        yield theta, MeanField(inputs, signal, self.activation, hyper.lambda_w, hyper.lambda_a)

    def fluctuation(self, theta: Tensor, inputs: Tensor, weights: Tensor, hyper: Hyper, exponent: float) -> float:
        """N^(1 - 2 kappa) n_out T/lambda_a E phi^2, with input weights from the prior too."""
        probe = rng.normal(
            0, Stream.POWER_ITERATION, 1, PROBED_NEURONS, self.n_inputs, device=theta.device, dtype=theta.dtype
        )
        probe = (probe * (hyper.temperature / hyper.lambda_w) ** 0.5).T
        squares = [self.activation.phi(block @ probe).square().mean(dim=1) for block in torch.split(inputs, BLOCK)]
        mean_square = float(weights @ torch.cat(squares))
        size = output_variance_scale(theta.shape[0], exponent)
        return size * self.n_out * hyper.temperature / hyper.lambda_a * mean_square

    def tables(self, theta: Tensor, inputs: Tensor, exponent: float) -> tuple[Tensor, ...]:
        """The cloud itself."""
        return (theta,)

    def columns(self, layer: int) -> tuple[str, ...]:
        """w1 .. wd and the readouts."""
        return column_names(self.n_inputs, self.n_out)

    def orders(self, theta: Tensor, inputs: Tensor, exponent: float) -> Awaited[dict[str, Estimate]]:
        """Of the directions of the input weights."""
        return awaited_order_parameters(theta, self.n_inputs, self.n_relevant)
