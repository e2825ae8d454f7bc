"""Langevin dynamics of all neurons in the field that they make together; gradient descent is its T = 0.

theta_j <- theta_j - rate_j dV/dtheta_j + sqrt(2 rate_j T) noise_j

rate_j = step_size/lambda_j in prior units (each coordinate relaxes in time 1), step_size raw, 0 if frozen. The
noise is (xi_k + xi_{k+1})/2 for Leimkuhler-Matthews and xi_k for Euler.

Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013(1), 34.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.field.field import MeanField, curvature, stiffness
from mft_engine.kernels import Integrator, StepPlan
from mft_engine.network.activations import Activation
from mft_engine.points.measure import rotation, weighted
from mft_engine.points.statistics import Estimate, order_parameters
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream

RECORD_EVERY = 50
STIFFNESS_EVERY = 100
QUENCH_STEPS = 400
QUENCH_LOOKS_EVERY = 20
AUTO_STEP = 1.4
# Gradient descent in raw units sharpens its own kernel within few steps, so it keeps a wider margin from 2/Theta.
RAW_AUTO_STEP = 0.35
RESOLVING_STEP = 0.7
LARGEST_STEP = 0.02
FIELD_EVERY = 4


class Diverged(ArithmeticError):
    """A step that produced a number that is not finite; `step` is that step, the last finite state is kept."""

    def __init__(self, step: int, step_size: float, eigenvalue: float, *, has_automatic: bool = True) -> None:
        self.step = step
        stable = AUTO_STEP / eigenvalue if eigenvalue > 0 and math.isfinite(eigenvalue) else math.inf
        self.suggestion = min(stable, step_size / 10)
        automatic = ' or "auto"' if has_automatic else ""
        super().__init__(
            f"Training diverged at step {step}: a weight is no longer a finite number. The last good state is kept. "
            f"Set training.step_size to {self.suggestion:.2g}{automatic} (it was {step_size:.3g})."
        )


@dataclass(frozen=True)
class Hyper:
    """What may change at every call without a restart.

    Attributes:
        step_size: None chooses min(1.4/Theta, 0.7/curvature, 0.02), looked at every 100 steps (20 in the
            quench after a change) and only lowered between changes.
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


@dataclass(frozen=True)
class State:
    """What the next step needs, and the running averages.

    Attributes:
        theta: (n_neurons, n_inputs + n_out).
        step: steps done; time is `anchor_time + (step - anchor_step) step_size`, so no split of a run changes it.
        eigenvalue: Theta at the last look; checked_step says when.
        change_step, change_time: of the last change of hyperparameters (0 at the start).
        prediction_sum (n_field,) or (n_field, n_out) float64, n_predictions: running average of f since average_step.
        loss_sum, n_losses: the same for each network's own loss; record_sum, n_record since the last record.
        is_settled: the burn-in after the last change is over.
        moments: (2, n_neurons, n_params) of Adam; None for the dynamics that have no memory.
    """

    theta: Tensor
    prediction_sum: Tensor
    step: int = 0
    step_size: float = 0.0
    anchor_step: int = 0
    anchor_time: float = 0.0
    eigenvalue: float = 0.0
    checked_step: int = -1
    change_step: int = 0
    change_time: float = 0.0
    n_predictions: int = 0
    average_time: float = 0.0
    loss_sum: float = 0.0
    n_losses: int = 0
    record_sum: float = 0.0
    n_record: int = 0
    is_settled: bool = False
    moments: Tensor | None = None

    @property
    def time(self) -> float:
        """t, the sum of the step sizes."""
        return self.anchor_time + (self.step - self.anchor_step) * self.step_size

    @property
    def average_age(self) -> float:
        """Time covered by the running average of f."""
        return self.time - self.average_time if self.n_predictions else 0.0

    @property
    def mean_loss(self) -> float:
        """Mean of the networks' own losses over the averaging window."""
        return self.loss_sum / self.n_losses if self.n_losses else math.nan


@dataclass(frozen=True)
class Info:
    """What only an observer needs: one row per RECORD_EVERY steps."""

    records: tuple[dict[str, float], ...]


def init(theta: Tensor, problem: Problem) -> State:
    """The state before the first step."""
    shape = (problem.field_inputs.shape[0], *problem.targets.shape[1:])
    zeros = torch.zeros(shape, dtype=torch.float64, device=theta.device)
    return State(theta=theta, prediction_sum=zeros, average_time=0.0, is_settled=problem.burn_in <= 0)


def restart_averages(state: State, problem: Problem) -> State:
    """The state after a change of hyperparameters: same neurons, averages begun anew, Theta looked at again."""
    return replace(
        state,
        change_step=state.step,
        change_time=state.time,
        checked_step=-1,
        is_settled=problem.burn_in <= 0,
        **_empty_averages(state),
    )


def _empty_averages(state: State) -> dict[str, Any]:
    return {
        "prediction_sum": torch.zeros_like(state.prediction_sum),
        "n_predictions": 0,
        "average_time": state.time,
        "loss_sum": 0.0,
        "n_losses": 0,
    }


def is_complete(state: State, problem: Problem) -> bool:
    """Whether the recipe's last step has been done."""
    if problem.end_step:
        return state.step >= problem.end_step
    return state.step > 0 and state.time >= problem.end_time * (1 - 1e-12)


def advance(state: State, problem: Problem, hyper: Hyper, n_steps: int, *, beyond: bool = False) -> tuple[State, Info]:
    """Up to n_steps steps; equals that many single steps, bit for bit, for any split.

    Args:
        beyond: go on past the recipe's last step instead of stopping there.

    Raises:
        Diverged: a non-finite number; nothing of `state` has been written.
    """
    records: list[dict[str, float]] = []
    remaining = n_steps
    while remaining > 0 and (beyond or not is_complete(state, problem)):
        state = _look_at_stiffness(state, problem, hyper)
        chunk = min(remaining, _steps_to_boundary(state, problem, beyond))
        state = _steps(state, problem, hyper, chunk)
        remaining -= chunk
        state, rows = settle_and_record(state, problem)
        records.extend(rows)
    return state, Info(tuple(records))


def settle_and_record(state: State, problem: Problem) -> tuple[State, list[dict[str, float]]]:
    """What is due after a step: begin the averages anew at the end of the burn-in, a row every RECORD_EVERY steps."""
    if not state.is_settled and state.time >= state.change_time + problem.burn_in * (1 - 1e-12):
        state = replace(state, is_settled=True, **_empty_averages(state))
    if state.step % RECORD_EVERY:
        return state, []
    return replace(state, record_sum=0.0, n_record=0), [_record(state, problem)]


def _looking_interval(since: int) -> int:
    """Steps between two looks at Theta, `since` steps after a change: it grows fast while the cloud forms."""
    return QUENCH_LOOKS_EVERY if since < QUENCH_STEPS else STIFFNESS_EVERY


def _look_at_stiffness(state: State, problem: Problem, hyper: Hyper) -> State:
    since = state.step - state.change_step
    if state.checked_step == state.step or since % _looking_interval(since):
        return state
    value = problem.eigenvalue(state.theta, hyper)
    step_size = hyper.step_size
    if step_size is None:
        factor = AUTO_STEP if hyper.is_preconditioned else RAW_AUTO_STEP
        largest = factor / value if value > 0 and math.isfinite(value) else LARGEST_STEP
        largest = min(largest, problem.resolving_step(state.theta, hyper))
        step_size = min(largest, state.step_size) if since and state.step_size else largest
    return replace(
        state,
        eigenvalue=value,
        checked_step=state.step,
        anchor_step=state.step,
        anchor_time=state.time,
        step_size=step_size,
    )


def resolving_step(theta: Tensor, field: MeanField, hyper: Hyper) -> float:
    """The largest step that resolves the potential of single neurons; no bound where the step is not in prior units."""
    if not hyper.is_preconditioned or hyper.temperature == 0:
        return math.inf
    value = float(curvature(theta, field, hyper.temperature))
    return min(LARGEST_STEP, RESOLVING_STEP / value) if value > 0 and math.isfinite(value) else LARGEST_STEP


def _steps_to_boundary(state: State, problem: Problem, beyond: bool) -> int:
    since = state.step - state.change_step
    interval = _looking_interval(since)
    boundary = min(interval - since % interval, RECORD_EVERY - state.step % RECORD_EVERY)
    if not state.is_settled:
        boundary = min(boundary, _steps_until(state, state.change_time + problem.burn_in))
    if not beyond and problem.end_step:
        boundary = min(boundary, problem.end_step - state.step)
    elif not beyond:
        boundary = min(boundary, _steps_until(state, problem.end_time))
    return max(1, boundary)


def _steps_until(state: State, time: float) -> int:
    return math.ceil((time - state.time) / state.step_size - 1e-9)


def _steps(state: State, problem: Problem, hyper: Hyper, n_steps: int) -> State:
    plan = problem.plan(hyper, state.step_size)
    if problem.moves:
        for _ in range(n_steps):
            state = _moving_step(state, problem, plan)
        return state
    result = problem.kernel.advance_background(
        state.theta,
        problem.inputs,
        problem.targets,
        problem.weights,
        plan,
        state.step,
        n_steps,
        state.prediction_sum,
    )
    if result.nonfinite_step is not None:
        raise Diverged(result.nonfinite_step, state.step_size, state.eigenvalue)
    losses = result.losses.tolist()
    return replace(
        state,
        theta=result.theta,
        prediction_sum=result.prediction_sum,
        n_predictions=state.n_predictions + n_steps,
        step=state.step + n_steps,
        **_add_losses(state, losses),
    )


def _add_losses(state: State, losses: list[float]) -> dict[str, Any]:
    loss_sum, record_sum = state.loss_sum, state.record_sum
    for loss in losses:  # one by one, so that no split of a run changes the rounding
        loss_sum += loss
        record_sum += loss
    return {
        "loss_sum": loss_sum,
        "n_losses": state.n_losses + len(losses),
        "record_sum": record_sum,
        "n_record": state.n_record + len(losses),
    }


def _moving_step(state: State, problem: Problem, plan: StepPlan) -> State:
    inputs, targets, weights = points_at(state.step, problem)
    scratch = torch.zeros(targets.shape, dtype=torch.float64, device=inputs.device)
    result = problem.kernel.advance_background(state.theta, inputs, targets, weights, plan, state.step, 1, scratch)
    if not result.is_finite:
        raise Diverged(state.step, state.step_size, state.eigenvalue)
    prediction_sum, n_predictions = state.prediction_sum, state.n_predictions
    if state.step % FIELD_EVERY == 0:
        prediction = problem.kernel.predict(state.theta, problem.field_inputs, problem.readout_exponent)
        prediction_sum, n_predictions = prediction_sum + prediction.double(), n_predictions + 1
    return replace(
        state,
        theta=result.theta,
        prediction_sum=prediction_sum,
        n_predictions=n_predictions,
        step=state.step + 1,
        **_add_losses(state, result.losses.tolist()),
    )


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


def _record(state: State, problem: Problem) -> dict[str, float]:
    return {
        "step": float(state.step),
        "time": state.time,
        "loss": state.record_sum / max(1, state.n_record),
        "step_size": state.step_size,
        "eta_theta": state.step_size * state.eigenvalue,
        "is_averaged": float(state.is_settled),
        "is_complete": float(is_complete(state, problem)),
        **{name: mean for name, (mean, _) in problem.orders(state.theta).items()},
    }
