"""What can be asked of a recipe, and what goes with what in it: in words, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mft_engine.curves import CURVES
from mft_engine.recipe import Recipe, load_recipe, recipe_from_dict

# Tasks that need the network and the training of their own shipped recipe to be learnt at all.
SHIPPED_SETTINGS = ("parity", "staircase", "cubic-teacher", "continuous-xor", "digits", "modular-addition")
USUAL_SETTINGS = "clover"
MOST_POINTS = 1024
USUAL_TEMPERATURE = 0.02
USUAL_BATCH = 256
# Raw steps are bounded by the regularisation too, not by the tangent kernel alone: the gallery's own step is safe.
USUAL_RAW_STEP = 0.1
USUAL_ADAM_STEP = 0.02


def why_no_law(recipe: Recipe, n_inputs: int) -> str:
    """The sentence that says why loop and width study cannot run for a recipe; empty where they can."""
    if recipe.network.n_layers > 1:
        return "The exact law of a neuron is known for one hidden layer."
    if n_inputs != 2:
        return f"The exact law of a neuron is known for two inputs; this task has {n_inputs}."
    if recipe.training.temperature == 0:
        return "At temperature 0 a neuron has no law: it keeps the memory of its start."
    if not recipe.network.train_readout:
        return "The exact law of a neuron needs trained readouts."
    if CURVES[recipe.network.activation].outgrows_lines:
        return f"With the {recipe.network.activation} activation large neurons have no normalisable law."
    if recipe.network.readout_exponent != 1.0:
        return "The exact law of a neuron is used at readout exponent 1 (mean field)."
    if recipe.training.n_points > MOST_POINTS:
        return f"The exact law of a neuron takes at most {MOST_POINTS:,} training points."
    return ""


def coupled(recipe: Recipe, path: str, value: Any) -> dict[str, Any]:
    """The changes that go with setting `path` to `value`, itself included.

    Plain gradient descent and Adam have no temperature and no prior to start from; Langevin dynamics has both. Fresh
    batches need a size. The change stays one entry of the history.
    """
    changes: dict[str, Any] = {path: value}
    if path == "training.dynamics" and value == "sgd":
        changes |= {
            "training.temperature": 0.0,
            "training.preconditioner": "none",
            "training.step_size": USUAL_RAW_STEP,
            "initial.law": "gaussian",
            "foreground.method": "dynamics",
        }
    elif path == "training.dynamics" and value == "adam":
        changes |= {
            "training.temperature": 0.0,
            "training.step_size": USUAL_ADAM_STEP,
            "initial.law": "gaussian",
            "foreground.method": "dynamics",
        }
    elif path == "training.dynamics" and value == "langevin":
        changes |= {
            "training.temperature": recipe.training.temperature or USUAL_TEMPERATURE,
            "training.preconditioner": "prior",
            "training.step_size": "auto",
            "initial.law": "prior",
        }
    elif path == "training.rule":
        changes["training.batch_size"] = (recipe.training.batch_size or USUAL_BATCH) if value == "batch" else 0
    return changes


def settings_for(recipe: Recipe, task: str) -> Recipe:
    """The recipe whose settings a task is tried with: the one in force, unless either task needs its own.

    Seed and engine stay as they are.
    """
    here = recipe.task.name
    if task == here or task == "dataset" or not {task, here} & set(SHIPPED_SETTINGS):
        return recipe
    own = load_recipe(task if task in SHIPPED_SETTINGS else USUAL_SETTINGS)
    engine = {f"engine.{name}": value for name, value in recipe.engine.model_dump(mode="json").items()}
    return own.replace({"seed": recipe.seed, **engine})


def for_task(recipe: Recipe, name: str, parameters: Mapping[str, Any], *, brings_points: bool) -> tuple[Recipe, Recipe]:
    """Another task, with its own parameters instead of the old task's.

    Args:
        brings_points: the task's data are its own, so that no measure draws training points.

    Returns:
        the recipe whose settings it is tried with, and that recipe with the task.

    Raises:
        RecipeError: parameters that the task does not take.
    """
    start = settings_for(recipe, name)
    if name in SHIPPED_SETTINGS:
        parameters = parameters or load_recipe(name).task.parameters
    tree = start.model_dump(mode="json")
    tree["task"] = {"name": name, **parameters}
    if brings_points:
        tree["training"] |= {"n_points": 0, "rule": "polar", "batch_size": 0, "rule_rotates": False}
    return start, recipe_from_dict(tree)
