"""Which recipes have an order-parameter closure, and what it says of them: cubic teachers seen by erf neurons.

The paper's posterior (noise sigma^2 on n observations, f = sum a' erf(w.x), prior variances sigma_w^2/d and
sigma_a^2/N) is the Gibbs law of a recipe with a = N^kappa a' and

    T = N^(2 kappa - 1) sigma^2 / n,    T/lambda_w = sigma_w^2 / d,    T/lambda_a = N^(2 kappa - 1) sigma_a^2

(T = N sigma^2 / n and T/lambda_a = N sigma_a^2 in mean field). At infinite width only T and the two prior variances
remain: n enters through T alone, so the closure is that of the population, and says nothing of what a particular set of
n points adds.
"""

from __future__ import annotations

import math
from typing import Any

from mft_engine.network.scaling import LAZY_EXPONENT
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.tasks.directions import cubic_weight
from mft_engine.theory.cubic_closure import CubicClosure, CubicTeacher, solve_cubic_closure
from mft_engine.theory.roads import equivalent_mean_field

TASK = "cubic-teacher"


def why_no_closure(recipe: Recipe) -> str:
    """The sentence that says why there is no closure for a recipe; empty where there is one."""
    if recipe.task.name != TASK:
        return f'The order-parameter closure is for task.name = "{TASK}"; this task is {recipe.task.name!r}.'
    if recipe.network.activation != "erf":
        return f'The closure of the cubic teacher needs network.activation = "erf", not {recipe.network.activation!r}.'
    if recipe.training.temperature == 0:
        return "At temperature 0 there is no Gibbs law; the cloud keeps the memory of its start."
    if not recipe.network.train_readout:
        return "The closure of the cubic teacher needs trained readouts."
    if len(recipe.network.n_neurons) != 1:
        return "The closure of the cubic teacher is for one hidden layer."
    return ""


def cubic_teacher_of(recipe: Recipe) -> CubicTeacher:
    """The closure's setting of a recipe, at any readout exponent.

    The norm of w across the teacher is (d - 1) T/lambda_w here, exactly the prior's; the paper takes d T/lambda_w.

    Raises:
        RecipeError: a recipe without a closure; the message says why.
    """
    reason = why_no_closure(recipe)
    if reason:
        raise RecipeError(reason)
    n_inputs, epsilon = cubic_weight(recipe.task.parameters)
    problem = equivalent_mean_field(
        recipe.network.n_neurons[0],
        recipe.network.readout_exponent,
        recipe.training.temperature,
        recipe.lambda_w,
        recipe.lambda_a,
    )
    weight_variance = problem.temperature / problem.lambda_w
    return CubicTeacher(
        n_inputs=n_inputs,
        epsilon=epsilon / math.sqrt(6.0),
        temperature=problem.temperature,
        weight_variance=weight_variance,
        transverse_power=(n_inputs - 1) * weight_variance,
        readout_variance=problem.temperature / problem.lambda_a,
    )


def solve_closure(recipe: Recipe) -> CubicClosure:
    """The closure of a recipe, solved.

    Raises:
        RecipeError: a recipe without a closure; the message says why.
    """
    closure = solve_cubic_closure(cubic_teacher_of(recipe))
    assert closure is not None  # the equilibrium always exists
    return closure


def closure_summary(recipe: Recipe) -> dict[str, Any] | None:
    """What the closure says of a recipe's background, for its summary; None where there is none.

    `loss` is b^2 + 6 c^2, the population's, without what f has beyond H3 and without the fluctuations of finite N.
    """
    kind = recipe.foreground.background
    if why_no_closure(recipe) or kind not in ("trained", "lazy"):
        return None
    if kind == "lazy":
        recipe = recipe.replace({"network.readout_exponent": LAZY_EXPONENT})
    found = solve_closure(recipe)
    return {
        "loss": found.loss,
        "overlap": found.overlap,
        "learned_linear": found.learned_linear,
        "learned_cubic": found.learned_cubic,
        "aligned_mass": found.aligned_mass,
        "u": found.teacher.u,
        "phase": found.phase,
    }
