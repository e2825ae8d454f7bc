"""Fresh neurons in the field that the background made at every step of its training: dynamical mean field.

The path is not stored: a training is a pure function of its start, so it is carried out once more beside the fresh
neurons, step by step. That needs no memory, works for runs of any length, and after a resumption.

Source: Sompolinsky, Crisanti, Sommers, Phys. Rev. Lett. 61, 259 (1988); for gradient descent of two-layer networks
Bordelon and Pehlevan, arXiv 2205.09653.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mft_engine import dynamics
from mft_engine.dynamics import Hyper, Problem, adam
from mft_engine.dynamics.adam import Adam, FreshNeurons
from mft_engine.dynamics.problem import points_at
from mft_engine.kernels import Mover, StepPlan
from mft_engine.points.loss import LOSS
from mft_engine.points.measure import weighted
from mft_engine.recipe import Recipe
from mft_engine.slices import Clock

# The recipe in force from a step on.
InForce = tuple[int, Recipe]


def in_force(recipe: Recipe, last_step: int) -> list[InForce]:
    """The recipe and what its schedule has made of it up to a step, in order; the first entry is at step 0."""
    found = [(0, recipe)]
    for step in sorted({change.step for change in recipe.schedule if change.step <= last_step}):
        changes = {change.path: change.value for change in recipe.schedule if change.step == step}
        found.append((step, found[-1][1].replace(changes)))
    return found


def replay(
    theta: Tensor,
    background: Tensor,
    problem: Problem,
    path: Sequence[InForce],
    n_steps: int,
    plan_of: Callable[[Hyper, float], StepPlan],
    factor: float,
    mover: Mover,
) -> Iterator[float | Tensor]:
    """Move fresh neurons by the residual of each step of a training that is repeated beside them.

        theta_k+1 = theta_k - rate grad V_k(theta_k) (+ own noise),   r_k(x) = y - f_k(x) on the points of step k

    Batches and turned rules are those that the background saw: their noise is common to all neurons, so a frozen or
    an averaged field cannot make it.

    Args:
        theta: (n_neurons, n_params) fresh neurons; background: the background's own at its step 0.
        problem: the background's; path: the recipes in force, from step 0 on; n_steps: of its training so far.
        plan_of: hyperparameters and step size -> the fresh neurons' update (with their own noise).
        factor: of the signal, n_background^(kappa - 1) with the foreground's kappa.
        mover: the inner loop of the fresh neurons.

    Yields:
        the fraction done about every 8 ms (large clouds: every step), at last the (n_neurons, n_params) cloud.

    Raises:
        ArithmeticError: a fresh neuron that is no longer finite.
    """
    state = dynamics.init(background, problem)
    ahead = list(path)
    recipe = ahead.pop(0)[1]
    fresh = FreshNeurons(theta, problem.network.activations[0]) if recipe.training.dynamics == "adam" else None
    clock, finite = Clock(), list[Tensor]()
    for step in range(n_steps):
        while ahead and ahead[0][0] <= step:
            recipe = ahead.pop(0)[1]
            state = dynamics.restart_averages(state, problem)
        inputs, targets, weights = points_at(step, problem)
        told = LOSS.signal(targets, problem.kernel.predict(state.theta, inputs, problem.readout_exponent))
        if fresh is not None:
            state, _ = adam.advance(state, problem, Adam.of(recipe), 1, beyond=True)
            fresh.move(inputs, weighted(weights, told) * factor, Adam.of(recipe))
            theta = fresh.theta
        else:
            hyper = Hyper.of(recipe)
            state, _ = dynamics.advance(state, problem, hyper, 1, beyond=True)
            plan = plan_of(hyper, state.step_size)
            result = mover.advance_frozen(theta, inputs, weighted(weights, told) * factor, plan, step, 1)
            theta = result.theta
            finite.append(result.finite)
        if clock.is_due() or step == n_steps - 1:
            _check(finite, step) if fresh is None else fresh.check()
            finite = []
            yield (step + 1) / n_steps
    yield theta


def _check(finite: list[Tensor], last_step: int) -> None:
    """Whether all was well in the steps up to the last. Waits for the device."""
    flags = torch.stack(finite).tolist()
    if not all(flags):
        step = last_step - len(flags) + 1 + flags.index(False)
        raise ArithmeticError(f"The replayed foreground diverged at step {step}; choose a smaller training.step_size")
