"""Exact infinite-width law of one hidden layer, by particles: a walk to the optimum, then independent witnesses.

The walk: the target goes from one whose optimum is known to the one that is asked for, y_s = y_0 + s (y - y_0): from
the prior y_0 = 0, from particles under another law y_0 = r + f_r, the target of which their residual r is the optimum.
At each step Newton's direction of the sampled dual, as far as the particles can be reweighted; then they are resampled
and moved. All particles share one residual, so that what one population has too much of, the residual takes away from
all. Its end r_0 is near the optimum, but its own particles say nothing honest about how near: the residual has fitted
their noise.

The witnesses: other populations led straight to the law of r_0, from the prior or from where they judged a neighbouring
problem. They had no part in r_0 and know nothing of each other. From them, every pair of a product from different
halves,

    r* = r_0 + H^-1 g,   D* = D(r_0) + <g, H^-1 g>/2,   |r*|^2 = |r_0|^2 + 2 <H^-1 r_0, g> + <H^-1 g, H^-1 g>
    gap = F(mu_(r_0)) - D(r_0) = |g|^2/2

with g = grad D(r_0), H = I + C/T: without the bias of a square, and with standard errors from the scatter of the
populations. log Z is counted on the way there and on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mft_engine.device import one_thread, to_host
from mft_engine.estimates import standard_error
from mft_engine.laws.particles import LawLost, Particles, led
from mft_engine.slices import telling
from mft_engine.theory.sampled_dual import PointProblem, SampledDual

# Share of the particles that a step of the walk leaves worth something, and the largest step over the target.
KEPT_ON_WALK = 0.8
LARGEST_STEP = 0.08
# Moves after a step on the way, and between moments that shall be nearly independent. Wells are left by reweighting
# alone, whose noise adds up as the squares of the steps do, so that smaller steps leave less of it (to 93 %: a
# quarter); but where few steps are made, far narrow wells are found by the moves alone, and are lost with one or two.
N_MOVES = 4
# Whole steps at full amplitude that forget the way, and residuals after them that make an average; up to so many times
# as many where the steps are parts. More of them would add up what each does to log Z.
N_FORGETTING = 2
N_AVERAGED = 8
LONGEST = 2.0
# Part of these that a warm start makes: its particles have settled with a neighbour's residual.
WARM_EFFORT = 0.5
MAX_STEPS = 400
# Particles that an unknown takes for whole Newton steps, and the smallest part of one.
EACH_UNKNOWN = 40.0
SMALLEST_GAIN = 0.1
# Products and tolerance of conjugate gradients where a large noise and the answer to it must cancel.
FINELY = (200, 0.002)


@dataclass(frozen=True)
class Walked:
    """Where a walk led.

    Attributes:
        mean: (n_unknowns, n_out) average of the residuals sqrt(weight) r about the optimum.
        rho, particles: the last moment: particles that share one residual and have settled with it.
    """

    mean: Tensor
    rho: Tensor
    particles: Particles


def walk(problem: PointProblem, particles: Particles, rho: Tensor | None = None) -> Iterator[float | Walked]:
    """The walk to the optimum.

    Args:
        problem: the problem; particles: under the law of the residual rho, (n_unknowns, n_out); None: the prior's.

    Yields:
        share of the walk behind, at last where it led.

    Raises:
        LawLost: the walk does not arrive.
    """
    effort = 1.0 if rho is None else WARM_EFFORT
    rho = torch.zeros_like(problem.visible_target) if rho is None else rho
    gain = newton_gain(problem, len(particles.u))
    amplitude, start = 0.0, rho + SampledDual(problem, particles, rho).output
    way = problem.visible_target - start
    largest = LARGEST_STEP * float(problem.visible_target.norm()) / max(float(way.norm()), 1e-300)
    for _ in range(MAX_STEPS):
        dual = SampledDual(problem, particles, rho)
        correction = gain * dual.solve(dual.gradient(start + amplitude * way))
        shortened = dual.largest_push(torch.zeros_like(rho), correction, 1.0, KEPT_ON_WALK)
        step = shortened * correction
        if shortened == 1.0 and amplitude < 1.0:
            forward = dual.solve(way)
            onward = dual.largest_push(step, forward, min(largest, 1.0 - amplitude), KEPT_ON_WALK)
            step, amplitude = step + onward * forward, amplitude + onward
            amplitude = 1.0 if amplitude > 1.0 - 1e-9 else amplitude
        job = led(particles, problem.law(rho), problem.law(rho + step), N_MOVES)
        particles, rho = (yield from telling(job, 0.9 * amplitude)), rho + step
        yield 0.9 * amplitude
        if amplitude == 1.0:
            break
    else:
        raise LawLost("The walk to the full target does not arrive; more particles or a higher temperature help")
    yield from settle(problem, particles, rho, 0.9, effort)


def newton_gain(problem: PointProblem, n_particles: int) -> float:
    """Part of Newton's step that is taken: 1 where the particles are many times as many as the unknowns.

    A step answers the particles' noise, and reweights them by how they happen to lie: each step makes log Z of the walk
    too small by about gain x unknowns / particles, and of one well more than of another. With a part of a step, and
    moves between, the residual sees the mean of several populations (Robbins and Monro 1951).
    """
    share = n_particles / (EACH_UNKNOWN * problem.visible_target.numel())
    return min(1.0, max(SMALLEST_GAIN, share))


def settle(
    problem: PointProblem, particles: Particles, rho: Tensor, begin: float = 0.0, effort: float = 1.0
) -> Iterator[float | Walked]:
    """Newton steps of the sampled dual with moves between them: to the optimum, then residuals about it.

    Args:
        effort: part of the usual number of steps.

    Yields:
        share of the way behind, from `begin` on; at last where it led.

    Raises:
        LawLost: the optimum is not reached.
    """
    gain = newton_gain(problem, len(particles.u))
    longer = effort * min(LONGEST, 1.0 / math.sqrt(gain))
    n_averaged = round(longer * N_AVERAGED)
    n_settling = round(longer * N_FORGETTING) + n_averaged
    tail: list[Tensor] = []
    for _ in range(MAX_STEPS):
        dual = SampledDual(problem, particles, rho)
        step = gain * dual.solve(dual.gradient())
        length = dual.largest_push(torch.zeros_like(rho), step, 1.0, KEPT_ON_WALK)
        job = led(particles, problem.law(rho), problem.law(rho + length * step), N_MOVES)
        particles = yield from telling(job, begin + (1 - begin) * len(tail) / (n_settling + 1))
        rho = rho + length * step
        if tail or length == 1.0:
            tail.append(rho)
        if len(tail) > n_settling:
            yield Walked(torch.stack(tail[-n_averaged:]).mean(0), rho, particles)
            return
    raise LawLost("The walk to the optimum does not arrive; more particles or a higher temperature help")


def coefficients(dual: SampledDual, step: Tensor) -> Tensor:
    """(n, n_out) by which a particle's feature enters f at rho + step, to first order in the step."""
    problem = dual.problem
    along = dual.features @ step.to(dual.field.dtype)
    shared = (dual.field * along).sum(1, keepdim=True) / (problem.lambda_a * problem.temperature)
    lost = float((dual.output * step).sum()) / problem.temperature
    return dual.p[:, None] / problem.lambda_a * (dual.field * (1.0 - lost) + along + dual.field * shared)


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error, and what each population adds to it.

    Attributes:
        value, error: the number, and the error from the scatter of the populations.
        parts: (n_populations,) deviations of the populations.
    """

    value: float
    error: float
    parts: Tensor


def estimate(value: float, parts: Tensor) -> Estimate:
    """A number whose error is that of the mean of the parts, which are deviations from the means of two halves."""
    return Estimate(value, standard_error(to_host(parts), 2), parts)


@dataclass(frozen=True)
class Judgement:
    """What independent populations at rho say of it and of the optimum.

    Attributes:
        rho: (n_unknowns, n_out) judged; step: to the optimum, H^-1 g.
        particles: the populations, under the law of rho.
        loss: |r*|^2; dual: D*; excess: D* - D(rho); gap: |g|^2/2; alignment: <y, f*>/|y|^2.
        log_z: of rho, by the way there and by the way back.
    """

    rho: Tensor
    step: Tensor
    particles: Particles
    loss: Estimate
    dual: Estimate
    excess: Estimate
    gap: Estimate
    alignment: float
    log_z: tuple[float, float]


class Witnesses:
    """Populations at a residual that they had no part in, in two halves whose noise is never multiplied with itself.

    Args:
        problem: the problem; particles: an even number of populations under the law of rho; rho: (n_unknowns, n_out).
    """

    @one_thread()
    def __init__(self, problem: PointProblem, particles: Particles, rho: Tensor) -> None:
        self.problem, self.particles, self.rho = problem, particles, rho
        half = particles.n_populations // 2
        self.halves = tuple(
            SampledDual(problem, particles.some(part), rho) for part in (slice(half), slice(half, None))
        )
        self.gradients = tuple(dual.gradient() for dual in self.halves)
        self.steps = tuple(dual.solve(g) for dual, g in zip(self.halves, self.gradients, strict=True))
        # The answer of one half to the other's gradient.
        self.answers = tuple(dual.solve(g, *FINELY) for dual, g in zip(self.halves, self.gradients[::-1], strict=True))
        share = torch.cat([dual.particles.shares for dual in self.halves])
        outputs = torch.cat([dual.outputs for dual in self.halves])
        mean = torch.cat([dual.output.expand(half, -1, -1) for dual in self.halves])
        # What each population adds to its half's gradient: deviations of mean zero, counted by its estimate of Z.
        self.scatter = -(share * half)[:, None, None] * (outputs - mean)

    @one_thread()
    def functions(self, features: Callable[[Particles], Tensor]) -> tuple[Tensor, Tensor]:
        """f at the optimum by each half, (n, n_out), to first order in the step there.

        A half's noise reaches the residual too, and with it the function: where both are counted they nearly cancel.

        Args:
            features: particles -> (n_particles, n) phi(w.x).
        """
        plain, response = [], []
        for dual, answer in zip(self.halves, self.answers, strict=True):
            phi = features(dual.particles).T
            now = coefficients(dual, torch.zeros_like(answer))
            plain.append((phi @ now).double())
            response.append((phi @ (coefficients(dual, answer) - now)).double())
        return plain[0] + response[1], plain[1] + response[0]

    def response(self, slopes: tuple[Tensor, Tensor], values: Tensor, value: float) -> Estimate:
        """An observable at the optimum, to first order in the step there.

        Args:
            slopes: of the observable by rho, (n_unknowns, n_out), as each half sees it.
            values: (n_populations,) deviations of the populations at rho; value: at rho.
        """
        first, second = (dual.solve(slope, *FINELY) for dual, slope in zip(self.halves, slopes, strict=True))
        half = len(self.scatter) // 2
        change = 0.5 * float((first * self.gradients[1]).sum() + (second * self.gradients[0]).sum())
        along = torch.cat(
            [(self.scatter[:half] * second).flatten(1).sum(1), (self.scatter[half:] * first).flatten(1).sum(1)]
        )
        return estimate(value + change, values + along)

    def judge(self) -> Judgement:
        """The numbers of the optimum."""
        problem, rho, particles = self.problem, self.rho, self.particles
        (first, second), (step_1, step_2) = self.gradients, self.steps
        nothing = torch.zeros(len(self.scatter), dtype=torch.float64, device=rho.device)
        loss = self.response((2 * rho, 2 * rho), nothing, float((rho**2).sum()))
        loss = replace(loss, value=loss.value + float((step_1 * step_2).sum()))
        half = len(self.scatter) // 2
        excess = 0.25 * float((first * step_2).sum() + (second * step_1).sum())
        along = torch.cat(
            [(self.scatter[:half] * step_2).flatten(1).sum(1), (self.scatter[half:] * step_1).flatten(1).sum(1)]
        )
        n = particles.n_populations
        dual = problem.dual(rho, particles.mean_log_z)
        seen = particles.shares * n - 1.0
        step = 0.5 * (self.answers[0] + self.answers[1])
        power = float((problem.visible_target**2).sum())
        ways = tuple(float(torch.logsumexp(z, 0)) - math.log(n) for z in (particles.log_z, particles.log_z_back))
        return Judgement(
            rho=rho,
            step=step,
            particles=particles,
            loss=loss,
            dual=estimate(dual + excess, along - problem.temperature * seen),
            excess=estimate(excess, along),
            gap=self._gap(),
            alignment=1.0 - float((problem.visible_target * (rho + step)).sum()) / power if power > 0 else 0.0,
            log_z=(ways[0], ways[1]),
        )

    def _gap(self) -> Estimate:
        """|g|^2/2 without bias, the error by leaving one population out at a time."""
        half = len(self.scatter) // 2
        first, second = self.gradients
        value = 0.5 * float((first * second).sum())
        parts = torch.cat(
            [(self.scatter[:half] * second).flatten(1).sum(1), (self.scatter[half:] * first).flatten(1).sum(1)]
        )
        own = 0.5 * (self.scatter[:half] * self.scatter[half:].flip(0)).flatten(1).sum(1)
        noise = float(own.pow(2).mean()) ** 0.5 / math.sqrt(half)
        found = estimate(value, parts)
        return replace(found, error=math.hypot(found.error, noise))

    @one_thread()
    def observable(self, values: Callable[[SampledDual], tuple[Tensor, Tensor | None]]) -> Estimate:
        """The mean of a function of a neuron at the optimum.

        Args:
            values: dual -> (n,) values at its particles, and their slope by the field, (n, n_out), where they have one.
        """
        slopes, means, parts = [], [], []
        for dual in self.halves:
            value, slope = values(dual)
            mean = float((dual.p * value).sum())
            slopes.append(dual.slope_of_mean(value - mean, slope))
            means.append(mean)
            n = dual.particles.n_each
            each = (dual.particles.log_weights.exp().to(value.dtype) * value.reshape(-1, n)).sum(1).double()
            parts.append(dual.particles.shares * dual.particles.n_populations * (each - mean))
        return self.response((slopes[0], slopes[1]), torch.cat(parts), 0.5 * (means[0] + means[1]))
