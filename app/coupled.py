"""Values that only make sense together: one choice of a person may set several of them."""

from __future__ import annotations

from typing import Any

from mft_engine.recipe import Recipe

USUAL_TEMPERATURE = 0.02
USUAL_BATCH = 256
# Raw steps are bounded by the regularisation too, not by the tangent kernel alone: the gallery's own step is safe.
USUAL_RAW_STEP = 0.1
USUAL_ADAM_STEP = 0.02


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
