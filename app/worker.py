"""The engine's thread: short slices, the newest request wins, one frame under way at a time.

Nothing here waits. A zero timer calls `_slice` as long as there is something to do, and between two slices the thread's
event loop delivers requests, commands and the frame credit. No QObject is made in the worker's thread: the timer is
made with the worker and moves along.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal, Slot

from app.engine import jobs
from app.engine.building import Builder, facts_of
from app.engine.contract import Engine, Restored
from app.engine.frames import Frames
from app.engine.hand import Hand, Parking
from app.engine.jobs import Job
from app.engine.keeping import Keeping
from app.engine.messages import (
    Built,
    Cancel,
    Compose,
    Export,
    Iterate,
    JobEnded,
    JobStarted,
    LookAtData,
    LookBack,
    Note,
    RecipeComplete,
    Rejected,
    Request,
    Resample,
    Retuned,
    RunKept,
    RunOpened,
    Scheduled,
    Step,
    StoredCloud,
    StudyWidths,
)
from mft_engine.changes import Change
from mft_engine.experiment.events import ComparisonReady, Event, Failed, ForegroundReady
from mft_engine.recipe import differences, plan_change
from mft_engine.sections import EngineSection
from mft_engine.slices import Pace

DUE_MILLISECONDS = 3
_TOLD_JOBS = ("resample", "iterate", "widths", "export")


class Worker(QObject):
    """Runs experiments. Every public slot may be called from the window's thread through a queued connection."""

    event_ready = Signal(object)

    def __init__(self, load: Callable[[EngineSection], Engine], store: Path | None = None) -> None:
        super().__init__()
        self._store = store
        self._keeping: Keeping | None = None
        self.kept_folder: Path | None = None  # of the run in hand; read by the window's thread after the end
        self._load = load
        self._engine: Engine | None = None
        self._builder: Builder | None = None
        self._hand: Hand | None = None
        self._parking = Parking()
        self._jobs: list[Job] = []
        self._wanted: Request | None = None
        self._applied: Request | None = None
        self._steps_asked = 0
        self._pace = Pace()
        self._frames = Frames(self._tell)
        self._is_theory_due = self._is_certificate_due = False
        self.is_stopping = False  # written by the window's thread at close: one assignment, read between slices
        self.is_interrupted = False  # likewise, by cancel and by edits: a long step asks it from within
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._slice)

    # What the window's thread calls ------------------------------------------------------------------------------

    @Slot(object)
    def load(self, section: EngineSection) -> None:
        """Import the engine; may take seconds."""
        try:
            self._engine = self._load(section)
            self._builder = Builder(self._engine, self._say)
            if self._store is not None:
                self._keeping = Keeping(self._engine.keeper(self._store), self._tell_kept, self._say)
        except Exception as error:
            self._tell_failure(error, "The engine could not be loaded: ")
            return
        self.event_ready.emit(self._engine.ready)
        self._jobs.append(Job("cards", jobs.task_cards(self._engine), 0))
        self._timer.start()

    @Slot(object)
    def request(self, wanted: Request) -> None:
        """The newest wish; an earlier one that was not begun is forgotten."""
        self._wanted = wanted
        self._timer.start()

    @Slot(object)
    def command(self, command: object) -> None:
        """A single act: step, look back, resample, iterate, study widths, cancel, compose, export."""
        if self._engine is None:
            self.event_ready.emit(Note("The engine is still loading"))
            return
        if isinstance(command, Cancel):
            self._drop_jobs(lambda job: job.name in _TOLD_JOBS)
            self._timer.start()
            return
        try:
            self._apply()
            if isinstance(command, Step):
                self._steps_asked += command.n_steps
            elif isinstance(command, LookAtData):
                self._tell(self._engine.data_preview(command.path, command.reading))
            elif self._hand is not None and isinstance(command, LookBack):
                stored = self._hand.stored_cloud(command.time)
                if stored is not None:
                    self._tell(StoredCloud(*stored))
            elif self._hand is not None and isinstance(command, Resample):
                self._start("resample", jobs.resample(self._hand))
            elif self._hand is not None and isinstance(command, Iterate):
                self._start("iterate", jobs.iterate(self._hand, command))
            elif self._hand is not None and isinstance(command, StudyWidths):
                self._start("widths", jobs.study_widths(self._hand, self._engine, self._shall_stop))
            elif self._hand is not None and isinstance(command, Compose):
                twin = self._parking.look(self._hand.applied.replace({"foreground.background": "lazy"}))
                self._start("compose", jobs.compose(command, self._hand, twin, self._engine))
            elif self._hand is not None and isinstance(command, Export):
                self._start("export", self._export(command, self._hand))
        except Exception as error:
            self._tell_failure(error)
        self._timer.start()

    @Slot()
    def give_credit(self) -> None:
        """The window has drawn the last frame."""
        self._frames.has_credit = True
        self._timer.start()

    @Slot()
    def stop(self) -> None:
        """End of work: the timer is stopped in the thread that started it, then the thread's loop ends."""
        self.is_stopping = True
        self._timer.stop()
        self._jobs.clear()
        if self._keeping is not None:
            self._keeping.finish([*self._parking.hands, *([self._hand] if self._hand is not None else [])])
            self._keeping = None
        application = QCoreApplication.instance()
        if application is None or self.thread() is not application.thread():
            self.thread().quit()

    # One slice ---------------------------------------------------------------------------------------------------

    @Slot()
    def _slice(self) -> None:
        if self.is_stopping or self._engine is None:
            self._timer.stop()
            return
        self._apply()
        is_busy = is_due = False
        try:
            is_busy = self._train()
            self._follow_schedule()
            # A frame before the jobs: the cloud follows the finger first, theory and comparison a slice later.
            if self._hand is not None and self._applied is not None:
                is_due = self._frames.send(self._hand, self._applied)
        except Exception as error:
            self._training_failed(error)
            is_due = True
        is_busy |= self._job_slices()
        if self._keeping is not None and self._hand is not None:
            self._keeping.look(self._hand)
            is_due |= self._hand.writing is not None
        self._tell_completion()
        if is_busy:
            self._timer.setInterval(0)
        elif is_due:
            self._timer.setInterval(DUE_MILLISECONDS)
        else:
            self._timer.stop()

    def _apply(self) -> None:
        wanted, applied = self._wanted, self._applied
        if wanted is None or wanted is applied:
            return
        self._applied = wanted
        try:
            if applied is None or self._hand is None or wanted.restart != applied.restart:
                self._rebuild(wanted, may_restore=False)
                return
            change = plan_change(self._hand.applied, wanted.recipe)
            if change is Change.REBUILD or wanted.recipe.schedule != self._hand.applied.schedule:
                self._rebuild(wanted, may_restore=True)
            elif change is not Change.NOTHING:
                self._retune(wanted)
            else:
                self._hand.applied = wanted.recipe
        except Exception as error:
            self._tell(Rejected(str(error) or type(error).__name__, traceback=_traceback(error)))

    def _rebuild(self, wanted: Request, *, may_restore: bool) -> None:
        parked = self._parking.take(wanted.recipe)
        hand = parked if may_restore else None
        stored: Restored | None = None
        if wanted.origin is not None and not may_restore:
            hand, stored = self._build.stored(wanted.origin, wanted.recipe)
        elif hand is None:
            hand = self._build.new(wanted.recipe)
        elif plan_change(hand.applied, wanted.recipe) is not Change.NOTHING:
            hand.retune(wanted.recipe)
        if self._hand is not None and (may_restore or stored is not None):
            self._parking.park(self._hand)
            if self._keeping is not None:
                self._keeping.keep(self._hand)
        self.kept_folder = hand.folder
        self._drop_jobs(lambda job: job.name != "cards" and not job.is_apart)
        hand.applied = wanted.recipe
        self._hand, self._pace = hand, Pace()
        self._steps_asked = 0
        self._frames.forget()
        self._tell(
            Built(
                recipe=hand.repeating or hand.applied,
                initial=hand.experiment.initial_clouds(),
                device=hand.device,
                step=hand.step,
                is_restored=hand is parked,
                folder=hand.folder,
                **facts_of(hand.experiment),
            )
        )
        known = (hand.foreground, hand.comparison, hand.theory, hand.certificate, hand.kernel)
        for answer in (*known, *hand.answers.values()):
            if answer is not None:
                self._tell(answer)
        self._is_theory_due = hand.theory is None
        self._is_certificate_due = hand.comparison is not None and hand.certificate is None
        if stored is not None and wanted.origin is not None:
            if stored.certificate is not None:
                # It is computed again all the same: the lines that stand beside it are not stored.
                self._tell(stored.certificate)
            for answer in stored.answers:
                self._tell(answer)
            self._tell(RunOpened(wanted.origin, hand.step, hand.experiment.is_complete, stored.faults))

    def _say(self, sentence: str) -> None:
        self.event_ready.emit(Note(sentence))

    def _tell_kept(self, folder: Path) -> None:
        if self._hand is not None and self._hand.folder == folder:
            self.kept_folder = folder
            self._tell(RunKept(folder))

    @property
    def _build(self) -> Builder:
        assert self._builder is not None  # nothing is applied before the engine is loaded
        return self._builder

    def _retune(self, wanted: Request) -> None:
        hand = self._hand
        assert hand is not None
        changes = [d for d in differences(hand.applied, wanted.recipe) if d[0] not in ("name", "description")]
        is_training = hand.retune(wanted.recipe)
        self._drop_jobs(lambda job: job.name not in ("cards", "theory") and not job.is_apart)
        self._is_certificate_due = False
        # Of another generation now, an answer on its way would be dropped; one that is known already costs nothing.
        self._is_theory_due = True
        if is_training:
            text = ", ".join(f"{path.rpartition('.')[2]} {_short(new)}" for path, _, new in changes)
            assert hand.repeating is not None
            self._tell(Retuned(recipe=hand.repeating, time=float(hand.experiment.state.time), text=text))
            self._redraw(hand)

    def _redraw(self, hand: Hand) -> None:
        """An exactly drawn foreground follows the slider, in the field that it was drawn in."""
        try:
            drawn = hand.experiment.redraw()
        except (ArithmeticError, ValueError) as error:
            self._tell(Note(f"The foreground does not follow: {error}"))
            return
        if drawn is not None:
            self._frames.forget_foreground(is_picture=True)
            self._tell(drawn)

    # Jobs --------------------------------------------------------------------------------------------------------

    def _start(self, name: str, steps: Iterator[Event]) -> None:
        self._drop_jobs(lambda job: job.name == name)
        self._jobs.append(Job(name, steps, self._generation))
        if name in _TOLD_JOBS:
            self.is_interrupted = False
            self._tell(JobStarted(name))

    def _shall_stop(self) -> bool:
        return self.is_stopping or self.is_interrupted

    def _drop_jobs(self, is_dropped: Callable[[Job], bool]) -> None:
        for job in [job for job in self._jobs if is_dropped(job)]:
            self._jobs.remove(job)
            if job.name in _TOLD_JOBS:
                self._tell(JobEnded(job.name, was_cancelled=True))

    def _job_slices(self) -> bool:
        """One slice of every job; the theory is never cut off by a newer wish, it follows as soon as it is done."""
        if self._is_theory_due and self._hand is not None and not any(j.name == "theory" for j in self._jobs):
            assert self._engine is not None
            self._is_theory_due = False
            self._start("theory", jobs.solve_theory(self._hand, self._engine))
        self._start_certificate()
        self._start_kernel()
        for job in list(self._jobs):
            try:
                is_over = jobs.run_slice(job, self._tell_answer)
            except Exception as error:
                is_over = True
                self._tell_failure(error)
            if is_over and job in self._jobs:
                self._jobs.remove(job)
                if job.name in _TOLD_JOBS:
                    # The study alone may end from within, before the wish that ends it is delivered.
                    self._tell(JobEnded(job.name, was_cancelled=job.name == "widths" and self._shall_stop()))
                if job.name == "certify" and self._keeping is not None and self._hand is not None:
                    self._keeping.keep(self._hand)
        return bool(self._jobs) or self._is_certificate_due

    def _start_certificate(self) -> None:
        """After the comparison and the theory, which it needs."""
        is_solving = self._is_theory_due or any(job.name == "theory" for job in self._jobs)
        if self._is_certificate_due and self._hand is not None and not is_solving:
            self._is_certificate_due = False
            self._start("certify", jobs.certify(self._hand))

    def _start_kernel(self) -> None:
        """Where it is looked at, once the clouds that it compares are there."""
        hand, request = self._hand, self._applied
        if hand is None or request is None or not request.watches_kernel:
            return
        is_sampling = any(job.name in ("resample", "export", "kernel") for job in self._jobs)
        if not is_sampling and hand.is_kernel_due(request.is_running or self._steps_asked > 0):
            self._start("kernel", jobs.data_kernel(hand))

    def _tell_answer(self, event: Event) -> None:
        if isinstance(event, ForegroundReady):
            self._frames.forget_foreground()
        elif isinstance(event, ComparisonReady):
            self._is_certificate_due = True
        self.event_ready.emit(event)

    def _export(self, command: Export, hand: Hand) -> Iterator[Event]:
        """The three pictures need the trained background and its wrong twin, whichever of them is in hand."""
        assert self._engine is not None
        panels = command.composition.panels if command.composition is not None else ()
        if "three-pictures" not in command.figures and "wrong-background" not in panels:
            return jobs.export(command, hand, None, hand, self._engine)
        right, wrong = self._hand_of(hand, "trained"), self._hand_of(hand, "lazy")
        return jobs.export(command, right, wrong, hand, self._engine)

    def _hand_of(self, hand: Hand, background: str) -> Hand:
        if hand.applied.foreground.background == background:
            return hand
        recipe = hand.applied.replace({"foreground.background": background})
        other = self._parking.look(recipe)
        if other is None:
            other = self._build.new(recipe)
            self._parking.park(other)
        return other

    # Training and frames -----------------------------------------------------------------------------------------

    def _train(self) -> bool:
        hand, request = self._hand, self._applied
        if hand is None or request is None or not (request.is_running or self._steps_asked):
            return False
        if self._steps_asked:
            n_steps = min(self._pace.n_steps, self._steps_asked)
        elif request.steps_per_frame:
            left = request.steps_per_frame - (hand.step - max(self._frames.sent_step, 0))
            if left <= 0:
                return False
            n_steps = min(self._pace.n_steps, left)
        else:
            n_steps = self._pace.n_steps
        started = time.perf_counter()
        done = hand.experiment.advance(n_steps, beyond=hand.experiment.is_complete)
        self._pace.measured(done, time.perf_counter() - started)
        self._steps_asked = max(0, self._steps_asked - done) if done else 0
        return True

    def _tell_completion(self) -> None:
        hand = self._hand
        if hand is not None and hand.experiment.is_complete and not hand.is_complete_told:
            hand.is_complete_told = True
            step, time_then = hand.end or (hand.step, hand.experiment.state.time)
            self._tell(RecipeComplete(step, float(time_then)))

    def _follow_schedule(self) -> None:
        hand = self._hand
        changes = hand.scheduled_changes() if hand is not None else {}
        if changes and self._applied is not None:
            self._applied = self._wanted = replace(self._applied, recipe=self._applied.recipe.replace(changes))
            self._is_theory_due = True
            self._tell(Scheduled(changes))

    # Trouble -----------------------------------------------------------------------------------------------------

    def _training_failed(self, error: Exception) -> None:
        """Stop the run, keep the last good cloud, and try the CPU where the device was at fault."""
        assert self._engine is not None
        hand, applied = self._hand, self._applied
        self._steps_asked = 0
        if hand is not None and applied is not None and self._engine.is_device_trouble(error, hand.applied):
            self._build.forget_device(hand.applied)
            self._hand = None
            self._tell_failure(error, f"{hand.device} failed, the run starts again on the CPU: ")
            self._wanted = replace(applied)
            self._timer.start()
            return
        if applied is not None:
            self._applied = self._wanted = replace(applied, is_running=False)
        self._tell_failure(error, step=getattr(error, "step", hand.step if hand is not None else 0))

    def _tell_failure(self, error: BaseException, prefix: str = "", step: int | None = None) -> None:
        sentence = str(error) or type(error).__name__
        self._tell(Failed(prefix + sentence, traceback=_traceback(error), step=step))

    @property
    def _generation(self) -> int:
        return self._applied.generation if self._applied is not None else 0

    def _tell(self, event: Event) -> None:
        self.event_ready.emit(replace(event, generation=self._generation))


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
