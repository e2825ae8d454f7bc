"""The Gibbs law of one neuron in a frozen field, any number of inputs and readouts, drawn without step-size bias.

    p(w) ~ exp(-[lambda_w |w|^2 / 2 - |g(w)|^2 / (2 lambda_a)] / T),    a_c | w ~ N(g_c(w) / lambda_a, T / lambda_a)

The readouts are integrated out and drawn exactly at the end, so that chains move in w alone. In the plane
`PlanarLaw` gives independent draws at once; this is for what a grid cannot hold.

Source: docs/physics.md, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine.device import can_record_graphs, host_device, to_host
from mft_engine.laws.law import LANGEVIN_ACCEPTANCE, Sample, Tilted, Walkers, langevin_move
from mft_engine.laws.particles import BLOCK_ROWS, TiltedLaw
from mft_engine.network.activations import get_activation
from mft_engine.recorded import Recorded
from mft_engine.rng import DRAWS, Stream, host_generator

N_STEPS, FEWEST_STEPS = 400, 20
# Shift of the mean tilt along the recorded half, in standard errors, from which chains count as not arrived.
MOST_DRIFT = 4.0


@dataclass(frozen=True)
class FrozenLaw:
    """One neuron in the field g_c(w) = sum_mu signal_mu,c phi(w.x_mu).

    Attributes:
        tilted: the law of w in units of the prior.
        temperature, lambda_w, lambda_a: of the problem.
    """

    tilted: TiltedLaw
    temperature: float
    lambda_w: float
    lambda_a: float

    @classmethod
    def from_field(
        cls, inputs: Tensor, signal: Tensor, activation: str, temperature: float, lambda_w: float, lambda_a: float
    ) -> FrozenLaw:
        """The law in a field.

        Args:
            inputs: (n_points, n_inputs) of the layer; signal: (n_points,) or (n_points, n_out), weight times residual.
            activation, temperature, lambda_w, lambda_a: of the problem.
        """
        scaled = inputs * (temperature / lambda_w) ** 0.5
        drive = signal.reshape(len(inputs), -1) / (2 * lambda_a * temperature) ** 0.5
        return cls(TiltedLaw(scaled, get_activation(activation), drive), temperature, lambda_w, lambda_a)

    @property
    def variance(self) -> float:
        """In units of the prior."""
        return 1.0

    def tilt(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Of each neuron in units of the prior, and its gradient; block by block, so that features stay in a cache."""
        n_rows = BLOCK_ROWS if w.device == host_device() else len(w)
        parts = [self.tilted.tilt(w[start : start + n_rows]) for start in range(0, len(w), n_rows)]
        return torch.cat([value for value, _ in parts]), torch.cat([slope for _, slope in parts])

    def draw(self, n: int, *, seed: int, number: int = 0, n_steps: int = N_STEPS) -> Generator[float, None, Sample]:
        """n neurons, the ends of as many chains that begin at the prior.

        The step size is tuned during the first half, which is then forgotten; the second half has it fixed, as exact
        invariance demands. `health` has the share of accepted proposals, the number of independent draws that the
        recorded halves are worth (n at least), and the drift: the shift of the mean tilt between the first and the last
        quarter of the recorded half, in standard errors.

        Args:
            n: 2 at least; seed, number: of the randomness, step k of the chains using counter k; n_steps: of every one.

        Yields:
            fraction done, at every step.

        Raises:
            ValueError: fewer than 20 steps or 2 neurons.
            ArithmeticError: the chains still drift.
        """
        if n_steps < FEWEST_STEPS or n < 2:
            raise ValueError(f"at least {FEWEST_STEPS} steps and 2 neurons are needed")
        seed, shape = seed + number * DRAWS, (n, self.tilted.inputs.shape[1])
        inputs = self.tilted.inputs

        def numbers(values: NDArray[np.float64]) -> Tensor:
            return torch.as_tensor(values, dtype=inputs.dtype, device=inputs.device)

        walkers = Walkers.at(numbers(host_generator(seed, Stream.FOREGROUND_GIBBS, 0).standard_normal(shape)), self)
        log_step, n_tuned, rates = math.log(0.1), n_steps // 2, list[Tensor]()
        history = torch.empty((n_steps - n_tuned, n), dtype=inputs.dtype, device=inputs.device)
        for step in range(n_steps):
            generator = host_generator(seed, Stream.FOREGROUND_GIBBS, step + 1)
            noise, uniform = numbers(generator.standard_normal(shape)), numbers(generator.random(n))
            parts, size = (walkers.w, walkers.tilt, walkers.slope), math.exp(log_step)
            *moved, rate = _MOVE(*parts, noise, uniform, _told(size, inputs.device), law=self)
            walkers = Walkers(*moved)
            if step < n_tuned:
                log_step += (float(rate) - LANGEVIN_ACCEPTANCE) / math.sqrt(1 + 0.1 * step)
            else:
                rates.append(rate.clone())
                history[step - n_tuned] = walkers.tilt - 0.5 * (walkers.w**2).sum(1)
            yield (step + 1) / n_steps
        effective, drift = _diagnose(to_host(history))
        if not abs(drift) <= MOST_DRIFT:
            raise ArithmeticError(
                "The exact foreground has not reached its law: its chains still drift. Choose "
                'foreground.method = "dynamics", or a higher temperature'
            )
        health = {
            "acceptance": float(np.mean(torch.stack(rates).tolist())),
            "effective_sample_size": effective,
            "drift": drift,
        }
        generator = host_generator(seed, Stream.FOREGROUND_GIBBS, n_steps + 1)
        field = self.tilted.field(walkers.w) * (2 * self.temperature / self.lambda_a) ** 0.5
        noise = numbers(generator.standard_normal(tuple(field.shape)))
        readout = field + (self.temperature / self.lambda_a) ** 0.5 * noise
        w = walkers.w * (self.temperature / self.lambda_w) ** 0.5
        return Sample(to_host(torch.cat([w, readout], 1)).astype(np.float64), health)


def _told(size: float, device: torch.device) -> float | Tensor:
    """A number as a recording reads it, or as it is."""
    return torch.tensor(size, dtype=torch.float64).to(device) if can_record_graphs(device) else size


def _move(
    w: Tensor, tilt: Tensor, slope: Tensor, noise: Tensor, uniform: Tensor, size: float | Tensor, *, law: Tilted
) -> tuple[Tensor, ...]:
    after, rate = langevin_move(Walkers(w, tilt, slope), law, size, noise, uniform)
    return after.w, after.tilt, after.slope, rate


_MOVE = Recorded(_move)


def _diagnose(history: NDArray[np.float64]) -> tuple[float, float]:
    """Effective sample size and drift of (n_steps, n_chains) values.

    The autocorrelation is taken about the mean of *all* chains: chains that sit in different lumps then count as
    correlated with themselves for ever, as they should.
    """
    n_steps, n_chains = history.shape
    centred = history - history.mean()
    variance = float((centred**2).mean())
    time = 1.0
    for lag in range(1, n_steps):
        correlation = float((centred[:-lag] * centred[lag:]).mean()) / max(variance, 1e-300)
        if correlation < 0.02:
            break
        time += 2 * correlation
    quarter = n_steps // 4
    shift = history[-quarter:].mean(axis=0) - history[:quarter].mean(axis=0)
    error = shift.std(ddof=1) / np.sqrt(n_chains)
    return float(history.size / min(time, n_steps)), float(shift.mean() / max(error, 1e-300))
