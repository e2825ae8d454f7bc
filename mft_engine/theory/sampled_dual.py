"""The dual of the infinite-width problem on weighted particles: any number of inputs and of readouts.

    D(r) = <y, r> - <r, r>/2 - T log Z(r),   Z(r) = E_prior exp(|g(w)|^2 / (2 lambda_a T)),   g_c = <r_c, phi_w>
    grad D = y - r - f_r,   f_r = E_p[phi g] / lambda_a,   -Hess D = I + C/T,   C = Cov(a phi)

<u, v> sums over weighted points and readouts. D is strictly concave whatever the number of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import one_thread
from mft_engine.laws.particles import Particles, TiltedLaw, effective_share, reweighted
from mft_engine.network.activations import Activation
from mft_engine.theory.orbits import Orbits

N_PRODUCTS = 60
SOLVED = 0.02
# Unknowns of one readout up to which I + C/T is made milder by its likeness in two factors.
MOST_FACTORED = 400


@dataclass(frozen=True)
class PointProblem:
    """A network of one hidden layer on weighted points.

    Attributes:
        inputs: (n_points, n_inputs), targets: (n_points, n_out), weights: (n_points,), float64.
        activation, temperature, lambda_w, lambda_a: T and the regularisation of one input weight and one readout.
        dtype: of the particles.
        orbits: symmetries; the optimum is looked for among the residuals that have them.
        images: -> (n_images, n_inputs) array, orders of the inputs; a well put into one of them is nearly another well.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    activation: Activation
    temperature: float
    lambda_w: float
    lambda_a: float
    dtype: torch.dtype = torch.float32
    orbits: Orbits | None = None
    images: Callable[[], np.ndarray] | None = None

    @cached_property
    def scaled_inputs(self) -> Tensor:
        """(n_points, n_inputs) inputs of a neuron in units of the prior."""
        return self.scaled(self.inputs)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Any inputs, for a neuron in units of the prior."""
        return (inputs * (self.temperature / self.lambda_w) ** 0.5).to(self.dtype)

    @cached_property
    def root_weights(self) -> Tensor:
        """(n_points, 1) square roots of the weights."""
        return self.weights.sqrt()[:, None]

    @cached_property
    def visible_target(self) -> Tensor:
        """(n_unknowns, n_out) sqrt(weight) y: coordinates in which <u, v> is the Euclidean product."""
        return self.visible(self.targets)

    @cached_property
    def basis(self) -> Tensor | None:
        """(n_points, n_unknowns) orthonormal, of the residuals sqrt(weight) r that have the symmetries; None: all."""
        return None if self.orbits is None else torch.as_tensor(self.orbits.basis, device=self.inputs.device)

    def visible(self, values: Tensor) -> Tensor:
        """(n_unknowns, n_out) coordinates of values on the points, (n_points, n_out)."""
        scaled = self.root_weights * values
        return scaled if self.basis is None else self.basis.T @ scaled

    def on_points(self, rho: Tensor) -> Tensor:
        """(n_points, n_out) values on the points with these coordinates, (n_unknowns, n_out)."""
        return self.unfolded(rho) / self.root_weights

    def unfolded(self, rho: Tensor) -> Tensor:
        """(n_points, n_out) sqrt(weight) times the values with these coordinates."""
        return rho if self.basis is None else self.basis @ rho

    def features(self, u: Tensor) -> Tensor:
        """(n, n_unknowns) coordinates of each neuron's feature."""
        found = self.activation.phi(u @ self.scaled_inputs.T).mul_(self.root_weights[:, 0].to(self.dtype))
        return found if self.basis is None else found @ self.basis.to(self.dtype)

    @property
    def everywhere(self) -> PointProblem:
        """The same problem with an unknown for every point."""
        return replace(self, orbits=None)

    def dual(self, rho: Tensor, log_z: float) -> float:
        """D of the residual with coordinates rho, (n_unknowns, n_out), whose law has this log Z."""
        return float((self.visible_target * rho).sum()) - 0.5 * float((rho**2).sum()) - self.temperature * log_z

    def law(self, rho: Tensor) -> TiltedLaw:
        """The law of one neuron in the field of the residual with coordinates rho, (n_unknowns, n_out)."""
        drive = self.root_weights * self.unfolded(rho) / math.sqrt(2 * self.lambda_a * self.temperature)
        return TiltedLaw(self.scaled_inputs, self.activation, drive.to(self.dtype))


class SampledDual:
    """The dual on particles that stay where they are: only their weights follow the residual.

    Products are short, and sums are to have the same bits for any number of threads: all is reckoned in one.

    Args:
        problem: the problem.
        particles: under the law of rho.
        rho: (n_unknowns, n_out) coordinates of r.
    """

    @one_thread()
    def __init__(self, problem: PointProblem, particles: Particles, rho: Tensor) -> None:
        self.problem, self.particles, self.rho = problem, particles, rho
        self.features = problem.features(particles.u)
        self.field = self.features @ rho.to(problem.dtype)
        self.p = particles.probabilities.to(problem.dtype)
        self.output = self._sum(self.p[:, None] * self.field) / problem.lambda_a

    def _sum(self, values: Tensor) -> Tensor:
        return (self.features.T @ values).double()

    def _tilt_of(self, field: Tensor) -> Tensor:
        return (field * field).sum(1).double() / (2 * self.problem.lambda_a * self.problem.temperature)

    @cached_property
    @one_thread()
    def outputs(self) -> Tensor:
        """(n_populations, n_unknowns, n_out) f_r by each population alone, times sqrt(weight)."""
        particles, n = self.particles, self.particles.n_each
        own = particles.log_weights.exp().to(self.field.dtype).ravel()[:, None] * self.field
        parts = [
            self.features[k * n : (k + 1) * n].T @ own[k * n : (k + 1) * n] for k in range(particles.n_populations)
        ]
        return torch.stack(parts).double() / self.problem.lambda_a

    def value(self) -> float:
        """D by these particles' estimate of log Z."""
        return self.problem.dual(self.rho, self.particles.mean_log_z)

    def gradient(self, target: Tensor | None = None) -> Tensor:
        """grad D, (n_unknowns, n_out), for the problem's target or for another one in the same coordinates."""
        return (self.problem.visible_target if target is None else target) - self.rho - self.output

    @one_thread()
    def curvature_product(self, v: Tensor) -> Tensor:
        """(I + C/T) v, (n_unknowns, n_out)."""
        problem = self.problem
        along = self.features @ v.to(problem.dtype)
        shared = (self.field * along).sum(1, keepdim=True) / (problem.lambda_a * problem.temperature)
        pulled = self._sum(self.p[:, None] * (along + self.field * shared)) / problem.lambda_a
        return v + pulled - self.output * (float((self.output * v).sum()) / problem.temperature)

    @one_thread()
    def covariance(self) -> Tensor:
        """C = Cov(a phi) of one readout, (n_unknowns, n_unknowns)."""
        problem = self.problem
        square = problem.temperature / problem.lambda_a + (self.field[:, 0] / problem.lambda_a) ** 2
        scaled = self.features * (self.p * square).sqrt()[:, None]
        return (scaled.T @ scaled).double() - self.output @ self.output.T

    @one_thread()
    def solve(self, right: Tensor, n_products: int = N_PRODUCTS, tolerance: float = SOLVED) -> Tensor:
        """(I + C/T)^-1 right by conjugate gradients.

        Args:
            right: (n_unknowns, n_out).
            n_products: at most; tolerance: of the remainder's length over that of `right`.
        """
        milder = self._likeness if len(self.rho) <= MOST_FACTORED else None
        return conjugate_gradients(self.curvature_product, right, n_products, tolerance, milder)

    @cached_property
    def _likeness(self) -> Callable[[Tensor], Tensor]:
        """Inverse of I + E[phi phi'] x (1/lambda_a + E[g g']/(lambda_a^2 T)), as of independent features and fields.

        With it as a preconditioner modular addition (P = 11) needs 29 products, without 68.
        """
        weighted = self.p[:, None] * self.features
        stiff, along = torch.linalg.eigh(self._sum(weighted))
        pull, across = torch.linalg.eigh((self.field.T @ (self.p[:, None] * self.field)).double())
        scale = 1.0 / self.problem.lambda_a
        size = 1.0 + stiff.clamp(min=0)[:, None] * (scale + scale**2 * pull.clamp(min=0) / self.problem.temperature)
        return lambda v: along @ ((along.T @ v @ across) / size) @ across.T

    @one_thread()
    def slope_of_mean(self, centred: Tensor, slope: Tensor | None) -> Tensor:
        """Slope by rho, (n_unknowns, n_out), of the mean of a function of a neuron.

        Args:
            centred: (n,) its values less their mean; slope: (n, n_out) by the field, where it sees the field itself.
        """
        scale = self.problem.lambda_a * self.problem.temperature
        pull = centred[:, None] * self.field / scale
        return self._sum(self.p[:, None] * (pull if slope is None else pull + slope))

    @one_thread()
    def pushed(self, direction: Tensor) -> Callable[[float], Particles]:
        """length -> the particles reweighted to the law of rho + length x direction."""
        along = self.features @ direction.to(self.field.dtype)
        present = self._tilt_of(self.field)
        return lambda length: reweighted(self.particles, self._tilt_of(self.field + length * along) - present)

    @one_thread()
    def largest_push(self, base: Tensor, direction: Tensor, most: float, kept_share: float) -> float:
        """Largest length up to `most` at which rho + base + length x direction keeps so many particles effective."""
        along, more = (self.features @ d.to(self.field.dtype) for d in (base, direction))
        present = self._tilt_of(self.field)
        wanted, length = kept_share * effective_share(self.particles), most
        while length > 1e-4 * most:
            change = self._tilt_of(self.field + along + length * more) - present
            if effective_share(reweighted(self.particles, change)) >= wanted:
                return length
            length /= 1.3
        return 0.0


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    n_products: int = 200,
    tolerance: float = 1e-3,
    milder: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve a positive-definite system.

    Args:
        product: of the matrix; right: the right side; n_products: at most; tolerance: of the remainder's length.
        milder: an inverse of something like the matrix, symmetric and positive definite: the preconditioner.
    """
    x, rest = torch.zeros_like(right), right.clone()
    direction = rest.clone() if milder is None else milder(rest)
    power = float((rest * direction).sum())
    goal = tolerance**2 * float((rest**2).sum())
    for _ in range(n_products):
        if float((rest**2).sum()) <= goal:
            break
        image = product(direction)
        step = power / float((direction * image).sum())
        x, rest = x + step * direction, rest - step * image
        mild = rest if milder is None else milder(rest)
        new = float((rest * mild).sum())
        direction, power = mild + (new / power) * direction, new
    return x
