"""Exact equilibrium background: Gibbs sweeps over the neurons of a finite network, without a step size.

    l(w) = lambda_a + |phi_w|^2 / N,   G(w) = <y - f + a_i phi_i / N, phi_w>
    p(w_i | others) ~ exp(-lambda_w |w|^2 / 2T) l^(-1/2) exp(G^2 / (2 T l)),   a_i | w_i ~ N(G / l, T / l)

w_i is proposed from a fixed density (the infinite-width law mixed with the prior), accepted with the readout
integrated out, and the readout is drawn exactly. The chain samples the Bayesian posterior of the network itself;
it has no learning trajectory.

Source: docs/physics.md, sections 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.planar import PlanarLaw
from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.planar import solve_planar

try:
    from numba import njit
except ImportError:  # the same loop in plain Python, some hundred times slower
    njit = None

Array = NDArray[np.float64]

PRIOR_SHARE = 0.2
# Features of a block of proposals are made at once; this many numbers at most.
BLOCK_NUMBERS = 3_000_000
# Of the refined grid of the law that proposes: the chain is exact whatever is proposed, and in corners of the parameter
# box, where wells are far narrower than any grid, finer grids cost minutes and propose no better.
MOST_FEATURES = 12_000_000


def _sweep_block(
    features: Array,
    readout: Array,
    log_weight: Array,
    prediction: Array,
    target: Array,
    proposed: Array,
    proposed_log_weight: Array,
    log_uniform: Array,
    normal: Array,
    temperature: float,
    lambda_a: float,
    origin: NDArray[np.int64],
    readouts: Array,
    predictions: Array,
) -> int:
    """Some sweeps in place; `origin` (n_sweeps, N) says which proposal each neuron sits at (-1: as before).

    log_weight is log prior minus log proposal density of each neuron's w.
    """
    n_sweeps, n_neurons, n_points = proposed.shape
    n_accepted = 0
    current = np.full(n_neurons, -1, dtype=np.int64)
    for sweep in range(n_sweeps):
        for i in range(n_neurons):
            own_field, own_square, new_field, new_square, cross = 0.0, 0.0, 0.0, 0.0, 0.0
            for p in range(n_points):
                cavity = target[p] - prediction[p] + readout[i] * features[i, p] / n_neurons
                own_field += cavity * features[i, p]
                own_square += features[i, p] * features[i, p]
                new_field += cavity * proposed[sweep, i, p]
                new_square += proposed[sweep, i, p] * proposed[sweep, i, p]
            own_stiffness = lambda_a + own_square / n_neurons
            new_stiffness = lambda_a + new_square / n_neurons
            log_ratio = (
                new_field * new_field / (2 * temperature * new_stiffness)
                - own_field * own_field / (2 * temperature * own_stiffness)
                - 0.5 * np.log(new_stiffness / own_stiffness)
                + proposed_log_weight[sweep, i]
                - log_weight[i]
            )
            is_accepted = log_uniform[sweep, i] < log_ratio
            field, stiffness = own_field, own_stiffness
            if is_accepted:
                n_accepted += 1
                field, stiffness = new_field, new_stiffness
                log_weight[i] = proposed_log_weight[sweep, i]
                current[i] = sweep
            drawn = field / stiffness + np.sqrt(temperature / stiffness) * normal[sweep, i]
            for p in range(n_points):
                cross = readout[i] * features[i, p]
                if is_accepted:
                    features[i, p] = proposed[sweep, i, p]
                prediction[p] += (drawn * features[i, p] - cross) / n_neurons
            readout[i] = drawn
            origin[sweep, i] = current[i]
            readouts[sweep, i] = drawn
        for p in range(n_points):
            predictions[sweep, p] = prediction[p]
    return n_accepted


_sweeps = (
    _sweep_block
    if njit is None
    else njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "arcp"})(_sweep_block)
)


@dataclass(frozen=True)
class GibbsTrace:
    """Observables of every sweep.

    Attributes:
        loss: (n_sweeps,) each network's own loss on the points.
        cos2, cos3, cos4, cos6, cos8: (n_sweeps,) means over the neurons of cos(k angle(w)), by name.
        mean_norm, mean_square_norm, mean_square_readout: (n_sweeps,).
        acceptance: share of accepted proposals.
    """

    loss: Array
    mean_norm: Array
    mean_square_norm: Array
    mean_square_readout: Array
    order_parameters: dict[str, Array]
    acceptance: float


class GibbsBackground:
    """A network of N neurons at exact equilibrium on planar points; `sweep` moves it on.

    Runs are reproducible: block b of sweeps uses the counter (seed, GIBBS, b), so the same sequence of `sweep`
    calls gives the same chain.

    Args:
        points, targets, weights: (n, 2), (n,), (n,) of total 1.
        n_neurons: N.
        activation, temperature, lambda_w, lambda_a: of the problem, at readout exponent 1.
        seed: of the chain.
        proposal: law to propose w from; the infinite-width law of the same points if not given.
        should_stop: asked between blocks of sweeps.

    Attributes:
        theta: (N, 3) the network now, columns w1, w2, a.
        mean_residual: (n,) average of y - f over the sweeps since `forget`, zero before the first.
        n_averaged: how many sweeps that is.
    """

    def __init__(
        self,
        points: Array,
        targets: Array,
        weights: Array,
        n_neurons: int,
        activation: str,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
        *,
        seed: int,
        proposal: PlanarLaw | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self.points, self.targets, self.weights = (
            np.ascontiguousarray(part, dtype=np.float64) for part in (points, targets, weights)
        )
        self.activation, self.temperature, self.lambda_w, self.lambda_a = activation, temperature, lambda_w, lambda_a
        self.seed, self.should_stop = seed, should_stop
        self._scale = np.sqrt(self.weights)
        if proposal is None:
            theory = solve_planar(
                None, activation, temperature, lambda_w, lambda_a,
                points=(self.points, self.targets, self.weights), should_stop=should_stop,
                most_features=MOST_FEATURES,
            )  # fmt: skip
            proposal = theory.law
        self.proposal = proposal
        self._block = 0
        generator = host_generator(seed, Stream.GIBBS, 0)
        w, log_weight = self._propose(n_neurons, generator)
        self._w, self._log_weight = w, log_weight
        self._features = self._make_features(w)
        self._readout = proposal.mean_readout(w) + np.sqrt(temperature / lambda_a) * generator.standard_normal(
            n_neurons
        )
        self.forget()

    @property
    def theta(self) -> Array:
        """(N, 3) the network now."""
        return np.column_stack([self._w, self._readout])

    @property
    def mean_residual(self) -> Array:
        """(n,) average residual y - f since `forget`."""
        if self.n_averaged == 0:
            return np.zeros_like(self.targets)
        return self.targets - self._sum / (self.n_averaged * self._scale)

    def loss(self) -> float:
        """E (y - f)^2 of the network now."""
        prediction = self._readout @ self._features / len(self._readout)
        return float(((self._scale * self.targets - prediction) ** 2).sum())

    def energy(self) -> float:
        """U = N E r^2 / 2 + sum_i (lambda_w |w_i|^2 + lambda_a a_i^2)/2 of the network now; its law is exp(-U/T)."""
        penalty = self.lambda_w * (self._w**2).sum() + self.lambda_a * (self._readout**2).sum()
        return 0.5 * (len(self._readout) * self.loss() + float(penalty))

    def place(self, theta: Array) -> None:
        """Go on from other weights, (N, 3)."""
        self._w, self._readout = np.ascontiguousarray(theta[:, :2]), theta[:, 2].copy()
        self._features = self._make_features(self._w)
        self._log_weight = self._log_weight_of(self._w)

    def forget(self) -> None:
        """Restart the average of the residual, after burn-in or a change."""
        self._sum = np.zeros_like(self.targets)
        self.n_averaged = 0

    def _make_features(self, w: Array) -> Array:
        return phi_numpy(self.activation, w @ self.points.T) * self._scale

    def _propose(self, n: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """(n, 2) weights from the mixture, and log prior minus log density of the mixture."""
        variance = self.temperature / self.lambda_w
        w = self.proposal.sample(n, generator)[:, :2]
        from_prior = generator.random(n) < PRIOR_SHARE
        w[from_prior] = np.sqrt(variance) * generator.standard_normal((int(from_prior.sum()), 2))
        return w, self._log_weight_of(w)

    def _log_weight_of(self, w: Array) -> Array:
        """Log prior minus log density of the mixture that proposes."""
        variance = self.temperature / self.lambda_w
        log_prior = -(w**2).sum(axis=1) / (2 * variance) - np.log(2 * np.pi * variance)
        density = PRIOR_SHARE * np.exp(log_prior) + (1 - PRIOR_SHARE) * self.proposal.cell_density(w)
        return log_prior - np.log(np.maximum(density, 1e-300))

    def sweep(self, n_sweeps: int) -> GibbsTrace:
        """Move every neuron n_sweeps times.

        Returns:
            observables of every sweep.

        Raises:
            SolveStopped: `should_stop` answered True; the chain stands at the last finished block.
        """
        n_neurons, n_points = self._features.shape
        per_block = int(np.clip(BLOCK_NUMBERS // (n_neurons * n_points), 1, 64))
        traces: list[Array] = []
        n_accepted = 0
        remaining = n_sweeps
        while remaining > 0:
            if self.should_stop is not None and self.should_stop():
                raise SolveStopped
            n = min(per_block, remaining)
            self._block += 1
            generator = host_generator(self.seed, Stream.GIBBS, self._block)
            w, log_weight = self._propose(n * n_neurons, generator)
            proposed = self._make_features(w).reshape(n, n_neurons, n_points)
            origin = np.empty((n, n_neurons), dtype=np.int64)
            readouts, predictions = np.empty((n, n_neurons)), np.empty((n, n_points))
            # summed afresh for every block, so that rounding does not pile up
            prediction = self._readout @ self._features / n_neurons
            n_accepted += _sweeps(
                self._features, self._readout, self._log_weight, prediction, self._scale * self.targets, proposed,
                log_weight.reshape(n, n_neurons), np.log(1.0 - generator.random((n, n_neurons))),
                generator.standard_normal((n, n_neurons)), self.temperature, self.lambda_a,
                origin, readouts, predictions,
            )  # fmt: skip
            traces.append(self._observe(w.reshape(n, n_neurons, 2), origin, readouts, predictions))
            self._sum += predictions.sum(axis=0)
            self.n_averaged += n
            remaining -= n
        every = np.concatenate(traces)
        return GibbsTrace(
            loss=every[:, 0],
            mean_norm=every[:, 1],
            mean_square_norm=every[:, 2],
            mean_square_readout=every[:, 3],
            order_parameters={f"cos{k}": every[:, 4 + j] for j, k in enumerate((2, 3, 4, 6, 8))},
            acceptance=n_accepted / (n_sweeps * n_neurons),
        )

    def _observe(self, proposed: Array, origin: NDArray[np.int64], readouts: Array, predictions: Array) -> Array:
        """(n_sweeps, 9) observables; also brings the weights up to date."""
        start = self._w
        neurons = np.arange(len(start))
        w = np.where((origin >= 0)[:, :, None], proposed[np.maximum(origin, 0), neurons], start)
        self._w = np.ascontiguousarray(w[-1])
        norm, angle = np.hypot(w[:, :, 0], w[:, :, 1]), np.arctan2(w[:, :, 1], w[:, :, 0])
        loss = ((self._scale * self.targets - predictions) ** 2).sum(axis=1)
        columns = [loss, norm.mean(axis=1), (norm**2).mean(axis=1), (readouts**2).mean(axis=1)]
        columns += [np.cos(k * angle).mean(axis=1) for k in (2, 3, 4, 6, 8)]
        return np.stack(columns, axis=1)
