"""The width study in the window: who may start it, what is shown of it, and when it no longer holds."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction

from app.engine.messages import Built
from app.keepers.exact_law import judge_action
from app.session import Session
from app.views.width import WidthView
from mft_engine.recipe import Recipe


class WidthKeeper(QObject):
    """Passes the rows on to the view; a study belongs to the parameters that it was begun with."""

    def __init__(self, session: Session, view: WidthView, action: QAction) -> None:
        super().__init__(view)
        self._session, self._view, self._action = session, view, action
        self._tip = self._action.toolTip()
        self._n_inputs = 2
        self._is_stale = False
        self._view.set_action(self._action)
        session.experiment_changed.connect(self._built)
        session.recipe_changed.connect(self._judge)
        session.answers_stale.connect(self._mark_stale)
        session.job_changed.connect(self._job_changed)
        session.job_cancelled.connect(self._cancelled)
        session.width_ready.connect(self._view.add_row)

    @Slot(object)
    def _built(self, event: Built) -> None:
        self._n_inputs = event.n_inputs
        self._view.clear()
        self._judge(self._session.recipe)

    @Slot(object)
    def _judge(self, recipe: Recipe) -> None:
        reason = judge_action(self._action, self._tip, recipe, self._n_inputs, self._session.is_engine_ready)
        self._view.say_why_not(reason)

    @Slot(str)
    def _mark_stale(self, reason: str) -> None:
        self._is_stale = True
        if self._view.has_rows:
            self._view.end(f"Out of date: {reason}.")

    @Slot(str, bool)
    def _job_changed(self, name: str, is_running: bool) -> None:
        if name == "widths" and is_running:
            self._is_stale = False
            self._view.begin()
        elif name == "widths" and not self._view.has_rows:
            self._view.clear()

    @Slot(str)
    def _cancelled(self, name: str) -> None:
        if name == "widths" and self._view.has_rows and not self._is_stale:
            self._view.end("Stopped.")
