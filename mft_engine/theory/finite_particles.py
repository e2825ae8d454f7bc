"""The law of one neuron of a *finite* network in any number of inputs and readouts, by the particles of the exact law.

    M = (I + (1 - 1/N) C / T)^-1                    response of the other N - 1 neurons
    r_c = y - (I - M/N) f[r_c]                      cavity residual; with a run's mean residual r_bar: r_bar + M f_bar/N
    loss_N = |y - f_bar|^2 + Tr C (I + C/T)^-1 / N

The law itself is `laws/corrected.py`. With several readouts M is their average and acts on each alike; C keeps them
all. Every replicate of the particles solves the equation for N and, on the same particles, for infinite width; what is
reported is the exact law's own number plus the difference, in which their noise and the residual's fit of it cancel.

Source: docs/method.md, "Finite width".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.estimates import standard_error
from mft_engine.laws.corrected import CorrectedLaw, carried
from mft_engine.laws.law import Sample
from mft_engine.laws.particles import Particles, drawn_from, effective_share, follow, moved, prior_particles, reweighted
from mft_engine.rng import DRAWS, Stream, host_generator
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.sampled_dual import PointProblem, conjugate_gradients

Array = NDArray[np.float64]

MOST_UNKNOWNS = 4096
N_REPLICATES = 4
# Numbers that the features of one replicate may be.
MOST_FEATURES = 8_000_000
# Particles that stay worth something before they are moved, and the moves.
KEPT = 0.5
N_MOVES = 6
# Widths are reached from this one by halving.
WIDEST = 4096
N_STEPS = 16
# Times that particles are moved at one width, at most.
MOST_CYCLES = 4
SETTLED = 1e-4
# Largest last step, in units of the target, with which a prediction is given.
CONVERGED = 0.02
# Directions in which C/T is smaller do not respond.
HEARD = 0.01
N_PROBES = 16
DIFFERENCES = ("loss", "mean_norm", "mean_square_norm", "mean_square_readout")
# Particles that follow a run's own residual: one population, in which wells compete for them.
# Many short steps leave more of them independent than few long ones with as many moves in all.
N_FOLLOWERS, FOLLOWER_MOVES, FOLLOWERS_KEPT = 12_000, 2, 0.85


@dataclass(frozen=True, eq=False)
class FiniteParticles:
    """Prediction for a network of N neurons at equilibrium.

    Attributes:
        n_neurons: N.
        loss: |y - f_bar|^2 + Tr C (I + C/T)^-1 / N, the mean of one network's own loss on the points.
        mean_norm, mean_square_norm, mean_square_readout: of the corrected law; with `_error` each.
        trace_response, trace_covariance: Tr C (I + C/T)^-1 and Tr C under the corrected law.
        law, particles: the corrected law of the last replicate and its particles.
        problem: the points and penalties.
    """

    n_neurons: int
    loss: float
    loss_error: float
    mean_norm: float
    mean_norm_error: float
    mean_square_norm: float
    mean_square_norm_error: float
    mean_square_readout: float
    mean_square_readout_error: float
    trace_response: float
    trace_covariance: float
    law: CorrectedLaw
    particles: Particles
    problem: PointProblem

    def prediction(self, x: Array) -> Array:
        """The mean function f_bar at (n, n_inputs) inputs, (n, n_out)."""
        problem = self.problem
        inputs = problem.scaled(torch.as_tensor(x, dtype=torch.float64, device=problem.inputs.device))
        mean, _ = self.law.mean_and_stiffness(self.particles.u)
        pull = self.particles.probabilities[:, None] * mean.double()
        blocks = [
            problem.activation.phi(self.particles.u @ part.T).double().T @ pull for part in torch.split(inputs, 256)
        ]
        return to_host(torch.cat(blocks))


class _Solve:
    """One replicate: particles, and what is self-consistent on them.

    Args:
        problem: points and penalties; particles: to begin with; log_tilt: (n,) of the law that their weights are of.
        cavity: (n_unknowns, n_out) residual to begin with; mean_residual: of a run, if it is given.
    """

    def __init__(
        self,
        problem: PointProblem,
        particles: Particles,
        log_tilt: Tensor,
        cavity: Tensor,
        mean_residual: Tensor | None = None,
    ) -> None:
        self.problem, self.cavity, self.mean_residual = problem, cavity, mean_residual
        self.n_neurons, self.change = math.inf, math.inf
        self._stand(particles, log_tilt)

    def _stand(self, particles: Particles, log_tilt: Tensor) -> None:
        problem = self.problem
        self.particles, self.log_tilt = particles, log_tilt
        self.every = problem.everywhere.features(particles.u)
        self.folded = self.every if problem.basis is None else self.every @ problem.basis.to(problem.dtype)
        self.square = (self.every * self.every).sum(1).double()
        self.heard = self.every.new_zeros((self.every.shape[1], 0))
        self._weigh(self.cavity)

    def _weigh(self, cavity: Tensor) -> None:
        """Mean readout, stiffness and probability of each particle, and the share that is worth something."""
        problem = self.problem
        field = (self.folded @ cavity.to(problem.dtype)).double()
        extra = self.square - ((self.every @ self.heard) ** 2).sum(1).double()
        self.stiffness = problem.lambda_a + extra.clamp(min=0) / self.n_neurons
        self.mean = field / self.stiffness[:, None]
        tilt = (field * self.mean).sum(1) / (2 * problem.temperature)
        tilt = tilt - 0.5 * field.shape[1] * torch.log(self.stiffness / problem.lambda_a)
        weighted = reweighted(self.particles, tilt - self.log_tilt)
        self.p, self.share = weighted.probabilities, effective_share(weighted)
        self.output = self._sum(self.folded, self.p[:, None] * self.mean)

    def _sum(self, features: Tensor, values: Tensor) -> Tensor:
        return (features.T @ values.to(features.dtype)).double()

    def covariance(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of C averaged over readouts, in the coordinates of the features."""
        second = self.p * (self.problem.temperature / self.stiffness + (self.mean * self.mean).mean(1))
        outputs = self._sum(features, self.p[:, None] * self.mean)
        scaled = features * second.sqrt().to(features.dtype)[:, None]
        matrix = (scaled.T @ scaled).double() - outputs @ outputs.T / outputs.shape[1]
        values, vectors = torch.linalg.eigh(matrix)
        return values.clamp(min=0), vectors

    def product(self, v: Tensor, features: Tensor, output: Tensor) -> Tensor:
        """C v / T with all readouts."""
        temperature = self.problem.temperature
        along = (features @ v.to(features.dtype)).double()
        shared = (self.mean * along).sum(1, keepdim=True) * self.mean / temperature
        pulled = self._sum(features, self.p[:, None] * (along / self.stiffness[:, None] + shared))
        return pulled - output * (float((output * v).sum()) / temperature)

    def solve(self, n_neurons: float) -> None:
        """Cavity residual and response at self-consistency for N, on the particles as they are."""
        self.n_neurons, target = n_neurons, self.problem.visible_target
        others = (1 - 1 / n_neurons) / self.problem.temperature
        for _ in range(N_STEPS):
            if n_neurons < math.inf:
                values, vectors = self.covariance(self.every)
                heard = others * values
                kept = heard > HEARD
                self.heard = (vectors[:, kept] * (heard / (1 + heard))[kept].sqrt()).to(self.every.dtype)
                self._weigh(self.cavity)
            values, vectors = self.covariance(self.folded)
            equation = self._equation(vectors, 1 / (1 + others * values))
            step = self._step(*equation)
            self.change = float(step.norm()) / float(target.norm())
            self._advance(step, equation[0])
            if self.change < SETTLED:
                return

    def _advance(self, step: Tensor, equation: Callable[[], Tensor]) -> None:
        """As far along the step as the particles follow and the equation's error falls."""
        share, error, cavity, length = self.share, float(equation().norm()), self.cavity, 1.0
        while True:
            self.cavity = cavity + length * step
            self._weigh(self.cavity)
            if self.mean_residual is not None or length < 0.02:
                return
            if self.share >= 0.3 * share and float(equation().norm()) < max(error, SETTLED):
                return
            length /= 2

    def _equation(self, vectors: Tensor, response: Tensor) -> tuple[Callable[[], Tensor], Callable[[Tensor], Tensor]]:
        """What is missing from self-consistency as things stand, and (I - M/N)^-1."""
        n, target, mean = self.n_neurons, self.problem.visible_target, self.mean_residual

        def scaled(factor: Tensor, v: Tensor) -> Tensor:
            return vectors @ (factor[:, None] * (vectors.T @ v))

        def missing() -> Tensor:
            if mean is not None:
                return mean + scaled(response, target - mean) / n - self.cavity
            return target - scaled(1 - response / n, self.output) - self.cavity

        return missing, lambda v: scaled(1 / (1 - response / n), v)

    def _step(self, missing: Callable[[], Tensor], undone: Callable[[Tensor], Tensor]) -> Tensor:
        """Newton's step of the cavity residual."""
        right = missing()
        if self.mean_residual is not None or self.n_neurons == 1:
            return right
        # (I + A C/T) x = right with A = I - M/N, made symmetric by A^-1
        return conjugate_gradients(lambda v: undone(v) + self.product(v, self.folded, self.output), undone(right))

    def law(self) -> CorrectedLaw:
        """The corrected law as it stands."""
        problem = self.problem
        dtype, n = problem.dtype, self.n_neurons
        root = problem.root_weights
        return CorrectedLaw(
            inputs=problem.scaled_inputs,
            activation=problem.activation,
            cavity=(root * problem.unfolded(self.cavity)).to(dtype),
            own=(problem.weights / n).to(dtype),
            heard=(root / math.sqrt(n)).to(dtype) * self.heard,
            temperature=problem.temperature,
            lambda_a=problem.lambda_a,
        )

    def moved(self) -> Generator[None, None, None]:
        """Particles that the law has left behind are brought under it."""
        law = self.law()
        particles = yield from carried(self.particles, law, self.log_tilt, N_MOVES)
        self._stand(particles, law.log_tilt(particles.u).double())

    def settled(self) -> Particles:
        """The particles with the weights of the law as it stands."""
        return reweighted(self.particles, self.law().log_tilt(self.particles.u).double() - self.log_tilt)

    def numbers(self) -> dict[str, float]:
        """What is reported of it."""
        problem, target = self.problem, self.problem.visible_target
        trace = self._trace_response()
        mean = self.output if self.mean_residual is None else target - self.mean_residual
        norms = (problem.temperature / problem.lambda_w) ** 0.5 * self.particles.u.double().norm(dim=1)
        readout = target.shape[1] * problem.temperature / self.stiffness + (self.mean**2).sum(1)
        output = self._sum(self.every, self.p[:, None] * self.mean)
        return {
            "loss": float(((target - mean) ** 2).sum()) + trace / self.n_neurons,
            "mean_norm": float(self.p @ norms),
            "mean_square_norm": float(self.p @ norms**2),
            "mean_square_readout": float(self.p @ readout),
            "trace_response": trace,
            "trace_covariance": float(self.p @ (self.square * readout)) - float((output**2).sum()),
        }

    def _trace_response(self) -> float:
        """T (dimension - Tr (I + C/T)^-1); with several readouts by the same random signs every time."""
        if math.isinf(self.n_neurons):
            return 0.0
        if self.mean.shape[1] == 1:
            values, _ = self.covariance(self.every)
            return float((values / (1 + values / self.problem.temperature)).sum())
        shape = (self.every.shape[1], self.mean.shape[1])
        output = self._sum(self.every, self.p[:, None] * self.mean)
        generator, total = host_generator(0, Stream.THEORY, 2**42), 0.0
        for _ in range(N_PROBES):
            signs = torch.as_tensor(2.0 * generator.integers(2, size=shape) - 1.0, device=self.every.device)
            answer = conjugate_gradients(lambda v: v + self.product(v, self.every, output), signs)
            total += float((signs * answer).sum())
        return self.problem.temperature * (shape[0] * shape[1] - total / N_PROBES)


def solve_finite_particles(theory: ParticleTheory, n_neurons: int) -> Iterator[float | FiniteParticles]:
    """The law of one neuron of N at equilibrium, without simulation.

    Args:
        theory: the exact law of the same problem; n_neurons: N >= 1.

    Yields:
        share behind, at last the prediction.

    Raises:
        ValueError: N < 1, or more points than the response can be found for; the message says how many.
        ArithmeticError: the equation is not solved by these particles.
    """
    problem = theory.problem
    refuse_width(problem, n_neurons)
    ladder = [float(n_neurons)]
    while 2 * ladder[-1] < WIDEST:
        ladder.append(2 * ladder[-1])
    rows: list[dict[str, float]] = []
    solve: _Solve | None = None
    for k in range(N_REPLICATES):
        particles, log_tilt = _replicate(theory, k)
        solve = _Solve(problem, particles, log_tilt, theory.visible_residual)
        solve.solve(math.inf)
        wide = solve.numbers()
        for j, width in enumerate(reversed(ladder)):
            yield (k + j / len(ladder)) / N_REPLICATES
            solve.solve(width)
            for _ in range(MOST_CYCLES):
                if solve.share >= KEPT and solve.change <= CONVERGED:
                    break
                for _ in solve.moved():
                    yield (k + j / len(ladder)) / N_REPLICATES
                solve.solve(width)
        if solve.change > CONVERGED:
            raise ArithmeticError(
                f"The finite-width law of {n_neurons:,} neurons is not found by these particles; more neurons, a "
                "higher temperature or a larger theory.n_particles help"
            )
        narrow = solve.numbers()
        rows.append(narrow | {name: narrow[name] - wide[name] for name in DIFFERENCES})
    assert solve is not None
    yield _together(theory, n_neurons, rows, solve)


def _together(theory: ParticleTheory, n_neurons: int, rows: list[dict[str, float]], solve: _Solve) -> FiniteParticles:
    """The exact law's numbers plus the replicates' mean differences."""
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    scatter = {name: standard_error([row[name] for row in rows]) for name in rows[0]}
    base = {
        "loss": (theory.loss, theory.loss_error),
        "mean_norm": (theory.mean_norm, theory.mean_norm_error),
        "mean_square_norm": (theory.mean_square_norm, theory.mean_square_norm_error),
        "mean_square_readout": (theory.mean_square_readout, 0.0),
    }
    values = {name: value + mean[name] for name, (value, _) in base.items()}
    errors = {f"{name}_error": math.hypot(error, scatter[name]) for name, (_, error) in base.items()}
    return FiniteParticles(
        n_neurons=n_neurons,
        **values,
        **errors,
        trace_response=mean["trace_response"],
        trace_covariance=mean["trace_covariance"],
        law=solve.law(),
        particles=solve.settled(),
        problem=theory.problem,
    )


def _replicate(theory: ParticleTheory, number: int) -> tuple[Particles, Tensor]:
    """A part of the last witnesses, and the log-tilt of their law."""
    judged, problem = theory.judgements[-1], theory.problem
    populations = judged.particles.n_populations // N_REPLICATES
    part = judged.particles.some(slice(number * populations, (number + 1) * populations))
    kept = min(part.n_each, max(1, MOST_FEATURES // (populations * len(problem.weights))))
    u = part.u.reshape(populations, part.n_each, -1)[:, -kept:].flatten(0, 1)
    log_weights = torch.log_softmax(part.log_weights[:, -kept:], 1)
    return replace(part, u=u, log_weights=log_weights), problem.law(judged.rho).log_tilt(u)


def follow_finite_width(
    problem: PointProblem, mean_residual: Tensor, n_neurons: int, *, seed: int
) -> Iterator[float | tuple[CorrectedLaw, Particles]]:
    """The law of one neuron of N in the mean residual of a run.

    Args:
        problem: points and penalties, without symmetries that the run's residual has not; n_neurons: N.
        mean_residual: (n_points, n_out) time average of y - f; seed: of the particles.

    Yields:
        share behind, at last the law and particles under it.

    Raises:
        ValueError: as `solve_finite_particles`; LawLost: the particles cannot follow the residual.
    """
    problem = problem.everywhere
    refuse_width(problem, n_neurons)
    rho = problem.visible(mean_residual)
    start = prior_particles(
        problem.inputs.shape[1], 1, N_FOLLOWERS, seed=seed, device=problem.inputs.device, dtype=problem.dtype
    )
    law = problem.law(rho)
    particles = yield from follow(start, (problem.law(torch.zeros_like(rho)), law), FOLLOWER_MOVES, FOLLOWERS_KEPT)
    solve = _Solve(problem, particles, law.log_tilt(particles.u), rho, rho)
    width = float(max(n_neurons, WIDEST))
    while True:
        solve.solve(width)
        for _ in range(MOST_CYCLES):
            if solve.share >= KEPT and solve.change <= CONVERGED:
                break
            for _ in solve.moved():
                yield 1.0
            solve.solve(width)
        if width == n_neurons:
            break
        width = max(float(n_neurons), width / 2)
    yield solve.law(), solve.settled()


@dataclass(frozen=True)
class FollowedLaw:
    """The law of one neuron of N in the mean residual of a run, followed there when it is drawn from.

    Attributes:
        problem, mean_residual, n_neurons: as in `follow_finite_width`.
    """

    problem: PointProblem
    mean_residual: Tensor
    n_neurons: int

    def draw(self, n: int, *, seed: int, number: int = 0) -> Generator[float, None, Sample]:
        """n neurons.

        Raises:
            ArithmeticError: the particles cannot follow the residual.
        """
        seed += number * DRAWS
        found: tuple[CorrectedLaw, Particles] | None = None
        for item in follow_finite_width(self.problem, self.mean_residual, self.n_neurons, seed=seed):
            if isinstance(item, float):
                yield item
            else:
                found = item
        assert found is not None
        return Sample(sample_corrected(self.problem, *found, n, seed))


def sample_corrected(problem: PointProblem, law: CorrectedLaw, particles: Particles, n: int, seed: int) -> Array:
    """Neurons of a corrected law from particles under it.

    Returns:
        (n, n_inputs + n_out) columns w, a.
    """
    generator = host_generator(seed, Stream.THEORY, 2**43)
    drawn = moved(drawn_from(particles, n, generator, seed + 1), law, N_MOVES)
    mean, stiffness = law.mean_and_stiffness(drawn.u)
    noise = torch.as_tensor(generator.standard_normal(mean.shape), device=mean.device)
    readout = mean.double() + (problem.temperature / stiffness.double()).sqrt()[:, None] * noise
    w = drawn.u.double() * math.sqrt(problem.temperature / problem.lambda_w)
    theta = to_host(torch.cat([w, readout], 1))
    return theta if problem.orbits is None else problem.orbits.scattered(theta, generator)


def refuse_width(problem: PointProblem, n_neurons: int) -> None:
    """Raises ValueError, in a sentence, where the finite-width law beyond the plane cannot be found."""
    if n_neurons < 1:
        raise ValueError(f"n_neurons = {n_neurons}: a network has at least 1 neuron")
    if len(problem.weights) > MOST_UNKNOWNS:
        raise ValueError(
            f"The finite-width law beyond the plane takes at most {MOST_UNKNOWNS:,} points; "
            f"this problem has {len(problem.weights):,}."
        )
