"""Solve the infinite-width problem by particles: an answer that improves while one waits."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.laws.jumps import Jumps, fitted_jumps
from mft_engine.laws.particles import Particles, TiltedLaw, follow, lingering, prior_particles
from mft_engine.laws.wells import climbed, drawn_around
from mft_engine.rng import Stream, host_generator
from mft_engine.slices import relayed, telling
from mft_engine.theory.particle_theory import AGREED, CLOSE, FAR, ParticleTheory, Round, TestPoints, observables, report
from mft_engine.theory.particles import N_MOVES, Walked, Witnesses, newton_gain, settle, walk
from mft_engine.theory.sampled_dual import PointProblem
from mft_engine.theory.well_solver import (
    N_DRAWN,
    N_POPULATIONS,
    N_SCOUTINGS,
    N_WALKERS,
    NEXT_CLIMB,
    Settled,
    approach,
    average,
    can_list_wells,
    listed,
    scouted,
)

Found = TypeVar("Found")

N_PARTICLES = 8000
# Populations of one replicate on long ways and on short ones; two replicates give an error with six or fourteen degrees
# of freedom: of six, one in fourteen numbers is beyond two errors however well they are made.
POPULATIONS_EACH, POPULATIONS_SHORT = 4, 8
# Effective share of the particles that a step of the witnesses leaves.
KEPT_ON_WAY = 0.8
KEPT_ON_LONG_WAY = 0.98
# Parts of the usual settling after which walkers on short ways have learnt better where the wells lie.
RESETTLED = (0.5,)
# Moments of the witnesses at their end that are averaged, and numbers that their features may be.
MOST_MOMENTS = 16
MOST_FEATURES = 16_000_000
# Unknowns above which wells are listed, where they can be: four particles each, as many as are usual.
MANY_UNKNOWNS = 1500
# Rounds of witnesses without a wanted precision, and with one.
N_ROUNDS = 3
# Part of the loss to which its error brings the rounds to an end, where no precision was asked for.
USUAL_PRECISION = 0.015
MOST_ROUNDS = 12
# Gap over the target's variance below which no further round is made for its sake.
USUAL_GAP = 0.02


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
    wanted = n_particles or N_PARTICLES
    # Where unknowns are many the way is long: its noise counts. On short ways narrow wells are what matters. From the
    # prior those far out, which hold a few per cent at the end and nothing on the way, are missed by most populations
    # (by all of eight, as often as not), so that witnesses come from a wider one; and those whose entrance is narrow
    # are entered by jumps that know from the walkers where they lie.
    is_long = newton_gain(problem, wanted) < 1.0
    n_populations = (POPULATIONS_EACH if is_long else POPULATIONS_SHORT) * max(2, n_replicates)
    n_each = max(64, wanted // n_populations)
    if problem.visible_target.numel() > MANY_UNKNOWNS and can_list_wells(problem):
        n_drawn = max(N_DRAWN, n_particles)
        yield from _solve_around_wells(problem, seed, n_drawn, n_populations, precision, seconds, warm, test)
        return

    def fresh(number: int, is_wide: bool = False, jumps: Jumps | None = None) -> Particles:
        own, device = seed + (number << 48), problem.inputs.device
        shape = problem.inputs.shape[1], n_populations, n_each
        particles = prior_particles(*shape, seed=own, device=device, dtype=problem.dtype, is_wide=is_wide)
        return replace(particles, jumps=jumps)

    way = (1, KEPT_ON_LONG_WAY) if is_long else (N_MOVES, KEPT_ON_WAY)
    rounds: list[Round] = []
    wide = replace(problem.law(torch.zeros_like(problem.visible_target)), widening=0.0 if is_long else 1.0)
    jumps: Jumps | None = None

    def judged(witnesses: Particles, start: TiltedLaw, rho: Tensor) -> Generator[float, None, Particles]:
        """Witnesses under one law are led to that of rho, and judge."""
        led = yield from _part(follow(witnesses, (start, problem.law(rho)), *way), 0.4, 0.5)
        job = lingering(led, problem.law(rho), N_MOVES, _n_moments(problem, len(led.u)))
        last, together = yield from _part(job, 0.9, 0.1)
        seen = Witnesses(problem, together, rho)
        rounds.append((seen.judge(), observables(seen, test, n_relevant)))
        return last

    def told(witnesses: Particles, cloud: tuple[Tensor, Particles]) -> ParticleTheory:
        elapsed = time.perf_counter() - begin
        return report(problem, rounds, witnesses, cloud, n_replicates, elapsed, precision)

    if warm is not None and _is_neighbour(warm, problem):
        rho, old = _carried(problem, warm), warm.problem
        path = old.law(warm.cloud_rho), problem.law(rho)
        walkers = yield from _part(follow(replace(warm.cloud, seed=seed), path, *way), 0.0, 0.1)
        walked = yield from _walked(walk(problem, walkers, rho))
        start, witnesses = old.law(warm.judgements[-1].rho), replace(warm.witnesses, seed=seed + (1 << 48))
    else:
        walked = yield from _walked(walk(problem, fresh(0)))
        start, witnesses = wide, fresh(1, not is_long)
    for effort in () if is_long else RESETTLED:
        jumps = _jumps_to(problem, walked, seed)
        knowing = replace(walked.particles, jumps=jumps)
        walked = yield from _walked(settle(problem, knowing, walked.rho, 0.9, effort))
    if not is_long:
        jumps = _jumps_to(problem, walked, seed)
        witnesses = replace(witnesses, jumps=jumps)
    cloud, rho = (walked.rho, walked.particles), walked.mean
    witnesses = yield from judged(witnesses, start, rho)
    answer = told(witnesses, cloud)
    yield answer
    # What every group of particles settles on by itself: their mean comes nearer the optimum with each. Where it is
    # near, but bent so far by few particles that the gap is wide, what the witnesses found is judged instead.
    settled, number = [rho], 2
    while _goes_on(answer, precision, seconds, number - 1):
        excess = rounds[-1][0].excess.value
        if excess <= CLOSE * problem.temperature and _is_wide(answer):
            rho = answer.visible_residual
        else:
            walked = yield from _walked(settle(problem, witnesses, rho))
            cloud = (walked.rho, walked.particles)
            if excess > FAR * problem.temperature:
                settled.clear()
            settled.append(walked.mean)
            rho = torch.stack(settled).mean(0)
        witnesses = yield from judged(fresh(number, not is_long, jumps), wide, rho)
        number += 1
        answer = told(witnesses, cloud)
        yield answer


def _solve_around_wells(
    problem: PointProblem,
    seed: int,
    n_drawn: int,
    n_populations: int,
    precision: float | None,
    seconds: float | None,
    warm: ParticleTheory | None,
    test: TestPoints | None,
) -> Iterator[float | ParticleTheory]:
    """`solve_particles` where unknowns and wells are as many as particles."""
    begin = time.perf_counter()
    if warm is not None and _is_neighbour(warm, problem):
        rho, near = _carried(problem, warm), warm.cloud
    else:
        shape = problem.inputs.shape[1], N_POPULATIONS, N_WALKERS // N_POPULATIONS
        walkers = prior_particles(*shape, seed=seed, device=problem.inputs.device, dtype=problem.dtype)
        walked = yield from _walked(walk(problem, walkers))
        rho, near = walked.mean, walked.particles
    wells = yield from _part(listed(problem, rho, near), 0.2, 0.1)
    found, ends = Settled(rho, wells), list[Tensor]()
    rounds: list[Round] = []
    while True:
        number = len(rounds)
        own = seed + ((2 * number + 1) << 48)
        for scouting in range(0 if rounds else N_SCOUTINGS):
            begun, part = 0.3 + 0.2 * scouting, own + (scouting << 44)
            found = yield from _part(approach(problem, found, seed=part), begun, 0.15)
            found = yield from _part(scouted(problem, found, seed=part), begun + 0.15, 0.05)
        found = yield from _part(approach(problem, found, seed=own + (1 << 40)), 0.7, 0.1)
        found = yield from _part(average(problem, found, seed=own + (3 << 40)), 0.8, 0.1)
        ends.append(found.rho)
        rho = torch.stack(ends).mean(0)
        law = problem.law(rho)
        wells = yield from _part(telling(climbed(law, found.wells.modes, NEXT_CLIMB), 0.0), 0.9, 0.0)
        drawn = drawn_around(wells, law, n_populations, n_drawn // n_populations, seed=own + (2 << 40))
        witnesses = yield from _part(telling(drawn, 0.0), 0.9, 0.1)
        seen = Witnesses(problem, witnesses, rho)
        rounds.append((seen.judge(), observables(seen, test, 0)))
        elapsed = time.perf_counter() - begin
        answer = report(
            problem, rounds, witnesses, (rho, witnesses), n_populations // POPULATIONS_EACH, elapsed, precision
        )
        # Of a well that is not listed the residual does not know how deep it has made it.
        unseen = problem.temperature * found.missing
        answer = replace(answer, free_energy_error=math.hypot(answer.free_energy_error, unseen))
        yield answer
        if not _goes_on(answer, precision, seconds, len(rounds)):
            return


def _jumps_to(problem: PointProblem, walked: Walked, seed: int) -> Jumps | None:
    """Proposals about the wells of some walkers, and about what the symmetries make of them."""
    u, tilt = to_host(walked.particles.u.double()), problem.law(walked.rho).log_tilt(walked.particles.u)
    if problem.orbits is not None:
        generator = host_generator(seed, Stream.THEORY, 2**46)
        u = problem.orbits.scattered(np.concatenate([u, np.zeros((len(u), 1))], axis=1), generator)[:, :-1]
    weights = to_host(walked.particles.probabilities * tilt)
    return fitted_jumps(u, weights, seed=seed, device=problem.inputs.device, dtype=problem.dtype)


def _is_wide(found: ParticleTheory) -> bool:
    """Whether the gap is large, and not by chance.

    Of one readout: to the gap of many each unknown adds its noise, and it stays at some per cent where the step to the
    optimum is known well (modular addition).
    """
    is_large = found.gap > USUAL_GAP * found.target_variance and found.gap > 2 * found.gap_error
    return is_large and found.n_out == 1


def _goes_on(found: ParticleTheory, precision: float | None, seconds: float | None, n_rounds: int) -> bool:
    is_close = found.excess <= CLOSE * found.problem.temperature
    if found.population_share < AGREED and is_close:  # more rounds of the same would not agree either
        return False
    if seconds is not None:
        return found.seconds < seconds and (precision is None or bool(found.shortfall) or found.loss_error > precision)
    if precision is not None:
        return n_rounds < MOST_ROUNDS and (found.loss_error > precision or not is_close)
    is_known = not found.shortfall and found.loss_error <= USUAL_PRECISION * found.loss
    return n_rounds < N_ROUNDS and (not (is_close or is_known) or (is_close and _is_wide(found)))


def _is_neighbour(warm: ParticleTheory, problem: PointProblem) -> bool:
    old = warm.problem
    return (
        old.inputs.shape[1] == problem.inputs.shape[1]
        and old.targets.shape[1] == problem.targets.shape[1]
        and old.activation.name == problem.activation.name
        and old.dtype == problem.dtype
        and not warm.shortfall
    )


def _walked(job: Iterator[float | Walked]) -> Generator[float, None, Walked]:
    for item in job:
        if isinstance(item, Walked):
            return item
        yield 0.4 * item
    raise AssertionError("a walk ends with where it led")


def _carried(problem: PointProblem, warm: ParticleTheory) -> Tensor:
    """(n_unknowns, n_out) the residual whose law is the old one as far as points have stayed; zero on new points."""
    old = warm.problem
    known = {row.tobytes(): k for k, row in enumerate(old.inputs.cpu().numpy())}
    places = [known.get(row.tobytes(), -1) for row in problem.inputs.cpu().numpy()]
    stays = torch.tensor([place >= 0 for place in places], device=problem.inputs.device)
    # The law knows weight x r / sqrt(lambda_a T) alone.
    size = math.sqrt(problem.lambda_a * problem.temperature / (old.lambda_a * old.temperature))
    residual = size * (old.weights[:, None] * old.on_points(warm.cloud_rho))[places] / problem.weights[:, None]
    return problem.visible(torch.where(stays[:, None], residual, torch.zeros_like(residual)))


def _n_moments(problem: PointProblem, n: int) -> int:
    """Moments of n particles that are kept: what makes a product with C take a few hundredths of a second."""
    return min(MOST_MOMENTS, max(1, MOST_FEATURES // (n * problem.visible_target.numel())))


def _part(job: Generator[float, None, Found], start: float, length: float) -> Generator[float, None, Found]:
    """A job whose progress is a part of a longer one's."""
    return relayed(job, lambda done: start + length * done)
