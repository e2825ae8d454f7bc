"""Runs on disk: a recipe carried out and stored, resumed bit for bit, listed, loaded."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from mft_engine.experiment.answering import answer_all
from mft_engine.experiment.events import Event, Progress
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe
from mft_engine.runs import checkpoint
from mft_engine.runs.data import refuse_changed_data
from mft_engine.runs.folder import RECIPE, Population, Run, is_run
from mft_engine.runs.lock import working_alone
from mft_engine.runs.watched import DOCUMENT, is_watched, watched_row
from mft_engine.slices import Clock, Pace

__all__ = ["Population", "Run", "RunError", "default_parent", "list_runs", "load", "run", "run_stored"]

Report = Callable[[str, float, str], None]

CHECKPOINT_SECONDS = 10.0
TOLD_SECONDS = 0.1


def default_parent() -> Path:
    """Where runs go unless a folder is given: the user's data folder."""
    return platformdirs.user_data_path("mft-lab") / "runs"


def load(folder: str | Path) -> Outcome:
    """Everything a run folder holds; a killed run shows what it has.

    What could not be read is in `summary["faults"]`, a list of sentences.

    Raises:
        RunError: no run, or nothing readable in it.
    """
    stored = Run(folder)
    outcome = stored.outcome
    return replace(outcome, summary={**outcome.summary, "faults": list(stored.faults)})


def _runs_in(parent: Path) -> Iterator[Run]:
    """The runs in a folder, newest first; the folder itself where it is one."""
    if is_run(parent):
        yield Run(parent)
        return
    try:
        folders = [path for path in parent.iterdir() if is_run(path)]
    except (OSError, ValueError):
        return
    for folder in sorted(folders, key=lambda path: (_changed(path / RECIPE), path.name), reverse=True):
        yield Run(folder)


def list_runs(parent: str | Path) -> list[dict[str, Any]]:
    """One row a stored run, newest first: path, recipe, seed, digest, state, created, verdict and a few numbers.

    A run that cannot be read is a row with state "damaged" and the sentence in `fault`. Trainings that `mft.watch` has
    kept have the state "watched", and come first.
    """
    return [*_watched_rows(Path(parent)), *(_row(stored) for stored in _runs_in(Path(parent)))]


def _watched_rows(parent: Path) -> list[dict[str, Any]]:
    places = [parent, *sorted(parent.glob("*/")), *sorted(parent.glob("*/layer*/"))] if os.path.isdir(parent) else []
    found = [folder for folder in places if is_watched(folder)]
    return [watched_row(folder) for folder in sorted(found, key=lambda f: -_changed(f / DOCUMENT))]


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # taken away while the list was made
        return 0


def _row(stored: Run) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": str(stored.folder),
        "recipe": stored.folder.name,
        "seed": None,
        "digest": None,
        "state": "damaged",
        "created": stored.provenance.get("created"),
        "n_neurons": None,
        "background_loss": None,
        "verdict": None,
        "ratio": None,
        "p_value": None,
        "fault": None,
    }
    try:
        recipe = stored.recipe
    except RunError as error:
        return {**row, "fault": str(error)}
    background, comparison = (stored.summary.get(key) or {} for key in ("background", "comparison"))
    return {
        **row,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "digest": recipe.digest,
        "state": stored.state,
        "n_neurons": list(recipe.network.n_neurons),
        "background_loss": background.get("loss"),
        "verdict": comparison.get("verdict"),
        "ratio": comparison.get("ratio"),
        "p_value": comparison.get("p_value"),
        "fault": stored.provenance.get("failure") or (stored.faults[0] if stored.faults else None),
    }


def run(recipe: Recipe, out: str | Path | None = None) -> Run:
    """Carry out a recipe and store it: train, foreground, compare, theory.

    Args:
        out: a folder in which a new folder is made; the user's data folder by default.

    Returns:
        the run; `.background.theta` and `.foreground.theta` are tensors, `.summary` the JSON document.

    Raises:
        RecipeError, RunError: bad recipe; folder that cannot be written.
        Diverged: the last good state is in the folder.
    """
    return run_stored(recipe, out)


def run_stored(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    report: Report | None = None,
) -> Run:
    """`run` with progress and resumption.

    Stopped by anything, it leaves a checkpoint; resumed on the CPU with the same number of threads it ends with the
    same numbers, bit for bit.

    Args:
        resume: go on with the newest unfinished run of the same recipe in `out` (or with `out` itself, if it is a
            run folder); a finished one is returned as it is, and where there is none a new one is made.
        report: called with part, fraction and a text.
    """
    parent = Path(out) if out is not None else default_parent()
    stored = _resumable(parent, recipe) if resume else None
    if stored is not None and stored.is_complete:
        return stored
    # Built before the folder, so that a recipe without a task leaves no folder behind.
    experiment = Experiment(recipe)
    is_new = stored is None
    stored = stored or Run.create(parent, recipe)
    with working_alone(stored.folder):
        if not is_new:
            if stored.reread().is_complete:  # by another program, in the meantime
                return stored
            stored.clear_unfinished()
            try:
                stored.put_back(experiment)
            except RunError:  # kept among its faults; nothing of it is used
                experiment = Experiment(recipe)
        _carry_out(experiment, stored, report or (lambda part, fraction, text: None))
    return stored


def _carry_out(experiment: Experiment, stored: Run, tell: Report) -> None:
    try:
        _train(experiment, stored, tell)
        answer_all(experiment, functools.partial(_report, tell))
    except Exception as error:
        # The first fault is the one to report: a disk that is full refuses these as well.
        with contextlib.suppress(Exception):
            stored.save_checkpoint(*checkpoint.pack(experiment))
            stored.note_failure(str(error))
            stored.save_outcome(experiment.outcome())
        raise
    except BaseException:
        stored.save_checkpoint(*checkpoint.pack(experiment))
        raise
    stored.save_outcome(experiment.outcome())


def _report(tell: Report, event: Event) -> None:
    if isinstance(event, Progress):
        tell(event.part, event.fraction, event.text)


def _resumable(parent: Path, recipe: Recipe) -> Run | None:
    """The newest run of this recipe that is worth going on with; an unfinished one before a finished one."""
    same, changed = [], []
    for stored in _runs_in(parent):
        try:
            kept = stored.recipe
        except RunError:
            continue
        if stored.state == "failed":
            continue
        if kept.digest == recipe.digest:
            same.append(stored)
        elif not stored.is_complete:
            changed.append((stored.folder, kept))
    if not same:
        for folder, kept in changed:
            refuse_changed_data(folder, kept, recipe)
    unfinished = [stored for stored in same if not stored.is_complete]
    return next(iter(unfinished + same), None)


def _train(experiment: Experiment, stored: Run, tell: Report) -> None:
    pace, clock = Pace(TOLD_SECONDS), Clock(CHECKPOINT_SECONDS)
    while not experiment.is_complete:
        pace.carry_out(experiment.advance)
        tell("train", experiment.progress, f"training, t = {experiment.state.time:.2f}")
        if clock.is_due():
            stored.save_checkpoint(*checkpoint.pack(experiment))
    stored.save_checkpoint(*checkpoint.pack(experiment))
