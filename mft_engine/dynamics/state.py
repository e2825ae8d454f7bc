"""What the next step needs: neurons and running averages, and when these begin anew and are recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mft_engine.awaited import Awaited
from mft_engine.dynamics.divergence import Diverged, stable_step
from mft_engine.dynamics.problem import Problem
from mft_engine.estimates import Estimate

RECORD_EVERY = 50


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
        loss_limit: beyond which the run has run away.
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
    loss_limit: float = math.inf

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


def steps_to_event(state: State, problem: Problem, beyond: bool) -> int:
    """Steps up to the next record, the end of the burn-in or, unless `beyond`, the recipe's last step; at least 1."""
    found = RECORD_EVERY - state.step % RECORD_EVERY
    if not state.is_settled:
        found = min(found, _steps_until(state, state.change_time + problem.burn_in))
    if not beyond and problem.end_step:
        found = min(found, problem.end_step - state.step)
    elif not beyond:
        found = min(found, _steps_until(state, problem.end_time))
    return max(1, found)


def _steps_until(state: State, time: float) -> int:
    return math.ceil((time - state.time) / state.step_size - 1e-9)


def add_losses(state: State, losses: list[float]) -> dict[str, Any]:
    """The sums of a state with the losses of more steps."""
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


def check_loss(state: State, *, is_automatic: bool = False, can_be_automatic: bool = True) -> None:
    """Stop a run whose loss, averaged since the last record, is beyond all bounds though every number is finite.

    Raises:
        Diverged: it is.
    """
    loss = state.record_sum / max(1, state.n_record)
    if not loss <= state.loss_limit:
        raise Diverged(
            state.step,
            state.step_size,
            stable_step(state.eigenvalue),
            is_automatic=is_automatic,
            can_be_automatic=can_be_automatic,
            loss=loss,
        )


def orders_due(theta: Tensor, step: int, problem: Problem) -> Awaited[dict[str, Estimate]]:
    """The order parameters of the neurons after so many steps, where a row is due; else nothing."""
    return Awaited((), lambda _: {}) if step % RECORD_EVERY else problem.awaited_orders(theta)


def settle_and_record(
    state: State, problem: Problem, orders: dict[str, Estimate]
) -> tuple[State, list[dict[str, float]]]:
    """What is due after a step: begin the averages anew at the end of the burn-in, a row every RECORD_EVERY steps.

    Args:
        orders: what `orders_due` has found.
    """
    if not state.is_settled and state.time >= state.change_time + problem.burn_in * (1 - 1e-12):
        state = replace(state, is_settled=True, **_empty_averages(state))
    if state.step % RECORD_EVERY:
        return state, []
    return replace(state, record_sum=0.0, n_record=0), [_record(state, problem, orders)]


def _record(state: State, problem: Problem, orders: dict[str, Estimate]) -> dict[str, float]:
    return {
        "step": float(state.step),
        "time": state.time,
        "loss": state.record_sum / max(1, state.n_record),
        "step_size": state.step_size,
        "eta_theta": state.step_size * state.eigenvalue,
        "is_averaged": float(state.is_settled),
        "is_complete": float(is_complete(state, problem)),
        **{name: mean for name, (mean, _) in orders.items()},
    }
