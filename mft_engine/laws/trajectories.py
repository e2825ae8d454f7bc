"""Hamiltonian moves of many neurons under the law of one, with random numbers of their own for every block of rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mft_engine.laws.jumps import Jumps
from mft_engine.laws.law import Tilted

# Leapfrog steps of a trajectory. One leap is a Langevin move, which takes twice the time for populations as independent
# (modular addition, P = 11).
N_LEAPS = 12
# Part of the trajectories whose steps are so much shorter: they move what sits in a narrow well.
SHORT_SHARE, SHORT = 0.25, 0.25
# Changes of a neuron's length that are tried after a trajectory, and the smallest and largest spread of its logarithm.
N_SLIDES = 2
SLIDES = (0.03, 0.6)


@dataclass(frozen=True)
class Numbers:
    """Random numbers for rows in blocks of these sizes, each block from its own generator; on the device of `like`."""

    generators: Sequence[np.random.Generator]
    sizes: Sequence[int]
    like: Tensor

    def uniform(self, *columns: int, dtype: Any = np.float64) -> np.ndarray:
        """(n, *columns) in [0, 1), on the host."""
        pairs = zip(self.generators, self.sizes, strict=True)
        return np.concatenate([g.random((n, *columns), dtype=dtype) for g, n in pairs])

    def normal(self, *columns: int, dtype: Any = np.float64) -> np.ndarray:
        """(n, *columns) standard normal, on the host."""
        pairs = zip(self.generators, self.sizes, strict=True)
        return np.concatenate([g.standard_normal((n, *columns), dtype=dtype) for g, n in pairs])

    def jumped(self, jumps: Jumps) -> Tensor:
        """(n, n_inputs) proposals."""
        pairs = zip(self.generators, self.sizes, strict=True)
        kinds, noises = zip(*(jumps.numbers(n, g) for g, n in pairs), strict=True)
        return jumps.proposed(np.concatenate(kinds), np.concatenate(noises))

    def there(self, values: np.ndarray) -> Tensor:
        """The same where the rows live."""
        return torch.as_tensor(values, dtype=self.like.dtype, device=self.like.device)


def trajectories(
    u: Tensor, law: Tilted, n_moves: int, size: float, drawn: Numbers, jumps: Jumps | None
) -> Generator[None, None, tuple[Tensor, int]]:
    """Moves of N_LEAPS leapfrog steps each, N_SLIDES changes of length and a jump, Metropolis-adjusted.

    The trajectories' length varies so that no orbit closes.
    """
    numbers = drawn.there
    tilt, slope = law.tilt(u)
    n_accepted = torch.zeros((), dtype=torch.int64, device=u.device)
    for _ in range(n_moves):
        is_short = drawn.uniform(1) < SHORT_SHARE
        pace = numbers(size * (0.7 + 0.6 * drawn.uniform(1)) * np.where(is_short, SHORT, 1.0))
        momentum = numbers(drawn.normal(u.shape[1], dtype=np.float32))
        chance = numbers(drawn.uniform(dtype=np.float32))
        before = 0.5 * ((momentum * momentum).sum(1) + (u * u).sum(1)) - tilt
        trial = u
        momentum = momentum + 0.5 * pace * (slope - u)
        for leap in range(N_LEAPS):
            trial = trial + pace * momentum
            trial_tilt, trial_slope = law.tilt(trial)
            momentum = momentum + (0.5 if leap == N_LEAPS - 1 else 1.0) * pace * (trial_slope - trial)
            yield
        after = 0.5 * ((momentum * momentum).sum(1) + (trial * trial).sum(1)) - trial_tilt
        is_accepted = torch.log1p(-chance) < before - after
        u, tilt, slope = _taken(is_accepted, (trial, trial_tilt, trial_slope), (u, tilt, slope))
        n_accepted += is_accepted.sum()
        # Wells are narrow in direction and long in length, where the features are nearly flat: neurons slide along.
        for _ in range(N_SLIDES):
            spread = SLIDES[0] * (SLIDES[1] / SLIDES[0]) ** drawn.uniform()
            slide = numbers(spread * drawn.normal())
            chance = numbers(drawn.uniform(dtype=np.float32))
            trial = u * torch.exp(slide)[:, None]
            trial_tilt, trial_slope = law.tilt(trial)
            gain = trial_tilt - tilt + 0.5 * ((u * u).sum(1) - (trial * trial).sum(1)) + u.shape[1] * slide
            taken = torch.log1p(-chance) < gain
            u, tilt, slope = _taken(taken, (trial, trial_tilt, trial_slope), (u, tilt, slope))
            yield
        if jumps is not None:
            trial = drawn.jumped(jumps)
            chance = numbers(drawn.uniform(dtype=np.float32))
            trial_tilt, trial_slope = law.tilt(trial)
            gain = trial_tilt - tilt + jumps.log_density(u) - jumps.log_density(trial)
            taken = torch.log1p(-chance) < gain
            u, tilt, slope = _taken(taken, (trial, trial_tilt, trial_slope), (u, tilt, slope))
            yield
    return u, int(n_accepted)


Moments = tuple[Tensor, Tensor, Tensor]


def _taken(is_accepted: Tensor, trial: Moments, old: Moments) -> Moments:
    """Where every particle is, its tilt and its slope, after a proposal."""
    (u, tilt, slope), by_row = trial, is_accepted[:, None]
    return (
        torch.where(by_row, u, old[0]), torch.where(is_accepted, tilt, old[1]), torch.where(by_row, slope, old[2])
    )  # fmt: skip
