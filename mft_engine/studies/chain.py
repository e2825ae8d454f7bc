"""Up and down with a warm start: a network is pulled along a field of its recipe, and back, without a new beginning.

Where two states compete, the way up and the way down disagree: hysteresis. Every point of such a chain is a stored run
of its own whose recipe has the whole way as its schedule, so it can be opened, gone on with and repeated bit for bit.
"""

from __future__ import annotations

from pathlib import Path

from mft_engine.changes import CHANGES, changes_on_the_way
from mft_engine.experiment.answering import answer_all
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe, RecipeError, differences
from mft_engine.runs import checkpoint
from mft_engine.runs.folder import Run
from mft_engine.runs.restore import restore

# No run has so many steps: a link ends by its time, and then says at which step that was.
FAR = 2_000_000_000
MOST_STEPS = 20_000


def require_chain(recipe: Recipe, path: str) -> None:
    """Refuse what cannot be pulled along a field.

    Raises:
        RecipeError: a field that needs a new network, or a training whose length is not a time.
    """
    if not changes_on_the_way(path):
        able = ", ".join(sorted(filter(changes_on_the_way, CHANGES)))
        raise RecipeError(f"Up and down needs a first field that can change while a network is trained: {able}")
    training = recipe.training
    if training.dynamics != "langevin" or training.step_size != "auto" or training.n_steps or recipe.schedule:
        raise RecipeError(
            'Up and down needs training.dynamics = "langevin", training.step_size = "auto", training.n_steps = 0 and '
            "no schedule: every point lasts training.time"
        )
    if recipe.foreground.background not in ("trained", "lazy"):
        raise RecipeError('Up and down needs a background that is trained: foreground.background = "trained"')


def run_link(recipe: Recipe, before: Path | None, parent: Path) -> Run:
    """One point of a chain, carried out and stored.

    Args:
        recipe: with the point's values; its `training.time` is spent at them.
        before: the folder of the point before, whose neurons go on; None at the chain's beginning.
        parent: where the new folder is made.

    Returns:
        the run; its recipe has all earlier values as its schedule, and ends at the step that was reached.

    Raises:
        RunError: the point before cannot be gone on with.
    """
    if before is None:
        whole = recipe.replace({"training.n_steps": FAR})
        experiment = Experiment(whole)
    else:
        restored = restore(before)
        if restored.faults:
            raise RunError(restored.faults[0])
        experiment, whole = restored.experiment, Run(before).recipe.replace({"training.n_steps": FAR})
        here = experiment.recipe
        changed = {path: new for path, _, new in differences(here, recipe) if changes_on_the_way(path)}
        wanted = here.replace({**changed, "training.n_steps": FAR})
        whole = experiment.schedule_of(whole, here, wanted)
        experiment.retune(wanted)
    _train(experiment, experiment.state.time + recipe.training.time)
    end = experiment.state.step
    experiment.retune(experiment.recipe.replace({"training.n_steps": end}))
    answer_all(experiment)
    # Only now: a link that is killed leaves nothing behind, and begins anew from the one before.
    stored = Run.create(parent, whole.replace({"training.n_steps": end}))
    stored.save_checkpoint(*checkpoint.pack(experiment))
    stored.save_outcome(experiment.outcome())
    return stored


def _train(experiment: Experiment, time: float) -> None:
    """To the first step at which a time is reached, in slices that do not pass it."""
    n_steps = 1
    while experiment.state.time < time * (1 - 1e-12):
        before = experiment.state
        done = experiment.advance(n_steps)
        pace = (experiment.state.time - before.time) / max(1, done)
        n_steps = min(MOST_STEPS, max(1, int((time - experiment.state.time) / pace)))
