"""A ladder of temperatures: networks that exchange their weights, how often they do, and how many rungs a span needs.

    energy of a network  U = N^(2 kappa - 1) E r^2 / 2 + sum_i (lambda_w |w_i|^2 + lambda_a a_i^2)/2
    neighbours i, j exchange with probability min(1, exp((1/T_i - 1/T_j)(U_i - U_j)))

Source: Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996); the rate: Kofke, J. Chem. Phys. 117, 6911 (2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, Self

import numpy as np
import torch
from scipy.special import erfcinv
from torch import Tensor

from mft_engine import dynamics
from mft_engine.dynamics import Hyper, Problem
from mft_engine.dynamics.gibbs import start_chain
from mft_engine.network.scaling import energy_scale
from mft_engine.points.statistics import order_parameters
from mft_engine.rng import Stream, host_generator

TARGET_RATE = 0.3
# The square root of D at which neighbours exchange with TARGET_RATE.
TARGET_LENGTH = 2.0 * float(erfcinv(TARGET_RATE))


class Replica(Protocol):
    """A network at a fixed temperature whose weights can be exchanged with those of another."""

    def advance(self, n_steps: int) -> None:
        """Move on at this temperature."""
        ...

    def energy(self) -> float:
        """U of the present weights."""
        ...

    def observe(self) -> dict[str, float]:
        """Observables of the present weights; the same names at every rung."""
        ...

    def exchange(self, other: Self) -> None:
        """Exchange the weights."""
        ...


class LangevinReplica:
    """A network that moves by Langevin dynamics; its noise goes with its weights.

    Args:
        theta: (n_neurons, n_inputs + n_out) where it starts.
        problem: with points that stay; its seed is the noise's.
        hyper: the rung's temperature and step.
    """

    def __init__(self, theta: Tensor, problem: Problem, hyper: Hyper) -> None:
        self.problem, self.hyper = problem, hyper
        self.state = dynamics.init(theta, problem)

    def advance(self, n_steps: int) -> None:
        """n_steps of the dynamics at this rung's temperature."""
        self.state, _ = dynamics.advance(self.state, self.problem, self.hyper, n_steps, beyond=True)

    def loss(self) -> float:
        """E r^2 of the network as it stands."""
        return self.problem.loss(self.state.theta)

    def energy(self) -> float:
        """U of the present weights."""
        squares = self.state.theta.square().sum(dim=0, dtype=torch.float64)
        n_inputs, hyper = self.problem.inputs.shape[1], self.hyper
        penalty = 0.5 * float(hyper.lambda_w * squares[:n_inputs].sum() + hyper.lambda_a * squares[n_inputs:].sum())
        n, kappa = self.state.theta.shape[0], self.problem.readout_exponent
        return 0.5 * energy_scale(n, kappa) * self.loss() + penalty

    def observe(self) -> dict[str, float]:
        """Loss and order parameters."""
        orders = self.problem.orders(self.state.theta)
        return {"loss": self.loss(), **{name: estimate.mean for name, estimate in orders.items()}}

    def exchange(self, other: LangevinReplica) -> None:
        """Weights and noise of the two change places; steps and step sizes belong to the rungs."""
        mine, theirs = self.state.theta, other.state.theta
        self.state, other.state = replace(self.state, theta=theirs), replace(other.state, theta=mine)
        seed = self.problem.seed
        self.problem = replace(self.problem, seed=other.problem.seed)
        other.problem = replace(other.problem, seed=seed)


class GibbsReplica:
    """A planar network that moves by exact sweeps: no step size.

    Args:
        problem: with points that stay; its seed is the chain's.
        hyper: the rung's temperature.
    """

    def __init__(self, problem: Problem, hyper: Hyper, n_neurons: int) -> None:
        self.chain = start_chain(problem, hyper, n_neurons)

    def advance(self, n_steps: int) -> None:
        """n_steps sweeps."""
        self.chain.sweep(n_steps)

    def energy(self) -> float:
        """U of the present weights."""
        return self.chain.energy()

    def observe(self) -> dict[str, float]:
        """Loss and order parameters."""
        orders = order_parameters(self.chain.theta, 2)
        return {"loss": self.chain.loss(), **{name: estimate.mean for name, estimate in orders.items()}}

    def exchange(self, other: GibbsReplica) -> None:
        """Weights of the two change places."""
        mine = self.chain.theta
        self.chain.place(other.chain.theta)
        other.chain.place(mine)


class Ladder:
    """Replicas at ascending temperatures that move and exchange in turn.

    Attributes:
        energies: (n_rungs, n_rounds) U before each attempt to exchange; observations: the same by name.
        n_tried, n_accepted: (n_rungs - 1,) exchanges of each pair of neighbours.
        n_round_trips: times that a network has gone from the coldest rung to the hottest and back.

    Args:
        replicas: coldest first.
        temperatures: ascending.
        seed: of the exchanges.
    """

    def __init__(self, replicas: Sequence[Replica], temperatures: Sequence[float] | np.ndarray, seed: int) -> None:
        self.replicas, self.temperatures, self.seed = list(replicas), np.asarray(temperatures, dtype=float), seed
        n = len(self.replicas)
        if n != len(self.temperatures) or n < 2 or not (np.diff(self.temperatures) > 0).all():
            raise ValueError("A ladder needs two rungs at least, at ascending temperatures")
        self.n_tried, self.n_accepted = np.zeros(n - 1, dtype=int), np.zeros(n - 1, dtype=int)
        self._network = list(range(n))
        self._n_rounds = 0
        self.forget()

    @property
    def energies(self) -> np.ndarray:
        """(n_rungs, n_rounds)."""
        return np.array(self._energies).T

    @property
    def observations(self) -> dict[str, np.ndarray]:
        """Name to (n_rungs, n_rounds)."""
        names = self._observations[0][0] if self._observations else {}
        return {name: np.array([[seen[name] for seen in row] for row in self._observations]).T for name in names}

    @property
    def n_rounds(self) -> int:
        """Rounds since the last `forget`."""
        return len(self._energies)

    def forget(self) -> None:
        """What was seen and counted so far was burn-in."""
        self._energies: list[np.ndarray] = []
        self._observations: list[list[dict[str, float]]] = []
        self.n_tried[:], self.n_accepted[:], self.n_round_trips = 0, 0, 0
        # None: has not been cold yet, so no trip of this network has begun.
        self._has_been_hot: list[bool | None] = [None] * len(self.replicas)
        self._has_been_hot[self._network[0]] = False

    def round(self, n_steps: int) -> None:
        """Every network moves n_steps, is looked at, and every second pair of neighbours tries to exchange."""
        for replica in self.replicas:
            replica.advance(n_steps)
        energies = np.array([replica.energy() for replica in self.replicas])
        self._energies.append(energies)
        self._observations.append([replica.observe() for replica in self.replicas])
        uniform = host_generator(self.seed, Stream.TEMPERING, self._n_rounds).random(len(self.replicas))
        for i in range(self._n_rounds % 2 if len(self.replicas) > 2 else 0, len(self.replicas) - 1, 2):
            log_ratio = (1 / self.temperatures[i] - 1 / self.temperatures[i + 1]) * (energies[i] - energies[i + 1])
            self.n_tried[i] += 1
            if log_ratio >= 0 or uniform[i] < math.exp(log_ratio):
                self.n_accepted[i] += 1
                self.replicas[i].exchange(self.replicas[i + 1])
                self._network[i], self._network[i + 1] = self._network[i + 1], self._network[i]
        self._n_rounds += 1
        self._follow()

    def _follow(self) -> None:
        cold, hot = self._network[0], self._network[-1]
        if self._has_been_hot[cold]:
            self.n_round_trips += 1
        self._has_been_hot[cold] = False
        if self._has_been_hot[hot] is False:
            self._has_been_hot[hot] = True


def lengths(temperatures: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """(n - 1,) sqrt(D) of each pair from mean energies; erfc(sqrt(D)/2) is the acceptance to expect.

    Between two rungs it adds up: sqrt(D) = sqrt(dU/dT) d log T, so the sum tells how many rungs a span needs.
    """
    distance = (1 / temperatures[:-1] - 1 / temperatures[1:]) * np.diff(energies)
    return np.sqrt(np.maximum(distance, 0.0))


def rungs_needed(temperatures: np.ndarray, energies: np.ndarray) -> int:
    """How many rungs over the same span exchange with TARGET_RATE everywhere."""
    return 1 + max(1, math.ceil(span_of(temperatures, energies)[-1] / TARGET_LENGTH - 1e-9))


def span_of(temperatures: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """(n,) length from the coldest rung, integral of sqrt(dU/dT) d log T with dU/dT constant between rungs."""
    capacity = np.maximum(np.diff(energies) / np.diff(temperatures), 1e-12)
    return np.concatenate([[0.0], np.cumsum(np.sqrt(capacity) * np.diff(np.log(temperatures)))])


def spaced(temperatures: np.ndarray, energies: np.ndarray, n_rungs: int) -> np.ndarray:
    """(n_rungs,) temperatures over the same span, neighbours equally far in `lengths`."""
    span = span_of(temperatures, energies)
    found = np.exp(np.interp(np.linspace(0, span[-1], n_rungs), span, np.log(temperatures)))
    found[0], found[-1] = temperatures[0], temperatures[-1]
    return np.asarray(found)
