"""Certificates of self-consistency: how far a law is from the mean-field optimum, with and without knowing it.

    F(mu) = E r_mu^2 / 2 + T KL(mu | prior)
    F(mu) - F(mu*) = T KL(mu | mu*) + |f_mu - f_mu*|^2 / 2
    T KL(mu | mu*) <= F(mu) - F(mu*) <= T KL(mu | mu-hat),      mu-hat the Gibbs law of mu's own residual
    F(mu_r) - F(mu*) <= |y - r - f_(mu_r)|^2 / 2,               mu_r the Gibbs law of any residual r

Source: Nitanda, Wu, Suzuki (2201.10469), Chizat (2202.01009); docs/physics.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import dphi_numpy, phi_numpy
from mft_engine.theory.dual import DualState
from mft_engine.theory.planar import PlanarTheory

# Numbers of a block of neurons times points.
MAX_BLOCK = 20_000_000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sandwich:
    """What is known of a law's distance from the optimum, all in units of energy.

    Attributes:
        free_energy: F(mu).
        kl_from_prior: KL(mu | prior) of (w, a), in nats: feature learning, not self-consistency.
        lower: T KL(mu | mu*).
        excess: F(mu) - F(mu*), from the free energies of both.
        upper: T KL(mu | mu-hat); needs no knowledge of mu*.
        function_distance: |f_mu - f_mu*|^2 / 2; excess = lower + function_distance.
    """

    free_energy: float
    kl_from_prior: float
    lower: float
    excess: float
    upper: float
    function_distance: float


def gibbs_kl(
    mass: Array, own: Array, other: Array, own_log_z: float, other_log_z: float, lambda_a: float, temperature: float
) -> float:
    """KL(mu | nu) of two Gibbs laws of (w, a) with the same T and regularisation, in nats.

        log mu/nu = a (g_mu - g_nu) / T - log Z_mu + log Z_nu,    E[a | w] = g_mu / lambda_a

    Args:
        mass: probability that mu gives to every node of a weight grid.
        own, other: g_mu and g_nu on the nodes.
        own_log_z, other_log_z: log partition functions relative to the normalised prior.
        lambda_a, temperature: of both.
    """
    shift = float((mass * own * (own - other)).sum()) / (lambda_a * temperature)
    return shift - own_log_z + other_log_z


def certify_residual(theory: PlanarTheory, point: Array) -> Sandwich:
    """The sandwich of the Gibbs law that some other residual generates, to rounding, on the solver's own grid.

    Args:
        theory: the optimum.
        point: (n,) the residual in the coordinates of `theory.solution.dual`, as in `DualState.point`.

    Returns:
        the sandwich.
    """
    dual, best = theory.solution.dual, theory.solution.state
    unseen = theory.target_power - float(dual.target @ dual.target)

    def energy(state: DualState) -> tuple[float, float]:
        shift = float((state.mass * state.field**2).sum()) / (theory.lambda_a * theory.temperature)
        kl = shift - state.log_partition
        return 0.5 * (unseen + float(((dual.target - state.output) ** 2).sum())) + theory.temperature * kl, kl

    own = dual.at(point)
    hat = dual.at(dual.target - own.output)

    def distance(other: DualState) -> float:
        return theory.temperature * gibbs_kl(
            own.mass, own.field, other.field, own.log_partition, other.log_partition,
            theory.lambda_a, theory.temperature,
        )  # fmt: skip

    free_energy, kl = energy(own)
    return Sandwich(
        free_energy=free_energy,
        kl_from_prior=kl,
        lower=distance(best),
        excess=free_energy - energy(best)[0],
        upper=distance(hat),
        function_distance=0.5 * float(((own.output - best.output) ** 2).sum()),
    )


def law_kl(law: PlanarLaw, other: PlanarLaw) -> float:
    """KL(law | other) of (w, a) for two laws of the same T and regularisation, in nats.

    Raises:
        ValueError: temperature or regularisation differ.
    """
    if (law.temperature, law.lambda_w, law.lambda_a) != (other.temperature, other.lambda_w, other.lambda_a):
        raise ValueError("the two laws must have the same temperature and regularisation")
    # beyond the other's grid its field is continued as a constant: a bounded activation has saturated there
    rho, angle = np.meshgrid(np.minimum(law.rho, other.radius), law.angles, indexing="ij")
    w = np.stack([(rho * np.cos(angle)).ravel(), (rho * np.sin(angle)).ravel()], axis=1)
    fields = other.field_at(w).reshape(law.field.shape)
    return gibbs_kl(law.mass, law.field, fields, law.log_partition, other.log_partition, law.lambda_a, law.temperature)


def certify_law(law: PlanarLaw, theory: PlanarTheory, points: Array, weights: Array, targets: Array) -> Sandwich:
    """The sandwich of any one-neuron law against the theory, by quadrature over given inputs.

    Good to about 1e-3 of the energies (the points' own error); `certify_residual` is exact where it applies.

    Args:
        law: for instance of a background's averaged residual (what an exact foreground is drawn from).
        theory: the optimum for the same task and hyperparameters.
        points, weights, targets: (n, 2), (n,), (n,) quadrature rule for E and y on it.
    """
    own, best = law.prediction(points), theory.prediction(points)
    problem = (law.activation, law.temperature, law.lambda_w, law.lambda_a)
    hat = PlanarLaw.from_field(points, weights * (targets - own), *problem, minimum_radius=law.radius)
    distance = 0.5 * float(weights @ (own - best) ** 2)
    lower = law.temperature * law_kl(law, theory.law)
    return Sandwich(
        free_energy=0.5 * float(weights @ (targets - own) ** 2) + law.temperature * law.kl,
        kl_from_prior=law.kl,
        lower=lower,
        excess=lower + distance,
        upper=law.temperature * law_kl(law, hat),
        function_distance=distance,
    )


def residual_gap(law: PlanarLaw, points: Array, weights: Array, targets: Array, residual: Array) -> float:
    """Dual gap of a residual: an upper bound on F(mu_r) - F(mu*) that needs no theory.

        F(mu_r) - D(r) = |y - r - f_(mu_r)|^2 / 2

    Zero exactly when the residual reproduces itself: self-consistency as one number, in units of energy.

    Args:
        law: the Gibbs law of `residual`, `PlanarLaw.from_field(points, weights * residual, ...)`.
        points, weights, targets, residual: (n, 2), (n,), (n,), (n,).
    """
    return 0.5 * float(weights @ (targets - residual - law.prediction(points)) ** 2)


def cloud_score(
    theta: Array, points: Array, signal: Array, activation: str, temperature: float, lambda_w: float, lambda_a: float
) -> Array:
    """grad log density of the Gibbs law in a frozen field, at every neuron of a two-layer cloud.

        score = (sum_mu signal_mu grad[a phi(w.x_mu)] - lambda theta) / T

    Args:
        theta: (n, d + n_out) columns w, a.
        points: (n_points, d).
        signal: (n_points,) or (n_points, n_out) weight times residual.
        activation, temperature, lambda_w, lambda_a: of the problem.

    Returns:
        (n, d + n_out).
    """
    d, signal = points.shape[1], signal.reshape(len(points), -1)
    result = np.empty_like(theta, dtype=np.float64)
    # Of a million points few neurons at once: the block grows with both.
    block = min(512, max(1, MAX_BLOCK // len(points)))
    for start in range(0, len(theta), block):
        w, a = theta[start : start + block, :d], theta[start : start + block, d:]
        z = w @ points.T
        slope = dphi_numpy(activation, z) * (a @ signal.T)
        result[start : start + block, :d] = slope @ points - lambda_w * w
        result[start : start + block, d:] = phi_numpy(activation, z) @ signal - lambda_a * a
    return result / temperature


@dataclass(frozen=True)
class SteinDiscrepancy:
    """Kernelised Stein discrepancy with its null band.

    Attributes:
        value: KSD^2, V-statistic, in scaled coordinates.
        null_mean, null_95: mean and 95 % point of the wild bootstrap under "the cloud is a sample of the law".
        p_value: (1 + #{null >= value}) / (1 + n_bootstrap).
    """

    value: float
    null_mean: float
    null_95: float
    p_value: float


def stein_discrepancy(
    theta: Array, score: Array, generator: np.random.Generator, *, length: float = 0.3, n_bootstrap: int = 300
) -> SteinDiscrepancy:
    """Does a cloud sample the law whose score is given? Needs no normalisation and no sample of the law.

        KSD^2 = mean_ij [ s_i.s_j k + s_i.grad_j k + s_j.grad_i k + div_i grad_j k ],  k = (1 + |d|^2)^(-1/2)

    Each coordinate is divided by `length` times its spread over the cloud; a third of the spread finds wrong
    clovers that the whole spread misses. Neurons of one background repel, so its own KSD is
    below that of an independent sample and the test is conservative for it. Slow mixing between lumps is nearly
    invisible to it: the score does not know their weights.

    Args:
        theta: (n, p) cloud, n <= 4096 (the cost is n^2 (p + n_bootstrap)).
        score: (n, p) grad log density there, from `cloud_score`.
        generator: for the signs, from `rng.host_generator`.
        length: of the kernel, in units of the cloud's spread.
        n_bootstrap: draws of the null.

    Raises:
        ValueError: more than 4,096 neurons, or shapes differ.

    Source: Gorham and Mackey (1703.01717); Chwialkowski, Strathmann, Gretton (1602.02964).
    """
    n, p = theta.shape
    if score.shape != theta.shape or n > 4096:
        raise ValueError(f"expected at most 4,096 neurons and a score of the cloud's shape, got {theta.shape}")
    spread = np.maximum(theta.std(axis=0), 1e-300) * length
    x, s = theta / spread, score * spread
    signs = np.empty((n, n_bootstrap + 1))
    signs[:, 0] = 1.0
    signs[:, 1:] = 2.0 * generator.integers(0, 2, (n, n_bootstrap)) - 1.0
    totals = np.zeros(n_bootstrap + 1)
    square, along = (x**2).sum(axis=1), (s * x).sum(axis=1)
    for start in range(0, n, 512):
        rows = slice(start, min(n, start + 512))
        distance = np.maximum(square[rows, None] + square - 2 * x[rows] @ x.T, 0.0)
        base = 1.0 / (1.0 + distance)
        kernel = np.sqrt(base)
        first = kernel * base
        # grad_j k = (x_i - x_j) (1 + d^2)^(-3/2), and minus that for i
        own = along[rows, None] - s[rows] @ x.T
        other = x[rows] @ s.T - along
        stein = (s[rows] @ s.T) * kernel + first * (own - other + p - 3 * distance * base)
        totals += (signs[rows] * (stein @ signs)).sum(axis=0)
    totals /= n * n
    null = totals[1:]
    return SteinDiscrepancy(
        value=float(totals[0]),
        null_mean=float(null.mean()),
        null_95=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= totals[0]).sum()) / (1 + n_bootstrap)),
    )
