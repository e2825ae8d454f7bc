"""Tempering of the recipe in the controls, and the closures of teacher theory: asked for here, shown as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

MOST_RUNGS = 500
TEMPER, CLOSURE = "temper", "closure"
_INTRODUCTIONS = {
    TEMPER: "Networks of this recipe at a ladder of temperatures exchange places: what is stuck in one state at the "
    "lowest temperature comes loose at the highest.",
    CLOSURE: "The few equations of teacher theory, in the units of their papers: which share is learned, and how many "
    "neurons specialise, at every noise.",
}


class StudiesDialog(QDialog):
    """Says what is wanted by `wanted`; told how far it is and what came of it."""

    wanted = Signal(object)  # words of the command line, with RECIPE where the recipe belongs
    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("studies_dialog")
        self.setWindowTitle("Tempering and closures")
        self.rungs = QSpinBox(self)
        self.rungs.setRange(0, MOST_RUNGS)
        self.rungs.setSpecialValueText("as many as needed")
        self.rungs.setAccessibleName("Temperatures")
        self.rungs.setToolTip("Rungs of the ladder, in geometric steps")
        self.hottest = QDoubleSpinBox(self)
        self.hottest.setRange(0, 1000)
        self.hottest.setDecimals(4)
        self.hottest.setSpecialValueText("ten times the recipe's")
        self.hottest.setAccessibleName("Highest temperature")
        self.hottest.setToolTip("The top of the ladder, in the units of training.temperature")
        for box in (self.rungs, self.hottest):
            box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.teacher = QComboBox(self)
        for name, words in (("cubic", "cubic teacher"), ("modular", "modular addition")):
            self.teacher.addItem(words, name)
        self.teacher.setAccessibleName("Teacher")
        self.teacher.setToolTip("Whose closure: a cubic teacher's, or modular addition's")
        self.noise = QLineEdit("0.4:0.05:lin15", self)
        self.noise.setAccessibleName("Noise")
        self.noise.setToolTip("sigma²: a,b,c or START:STOP:linN or START:STOP:logN")
        self.changes = QLineEdit(self)
        self.changes.setPlaceholderText("beta=512, …")
        self.changes.setAccessibleName("Settings of the closure")
        self.changes.setToolTip("Whatever differs from the paper's experiment, as name=value with commas")
        self.tabs = QTabWidget(self)
        self.tabs.addTab(self._page(TEMPER, (("Temperatures", self.rungs), ("Highest", self.hottest))), "Tempering")
        closure = (("Teacher", self.teacher), ("Noise σ²", self.noise), ("Settings", self.changes))
        self.tabs.addTab(self._page(CLOSURE, closure), "Closures")
        self.go = QPushButton("Start", self)
        self.go.setToolTip("Compute it in a process of its own; the window goes on")
        self.stop = QPushButton("Cancel", self)
        self.stop.setToolTip("Stop it; nothing is kept of it")
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the study")
        self.sentence = QLabel(self)
        self.sentence.setWordWrap(True)
        self.sentence.setAccessibleName("Result of the study")
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.figure = QLabel(self)
        self.figure.setAccessibleName("Figure of the study")
        self.figure.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.figure.setMinimumSize(420, 320)
        self.figure.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._pixmap: QPixmap | None = None
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.button(QDialogButtonBox.StandardButton.Close).setToolTip("Close this window")
        buttons.rejected.connect(self.reject)
        line = QHBoxLayout()
        for widget in (self.go, self.stop):
            line.addWidget(widget)
        line.addWidget(self.bar, 1)
        left = QVBoxLayout()
        left.addWidget(self.tabs)
        left.addLayout(line)
        left.addWidget(self.sentence)
        left.addStretch(1)
        sides = QHBoxLayout()
        sides.addLayout(left, 2)
        sides.addWidget(self.figure, 3)
        layout = QVBoxLayout(self)
        layout.addLayout(sides, 1)
        layout.addWidget(buttons)
        self.go.clicked.connect(self._start)
        self.stop.clicked.connect(self.cancel_wanted)
        self.show_running(False)
        self.resize(940, 520)

    def _page(self, name: str, rows: Sequence[tuple[str, QWidget]]) -> QWidget:
        page = QWidget(self)
        words = QLabel(_INTRODUCTIONS[name], page)
        words.setWordWrap(True)
        words.setProperty("role", "muted")
        form = QFormLayout()
        for title, widget in rows:
            form.addRow(title, widget)
        layout = QVBoxLayout(page)
        layout.addWidget(words)
        layout.addLayout(form)
        return page

    # What is shown

    def show_running(self, is_running: bool) -> None:
        """Whether a study is under way."""
        self.go.setEnabled(not is_running)
        self.stop.setEnabled(is_running)
        self.bar.setVisible(is_running)

    def show_progress(self, fraction: float, words: str) -> None:
        """How far it is."""
        self.bar.setValue(round(1000 * fraction))
        self._say(words, "")

    def say_fault(self, words: str) -> None:
        """Why it cannot be."""
        self._say(words, "fault")

    def show_result(self, document: Mapping[str, Any]) -> None:
        """The figure, and what it says in words."""
        pictures = [Path(path) for path in document.get("figures", ()) if str(path).endswith(".png")]
        self._pixmap = QPixmap(str(pictures[0])) if pictures else None
        self._fit()
        where = f" The figure and its numbers are in {pictures[0].parent}." if pictures else ""
        self._say(f"{document.get('sentence') or _rows(document)}{where}", "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The figure fills what there is."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if self._pixmap is not None and not self._pixmap.isNull():
            ratio = self.devicePixelRatioF()
            shown = self._pixmap.scaled(
                self.figure.size() * ratio, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
            shown.setDevicePixelRatio(ratio)
            self.figure.setPixmap(shown)

    def _say(self, words: str, role: str) -> None:
        self.sentence.setText(words)
        if self.sentence.property("role") != role:
            self.sentence.setProperty("role", role)
            self.sentence.style().polish(self.sentence)

    # What a person does

    @Slot()
    def _start(self) -> None:
        if self.tabs.currentIndex() == 0:
            words = [TEMPER, "RECIPE"]
            words += ["--rungs", str(self.rungs.value())] if self.rungs.value() else []
            words += ["--hottest", f"{self.hottest.value():g}"] if self.hottest.value() else []
        else:
            words = [CLOSURE, self.teacher.currentData(), "--noise", self.noise.text().strip()]
            for change in filter(None, (part.strip() for part in self.changes.text().split(","))):
                words += ["--set", change]
        self.wanted.emit(words)


def _rows(document: Mapping[str, Any]) -> str:
    rows = document.get("rows", ())
    phases = dict.fromkeys(row["phase"] for row in rows if row.get("phase"))
    return f"{len(rows)} solutions; phases on the way: {', '.join(phases)}."
