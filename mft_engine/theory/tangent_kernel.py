"""Linearised (neural tangent kernel) training of a planar task without noise: the loss as a function of time.

    Theta(x, x') = E[phi(w.x) phi(w.x')] + E[a^2 phi'(w.x) phi'(w.x')] x.x'   over the initial law
    r(t) = exp(-Theta t) y,    t = step_size x steps in raw units (no preconditioner), drift per neuron

What the same network would do if its neurons stayed where they started: the reference line below which feature
learning shows. Regularisation, which moves even a lazy network, is left out.

Source: Jacot, Gabriel, Hongler (1806.07572); docs/physics.md, sections 1 and 9 (the stability limit's kernel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.harmonics import N_HARMONICS_MAX, angular_table, radial_kernel, weight_panels
from mft_engine.theory.gaussian_inputs import quantise, stack_factors, target_coordinates
from mft_engine.theory.projection import Target, project_target
from mft_engine.theory.symmetry import find_symmetry

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TangentKernel:
    """The kernel's action on one target.

    Attributes:
        eigenvalues: (n,) of Theta on the functions that the target's symmetry allows, descending.
        power: (n,) E y^2 along each.
        target_power: E y^2; the part that no eigenvector holds is never learned.
    """

    eigenvalues: Array
    power: Array
    target_power: float

    def loss(self, times: Array) -> Array:
        """E(y - f)^2 at the (m,) times, (m,)."""
        left = np.exp(-2 * np.outer(np.asarray(times, dtype=np.float64), self.eigenvalues)) @ self.power
        return np.asarray(left + max(0.0, self.target_power - float(self.power.sum())))


def tangent_kernel(
    target: Target, activation: str, input_weight_std: float, readout_std: float, *, train_readout: bool = True
) -> TangentKernel:
    """Diagonalise Theta of a two-layer network on a planar task with x ~ N(0, I_2).

    Args:
        target: (n, 2) -> (n,).
        activation: name.
        input_weight_std, readout_std: of the initial law w ~ N(0, s_w^2 I), a ~ N(0, s_a^2); at the prior
            sqrt(T / lambda_w) and sqrt(T / lambda_a).
        train_readout: whether the readouts move.

    Returns:
        eigenvalues and the target's power along them.

    Raises:
        ValueError: a spread is not positive.
    """
    if not (input_weight_std > 0 and readout_std > 0):
        raise ValueError("the initial spreads must be positive")
    variance = input_weight_std**2
    end = quantise(8.5 * input_weight_std, 1.25)
    kernel = radial_kernel(activation, weight_panels(quantise(input_weight_std, 2.0) / 2, end))
    visible = angular_table(activation).is_visible
    projected = project_target(target, kernel.s, kernel.s_weights, kernel.s_breaks, N_HARMONICS_MAX)
    basis = find_symmetry(projected.coefficients, kernel.s_weights, visible).basis(N_HARMONICS_MAX, 8, visible)
    left, right = stack_factors(kernel, basis)
    aim = target_coordinates(projected, basis, kernel, right)
    if not aim.size:
        return TangentKernel(np.zeros(0), np.zeros(0), projected.power)
    mass = kernel.rho_weights * kernel.rho / variance * np.exp(-(kernel.rho**2) / (2 * variance))
    n_basis, n_rho, rank = left.shape
    slope = kernel.differentiate(np.swapaxes(left, 1, 2).reshape(-1, n_rho)).reshape(n_basis, rank, n_rho)
    turning = left * (basis.harmonics[:, None, None] / kernel.rho[:, None])
    transposed = np.swapaxes(left, 1, 2)
    theta = np.matmul(transposed * mass, left) if train_readout else np.zeros((n_basis, rank, rank))
    theta += readout_std**2 * np.matmul(slope * mass, np.swapaxes(slope, 1, 2))
    theta += readout_std**2 * np.matmul(np.swapaxes(turning, 1, 2) * mass, turning)
    values, vectors = np.linalg.eigh(theta)
    power = np.matmul(np.swapaxes(vectors, 1, 2), aim[:, :, None])[:, :, 0] ** 2
    order = np.argsort(-values.ravel())
    return TangentKernel(np.maximum(values.ravel()[order], 0.0), power.ravel()[order], projected.power)
