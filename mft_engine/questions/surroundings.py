"""What the other neurons are for one neuron, averaged over the motion of the background.

Errors and features of a layer fluctuate by 1/sqrt(N), its neurons move as fast as the one that feels them, and the
law of a neuron depends on them exponentially: with the surroundings of one moment it picks one leaf (28 to 200 times
the null's distance in continuous xor). So the products that enter the law are averaged along the run; the residual
has its own average.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.dynamics import Diverged, Hyper, State
from mft_engine.dynamics.layered import Layered
from mft_engine.dynamics.problem import Problem
from mft_engine.laws.tempered import Tilt
from mft_engine.network.layered import LayeredNetwork, Pass
from mft_engine.network.tables import push_on_output
from mft_engine.recorded import Recorded


@dataclass(frozen=True)
class Moment:
    """Products of one moment, or their sums over several; points are rows, F = b . h_L.

    Attributes:
        errors: (L, n_points, n_points) c_{l+1}^2 sum_j (dF/dz_j)(dF/dz_j)', neurons j of layer l + 1; the last is 1.
        echo: (n_points,) c_L^2 sum_j b_j phi''(z_j), the Onsager term of layer L - 1.
        push: (L, n_points) c_{l+1} sum_j dF/dz_j e_j, e the direction in which outgoing weights are told (`tables`).
        covariance: (n_points, n_points) mean over the last layer of b^2 phi phi' (no mean taken off).
    """

    errors: Tensor
    echo: Tensor
    push: Tensor
    covariance: Tensor


# Steps between two looks at the last layer.
STEPS_BETWEEN = 25

_NAMES = ("errors", "echo", "push", "covariance")


def look(problem: Problem, layered: Layered, hyper: Hyper, theta: Tensor) -> Moment:
    """The products of the moment, float64; another look may write over them."""
    kick = layered.shapes.input_scale(layered.n_layers) * (hyper.temperature / layered.penalties(hyper)[-2]) ** 0.5
    return Moment(*_PRODUCTS(theta, problem.inputs, problem.weights, network=layered.shapes, kick=kick))


def _products(
    theta: Tensor, inputs: Tensor, weights: Tensor, *, network: LayeredNetwork, kick: float
) -> tuple[Tensor, ...]:
    parts = network.split(theta)
    found = network.forward(parts, inputs, 1.0)
    gradients = network.errors(parts, found, torch.ones_like(weights))
    left = [error * network.input_scale(layer) for layer, error in enumerate(gradients[1:], start=2)]
    left.append(torch.ones_like(weights)[:, None])
    scale, readout = network.input_scale(network.n_layers), parts[-1][0]
    reached = found.features[-2] * scale
    echo = (_bend(network, reached @ parts[-2].T, kick) @ readout) * scale**2
    push = [signal @ push_on_output(network, parts, layer) for layer, signal in enumerate(left, start=1)]
    return (
        torch.stack([s @ s.T for s in left]).double(),
        echo.double(),
        torch.stack(push).double(),
        last_covariance(found, readout),
    )


_PRODUCTS = Recorded(_products)


def last_covariance(found: Pass, readout: Tensor) -> Tensor:
    """`Moment.covariance` from a pass through the network."""
    weighted = found.features[-1] * readout
    return (weighted @ weighted.T / len(readout)).double()


def reaching_kernels(problem: Problem, layered: Layered, theta: Tensor) -> tuple[Tensor, ...]:
    """c_l^2 h_{l-1} h_{l-1}' of the features that reach layer l = 1 .. L, (n_points, n_points) float64 each."""
    network = layered.shapes
    found = network.forward(network.split(theta), problem.inputs, 1.0)
    below = (problem.inputs, *found.features[:-1])
    reached = [h * network.input_scale(layer) for layer, h in enumerate(below, start=1)]
    return tuple((h @ h.T).double() for h in reached)


def _bend(network: LayeredNetwork, z: Tensor, width: float) -> Tensor:
    """phi'' of the last hidden layer over the width by which one neuron below moves z: a kink counts as it is felt."""
    slope = network.activations[-1].dphi
    width = max(width, 1e-3)
    return (slope(z + width) - slope(z - width)) / (2 * width)


def watch_last_layer(
    problem: Problem, layered: Layered, hyper: Hyper, state: State, n_steps: int
) -> Generator[float, None, tuple[Tensor, Tensor]]:
    """Residual and covariance that the last layer's neurons make on the features of this moment.

    A copy of the background moves on with the layers below held still. The average over the whole run will not do: f
    leans with the features of the moment (by as much as it fluctuates otherwise), and neurons of the last layer sit on
    those features.

    Yields:
        the fraction done.

    Returns:
        the mean of y - f, (n_points,), and of `Moment.covariance`.

    Raises:
        Diverged: a step that is not finite.
    """
    network, theta = layered.shapes, state.theta
    plan = problem.plan(hyper, state.step_size)
    below = network.n_layers - 1
    held = {name: (0.0,) * below + getattr(plan, name)[below:] for name in ("rate", "decay", "noise")}
    plan = replace(plan, **held)
    total = torch.zeros_like(state.prediction_sum)

    def covariance_now() -> Tensor:
        parts = network.split(theta)
        return last_covariance(network.forward(parts, problem.inputs, 1.0), parts[-1][0])

    covariance = covariance_now()
    n_looks = max(1, n_steps // STEPS_BETWEEN)
    for number in range(n_looks):
        step = state.step + number * STEPS_BETWEEN
        result = problem.kernel.advance_background(
            theta, problem.inputs, problem.targets, problem.weights, plan, step, STEPS_BETWEEN, total
        )
        if (bad := result.nonfinite_step) is not None:
            raise Diverged(bad, state.step_size)
        theta, total = result.theta, result.prediction_sum
        covariance = covariance + covariance_now()
        yield (number + 1) / n_looks
    residual = problem.targets.double() - total / (n_looks * STEPS_BETWEEN)
    return residual, covariance / (n_looks + 1)


class Watch:
    """Running averages of the moments since the last change of hyperparameters (or the end of the burn-in)."""

    def __init__(self) -> None:
        self.n_looks = 0
        self._sums: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Begin anew."""
        self.n_looks, self._sums = 0, {}

    def add(self, moment: Moment) -> None:
        """One more moment."""
        self.n_looks += 1
        for name in _NAMES:
            value = getattr(moment, name)
            self._sums[name] = value.clone() if name not in self._sums else self._sums[name] + value

    @property
    def mean(self) -> Moment:
        """The average of the moments."""
        return Moment(**{name: total / self.n_looks for name, total in self._sums.items()})

    def pack(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"watch_looks": np.array(self.n_looks), **{f"watch_{k}": to_host(v) for k, v in self._sums.items()}}

    def unpack(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        """Become what `pack` described."""
        self.n_looks = arrays["watch_looks"].item()
        self._sums = {n: torch.as_tensor(arrays[f"watch_{n}"], device=device) for n in _NAMES if f"watch_{n}" in arrays}


def law_of(
    problem: Problem,
    layered: Layered,
    hyper: Hyper,
    seen: Moment,
    kernels: tuple[Tensor, ...],
    residual: Tensor,
    layer: int,
) -> Tilt:
    """The law of a neuron of a layer with its outgoing weights integrated out.

    Above the first layer only z(x) matters, Gaussian under the prior with the kernel of the features below: w are then
    its coordinates on the kernel's eigenfunctions, of unit variance. The last layer has the finite-width law of a
    two-layer network on those features.

    Args:
        seen: the averages; kernels: `reaching_kernels` of the moment whose cloud is compared, since its neurons sit
            on those features.
        residual: (n_points,) the averaged y - f.
    """
    network, penalties, dtype = layered.shapes, layered.penalties(hyper), problem.inputs.dtype
    temperature, penalty = hyper.temperature, penalties[layer]
    variance, inputs = temperature / penalties[layer - 1], problem.inputs
    if layer > 1:
        values, vectors = torch.linalg.eigh(kernels[layer - 1] * variance)
        kept = values > values[-1] * 1e-7
        inputs, variance = (vectors[:, kept] * values[kept].sqrt()).to(dtype), 1.0
    weights = problem.weights.double()
    activation = network.activations[layer - 1]
    if layer < network.n_layers:
        signal = weights * residual.double()
        form = torch.outer(signal, signal) * seen.errors[layer - 1] / (2 * penalty * temperature)
        if layer == network.n_layers - 1:
            form = form + torch.diag(signal * seen.echo) / (2 * penalty)
        return Tilt(inputs, activation, variance, temperature, penalty, form=form.to(dtype))
    n, mean = network.n_neurons[-1], problem.targets.double() - residual.double()
    covariance = seen.covariance - torch.outer(mean, mean)
    response = torch.linalg.inv(
        torch.eye(len(weights), dtype=torch.float64, device=weights.device)
        + (1 - 1 / n) * covariance * weights / temperature
    )
    signal = weights * (residual.double() + response @ mean / n)
    own = (weights[:, None] * response) / n
    own = 0.5 * (own + own.T)
    return Tilt(inputs, activation, variance, temperature, penalty, signal=signal.to(dtype), own_penalty=own.to(dtype))


def outgoing_law(problem: Problem, seen: Moment, residual: Tensor, layer: int) -> Tensor:
    """(n_points,): what gives the mean of a neuron's outgoing weight as it is told, phi . this / lambda.

    Args:
        residual: (n_points,) the averaged y - f.
    """
    signal = problem.weights.double() * residual.double() * seen.push[layer - 1]
    return signal.to(problem.inputs.dtype)
