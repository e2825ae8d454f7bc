"""The self-consistency loop in the window: who may turn it, what is shown of it, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Slot
from PySide6.QtGui import QAction

from app.engine.messages import Built, LoopEnded
from app.keepers.exact_law import judge_action
from app.keepers.stage import CloudStage
from app.session import Session
from app.views.loop import LoopView
from app.widgets.words import written
from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from mft_engine.experiment.events import Snapshot
    from mft_engine.questions.loop import Iteration

TURN_MILLISECONDS = 60


class LoopKeeper(QObject):
    """Passes the turns on to cloud and plot, and says why a loop cannot be turned where it cannot."""

    def __init__(self, session: Session, view: LoopView, action: QAction, stage: CloudStage) -> None:
        super().__init__(view)
        self._session, self._view, self._action, self._stage = session, view, action, stage
        self._tip = self._action.toolTip()
        self._n_inputs = 2
        self._turn: Iteration | None = None
        self._snapshot: Snapshot | None = None
        self._has_ended = True
        # Quick turns are drawn together: a person cannot follow more, and the window has other things to do.
        self._undrawn: list[Iteration] = []
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(TURN_MILLISECONDS)
        self._rest.timeout.connect(self._draw)
        session.experiment_changed.connect(self._built)
        session.recipe_changed.connect(self._judge)
        session.snapshot_ready.connect(self._keep_snapshot)
        session.job_changed.connect(self._job_changed)
        session.iteration_ready.connect(self._show_turn)
        session.loop_ended.connect(self._end)

    @Slot(object)
    def _built(self, event: Built) -> None:
        self._n_inputs = event.n_inputs
        self._turn = self._snapshot = None
        self._undrawn.clear()
        self._view.clear()
        self._judge(self._session.recipe)

    @Slot(object)
    def _judge(self, recipe: Recipe) -> None:
        reason = judge_action(self._action, self._tip, recipe, self._n_inputs, self._session.is_engine_ready)
        self._view.say_why_not(reason)

    @Slot(object)
    def _keep_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @Slot(str, bool)
    def _job_changed(self, name: str, is_running: bool) -> None:
        if name != "iterate":
            return
        if is_running:
            self._turn, self._has_ended = None, False
            self._undrawn.clear()
            self._stage.begin_loop()
            self._view.begin(start_of(self._session.recipe, self._snapshot))
        elif not self._has_ended:
            where = "before its first turn" if self._turn is None else f"at turn {self._turn.index}"
            gap = "" if self._turn is None else f", gap {written(self._turn.gap, 2)}"
            self._say(f"Stopped {where}{gap}.")

    @Slot(object)
    def _show_turn(self, turn: Iteration) -> None:
        self._turn = turn
        self._undrawn.append(turn)
        if not self._rest.isActive():
            self._draw()

    @Slot()
    def _draw(self) -> None:
        if self._undrawn:
            self._stage.show_turn(self._undrawn[-1])
            self._view.show_turns(self._undrawn)
            self._undrawn.clear()
            self._rest.start()

    @Slot(object)
    def _end(self, event: LoopEnded) -> None:
        if event.fault:
            self._say(f"{event.fault}.")
            return
        turn = self._turn
        if turn is None:
            return
        turns = "1 turn" if turn.index == 1 else f"{turn.index} turns"
        words = "Converged" if event.is_converged else "Not converged yet"
        beyond = "" if turn.excess is None else f", free energy {written(turn.excess, 2)} above the exact optimum"
        self._say(f"{words}: gap {written(turn.gap, 2)} after {turns}{beyond}. Play goes back to the run.")

    def _say(self, sentence: str) -> None:
        self._has_ended = True
        self._draw()
        self._view.end(sentence)
        self._session.status.emit(sentence)


def start_of(recipe: Recipe, snapshot: Snapshot | None) -> str:
    """The background that a loop starts from, in words."""
    kind = background_kind(recipe)
    if kind == "stored":
        return kind
    if kind == "untrained" or snapshot is None or snapshot.step == 0:
        return "untrained"
    return f"{kind}, t = {snapshot.time:.2f}"


def background_kind(recipe: Recipe) -> str:
    """trained, lazy, untrained, or stored: another run or an uploaded cloud."""
    background = recipe.foreground.background
    return background if background in ("trained", "lazy", "untrained") else "stored"
