"""The spectrum of a cloud's data kernel: its eigenvalues, its eigenfunctions, and the part of the target they hold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import eigh, eigvalsh

from mft_engine.network.activations import Activation

N_FUNCTIONS = 30
# Groups of neurons that the standard errors come from.
N_GROUPS = 8
# Leaving a group out hardly turns the leading eigenfunctions out of the span of so many of them.
N_SPAN = 64
# Eigenvalues below this fraction of the largest are rounding: a function over so small a number is noise.
SMALLEST = 1e-12
# Neurons times points evaluated at once (16 MB).
MAX_FEATURES = 2_000_000

Array = np.ndarray


@dataclass(frozen=True)
class KernelSpectrum:
    """Eigenvalues and eigenfunctions of K(x, x') = mean_i phi(w_i.x) phi(w_i.x') under the measure of x.

        E_x'[K(x, x') psi_k(x')] = eigenvalue_k psi_k(x),   E[psi_j psi_k] = delta_jk

    The kernel is not centred: a positive activation spends its largest eigenvalue on a function of one sign. A pair
    that is equal in law is split by the finite cloud, which the errors do not cover: compare clouds by
    `kernel_study.KernelAgreement`, not eigenvalue by eigenvalue.

    Attributes:
        eigenvalues: (n_points,) descending, not negative; their sum, `trace`, is E K(x, x).
        errors: (n_functions,) standard errors from groups of neurons left out (jackknife); nan for a single neuron.
            For independent neurons; those of one network repel, so that its own errors are on the large side.
        functions: (n_functions, n_points) psi_k of the leading eigenvalues.
        target_shares: (n_functions,) E[psi_k y]^2 / E[y^2]; of all functions they sum to the part of the target that
            the kernel's functions span at all.
        alignment: E[y K y] / (|K| E[y^2]), 1 where the kernel is y(x) y(x'); nan for a vanishing target.
        effective_rank: (sum eigenvalues)^2 / sum eigenvalues^2.
    """

    eigenvalues: Array
    errors: Array
    functions: Array
    target_shares: Array
    alignment: float
    effective_rank: float

    @property
    def trace(self) -> float:
        """E K(x, x) = mean over neurons of E phi(w.x)^2."""
        return float(self.eigenvalues.sum())

    @property
    def n_trusted(self) -> int:
        """Eigenvalues that are more than rounding."""
        return int(np.count_nonzero(self.eigenvalues > SMALLEST * self.eigenvalues[0]))

    @property
    def captured(self) -> Array:
        """(n_functions,) part of E[y^2] in the span of the first 1, 2, ... eigenfunctions."""
        return np.cumsum(self.target_shares)


def weighted_features(theta: Array, inputs: Array, weights: Array, activation: Activation) -> Array:
    """(n_points, n_neurons) float64 sqrt(weight) phi(w.x); the kernel's operator is their outer product over n_neurons.

    Args:
        theta: (n_neurons, n_params); inputs: (n_points, n_inputs); weights: (n_points,) that sum to 1.
    """
    w = np.asarray(theta[:, : inputs.shape[1]], dtype=np.float64)
    z = torch.from_numpy(np.asarray(inputs, dtype=np.float64) @ w.T)
    return np.asarray(activation.phi(z).numpy()) * np.sqrt(weights)[:, None]


def spectrum_of(features: Array, weights: Array, targets: Array, n_functions: int = N_FUNCTIONS) -> KernelSpectrum:
    """The spectrum of (1/n_neurons) features features' with its standard errors.

        error_k^2 = (G - 1)/G sum_g (eigenvalue_k without group g - their mean)^2

    Args:
        features: (n_points, n_neurons) from `weighted_features`; weights: (n_points,).
        targets: (n_points,), or (n_points, n_out) for several readouts, whose shares and alignments are added.
        n_functions: how many eigenfunctions to keep.
    """
    n_points, n_neurons = features.shape
    n_groups = min(N_GROUPS, n_neurons)
    bounds = np.linspace(0, n_neurons, n_groups + 1).astype(int)
    parts = [features[:, first:last] for first, last in pairwise(bounds)]
    sums = [part @ part.T for part in parts]
    total = np.sum(sums, axis=0)
    eigenvalues, vectors = eigh(total / n_neurons)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    kept = min(n_functions, n_points)
    errors = np.full(kept, np.nan)
    if n_groups > 1:
        span = vectors[:, :N_SPAN]
        left = [(total - own) / (n_neurons - part.shape[1]) for own, part in zip(sums, parts, strict=True)]
        without = np.stack([eigvalsh(span.T @ kernel @ span)[::-1][:kept] for kernel in left])
        errors = np.sqrt((n_groups - 1) * without.var(axis=0))
    # A point of no weight takes no part; its value comes from no equation.
    roots = np.sqrt(weights)
    functions = (vectors[:, :kept] / np.where(roots > 0, roots, np.inf)[:, None]).T
    wanted = targets.reshape(n_points, -1)
    power = float(np.sum(weights[:, None] * wanted**2))
    products = functions @ (weights[:, None] * wanted)
    # Eigenfunctions take the sign in which they help a single readout.
    is_helpful = (products[:, 0] ** 2 > 1e-3 * power) & (wanted.shape[1] == 1)
    signs = np.where(is_helpful, np.sign(products[:, 0]), np.sign(functions**3 @ weights))
    functions = functions * np.where(signs == 0, 1.0, signs)[:, None]
    squares = float(np.sum(eigenvalues**2))
    target = roots[:, None] * wanted
    scale = power * squares**0.5
    return KernelSpectrum(
        eigenvalues=eigenvalues,
        errors=errors,
        functions=functions,
        target_shares=shares_of_target(functions, weights, targets),
        alignment=float(np.sum(target * (total @ target)) / n_neurons / scale) if scale > 0 else np.nan,
        effective_rank=float(eigenvalues.sum() ** 2 / squares) if squares > 0 else 0.0,
    )


def shares_of_target(functions: Array, weights: Array, targets: Array) -> Array:
    """E[psi_k y]^2 / E[y^2] of each function, (n_functions,); of several readouts both are sums over them.

    Args:
        functions: (n_functions, n_points); weights: (n_points,); targets: (n_points,) or (n_points, n_out).
    """
    wanted = targets.reshape(len(weights), -1)
    power = float(np.sum(weights[:, None] * wanted**2))
    products = functions @ (weights[:, None] * wanted)
    return (products**2).sum(axis=1) / power if power > 0 else np.zeros(len(functions))


def eigenfunctions_at(
    spectrum: KernelSpectrum, theta: Array, inputs: Array, weights: Array, activation: Activation, at: Array, n: int
) -> Array:
    """The first n eigenfunctions at other inputs (Nystrom), (n, n_at); at the points themselves they are themselves.

        psi_k(x) = sum_mu weight_mu K(x, x_mu) psi_k(x_mu) / eigenvalue_k

    Eigenvalues that are rounding give nan. The cloud must be the one that the spectrum is of.

    Args:
        theta, inputs, weights, activation: as in `weighted_features`; at: (n_at, n_inputs).
    """
    n = min(n, len(spectrum.functions))
    moments = (spectrum.functions[:n] * np.sqrt(weights)) @ weighted_features(theta, inputs, weights, activation)
    n_rows = max(1, MAX_FEATURES // len(theta))
    ones = np.ones(len(at))
    parts = [
        moments @ weighted_features(theta, at[first : first + n_rows], ones[first : first + n_rows], activation).T
        for first in range(0, len(at), n_rows)
    ]
    eigenvalues = spectrum.eigenvalues[:n]
    divisors = np.where(eigenvalues > SMALLEST * max(spectrum.eigenvalues[0], 1e-300), eigenvalues, np.nan)
    return np.concatenate(parts, axis=1) / (len(theta) * divisors[:, None])
