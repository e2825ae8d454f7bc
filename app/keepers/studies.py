"""Tempering and closures: what the dialog asks for is carried out beside the window."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from app.panels.studies_dialog import TEMPER, StudiesDialog
from app.session import Session
from app.studying import Studying, StudyOrder


class StudiesKeeper(QObject):
    """Between the dialog and the process; the dialog is kept with its last figure.

    Args:
        folder: in which every study gets a folder of its own.
    """

    def __init__(self, session: Session, studying: Studying, folder: Path, owner: QWidget) -> None:
        super().__init__(owner)
        self._session, self._studying, self._folder, self._owner = session, studying, folder, owner
        self._dialog: StudiesDialog | None = None

    @Slot()
    def show(self) -> None:
        """Bring the dialog up."""
        if self._dialog is None:
            dialog = self._dialog = StudiesDialog(self._owner)
            dialog.wanted.connect(self._start)
            dialog.cancel_wanted.connect(self._studying.cancel)
            self._studying.progress.connect(dialog.show_progress)
            self._studying.running_changed.connect(dialog.show_running)
            self._studying.failed.connect(dialog.say_fault)
            self._studying.done.connect(dialog.show_result)
        self._dialog.show()
        self._dialog.raise_()

    @Slot(object)
    def _start(self, words: list[str]) -> None:
        recipe = self._session.recipe
        name = recipe.name if words[0] == TEMPER else words[1]
        number = 1
        while (folder := self._folder / f"{words[0]}-{name}-{number}").exists():
            number += 1
        self._studying.start(StudyOrder(words, folder, recipe.to_toml() if words[0] == TEMPER else ""))
