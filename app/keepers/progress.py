"""How far long work has come, said in the status bar and on the verdict card, and who may stop it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction

from app.engine.messages import Built
from app.library import Library
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.widgets.status_line import StatusLine

_UNTOLD = ("theory", "certify", "kernel")  # they take care of themselves, several times a second during a drag
_OWN_PLOT = ("iterate", "widths")


class ProgressKeeper(QObject):
    """Passes progress on while a job runs that a person asked for."""

    def __init__(
        self, session: Session, library: Library, line: StatusLine, panel: SelfConsistencyPanel, cancel: QAction
    ) -> None:
        super().__init__(line)
        self._is_comparing = False
        self._session, self._line, self._panel, self._cancel = session, line, panel, cancel
        session.status.connect(line.say)
        session.failed.connect(line.say_fault)
        session.device_changed.connect(line.show_device)
        session.snapshot_ready.connect(line.show_snapshot)
        session.run_kept.connect(line.show_kept)
        session.experiment_changed.connect(self._built)
        session.progress.connect(self._show)
        session.job_changed.connect(self._job_changed)
        session.exported.connect(self._exported)
        library.progress.connect(line.show_progress)
        library.comparing_changed.connect(self._comparing)
        cancel.triggered.connect(library.cancel)

    @Slot(object)
    def _built(self, event: Built) -> None:
        self._line.forget_run()
        if event.folder is not None:
            self._line.show_kept(event.folder)

    @Slot(str, float, str)
    def _show(self, part: str, fraction: float, text: str) -> None:
        if part in _UNTOLD or not self._session.jobs:
            return
        self._line.show_progress(part, fraction, text)
        if part not in _OWN_PLOT:
            self._panel.show_pending(text[:1].upper() + text[1:])

    @Slot(str, bool)
    def _job_changed(self, name: str, is_running: bool) -> None:
        self._look()
        if not is_running and name != "export":
            self._panel.end_pending()

    @Slot(bool)
    def _comparing(self, is_comparing: bool) -> None:
        """Two stored runs are compared beside everything else."""
        self._is_comparing = is_comparing
        self._look()

    def _look(self) -> None:
        is_busy = bool(self._session.jobs) or self._is_comparing
        self._cancel.setEnabled(is_busy)
        if not is_busy:
            self._line.end_progress()

    @Slot(object)
    def _exported(self, paths: tuple[Path, ...]) -> None:
        if paths:
            self._line.say(f"Exported {len(paths)} files to {paths[0].parent}")
