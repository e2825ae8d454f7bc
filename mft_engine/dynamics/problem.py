"""What a dynamics is told: hyperparameters that may change at every call, and the problem that does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.dynamics.divergence import loss_limit
from mft_engine.field.field import MeanField, curvature, stiffness
from mft_engine.kernels import Integrator, StepPlan
from mft_engine.network.activations import Activation
from mft_engine.points.measure import rotation, weighted
from mft_engine.points.statistics import Estimate, order_parameters
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream

RESOLVING_STEP = 0.7
LARGEST_STEP = 0.02
# Neurons drawn from the prior that tell how large a network's function may be.
PROBED_NEURONS = 256


@dataclass(frozen=True)
class Hyper:
    """What may change at every call without a restart.

    Attributes:
        step_size: None chooses min(1.4/Theta, 0.7/curvature, 0.02) in prior units, min(0.35/Theta, 0.35/lambda) for raw
            steps, looked at every 100 steps (20 in the quench after a change) and only lowered between changes.
        is_preconditioned: prior units (each coordinate divided by its lambda) or raw steps.
        lambda_hidden: of weights between hidden layers.
    """

    lambda_w: float
    lambda_a: float
    temperature: float
    step_size: float | None
    integrator: Integrator
    is_preconditioned: bool
    trains_readout: bool
    lambda_hidden: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Hyper:
        """The hyperparameters that a recipe asks for."""
        training = recipe.training
        return cls(
            lambda_w=recipe.lambda_w,
            lambda_a=recipe.lambda_a,
            temperature=training.temperature,
            step_size=None if training.step_size == "auto" else float(training.step_size),
            integrator=training.integrator,
            is_preconditioned=training.preconditioner == "prior",
            trains_readout=recipe.network.train_readout,
            lambda_hidden=recipe.lambda_hidden,
        )

    def rate_per_step(self, n_inputs: int, n_out: int = 1) -> tuple[float, ...]:
        """rate_j / step_size for each of the n_inputs + n_out parameters."""
        weight = 1.0 / self.lambda_w if self.is_preconditioned else 1.0
        readout = 1.0 / self.lambda_a if self.is_preconditioned else 1.0
        return (weight,) * n_inputs + (readout if self.trains_readout else 0.0,) * n_out


def step_plan(
    hyper: Hyper,
    step_size: float,
    n_inputs: int,
    *,
    seed: int,
    stream: Stream,
    readout_exponent: float,
    n_out: int = 1,
) -> StepPlan:
    """The per-parameter numbers of one update, for the kernels."""
    penalties = (hyper.lambda_w,) * n_inputs + (hyper.lambda_a,) * n_out
    return plan_of(
        hyper,
        step_size,
        hyper.rate_per_step(n_inputs, n_out),
        penalties,
        seed=seed,
        stream=stream,
        readout_exponent=readout_exponent,
    )


def plan_of(
    hyper: Hyper,
    step_size: float,
    rates: tuple[float, ...],
    penalties: tuple[float, ...],
    *,
    seed: int,
    stream: Stream,
    readout_exponent: float,
) -> StepPlan:
    """The same from rate / step_size and lambda of every column."""
    rate = tuple(step_size * r for r in rates)
    return StepPlan(
        rate=rate,
        decay=tuple(r * p for r, p in zip(rate, penalties, strict=True)),
        noise=tuple(math.sqrt(2.0 * r * hyper.temperature) for r in rate),
        integrator=hyper.integrator,
        seed=seed,
        stream=int(stream),
        readout_exponent=readout_exponent,
    )


@dataclass(frozen=True)
class Problem:
    """What does not change while a background is trained.

    Attributes:
        inputs (n_points, n_inputs), targets (n_points,) or (n_points, n_out), weights (n_points,): the
            training measure.
        field_inputs (n_field, n_inputs): where the running average of f lives; the training inputs unless they move.
        target: the task's function, for points that move.
        batch_size: 0 for the whole measure; fresh draws of N(0, I), or of the training points where `is_finite_data`.
        rotates: the rule is turned by a random angle at every step.
        burn_in: time after a change of hyperparameters before the average (re)starts.
        end_time, end_step: the recipe's last step; end_step 0 means that the time decides.
        kernel: the inner loop.
        input_map: what makes inputs of N(0, I) draws, for batches; None where they are the inputs.
        n_relevant: the target depends on the first so many inputs alone (0: on all, or unknown).
    """

    activation: Activation
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    field_inputs: Tensor
    target: Any
    readout_exponent: float
    seed: int
    batch_size: int
    is_finite_data: bool
    rotates: bool
    burn_in: float
    end_time: float
    end_step: int
    kernel: Any
    input_map: Any = None
    n_relevant: int = 0

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""
        return self.targets.shape[1] if self.targets.dim() == 2 else 1

    @property
    def moves(self) -> bool:
        """Whether the points differ from step to step."""
        return self.rotates or self.batch_size > 0

    def eigenvalue(self, theta: Tensor, hyper: Hyper) -> float:
        """Theta, the top eigenvalue of the tangent kernel: a step is stable below 2/Theta."""
        rates = hyper.rate_per_step(self.inputs.shape[1], self.n_out)
        return float(stiffness(theta, self.inputs, self.weights, self.activation, rates))

    def resolving_step(self, theta: Tensor, hyper: Hyper) -> float:
        """The largest step that resolves the potential of single neurons in the field that they make now."""
        prediction = self.kernel.predict(theta, self.inputs, self.readout_exponent)
        factor = theta.shape[0] ** (self.readout_exponent - 1.0)
        signal = weighted(factor * self.weights, self.targets - prediction)
        field = MeanField(self.inputs, signal, self.activation, hyper.lambda_w, hyper.lambda_a)
        return resolving_step(theta, field, hyper)

    def loss(self, theta: Tensor) -> float:
        """E (y - f)^2 on the training measure."""
        prediction = self.kernel.predict(theta, self.inputs, self.readout_exponent)
        return float(weighted(self.weights, (self.targets - prediction) ** 2).sum(dtype=torch.float64))

    @property
    def target_power(self) -> float:
        """E y^2 on the training measure."""
        return float(weighted(self.weights, self.targets**2).sum(dtype=torch.float64))

    def fluctuation(self, theta: Tensor, hyper: Hyper) -> float:
        """E f^2 of a network of this width drawn from the prior, N^(1 - 2 kappa) n_out T/lambda_a E phi^2."""
        n_inputs = self.inputs.shape[1]
        probe = rng.normal(
            0, Stream.POWER_ITERATION, 1, PROBED_NEURONS, n_inputs, device=theta.device, dtype=theta.dtype
        )
        phi = self.activation.phi(self.inputs @ (probe * (hyper.temperature / hyper.lambda_w) ** 0.5).T)
        mean_square = float(self.weights @ (phi * phi).mean(dim=1))
        size = float(theta.shape[0]) ** (1.0 - 2.0 * self.readout_exponent)
        return size * self.n_out * hyper.temperature / hyper.lambda_a * mean_square

    def largest_loss(self, theta: Tensor, hyper: Hyper) -> float:
        """The loss beyond which a run that begins here has run away."""
        return loss_limit(self.target_power, self.loss(theta), self.fluctuation(theta, hyper))

    def plan(self, hyper: Hyper, step_size: float) -> StepPlan:
        """The numbers of one update of the background."""
        return step_plan(
            hyper,
            step_size,
            self.inputs.shape[1],
            seed=self.seed,
            stream=Stream.BACKGROUND,
            readout_exponent=self.readout_exponent,
            n_out=self.n_out,
        )

    def orders(self, theta: Tensor) -> dict[str, Estimate]:
        """Order parameters of the cloud."""
        return order_parameters(theta, self.inputs.shape[1], self.n_relevant)


def resolving_step(theta: Tensor, field: MeanField, hyper: Hyper) -> float:
    """The largest step that resolves the potential of single neurons; no bound where the step is not in prior units."""
    if not hyper.is_preconditioned or hyper.temperature == 0:
        return math.inf
    value = float(curvature(theta, field, hyper.temperature))
    return min(LARGEST_STEP, RESOLVING_STEP / value) if value > 0 and math.isfinite(value) else LARGEST_STEP


def points_at(step: int, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and weights of one step: a fresh batch, drawn training points, or the rule, turned or not."""
    if not problem.moves:
        return problem.inputs, problem.targets, problem.weights
    device, dtype = problem.inputs.device, problem.inputs.dtype
    if problem.batch_size and problem.is_finite_data:
        uniform = rng.uniform(problem.seed, Stream.BATCH, step, problem.batch_size, 1, device=device, dtype=dtype)
        chosen = (uniform[:, 0] * problem.inputs.shape[0]).long().clamp(max=problem.inputs.shape[0] - 1)
        weights = problem.weights[chosen] * (problem.inputs.shape[0] / problem.batch_size)
        return problem.inputs[chosen], problem.targets[chosen], weights
    if problem.batch_size:
        size = (problem.batch_size, problem.inputs.shape[1])
        inputs = rng.normal(problem.seed, Stream.BATCH, step, *size, device=device, dtype=dtype)
        inputs = inputs if problem.input_map is None else problem.input_map(inputs)
        weights = torch.full_like(inputs[:, 0], 1.0 / problem.batch_size)
        return inputs, problem.target(inputs), weights
    inputs = problem.inputs @ rotation(problem.seed, step, device, dtype)
    return inputs, problem.target(inputs), problem.weights
