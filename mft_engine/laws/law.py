"""What every law of one neuron is: a prior of the input weights, tilted, from which whole neurons are drawn.

    p(w) ~ N(0, variance I) exp(tilt(w)),   a | w normal

Where the tilt is a formula, `langevin_move` leaves the law as it is: chains (`frozen`) and ladders (`tempered`) are
made of it. Particles (`particles`) move by Hamiltonian trajectories, of which a Langevin move is the shortest.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Acceptance at which a Langevin proposal moves fastest in many dimensions (Roberts and Rosenthal 1998).
LANGEVIN_ACCEPTANCE = 0.574


@dataclass(frozen=True)
class Sample:
    """Neurons drawn from a law.

    Attributes:
        theta: (n, n_inputs + n_out) columns w, a, float64.
        health: how the draw fared where it went by chains: acceptance, effective_sample_size, drift; else empty.
    """

    theta: NDArray[np.float64]
    health: dict[str, float] = field(default_factory=dict)


class Law(Protocol):
    """A law that can be drawn from."""

    def draw(self, n: int, *, seed: int, number: int) -> Generator[float, None, Sample]:
        """n neurons; yields the fraction done where that takes a while.

        Args:
            n: how many; seed: of the randomness; number: of the draw, another one being independent.

        Raises:
            ArithmeticError: a sample that has not reached its law; the message says what to choose instead.
        """
        ...


class Tilted(Protocol):
    """What moves need of a law: its log over that of the prior."""

    @property
    def variance(self) -> float:
        """Of one input weight under the prior; 1 in units of the prior."""
        ...

    def tilt(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Of each neuron, (n,), and its gradient in w, (n, n_inputs)."""
        ...


@dataclass
class Walkers:
    """Where neurons stand, and the tilt there.

    Attributes:
        w: (n, n_inputs); tilt: (n,); slope: (n, n_inputs) gradient of the tilt.
    """

    w: Tensor
    tilt: Tensor
    slope: Tensor

    @classmethod
    def at(cls, w: Tensor, law: Tilted) -> Walkers:
        """Neurons at w under a law."""
        return cls(w, *law.tilt(w))

    def chosen(self, rows: Tensor) -> Walkers:
        """Some of them, by index."""
        return Walkers(self.w[rows], self.tilt[rows], self.slope[rows])


def langevin_move(
    walkers: Walkers, law: Tilted, size: float | Tensor, noise: Tensor, uniform: Tensor, beta: float = 1.0
) -> tuple[Walkers, Tensor]:
    """One Metropolis-adjusted Langevin move of every neuron, which leaves N(0, variance I) exp(beta tilt) as it is.

    Args:
        size: of the step, a number or 0-dim: w' = w + size (beta tilt'(w) - w / variance) + sqrt(2 size) noise.
        noise: (n, n_inputs) standard normal; uniform: (n,) in [0, 1).
        beta: power of the tilt.

    Returns:
        where they stand then, and the share that was accepted, 0-dim; nothing has been waited for.

    Source: Roberts and Tweedie, Bernoulli 2 (1996), 341.
    """
    w, variance = walkers.w, law.variance
    force = beta * walkers.slope - w / variance
    trial = Walkers.at(w + size * force + (2 * size) ** 0.5 * noise, law)
    back = w - trial.w - size * (beta * trial.slope - trial.w / variance)
    gain = beta * (trial.tilt - walkers.tilt) - ((trial.w**2).sum(1) - (w**2).sum(1)) / (2 * variance)
    log_ratio = gain + 0.5 * (noise**2).sum(1) - (back**2).sum(1) / (4 * size)
    is_accepted = torch.log1p(-uniform) < log_ratio
    moved = Walkers(
        torch.where(is_accepted[:, None], trial.w, w),
        torch.where(is_accepted, trial.tilt, walkers.tilt),
        torch.where(is_accepted[:, None], trial.slope, walkers.slope),
    )
    return moved, is_accepted.double().mean()
