"""Solve the infinite-width problem where unknowns are as many as particles and wells as many as either.

A walk (`mft_engine.theory.particles`) then ends short of the optimum: by chance it has few particles in many wells, and
none in some, and of a well without particles the residual never learns how deep it has made it. Here the wells are
listed, by climbing from all particles and from their images under the symmetries that a complete table of data would
have; Newton's steps are taken on particles drawn around all wells afresh, so that no step answers its own noise, and a
step that leaves the free energy lower is shortened. Particles that come from the prior alone (scouts) find wells that
are missing on the list, and say how much they hold.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mft_engine.laws.particles import LawLost, Particles, follow, prior_particles
from mft_engine.laws.wells import (
    Wells,
    climbed,
    distinct,
    drawn_around,
    has_mirrors,
    is_new,
    joined,
    truncated,
)
from mft_engine.slices import telling
from mft_engine.theory.sampled_dual import PointProblem, SampledDual

# Particles of the walk and of the scouts; of a step on the way, and of one that enters an average.
N_WALKERS = 4000
N_SCOUTS = 4000
N_SCOUTINGS = 2
N_ON_WAY = 10_000
N_DRAWN = 16_000
N_POPULATIONS = 8
# Newton's steps from a start, and from a wells' law a step away.
FIRST_CLIMB, NEXT_CLIMB = 25, 4
# Share of the particles that a step leaves worth something, and shortening of one that led downwards.
KEPT_ON_STEP = 0.25
SHORTENED = 0.4
# Free energy, in units of T, by which a step may seem to lead downwards.
BY_CHANCE = 0.5
# The same below which an average is none.
MOST_BELOW = 10.0
# Parts of a step that are tried, each .8 of the one before.
N_PARTS = 25
# Particles of equal weight that an unknown takes for a whole step.
ENOUGH_EACH_UNKNOWN = 0.3
# Draws after which the end of an approach can be expected, and at most; draws in vain after which it is there.
USUAL_STEPS, MOST_STEPS, MOST_IN_VAIN = 15, 80, 4
# Steps of an average; the first two forget where they began.
N_AVERAGED = 8
# Effective share of the scouts that a step on their way leaves.
KEPT_BY_SCOUTS = 0.9
# Numbers that the roots of as many wells as unknowns may be.
MOST_NUMBERS = 100_000_000


@dataclass(frozen=True)
class Settled:
    """Where Newton's steps around the wells led.

    Attributes:
        rho: (n_unknowns, n_out) the residual; wells: of its law.
        missing: share of the law that the last scouts found in wells which were not listed until then.
    """

    rho: Tensor
    wells: Wells
    missing: float = 0.0


def can_list_wells(problem: PointProblem) -> bool:
    """Whether there are images to look for wells at, smooth wells, and room for their curvatures."""
    if problem.images is None or problem.activation.kinks or problem.orbits is not None:
        return False
    return problem.visible_target.numel() * problem.inputs.shape[1] ** 2 <= MOST_NUMBERS


def listed(problem: PointProblem, rho: Tensor, particles: Particles) -> Generator[float, None, Wells]:
    """The wells of the law of rho: what the particles climb to, and the highest one's images.

    Args:
        problem: with images; rho: (n_unknowns, n_out); particles: near that law.

    Yields:
        share behind.
    """
    law = problem.law(rho)
    mine = distinct((yield from telling(climbed(law, particles.u, FIRST_CLIMB), 0.2)), has_mirrors(law))
    assert problem.images is not None
    images = mine.modes[0][torch.as_tensor(problem.images(), device=mine.modes.device)]
    others = yield from telling(climbed(law, images, FIRST_CLIMB), 0.6)
    return distinct(joined((mine, others)), has_mirrors(law))


def approach(problem: PointProblem, start: Settled, *, seed: int) -> Generator[float, None, Settled]:
    """Newton's steps of the dual on particles drawn around the wells, until they are whole or lead no higher.

    Args:
        problem: the problem; start: a residual and the wells of its law, or of one nearby; seed: of the draws.

    Yields:
        share behind, as far as it can be known.

    Raises:
        LawLost: the optimum is not reached.
    """
    rho, wells, highest, n_vain = start.rho, start.wells, -math.inf, 0
    top = start
    by_chance = BY_CHANCE * problem.temperature
    for number in range(MOST_STEPS):
        job = _drawn(problem, rho, wells, N_ON_WAY, seed + (number << 24))
        wells, dual = yield from telling(job, min(1.0, number / USUAL_STEPS))
        value = dual.value()
        n_vain = 0 if value > highest + by_chance else n_vain + 1
        if n_vain > MOST_IN_VAIN:
            return top
        if value < highest - by_chance:
            rho = top.rho + SHORTENED * (rho - top.rho)
            continue
        if value > highest:
            highest, top = value, replace(start, rho=rho, wells=wells)
        newton, part = _newton(dual)
        if part == 1.0:
            return replace(start, rho=rho + newton, wells=wells)
        rho = rho + max(part, _best_part(problem, wells, rho, newton)) * newton
    raise LawLost("The steps to the optimum do not arrive; more particles or a higher temperature help")


def average(problem: PointProblem, start: Settled, *, seed: int) -> Generator[float, None, Settled]:
    """The mean of where steps from near the optimum lead: the k-th goes 1/k of its way (Robbins and Monro 1951).

    Args and yields as `approach`.
    """
    rho, wells, highest = start.rho, start.wells, -math.inf
    for number in range(N_AVERAGED):
        job = _drawn(problem, rho, wells, N_DRAWN, seed + (number << 24))
        wells, dual = yield from telling(job, number / N_AVERAGED)
        value = dual.value()
        if value < highest - MOST_BELOW * problem.temperature:
            raise LawLost("The residual does not settle about its optimum; more particles or a higher temperature help")
        highest = max(highest, value)
        newton, part = _newton(dual)
        rho = rho + part / max(1, number) * newton
    return replace(start, rho=rho, wells=distinct(wells, has_mirrors(problem.law(rho))))


def _drawn(
    problem: PointProblem, rho: Tensor, wells: Wells, n: int, seed: int
) -> Generator[None, None, tuple[Wells, SampledDual]]:
    """The wells of the law of rho, from those of one nearby, and the dual on so many particles around them."""
    law = problem.law(rho)
    wells = yield from climbed(law, wells.modes, NEXT_CLIMB)
    particles = yield from drawn_around(wells, law, N_POPULATIONS, n // N_POPULATIONS, seed=seed)
    return wells, SampledDual(problem, truncated(particles), rho)


def _newton(dual: SampledDual) -> tuple[Tensor, float]:
    """Newton's step, shorter where the particles are few, and the part of it to which they can be reweighted."""
    n_effective = float(1.0 / (dual.particles.probabilities**2).sum())
    share = n_effective / (ENOUGH_EACH_UNKNOWN * dual.rho.numel())
    newton = min(1.0, share) * dual.solve(dual.gradient())
    return newton, dual.largest_push(torch.zeros_like(newton), newton, 1.0, KEPT_ON_STEP)


def _best_part(problem: PointProblem, wells: Wells, rho: Tensor, step: Tensor) -> float:
    """Part of a step at which D is largest by Laplace's approximation, wells staying where they are.

    The particles are drawn afresh after it, so that it may go farther than they can be reweighted.
    """
    features = problem.features(wells.modes)
    field, along = (features @ direction.to(problem.dtype) for direction in (rho, step))
    scale = 2 * problem.lambda_a * problem.temperature
    present = (field**2).sum(1).double()

    def value(part: float) -> float:
        changed = rho + part * step
        tilt = ((field + part * along) ** 2).sum(1).double()
        log_z = float(torch.logsumexp(wells.log_weights + (tilt - present) / scale, 0))
        return problem.dual(changed, log_z)

    return max((0.8**k for k in range(N_PARTS)), key=value)


def scouted(problem: PointProblem, settled: Settled, *, seed: int) -> Generator[float, None, Settled]:
    """The same with the wells that particles find which come from the prior alone.

    Yields:
        share behind.
    """
    law, plain = problem.law(settled.rho), problem.law(torch.zeros_like(settled.rho))
    shape = problem.inputs.shape[1], N_POPULATIONS, N_SCOUTS // N_POPULATIONS
    scouts = prior_particles(*shape, seed=seed, device=problem.inputs.device, dtype=problem.dtype)
    scouts = yield from follow(scouts, (plain, law), 1, KEPT_BY_SCOUTS)
    more = yield from telling(climbed(law, scouts.u, FIRST_CLIMB), 1.0)
    missing = float(scouts.probabilities[is_new(more, settled.wells, has_mirrors(law))].sum())
    return Settled(settled.rho, distinct(joined((settled.wells, more)), has_mirrors(law)), missing)
