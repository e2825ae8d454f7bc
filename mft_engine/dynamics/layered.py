"""The network of several hidden layers, in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.awaited import Awaited
from mft_engine.dynamics.hyper import Hyper
from mft_engine.estimates import Estimate
from mft_engine.field.field import MeanField, top_eigenvalue
from mft_engine.field.layered import layer_field, neurons_of
from mft_engine.network.activations import Activation
from mft_engine.network.layered import LayeredNetwork, penalties
from mft_engine.network.scaling import output_variance_scale
from mft_engine.network.tables import Tables, push_on_output
from mft_engine.recipe import Recipe
from mft_engine.recorded import Recorded
from mft_engine.rng import Stream

# Neurons of a layer on which the curvature is measured; their fields have as many readouts as the next layer neurons.
PROBED_NEURONS = 64
STIFFNESS_POINTS = 1024


@dataclass(frozen=True)
class Layered:
    """theta is flat; rates and penalties come one for each of W_1 .. W_L and the readouts.

    Attributes:
        shapes: of the parameters, and the passes through them; told_by: what neurons are told apart by.
    """

    shapes: LayeredNetwork
    told_by: Tables

    @property
    def is_whole(self) -> bool:
        """It is."""
        return True

    @property
    def n_layers(self) -> int:
        """L."""
        return self.shapes.n_layers

    @property
    def activations(self) -> tuple[Activation, ...]:
        """phi_1 .. phi_L."""
        return self.shapes.activations

    def initial(
        self, recipe: Recipe, *, stream: Stream, draw: int = 0, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """All parameters drawn from the recipe's initial law, (n_parameters,)."""
        return self.shapes.initial(recipe, stream=stream, draw=draw, device=device, dtype=dtype)

    def rates(self, hyper: Hyper) -> tuple[float, ...]:
        """rate / step_size of W_1 .. W_L and the readouts."""
        return tuple(1.0 / penalty if hyper.is_preconditioned else 1.0 for penalty in self.penalties(hyper))

    def penalties(self, hyper: Hyper) -> tuple[float, ...]:
        """lambda of W_1, W_2 .. W_L and the readouts."""
        return penalties(hyper, self.n_layers)

    def eigenvalue(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, rates: tuple[float, ...], exponent: float
    ) -> Tensor:
        """Theta: the kernel is formed, for its parts are products of features and of errors, layer by layer."""
        stride = max(1, len(inputs) // STIFFNESS_POINTS)
        inputs, weights = inputs[::stride], weights[::stride]
        kernel = self.shapes.tangent_kernel(self.shapes.split(theta), inputs, exponent, rates)
        root = torch.sqrt(weights / weights.sum())
        return top_eigenvalue(kernel * root[:, None] * root[None, :])

    def output(self, theta: Tensor, inputs: Tensor, exponent: float) -> Tensor:
        """By one pass."""
        return self.shapes.forward(self.shapes.split(theta), inputs, exponent).prediction

    def felt(
        self, theta: Tensor, inputs: Tensor, weights: Tensor, residual: Tensor, hyper: Hyper, exponent: float
    ) -> Iterable[tuple[Tensor, MeanField]]:
        """Some neurons of each layer; their own layer is read out as in mean field."""
        parts = self.shapes.split(theta)
        for layer in range(1, self.n_layers + 1):
            field = layer_field(self.shapes, self.penalties(hyper), inputs, parts, weights * residual, layer)
            yield neurons_of(self.shapes, parts, layer)[:PROBED_NEURONS], field

    def fluctuation(self, theta: Tensor, inputs: Tensor, weights: Tensor, hyper: Hyper, exponent: float) -> float:
        """N_L^(1 - 2 kappa) T/lambda_a E phi^2 with the last hidden layer's features as they are."""
        phi = self.shapes.forward(self.shapes.split(theta), inputs, exponent).features[-1]
        size = output_variance_scale(self.shapes.n_neurons[-1], exponent)
        return size * hyper.temperature / hyper.lambda_a * float(weights @ (phi * phi).mean(dim=1))

    def tables(self, theta: Tensor, inputs: Tensor, exponent: float) -> tuple[Tensor, ...]:
        """The few numbers by which neurons of every layer are told apart (`network.tables`)."""
        parts = self.shapes.split(theta)
        features = self.shapes.forward(parts, inputs, exponent).features
        return tuple(
            self.table(layer, parts[0], features[layer - 1], self.told(parts, layer), features[layer - 1])
            for layer in range(1, self.n_layers + 1)
        )

    def told(self, parts: tuple[Tensor, ...], layer: int) -> Tensor:
        """(N_l,) outgoing weights along the direction in which they move f."""
        return parts[layer].T @ push_on_output(self.shapes, parts, layer)

    def table(self, layer: int, incoming: Tensor, features: Tensor, told: Tensor, background: Tensor) -> Tensor:
        """Neurons of one layer as rows: fresh ones, or the background's own.

        Args:
            incoming: (n, n_inputs) weights, shown for the first layer alone; features: (n_points, n) of these neurons.
            told: (n,) outgoing; background: (n_points, N_l) features of the background, which fix the components.
        """
        if layer == 1:
            return self.told_by.of_first_layer(incoming, told)
        return self.told_by.of_upper_layer(features, told, background)

    def columns(self, layer: int) -> tuple[str, ...]:
        """Names of the columns of a layer's table."""
        return self.told_by.columns(layer, self.shapes.n_inputs)

    def orders(self, theta: Tensor, inputs: Tensor, exponent: float) -> Awaited[dict[str, Estimate]]:
        """Mean square overlap of the last hidden layer's activation functions with the target's parts."""
        if not self.told_by.names:
            return Awaited((), lambda _: {})
        return Awaited(_ORDERS(theta, inputs, network=self, exponent=exponent), self.told_by.read_orders)


def _order_numbers(theta: Tensor, inputs: Tensor, *, network: Layered, exponent: float) -> tuple[Tensor, ...]:
    found = network.shapes.forward(network.shapes.split(theta), inputs, exponent)
    return network.told_by.order_numbers(found.features[-1])


_ORDERS = Recorded(_order_numbers)
