"""Reads a watched training in a thread of its own, again whenever it has changed; exports it there as well."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

DOCUMENT = "watched.json"


class RunReader(QObject):
    """Lives in a thread: the first look imports what reads runs, which takes seconds.

    Args:
        folder: of the training; it need not be there yet.
    """

    read = Signal(object)  # a mft_engine.runs.watched.WatchedRun
    told = Signal(str)  # a sentence: why there is nothing, or nothing new
    exported = Signal(object)  # the files, a tuple of paths
    refused = Signal(str)  # why nothing was exported

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._seen = 0
        self._said = ""

    @Slot()
    def look(self) -> None:
        """Read the folder if it has changed since the last look."""
        try:
            changed = (self.folder / DOCUMENT).stat().st_mtime_ns
        except OSError:
            self._say(f"Nothing has been kept in {self.folder} yet: mft.watch(..., folder=...) or watch.save writes it")
            return
        if changed == self._seen:
            return
        from mft_engine.experiment.storage import RunError
        from mft_engine.runs.watched import read_watched

        self._seen = changed
        try:
            run = read_watched(self.folder)
        except RunError as error:
            self._say(str(error))
            return
        self._said = ""
        self.read.emit(run)

    @Slot(object)
    def export(self, place: Path) -> None:
        """Write every figure and the clouds into a folder."""
        from mft_engine.experiment.storage import RunError
        from mft_engine.figures.watched import export_watched

        try:
            files = export_watched(
                self.folder, place, figures=["all"], formats=["png", "pdf"], width_mm=170, has_caption=True,
                data=["npz", "csv"],
            )  # fmt: skip
        except (RunError, ValueError) as error:
            self.refused.emit(str(error))
        else:
            self.exported.emit(tuple(files))

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self.told.emit(sentence)


def age_in_words(path: Path) -> str:
    """How long ago a file was written; empty where there is none."""
    try:
        seconds = max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 5400 else f"{seconds / 3600:.0f} h ago"
