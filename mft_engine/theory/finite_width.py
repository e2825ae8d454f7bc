"""The law of one neuron of a *finite* network at equilibrium, to first order in 1/N, without simulation.

    M = (I + (1 - 1/N) C / T)^-1                    response of the other N - 1 neurons
    r_c = r_bar + M f_bar / N                       cavity residual; r_bar = y - f_bar exactly
    G(w) = <r_c, phi_w>,   l_a(w) = lambda_a + <phi_w, M phi_w> / N
    p_N(w) ~ exp(-lambda_w |w|^2 / 2T) l_a^(-1/2) exp(G^2 / (2 T l_a)),   a | w ~ N(G / l_a, T / l_a)
    loss_N = |y - f_bar|^2 + Tr C (I + C/T)^-1 / N

C is the covariance of a phi_w under the corrected law itself. Exact at N = 1 and as N grows; the error falls as
1/N^2, that of the infinite-width law as 1/N. Without the response (M = I) the self term is badly wrong.

Source: docs/physics.md, section 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.harmonics import DEPTH, angular_table, weight_panels
from mft_engine.laws.planar import N_ANGLES, N_RADII, N_RADII_FIELD, PlanarLaw, features_times, radial_upsampling
from mft_engine.laws.stopped import SolveStopped
from mft_engine.theory.training_points import N_ANGLES as POINT_ANGLES
from mft_engine.theory.training_points import point_grid

Array = NDArray[np.float64]

# Directions of the features on the points with less prior variance than this share of the largest are dropped.
RANK_TOLERANCE = 1e-11


@dataclass(frozen=True, eq=False)
class FiniteWidthTheory:
    """Prediction for a network of N neurons at equilibrium.

    Attributes:
        n_neurons: N.
        loss: |y - f_bar|^2 + Tr C (I + C/T)^-1 / N, the mean of one network's own loss on the points.
        mean_norm, mean_square_norm, mean_square_readout, order_parameters: of the corrected law.
        trace_response, trace_covariance: Tr C (I + C/T)^-1 and Tr C under the corrected law.
        residual: (n_points,) r_bar = y - f_bar, the mean residual.
        cavity_residual: (n_points,) r_c, what a neuron feels of the others and their response.
        law: the corrected law, ready to be sampled.
        n_iterations, change: iterations made and the last change of r_c (root mean square).
    """

    n_neurons: int
    loss: float
    mean_norm: float
    mean_square_norm: float
    mean_square_readout: float
    order_parameters: dict[str, float]
    trace_response: float
    trace_covariance: float
    residual: Array
    cavity_residual: Array
    law: PlanarLaw
    n_iterations: int
    change: float


@dataclass(frozen=True)
class _Moments:
    """Law on the grid, mean function and covariance, in compressed coordinates."""

    mass: Array
    field: Array
    stiffness: Array
    output: Array
    covariance: Array


class _Features:
    """Features of the points on a polar grid of weights, in the coordinates that the prior can see.

    Args:
        points, weights: (n, 2), (n,).
        activation, temperature, lambda_w, lambda_a: of the problem.
        panels: of the radial grid; n_angles: of the angular one.
    """

    def __init__(
        self,
        points: Array,
        weights: Array,
        activation: str,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
        panels: tuple[float, ...],
        n_angles: int,
    ) -> None:
        self.temperature, self.lambda_a = temperature, lambda_a
        grid = point_grid(points.tobytes(), weights.tobytes(), activation, panels, n_angles)
        self.panels, self.angles = grid.panels, grid.angles
        rho = np.repeat(self.panels.rho, len(self.angles))
        variance = temperature / lambda_w
        self.log_prior = (
            np.log(np.repeat(self.panels.rho_weights, len(self.angles)) * rho) - rho**2 / (2 * variance)
        )  # fmt: skip
        mass = np.exp(self.log_prior - self.log_prior.max())
        features = grid.features.astype(np.float64)
        values, vectors = np.linalg.eigh((features.T * (mass / mass.sum())) @ features)
        self.basis = vectors[:, values > RANK_TOLERANCE * values[-1]]
        self.features = features @ self.basis
        self.square = (self.features**2).sum(axis=1)

    def moments(self, cavity: Array, response: Array, n_neurons: float) -> _Moments:
        """Everything that the corrected law of a cavity residual and a response determines."""
        field = self.features @ cavity
        stiffness = self.lambda_a + np.einsum("wi,wi->w", self.features @ response, self.features) / n_neurons
        log_mass = self.log_prior + field**2 / (2 * self.temperature * stiffness) - 0.5 * np.log(stiffness)
        mass = np.exp(log_mass - log_mass.max())
        mass /= mass.sum()
        mean = field / stiffness
        output = (mass * mean) @ self.features
        weight = mass * (self.temperature / stiffness + mean**2)
        kept = weight > 1e-13 * weight.max()
        scaled = self.features[kept] * np.sqrt(weight[kept])[:, None]
        return _Moments(mass, field, stiffness, output, scaled.T @ scaled - np.outer(output, output))

    def response(self, covariance: Array, n_neurons: float) -> Array:
        """M = (I + (1 - 1/N) C / T)^-1."""
        identity = np.eye(len(covariance))
        return np.asarray(np.linalg.inv(identity + (1 - 1 / n_neurons) * covariance / self.temperature))


def solve_finite_width(
    points: Array,
    targets: Array,
    weights: Array,
    n_neurons: int,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    *,
    residual: Array | None = None,
    tolerance: float = 1e-7,
    n_iterations: int = 80,
    n_angles: int = POINT_ANGLES,
    should_stop: Callable[[], bool] | None = None,
) -> FiniteWidthTheory:
    """The law of one neuron of N at equilibrium on given points.

    Without `residual`, nothing is simulated: r_c = y - (I - M/N) f[r_c] is solved by Newton steps with the
    Jacobian I + (I - M/N) C/T, while M follows C. With a run's averaged residual the law follows from it, and only
    M is iterated.

    Args:
        points, targets, weights: (n, 2), (n,), (n,) of total 1: training set or quadrature rule.
        n_neurons: N >= 1.
        activation, temperature, lambda_w, lambda_a: of the problem, at readout exponent 1.
        residual: (n,) time average of y - f of a run at equilibrium.
        tolerance: of the change of r_c, root mean square over the points.
        n_iterations: at most.
        n_angles: of the grid of weights; as many as a solution at infinite width has that it is laid beside.
        should_stop: asked at every iteration.

    Returns:
        the prediction.

    Raises:
        ValueError: N < 1 or a hyperparameter is not positive.
        SuperlinearActivationError: no law exists for this activation.
        SolveStopped: `should_stop` answered True.

    Source: docs/physics.md, section 10.
    """
    if n_neurons < 1 or not (temperature > 0 and lambda_w > 0 and lambda_a > 0):
        raise ValueError("n_neurons must be at least 1, temperature and regularisation positive")
    angular_table(activation)
    points, weights = (np.ascontiguousarray(part, dtype=np.float64) for part in (points, weights))
    scale = np.sqrt(weights)
    length = float(np.sqrt(temperature / lambda_w))
    radius = 8.5 * length
    while True:
        features = _Features(
            points, weights, activation, temperature, lambda_w, lambda_a, weight_panels(length, radius), n_angles
        )
        aim = features.basis.T @ (scale * targets)
        mean = None if residual is None else features.basis.T @ (scale * np.asarray(residual, dtype=np.float64))
        cavity, response, moments, n, change = _iterate(
            features, aim, mean, n_neurons, tolerance, n_iterations, should_stop
        )
        mass = moments.mass.reshape(len(features.panels.rho), -1)
        if features.panels.log_mass(mass)[-1] <= -DEPTH or radius > 1e4:
            break
        radius *= 1.5
    output = moments.output if mean is None else aim - mean
    eigenvalues = np.linalg.eigvalsh(moments.covariance)
    trace_response = float((eigenvalues / (1 + eigenvalues / temperature)).sum())
    unseen = float(weights @ targets**2) - float(aim @ aim)
    profile, rho = mass.sum(axis=1), features.panels.rho
    means = moments.field / moments.stiffness
    around = mass.sum(axis=0)
    return FiniteWidthTheory(
        n_neurons=n_neurons,
        loss=unseen + float(((aim - output) ** 2).sum()) + trace_response / n_neurons,
        mean_norm=float(profile @ rho),
        mean_square_norm=float(profile @ rho**2),
        mean_square_readout=float(moments.mass @ (temperature / moments.stiffness + means**2)),
        order_parameters={f"cos{k}": float(around @ np.cos(k * features.angles)) for k in (2, 3, 4, 6, 8)},
        trace_response=trace_response,
        trace_covariance=float(eigenvalues.sum()),
        residual=targets - (features.basis @ output) / scale,
        cavity_residual=_on_points(features.basis, cavity, aim, scale, targets),
        law=_law(
            points, scale, features.basis, cavity, response / n_neurons, mass, features.panels.rho,
            (activation, temperature, lambda_w, lambda_a),
        ),
        n_iterations=n,
        change=change,
    )  # fmt: skip


def _on_points(basis: Array, cavity: Array, aim: Array, scale: Array, targets: Array) -> Array:
    """A residual on the points: what no weight sees of y stays in it."""
    return targets + (basis @ (cavity - aim)) / scale


def _iterate(
    features: _Features,
    aim: Array,
    mean: Array | None,
    n_neurons: int,
    tolerance: float,
    n_iterations: int,
    should_stop: Callable[[], bool] | None,
) -> tuple[Array, Array, _Moments, int, float]:
    """Cavity residual, response and moments at self-consistency; also iterations and the last change."""
    identity = np.eye(len(aim))
    response = identity
    cavity = np.zeros_like(aim) if mean is None else mean.copy()
    moments = features.moments(cavity, response, np.inf)
    response = features.response(moments.covariance, n_neurons)
    n_done = 0
    change, drift, mixing = np.inf, np.inf, 1.0
    for _ in range(n_iterations):
        if should_stop is not None and should_stop():
            raise SolveStopped
        if mean is not None:
            step = mean + response @ (aim - mean) / n_neurons - cavity
        else:
            feedback = identity - response / n_neurons
            jacobian = identity + feedback @ moments.covariance / features.temperature
            step = np.asarray(np.linalg.solve(jacobian, aim - feedback @ moments.output - cavity))
        # far from the solution the exponential tilt overshoots: halve until the equation's error falls
        length = 1.0
        before = _error(cavity, response, moments, aim, mean, n_neurons)
        while True:
            trial = features.moments(cavity + length * step, response, n_neurons)
            if mean is not None or length < 0.02:
                break
            if _error(cavity + length * step, response, trial, aim, mean, n_neurons) < before or before < tolerance:
                break
            length *= 0.5
        cavity, moments = cavity + length * step, trial
        change = length * float(np.sqrt((step**2).sum()))
        updated = features.response(moments.covariance, n_neurons)
        previous, drift = drift, float(np.abs(updated - response).max()) / n_neurons
        # with two or three neurons law and response chase each other: take smaller steps in the response
        mixing = max(0.1, 0.6 * mixing) if drift > 0.8 * previous else mixing
        response = response + mixing * (updated - response)
        n_done += 1
        if change < tolerance and drift < tolerance:
            break
    return cavity, response, moments, n_done, change


def _error(cavity: Array, response: Array, moments: _Moments, aim: Array, mean: Array | None, n_neurons: int) -> float:
    """Norm of r_c - y + (I - M/N) f[r_c]."""
    if mean is not None:
        return 0.0
    return float(np.linalg.norm(cavity - aim + moments.output - response @ moments.output / n_neurons))


def _law(
    points: Array,
    scale: Array,
    basis: Array,
    cavity: Array,
    form: Array,
    mass: Array,
    rho: Array,
    problem: tuple[str, float, float, float],
) -> PlanarLaw:
    """The corrected law on the grid that is sampled and drawn."""
    activation, temperature, lambda_w, lambda_a = problem
    profile = mass.max(axis=1)
    radius = 1.05 * float(rho[np.flatnonzero(profile > 1e-14 * profile.max())[-1]])
    signals = scale[:, None] * basis
    values = features_times(points.tobytes(), activation, radius, N_RADII_FIELD, N_ANGLES, signals)
    field = (values @ cavity).reshape(N_RADII_FIELD, N_ANGLES)
    extra = np.einsum("wi,wi->w", values @ form, values).reshape(N_RADII_FIELD, N_ANGLES)
    radial = radial_upsampling(N_RADII_FIELD, N_RADII)
    stiffness = lambda_a + np.maximum(radial @ extra, 0.0)
    return PlanarLaw(radial @ field, radius, activation, temperature, lambda_w, lambda_a, stiffness)
