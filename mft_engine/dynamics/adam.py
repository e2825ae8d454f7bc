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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mft_engine.dynamics.divergence import Diverged, loss_limit
from mft_engine.dynamics.hyper import Hyper
from mft_engine.dynamics.langevin import FIELD_EVERY
from mft_engine.dynamics.problem import Problem, points_at
from mft_engine.dynamics.state import RECORD_EVERY, Info, State, check_loss, is_complete, settle_and_record
from mft_engine.field.field import MeanField
from mft_engine.kernels import Mover, StepPlan, reference
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive
from mft_engine.points.loss import LOSS, mean_loss
from mft_engine.points.measure import weighted
from mft_engine.recipe import Recipe
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


def moved(theta: Tensor, moments: Tensor, drift: Tensor, step: int, adam: Adam, n_inputs: int) -> tuple[Tensor, Tensor]:
    """The cloud and its moments after one update.

    Args:
        theta, drift: (n_neurons, n_inputs + n_out), any number of readouts.
        moments: (2, n_neurons, n_inputs + n_out), m and v.
        step: updates done before this one since the moments were zero.
        n_inputs: columns that decay with lambda_w; the others with lambda_a.

    Returns:
        new (theta, moments).
    """
    first = torch.lerp(moments[0], drift, 1.0 - adam.beta1)
    second = torch.addcmul(adam.beta2 * moments[1], drift, drift, value=1.0 - adam.beta2)
    root = (second / (1.0 - adam.beta2 ** (step + 1))).sqrt_().add_(EPSILON)
    change = first / (1.0 - adam.beta1 ** (step + 1)) / root
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
    for _ in range(n_steps):
        if not beyond and is_complete(state, problem):
            break
        state = _step(state, problem, adam)
        if state.step % RECORD_EVERY == 0 or is_complete(state, problem):
            check_loss(state, can_be_automatic=False)
        state, row = settle_and_record(state, problem)
        records.extend(row)
    return state, Info(tuple(records))


def _step(state: State, problem: Problem, adam: Adam) -> State:
    inputs, targets, weights = points_at(state.step, problem)
    prediction = problem.kernel.predict(state.theta, inputs, problem.readout_exponent)
    loss, told = mean_loss(weights, targets, prediction), LOSS.signal(targets, prediction)
    signal = drive(state.theta.shape[0], problem.readout_exponent) * weighted(weights, told)
    drift = reference.gradient(state.theta, inputs, signal, problem.network.activations[0])
    moments = no_moments(state.theta) if state.moments is None else state.moments
    theta, moments = moved(state.theta, moments, drift, state.step, adam, inputs.shape[1])
    if not torch.isfinite(theta).all():
        raise Diverged(state.step, adam.step_size, can_be_automatic=False)
    prediction_sum, n_predictions = state.prediction_sum, state.n_predictions
    if not problem.moves:
        prediction_sum, n_predictions = prediction_sum + prediction.double(), n_predictions + 1
    elif state.step % FIELD_EVERY == 0:
        elsewhere = problem.kernel.predict(state.theta, problem.field_inputs, problem.readout_exponent)
        prediction_sum, n_predictions = prediction_sum + elsewhere.double(), n_predictions + 1
    return replace(
        state,
        theta=theta,
        moments=moments,
        prediction_sum=prediction_sum,
        n_predictions=n_predictions,
        step=state.step + 1,
        loss_sum=state.loss_sum + loss,
        n_losses=state.n_losses + 1,
        record_sum=state.record_sum + loss,
        n_record=state.n_record + 1,
    )


class FreshNeurons:
    """Independent neurons that Adam moves by given signals, each with moments of its own."""

    def __init__(self, theta: Tensor, activation: Activation) -> None:
        self.theta, self.activation = theta, activation
        self._moments, self._step = no_moments(theta), 0

    def move(self, inputs: Tensor, signal: Tensor, adam: Adam) -> None:
        """One step, drift_i = sum_mu signal_mu grad(a_i phi(w_i . x_mu)).

        Raises:
            ArithmeticError: a neuron that is no longer finite.
        """
        drift = reference.gradient(self.theta, inputs, signal, self.activation)
        theta, moments = moved(self.theta, self._moments, drift, self._step, adam, inputs.shape[1])
        if not torch.isfinite(theta).all():
            raise ArithmeticError(
                f"The foreground diverged at its step {self._step}; choose a smaller training.step_size"
            )
        self.theta, self._moments, self._step = theta, moments, self._step + 1


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
                yield (step + 1) / n_steps
        yield fresh.theta
