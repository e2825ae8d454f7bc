"""What one neuron of a hidden layer feels: the features that reach it and the error signals that leave it.

A neuron of layer l < L has incoming weights w and N_{l+1} outgoing ones v; with everything else frozen its potential is

    V(w, v) = - sum_mu v . s_mu phi_l(w . x_mu) + penalties,   x_mu = c_l h_{l-1}(mu),   s_mu = c_{l+1} delta_{l+1}(mu)

with c_l the input scale and delta the backward pass of the point-weighted residual: a neuron of a two-layer network
with several readouts. In the last layer the only readout is b and s_mu the residual itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mft_engine.field.field import MeanField
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.scaling import drive


def layer_field(
    network: LayeredNetwork,
    penalties: Sequence[float],
    inputs: Tensor,
    parts: Sequence[Tensor],
    signal: Tensor,
    layer: int,
    *,
    exponent: float = 1.0,
) -> MeanField:
    """The field of hidden layer 1 .. L.

    Args:
        penalties: lambda of W_1 .. W_L and b; inputs: (n_points, n_inputs).
        parts: W_1 .. W_L and b of the background.
        signal: (n_points,) point weight times y - f, of the moment or averaged.
        exponent: kappa with which the neuron's own layer is read out.
    """
    found = network.forward(parts, inputs, exponent)
    signal = signal * drive(network.n_neurons[-1], exponent)
    below = (inputs, *found.features)[layer - 1] * network.input_scale(layer)
    if layer < network.n_layers:
        signal = network.errors(parts, found, signal)[layer] * network.input_scale(layer + 1)
    return MeanField(below, signal, network.activations[layer - 1], penalties[layer - 1], penalties[layer])


def neurons_of(network: LayeredNetwork, parts: Sequence[Tensor], layer: int) -> Tensor:
    """The neurons of a layer as rows: incoming weights, then outgoing ones, (N_l, N_{l-1} + N_{l+1})."""
    return torch.cat([parts[layer - 1], parts[layer].T], dim=1)
