"""A network of several hidden layers: its parameters, its function, and the signals that reach every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.network.activations import Activation, get_activation
from mft_engine.network.scaling import output_scale
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream


@dataclass(frozen=True)
class Pass:
    """What one pass through the network leaves, layer by layer (hidden layer l = 1 .. L at index l - 1).

    Attributes:
        features: h_l = phi_l(z_l), (n_points, N_l); slopes: phi_l'(z_l), the same shapes.
        prediction: f, (n_points,).
    """

    features: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    prediction: Tensor


@dataclass(frozen=True)
class LayeredNetwork:
    """Shapes, activations and scalings of the network; the parameters themselves are one flat tensor.

        h_0 = x,   z_1 = W_1 x,   z_l = N_{l-1}^(-1/2) W_l h_{l-1},   h_l = phi_l(z_l),   f = N_L^-kappa b . h_L

    N^(-1/2) with weights of prior variance T/lambda is the mean-field N^-1 with N times that variance: the same law.
    The energy of the network is N_L^(2 kappa - 1) E r^2/2 + sum of the penalties over all parameters, so that each
    neuron of each layer moves O(1), whatever the widths.

    Attributes:
        n_inputs: d; n_neurons: N_1 .. N_L; activations: phi_1 .. phi_L.
    """

    n_inputs: int
    n_neurons: tuple[int, ...]
    activations: tuple[Activation, ...]

    @classmethod
    def of(cls, recipe: Recipe, n_inputs: int) -> LayeredNetwork:
        """The network of a recipe: `network.activation` in the first layer, `network.upper_activation` above."""
        section = recipe.network
        names = (section.activation, *(section.upper_activation,) * (len(section.n_neurons) - 1))
        return cls(n_inputs, section.n_neurons, tuple(get_activation(name) for name in names))

    @property
    def n_layers(self) -> int:
        """L, the number of hidden layers."""
        return len(self.n_neurons)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of W_1 .. W_L and, as the last, of the readouts (1, N_L)."""
        below = (self.n_inputs, *self.n_neurons[:-1])
        return (*zip(self.n_neurons, below, strict=True), (1, self.n_neurons[-1]))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of parameters of W_1 .. W_L and of the readouts."""
        return tuple(rows * columns for rows, columns in self.shapes)

    @property
    def n_parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(self.sizes)

    def input_scale(self, layer: int) -> float:
        """By which the features that reach a layer (1 .. L) are multiplied."""
        return 1.0 if layer == 1 else float(self.n_neurons[layer - 2]) ** -0.5

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """W_1 .. W_L and b (1, N_L) as views of the flat parameters (n_parameters,)."""
        parts = theta.split_with_sizes(list(self.sizes))
        return tuple(part.view(shape) for part, shape in zip(parts, self.shapes, strict=True))

    def initial(
        self, recipe: Recipe, *, stream: Stream, draw: int = 0, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Parameters drawn from the recipe's initial law, (n_parameters,).

        Prior: variance T/lambda of each kind of parameter. Gaussian: `initial.input_weight_std` for every weight,
        `initial.readout_std` for readouts.
        """
        normal = flat_normal(recipe.seed, stream, draw, self.n_parameters, device, dtype)
        if recipe.initial.law == "prior":
            scales = [(recipe.training.temperature / penalty) ** 0.5 for penalty in penalties(recipe, self.n_layers)]
        else:
            scales = [recipe.initial.input_weight_std] * self.n_layers + [recipe.initial.readout_std]
        parts = normal.split_with_sizes(list(self.sizes))
        return torch.cat([scale * part for scale, part in zip(scales, parts, strict=True)])

    def forward(self, parts: Sequence[Tensor], inputs: Tensor, readout_exponent: float) -> Pass:
        """Features and slopes of every layer, and f, at the inputs (n_points, n_inputs)."""
        features: list[Tensor] = []
        slopes: list[Tensor] = []
        below = inputs
        for layer, weight in enumerate(parts[:-1], start=1):
            z = below @ weight.T
            if layer > 1:
                z *= self.input_scale(layer)
            below, slope = self.activations[layer - 1].both(z)
            features.append(below)
            slopes.append(slope)
        prediction = (below @ parts[-1][0]) * output_scale(self.n_neurons[-1], readout_exponent)
        return Pass(tuple(features), tuple(slopes), prediction)

    def errors(self, parts: Sequence[Tensor], found: Pass, signal: Tensor) -> tuple[Tensor, ...]:
        """delta_l = signal x dF/dz_l with F = b . h_L, (n_points, N_l) for l = 1 .. L.

        Args:
            signal: (n_points,), point weight x residual x N_L^(kappa-1) for the drift of a neuron; ones for dF/dz.
        """
        backward = signal[:, None] * parts[-1]
        deltas: list[Tensor] = []
        for layer in range(self.n_layers, 0, -1):
            delta = backward * found.slopes[layer - 1]
            deltas.append(delta)
            if layer > 1:
                backward = (delta @ parts[layer - 1]) * self.input_scale(layer)
        return tuple(reversed(deltas))

    def drift(self, parts: Sequence[Tensor], inputs: Tensor, found: Pass, signal: Tensor) -> Tensor:
        """What the data contribute to the motion of every parameter, (n_parameters,)."""
        deltas = self.errors(parts, found, signal)
        below = (inputs, *found.features[:-1])
        moved = [
            (delta.T @ reached).mul_(self.input_scale(layer)).flatten()
            for layer, (delta, reached) in enumerate(zip(deltas, below, strict=True), start=1)
        ]
        return torch.cat([*moved, found.features[-1].T @ signal])

    def tangent_kernel(
        self, parts: Sequence[Tensor], inputs: Tensor, readout_exponent: float, rates: Sequence[float]
    ) -> Tensor:
        """How one unit of step size moves f: K(x, x') = (1/N_L) sum_p rate_p dF/dp(x) dF/dp(x'), F = b . h_L.

        Args:
            rates: rate / step_size of W_1 .. W_L and of the readouts.
        """
        found = self.forward(parts, inputs, readout_exponent)
        gradients = self.errors(parts, found, torch.ones_like(inputs[:, 0]))
        below = (inputs, *found.features)
        kernel = rates[-1] * (below[-1] @ below[-1].T)
        for layer, delta in enumerate(gradients, start=1):
            reached = below[layer - 1]
            scale = rates[layer - 1] * self.input_scale(layer) ** 2
            kernel = kernel + scale * (reached @ reached.T) * (delta @ delta.T)
        return kernel / self.n_neurons[-1]


class HasPenalties(Protocol):
    """What knows the penalties: a recipe, or the hyperparameters of a dynamics."""

    @property
    def lambda_w(self) -> float:
        """Of the weights of the first layer."""
        ...

    @property
    def lambda_hidden(self) -> float:
        """Of the weights between hidden layers."""
        ...

    @property
    def lambda_a(self) -> float:
        """Of the readouts."""
        ...


def penalties(source: HasPenalties, n_layers: int) -> tuple[float, ...]:
    """lambda of W_1, of W_2 .. W_L (`regularisation.hidden_weight`), and of the readouts."""
    return (source.lambda_w, *(source.lambda_hidden,) * (n_layers - 1), source.lambda_a)


def flat_normal(seed: int, stream: int, step: int | Tensor, n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(n,) standard normal numbers, four to a row of the counter: element k is of (seed, stream, step, k) alone."""
    return rng.normal(seed, stream, step, -(-n // 4), 4, device=device, dtype=dtype).flatten()[:n]
