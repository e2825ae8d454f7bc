"""What the dynamics needs to know of a network with several hidden layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.dynamics import Hyper, Problem
from mft_engine.dynamics.problem import plan_of, resolving_step
from mft_engine.field.layered import layer_field, neurons_of
from mft_engine.kernels import StepPlan
from mft_engine.network.layered import LayeredNetwork, penalties
from mft_engine.network.tables import Tables
from mft_engine.points.statistics import Estimate
from mft_engine.rng import Stream

# Neurons of a layer on which the curvature is measured; their fields have as many readouts as the next layer neurons.
PROBED_NEURONS = 64


@dataclass(frozen=True)
class LayeredProblem(Problem):
    """The same for a layered network: theta is flat, and rates come one for each layer.

    Attributes:
        network: shapes and activations; tables: what neurons are told apart by.
    """

    network: LayeredNetwork | None = None
    tables: Tables | None = None

    @property
    def layered(self) -> LayeredNetwork:
        """The network."""
        assert self.network is not None
        return self.network

    def penalties(self, hyper: Hyper) -> tuple[float, ...]:
        """lambda of W_1, W_2 .. W_L and the readouts."""
        return penalties(hyper, self.layered.n_layers)

    def rates(self, hyper: Hyper) -> tuple[float, ...]:
        """rate / step_size of W_1 .. W_L and the readouts."""
        return tuple(1.0 / penalty if hyper.is_preconditioned else 1.0 for penalty in self.penalties(hyper))

    def eigenvalue(self, theta: Tensor, hyper: Hyper) -> float:
        """Theta: the kernel is formed, for its parts are products of features and of errors, layer by layer."""
        network, stride = self.layered, max(1, len(self.inputs) // 1024)
        inputs, weights = self.inputs[::stride], self.weights[::stride]
        kernel = network.tangent_kernel(network.split(theta), inputs, self.readout_exponent, self.rates(hyper))
        root = torch.sqrt(weights / weights.sum())
        return float(torch.linalg.matrix_norm((kernel * root[:, None] * root[None, :]).double(), ord=2))

    def resolving_step(self, theta: Tensor, hyper: Hyper) -> float:
        """The largest step that resolves single neurons, in every layer."""
        network, parts = self.layered, self.layered.split(theta)
        found = network.run(parts, self.inputs, self.readout_exponent)
        signal = self.weights * (self.targets - found.prediction)
        steps = []
        for layer in range(1, network.n_layers + 1):
            field = layer_field(network, self.penalties(hyper), self.inputs, parts, signal, layer)
            steps.append(resolving_step(neurons_of(network, parts, layer)[:PROBED_NEURONS], field, hyper))
        return min(steps)

    def fluctuation(self, theta: Tensor, hyper: Hyper) -> float:
        """The same with the last hidden layer's features as they are."""
        network = self.layered
        phi = network.run(network.split(theta), self.inputs, self.readout_exponent).features[-1]
        size = float(network.n_neurons[-1]) ** (1.0 - 2.0 * self.readout_exponent)
        return size * hyper.temperature / hyper.lambda_a * float(self.weights @ (phi * phi).mean(dim=1))

    def plan(self, hyper: Hyper, step_size: float) -> StepPlan:
        """The numbers of one update of the whole network."""
        return plan_of(
            hyper,
            step_size,
            self.rates(hyper),
            self.penalties(hyper),
            seed=self.seed,
            stream=Stream.BACKGROUND,
            readout_exponent=self.readout_exponent,
        )

    def orders(self, theta: Tensor) -> dict[str, Estimate]:
        """Mean square overlap of the last hidden layer's activation functions with the target's parts."""
        assert self.tables is not None
        network = self.layered
        found = network.run(network.split(theta), self.inputs, self.readout_exponent)
        return self.tables.orders(found.features[-1])
