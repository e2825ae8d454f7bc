"""The law of one neuron by weighted particles: any number of inputs and of readouts.

    p(u) ~ N(0, I) exp(tilt(u)),   w = sqrt(T / lambda_w) u,   tilt(u) = sum_c (sum_mu phi(w.x_mu) B_mu,c)^2

with B = weight x residual / sqrt(2 lambda_a T): the prior times the exponential of a quadratic form of the features.
Particles start at the prior (B = 0) and follow B through reweighting, resampling and Hamiltonian moves; they live in
populations that never exchange anything, so that the scatter among these is an honest error. Each population carries
an estimate of Z, whose expectation is Z however well the moves mix.

Source: Del Moral, Doucet, Jasra, J. R. Statist. Soc. B 68 (2006), 411; Duane et al., Phys. Lett. B 195 (1987), 216.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import host_device, in_team, one_thread
from mft_engine.laws.jumps import Jumps
from mft_engine.laws.law import Tilted
from mft_engine.laws.trajectories import Numbers, trajectories
from mft_engine.laws.wider import PRECISIONS, log_widened
from mft_engine.network.activations import Activation
from mft_engine.rng import Stream, host_generator
from mft_engine.slices import finished, telling

# Acceptance at which trajectories of leapfrog steps move fastest.
TARGET_ACCEPTANCE = 0.7
# Rows that are moved together: their features stay in a core's cache.
BLOCK_ROWS = 1024
# Rows whose tilt is taken at once: a matrix of them stays in a core's own cache; of fewer rows calls cost more.
CACHED_NUMBERS = 131_072
FEWEST_ROWS = 128
# The same on an accelerator, which wants to be filled.
NUMBERS_ON_ACCELERATOR = 2**25
# Power of the part of a way that is behind by which it narrows to the prior.
WIDE_POWER = 2
# A population is resampled where its weights leave less than this share of its particles worth something.
RESAMPLED_BELOW = 0.7
MAX_RUNGS = 2000


class LawLost(ArithmeticError):
    """The particles cannot follow the law any more; the message says what would help."""


def _numbers_on_accelerator(device: torch.device) -> int:
    return 0 if device == host_device() else NUMBERS_ON_ACCELERATOR


def _numbers_together(device: torch.device) -> int:
    return max(CACHED_NUMBERS, _numbers_on_accelerator(device))


@dataclass(frozen=True)
class TiltedLaw:
    """A law p(u) ~ N(0, I) exp(tilt(u)) in units of the prior.

    Attributes:
        inputs: (n_points, n_inputs) sqrt(T / lambda_w) x, so that w.x = u.inputs.
        activation: phi.
        drive: (n_points, n_out) B.
        widening: power to which the wider prior's density over the prior's enters (`log_widened`): 1 where a way begins
            at the wider one, 0 of the law itself.
    """

    inputs: Tensor
    activation: Activation
    drive: Tensor
    widening: float = 0.0

    @property
    def variance(self) -> float:
        """In units of the prior."""
        return 1.0

    def features(self, u: Tensor) -> Tensor:
        """(n, n_points) phi(w.x_mu)."""
        return self.activation.phi(u @ self.inputs.T)

    @one_thread()
    def field(self, u: Tensor) -> Tensor:
        """(n, n_out) the field in units in which its square is the tilt."""
        n_rows = max(BLOCK_ROWS, _numbers_on_accelerator(u.device) // len(self.inputs))
        blocks = [self.features(u[k : k + n_rows]) @ self.drive for k in range(0, len(u), n_rows)]
        return torch.cat(blocks)

    def log_tilt(self, u: Tensor) -> Tensor:
        """(n,) float64 the tilt of each particle."""
        return self.way_to(self, u)(0.0)

    def tilt(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The tilt of each particle in units of the prior, (n,), and its gradient, (n, n_inputs)."""
        tilt, gradient, back = w.new_empty(len(w)), torch.empty_like(w), 2.0 * self.drive.T
        n_rows = max(FEWEST_ROWS, _numbers_together(w.device) // len(self.inputs))
        for k in range(0, len(w), n_rows):
            rows = slice(k, k + n_rows)
            phi, pull = self.activation.linearised(w[rows] @ self.inputs.T)
            field = phi @ self.drive
            torch.mm(pull(field @ back), self.inputs, out=gradient[rows])
            tilt[rows] = field.square_().sum(1)
        if self.widening:
            wider, outward = log_widened(w)
            tilt.add_(wider, alpha=self.widening)
            gradient.addcmul_(w, outward[:, None], value=self.widening)
        return tilt, gradient

    def _widening_to(self, other: TiltedLaw, part: float) -> float:
        return self.widening + part**WIDE_POWER * (other.widening - self.widening)

    def towards(self, other: TiltedLaw, part: float) -> TiltedLaw:
        """The law whose field is (1 - part) of this one's plus part of the other's."""
        widening = self._widening_to(other, part)
        if self.inputs is other.inputs:
            drive = (1 - part) * self.drive + part * other.drive
            return replace(self, drive=drive, widening=widening)
        if part == 0.0 or part == 1.0:
            return self if part == 0.0 else other
        inputs = torch.cat([self.inputs, other.inputs])
        drive = torch.cat([(1 - part) * self.drive, part * other.drive])
        return TiltedLaw(inputs, self.activation, drive, widening)

    def way_to(self, other: TiltedLaw, u: Tensor) -> Callable[[float], Tensor]:
        """part -> (n,) float64 the tilt of each particle so far on the way to the other law (`towards`)."""
        start = self.field(u)
        end = start if other is self else other.field(u)
        wider = log_widened(u)[0].double() if self.widening or other.widening else 0.0

        def tilt(part: float) -> Tensor:
            field = torch.lerp(start, end, part)
            return (field * field).sum(1).double() + self._widening_to(other, part) * wider

        return tilt


@dataclass(frozen=True)
class Particles:
    """Populations of weighted particles.

    Attributes:
        u: (n_populations * n, n_inputs), population by population, in units of the prior.
        log_weights: (n_populations, n) float64, of total weight 1 in every population.
        log_z: (n_populations,) float64, log of each population's estimate of Z.
        log_z_back: (n_populations,) float64, the same from reweighting each new population to the law before it.
        log_step: of the leapfrog steps; acceptance: of the last moves.
        seed, n_moves: of the randomness, whose counter is the number of moves made.
        jumps: whole neurons that are proposed after every trajectory, fitted to other particles; None: none.
    """

    u: Tensor
    log_weights: Tensor
    log_z: Tensor
    log_z_back: Tensor
    log_step: float
    acceptance: float
    seed: int
    n_moves: int
    jumps: Jumps | None = None

    @property
    def n_populations(self) -> int:
        """Populations that never exchanged anything."""
        return self.log_weights.shape[0]

    @property
    def n_each(self) -> int:
        """Particles of one population."""
        return self.log_weights.shape[1]

    @property
    def mean_log_z(self) -> float:
        """log of the mean of the populations' estimates of Z."""
        return float(torch.logsumexp(0.5 * (self.log_z + self.log_z_back), 0)) - math.log(self.n_populations)

    @property
    def shares(self) -> Tensor:
        """(n_populations,) of total 1: a population counts by its estimate of Z."""
        return torch.softmax(0.5 * (self.log_z + self.log_z_back), 0)

    @property
    def probabilities(self) -> Tensor:
        """(n_populations * n,) float64 of total 1."""
        return (self.log_weights.exp() * self.shares[:, None]).ravel()

    def some(self, populations: slice) -> Particles:
        """Some of the populations."""
        chosen = torch.arange(self.n_populations, device=self.u.device)[populations]
        u = self.u.reshape(self.n_populations, self.n_each, -1)[chosen].flatten(0, 1)
        parts = (self.log_weights[chosen], self.log_z[chosen], self.log_z_back[chosen])
        return replace(self, u=u, log_weights=parts[0], log_z=parts[1], log_z_back=parts[2])


def prior_particles(
    n_inputs: int,
    n_populations: int,
    n: int,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    is_wide: bool = False,
) -> Particles:
    """Independent draws, of equal weights, of the prior or of the wider one (`log_widened`); Z = 1."""
    u = host_generator(seed, Stream.THEORY, 0).standard_normal((n_populations * n, n_inputs))
    if is_wide:
        u /= np.sqrt(np.resize(PRECISIONS, len(u)))[:, None]
    zero = torch.zeros(n_populations, dtype=torch.float64, device=device)
    return Particles(
        u=torch.as_tensor(u, dtype=dtype, device=device),
        log_weights=zero[:, None].repeat(1, n) - math.log(n),
        log_z=zero,
        log_z_back=zero,
        log_step=math.log(0.3),
        acceptance=TARGET_ACCEPTANCE,
        seed=seed,
        n_moves=0,
    )


def effective_share(particles: Particles) -> float:
    """Smallest effective number of particles of a population over their number."""
    return float(torch.exp(-torch.logsumexp(2 * particles.log_weights, 1)).min()) / particles.n_each


def reweighted(particles: Particles, change: Tensor) -> Particles:
    """The same particles under a law whose tilt is larger by `change`, (n_populations * n,)."""
    log_weights = particles.log_weights + change.double().reshape(particles.log_weights.shape)
    total = torch.logsumexp(log_weights, 1)
    return replace(
        particles,
        log_weights=log_weights - total[:, None],
        log_z=particles.log_z + total,
        log_z_back=particles.log_z_back + total,
    )


def counted_back(particles: Particles, change: Tensor, before: Tensor) -> Particles:
    """Count Z the other way.

    Args:
        particles: after they have moved under the new law; change: its tilt minus the old one's.
        before: (n_populations,) `log_z_back` under the old law.
    """
    back = torch.logsumexp(particles.log_weights - change.double().reshape(particles.log_weights.shape), 1)
    return replace(particles, log_z_back=before - back)


def resampled(particles: Particles) -> Particles:
    """Populations with poor weights get equal ones: systematic resampling, each within itself."""
    poor = torch.exp(-torch.logsumexp(2 * particles.log_weights, 1)) < RESAMPLED_BELOW * particles.n_each
    if not bool(poor.any()):
        return particles
    n, device = particles.n_each, particles.u.device
    generator = host_generator(particles.seed, Stream.THEORY, 2 * particles.n_moves + 1)
    starts = torch.as_tensor(generator.random((particles.n_populations, 1)), device=device)
    total = torch.cumsum(particles.log_weights.exp(), 1)
    marks = (torch.arange(n, device=device) + starts) / n * total[:, -1:]
    chosen = torch.searchsorted(total, marks).clamp(max=n - 1)
    chosen = torch.where(poor[:, None], chosen, torch.arange(n, device=device))
    rows = (chosen + n * torch.arange(particles.n_populations, device=device)[:, None]).ravel()
    log_weights = torch.where(poor[:, None], torch.full_like(total, -math.log(n)), particles.log_weights)
    return replace(particles, u=particles.u[rows], log_weights=log_weights)


def drawn_from(particles: Particles, n: int, generator: np.random.Generator, seed: int) -> Particles:
    """One population of n particles of equal weight, drawn systematically and in random order.

    Args:
        n: how many; generator: of the draw; seed: of the moves to come.
    """
    weights = particles.probabilities
    order = torch.as_tensor(generator.permutation(len(weights)), device=weights.device)
    total = torch.cumsum(weights[order], 0)
    marks = (torch.arange(n, dtype=torch.float64, device=total.device) + generator.random()) / n * total[-1]
    rows = order[torch.searchsorted(total, marks).clamp(max=len(order) - 1)]
    rows = rows[torch.as_tensor(generator.permutation(n), device=rows.device)]
    single = torch.zeros(1, dtype=torch.float64, device=rows.device)
    return replace(
        particles, u=particles.u[rows], log_weights=single.repeat(1, n), log_z=single, log_z_back=single, seed=seed
    )


def moved(particles: Particles, law: Tilted, n_moves: int) -> Particles:
    """`moving` to its end."""
    return finished(moving(particles, law, n_moves))


def moving(particles: Particles, law: Tilted, n_moves: int) -> Generator[None, None, Particles]:
    """The particles after so many Hamiltonian moves, which leave the law as it is; in slices of some milliseconds.

    The step size follows the acceptance. Blocks of rows are moved by a team of threads, each with its own numbers, so
    that the result is the same for any number of threads.
    """
    u, size = particles.u.clone(), math.exp(particles.log_step)
    starts = range(0, u.shape[0], BLOCK_ROWS)

    def drawn(numbers: Sequence[int]) -> Numbers:
        generators = [
            host_generator(particles.seed + (number << 32), Stream.THEORY, 2 * particles.n_moves + 2)
            for number in numbers
        ]
        return Numbers(generators, [len(u[starts[number] : starts[number] + BLOCK_ROWS]) for number in numbers], u)

    def work(number: int) -> Generator[None, None, int]:
        rows = slice(starts[number], starts[number] + BLOCK_ROWS)
        u[rows], n_accepted = yield from trajectories(u[rows], law, n_moves, size, drawn([number]), particles.jumps)
        return n_accepted

    if u.device == host_device():
        n_accepted = sum((yield from in_team(work, len(starts), u.device)))
    else:  # one by one the blocks would keep a device waiting
        every = drawn(range(len(starts)))
        u, n_accepted = yield from trajectories(u, law, n_moves, size, every, particles.jumps)
    acceptance = n_accepted / (n_moves * u.shape[0])
    log_step = particles.log_step + float(np.clip(acceptance - TARGET_ACCEPTANCE, -0.35, 0.35))
    return replace(particles, u=u, log_step=log_step, acceptance=acceptance, n_moves=particles.n_moves + n_moves)


def follow(
    particles: Particles, path: Sequence[TiltedLaw], n_moves: int, kept_share: float
) -> Generator[float, None, Particles]:
    """Lead particles of path[0] along a path of laws that does not depend on them.

    Between two laws the field goes in a straight line, in steps that leave `kept_share` of the particles worth
    something; after each step they are resampled where poor, and moved.

    Yields:
        share of the path behind.

    Returns:
        the particles at its end.

    Raises:
        LawLost: more than MAX_RUNGS steps.
    """
    n_rungs = 0
    for number, (first, second) in enumerate(itertools.pairwise(path)):
        done, tilt = 0.0, first.way_to(second, particles.u)
        while done < 1.0:
            step, present, least = 1.0 - done, tilt(done), kept_share * effective_share(particles)
            while True:
                trial = reweighted(particles, tilt(done + step) - present)
                left = effective_share(trial)
                if left >= least or step < 1e-6:
                    break
                step /= 1.3
            before, done = done, 1.0 if done + step > 1.0 - 1e-9 else done + step
            n_rungs += 1
            if n_rungs > MAX_RUNGS or not math.isfinite(left):
                raise LawLost("The particles cannot follow the law of a neuron here; a higher temperature helps")
            old_count = particles.log_z_back
            job = moving(resampled(trial), first.towards(second, done), n_moves)
            particles = yield from telling(job, (number + before) / (len(path) - 1))
            tilt = first.way_to(second, particles.u)
            particles = counted_back(particles, tilt(done) - tilt(before), old_count)
            yield (number + done) / (len(path) - 1)
    return particles


def led(particles: Particles, first: TiltedLaw, second: TiltedLaw, n_steps: int) -> Generator[None, None, Particles]:
    """Particles of one law under a neighbouring one: so many equal steps of the field, and a move after each."""
    for number in range(n_steps):
        tilt = first.way_to(second, particles.u)
        change = tilt((number + 1) / n_steps) - tilt(number / n_steps)
        law = first.towards(second, (number + 1) / n_steps)
        particles = yield from moving(resampled(reweighted(particles, change)), law, 1)
    return particles


def lingering(
    particles: Particles, law: TiltedLaw, n_moves: int, n_moments: int
) -> Generator[float, None, tuple[Particles, Particles]]:
    """Particles that stay under their law, and all of their moments together.

    A move costs a small part of the way from the prior, and a population that has moved is nearly a new one: its means
    are known better, while the populations remain as independent as they were.

    Yields:
        share of the moments behind.

    Returns:
        the last moment alone, and all moments as populations that are n_moments times larger.
    """
    moments, weights = [], particles.log_weights
    for number in range(n_moments):
        particles = yield from telling(moving(particles, law, n_moves), number / n_moments)
        moments.append(particles.u.reshape(particles.n_populations, particles.n_each, -1))
    together = replace(
        particles,
        u=torch.cat(moments, 1).flatten(0, 1),
        log_weights=weights.repeat(1, n_moments) - math.log(n_moments),
    )
    return particles, together
