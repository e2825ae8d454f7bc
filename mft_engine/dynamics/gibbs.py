"""The exact equilibrium background as a dynamics: one step is one Gibbs sweep over all neurons, with no step size.

The chain samples the stationary law of the Langevin dynamics itself; it has no learning trajectory, and its time has no
physical meaning: the recipe's time is spread over its sweeps (N_SWEEPS unless `training.n_steps` says otherwise).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mft_engine.device import to_host
from mft_engine.dynamics.problem import Hyper, Problem
from mft_engine.dynamics.state import Info, State, is_complete, settle_and_record
from mft_engine.theory.gibbs import GibbsBackground

N_SWEEPS = 600


def start_chain(problem: Problem, hyper: Hyper, n_neurons: int) -> GibbsBackground:
    """A chain of n_neurons at the problem's own equilibrium (drawn from the infinite-width law of the same points)."""
    points, targets, weights = (to_host(part.double()) for part in (problem.inputs, problem.targets, problem.weights))
    return GibbsBackground(
        points,
        targets,
        weights,
        n_neurons,
        problem.activation.name,
        hyper.temperature,
        hyper.lambda_w,
        hyper.lambda_a,
        seed=problem.seed,
    )


def replay(chain: GibbsBackground, n_sweeps: int) -> None:
    """Bring a fresh chain to where it was after n_sweeps, as `advance` makes them: one at a time."""
    for _ in range(n_sweeps):
        chain.sweep(1)


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
        state, row = settle_and_record(state, problem)
        records.extend(row)
    return state, Info(tuple(records))
