"""Actions that need the exact law of one neuron, and the reason where there is none."""

from __future__ import annotations

from PySide6.QtGui import QAction

from mft_engine.applies import why_no_law
from mft_engine.recipe import Recipe


def judge_action(action: QAction, tip: str, recipe: Recipe, n_inputs: int, is_engine_ready: bool) -> str:
    """Enable an action that needs the law, or disable it with the reason in its tooltip; returns the reason.

    Before the engine is there the action is disabled for another reason, which the tooltip does not give.
    """
    reason = why_no_law(recipe, n_inputs)
    action.setEnabled(not reason and is_engine_ready)
    action.setToolTip(f"{tip}\n{reason}" if reason else tip)
    return reason
