"""Adam with decoupled weight decay as a dynamics of the cloud: every coordinate divides its drift by its own size.

    m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2         g = sum_mu weight_mu r_mu grad(a phi)
    theta_j <- theta_j (1 - step_size lambda_j) + step_size (m_j/(1 - beta1^t)) / (sqrt(v_j/(1 - beta2^t)) + 1e-8)

g is the drift of one neuron, so curves do not move when N doubles. The decay is the recipe's regularisation, applied to
the weights and not to g: with the decay inside g ("L2") it would be divided by sqrt(v) and lose its meaning. There is
no Gibbs law at the end, and step_size x steps is a time only by name: a coordinate moves by about step_size a step
however small its drift.

Source: Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mft_engine.awaited import together
from mft_engine.device import can_record_graphs
from mft_engine.dynamics.divergence import Diverged, loss_limit
from mft_engine.dynamics.hyper import Hyper
from mft_engine.dynamics.langevin import FIELD_EVERY
from mft_engine.dynamics.problem import Problem, points_at
from mft_engine.dynamics.state import (
    RECORD_EVERY,
    Info,
    State,
    add_losses,
    check_loss,
    is_complete,
    orders_due,
    settle_and_record,
    steps_to_event,
)
from mft_engine.estimates import Estimate
from mft_engine.field.field import MeanField
from mft_engine.kernels import BackgroundResult, Mover, StepPlan, reference
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive
from mft_engine.points.loss import LOSS, awaited_loss
from mft_engine.points.measure import weighted
from mft_engine.recipe import Recipe
from mft_engine.recorded import Recorded
from mft_engine.slices import Clock

EPSILON = 1e-8


@dataclass(frozen=True)
class Adam:
    """The hyperparameters of one update; they may change at every step."""

    step_size: float
    beta1: float
    beta2: float
    lambda_w: float
    lambda_a: float
    trains_readout: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Adam:
        """The hyperparameters that a recipe asks for."""
        training = recipe.training
        return cls(
            step_size=float(training.step_size),
            beta1=training.beta1,
            beta2=training.beta2,
            lambda_w=recipe.lambda_w,
            lambda_a=recipe.lambda_a,
            trains_readout=recipe.network.train_readout,
        )


def no_moments(theta: Tensor) -> Tensor:
    """The moments before the first step, (2, n_neurons, n_params)."""
    return torch.zeros(2, *theta.shape, dtype=theta.dtype, device=theta.device)


def corrections(step: int, adam: Adam) -> tuple[float, float]:
    """1 - beta^t of both moments at the update after `step` others: what they lack at the start."""
    return 1.0 - adam.beta1 ** (step + 1), 1.0 - adam.beta2 ** (step + 1)


def moved(
    theta: Tensor, moments: Tensor, drift: Tensor, lacking: Sequence[float] | Tensor, adam: Adam, n_inputs: int
) -> tuple[Tensor, Tensor]:
    """The cloud and its moments after one update.

    Args:
        theta, drift: (n_neurons, n_inputs + n_out), any number of readouts.
        moments: (2, n_neurons, n_inputs + n_out), m and v.
        lacking: `corrections`, numbers or (2,) on the device.
        n_inputs: columns that decay with lambda_w; the others with lambda_a.

    Returns:
        new (theta, moments).
    """
    first = torch.lerp(moments[0], drift, 1.0 - adam.beta1)
    second = torch.addcmul(adam.beta2 * moments[1], drift, drift, value=1.0 - adam.beta2)
    root = (second / lacking[1]).sqrt_().add_(EPSILON)
    change = first / lacking[0] / root
    keep = torch.full_like(theta[0], 1.0 - adam.step_size * adam.lambda_w)
    keep[n_inputs:] = 1.0 - adam.step_size * adam.lambda_a
    after = theta * keep + adam.step_size * change
    if not adam.trains_readout:
        after[:, n_inputs:] = theta[:, n_inputs:]
    return after, torch.stack([first, second])


def advance(state: State, problem: Problem, adam: Adam, n_steps: int, *, beyond: bool = False) -> tuple[State, Info]:
    """Up to n_steps steps; equals that many single steps, bit for bit, for any split.

    Args:
        beyond: go on past the recipe's last step instead of stopping there.

    Raises:
        Diverged: a non-finite number; nothing of `state` has been written.
    """
    records: list[dict[str, float]] = []
    if state.step_size != adam.step_size:
        state = replace(state, anchor_step=state.step, anchor_time=state.time, step_size=adam.step_size)
    if math.isinf(state.loss_limit):
        limit = loss_limit(problem.target_power, problem.loss(state.theta), fluctuation=0.0)
        state = replace(state, loss_limit=limit)
    remaining = n_steps
    while remaining > 0 and (beyond or not is_complete(state, problem)):
        chunk = min(remaining, steps_to_event(state, problem, beyond))
        state, orders = _steps(state, problem, adam, chunk)
        remaining -= chunk
        if state.step % RECORD_EVERY == 0 or is_complete(state, problem):
            check_loss(state, can_be_automatic=False)
        state, row = settle_and_record(state, problem, orders)
        records.extend(row)
    return state, Info(tuple(records))


def _steps(state: State, problem: Problem, adam: Adam, n_steps: int) -> tuple[State, dict[str, Estimate]]:
    """The state after n_steps, and its order parameters where a row is due: the host waits once for all of it."""
    theta, prediction_sum, n_predictions = state.theta, state.prediction_sum, state.n_predictions
    moments = no_moments(theta) if state.moments is None else state.moments
    step_of = _Step(problem, adam, range(state.step, state.step + n_steps), theta.device)
    losses: list[Tensor] = []
    finite: list[Tensor] = []
    for step in range(state.step, state.step + n_steps):
        if problem.moves and step % FIELD_EVERY == 0:
            elsewhere = problem.kernel.predict(theta, problem.field_inputs, problem.readout_exponent)
            prediction_sum, n_predictions = prediction_sum + elsewhere.double(), n_predictions + 1
        theta, moments, prediction, loss, is_finite = step_of(step, theta, moments)
        if not problem.moves:
            prediction_sum, n_predictions = prediction_sum + prediction.double(), n_predictions + 1
        losses.append(loss)
        finite.append(is_finite)
    result = BackgroundResult(theta, prediction_sum, torch.stack(losses), prediction, torch.stack(finite), state.step)
    (losses_told, nonfinite_step), orders = together(result.awaited, orders_due(theta, state.step + n_steps, problem))
    if nonfinite_step is not None:
        raise Diverged(nonfinite_step, adam.step_size, can_be_automatic=False)
    after = replace(
        state,
        theta=theta.clone(),  # a recording would write over them
        moments=moments.clone(),
        prediction_sum=prediction_sum,
        n_predictions=n_predictions,
        step=state.step + n_steps,
        **add_losses(state, losses_told),
    )
    return after, orders


class _Step:
    """Steps of one call, each as one launch where the device records them.

    Args:
        steps: the numbers of all steps of the call; device: of the neurons.
    """

    def __init__(self, problem: Problem, adam: Adam, steps: range, device: torch.device) -> None:
        self._problem, self._first = problem, steps[0]
        self._settings: dict[str, Any] = {
            "adam": astuple(adam),
            "exponent": problem.readout_exponent,
            "activation": problem.network.activations[0],
        }
        self._lacking = [corrections(step, adam) for step in steps]
        is_recorded = can_record_graphs(device) and problem.network.is_whole
        self._sent = torch.tensor(self._lacking, dtype=torch.float64).to(device) if is_recorded else None

    def __call__(self, step: int, theta: Tensor, moments: Tensor) -> tuple[Tensor, ...]:
        """New theta, moments; f, loss and whether all was finite: of this step, and not waited for."""
        problem, number = self._problem, step - self._first
        points = points_at(step, problem)
        if self._sent is None:
            prediction = problem.kernel.predict(theta, points[0], problem.readout_exponent)
            return _step(theta, moments, *points, self._lacking[number], prediction, **self._settings)
        after, moments, prediction, loss, is_finite = _STEP(
            theta, moments, *points, self._sent[number], **self._settings
        )
        return after, moments, prediction, loss.clone(), is_finite.clone()


def _step(
    theta: Tensor,
    moments: Tensor,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    lacking: Sequence[float] | Tensor,
    prediction: Tensor | None = None,
    *,
    adam: tuple[Any, ...],
    exponent: float,
    activation: Activation,
) -> tuple[Tensor, ...]:
    if prediction is None:
        prediction = reference.predict(theta, inputs, exponent, activation)
    loss, told = awaited_loss(weights, targets, prediction), LOSS.signal(targets, prediction)
    signal = drive(theta.shape[0], exponent) * weighted(weights, told)
    theta, moments, is_finite = _move(theta, moments, inputs, signal, lacking, adam=adam, activation=activation)
    return theta, moments, prediction, loss, is_finite


_STEP = Recorded(_step)


class FreshNeurons:
    """Independent neurons that Adam moves by given signals, each with moments of its own."""

    def __init__(self, theta: Tensor, activation: Activation) -> None:
        self.theta, self.activation = theta, activation
        self._moments, self._step = no_moments(theta), 0
        self._finite: list[Tensor] = []

    def move(self, inputs: Tensor, signal: Tensor, adam: Adam) -> None:
        """One step, drift_i = sum_mu signal_mu grad(a_i phi(w_i . x_mu)); `check` says whether it has gone well."""
        lacking: Sequence[float] | Tensor = corrections(self._step, adam)
        if can_record_graphs(self.theta.device):
            lacking = torch.tensor(lacking, dtype=torch.float64).to(self.theta.device)
        self.theta, self._moments, is_finite = _MOVE(
            self.theta, self._moments, inputs, signal, lacking, adam=astuple(adam), activation=self.activation
        )
        self._finite.append(is_finite.clone())
        self._step += 1

    def check(self) -> None:
        """Look at the steps since the last time. Waits for the device.

        Raises:
            ArithmeticError: a neuron that is no longer finite.
        """
        flags = torch.stack(self._finite).tolist() if self._finite else []
        first, self._finite = self._step - len(flags), []
        if not all(flags):
            raise ArithmeticError(
                f"The foreground diverged at its step {first + flags.index(False)}; choose a smaller training.step_size"
            )


def _move(
    theta: Tensor,
    moments: Tensor,
    inputs: Tensor,
    signal: Tensor,
    lacking: Sequence[float] | Tensor,
    *,
    adam: tuple[Any, ...],
    activation: Activation,
) -> tuple[Tensor, ...]:
    drift = reference.gradient(theta, inputs, signal, activation)
    theta, moments = moved(theta, moments, drift, lacking, Adam(*adam), inputs.shape[1])
    return theta, moments, torch.isfinite(theta).all()


_MOVE = Recorded(_move)


class AdamW:
    """Adam as `dynamics.table` wants it: the moments are part of the state."""

    sample_every = RECORD_EVERY

    def advance(
        self, state: State, problem: Problem, recipe: Recipe, n_steps: int, *, beyond: bool = False
    ) -> tuple[State, Info]:
        """Up to n_steps steps."""
        return advance(state, problem, Adam.of(recipe), n_steps, beyond=beyond)

    def forget(self) -> None:
        """Nothing to forget."""

    def walk(
        self,
        theta: Tensor,
        field: MeanField,
        recipe: Recipe,
        state: State,
        mover: Mover,
        plan: Callable[[Hyper, float], StepPlan],
    ) -> Iterator[float | Tensor]:
        """The same Adam in a frozen field: the initial law pushed forward by as many steps as the background's."""
        fresh, clock = FreshNeurons(theta, field.activation), Clock()
        n_steps = recipe.foreground.n_steps or state.step
        for step in range(n_steps):
            fresh.move(field.inputs, field.signal, Adam.of(recipe))
            if clock.is_due():
                fresh.check()
                yield (step + 1) / n_steps
        fresh.check()
        yield fresh.theta.clone()
