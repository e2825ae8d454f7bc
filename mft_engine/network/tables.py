"""Few numbers for a neuron that has thousands of weights: what pictures and comparisons tell neurons apart by.

Layer 1: its input weights w. Above: the overlaps E[phi(z) g] of its activation function with the functions g that the
target is composed of, or, where the task names none, with the principal components of the layer's activation functions.
The last column is the weight with which the neuron acts on the output: the readout b in the last layer, below it
the outgoing weights along the direction in which they move f.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.curves import Parity
from mft_engine.estimates import Estimate
from mft_engine.network.activations import Activation
from mft_engine.network.layered import LayeredNetwork

N_COMPONENTS = 3


def table_parity(activations: Sequence[Activation], layer: int) -> Parity:
    """The symmetry by which clouds of layer 1 .. L are folded before they are compared.

    Overlaps of an even activation function do not turn with the weights, so there is nothing to fold.
    """
    parity = activations[layer - 1].parity
    return "none" if layer > 1 and parity == "even" else parity


@dataclass(frozen=True)
class Tables:
    """How neurons become rows.

    Attributes:
        weights: (n_points,); functions: (n_points, n_functions), empty where the task names none; names of them.
    """

    weights: Tensor
    functions: Tensor
    names: tuple[str, ...]

    def order_numbers(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """E over neurons of the squared overlap with each named function, and its errors, (n_functions,) each.

        Args:
            features: (n_points, n_neurons).
        """
        squares = self._overlaps(features, self.functions) ** 2
        return squares.mean(dim=0), squares.std(dim=0) / len(squares) ** 0.5

    def read_orders(self, told: list[float]) -> dict[str, Estimate]:
        """The same by their names, from both in one list."""
        n = len(self.names)
        return {f"overlap_{k}": Estimate(m, e) for k, m, e in zip(self.names, told[:n], told[n:], strict=True)}

    def columns(self, layer: int, n_inputs: int) -> tuple[str, ...]:
        """Names of the columns of a layer's table."""
        if layer == 1:
            return (*(f"w{j + 1}" for j in range(n_inputs)), "v")
        names = self.names or tuple(f"PC {k + 1}" for k in range(N_COMPONENTS))
        return (*(f"⟨φ, {name}⟩" for name in names), "b")

    def directions(self, features: Tensor) -> Tensor:
        """(n_points, k): the functions with which activation functions of an upper layer are compared.

        Args:
            features: (n_points, n_neurons) of the background, which fixes the components.
        """
        if self.names:
            return self.functions
        root = torch.sqrt(self.weights)[:, None]
        left, _, _ = torch.linalg.svd((features - features.mean(dim=1, keepdim=True)) * root, full_matrices=False)
        basis = left[:, :N_COMPONENTS] / root.clamp_min(1e-20)
        largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
        return basis * torch.sign(largest)

    def of_first_layer(self, incoming: Tensor, outgoing: Tensor) -> Tensor:
        """One row a neuron of the first hidden layer, (n_neurons, n_inputs + 1).

        Args:
            incoming: (n_neurons, n_inputs); outgoing: (n_neurons,) along `push_on_output`.
        """
        return torch.cat([incoming, outgoing[:, None]], dim=1)

    def of_upper_layer(self, features: Tensor, outgoing: Tensor, background: Tensor) -> Tensor:
        """One row a neuron of a layer above, (n_neurons, k + 1).

        Args:
            features: (n_points, n_neurons) activation functions; outgoing: (n_neurons,) along `push_on_output`.
            background: (n_points, N_l) activation functions of the background, which fix the components.
        """
        return torch.cat([self._overlaps(features, self.directions(background)), outgoing[:, None]], dim=1)

    def _overlaps(self, features: Tensor, functions: Tensor) -> Tensor:
        return features.T @ (self.weights[:, None] * functions)


def push_on_output(network: LayeredNetwork, parts: Sequence[Tensor], layer: int) -> Tensor:
    """(N_{l+1},): the unit direction in which a layer's outgoing weights move the output.

    In the last layer there is one readout, so 1; below, the direction is b, carried down through the weights of the
    layers between.
    """
    direction = parts[-1][0]
    if layer == network.n_layers:
        return torch.ones_like(direction[:1])
    for weight in reversed(parts[layer + 1 : -1]):
        direction = weight.T @ direction
    return direction / direction.norm().clamp_min(1e-30)
