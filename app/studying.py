"""The window's door to tempering and closures: the commands of `mft-lab`, each in a process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, Signal, Slot

from mft_engine.itself import own_command

CLOSE_MILLISECONDS = 2000
_PROGRESS = re.compile(r"^\S+ (\d+) % \((.*)\)$")


@dataclass(frozen=True)
class StudyOrder:
    """A command of `mft-lab` and where it writes its figure.

    Attributes:
        words: as they stand on a command line, without `--out` and `--json`; recipe: TOML text that is put into the
            place of the word "RECIPE", empty where there is none.
    """

    words: Sequence[str]
    folder: Path
    recipe: str = ""


class Studying(QObject):
    """One study at a time."""

    progress = Signal(float, str)
    running_changed = Signal(bool)
    done = Signal(object)  # the document that the command printed
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._said, self._printed = "", b""
        self._is_stopped = False

    @property
    def is_running(self) -> bool:
        """Whether a study is under way."""
        return self._process is not None

    def start(self, order: StudyOrder) -> None:
        """Begin; nothing happens where one is under way."""
        if self._process is not None:
            return
        try:
            order.folder.mkdir(parents=True, exist_ok=True)
            recipe = order.folder / "recipe.toml"
            if order.recipe:
                recipe.write_text(order.recipe, encoding="utf-8")
        except OSError as error:
            self.failed.emit(f"The study cannot be written to {order.folder}: {error.strerror or error}")
            return
        self._said, self._printed, self._is_stopped = "", b"", False
        words = [str(recipe) if word == "RECIPE" else word for word in order.words]
        process = self._process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("OMP_NUM_THREADS", "1")
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_words)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._not_started)
        process.start(*own_command(*words, "--out", str(order.folder), "--json"))
        self.running_changed.emit(True)
        self.progress.emit(0.0, "Starting …")

    def cancel(self) -> None:
        """Stop; what was not finished is not kept."""
        if self._process is not None:
            self._is_stopped = True
            self._process.kill()

    def close(self) -> None:
        """The end of the window."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            process.kill()
            process.waitForFinished(CLOSE_MILLISECONDS)

    @Slot()
    def _read(self) -> None:
        if self._process is not None:
            self._printed += bytes(self._process.readAllStandardOutput().data())

    @Slot()
    def _read_words(self) -> None:
        if self._process is None:
            return
        for line in bytes(self._process.readAllStandardError().data()).decode(errors="replace").splitlines():
            found = _PROGRESS.match(line.strip())
            if found:
                self.progress.emit(int(found[1]) / 100, found[2])
            elif line.strip():
                self._said = line.strip()

    @Slot(int, object)
    def _finished(self, code: int, status: object) -> None:
        self._read()
        self._read_words()
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        self.running_changed.emit(False)
        if self._is_stopped:
            self.failed.emit("Stopped.")
            return
        document: Any = None
        if code == 0:
            try:
                document = json.loads(self._printed)
            except ValueError:
                self._said = "The study ended without a result; the log tells more"
        if isinstance(document, dict):
            self.done.emit(document)
        else:
            self.failed.emit(self._said or "The study ended before its time")

    @Slot(object)
    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and self._process is not None:
            self._process.deleteLater()
            self._process = None
            self.running_changed.emit(False)
            self.failed.emit(f"A process for the study could not be started ({own_command()[0]})")
