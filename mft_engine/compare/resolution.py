"""What a verdict would have noticed: alternatives planted on the very law that the background was compared with.

An alternative of size s moves the averages by d(s); where neurons are exchanged for others it also makes them scatter,
by V(s), for neurons drawn afresh do not repel. The quadratic test finds it where

    P(|N(d, 1 + V)|^2 > critical value) >= 9/10,   d, V in coordinates in which self-consistency has covariance 1,

and the smallest such s is stated. Pooled over K runs, d counts sqrt(K) times.
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
from mft_engine.device import side_by_side
from mft_engine.field.field import MeanField
from mft_engine.rng import Stream

FOUND = 0.9
# Neurons of the reference that are altered; their own noise cancels, since each is compared with itself.
N_ALTERED = 4096
N_BISECTIONS = 24
# Normal draws for a probability of 9/10 known to half a percent.
N_DRAWS = 4096


@dataclass(frozen=True)
class Resolution:
    """The smallest alternatives that 9 of 10 draws would find; None where one has no meaning, or none is found.

    Attributes:
        prior_share: of the neurons replaced by draws from the prior.
        weight_scale, readout_scale: relative lengthening of all w, of all a.
        turn: angle in radians, every neuron turned by a uniform angle between 0 and turn (two inputs).
        temperature: relative rise of the temperature of the whole network, in whose own field it is compared.
        other_share: of the neurons replaced by those of another network of the same law (half of them at the most). It
            shows by scatter alone, along a few modes, so that the chance to find it falls slowly below this size.
    """

    prior_share: float | None = None
    weight_scale: float | None = None
    readout_scale: float | None = None
    turn: float | None = None
    temperature: float | None = None
    other_share: float | None = None

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


def found_share(shift: np.ndarray, scatter: np.ndarray | None, critical: float, draws: np.ndarray) -> float:
    """P(|N(shift, 1 + scatter)|^2 > critical), from (n, n_degrees) standard normal draws; exact without scatter."""
    if scatter is None:
        return float(1.0 - special.chndtr(critical, len(shift), float(shift @ shift)))
    values, vectors = np.linalg.eigh(scatter)
    moved = draws * np.sqrt(1.0 + np.maximum(values, 0.0)) + shift @ vectors
    return float(((moved**2).sum(axis=1) > critical).mean())


def smallest(found: Callable[[float], float], largest: float, least: float = 1e-4) -> float | None:
    """The size up to `largest` from which on `found(size)` says 9 of 10; None where even that is not enough.

    Args:
        least: share of `largest` below which nobody looks.
    """
    if found(largest) < FOUND:
        return None
    low, high = math.log(least * largest), math.log(largest)
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if found(math.exp(middle)) < FOUND else (low, middle)
        if high - low < 0.02:
            break
    return math.exp(high)


def resolve(
    reference: Tensor,
    field: MeanField,
    temperature: float,
    short: float,
    expected: Expectation,
    n_background: int,
    level: float,
    seed: int,
    n_pooled: int = 1,
) -> Resolution:
    """The resolution of the quadratic test at this level, for a background of so many neurons.

    Args:
        reference: (n, n_inputs + n_out) neurons of the foreground's law; short: as in `neuron_features`.
        n_pooled: runs whose averages are pooled.
    """
    n_inputs = field.inputs.shape[1]
    cloud = reference[:N_ALTERED]
    n, n_params = cloud.shape
    before = averages(cloud, field, temperature, short, expected.modes)
    critical = float(special.chdtri(expected.n_degrees, level))
    normals = rng.host_generator(seed, Stream.TEST_POINTS, 8).standard_normal((N_DRAWS, expected.n_degrees))

    def moved(altered: Tensor) -> np.ndarray:
        return np.asarray((averages(altered, field, temperature, short, expected.modes) - before).mean(axis=0))

    def found(change: np.ndarray, scatter: np.ndarray | None = None) -> float:
        return found_share(math.sqrt(n_pooled) * expected.coordinates(change), scatter, critical, normals)

    draws = rng.normal(seed, Stream.TEST_POINTS, 7, n, n_params, device=cloud.device, dtype=cloud.dtype)
    penalties = torch.tensor(
        [field.lambda_w] * n_inputs + [field.lambda_a] * (n_params - n_inputs), dtype=cloud.dtype, device=cloud.device
    )
    prior = averages(draws * torch.sqrt(temperature / penalties), field, temperature, short, expected.modes)
    # Against what is expected, which has less noise than these few neurons: two samples are compared here.
    to_prior = prior.mean(axis=0) - expected.mean
    # Neurons drawn afresh do not repel: their averages scatter, and where the network's hardly do, that shows as well.
    own, fresh = (
        np.atleast_2d(np.cov(expected.coordinates(rows).T, bias=True)) / n_background for rows in (before, prior)
    )

    def mixed(size: float) -> float:
        return found(size * to_prior, size * fresh + size * (1.0 - size) * own)

    def exchanged(size: float) -> float:
        return found(np.zeros(len(to_prior)), 2.0 * size * (1.0 - size) * own)

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
        # exp(-V/(T(1 + s))) over exp(-V/T): the draws that are there, reweighted. The field is the hotter network's
        # own, and so is the average that its function is expected to be.
        weight = np.exp((before[:, 0] - before[:, 0].mean()) * (size / (1.0 + size)))
        weight /= weight.sum()
        change = np.asarray(weight @ before - before.mean(axis=0))
        change[len(change) - expected.modes.shape[1] :] = 0.0
        return change

    weight_scale, readout_scale, turn, prior_share, temperature_scale, other_share = side_by_side(
        lambda: smallest(lambda size: found(scaled(size, 0, n_inputs)), 1.0),
        lambda: smallest(lambda size: found(scaled(size, n_inputs, n_params)), 1.0),
        lambda: smallest(lambda size: found(turned(size)), math.pi / 2) if n_inputs == 2 else None,
        lambda: smallest(mixed, 1.0),
        lambda: smallest(lambda size: found(heated(size)), 1.0),
        lambda: smallest(exchanged, 0.5),
    )
    return Resolution(
        prior_share=prior_share,
        weight_scale=weight_scale,
        readout_scale=readout_scale,
        turn=turn,
        temperature=temperature_scale,
        other_share=other_share,
    )
