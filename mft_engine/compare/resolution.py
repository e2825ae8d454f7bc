"""What a verdict would have noticed: alternatives planted on the very law that the background was compared with.

An alternative of size s moves the averages by d(s); the quadratic test finds it in 9 of 10 draws where the
noncentrality d' Sigma^-1 d is large enough. The smallest such s is stated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from mft_engine import rng
from mft_engine.compare.averages import Expectation, averages
from mft_engine.field.field import MeanField
from mft_engine.rng import Stream

FOUND = 0.9
# Neurons of the reference that are altered; their own noise cancels, since each is compared with itself.
N_ALTERED = 4096
N_BISECTIONS = 24


@dataclass(frozen=True)
class Resolution:
    """The smallest alternatives that 9 of 10 draws would find; None where one has no meaning, or none is found.

    Attributes:
        prior_share: of the neurons replaced by draws from the prior.
        weight_scale, readout_scale: relative lengthening of all w, of all a.
        turn: angle in radians, every neuron turned by a uniform angle between 0 and turn (two inputs).
        temperature: relative rise of the temperature at which the neurons were drawn.
    """

    prior_share: float | None = None
    weight_scale: float | None = None
    readout_scale: float | None = None
    turn: float | None = None
    temperature: float | None = None

    @property
    def words(self) -> str:
        """The three that a person pictures best, in a clause; empty where none is known."""
        parts = []
        if self.prior_share is not None:
            parts.append(f"{100 * self.prior_share:.2g} % of untrained neurons")
        if self.weight_scale is not None:
            parts.append(f"input weights longer by {100 * self.weight_scale:.2g} %")
        if self.temperature is not None:
            parts.append(f"a temperature higher by {100 * self.temperature:.2g} %")
        return ", ".join(parts[:-1]) + (" or " if len(parts) > 1 else "") + parts[-1] if parts else ""


def needed_noncentrality(n_degrees: int, level: float) -> float:
    """The noncentrality at which a chi^2 test of this level finds the alternative in 9 of 10 draws."""
    critical = special.chdtri(n_degrees, level)
    return float(special.chndtrinc(critical, n_degrees, 1.0 - FOUND))


def resolve(
    reference: Tensor,
    field: MeanField,
    temperature: float,
    short: float,
    expected: Expectation,
    n_background: int,
    level: float,
    seed: int,
) -> Resolution:
    """The resolution of the quadratic test at this level, for a background of so many neurons.

    Args:
        reference: (n, n_inputs + n_out) neurons of the foreground's law; short: as in `neuron_features`.
    """
    n_inputs = field.inputs.shape[1]
    cloud = reference[:N_ALTERED]
    n, n_params = cloud.shape
    before = averages(cloud, field, temperature, short, expected.modes)
    needed = needed_noncentrality(expected.n_degrees, level)

    def moved(altered: Tensor) -> np.ndarray:
        return np.asarray((averages(altered, field, temperature, short, expected.modes) - before).mean(axis=0))

    def smallest(change: Callable[[float], np.ndarray], largest: float, rough: float = 0.0) -> float | None:
        def strength(size: float) -> float:
            coordinates = expected.coordinates(change(size))
            return float(coordinates @ coordinates) + size * rough

        if strength(largest) < needed:
            return None
        low, high = math.log(1e-4 * largest), math.log(largest)
        for _ in range(N_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if strength(math.exp(middle)) < needed else (low, middle)
            if high - low < 0.02:
                break
        return math.exp(high)

    draws = rng.normal(seed, Stream.TEST_POINTS, 7, n, n_params, device=cloud.device, dtype=cloud.dtype)
    penalties = torch.tensor(
        [field.lambda_w] * n_inputs + [field.lambda_a] * (n_params - n_inputs), dtype=cloud.dtype, device=cloud.device
    )
    prior = averages(draws * torch.sqrt(temperature / penalties), field, temperature, short, expected.modes)
    # Against what is expected, which has less noise than these few neurons: two samples are compared here.
    to_prior = prior.mean(axis=0) - expected.mean
    # Neurons drawn afresh do not repel: their averages scatter, and where the network's hardly do, that shows as well.
    apart = (
        expected.coordinates(prior - prior.mean(axis=0)) ** 2 + expected.coordinates(before - before.mean(axis=0)) ** 2
    )
    rough = float(apart.sum(axis=1).mean()) / n_background

    def scaled(size: float, first: int, last: int) -> np.ndarray:
        altered = cloud.clone()
        altered[:, first:last] *= 1.0 + size
        return moved(altered)

    def turned(size: float) -> np.ndarray:
        angle = size * torch.special.ndtr(draws[:, 0])
        cos, sin = angle.cos(), angle.sin()
        w = torch.stack([cos * cloud[:, 0] - sin * cloud[:, 1], sin * cloud[:, 0] + cos * cloud[:, 1]], dim=1)
        return moved(torch.cat([w, cloud[:, 2:]], dim=1))

    def heated(size: float) -> np.ndarray:
        # exp(-V/(T(1 + s))) over exp(-V/T): the draws that are there, reweighted.
        weight = np.exp((before[:, 0] - before[:, 0].mean()) * (size / (1.0 + size)))
        weight /= weight.sum()
        return np.asarray(weight @ before - before.mean(axis=0))

    return Resolution(
        prior_share=smallest(lambda size: size * to_prior, 1.0, rough),
        weight_scale=smallest(lambda size: scaled(size, 0, n_inputs), 1.0),
        readout_scale=smallest(lambda size: scaled(size, n_inputs, n_params), 1.0),
        turn=smallest(turned, math.pi / 2) if n_inputs == 2 else None,
        temperature=smallest(heated, 1.0),
    )
