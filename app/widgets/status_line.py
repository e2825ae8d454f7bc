"""The status bar: one sentence, the progress of a long job, and the state of the run."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QLabel, QProgressBar, QSizePolicy, QStatusBar, QWidget

from mft_engine.experiment.events import Snapshot

SENTENCE_MILLISECONDS = 12_000
RATE_SECONDS = 0.5
# A run is written every few seconds while it trains: what is older than this has met a fault.
LATE_SECONDS = 25.0


class StatusLine(QStatusBar):
    """Told what to say; a fault stays until the next sentence, everything else fades after a while."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeGripEnabled(False)
        self.setContentsMargins(10, 0, 8, 2)
        self.sentence = QLabel(self)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setAccessibleName("Status")
        self.sentence.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.part = QLabel(self)
        self.part.setProperty("role", "muted")
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(130)
        self.bar.setAccessibleName("Progress")
        self.run = QLabel("no run yet", self)
        self.run.setProperty("role", "chip")
        self.complete = QLabel("recipe complete", self)
        self.complete.setProperty("role", "chip")
        self.complete.setToolTip("The recipe's last step is done; that state equals mft-lab run. Sampling goes on.")
        self.stored = QLabel("● stored", self)
        self.stored.setProperty("role", "chip")
        self.stored.setAccessibleName("Whether the run is stored")
        self.engine = QLabel("loading the engine", self)
        self.engine.setProperty("role", "chip")
        self.engine.setToolTip("Device and inner loop in force")
        self.addWidget(self.sentence, 1)
        for widget in (self.part, self.bar, self.stored, self.complete, self.run, self.engine):
            self.addPermanentWidget(widget)
        for widget in (self.part, self.bar, self.stored, self.complete):
            widget.hide()
        self._fade = QTimer(self)
        self._fade.setSingleShot(True)
        self._fade.setInterval(SENTENCE_MILLISECONDS)
        self._fade.timeout.connect(self.sentence.clear)
        self._device = ""
        self._rate_from = (0.0, 0)
        self._rate = ""
        self._folder: Path | None = None  # in which the run in hand is stored
        self._step = self._kept_step = 0
        self._unkept_since: float | None = None  # when the first step was shown that is not in it

    @Slot(str)
    def say(self, sentence: str) -> None:
        """An ordinary sentence."""
        self._show(sentence, "")
        self._fade.start()

    @Slot(str)
    def say_fault(self, sentence: str) -> None:
        """What went wrong and what to do."""
        self._show(f"⚠ {sentence}", "fault")
        self._fade.stop()

    def _show(self, sentence: str, role: str) -> None:
        self.sentence.setText(sentence)
        self.sentence.setToolTip(sentence)
        if self.sentence.property("role") != role:
            self.sentence.setProperty("role", role)
            self.sentence.style().polish(self.sentence)

    @Slot(str, float, str)
    def show_progress(self, part: str, fraction: float, text: str) -> None:
        """How far a long job is."""
        self.part.setText(text[:1].upper() + text[1:])
        self.bar.setValue(round(1000 * min(1.0, max(0.0, fraction))))
        self.part.show()
        self.bar.show()

    def end_progress(self) -> None:
        """No long job any more."""
        self.part.hide()
        self.bar.hide()

    def show_device(self, device: str) -> None:
        """The device in force."""
        self._device = device
        self.engine.setText(device)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Step, time and speed of the run."""
        now = time.perf_counter()
        since, step = self._rate_from
        if now - since > RATE_SECONDS:
            rate = (snapshot.step - step) / (now - since)
            self._rate = f" · {rate:,.0f} steps/s" if since and rate > 0 else ""
            self._rate_from = (now, snapshot.step)
        self.run.setText(f"step {snapshot.step:,} · t = {snapshot.time:.2f}{self._rate}")
        self.complete.setVisible(snapshot.is_complete)
        self._step = snapshot.step
        if self._step != self._kept_step and self._unkept_since is None:
            self._unkept_since = now
        self._show_kept()
        self.engine.setText(f"{self._device} · {snapshot.kernel}" if self._device else snapshot.kernel)

    def forget_run(self) -> None:
        """Another run: no speed yet, not complete."""
        self._rate_from, self._rate = (0.0, 0), ""
        self.complete.hide()
        self._folder = None
        self._show_kept()

    def show_kept(self, folder: Path) -> None:
        """The run in hand was written, as far as it has been shown."""
        self._folder, self._kept_step, self._unkept_since = folder, self._step, None
        self._show_kept()

    def _show_kept(self) -> None:
        self.stored.setVisible(self._folder is not None)
        since = self._unkept_since
        is_late = since is not None and time.perf_counter() - since > LATE_SECONDS
        text = "○ not stored" if is_late else "● stored"
        what = "What was trained lately could not be written to" if is_late else "Written to"
        tip = f"{what} {self._folder}: every few seconds of training, at a verdict, and when the window closes"
        if (self.stored.text(), self.stored.toolTip()) != (text, tip):
            self.stored.setText(text)
            self.stored.setToolTip(tip)
            self.stored.setProperty("role", "fault" if is_late else "chip")
            self.stored.style().polish(self.stored)
