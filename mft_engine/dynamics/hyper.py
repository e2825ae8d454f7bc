"""What a dynamics is told that may change at every call: hyperparameters, and the numbers of one update."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mft_engine.device import one_thread
from mft_engine.field.field import MeanField, curvature
from mft_engine.kernels import Integrator, StepPlan
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream

RESOLVING_STEP = 0.7
LARGEST_STEP = 0.02


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

    def penalties(self, n_inputs: int, n_out: int = 1) -> tuple[float, ...]:
        """lambda_j of each of the n_inputs + n_out parameters of a neuron."""
        return (self.lambda_w,) * n_inputs + (self.lambda_a,) * n_out

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
    return plan_of(
        hyper,
        step_size,
        hyper.rate_per_step(n_inputs, n_out),
        hyper.penalties(n_inputs, n_out),
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


def resolving_step(theta: Tensor, field: MeanField, hyper: Hyper) -> float:
    """The largest step that resolves the potential of single neurons; no bound where the step is not in prior units."""
    if not hyper.is_preconditioned or hyper.temperature == 0:
        return math.inf
    with one_thread():
        return resolved_by(float(curvature(theta, field, hyper.temperature)))


def resolved_by(value: float) -> float:
    """The largest step that resolves potentials of a curvature."""
    return min(LARGEST_STEP, RESOLVING_STEP / value) if value > 0 and math.isfinite(value) else LARGEST_STEP
