"""The infinite-width solution by particles: what it says, with standard errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.estimates import standard_error
from mft_engine.laws.particles import Particles, drawn_from, moved
from mft_engine.points.accuracy import accuracy
from mft_engine.points.statistics import ORDERS
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.particles import FINELY, N_MOVES, Estimate, Judgement, Witnesses, estimate
from mft_engine.theory.sampled_dual import PointProblem, SampledDual
from mft_engine.theory.theory import LAYER_NUMBERS, NUMBERS, PARTICLE_NUMBERS

Array = NDArray[np.float64]

# Excess of the judged residual, in units of T, below which a step to the optimum is linear; and above which it says
# nothing. What a step leaves out is of the order of this part of the excess.
CLOSE = 0.15
FAR = 0.8
LEFT_OUT = 0.5
# Effective share of the populations below which they have not agreed on Z.
AGREED = 0.4
N_PROBES = 16
# Points up to which C is made whole.
MOST_EXACT = 2048
# Inputs whose predictions are made together.
BLOCK_INPUTS = 256


@dataclass(frozen=True)
class TestPoints:
    """What the infinitely wide network is judged by beside its training points.

    Attributes:
        inputs: (n, n_inputs); targets: (n, n_out); weights: (n,) of total 1; float64.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class ParticleTheory:
    """The infinite-width law on weighted points and what follows from it, with standard errors.

    Meanings as in `PlanarTheory`; loss is the sum over points and readouts of weight (y - f)^2, without the half.

    Attributes:
        loss, test_loss, free_energy, gap, excess: with `_error` each. gap is that of the residual that was judged last,
            F(mu_r) - D(r), excess the mean D* - D(r) of all that count, without bias, so that either may come out
            slightly negative. The numbers themselves are taken one Newton step further.
        dual: D*, which at the optimum is the free energy.
        log_z: log Z at the judged residual, counted on the way there and on the way back; the same number twice where
            particles were drawn around listed wells.
        order_parameters, order_parameters_error: overlap, or cosines in the plane.
        population_share: effective share of the populations: 1 where they agree on Z.
        n_particles, n_replicates, n_rounds: witnesses of the last round, halves, rounds.
        train_accuracy, test_accuracy: of the mean function, where targets name classes; with `_error`.
        fourier: the law's neurons as waves, of additions.
        shortfall: a sentence where the particles do not suffice, else empty.
        judgements: of the rounds that count, the best last; problem: the points and penalties.
        cloud, cloud_rho: particles that have settled with a common residual, and it.
        witnesses: the populations that judged last, at one moment.
    """

    loss: float
    loss_error: float
    test_loss: float | None
    test_loss_error: float | None
    target_power: float
    alignment: float
    free_energy: float
    free_energy_error: float
    gap: float
    gap_error: float
    excess: float
    excess_error: float
    log_z: tuple[float, float]
    kl: float
    readout_free_kl: float
    mean_norm: float
    mean_norm_error: float
    mean_square_norm: float
    mean_square_norm_error: float
    mean_square_readout: float
    order_parameters: dict[str, float]
    order_parameters_error: dict[str, float]
    population_share: float
    n_particles: int
    n_replicates: int
    n_rounds: int
    seconds: float
    shortfall: str
    judgements: tuple[Judgement, ...] = dataclasses.field(repr=False)
    problem: PointProblem = dataclasses.field(repr=False)
    witnesses: Particles = dataclasses.field(repr=False)
    cloud: Particles = dataclasses.field(repr=False)
    cloud_rho: Tensor = dataclasses.field(repr=False)
    train_accuracy: float | None = None
    train_accuracy_error: float | None = None
    test_accuracy: float | None = None
    test_accuracy_error: float | None = None
    fourier: dict[str, Any] | None = None
    method: str = "particles"

    @property
    def dual(self) -> float:
        """D*, equal to the free energy at the optimum."""
        return self.free_energy

    @property
    def density(self) -> None:
        """Known by samples alone."""
        return None

    @property
    def target_variance(self) -> float:
        """Sum over points and readouts of weight (y - mean y)^2: what a gap is small beside."""
        weights, targets = self.problem.weights[:, None], self.problem.targets
        return float((weights * (targets - (weights * targets).sum(0)) ** 2).sum())

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""
        return self.problem.targets.shape[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for the summary."""
        numbers = {name: getattr(self, name) for name in (*NUMBERS, *PARTICLE_NUMBERS)}
        layer = {name: getattr(self, name) for name in (*LAYER_NUMBERS, "mean_square_norm_error", "mean_norm_error")}
        return numbers | {
            "order_parameters": dict(self.order_parameters),
            "order_parameters_error": dict(self.order_parameters_error),
            "log_z": list(self.log_z),
            "layers": [layer],
            **({"fourier": self.fourier} if self.fourier else {}),
        }

    @property
    def visible_residual(self) -> Tensor:
        """(n_unknowns, n_out) coordinates of r at the optimum."""
        return torch.stack([judged.rho + judged.step for judged in self.judgements]).mean(0)

    def residual(self) -> Array:
        """(n_points, n_out) r = y - f on the training points."""
        return to_host(self.problem.on_points(self.visible_residual))

    def prediction(self, x: Array) -> Array:
        """The infinite-width network's function f.

        Args:
            x: (n, n_inputs).

        Returns:
            (n, n_out).
        """
        return np.asarray(self.predictions(x).mean(axis=0))

    def predictions(self, x: Array) -> Array:
        """The same by every half of the witnesses alone, which know nothing of each other: (n_halves, n, n_out)."""
        problem = self.problem
        every = problem.scaled(torch.as_tensor(x, dtype=torch.float64, device=problem.inputs.device))
        blocks = [
            self._outputs(lambda u, inputs=inputs: problem.activation.phi(u @ inputs.T))  # type: ignore[misc]
            for inputs in torch.split(every, BLOCK_INPUTS)
        ]
        return to_host(torch.cat(blocks, 1))

    def accuracy_of(self, x: Array, targets: Array) -> tuple[float, float]:
        """Share of inputs that the mean function puts into the right class, and its standard error.

        The error is read off the scatter of what the halves answer, each by itself.

        Args:
            x: (n, n_inputs), targets: (n, n_out).
        """
        functions = self.predictions(x)
        shares = [accuracy(f, targets) for f in functions]
        return accuracy(functions.mean(axis=0), targets), standard_error(shares)

    def mean_output(self, features: Callable[[Tensor], Tensor]) -> Tensor:
        """E[a h(w)] at the optimum, (n, n_out), for any features h of neurons in units of the prior, (n_neurons, n)."""
        return self._outputs(features).mean(0)

    def _outputs(self, features: Callable[[Tensor], Tensor]) -> Tensor:
        """(n_halves, n, n_out)."""
        halves = [witnesses.functions(lambda particles: features(particles.u)) for witnesses in self._witnesses]
        return torch.stack([f for pair in halves for f in pair])

    @cached_property
    def _witnesses(self) -> tuple[Witnesses, ...]:
        return tuple(Witnesses(self.problem, judged.particles, judged.rho) for judged in self.judgements)

    @cached_property
    def trace_response(self) -> float:
        """Tr C (I + C/T)^-1: N times the mean-square fluctuation of an equilibrium background's function.

        By the eigenvalues of C with one readout; else T times the number of components of f, less T Tr (I + C/T)^-1,
        which random signs find (Hutchinson 1990).
        """
        problem = self.problem
        halves = [
            SampledDual(problem.everywhere, dual.particles, problem.unfolded(dual.rho))
            for dual in self._witnesses[-1].halves
        ]
        if problem.targets.shape[1] == 1 and len(problem.weights) <= MOST_EXACT:
            values = torch.cat([torch.linalg.eigvalsh(dual.covariance()) for dual in halves]).clamp(min=0)
            return 0.5 * float((values / (1 + values / problem.temperature)).sum())
        generator = host_generator(self.cloud.seed, Stream.THEORY, 2**41)
        shape, traces = problem.targets.shape, []
        for number in range(N_PROBES):
            signs = torch.as_tensor(2.0 * generator.integers(2, size=tuple(shape)) - 1.0, device=self.cloud.u.device)
            traces.append(float((signs * halves[number % 2].solve(signs, *FINELY)).sum()))
        return problem.temperature * (signs.numel() - sum(traces) / len(traces))

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """Neurons of the law.

        Args:
            n: how many; seed: of the draw.

        Returns:
            (n, n_inputs + n_out) columns w, a.
        """
        problem, generator = self.problem, host_generator(seed, Stream.THEORY, 2**40)
        drawn = drawn_from(self.cloud, n, generator, seed + 1)
        law = problem.law(self.cloud_rho)
        drawn = moved(drawn, law, N_MOVES)  # twins part
        field = law.field(drawn.u).double() * math.sqrt(2 * problem.temperature / problem.lambda_a)
        noise = torch.as_tensor(generator.standard_normal(field.shape), device=field.device)
        readout = field + math.sqrt(problem.temperature / problem.lambda_a) * noise
        w = drawn.u.double() * math.sqrt(problem.temperature / problem.lambda_w)
        theta = to_host(torch.cat([w, readout], 1))
        return theta if problem.orbits is None else problem.orbits.scattered(theta, generator)


Round = tuple[Judgement, dict[str, Estimate]]


def observables(witnesses: Witnesses, test: TestPoints | None, n_relevant: int) -> dict[str, Estimate]:
    """Means of functions of a neuron at the optimum, and the test loss.

    Args:
        witnesses: at a residual near it; test: what the function is judged by; n_relevant: as in `solve_particles`.
    """
    problem = witnesses.problem
    length = math.sqrt(problem.temperature / problem.lambda_w)
    n_inputs, n_out = problem.inputs.shape[1], problem.targets.shape[1]

    def of_weights(value: Tensor) -> tuple[Tensor, None]:
        return value, None

    found = {
        "mean_norm": witnesses.observable(lambda d: of_weights(length * d.particles.u.norm(dim=1))),
        "mean_square_norm": witnesses.observable(lambda d: of_weights(length**2 * (d.particles.u**2).sum(1))),
    }
    if n_inputs == 2:
        for k in ORDERS:
            found[f"cos{k}"] = witnesses.observable(
                lambda d, k=k: of_weights(torch.cos(k * torch.atan2(d.particles.u[:, 1], d.particles.u[:, 0])))  # type: ignore[misc]
            )
    if 0 < n_relevant < n_inputs and n_inputs != 2:
        square = problem.lambda_a**-2

        def strength(columns: slice) -> Estimate:
            def values(d: SampledDual) -> tuple[Tensor, Tensor]:
                inside = (d.particles.u[:, columns] ** 2).sum(1)
                readout = n_out * problem.temperature / problem.lambda_a + square * (d.field**2).sum(1)
                return inside * readout, 2 * square * inside[:, None] * d.field

            return witnesses.observable(values)

        inside, total = strength(slice(n_relevant)), strength(slice(None))
        share = inside.value / total.value
        found["overlap"] = estimate(share, (inside.parts - share * total.parts) / total.value)
    if test is not None:
        found["test_loss"] = _test_loss(witnesses, test)
    return found


def _test_loss(witnesses: Witnesses, test: TestPoints) -> Estimate:
    problem = witnesses.problem
    inputs = problem.scaled(test.inputs)
    by_halves = witnesses.functions(lambda particles: problem.activation.phi(particles.u @ inputs.T))
    off = [test.targets - f for f in by_halves]

    def values(dual: SampledDual) -> tuple[Tensor, Tensor]:
        features = problem.activation.phi(dual.particles.u @ inputs.T)
        residual = test.targets - (features.T @ (dual.p[:, None] * dual.field)).double() / problem.lambda_a
        pull = (features @ (-2 * test.weights[:, None] * residual).to(problem.dtype)) / problem.lambda_a
        return (pull * dual.field).sum(1), pull

    return replace(witnesses.observable(values), value=float((test.weights[:, None] * off[0] * off[1]).sum()))


def _mean(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Mean of rounds, and its standard error."""
    n = len(estimates)
    return sum(e.value for e in estimates) / n, math.sqrt(sum(e.error**2 for e in estimates)) / n


def report(
    problem: PointProblem,
    rounds: Sequence[Round],
    witnesses: Particles,
    cloud: tuple[Tensor, Particles],
    n_replicates: int,
    seconds: float,
    precision: float | None,
) -> ParticleTheory:
    """All numbers of the rounds so far: the mean of those that came close to the optimum, else the last one's."""
    temperature = problem.temperature
    good = [r for r in rounds if abs(r[0].excess.value) <= CLOSE * temperature] or [rounds[-1]]
    judged = [judgement for judgement, _ in good]
    excess, excess_error = _mean([j.excess for j in judged])
    left_out = LEFT_OUT * abs(excess)
    loss, loss_error = _mean([j.loss for j in judged])
    energy, energy_error = _mean([j.dual for j in judged])
    seen = {name: _mean([found[name] for _, found in good]) for name in good[0][1]}
    last = judged[-1]
    power = float((problem.visible_target**2).sum())
    alignment = sum(j.alignment for j in judged) / len(judged)
    kl = (energy - 0.5 * loss) / temperature
    # <r, f> = <r, y> - |r|^2 and T shift = E|g|^2 / lambda_a = <r, f_r>
    shift = (power * (1.0 - alignment) - loss) / temperature
    orders = {name: value for name, value in seen.items() if name.startswith("cos") or name == "overlap"}
    shares = last.particles.shares
    agreement = float(1.0 / (shares**2).sum()) / len(shares)
    n_particles = len(last.particles.u)
    loss_error = math.hypot(loss_error, left_out)
    return ParticleTheory(
        loss=loss,
        loss_error=loss_error,
        test_loss=seen["test_loss"][0] if "test_loss" in seen else None,
        test_loss_error=seen["test_loss"][1] if "test_loss" in seen else None,
        target_power=power,
        alignment=alignment,
        free_energy=energy,
        free_energy_error=math.hypot(energy_error, left_out),
        gap=last.gap.value,
        gap_error=last.gap.error,
        excess=excess,
        excess_error=excess_error,
        log_z=last.log_z,
        kl=kl,
        readout_free_kl=kl - 0.5 * shift,
        mean_norm=seen["mean_norm"][0],
        mean_norm_error=seen["mean_norm"][1],
        mean_square_norm=seen["mean_square_norm"][0],
        mean_square_norm_error=seen["mean_square_norm"][1],
        mean_square_readout=problem.targets.shape[1] * temperature / problem.lambda_a
        + shift * temperature / problem.lambda_a,
        order_parameters={name: value for name, (value, _) in orders.items()},
        order_parameters_error={name: error for name, (_, error) in orders.items()},
        population_share=agreement,
        n_particles=n_particles,
        n_replicates=n_replicates,
        n_rounds=len(rounds),
        seconds=seconds,
        shortfall=_shortfall(agreement, excess, temperature, n_particles, loss_error, precision),
        judgements=tuple(judged),
        problem=problem,
        witnesses=witnesses,
        cloud=cloud[1],
        cloud_rho=cloud[0],
    )


def _shortfall(
    agreement: float, excess: float, temperature: float, n: int, error: float, precision: float | None
) -> str:
    """What the particles do not suffice for, and what would be enough; empty where they do."""
    if not agreement >= AGREED:
        return (
            f"{n:,} particles do not agree on how much each well of the law holds (their populations are worth "
            f"{100 * agreement:.0f} % of their number): try theory.n_particles = {8 * n} or a higher temperature."
        )
    if not excess <= FAR * temperature:
        enough = 1000 * math.ceil(n * excess / (CLOSE * temperature) / 1000)
        return (
            f"{n:,} particles leave the residual {excess:.2g} of free energy from its optimum, where "
            f"{FAR * temperature:.2g} is allowed: about theory.n_particles = {enough} would be enough."
        )
    if precision is not None and error > precision:
        enough = 1000 * math.ceil(n * (error / precision) ** 2 / 1000)
        return (
            f"{n:,} particles give the loss with a standard error of {error:.2g}, {precision:.2g} was asked for: about "
            f"theory.n_particles = {enough} would be enough."
        )
    return ""
