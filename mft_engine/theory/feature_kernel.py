"""The Gaussian-process end of a task with any number of inputs and readouts, on weighted points.

    K(x, x') = E phi(w.x) phi(w.x'),  w ~ N(0, v I);    K0 = K / lambda_a,  r = (1 + K0)^-1 y,  Var f = T K0 (1 + K0)^-1

in the coordinates sqrt(weight). erf and relu have closed forms; every other activation goes by Mehler's series

    K(x, x') = sum_k c_k(s) c_k(s') rho^k,   c_k(s) = E phi(s z) he_k(z),   s = sqrt(v) |x|,  rho = cos(x, x')

whose terms fall fast but where inputs nearly coincide; the diagonal is exact.

Source: Williams, Neural Comput. 10 (1998), 1203; Cho and Saul, NeurIPS 22 (2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.network.activations import phi_numpy

Array = NDArray[np.float64]

N_TERMS = 200
# Nodes of the integral over z on each side of 0, where activations have their kinks, and its end.
N_NODES = 400
Z_END = 9.0


@dataclass(frozen=True)
class PointProcess:
    """The infinitely wide network with readout exponent 1/2 on weighted points.

    Attributes:
        loss: |y - f|^2 of the posterior mean f.
        variance: sum over readouts of E Var f, the posterior variance of one lazy network's function.
        residual: (n_points, n_out) y - f.
    """

    loss: float
    variance: float
    residual: Array

    @property
    def network_loss(self) -> float:
        """What one lazy network shows on average."""
        return self.loss + self.variance


def feature_kernel(x: Array, activation: str, variance: float) -> Array:
    """K(x, x') = E phi(w.x) phi(w.x') with w ~ N(0, variance I).

    Args:
        x: (n, n_inputs); activation: name; variance: of one weight.

    Returns:
        (n, n).
    """
    product = variance * (x @ x.T)
    square = np.diag(product).copy()
    if activation == "erf":
        return np.asarray(2 / np.pi * np.arcsin(2 * product / np.sqrt(np.outer(1 + 2 * square, 1 + 2 * square))))
    length = np.sqrt(np.outer(square, square))
    cosine = np.clip(np.divide(product, length, out=np.zeros_like(product), where=length > 0), -1.0, 1.0)
    if activation == "relu":
        angle = np.arccos(cosine)
        return np.asarray(length / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine))
    coefficients, diagonal = _mehler(np.sqrt(square), activation)
    kernel, power = np.zeros_like(product), np.ones_like(product)
    for k in range(N_TERMS):
        kernel += power * np.outer(coefficients[k], coefficients[k])
        power *= cosine
    # What the series leaves out sits in higher orders, the first of which is the next.
    rest = np.sqrt(np.maximum(diagonal - (coefficients**2).sum(axis=0), 0.0))
    kernel += power * np.outer(rest, rest)
    np.fill_diagonal(kernel, diagonal)
    return kernel


def _mehler(length: Array, activation: str) -> tuple[Array, Array]:
    """c_k(s), (N_TERMS, n), and E phi(s z)^2, (n,)."""
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    half = 0.5 * Z_END * (nodes + 1)
    z, weights = np.concatenate([-half, half]), 0.5 * Z_END * np.concatenate([weights, weights])
    weights = weights * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    values = phi_numpy(activation, z[:, None] * length)
    found = np.empty((N_TERMS, len(length)))
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(N_TERMS):
        found[k] = (weights * now) @ values
        before, now = now, (z * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return found, weights @ values**2


def solve_point_process(
    x: Array, y: Array, weights: Array, activation: str, temperature: float, lambda_w: float, lambda_a: float
) -> PointProcess:
    """Posterior mean and variance on weighted points.

    Args:
        x: (n, n_inputs), y: (n, n_out), weights: (n,) of total 1.
        activation, temperature, lambda_w, lambda_a: of the problem.
    """
    root = np.sqrt(weights)
    kernel = root[:, None] * feature_kernel(x, activation, temperature / lambda_w) * root / lambda_a
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    along = vectors.T @ (root[:, None] * y) / (1 + values)[:, None]
    return PointProcess(
        loss=float((along**2).sum()),
        variance=y.shape[1] * temperature * float((values / (1 + values)).sum()),
        residual=(vectors @ along) / root[:, None],
    )
