"""The joint law of two hidden layers at infinite width, on weighted points.

    z_1 = W_1 x,   z_2 = N_1^(-1/2) W_2 phi_1(z_1),   f = b . phi_2(z_2) / N_2,   N_1, N_2 -> infinity at a fixed ratio

Given the first layer, z_2 on the points is Gaussian under the prior with K = (T / lambda_2) E_1[phi_1 phi_1']: the
second layer is a network of one hidden layer whose inputs are the rows of a root of K (`PointProblem`). A neuron of the
first layer feels

    p(w) ~ p_0(w) exp(phi_1(w)' Q phi_1(w)),   Q = (N_2 / N_1) (T / (2 lambda_2)) A
    A = <b^2 (weight r phi_2')(weight r phi_2')'> / T^2 + diag(weight r <b phi_2''>) / T

the means being over the second layer; the last term is its own echo. Residual, K and Q are iterated, the target's
amplitude growing from zero; Q follows by a part at a time, because both layers answer to the same residual and would
overshoot. The problem is not concave: where it was started from is part of the answer.

Source: docs/physics.md, "Two hidden layers"; Price, IRE Trans. Inf. Theory 4 (1958), 69.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mft_engine.laws.particles import (
    BLOCK_ROWS,
    LawLost,
    Particles,
    effective_share,
    moving,
    prior_particles,
    resampled,
    reweighted,
)
from mft_engine.laws.tempered import Tilt
from mft_engine.network.activations import Activation
from mft_engine.slices import telling
from mft_engine.theory.sampled_dual import PointProblem, SampledDual

Start = Literal["together", "upper first"]

N_PARTICLES, N_POPULATIONS = 2048, 8
# Steps in which the amplitude grows; turns that are forgotten after it, and turns whose average is the answer.
N_GROWING, N_FORGOTTEN, N_AVERAGED = 24, 16, 40
MOST_GROWING, GROWING_SHARE = 200, 0.2
N_MOVES = 2
# Part of the way to its new value that each follows in a turn.
FOLLOWED_FORM, FOLLOWED_KERNEL = 0.2, 0.5
# Share of the particles that a change leaves worth something, and the smallest part of a change that is tried.
KEPT, SMALLEST = 0.4, 0.02
# Half the width over which phi_2' is differenced: a kink counts as it is felt.
BEND = 0.02
# Eigenvalues of K below this part of the largest carry nothing.
FLOOR = 1e-9


@dataclass(frozen=True)
class TwoHiddenProblem:
    """A network of two hidden layers on weighted points.

    Attributes:
        inputs: (n_points, n_inputs), targets: (n_points, 1), weights: (n_points,), float64.
        activations: phi_1, phi_2.
        temperature: T; penalties: lambda of W_1, W_2 and the readouts.
        width_ratio: N_2 / N_1.
        dtype: of the particles.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    activations: tuple[Activation, Activation]
    temperature: float
    penalties: tuple[float, float, float]
    width_ratio: float
    dtype: torch.dtype = torch.float32

    @property
    def scaled_inputs(self) -> Tensor:
        """(n_points, n_inputs) inputs of a first-layer neuron in units of the prior."""
        return (self.inputs * (self.temperature / self.penalties[0]) ** 0.5).to(self.dtype)

    def lower(self, form: Tensor) -> Tilt:
        """The law of a first-layer neuron in units of the prior, from Q, (n_points, n_points)."""
        temperature, penalty = self.temperature, self.penalties[1]
        return Tilt(self.scaled_inputs, self.activations[0], 1.0, temperature, penalty, form=form.to(self.dtype))

    def upper(self, kernel: Tensor) -> PointProblem:
        """The second layer's problem, its inputs on the symmetric root of K, (n_points, n_points).

        With temperature in place of its lambda the prior of its weights is N(0, 1).
        """
        temperature, readout = self.temperature, self.penalties[2]
        points = root_of(kernel), self.targets, self.weights
        return PointProblem(*points, self.activations[1], temperature, temperature, readout, self.dtype)

    def kernel(self, particles: Particles) -> Tensor:
        """K under weighted first-layer particles, (n_points, n_points) float64."""
        kernel = torch.zeros((len(self.weights),) * 2, dtype=torch.float64, device=self.weights.device)
        for u, share in _blocks(particles):
            features = self.activations[0].phi(u @ self.scaled_inputs.T)
            kernel += ((features * share[:, None]).T @ features).double()
        return kernel * (self.temperature / self.penalties[1])

    def form(self, upper: PointProblem, particles: Particles, rho: Tensor) -> Tensor:
        """Q from second-layer particles under the law of the residual rho, (n_points, n_points) float64."""
        temperature, readout_penalty = self.temperature, self.penalties[2]
        signal = self.weights * upper.on_points(rho)[:, 0]
        errors = torch.zeros((len(signal),) * 2, dtype=torch.float64, device=signal.device)
        echo = torch.zeros_like(signal)
        for u, share in _blocks(particles):
            z = u @ upper.scaled_inputs.T
            phi, slope = self.activations[1].both(z)
            readout = (phi.double() @ signal) / readout_penalty
            square = readout**2 + temperature / readout_penalty
            slopes = slope.double()
            errors += (slopes * (share.double() * square)[:, None]).T @ slopes
            bend = (self.activations[1].dphi(z + BEND) - self.activations[1].dphi(z - BEND)).double() / (2 * BEND)
            echo += bend.T @ (share.double() * readout)
        felt = torch.outer(signal, signal) * errors / temperature**2 + torch.diag(signal * echo) / temperature
        return felt * (self.width_ratio * temperature / (2 * self.penalties[1]))


def root_of(kernel: Tensor) -> Tensor:
    """The symmetric square root, which moves continuously with K, so that particles stay what they were."""
    values, vectors = torch.linalg.eigh(kernel)
    values = torch.where(values > FLOOR * values[-1], values, torch.zeros_like(values))
    return (vectors * values.sqrt()) @ vectors.T


def _blocks(particles: Particles) -> Iterator[tuple[Tensor, Tensor]]:
    shares = particles.probabilities.to(particles.u.dtype)
    for start in range(0, len(particles.u), BLOCK_ROWS):
        yield particles.u[start : start + BLOCK_ROWS], shares[start : start + BLOCK_ROWS]


@dataclass
class Joint:
    """Both layers' particles, and what they make for one another.

    Attributes:
        problem: of both layers.
        lower, upper: particles of the first and second layer, in units of their priors.
        form: Q that the first layer feels; kernel: K that the second stands on.
        rho: (n_points, 1) sqrt(weight) r; amplitude: of the target, 0 to 1.
    """

    problem: TwoHiddenProblem
    lower: Particles
    upper: Particles
    form: Tensor
    kernel: Tensor
    rho: Tensor
    amplitude: float = 0.0
    _upper_problem: PointProblem = field(init=False)

    def __post_init__(self) -> None:
        self._upper_problem = self.problem.upper(self.kernel)

    @classmethod
    def at_the_prior(cls, problem: TwoHiddenProblem, n_particles: int, seed: int) -> Joint:
        """Both layers drawn from their priors, without a residual."""
        n_points = len(problem.weights)
        n_each = max(64, n_particles // N_POPULATIONS)
        device, dtype = problem.weights.device, problem.dtype
        lower = prior_particles(problem.inputs.shape[1], N_POPULATIONS, n_each, seed=seed, device=device, dtype=dtype)
        upper = prior_particles(n_points, N_POPULATIONS, n_each, seed=seed + (1 << 40), device=device, dtype=dtype)
        nothing = torch.zeros((n_points, n_points), dtype=torch.float64, device=problem.weights.device)
        rho = torch.zeros_like(problem.targets)
        return cls(problem, lower, upper, nothing, problem.kernel(lower), rho)

    @property
    def residual(self) -> Tensor:
        """(n_points,) r."""
        return self._upper_problem.on_points(self.rho)[:, 0]

    @property
    def mean_square_norm(self) -> float:
        """E |w|^2 of the first layer."""
        squares = (self.lower.u.double() ** 2).sum(1)
        return float(squares @ self.lower.probabilities) * self.problem.temperature / self.problem.penalties[0]

    def respond(self, grown: float = 0.0) -> Generator[None, None, None]:
        """One Newton step of the sampled dual of the second layer, the amplitude growing by so much; then moves."""
        dual = SampledDual(self._upper_problem, self.upper, self.rho)
        step = dual.solve(dual.gradient(self.amplitude * self._upper_problem.visible_target))
        if grown:
            step = step + grown * dual.solve(self._upper_problem.visible_target)
        length = dual.largest_push(torch.zeros_like(self.rho), step, 1.0, KEPT)
        self.rho, self.amplitude = self.rho + length * step, min(1.0, self.amplitude + length * grown)
        pushed = resampled(dual.pushed(step)(length))
        self.upper = yield from moving(pushed, self._upper_problem.law(self.rho), N_MOVES)

    def follow_form(self) -> Generator[None, None, None]:
        """The first layer follows Q by a part, and moves."""
        wanted = self.problem.form(self._upper_problem, self.upper, self.rho)
        change = _tilt(self.problem.lower(wanted - self.form), self.lower)
        part, self.lower = _as_far_as_it_goes(self.lower, lambda part: part * change, FOLLOWED_FORM)
        self.form = self.form + part * (wanted - self.form)
        self.lower = yield from moving(resampled(self.lower), self.problem.lower(self.form), N_MOVES)

    def follow_kernel(self) -> None:
        """The second layer's features follow K by a part, its residual staying as it is."""
        wanted, residual = self.problem.kernel(self.lower), self._upper_problem.on_points(self.rho)
        before = self._upper_problem.law(self.rho).log_tilt(self.upper.u)
        tried: dict[float, PointProblem] = {}

        def change(part: float) -> Tensor:
            tried[part] = self.problem.upper((1 - part) * self.kernel + part * wanted)
            return tried[part].law(tried[part].visible(residual)).log_tilt(self.upper.u) - before

        part, self.upper = _as_far_as_it_goes(self.upper, change, FOLLOWED_KERNEL)
        self.kernel, self._upper_problem = (1 - part) * self.kernel + part * wanted, tried[part]
        self.rho, self.upper = self._upper_problem.visible(residual), resampled(self.upper)


def _tilt(law: Tilt, particles: Particles) -> Tensor:
    parts = [law.tilt(u)[0] for u, _ in _blocks(particles)]
    return torch.cat(parts).double()


def _as_far_as_it_goes(
    particles: Particles, change: Callable[[float], Tensor], wanted: float
) -> tuple[float, Particles]:
    """The largest part of a change of the tilt, `wanted` at most, that leaves KEPT of the particles worth something."""
    part, share = wanted, effective_share(particles)
    while True:
        trial = reweighted(particles, change(part))
        if effective_share(trial) >= KEPT * share or part < SMALLEST:
            return part, trial
        part /= 1.4


@dataclass(frozen=True)
class Settled:
    """Averages of the turns in which both layers agree, and their series.

    Attributes:
        kernel, form: (n_points, n_points); residual: (n_points,).
        losses: of the momentary residuals; squares: E |w|^2 of the first layer, turn by turn.
        halves: (2, n_points) residuals of the first and second half of the turns.
        joint: the last moment.
    """

    kernel: Tensor
    form: Tensor
    residual: Tensor
    losses: np.ndarray
    squares: np.ndarray
    halves: Tensor
    joint: Joint


def settle_both(
    problem: TwoHiddenProblem, *, seed: int, n_particles: int = N_PARTICLES, start: Start = "together"
) -> Iterator[float | Settled]:
    """Iterate both layers from a start until they agree, and average.

    Args:
        problem: points, targets, penalties; seed: of all randomness; n_particles: of each layer.
        start: "together": both layers follow while the target grows. "upper first": the second learns the whole target
            on untrained features, then the first begins to follow.

    Yields:
        share of the turns behind, at last what they settled on.

    Raises:
        LawLost: a residual that runs away.
    """
    joint = Joint.at_the_prior(problem, n_particles, seed)
    power = float((problem.weights[:, None] * problem.targets**2).sum())
    n_forgotten = N_FORGOTTEN if start == "together" else 2 * N_FORGOTTEN  # the first layer has all the way to go
    n_turns = n_forgotten + N_AVERAGED
    n_grown = 0
    while joint.amplitude < 1.0:
        yield from telling(joint.respond(1.0 / N_GROWING), GROWING_SHARE * joint.amplitude)
        if start == "together":
            yield from telling(joint.follow_form(), GROWING_SHARE * joint.amplitude)
            joint.follow_kernel()
        n_grown += 1
        if n_grown > MOST_GROWING:
            raise LawLost("The two layers do not reach the whole target; a higher temperature helps")
    seen: list[tuple[Tensor, Tensor, Tensor, float, float]] = []
    for turn in range(n_turns):
        share = GROWING_SHARE + (1 - GROWING_SHARE) * turn / n_turns
        for _ in range(2):
            yield from telling(joint.respond(), share)
        yield from telling(joint.follow_form(), share)
        joint.follow_kernel()
        residual = joint.residual
        loss = float(problem.weights @ residual**2)
        if not loss <= 2.0 * power:
            raise LawLost("The two layers do not settle: a larger theory.n_particles or a higher temperature helps")
        if turn >= n_forgotten:
            seen.append((joint.kernel, joint.form, residual, loss, joint.mean_square_norm))
    kernels, forms, residuals, losses, squares = zip(*seen, strict=True)
    every, half = torch.stack(residuals), len(seen) // 2
    yield Settled(
        kernel=torch.stack(kernels).mean(0),
        form=torch.stack(forms).mean(0),
        residual=every.mean(0),
        losses=np.array(losses),
        squares=np.array(squares),
        halves=torch.stack([every[:half].mean(0), every[half:].mean(0)]),
        joint=joint,
    )
