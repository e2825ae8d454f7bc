"""The law of one neuron of a finite network in any number of inputs, in units of the prior.

    p_N(u) ~ N(0, I) (l_a / lambda_a)^(-n_out/2) exp(|G|^2 / (2 T l_a)),   w = sqrt(T / lambda_w) u
    G(w) = <r_c, phi_w>,   l_a(w) = lambda_a + <phi_w, M phi_w> / N,   a | w ~ N(G / l_a, T / l_a)

M = I - V s V' is kept by the few directions V in which the other neurons respond. See `theory/finite_particles.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine.laws.particles import Particles, moving, resampled, reweighted
from mft_engine.network.activations import Activation


@dataclass(frozen=True)
class CorrectedLaw:
    """The law of a cavity residual and a response.

    Attributes:
        inputs: (n_points, n_inputs) sqrt(T / lambda_w) x.
        activation: phi.
        cavity: (n_points, n_out) weight x r_c.
        own: (n_points,) weight / N; zero for the infinite-width law.
        heard: (n_points, n_heard) sqrt(weight / N) V sqrt(s).
        temperature, lambda_a: of the problem.
    """

    inputs: Tensor
    activation: Activation
    cavity: Tensor
    own: Tensor
    heard: Tensor
    temperature: float
    lambda_a: float

    @property
    def variance(self) -> float:
        """In units of the prior."""
        return 1.0

    def mean_and_stiffness(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The mean readout G / l_a, (n, n_out), and l_a, (n,)."""
        field, stiffness = self._of(self.activation.phi(u @ self.inputs.T))
        return field / stiffness[:, None], stiffness

    def _of(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        stiffness = self.lambda_a + (phi * phi) @ self.own - ((phi @ self.heard) ** 2).sum(1)
        return phi @ self.cavity, stiffness.clamp(min=self.lambda_a)

    def log_tilt(self, u: Tensor) -> Tensor:
        """(n,) log of the law over that of the prior."""
        field, stiffness = self._of(self.activation.phi(u @ self.inputs.T))
        return self._tilt_of(field, stiffness)

    def _tilt_of(self, field: Tensor, stiffness: Tensor) -> Tensor:
        spread = torch.log(stiffness / self.lambda_a)
        return (field * field).sum(1) / (2 * self.temperature * stiffness) - 0.5 * field.shape[1] * spread

    def tilt(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """`log_tilt`, and its gradient, (n, n_inputs), in units of the prior."""
        phi, slope = self.activation.both(w @ self.inputs.T)
        field, stiffness = self._of(phi)
        mean = field / stiffness[:, None]
        pull = (mean * mean).sum(1) / self.temperature + field.shape[1] / stiffness
        slope = slope * (
            (mean / self.temperature) @ self.cavity.T
            - pull[:, None] * (phi * self.own - (phi @ self.heard) @ self.heard.T)
        )
        return self._tilt_of(field, stiffness), slope @ self.inputs


def carried(
    particles: Particles, law: CorrectedLaw, log_tilt: Tensor, n_moves: int
) -> Generator[None, None, Particles]:
    """Particles whose weights are of `log_tilt`, (n,), brought under a nearby law: reweighted, resampled, moved."""
    near = reweighted(particles, law.log_tilt(particles.u).double() - log_tilt)
    return (yield from moving(resampled(near), law, n_moves))
