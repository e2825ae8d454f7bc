"""Runs that keep themselves: copies of a living experiment, written to the store beside its training."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from loguru import logger

from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe
from mft_engine.runs import checkpoint, trash
from mft_engine.runs.folder import RECIPE, Run
from mft_engine.runs.marks import read_marks
from mft_engine.runs.owner import is_in_other_hands, let_go, take

MOST_KEPT = 100
# A window has one experiment in hand and lays a few aside; what was written before these is nobody's any more.
MOST_IN_HAND = 12


class Keeper:
    """Writes checkpoints and answers of experiments, one after the other, in a thread of its own.

    Only the copy is taken by the caller's thread. Every file is whole or the one before; a kill costs what was trained
    since the last copy.

    Args:
        store: the folder of the runs that keep themselves, made when there is one. Beyond `MOST_KEPT` of them the
            oldest go away; one that a person gave a name, a tag or a note never does.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(1, "keeper")
        self._in_use: dict[Path, None] = {}  # the one written last at the end

    def keep(
        self, experiment: Experiment, recipe: Recipe, folder: Path | None, *, has_answers: bool = False
    ) -> Future[Path]:
        """Take a copy now and write it soon.

        Args:
            recipe: that repeats the run, with the changes made on the way as its schedule.
            folder: where the run was written before; None, or a folder outside of the store, for a new one.
            has_answers: write foreground, comparison and summary too.

        Returns:
            the folder, once it is written; the exception where it could not be.
        """
        packed = checkpoint.pack(experiment)
        outcome = experiment.outcome() if has_answers else None

        def write() -> Path:
            run = self._known(folder) or self._new(recipe)
            run.save_recipe(recipe)
            run.save_checkpoint(*packed)
            if outcome is not None:
                run.save_outcome(outcome)
            return run.folder

        return self._writer.submit(write)

    def close(self) -> None:
        """Wait until everything is written."""
        self._writer.shutdown(wait=True)
        for folder in self._in_use:
            let_go(folder)

    def _known(self, folder: Path | None) -> Run | None:
        """The run that goes on; a run from elsewhere stays as it was stored."""
        if folder is None or folder.resolve().parent != self._store.resolve() or not (folder / RECIPE).exists():
            return None
        if folder in self._in_use:
            self._in_use[folder] = self._in_use.pop(folder)
            return Run(folder)
        if is_in_other_hands(folder):
            return None
        run = Run(folder)
        self._take(folder)
        run.clear_unfinished()
        return run

    def _new(self, recipe: Recipe) -> Run:
        run = Run.create(self._store, recipe, command="mft-lab gui")
        self._take(run.folder)
        self._thin_out()
        return run

    def _take(self, folder: Path) -> None:
        self._in_use[folder] = None
        take(folder)

    def _thin_out(self) -> None:
        """Every copy renews its recipe's time, so the oldest are in nobody's hand."""
        trash.empty(self._store)
        for folder in list(self._in_use)[:-MOST_IN_HAND]:  # a window that is open for days begins many
            del self._in_use[folder]
            let_go(folder)
        runs = [path for path in self._store.iterdir() if (path / RECIPE).exists() and read_marks(path).is_empty]
        runs.sort(key=lambda path: (path / RECIPE).stat().st_mtime)
        for folder in runs[: max(0, len(runs) - MOST_KEPT)]:
            if folder not in self._in_use and not is_in_other_hands(folder):
                logger.info("The oldest of more than {} kept runs goes away: {}", MOST_KEPT, folder.name)
                shutil.rmtree(folder, ignore_errors=True)
