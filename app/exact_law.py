"""For which recipes the exact law of one neuron is known, in words, without the engine."""

from __future__ import annotations

from PySide6.QtGui import QAction

from mft_engine.recipe import Recipe

MOST_POINTS = 1024


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
    if recipe.network.activation == "quadratic":
        return "With the quadratic activation large neurons have no normalisable law."
    if recipe.network.readout_exponent != 1.0:
        return "The exact law of a neuron is used at readout exponent 1 (mean field)."
    if recipe.training.n_points > MOST_POINTS:
        return f"The exact law of a neuron takes at most {MOST_POINTS:,} training points."
    return ""


def judge_action(action: QAction, tip: str, recipe: Recipe, n_inputs: int, is_engine_ready: bool) -> str:
    """Enable an action that needs the law, or disable it with the reason in its tooltip; returns the reason.

    Before the engine is there the action is disabled for another reason, which the tooltip does not give.
    """
    reason = why_no_law(recipe, n_inputs)
    action.setEnabled(not reason and is_engine_ready)
    action.setToolTip(f"{tip}\n{reason}" if reason else tip)
    return reason
