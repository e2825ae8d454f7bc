"""The law of one neuron of a layered network, its outgoing weights integrated out and its surroundings averaged.

A neuron (w, v) of layer l meets the layer above through z_j + c v_j phi(w.x). To second order in v, with everything
else frozen,

    V(w, v) = lambda_w |w|^2/2 + lambda_v |v|^2/2 - v . (S' phi) - (1/2) sum_j v_j^2 (phi^2 . d_j)

S (n_points, N_{l+1}) is the signal that leaves the layer; d_j = c^2 weight r d^2F/dz_j^2 is the neuron's own echo
through the layer above, the Onsager term: each v_j is of order one, and there are as many of them as make a sum of
order one. Integrating v, to leading order in 1/N,

    log p(w) = -lambda_w |w|^2/(2 T) + phi' Q phi + const,   Q = <S S'>/(2 lambda_v T) + diag <sum_j d_j>/(2 lambda_v)

Both terms are of order one and nearly cancel: with one of them alone the cloud is wrong. In the last layer v is the
readout, a single number, and the finite-width law of a two-layer network holds,

    log p(w) = -lambda_w |w|^2/(2 T) - log(l)/2 + G^2/(2 T l),   G = phi . s,   l = lambda_b + phi' O phi

with the cavity's signal s and the others' response O (`theory/finite_width.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import host_device
from mft_engine.laws.law import LANGEVIN_ACCEPTANCE, Walkers, langevin_move
from mft_engine.network.activations import Activation
from mft_engine.rng import Stream, host_generator

# Share of the neurons that a step of the tempering leaves worth something.
KEPT_SHARE = 0.8
MOVES_A_RUNG = 10
MOVES_AT_END = 60
MOST_RUNGS = 400
# Walkers on the ladder where fewer neurons are wanted: few walkers share few ancestors.
FEWEST_WALKERS = 4096


@dataclass(frozen=True)
class Tilt:
    """A law p(w) ~ N(0, variance) exp(tilt(w)); one of two tilts, see above.

    Attributes:
        inputs: (n_points, n_inputs).
        variance: of one input weight under the prior; penalty: lambda of the outgoing weights.
        form: (n_points, n_points) symmetric Q; None in the last layer.
        signal: (n_points,) s; own_penalty: (n_points, n_points) symmetric O, of the last layer.
    """

    inputs: Tensor
    activation: Activation
    variance: float
    temperature: float
    penalty: float
    form: Tensor | None = None
    signal: Tensor | None = None
    own_penalty: Tensor | None = None

    def tilt(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The tilt of each neuron, (n,), and its gradient in w, (n, n_inputs)."""
        phi, slope = self.activation.both(w @ self.inputs.T)
        if self.form is not None:
            half = phi @ self.form
            return (half * phi).sum(1), 2.0 * (half * slope) @ self.inputs
        drive, penalty, half = self._readout_law(phi)
        value = drive**2 / (2 * self.temperature * penalty) - 0.5 * torch.log(penalty / self.penalty)
        assert self.signal is not None
        along = (drive / (self.temperature * penalty))[:, None] * self.signal
        against = (drive**2 / (self.temperature * penalty**2) + 1.0 / penalty)[:, None] * half
        return value, ((along - against) * slope) @ self.inputs

    def readout_law(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the last layer's readout of neurons w, (n,) each."""
        drive, penalty, _ = self._readout_law(self.activation.phi(w @ self.inputs.T))
        return drive / penalty, torch.sqrt(self.temperature / penalty)

    def _readout_law(self, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.signal is not None and self.own_penalty is not None
        half = phi @ self.own_penalty
        return phi @ self.signal, self.penalty + (half * phi).sum(1), half


@dataclass(frozen=True)
class TemperedSample:
    """Neurons drawn from a tilted law.

    Attributes:
        w: (n, n_inputs); n_rungs: of the ladder from the prior; acceptance: of the moves at its end.
    """

    w: Tensor
    n_rungs: int
    acceptance: float


def climb(law: Tilt, n: int, *, seed: int, draw: int = 0) -> Generator[float, None, TemperedSample]:
    """n neurons: from the prior up a ladder of tilts beta = 0 .. 1, resampled and moved at every rung.

    The tilt has several wells (leaves) that a chain started in one of them would not leave; here their weights are
    settled while the wells are still shallow. Moves are Metropolis-adjusted, so that the step size leaves no bias.
    Neurons share ancestors: beyond the moves at the end they are independent only as far as those mix. At least
    FEWEST_WALKERS climb, of which n are taken.

    Args:
        seed, draw: of the randomness.

    Yields:
        beta after every move.

    Raises:
        ArithmeticError: a tilt that no ladder climbs (a law without an end).

    Source: Del Moral, Doucet, Jasra, J. R. Statist. Soc. B 68 (2006), 411.
    """
    generator = host_generator(seed, Stream.FOREGROUND_GIBBS, draw)
    device, dtype = law.inputs.device, law.inputs.dtype

    def noise(*shape: int) -> Tensor:
        return torch.as_tensor(generator.standard_normal(shape), dtype=dtype, device=device)

    n_walkers = max(n, FEWEST_WALKERS)
    walkers = Walkers.at(noise(n_walkers, law.inputs.shape[1]) * law.variance**0.5, law)
    beta, log_step, rate, n_rungs = 0.0, float(np.log(0.1)), 0.0, 0
    while beta < 1.0:
        step = _next_rung(walkers.tilt, beta)
        n_rungs += 1
        if not np.isfinite(step) or n_rungs > MOST_RUNGS:
            raise ArithmeticError(
                "The law of a neuron in this field cannot be drawn: its wells are too deep. Choose a higher "
                'temperature or foreground.method = "dynamics"'
            )
        beta += step
        walkers = walkers.chosen(_resample(torch.exp(step * (walkers.tilt - walkers.tilt.max())), generator))
        for _ in range(MOVES_A_RUNG if beta < 1.0 else MOVES_AT_END):
            xi = noise(*walkers.w.shape)
            uniform = torch.as_tensor(generator.random(n_walkers), dtype=dtype, device=device)
            walkers, share = langevin_move(walkers, law, float(np.exp(log_step)) * law.variance, xi, uniform, beta)
            rate = float(share)
            log_step += 0.5 * (rate - LANGEVIN_ACCEPTANCE)
            yield beta
    taken = torch.as_tensor(generator.permutation(n_walkers)[:n], device=device)
    return TemperedSample(walkers.w[taken], n_rungs, rate)


def _next_rung(tilt: Tensor, beta: float) -> float:
    """The largest rise of beta that leaves KEPT_SHARE of the neurons by their effective number, by bisection."""
    tilt = tilt.to(host_device())  # some thousand numbers, asked forty times

    def share(rise: float) -> float:
        weight = torch.exp(rise * (tilt - tilt.max())).double()
        return float(weight.sum() ** 2 / (weight * weight).sum()) / len(tilt)

    low, high = 0.0, 1.0 - beta
    if share(high) >= KEPT_SHARE:
        return high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share(middle) >= KEPT_SHARE else (low, middle)
    return low if low > 0 else float("nan")


def _resample(weight: Tensor, generator: np.random.Generator) -> Tensor:
    """Systematic resampling: indices of as many neurons, in proportion to the weights."""
    n = len(weight)
    edges = torch.cumsum(weight.double(), 0) / weight.double().sum()
    marks = (torch.arange(n, device=weight.device, dtype=torch.float64) + float(generator.random())) / n
    return torch.searchsorted(edges, marks).clamp_(max=n - 1)
