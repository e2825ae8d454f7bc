"""The infinite-width solution of two hidden layers: what it says, with errors and with where it was started from."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.estimates import averaged
from mft_engine.laws.particles import (
    Particles,
    drawn_from,
    effective_share,
    moved,
    moving,
    prior_particles,
    resampled,
    reweighted,
)
from mft_engine.rng import Stream, host_generator
from mft_engine.slices import relayed, telling
from mft_engine.theory.particle_solver import solve_particles
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.theory import NUMBERS, PARTICLE_NUMBERS
from mft_engine.theory.two_hidden import N_PARTICLES, Settled, Start, TwoHiddenProblem, settle_both

Array = NDArray[np.float64]

STARTS: tuple[Start, ...] = ("together", "upper first")
# Starts count as one solution whose losses differ by less than so many standard errors, or so little of the power.
SAME_ERRORS, SAME_SHARE = 4.0, 0.005
# Particles that judge at the end, the share of them that a step leaves worth something, and moves.
N_JUDGED, KEPT, N_MOVES = 4096, 0.7, 6
LEFT_OUT = 0.5
# Nodes of Gauss and Hermite for what the second layer's field leaves open between the points.
N_NODES = 8
BLOCK_INPUTS = 256


@dataclass(frozen=True, eq=False)
class LayeredTheory:
    """The joint law of two hidden layers and what follows from it.

    Meanings as in `ParticleTheory`; the numbers of one layer are those of the first, `layers` in `to_dict` has both.

    Attributes:
        loss, loss_error: of the second layer's optimum on the averaged K; the error has half of what the turns'
            own loss differs by in it.
        free_energy: loss/2 + T (KL_2 + KL_1 N_1/N_2) per second-layer neuron; gap: of the second layer's dual on K.
        kl: KL_2 + KL_1 N_1/N_2 of all weights from the prior; lower_kl: KL_1 of a first-layer neuron's input weights.
        mean_square_norm: E |w|^2 of the first layer, `_error` by its series.
        drift_of_kernel: how far K would move in one more turn, |K' - K| / |K| on fresh particles; noise_of_kernel: what
            their number alone makes of it.
        losses_by_start: loss and its standard error from each start; shortfall says so where they differ.
        upper: the second layer's solution on K; lower: first-layer particles under Q; settled: of each start.
    """

    loss: float
    loss_error: float
    target_power: float
    alignment: float
    free_energy: float
    free_energy_error: float
    gap: float
    gap_error: float
    kl: float
    lower_kl: float
    mean_norm: float
    mean_square_norm: float
    mean_square_norm_error: float
    mean_square_readout: float
    drift_of_kernel: float
    noise_of_kernel: float
    losses_by_start: dict[str, tuple[float, float]]
    n_particles: int
    seconds: float
    problem: TwoHiddenProblem = field(repr=False)
    kernel: Tensor = field(repr=False)
    form: Tensor = field(repr=False)
    upper: ParticleTheory = field(repr=False)
    lower: Particles = field(repr=False)
    order_parameters: dict[str, float] = field(default_factory=dict)
    shortfall: str = ""
    # The recipe's points are all there is; more than two hidden layers have no such law here.
    test_loss: float | None = None
    test_accuracy: float | None = None
    trace_response: float | None = None
    n_out: int = 1

    @property
    def density(self) -> None:
        """Known by samples alone."""
        return None

    @property
    def readout_free_kl(self) -> float:
        """KL of the first layer's input weights from their prior, in nats."""
        return self.lower_kl

    def residual(self) -> Array:
        """(n_points, 1) r = y - f on the points."""
        return self.upper.residual()

    def prediction(self, x: Array) -> Array:
        """The infinite-width network's function f at (n, n_inputs) inputs, (n,).

        z_2 at an input is Gaussian given its values on the points: what these leave open is integrated out.
        """
        problem, inner = self.problem, self.upper.problem
        scale = (problem.temperature / problem.penalties[0]) ** 0.5
        every = (torch.as_tensor(x, dtype=torch.float64, device=problem.weights.device) * scale).to(problem.dtype)
        root = inner.inputs
        values, vectors = torch.linalg.eigh(root)
        kept = values > 1e-4 * values[-1]
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        nodes, shares = np.polynomial.hermite_e.hermegauss(N_NODES)
        shares = shares / shares.sum()
        found = []
        for inputs in torch.split(every, BLOCK_INPUTS):
            across, own = self._kernel_to(inputs)
            towards = across @ inverse
            spread = (own - (towards**2).sum(1)).clamp(min=0).sqrt().to(problem.dtype)
            towards = towards.to(problem.dtype)

            def features(u: Tensor, towards: Tensor = towards, spread: Tensor = spread) -> Tensor:
                z, phi = u @ towards.T, problem.activations[1].phi
                parts = [float(s) * phi(z + float(node) * spread) for node, s in zip(nodes, shares, strict=True)]
                return torch.stack(parts).sum(0)

            found.append(self.upper.mean_output(features)[:, 0])
        return to_host(torch.cat(found).double())

    def _kernel_to(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """K between inputs and the points, (n, n_points), and of each input with itself, (n,)."""
        problem, phi = self.problem, self.problem.activations[0].phi
        on_points, here = (phi(self.lower.u @ part.T) for part in (problem.scaled_inputs, inputs))
        share = self.lower.probabilities.to(problem.dtype)[:, None]
        size = problem.temperature / problem.penalties[1]
        return ((here * share).T @ on_points).double() * size, (here**2 * share).sum(0).double() * size

    def _readouts(self, u: Tensor) -> Tensor:
        """E[b | z] of second-layer neurons, (n, 1)."""
        inner = self.upper.problem
        field = inner.law(self.upper.cloud_rho).field(u)
        return field * math.sqrt(2 * inner.temperature / inner.lambda_a)

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """Neurons of the first layer, (n, n_inputs + 1): see `sample_layers`."""
        return self.sample_layers(n, seed=seed)[0]

    def sample_layers(self, n: int, *, seed: int = 0) -> tuple[Array, Array]:
        """Neurons of both layers.

        Returns:
            (n, n_inputs + 1) input weights and the outgoing weight along the readouts, sum_j v_j b_j / |b|;
            (n, n_points + 1) features phi_2(z_2) on the points, and b.
        """
        problem, generator = self.problem, host_generator(seed, Stream.THEORY, 2**44)
        inner, temperature = self.upper.problem, problem.temperature

        def noise(scale: float) -> Tensor:
            return torch.as_tensor(generator.standard_normal(n), device=problem.weights.device) * scale

        above = drawn_from(self.upper.cloud, n, generator, seed + 1)
        above = moved(above, inner.law(self.upper.cloud_rho), N_MOVES)
        z = above.u @ inner.scaled_inputs.T
        readout = self._readouts(above.u)[:, 0].double() + noise((temperature / problem.penalties[2]) ** 0.5)
        features = problem.activations[1].phi(z)
        signal = problem.weights * torch.as_tensor(self.residual()[:, 0], device=problem.weights.device)
        push = ((readout**2)[:, None] * problem.activations[1].dphi(z).double()).mean(0) / (readout**2).mean().sqrt()
        below = moved(drawn_from(self.lower, n, generator, seed + 2), problem.lower(self.form), N_MOVES)
        told = problem.activations[0].phi(below.u @ problem.scaled_inputs.T).double() @ (signal * push)
        told = told * problem.width_ratio**0.5 / problem.penalties[1]
        told = told + noise((temperature / problem.penalties[1]) ** 0.5)
        w = below.u.double() * (temperature / problem.penalties[0]) ** 0.5
        return to_host(torch.cat([w, told[:, None]], 1)), to_host(torch.cat([features.double(), readout[:, None]], 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for the summary."""
        numbers: dict[str, Any] = dict.fromkeys(PARTICLE_NUMBERS) | {name: getattr(self, name) for name in NUMBERS}
        errors = ("loss_error", "free_energy_error", "gap_error", "n_particles")
        numbers |= {name: getattr(self, name) for name in errors}
        above, by_start = self.upper, self.losses_by_start
        return numbers | {
            "method": "two hidden layers by particles",
            "n_replicates": len(self.losses_by_start),
            "order_parameters": dict(self.order_parameters),
            "drift_of_kernel": self.drift_of_kernel,
            "noise_of_kernel": self.noise_of_kernel,
            "starts": {name: {"loss": loss, "loss_error": error} for name, (loss, error) in by_start.items()},
            "layers": [
                {
                    "mean_norm": self.mean_norm,
                    "mean_square_norm": self.mean_square_norm,
                    "mean_square_norm_error": self.mean_square_norm_error,
                    "kl": self.lower_kl,
                },
                {"mean_square_readout": above.mean_square_readout, "kl": above.kl, "log_z": list(above.log_z)},
            ],
        }


def solve_two_hidden(
    problem: TwoHiddenProblem, *, seed: int = 0, n_particles: int = 0, starts: Sequence[Start] = STARTS
) -> Iterator[float | LayeredTheory]:
    """Solve two hidden layers from every start, and judge the mean of those that agree.

    Args:
        problem: points, targets, penalties; seed: of all randomness; n_particles: of each layer (0: N_PARTICLES).
        starts: where both layers begin, see `settle_both`.

    Yields:
        share behind, at last the `LayeredTheory`.

    Raises:
        LawLost: no start settles.
    """
    begin, n_particles = time.perf_counter(), n_particles or N_PARTICLES
    settled: dict[str, Settled] = {}
    part = 0.8 / len(starts)
    for number, start in enumerate(starts):
        for item in settle_both(problem, seed=seed + (number << 32), n_particles=n_particles, start=start):
            if isinstance(item, float):
                yield part * (number + item)
            else:
                settled[start] = item
    by_start = {name: _loss_of(problem, one) for name, one in settled.items()}
    best, shortfall = _agreeing(by_start, float((problem.weights[:, None] * problem.targets**2).sum()))
    kernel = torch.stack([settled[name].kernel for name in best]).mean(0)
    form = torch.stack([settled[name].form for name in best]).mean(0)
    upper: ParticleTheory | None = None
    for found in solve_particles(problem.upper(kernel), seed=seed + 7, n_particles=N_JUDGED):
        if isinstance(found, float):
            yield 0.8 + 0.15 * found
        else:
            upper = found
    assert upper is not None
    lower, log_z = yield from relayed(_fresh_lower(problem, form, seed + 8), lambda done: 0.95 + 0.05 * done)
    yield _told(problem, settled, by_start, best, shortfall, kernel, form, upper, lower, log_z, n_particles, begin)


def _loss_of(problem: TwoHiddenProblem, settled: Settled) -> tuple[float, float]:
    """Loss of a start by the product of two halves of its turns, without the bias of a square; and its error."""
    loss = float(problem.weights @ (settled.halves[0] * settled.halves[1]))
    return loss, float(averaged(settled.losses).standard_error)


def _agreeing(by_start: dict[str, tuple[float, float]], power: float) -> tuple[list[str], str]:
    """The starts whose mean is taken, and a sentence where they differ; then the lowest loss counts."""
    lowest = min(by_start, key=lambda name: by_start[name][0])
    low, low_error = by_start[lowest]
    same = [
        name
        for name, (loss, error) in by_start.items()
        if loss - low <= max(SAME_ERRORS * math.hypot(error, low_error), SAME_SHARE * power)
    ]
    if len(same) == len(by_start):
        return same, ""
    words = ", ".join(f"{loss:.4f} started {name}" for name, (loss, _) in by_start.items())
    return same, f"The solution depends on where it is started from: loss {words}. Two laws compete here."


def _fresh_lower(
    problem: TwoHiddenProblem, form: Tensor, seed: int
) -> Generator[float, None, tuple[Particles, Tensor]]:
    """First-layer particles from the prior to the law of Q, and log Z by population."""
    particles = prior_particles(
        problem.inputs.shape[1], 8, N_JUDGED // 8, seed=seed, device=problem.weights.device, dtype=problem.dtype
    )
    law, beta = problem.lower(form), 0.0
    while beta < 1.0:
        tilt, rise = law.tilt(particles.u)[0].double(), 1.0 - beta
        while effective_share(reweighted(particles, rise * tilt)) < KEPT * effective_share(particles) and rise > 1e-6:
            rise /= 1.3
        beta = 1.0 if beta + rise > 1.0 - 1e-9 else beta + rise
        particles = resampled(reweighted(particles, rise * tilt))
        particles = yield from telling(moving(particles, problem.lower(beta * form), N_MOVES), beta)
    return particles, particles.log_z


def _told(
    problem: TwoHiddenProblem,
    settled: dict[str, Settled],
    by_start: dict[str, tuple[float, float]],
    best: list[str],
    shortfall: str,
    kernel: Tensor,
    form: Tensor,
    upper: ParticleTheory,
    lower: Particles,
    log_z: Tensor,
    n_particles: int,
    begin: float,
) -> LayeredTheory:
    """All numbers."""
    share, length = lower.probabilities, (problem.temperature / problem.penalties[0]) ** 0.5
    norms = length * lower.u.double().norm(dim=1)
    squares = [averaged(settled[name].squares) for name in best]
    mean_square = sum(s.mean for s in squares) / len(squares)
    square_error = math.sqrt(sum(s.standard_error**2 for s in squares)) / len(squares)
    tilt = problem.lower(form).tilt(lower.u)[0].double()
    lower_kl = float(share @ tilt) - float(torch.logsumexp(log_z, 0) - math.log(len(log_z)))
    # What few particles do to K shows in the loss of the turns themselves, which falls as 1 over their number.
    unsettled = LEFT_OUT * abs(sum(by_start[name][0] for name in best) / len(best) - upper.loss)
    loss_error = math.hypot(upper.loss_error, unsettled)
    below_per_above = lower_kl / problem.width_ratio
    halves = [problem.kernel(lower.some(slice(k * 4, k * 4 + 4))) for k in (0, 1)]
    size = float(kernel.norm())
    return LayeredTheory(
        loss=upper.loss,
        loss_error=loss_error,
        target_power=upper.target_power,
        alignment=upper.alignment,
        free_energy=upper.free_energy + problem.temperature * below_per_above,
        free_energy_error=upper.free_energy_error,
        gap=upper.gap,
        gap_error=upper.gap_error,
        kl=upper.kl + below_per_above,
        lower_kl=lower_kl,
        mean_norm=float(share @ norms),
        mean_square_norm=mean_square,
        mean_square_norm_error=square_error,
        mean_square_readout=upper.mean_square_readout,
        drift_of_kernel=float((0.5 * (halves[0] + halves[1]) - kernel).norm()) / size,
        noise_of_kernel=float((halves[0] - halves[1]).norm()) / (2 * size),
        losses_by_start=by_start,
        n_particles=n_particles,
        seconds=time.perf_counter() - begin,
        problem=problem,
        kernel=kernel,
        form=form,
        upper=upper,
        lower=lower,
        shortfall=shortfall or upper.shortfall,
    )
