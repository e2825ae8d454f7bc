"""Which recipes have an exact infinite-width solution, and that solution."""

from __future__ import annotations

from collections.abc import Callable

from mft_engine.laws.harmonics import SuperlinearActivationError
from mft_engine.points.measure import targets_on, training_measure
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.tasks import Task, build_task
from mft_engine.theory.planar import PlanarTheory, solve_planar

MAX_TRAINING_POINTS = 1024


def why_no_theory(recipe: Recipe, n_inputs: int, n_out: int = 1) -> str:
    """The sentence that says why the infinite-width solver does not apply; empty where it does."""
    if recipe.network.n_layers > 1:
        return "The exact infinite-width solver is for one hidden layer."
    if n_inputs != 2:
        return f"The exact infinite-width solver is for two inputs; this task has {n_inputs}."
    if n_out > 1:
        return f"The exact infinite-width solver is for one readout; this task has {n_out}."
    if recipe.training.temperature == 0:
        return "At temperature 0 there is no Gibbs law; the cloud keeps the memory of its start."
    if not recipe.network.train_readout:
        return "The exact infinite-width solver needs trained readouts."
    if recipe.network.readout_exponent != 1.0:
        return "The exact infinite-width solver is for readout exponent 1 (mean field)."
    if recipe.training.n_points > MAX_TRAINING_POINTS:
        return f"The exact infinite-width solver takes at most {MAX_TRAINING_POINTS} training points."
    return ""


def solve_theory(
    recipe: Recipe,
    *,
    task: Task | None = None,
    warm: PlanarTheory | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> PlanarTheory:
    """The infinite-width solution of a recipe, on its training points where it has some.

    Args:
        task: the recipe's, where it is at hand: the solver keeps what depends on the target function alone.
        warm: the solution of a recipe nearby (another target or activation is ignored).
        should_stop: asked during the solve; True abandons it with `SolveStopped`.

    Raises:
        RecipeError: a recipe for which no solver exists; the message says why.
    """
    task = task or build_task(recipe.task, recipe.seed)
    reason = why_no_theory(recipe, task.n_inputs, task.n_out)
    if reason:
        raise RecipeError(reason)
    points = None
    if recipe.training.n_points or not task.is_gaussian:
        measure = training_measure(recipe.training, task, recipe.seed)
        if len(measure.weights) > MAX_TRAINING_POINTS:
            raise RecipeError(f"The exact infinite-width solver takes at most {MAX_TRAINING_POINTS} training points.")
        points = (measure.inputs, targets_on(measure, task), measure.weights)
    try:
        return solve_planar(
            None if points else task.target,
            recipe.network.activation,
            recipe.training.temperature,
            recipe.lambda_w,
            recipe.lambda_a,
            points=points,
            warm=warm,
            should_stop=should_stop,
        )
    except SuperlinearActivationError as error:
        raise RecipeError(str(error)) from None
