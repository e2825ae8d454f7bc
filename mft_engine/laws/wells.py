"""The wells of a neuron's law, where its density has maxima, and particles drawn around all of them at once.

Where thousands of wells share the law, particles that come from the prior leave a few in each, and by chance none in
many. A list of the maxima leaves out none that it names: around each the law is nearly Gaussian,

    p(u) ~ sum_j exp(height(m_j) - (u - m_j)' A_j (u - m_j) / 2),   height = tilt - |u|^2/2,   A_j = -Hess height(m_j)

which is Laplace's approximation; particles drawn from it are annealed to the law itself (Neal 2001), so that their
weights are right however rough it is, as long as every well that counts is on the list.

Source: Neal, Statistics and Computing 11 (2001), 125; Tjelmeland and Hegstad, Scand. J. Statist. 28 (2001), 205.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import in_team
from mft_engine.laws.particles import TARGET_ACCEPTANCE, Particles, TiltedLaw
from mft_engine.rng import Stream, host_generator

# Two maxima nearer than this, in units of the prior, are one.
SAME = 0.15
# Numbers that one block of curvatures takes, so that it stays in a cache, and rows of a block of particles.
BLOCK_NUMBERS = 4_000_000
BLOCK_ROWS = 256
# A climb: nats that need not be climbed any more, the longest step, tries of each step, each so much shorter.
CLIMBED = 0.02
LONGEST_STEP = 1.5
N_TRIES, SHORTER = 5, 0.35
ROUNDING = 2e-3
# Distance over which the slope of phi is compared to find its curvature.
APART = 0.01
# Smallest curvature, along any direction, of what is no maximum yet.
LEAST_CURVATURE = 0.5
# What is left to climb enters a well's share as far as Laplace's approximation can be believed.
BELIEVED = 0.5
# From Gaussians somewhat wider than the wells to the law: laws between, and leapfrog steps under each in coordinates in
# which the Gaussian is round. The first laws lie nearest to the Gaussians, whose tails are too light.
WIDER = 1.15
N_BETWEEN = 4
N_LEAPS = 4
LEAP = 0.6
# Nearest wells that may claim a particle.
N_NEAREST = 6


@dataclass(frozen=True)
class Wells:
    """Maxima of the density of a law; of two mirror images, where the law has them, one.

    Attributes:
        modes: (n, n_inputs) where they are, in units of the prior.
        roots: (n, n_inputs, n_inputs) lower-triangular, of A = root root'.
        log_weights: (n,) float64 what each adds to Z by Laplace's approximation, its mirror image not counted.
        left: (n,) nats that are still to be climbed.
    """

    modes: Tensor
    roots: Tensor
    log_weights: Tensor
    left: Tensor

    def __len__(self) -> int:
        return len(self.modes)

    def some(self, rows: Tensor) -> Wells:
        """Some of the wells."""
        return Wells(*(getattr(self, part.name)[rows] for part in fields(self)))


def joined(wells: Sequence[Wells]) -> Wells:
    """All of several lists."""
    return Wells(*(torch.cat([getattr(each, part.name) for each in wells]) for part in fields(Wells)))


def has_mirrors(law: TiltedLaw) -> bool:
    """Whether u and -u are equally likely."""
    return law.activation.parity != "none"


def climbed(law: TiltedLaw, starts: Tensor, n_steps: int) -> Generator[None, None, Wells]:
    """The wells that so many of Newton's steps lead to.

    Args:
        law: the law; starts: (n, n_inputs); n_steps: at most, from each start.
    """
    n_points, n_inputs = law.inputs.shape
    n_rows = max(16, BLOCK_NUMBERS // (n_points * n_inputs))
    blocks = torch.split(starts, n_rows)

    def work(number: int) -> Generator[None, None, Wells]:
        return _climb(law, blocks[number].clone(), n_steps)

    found = yield from in_team(work, len(blocks), starts.device)
    return joined(found)


def _climb(law: TiltedLaw, modes: Tensor, n_steps: int) -> Generator[None, None, Wells]:
    """The same for one block, whose memory may be used up."""
    height, slope = _height(law, modes)
    roots, is_peak = _roots(law, modes)
    for _ in range(n_steps):
        yield
        left = _left(slope, roots)
        rows = torch.nonzero((left > CLIMBED) | ~is_peak)[:, 0]
        if len(rows) == 0:
            break
        start, low = modes[rows], height[rows]
        step = torch.cholesky_solve(slope[rows][:, :, None], roots[rows])[:, :, 0]
        step = step * (LONGEST_STEP / step.norm(dim=1, keepdim=True).clamp(min=LONGEST_STEP))
        best, is_open = start, torch.ones_like(rows, dtype=torch.bool)
        for _ in range(N_TRIES):
            trial = start + step
            is_higher = is_open & (_height(law, trial)[0] >= low - ROUNDING)
            best = torch.where(is_higher[:, None], trial, best)
            is_open &= ~is_higher
            if not bool(is_open.any()):
                break
            step = SHORTER * step
        modes[rows] = best
        height[rows], slope[rows] = _height(law, best)
        roots[rows], is_peak[rows] = _roots(law, best)
    left = _left(slope, roots)
    log_root = roots.diagonal(dim1=1, dim2=2).log().sum(1).double()
    return Wells(modes, roots, (height + left.clamp(max=BELIEVED)).double() - log_root, left)


def _height(law: TiltedLaw, u: Tensor) -> tuple[Tensor, Tensor]:
    """tilt - |u|^2/2, (n,), and its slope, (n, n_inputs)."""
    tilt, slope = law.tilt(u)
    return tilt - 0.5 * (u * u).sum(1), slope - u


def _left(slope: Tensor, roots: Tensor) -> Tensor:
    """(n,) half the square of Newton's step: nats to the maximum of the parabola."""
    return 0.5 * torch.linalg.solve_triangular(roots, slope[:, :, None], upper=False).square().sum((1, 2))


def _roots(law: TiltedLaw, u: Tensor) -> tuple[Tensor, Tensor]:
    """(n, n_inputs, n_inputs) roots of A at u, and where A itself has one: elsewhere of its mirror in what is positive.

    -Hess height = I - 2 sum_c grad g_c grad g_c' - 2 sum_mu phi''_mu (B g)_mu x_mu x_mu'.
    """
    inputs, drive, activation = law.inputs, law.drive, law.activation
    z = u @ inputs.T
    phi, once = activation.both(z)
    twice = (activation.dphi(z + APART) - activation.dphi(z - APART)) / (2 * APART)
    back = (phi @ drive) @ drive.T
    pulls = (once[:, None, :] * drive.T) @ inputs
    bent = (inputs.T * (back * twice)[:, None, :]) @ inputs
    curvature = torch.eye(u.shape[1], dtype=u.dtype, device=u.device) - 2 * (pulls.transpose(1, 2) @ pulls) - 2 * bent
    roots, info = torch.linalg.cholesky_ex(curvature)
    off = torch.nonzero(info)[:, 0]
    if len(off):
        values, axes = torch.linalg.eigh(curvature[off])
        size = values.abs().clamp(min=LEAST_CURVATURE)
        roots[off] = torch.linalg.cholesky((axes * size[:, None, :]) @ axes.transpose(1, 2))
    return roots, info == 0


def distinct(wells: Wells, is_mirrored: bool) -> Wells:
    """Each well once, the highest first."""
    wells = wells.some(wells.log_weights.argsort(descending=True))
    modes, places = wells.modes, torch.arange(len(wells), device=wells.modes.device)
    kept = torch.ones(len(wells), dtype=torch.bool, device=modes.device)
    for rows in torch.split(places, BLOCK_ROWS):
        near = _distances(modes[rows], modes, is_mirrored) < SAME
        kept[rows] = ~(near & (places < rows[:, None])).any(1)
    return wells.some(kept)


def is_new(wells: Wells, listed: Wells, is_mirrored: bool) -> Tensor:
    """(n,) whether each well is not on a list."""
    parts = torch.split(wells.modes, BLOCK_ROWS)
    return torch.cat([_distances(part, listed.modes, is_mirrored).amin(1) >= SAME for part in parts])


def _distances(u: Tensor, modes: Tensor, is_mirrored: bool) -> Tensor:
    """(n, n_wells) to each well or its mirror image."""
    plain = torch.cdist(u, modes)
    return torch.minimum(plain, torch.cdist(u, -modes)) if is_mirrored else plain


def drawn_around(
    wells: Wells, law: TiltedLaw, n_populations: int, n_each: int, *, seed: int
) -> Generator[None, None, Particles]:
    """Particles of a law from its wells: weighted, in populations that are independent.

    Args:
        wells: of this law; n_populations, n_each: how many; seed: of the draw, another one for each.

    Returns:
        the particles, whose log Z is the logarithm of an unbiased estimate where no well is missing; it is counted in
        one direction, and `log_z_back` is the same.
    """
    device, dtype, is_mirrored = wells.modes.device, wells.modes.dtype, has_mirrors(law)
    total = np.cumsum(torch.softmax(wells.log_weights, 0).cpu().numpy())
    starts = host_generator(seed, Stream.THEORY, 2**44).random((n_populations, 1))
    marks = (np.arange(n_each) + starts) / n_each * total[-1]
    chosen = torch.as_tensor(np.searchsorted(total, marks.ravel()).clip(max=len(total) - 1), device=device)
    blocks = torch.split(chosen, BLOCK_ROWS)

    def work(number: int) -> Generator[None, None, tuple[Tensor, Tensor]]:
        generator = host_generator(seed + (number << 32), Stream.THEORY, 2**44 + 1)
        return _annealed(wells, blocks[number], law, generator)

    found = yield from in_team(work, len(blocks), device)
    u, log_weights = torch.cat([u for u, _ in found]), torch.cat([weight for _, weight in found])
    if is_mirrored:
        signs = 2 * host_generator(seed, Stream.THEORY, 2**44 + 2).integers(2, size=(len(u), 1)) - 1
        u = u * torch.as_tensor(signs, dtype=dtype, device=device)
    log_weights = log_weights.reshape(n_populations, n_each)
    sums = torch.logsumexp(log_weights, 1)
    return Particles(
        u=u,
        log_weights=log_weights - sums[:, None],
        log_z=sums - math.log(n_each),
        log_z_back=sums - math.log(n_each),
        log_step=math.log(0.1),
        acceptance=TARGET_ACCEPTANCE,
        seed=seed,
        n_moves=0,
    )


def truncated(particles: Particles) -> Particles:
    """The same, in which no weight is more than sqrt(n) times their mean.

    What is cut off is little in the mean, but a step that follows one particle is worse than none (Ionides, J. Comput.
    Graph. Stat. 17 (2008), 295).
    """
    n = particles.log_weights.numel()
    log_weights = particles.log_weights + particles.log_z[:, None]
    most = torch.logsumexp(log_weights.ravel(), 0) - 0.5 * math.log(n)
    log_weights = torch.minimum(log_weights, most)
    sums = torch.logsumexp(log_weights, 1)
    return replace(particles, log_weights=log_weights - sums[:, None], log_z=sums, log_z_back=sums)


def _annealed(
    wells: Wells, chosen: Tensor, law: TiltedLaw, generator: np.random.Generator
) -> Generator[None, None, tuple[Tensor, Tensor]]:
    """Particles of one block, (n, n_inputs), and the logarithms of their weights, (n,) float64.

    A particle moves in the coordinates z = root' (u - mode)/WIDER of the well that it was drawn from. Its weight ends
    with the share of that well in what all wells together would have drawn there.
    """
    modes, roots = wells.modes[chosen], wells.roots[chosen] / WIDER
    eye = torch.eye(modes.shape[1], dtype=modes.dtype, device=modes.device)
    back = torch.linalg.solve_triangular(roots, eye.expand_as(roots), upper=False)
    shares = torch.log_softmax(wells.log_weights, 0)
    own = shares[chosen] + (wells.roots.diagonal(dim1=1, dim2=2)[chosen] / WIDER).log().sum(1).double()
    shape = modes.shape

    def normal() -> Tensor:
        return torch.as_tensor(generator.standard_normal(shape, dtype=np.float32)).to(modes)

    def uniform(*size: int) -> Tensor:
        return torch.as_tensor(generator.random(size, dtype=np.float32)).to(modes)

    def at(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u = modes + (z[:, None, :] @ back)[:, 0]
        height, slope = _height(law, u)
        return u, height, (back @ slope[:, :, None])[:, :, 0]

    z = normal()
    u, height, slope = at(z)
    log_weights = torch.zeros_like(own)
    for number in range(N_BETWEEN):
        before, part = (number / N_BETWEEN) ** 2, ((number + 1) / N_BETWEEN) ** 2
        log_weights += (part - before) * (height.double() - own + 0.5 * (z * z).sum(1).double())
        pace, momentum = LEAP * (0.7 + 0.6 * uniform(shape[0], 1)), normal()
        energy = part * height - 0.5 * (1 - part) * (z * z).sum(1) - 0.5 * (momentum * momentum).sum(1)
        trial, trial_u, trial_height, trial_slope = z, u, height, slope
        momentum = momentum + 0.5 * pace * (part * slope - (1 - part) * z)
        for leap in range(N_LEAPS):
            trial = trial + pace * momentum
            trial_u, trial_height, trial_slope = at(trial)
            force = part * trial_slope - (1 - part) * trial
            momentum = momentum + (0.5 if leap == N_LEAPS - 1 else 1.0) * pace * force
            yield
        after = part * trial_height - 0.5 * (1 - part) * (trial * trial).sum(1) - 0.5 * (momentum * momentum).sum(1)
        is_accepted = torch.log1p(-uniform(shape[0])) < after - energy
        z, u, slope = (
            torch.where(is_accepted[:, None], new, old) for new, old in ((trial, z), (trial_u, u), (trial_slope, slope))
        )
        height = torch.where(is_accepted, trial_height, height)
    return u, log_weights + _claim(wells, chosen, own - 0.5 * (z * z).sum(1).double(), u, has_mirrors(law))


def _claim(wells: Wells, chosen: Tensor, own: Tensor, u: Tensor, is_mirrored: bool) -> Tensor:
    """(n,) log of the share of a particle's own well in the density of all of them there; log 2 more for the mirror's.

    Args:
        chosen: (n,) the wells; own: (n,) log density by them alone; u: (n, n_inputs) the particles.
    """
    n_wells = len(wells)
    centres = torch.cat([wells.modes, -wells.modes]) if is_mirrored else wells.modes
    near = torch.cdist(u, centres).topk(min(N_NEAREST, len(centres)), largest=False).indices
    mine = near % n_wells
    roots = wells.roots[mine] / WIDER
    size = torch.log_softmax(wells.log_weights, 0)[mine] + roots.diagonal(dim1=2, dim2=3).log().sum(2).double()
    z = ((u[:, None] - centres[near])[:, :, None, :] @ roots)[:, :, 0]
    # The own well counts once, whether or not it is among the nearest.
    densities = torch.where(near == chosen[:, None], -math.inf, size - 0.5 * (z * z).sum(2).double())
    together = torch.logsumexp(torch.cat([own[:, None], densities], 1), 1)
    return own - together + (math.log(2.0) if is_mirrored else 0.0)
