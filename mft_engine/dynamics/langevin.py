"""Langevin dynamics of all neurons in the field that they make together; gradient descent is its T = 0.

theta_j <- theta_j - rate_j dV/dtheta_j + sqrt(2 rate_j T) noise_j

rate_j = step_size/lambda_j in prior units (each coordinate relaxes in time 1), step_size raw, 0 if frozen. The
noise is (xi_k + xi_{k+1})/2 for Leimkuhler-Matthews and xi_k for Euler.

Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013(1), 34.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mft_engine.awaited import together
from mft_engine.dynamics.divergence import AUTO_STEP, Diverged, stable_step
from mft_engine.dynamics.hyper import LARGEST_STEP, Hyper, resolving_step
from mft_engine.dynamics.look import stiffness_and_resolving_step
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
from mft_engine.field.walk import Walk, move
from mft_engine.kernels import BackgroundResult, Mover, StepPlan
from mft_engine.recipe import Recipe

# Steps between two looks at Theta, up to so many steps after a change: it grows fast while the cloud forms.
LOOKS_EVERY = ((20, 400), (100, 2000), (200, None))
# Gradient descent in raw units sharpens its own kernel within few steps, so it keeps a wider margin from 2/Theta.
RAW_AUTO_STEP = 0.35
FIELD_EVERY = 4


def advance(state: State, problem: Problem, hyper: Hyper, n_steps: int, *, beyond: bool = False) -> tuple[State, Info]:
    """Up to n_steps steps; equals that many single steps, bit for bit, for any split.

    Args:
        beyond: go on past the recipe's last step instead of stopping there.

    Raises:
        Diverged: a non-finite number, or a loss beyond all bounds; nothing of `state` has been written.
    """
    records: list[dict[str, float]] = []
    remaining = n_steps
    while remaining > 0 and (beyond or not is_complete(state, problem)):
        state = _look_at_stiffness(state, problem, hyper)
        chunk = min(remaining, _steps_to_look(state), steps_to_event(state, problem, beyond))
        state, orders = _steps(state, problem, hyper, chunk)
        remaining -= chunk
        if _is_look_due(state) or state.step % RECORD_EVERY == 0 or is_complete(state, problem):
            check_loss(state, is_automatic=hyper.step_size is None)
        state, rows = settle_and_record(state, problem, orders)
        records.extend(rows)
    return state, Info(tuple(records))


def _looking_interval(since: int) -> int:
    """Steps between two looks at Theta, `since` steps after a change."""
    return next(interval for interval, end in LOOKS_EVERY if end is None or since < end)


def _steps_to_look(state: State) -> int:
    since = state.step - state.change_step
    interval = _looking_interval(since)
    return interval - since % interval


def _is_look_due(state: State) -> bool:
    since = state.step - state.change_step
    return since % _looking_interval(since) == 0


def _look_at_stiffness(state: State, problem: Problem, hyper: Hyper) -> State:
    since = state.step - state.change_step
    if state.checked_step == state.step or not _is_look_due(state):
        return state
    step_size = hyper.step_size
    value, resolving = stiffness_and_resolving_step(state.theta, problem, hyper)
    if step_size is None:
        factor = AUTO_STEP if hyper.is_preconditioned else RAW_AUTO_STEP
        largest = factor / value if value > 0 and math.isfinite(value) else LARGEST_STEP
        largest = min(largest, resolving, decaying_step(hyper))
        step_size = min(largest, state.step_size) if since and state.step_size else largest
    return replace(
        state,
        eigenvalue=value,
        checked_step=state.step,
        anchor_step=state.step,
        anchor_time=state.time,
        step_size=step_size,
        loss_limit=state.loss_limit if since else problem.largest_loss(state.theta, hyper),
    )


def decaying_step(hyper: Hyper) -> float:
    """The largest step that resolves the decay of weights that no data hold: 0.02 of its time in prior units."""
    if hyper.is_preconditioned:
        return LARGEST_STEP
    return RAW_AUTO_STEP / max(hyper.lambda_w, hyper.lambda_a, hyper.lambda_hidden)


def _steps(state: State, problem: Problem, hyper: Hyper, n_steps: int) -> tuple[State, dict[str, Estimate]]:
    """The state after n_steps, and its order parameters where a row is due: the host waits once for all of it."""
    plan = problem.plan(hyper, state.step_size)
    if problem.moves:
        result, n_predictions = _moving_steps(state, problem, plan, n_steps)
    else:
        n_predictions = n_steps
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
    (losses, nonfinite_step), orders = together(result.awaited, orders_due(result.theta, state.step + n_steps, problem))
    if nonfinite_step is not None:
        raise Diverged(
            nonfinite_step,
            state.step_size,
            stable_step(state.eigenvalue),
            is_automatic=hyper.step_size is None,
        )
    after = replace(
        state,
        theta=result.theta,
        prediction_sum=result.prediction_sum,
        n_predictions=state.n_predictions + n_predictions,
        step=state.step + n_steps,
        **add_losses(state, losses),
    )
    return after, orders


def _moving_steps(state: State, problem: Problem, plan: StepPlan, n_steps: int) -> tuple[BackgroundResult, int]:
    """Steps on points of their own, and how often f on the field points was added to the sum."""
    plan = replace(plan, has_fresh_points=True)
    theta, prediction_sum, n_predictions = state.theta, state.prediction_sum, 0
    results: list[BackgroundResult] = []
    for step in range(state.step, state.step + n_steps):
        if step % FIELD_EVERY == 0:
            prediction = problem.kernel.predict(theta, problem.field_inputs, problem.readout_exponent)
            prediction_sum, n_predictions = prediction_sum + prediction.double(), n_predictions + 1
        inputs, targets, weights = points_at(step, problem)
        scratch = torch.zeros(targets.shape, dtype=torch.float64, device=inputs.device)
        results.append(problem.kernel.advance_background(theta, inputs, targets, weights, plan, step, 1, scratch))
        theta = results[-1].theta
    losses, finite = torch.cat([r.losses for r in results]), torch.cat([r.finite for r in results])
    return BackgroundResult(theta, prediction_sum, losses, results[-1].prediction, finite, state.step), n_predictions


class Langevin:
    """Langevin dynamics and gradient descent as `dynamics.table` wants them: a state is all the memory they have."""

    sample_every = RECORD_EVERY

    def advance(
        self, state: State, problem: Problem, recipe: Recipe, n_steps: int, *, beyond: bool = False
    ) -> tuple[State, Info]:
        """Up to n_steps steps."""
        return advance(state, problem, Hyper.of(recipe), n_steps, beyond=beyond)

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
        """Fresh neurons move with the background's step for as long a time; an automatic step may be smaller.

        Independent neurons have no common stability limit, but each must resolve its own potential, which a wrong
        background makes steeper.
        """
        training, hyper, is_auto = recipe.training, Hyper.of(recipe), recipe.training.step_size == "auto"
        steps = Walk(
            step_size=state.step_size or (LARGEST_STEP if is_auto else float(training.step_size)),
            n_steps=recipe.foreground.n_steps or training.n_steps,
            time=training.time,
            largest_step=(lambda now: resolving_step(now, field, hyper)) if is_auto else None,
            plan=functools.partial(plan, hyper),
        )
        return move(theta, field, steps, mover)
