"""Solve the infinite-width problem by particles: an answer that improves while one waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mft_engine.laws.particles import Particles, TiltedLaw, follow, prior_particles
from mft_engine.theory.particle_theory import CLOSE, ParticleTheory, Round, TestPoints, observables, report
from mft_engine.theory.particles import N_MOVES, N_SETTLING, Witnesses, averaged, settle, walk
from mft_engine.theory.sampled_dual import PointProblem

N_PARTICLES = 8000
# Populations of one replicate; two replicates give an error with seven degrees of freedom.
POPULATIONS_EACH = 4
WALKERS = 4
# Effective share of the particles that a step of the witnesses leaves.
KEPT_ON_WAY = 0.7
# Rounds of witnesses without a wanted precision, and with one.
N_ROUNDS = 3
MOST_ROUNDS = 12


def solve_particles(
    problem: PointProblem,
    *,
    seed: int = 0,
    n_particles: int = 0,
    n_replicates: int = 2,
    precision: float | None = None,
    seconds: float | None = None,
    warm: ParticleTheory | None = None,
    test: TestPoints | None = None,
    n_relevant: int = 0,
) -> Iterator[float | ParticleTheory]:
    """Solve the infinite-width problem of one hidden layer on points.

    Args:
        problem: points, targets, penalties.
        seed: of all randomness.
        n_particles: witnesses of one round (0: N_PARTICLES); n_replicates: groups they come in, at least 2.
        precision: wanted standard error of the loss: rounds go on until it is reached, MOST_ROUNDS at most.
        seconds: no new round begins after so long; the answer then depends on the machine's speed.
        warm: the solution of a neighbouring problem with as many inputs and readouts; else ignored.
        test: what else the function is judged by.
        n_relevant: the target depends on the first so many inputs alone (0: not known), for the overlap.

    Yields:
        share of the present round behind; a `ParticleTheory` after every round, each better than the last.

    Raises:
        LawLost: the particles cannot follow the law at all.
    """
    begin = time.perf_counter()
    n_populations = POPULATIONS_EACH * max(2, n_replicates)
    n_populations += n_populations % 2
    n_each = max(64, (n_particles or N_PARTICLES) // n_populations)

    def fresh(number: int, populations: int) -> Particles:
        own = seed + (number << 48)
        return prior_particles(
            problem.inputs.shape[1], populations, n_each, seed=own, device=problem.inputs.device, dtype=problem.dtype
        )

    rounds: list[Round] = []

    def told(laws: tuple[TiltedLaw, ...]) -> ParticleTheory:
        elapsed = time.perf_counter() - begin
        return report(problem, rounds, laws, n_replicates, elapsed, precision)

    def judged(particles: Particles, rho: Tensor) -> None:
        witnesses = Witnesses(problem, particles, rho)
        rounds.append((witnesses.judge(), observables(witnesses, test, n_relevant)))

    if warm is not None and _is_neighbour(warm, problem):
        laws = yield from _warm_start(problem, warm, judged)
    else:
        residuals: tuple[Tensor, ...] = ()
        for item in walk(problem, fresh(0, min(WALKERS, n_populations))):
            if isinstance(item, float):
                yield 0.4 * item
            else:
                residuals = item
        laws = tuple(problem.law(rho) for rho in residuals)
        particles = yield from _part(follow(fresh(1, n_populations), laws, N_MOVES, KEPT_ON_WAY), 0.4, 0.6)
        judged(particles, residuals[-1])
    answer = told(laws)
    yield answer
    number = 2
    while _goes_on(answer, problem.temperature, precision, seconds, number - 1):
        last, tail = rounds[-1][0], []
        for rho in settle(problem, last.particles, last.rho):
            tail.append(rho)
            yield 0.3 * len(tail) / N_SETTLING
        rho = averaged(tail)
        laws = (*laws[:-1], problem.law(rho))
        particles = yield from _part(follow(fresh(number, n_populations), laws, N_MOVES, KEPT_ON_WAY), 0.3, 0.7)
        judged(particles, rho)
        number += 1
        answer = told(laws)
        yield answer


def _goes_on(
    found: ParticleTheory, temperature: float, precision: float | None, seconds: float | None, n_rounds: int
) -> bool:
    if seconds is not None:
        return found.seconds < seconds and (precision is None or bool(found.shortfall) or found.loss_error > precision)
    if precision is not None:
        return n_rounds < MOST_ROUNDS and (found.loss_error > precision or found.excess > CLOSE * temperature)
    return n_rounds < N_ROUNDS and not found.excess <= CLOSE * temperature


def _is_neighbour(warm: ParticleTheory, problem: PointProblem) -> bool:
    old = warm.problem
    return (
        old.inputs.shape[1] == problem.inputs.shape[1]
        and old.targets.shape[1] == problem.targets.shape[1]
        and old.activation.name == problem.activation.name
        and old.dtype == problem.dtype
        and not warm.shortfall
    )


def _warm_start(
    problem: PointProblem, warm: ParticleTheory, judged: Callable[[Particles, Tensor], None]
) -> Generator[float, None, tuple[TiltedLaw, ...]]:
    """Each half of the old particles finds a residual, to which the other half bears witness."""
    old = warm.laws[-1]
    inputs = problem.inputs.cpu().numpy()
    guess = problem.targets - torch.as_tensor(warm.prediction(inputs), device=problem.inputs.device)
    near = problem.law(problem.root_weights * guess)
    particles = warm.judgement.particles
    half = particles.n_populations // 2
    parts = particles.some(slice(half)), particles.some(slice(half, None))
    laws = warm.laws
    for number in (0, 1):
        # Halves had one counter: other seeds keep their numbers apart.
        settlers = replace(parts[number], seed=particles.seed + ((2 * number + 1) << 52))
        witnesses = replace(parts[1 - number], seed=particles.seed + ((2 * number + 2) << 52))
        settled = yield from _part(follow(settlers, (old, near), N_MOVES, KEPT_ON_WAY), 0.5 * number, 0.15)
        tail: list[Tensor] = []
        for rho in settle(problem, settled, problem.root_weights * guess):
            tail.append(rho)
            yield 0.5 * number + 0.15 + 0.2 * len(tail) / N_SETTLING
        rho = averaged(tail)
        laws = (*warm.laws, near, problem.law(rho))
        way = follow(witnesses, (old, near, laws[-1]), N_MOVES, KEPT_ON_WAY)
        arrived = yield from _part(way, 0.5 * number + 0.35, 0.15)
        judged(arrived, rho)
    return laws


def _part(job: Generator[float, None, Particles], start: float, length: float) -> Generator[float, None, Particles]:
    """A job whose progress is a part of a longer one's."""
    while True:
        try:
            yield start + length * next(job)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
