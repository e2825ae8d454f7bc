"""What a single neuron feels: the field of the others, its potential, and how stiff the whole network is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.kernels import reference
from mft_engine.network.activations import Activation
from mft_engine.rng import Stream

STIFFNESS_NEURONS = 1024
CURVATURE_NEURONS = 512
CURVATURE_DISPLACEMENT = 0.1
CURVATURE_QUANTILE = 0.9
STIFFNESS_POINTS = 1024
POWER_ITERATIONS = 40


@dataclass(frozen=True)
class MeanField:
    """The field of one layer: inputs that reach it and the error signal that leaves it.

    V(theta) = - sum_mu signal_mu a phi(w . x_mu) + (lambda_w |w|^2 + lambda_a a^2)/2

    With several readouts a and signal are vectors: the drive is a . signal_mu.

    Attributes:
        inputs: (n_points, n_inputs).
        signal: (n_points,) or (n_points, n_out), point weight x residual (x N^(kappa-1) for readout exponent kappa).
        lambda_w, lambda_a: regularisation of the input weights and of the readout.
    """

    inputs: Tensor
    signal: Tensor
    activation: Activation
    lambda_w: float
    lambda_a: float

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""
        return 1 if self.signal.dim() == 1 else self.signal.shape[1]

    @property
    def penalties(self) -> tuple[float, ...]:
        """lambda_j of each of its parameters."""
        return (self.lambda_w,) * self.inputs.shape[1] + (self.lambda_a,) * self.n_out

    def potential(self, theta: Tensor) -> Tensor:
        """V of each neuron, (n_neurons,), for theta (n_neurons, n_inputs + n_out)."""
        w, a = self._split(theta)
        signal = self.signal.reshape(len(self.inputs), -1)
        drive = (a * (self.activation.phi(w @ self.inputs.T) @ signal)).sum(1)
        return 0.5 * (self.lambda_w * (w * w).sum(1) + self.lambda_a * (a * a).sum(1)) - drive

    def gradient(self, theta: Tensor) -> Tensor:
        """grad V of each neuron, (n_neurons, n_inputs + n_out)."""
        data = reference.gradient(theta, self.inputs, self.signal, self.activation)
        w, a = self._split(theta)
        return torch.cat([self.lambda_w * w, self.lambda_a * a], dim=1) - data

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        n_inputs = self.inputs.shape[1]
        return theta[:, :n_inputs], theta[:, n_inputs:]


def tangent_kernel(
    theta: Tensor,
    inputs: Tensor,
    activation: Activation,
    rate_per_step: tuple[float, ...],
) -> Tensor:
    """How one unit of step size moves f: K(x, x') = mean_i sum_j rate_j d_j(a phi)(x) d_j(a phi)(x').

    The readout exponent drops out: N^-kappa of the readout times N^(kappa-1) of the drift.

    Args:
        theta: (n_neurons, n_inputs + 1); inputs: (n_points, n_inputs).
        rate_per_step: per parameter, rate_j / step_size (1/lambda_j in prior units, 1 raw, 0 frozen).

    Returns:
        (n_points, n_points).
    """
    n_inputs = inputs.shape[1]
    w, a = theta[:, :n_inputs], theta[:, n_inputs]
    phi, slope = activation.both(inputs @ w.T)
    slope = slope * a
    scale = 1.0 / theta.shape[0]
    readout_part = rate_per_step[-1] * (phi @ phi.T)
    scaled = torch.stack([rate * x for rate, x in zip(rate_per_step, inputs.unbind(1), strict=False)], dim=1)
    weight_part = (slope @ slope.T) * (scaled @ inputs.T)
    return scale * (readout_part + weight_part)


def stiffness(
    theta: Tensor,
    inputs: Tensor,
    weights: Tensor,
    activation: Activation,
    rate_per_step: tuple[float, ...],
) -> Tensor:
    """Theta, the top eigenvalue of the tangent kernel under the measure of x; a step is stable below 2/Theta.

    Beyond the limit nothing explodes: the cloud shrinks until step_size x Theta is about 1.9 and every number is wrong,
    so this is a reported quantity. Large clouds and measures are thinned to a fixed stride of neurons and points.

    Returns:
        0-dim tensor, dimension 1/step_size.
    """
    theta = theta[:: max(1, theta.shape[0] // STIFFNESS_NEURONS)]
    stride = max(1, inputs.shape[0] // STIFFNESS_POINTS)
    total = weights.sum()
    inputs, weights = inputs[::stride], weights[::stride]
    # The points that are left carry the weight of all.
    root = torch.sqrt(weights * (total / weights.sum()))
    if theta.shape[1] > inputs.shape[1] + 1:
        return _stiffness_of_many_readouts(theta, inputs, root, activation, rate_per_step)
    return top_eigenvalue(tangent_kernel(theta, inputs, activation, rate_per_step) * root[:, None] * root[None, :])


def top_eigenvalue(kernel: Tensor) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues, (n, n), by the power iteration; 0-dim, never too large.

    Where others lie near the top one it is a mean of them, which errs by as little as they differ.
    """
    # A deterministic start that no symmetry of the points makes orthogonal to the top eigenvector.
    vector = 1.0 + 0.5 * torch.cos(torch.arange(len(kernel), device=kernel.device, dtype=kernel.dtype))
    for _ in range(POWER_ITERATIONS):
        vector = kernel @ vector
        vector = vector / torch.linalg.vector_norm(vector)
    return vector @ (kernel @ vector)


def _stiffness_of_many_readouts(
    theta: Tensor, inputs: Tensor, root: Tensor, activation: Activation, rate_per_step: tuple[float, ...]
) -> Tensor:
    """The same eigenvalue of K_cc'(x, x') without holding the (n_points n_out)^2 matrix.

    K v is what f moves by when every parameter takes one step against v: two products with the Jacobian.
    """
    n, d = theta.shape[0], inputs.shape[1]
    a = theta[:, d:]
    phi, slope = activation.both(inputs @ theta[:, :d].T)
    scaled = torch.stack([rate * x for rate, x in zip(rate_per_step, inputs.unbind(1), strict=False)], dim=1)

    def moved(vector: Tensor) -> Tensor:
        pull = root[:, None] * vector
        push = slope * (scaled @ (inputs.T @ (slope * (pull @ a.T))))
        return root[:, None] * (rate_per_step[-1] * (phi @ (phi.T @ pull)) + push @ a) / n

    place = torch.arange(root.shape[0] * a.shape[1], device=root.device, dtype=root.dtype)
    vector = (1.0 + 0.5 * torch.cos(place)).reshape(root.shape[0], -1)
    for _ in range(POWER_ITERATIONS):
        vector = moved(vector)
        vector = vector / torch.linalg.vector_norm(vector)
    return (vector * moved(vector)).sum()


@cache  # for ever: a recorded look reads it
def _unit_displacement(n: int, n_params: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return CURVATURE_DISPLACEMENT * rng.normal(0, Stream.POWER_ITERATION, 0, n, n_params, device=device, dtype=dtype)


def curvature(theta: Tensor, field: MeanField, temperature: float) -> Tensor:
    """How curved the potential of a single neuron is in prior units, for 9 of 10 neurons at most this much.

    kappa_i^2 = n_params |P^(-1/2) (grad V(theta_i + d) - grad V(theta_i))|^2 / |P^(1/2) d|^2,   P = diag(lambda)

    with one random displacement d of a tenth of the prior's width: a secant, since a kinked activation on finitely many
    points has no second derivative. A step resolves a neuron where step_size x kappa stays below about 0.7: measured
    against exact laws, the bias in cos4 is then below 0.02. Theta does not tell this: a neuron of a cloud that hardly
    moves f can still sit in a tight well.

    Args:
        theta: (n_neurons, n_inputs + n_out); large clouds are thinned to a fixed stride.
        temperature: T > 0, for the prior's width.

    Returns:
        0-dim tensor, dimension 1/step_size in prior units.
    """
    theta = theta[:: max(1, theta.shape[0] // CURVATURE_NEURONS)]
    n, n_params = theta.shape
    unit = _unit_displacement(n, n_params, theta.device, theta.dtype)
    widths = [(temperature / penalty) ** 0.5 for penalty in field.penalties]
    displacement = torch.stack([d * s for d, s in zip(unit.unbind(1), widths, strict=True)], dim=1)
    both = field.gradient(torch.cat([theta + displacement, theta]))
    change = both[:n] - both[n:]
    change = torch.stack([g * s / temperature for g, s in zip(change.unbind(1), widths, strict=True)], dim=1)
    squares = n_params * (change * change).sum(1) / (unit * unit).sum(1)
    return torch.sqrt(torch.quantile(squares, CURVATURE_QUANTILE))
