"""The exact equilibrium background as a dynamics: one step is one Gibbs sweep over all neurons, with no step size.

The chain samples the stationary law of the Langevin dynamics itself; it has no learning trajectory, and its time has no
physical meaning: the recipe's time is spread over its sweeps (N_SWEEPS unless `training.n_steps` says otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.dynamics.hyper import Hyper
from mft_engine.dynamics.langevin import Langevin
from mft_engine.dynamics.problem import Problem
from mft_engine.dynamics.state import Info, State, is_complete, orders_due, settle_and_record
from mft_engine.field.field import MeanField
from mft_engine.kernels import Mover, StepPlan
from mft_engine.recipe import Recipe
from mft_engine.theory.gibbs import GibbsBackground

N_SWEEPS = 600
# Exact sweeps forget within a few.
SWEEPS_A_SAMPLE = 5


def start_chain(problem: Problem, hyper: Hyper, n_neurons: int) -> GibbsBackground:
    """A chain of n_neurons at the problem's own equilibrium (drawn from the infinite-width law of the same points)."""
    points, targets, weights = (to_host(part.double()) for part in (problem.inputs, problem.targets, problem.weights))
    return GibbsBackground(
        points,
        targets,
        weights,
        n_neurons,
        problem.network.activations[0].name,
        hyper.temperature,
        hyper.lambda_w,
        hyper.lambda_a,
        seed=problem.seed,
    )


def advance(
    state: State, problem: Problem, chain: GibbsBackground, n_steps: int, *, beyond: bool = False
) -> tuple[State, Info]:
    """Up to n_steps sweeps, one at a time, so that no split of a run changes the chain."""
    records: list[dict[str, float]] = []
    step_size = problem.end_time / (problem.end_step or N_SWEEPS)
    for _ in range(n_steps):
        if not beyond and is_complete(state, problem):
            break
        chain.forget()
        trace = chain.sweep(1)
        mean = chain.targets - chain.mean_residual
        prediction = torch.as_tensor(mean, dtype=torch.float64, device=state.theta.device)
        loss = float(trace.loss[0])
        state = replace(
            state,
            theta=torch.as_tensor(chain.theta, dtype=state.theta.dtype, device=state.theta.device),
            step=state.step + 1,
            step_size=step_size,
            prediction_sum=state.prediction_sum + prediction,
            n_predictions=state.n_predictions + 1,
            loss_sum=state.loss_sum + loss,
            n_losses=state.n_losses + 1,
            record_sum=state.record_sum + loss,
            n_record=state.n_record + 1,
        )
        state, row = settle_and_record(state, problem, orders_due(state.theta, state.step, problem).now())
        records.extend(row)
    return state, Info(tuple(records))


class Gibbs:
    """Exact sweeps as `dynamics.table` wants them; the chain is made anew after a change or a resumption."""

    sample_every = SWEEPS_A_SAMPLE

    def __init__(self) -> None:
        self._chain: GibbsBackground | None = None

    def advance(
        self, state: State, problem: Problem, recipe: Recipe, n_steps: int, *, beyond: bool = False
    ) -> tuple[State, Info]:
        """Up to n_steps sweeps."""
        if self._chain is None:
            self._chain = start_chain(problem, Hyper.of(recipe), state.theta.shape[0])
            for _ in range(state.step - state.change_step):  # as `advance` makes them: one at a time
                self._chain.sweep(1)
        return advance(state, problem, self._chain, n_steps, beyond=beyond)

    def forget(self) -> None:
        """The chain is another one's."""
        self._chain = None

    def walk(
        self,
        theta: Tensor,
        field: MeanField,
        recipe: Recipe,
        state: State,
        mover: Mover,
        plan: Callable[[Hyper, float], StepPlan],
    ) -> Iterator[float | Tensor]:
        """Of single neurons the chain has no dynamics: they move by Langevin's."""
        return Langevin().walk(theta, field, recipe, state, mover, plan)
