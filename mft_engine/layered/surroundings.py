"""What the other neurons are for one neuron, averaged over the motion of the background.

Fields of upper layers fluctuate by 1/sqrt(N), and the law of a neuron depends on them exponentially. So the products that
enter the law are averaged while a copy of the background moves on; the background itself stays where it is.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.dynamics import Diverged, Hyper, State
from mft_engine.layered.annealed import QuadraticTilt
from mft_engine.layered.network import LayeredNetwork
from mft_engine.layered.problem import LayeredProblem

STEPS_BETWEEN = 20


@dataclass(frozen=True)
class Surroundings:
    """Averages over the motion, float64, one entry a hidden layer l = 1 .. L at index l - 1.

    Attributes:
        kernels: (n_points, n_points) <c_l^2 h_{l-1} h_{l-1}'>, the covariance of z_l for unit weights; the first is x x'.
        forms: (n_points, n_points) <S S'> of the signals that leave the layer.
        echo: (n_points,) <sum_j d_j>, the Onsager term of layer L - 1.
        signals: S of the last moment, (n_points, N_{l+1}); the last layer's is (n_points, 1).
    """

    kernels: tuple[Tensor, ...]
    forms: tuple[Tensor, ...]
    echo: Tensor
    signals: tuple[Tensor, ...]


def observe(
    problem: LayeredProblem, hyper: Hyper, state: State, residual: Tensor, n_steps: int
) -> Generator[float, None, Surroundings]:
    """Let a copy of the background move by n_steps and average what its layers are for one neuron.

    Args:
        residual: (n_points,) the averaged y - f, kept fixed: its own fluctuation is not part of the law.

    Yields:
        the fraction done.

    Raises:
        Diverged: a step that is not finite.
    """
    theta, first = state.theta, state.step
    kick = (hyper.temperature / problem.penalties(hyper)[-2]) ** 0.5
    found = _look(problem, theta, residual, kick)
    sums = [[m.double() for m in part] for part in (found.kernels, found.forms, (found.echo,))]
    n_looks = max(1, n_steps // STEPS_BETWEEN)
    scratch = torch.zeros_like(state.prediction_sum)
    for look in range(n_looks):
        start = first + look * STEPS_BETWEEN
        result = problem.kernel.advance_background(
            theta,
            problem.inputs,
            problem.targets,
            problem.weights,
            problem.plan(hyper, state.step_size),
            start,
            STEPS_BETWEEN,
            scratch,
        )
        if result.nonfinite_step is not None:
            raise Diverged(result.nonfinite_step, state.step_size, state.eigenvalue)
        theta = result.theta
        found = _look(problem, theta, residual, kick)
        for part, new in zip(sums, (found.kernels, found.forms, (found.echo,)), strict=True):
            for total, matrix in zip(part, new, strict=True):
                total += matrix
        yield (look + 1) / n_looks
    kernels, forms, (echo,) = ([m / (n_looks + 1) for m in part] for part in sums)
    own = _look(problem, state.theta, residual, kick)
    return Surroundings(tuple(kernels), tuple(forms), echo, own.signals)


def _bend(network: LayeredNetwork, z: Tensor, width: float) -> Tensor:
    """phi'' of the last hidden layer over the width by which one neuron below moves z: so a kink counts as it is felt."""
    slope = network.activations[-1].dphi
    return (slope(z + width) - slope(z - width)) / (2 * width)


def _look(problem: LayeredProblem, theta: Tensor, residual: Tensor, kick: float) -> Surroundings:
    """The same of one moment; `kick` is the size of an outgoing weight."""
    network = problem.layered
    parts = network.split(theta)
    found = network.run(parts, problem.inputs, 1.0)
    signal = problem.weights * residual
    errors = network.errors(parts, found, signal)
    below = (problem.inputs, *found.features[:-1])
    scaled = [reached * network.input_scale(layer) for layer, reached in enumerate(below, start=1)]
    signals = [error * network.input_scale(layer) for layer, error in enumerate(errors[1:], start=2)]
    signals.append(signal[:, None])
    scale = network.input_scale(network.n_layers)
    echo = signal * (_bend(network, scaled[-1] @ parts[-2].T, scale * kick) @ parts[-1][0]) * scale**2
    return Surroundings(
        tuple(reached @ reached.T for reached in scaled), tuple(s @ s.T for s in signals), echo, tuple(signals)
    )


def law_of(problem: LayeredProblem, hyper: Hyper, seen: Surroundings, layer: int) -> QuadraticTilt:
    """The law of a neuron of a layer, its outgoing weights integrated out; of upper layers in coordinates of z.

    Above the first layer only z(x) matters, Gaussian under the prior with the averaged kernel: w are then its coordinates
    on the kernel's eigenfunctions, of unit variance.
    """
    network, penalties = problem.layered, problem.penalties(hyper)
    form = seen.forms[layer - 1] / (2 * penalties[layer] * hyper.temperature)
    if layer == network.n_layers - 1:
        form = form + torch.diag(seen.echo) / (2 * penalties[layer])
    variance, dtype = hyper.temperature / penalties[layer - 1], problem.inputs.dtype
    if layer == 1:
        inputs = problem.inputs
    else:
        values, vectors = torch.linalg.eigh(seen.kernels[layer - 1] * variance)
        inputs, variance = (vectors * values.clamp_min(0).sqrt()).to(dtype), 1.0
    return QuadraticTilt(inputs, form.to(dtype), network.activations[layer - 1], variance)
