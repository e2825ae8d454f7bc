"""The window's only door to the engine: the recipe, its history, and signals for what comes back.

Every control ends in `Session.edit`; every plot begins at one of the signals of `app.told`. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger
from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QUndoStack

from app.answers import PASSED_ON
from app.edits import Edit
from app.engine import messages as m
from app.engine.contract import Engine
from app.engine.loading import load_engine
from app.line import EngineLine
from app.told import Told
from app.worker import Worker
from mft_engine.applies import coupled, for_task
from mft_engine.changes import Change
from mft_engine.experiment.events import (
    Event,
    Failed,
    Progress,
)
from mft_engine.looks import Look
from mft_engine.recipe import Recipe, RecipeError, plan_change
from mft_engine.sections import EngineSection

CLOSE_MILLISECONDS = 2000
MOST_UNDONE = 500


class Session(Told):
    """Holds the frozen recipe in force, the undo stack and the generation; talks to the worker by signals alone."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        origin: Path | None = None,
        store: Path | None = None,
        load: Callable[[EngineSection], Engine] = load_engine,
        is_threaded: bool = True,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._recipe = self._opened = recipe
        self._repeating = recipe
        self._request = m.Request(recipe, origin=origin)
        self._coming: dict[str, Any] = {}
        self._drag = 0
        self._is_engine_ready = False
        self._unread: Path | None = None
        self._jobs: set[str] = set()
        self._brings_points: set[str] = {"dataset"}
        self.undo_stack = QUndoStack(self)
        self.undo_stack.setUndoLimit(MOST_UNDONE)  # every entry holds recipes; a window may stay open for days
        self._worker = Worker(load, store)
        self._worker.kept_folder = origin  # until something is built, closing forgets nothing
        self._worker.event_ready.connect(self._receive)
        self._line = EngineLine(self._worker, self, is_threaded=is_threaded)

    # State ---------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """The recipe that the controls show."""
        return self._recipe

    @property
    def opened_recipe(self) -> Recipe:
        """The recipe as it was opened: what "reset to default" goes back to."""
        return self._opened

    @property
    def repeating_recipe(self) -> Recipe:
        """The recipe that reproduces the run on screen, with the changes made while it ran as its schedule."""
        return self._repeating

    @property
    def is_running(self) -> bool:
        """Whether the run is playing."""
        return self._request.is_running

    @property
    def generation(self) -> int:
        """Grows with every change of the recipe that matters to the numbers."""
        return self._request.generation

    @property
    def steps_per_frame(self) -> int:
        """0: as many as fit."""
        return self._request.steps_per_frame

    @property
    def is_engine_ready(self) -> bool:
        """Whether the engine has been loaded."""
        return self._is_engine_ready

    @property
    def kept_folder(self) -> Path | None:
        """The folder that the run in hand is kept in; None before it has been written, and without a store."""
        return self._worker.kept_folder

    @property
    def jobs(self) -> frozenset[str]:
        """Names of the long jobs under way."""
        return frozenset(self._jobs)

    # Start and end -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine's thread and load the engine in it."""
        self.status.emit("Loading the engine …")
        self._line.start(self._recipe.engine)
        self._line.requested.emit(self._request)

    def close(self, milliseconds: int = CLOSE_MILLISECONDS) -> bool:
        """Stop, quit, wait; False where the thread is still inside one long call (a library being loaded).

        The waiting is done once: a second call answers at once.
        """
        # Entries hold the session, and the stack holds them where no collector looks: it would never be freed.
        self.undo_stack.clear()
        return self._line.close(milliseconds)

    # What a person does --------------------------------------------------------------------------------------

    def edit(self, path: str, value: Any) -> bool:
        """Set one value of the recipe; moves of one drag merge until `edit_done`. False where it is not allowed."""
        try:
            after = self._recipe.replace(coupled(self._recipe, path, value))
        except RecipeError as error:
            self._refuse(path, str(error))
            return False
        return self._push(after, path.replace(".", " ").replace("_", " "))

    def _refuse(self, path: str, sentence: str) -> None:
        self.refused.emit(path, sentence)
        self.failed.emit(sentence)

    def choose_task(self, name: str, parameters: Mapping[str, Any]) -> bool:
        """Another task, with its own parameters instead of the old task's; some bring the settings they need."""
        try:
            start, after = for_task(self._recipe, name, parameters, brings_points=name in self._brings_points)
        except RecipeError as error:
            self._refuse("task.name", str(error))
            return False
        if start is not self._recipe:
            self._opened = start
        done = self._push(after, f"task {name}")
        self.edit_done()
        return done

    def edit_done(self) -> None:
        """The end of a drag or of typing: the next edit is an entry of its own."""
        self._drag += 1

    def open_recipe(self, recipe: Recipe, opened: Recipe | None = None) -> None:
        """Another recipe altogether; undo brings the old one back.

        Args:
            opened: what "reset to default" goes back to; the recipe itself where there is none.
        """
        self._opened = opened or recipe
        self._push(recipe, f"open {recipe.name}")
        self.edit_done()
        self.status.emit(f"Opened {recipe.name}")

    def open_run(self, folder: Path, recipe: Recipe) -> None:
        """A stored run as it was: neurons, curves, foreground and verdict; Play goes on from there."""
        self._coming = {"restart": self._request.restart + 1, "origin": folder}
        self.open_recipe(recipe)
        if self._coming:  # the recipe is the one in force already: only the neurons change
            self._ask(**self._coming)
            self._coming = {}

    def _push(self, after: Recipe, text: str) -> bool:
        if after != self._recipe:
            self.undo_stack.push(Edit(self._use, self._recipe, after, text, (text, self._drag)))
        return True

    def play(self) -> None:
        """Train, and go on sampling after the recipe's end."""
        self._set_running(True)

    def pause(self) -> None:
        """Stop training; the cloud stays."""
        self._set_running(False)

    def toggle(self) -> None:
        """Play or pause."""
        self._set_running(not self.is_running)

    def step(self) -> None:
        """One step."""
        self.pause()
        self._line.commanded.emit(m.Step(1))

    def reset(self) -> None:
        """Start again from the same seed with the values that the controls show."""
        self._ask(restart=self._request.restart + 1, origin=None)
        self.status.emit(f"Reset: the same initial cloud (seed {self._recipe.seed})")

    def new_seed(self) -> None:
        """Start again from the next seed."""
        if self.edit("seed", self._recipe.seed + 1):
            self.edit_done()

    def resample(self) -> None:
        """Draw a new foreground in the background's field and compare."""
        self._line.commanded.emit(m.Resample())

    def iterate(self, damping: float | None = None, n_turns: int = 60) -> None:
        """Turn the self-consistency loop from the present background; training pauses meanwhile."""
        self.pause()
        self._line.commanded.emit(m.Iterate(damping, n_turns))

    def study_widths(self) -> None:
        """Sample networks of every width; training pauses meanwhile."""
        self.pause()
        self._line.commanded.emit(m.StudyWidths())

    def look_back(self, time: float) -> None:
        """Ask for the stored cloud nearest to a time of the run."""
        self._line.commanded.emit(m.LookBack(time))

    def look_at_data(self, path: Path, reading: m.Reading | None = None) -> None:
        """Read a file of numbers; `data_ready` tells what is in it (at once the engine is loaded)."""
        self.status.emit(f"Reading {path.name} …")
        if self._is_engine_ready:
            self._line.commanded.emit(m.LookAtData(path, reading or m.Reading()))
        else:
            self._unread = path

    def export(self, command: m.Export) -> None:
        """Write figures and data."""
        self._line.commanded.emit(command)

    def compose(self, command: m.Compose) -> None:
        """Draw a page of figures; `figure_drawn` brings it."""
        self._line.commanded.emit(command)

    def cancel(self) -> None:
        """Stop the long jobs."""
        self._worker.is_interrupted = True
        self._line.commanded.emit(m.Cancel())

    def set_speed(self, steps_per_frame: int) -> None:
        """Steps per drawn frame; 0 for as many as fit."""
        self._ask(steps_per_frame=steps_per_frame)

    def watch_fields(self, is_watching: bool) -> None:
        """Whether the heat maps shall follow the training."""
        if is_watching != self._request.watches_fields:
            self._ask(watches_fields=is_watching)

    def watch_kernel(self, is_watching: bool) -> None:
        """Whether the data kernel shall be computed when training pauses and after comparisons."""
        if is_watching != self._request.watches_kernel:
            self._ask(watches_kernel=is_watching)

    def look_at(self, look: Look | None) -> None:
        """What of a large cloud somebody looks at; the answer comes with a frame, or alone while the run is paused."""
        if look != self._request.look:
            self._ask(look=look)

    @Slot()
    def frame_drawn(self) -> None:
        """The window has drawn the last snapshot; the next one may come."""
        self._line.credited.emit()

    # To the worker -------------------------------------------------------------------------------------------

    def _set_running(self, is_running: bool) -> None:
        if is_running != self.is_running:
            self._ask(is_running=is_running)
            self.status.emit("")  # what was said of a run that goes on is over
            self.running_changed.emit(is_running)

    def _ask(self, **changes: Any) -> None:
        self._request = replace(self._request, **changes)
        self._line.requested.emit(self._request)

    def _use(self, recipe: Recipe) -> None:
        """Take a recipe from the undo stack and pass it on."""
        change = plan_change(self._recipe, recipe)
        is_new = change is not Change.NOTHING or self._recipe.schedule != recipe.schedule
        self._recipe = recipe
        coming, self._coming = self._coming, {}
        if change is Change.REBUILD:
            coming = {"origin": None} | coming  # a stored run's neurons are of that run alone
        self._ask(recipe=recipe, generation=self._request.generation + is_new, **coming)
        self.recipe_changed.emit(recipe)
        if change is not Change.NOTHING:
            self._worker.is_interrupted = True
        if change in (Change.RESAMPLE, Change.RETUNE):
            self.answers_stale.emit("the parameters have changed")

    # From the worker -----------------------------------------------------------------------------------------

    @Slot(object)
    def _receive(self, event: Event) -> None:
        if self._worker.is_stopping:  # the window is gone: no dialog shall open behind it
            return
        passed = PASSED_ON.get(type(event))
        if passed is not None:
            if not (passed.is_answer and self._is_old(event)):
                value = getattr(event, passed.part) if passed.part else event
                getattr(self, passed.signal).emit(value)
            return
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def _is_old(self, event: Event) -> bool:
        return event.generation < self._request.generation

    def _on_engine(self, event: m.EngineReady) -> None:
        self._is_engine_ready = True
        logger.info("Engine loaded in {:.1f} s; devices: {}", event.seconds, ", ".join(event.devices))
        self.engine_ready.emit(event)
        self.status.emit("Ready: press Play (Space)")
        if self._unread is not None:
            self.look_at_data(self._unread)
            self._unread = None

    def _on_built(self, event: m.Built) -> None:
        self._repeating = event.recipe
        self.experiment_changed.emit(event)
        self.device_changed.emit(event.device)

    def _on_theory(self, event: m.TheoryPicture) -> None:
        self.theory_ready.emit(replace(event, is_current=not self._is_old(event)))

    def _on_retuned(self, event: m.Retuned) -> None:
        self._repeating = event.recipe
        self.retuned.emit(event)

    def _on_scheduled(self, event: m.Scheduled) -> None:
        """The schedule is part of the recipe, so what it changes is no entry in the history."""
        if not self._is_old(event):
            self._recipe = self._recipe.replace(event.changes)
            self._request = replace(self._request, recipe=self._recipe)
            self.recipe_changed.emit(self._recipe)

    def _on_complete(self, event: m.RecipeComplete) -> None:
        self.recipe_complete.emit(event)
        if self.is_running:
            self.status.emit(f"Recipe complete at step {event.step:,}; sampling goes on until you pause")

    def _on_opened(self, event: m.RunOpened) -> None:
        for sentence in event.faults:
            logger.warning(sentence)
        state = "complete" if event.is_complete else "Play goes on from there"
        if event.faults:
            self.failed.emit(event.faults[0])
        else:
            self.status.emit(f"Opened {event.folder.name} as it was at step {event.step:,}: {state}")

    def _on_card(self, event: m.TaskCard) -> None:
        if event.brings_points:
            self._brings_points.add(event.name)
        self.task_card_ready.emit(event)

    def _on_data(self, event: m.DataPreview) -> None:
        if event.fault and event.reading == m.Reading():
            self.failed.emit(event.fault)
        else:  # a fault of another reading is said where that was chosen
            self.status.emit("")
            self.data_ready.emit(event)

    def _on_progress(self, event: Progress) -> None:
        self.progress.emit(event.part, float(event.fraction), event.text)

    def _on_started(self, event: m.JobStarted) -> None:
        self._jobs.add(event.name)
        self.job_changed.emit(event.name, True)

    def _on_ended(self, event: m.JobEnded) -> None:
        self._jobs.discard(event.name)
        self.job_changed.emit(event.name, False)
        if event.was_cancelled:
            self.job_cancelled.emit(event.name)
            self.status.emit(f"Cancelled: {event.name}")

    def _on_note(self, event: m.Note) -> None:
        logger.info(event.sentence)
        self.status.emit(event.sentence)

    def _on_rejected(self, event: m.Rejected) -> None:
        """The engine cannot use the newest recipe: take it back (redo would be answered with the same sentence)."""
        logger.warning("Recipe rejected: {}\n{}", event.sentence, event.traceback)
        path = "task.name" if event.sentence.startswith(("task.", "The target")) else ""
        last = self.undo_stack.command(self.undo_stack.index() - 1) if self.undo_stack.canUndo() else None
        if not self._is_old(event) and isinstance(last, Edit):
            self.undo_stack.undo()
        self._refuse(path, event.sentence)

    def _on_failed(self, event: Failed) -> None:
        logger.error("{}\n{}", event.sentence, event.traceback)
        if event.step is not None:
            self._set_running(False)
        self.failed.emit(event.sentence)


_HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    m.EngineReady: Session._on_engine,
    m.Built: Session._on_built,
    m.TheoryPicture: Session._on_theory,
    m.Retuned: Session._on_retuned,
    m.Scheduled: Session._on_scheduled,
    m.RecipeComplete: Session._on_complete,
    m.RunOpened: Session._on_opened,
    m.TaskCard: Session._on_card,
    m.DataPreview: Session._on_data,
    Progress: Session._on_progress,
    m.JobStarted: Session._on_started,
    m.JobEnded: Session._on_ended,
    m.Note: Session._on_note,
    m.Rejected: Session._on_rejected,
    Failed: Session._on_failed,
}
