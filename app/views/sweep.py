"""The sweep view: which fields and seeds, how far it is, and the phase diagram that grows meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QToolButton,
    QWidget,
)

from app.theme import LIGHT, Theme
from app.views.phase import PhaseView

N_FIELDS = 2
NAME_WIDTH = 150
NARROWEST, WIDEST, ROOM_FOR_DIAGRAM = 318, 400, 560  # pixels: of the controls, and what they leave
LARGEST_SEEDS, LARGEST_WORKERS, LARGEST_REFINEMENT = 1000, 256, 1000
_VALUES_TIP = (
    "START:STOP:logN or START:STOP:linN for N values from start to stop, or the values themselves with commas:\n"
    "1e-4:0.1:log8, 0:1:lin5, 64, 256, 1024"
)


class FieldChoice:
    """One swept field: its name, its values, and the button that points at a control."""

    def __init__(self, number: int, parent: QWidget, paths: Sequence[str]) -> None:
        self.path = QComboBox(parent)
        self.path.setAccessibleName(f"Swept field {number + 1}")
        self.path.setToolTip("The field of the recipe that is swept")
        self.path.setFixedWidth(NAME_WIDTH)
        self.path.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.path.addItem("choose a field" if number == 0 else "no second field", "")
        for path in paths:
            self.path.addItem(path, path)
        self.point = QToolButton(parent)
        self.point.setText("Point")
        self.point.setCheckable(True)
        self.point.setFixedWidth(46)
        self.point.setAccessibleName(f"Point at the control of field {number + 1}")
        self.point.setToolTip("Click here, then on the control of the field in the Experiment dock (Esc gives up)")
        self.values = QLineEdit(parent)
        self.values.setAccessibleName(f"Values of field {number + 1}")
        self.values.setToolTip(_VALUES_TIP)
        self.values.setPlaceholderText("1e-4:0.1:log8")
        self.values.editingFinished.connect(self._show_beginning)

    def _show_beginning(self) -> None:
        self.values.setCursorPosition(0)


class SweepView(QWidget):
    """Told what is there; says what a person wants by its signals."""

    start_wanted = Signal()
    cancel_wanted = Signal()
    resume_wanted = Signal()
    opened = Signal(object)  # folder of a stored sweep
    point_wanted = Signal(int)  # of which field; -1 for none any more
    run_picked = Signal(str)
    studies_wanted = Signal()

    def __init__(self, paths: Sequence[str], theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        """Args: paths: fields of the recipe that can be swept."""
        super().__init__(parent)
        self._suggest: Callable[[str], str] = lambda path: ""
        self.fields = [FieldChoice(number, self, paths) for number in range(N_FIELDS)]
        self.seeds = QSpinBox(self)
        self.seeds.setRange(1, LARGEST_SEEDS)
        self.seeds.setValue(3)
        self.seeds.setAccessibleName("Seeds")
        self.seeds.setToolTip(
            "Runs at every point, from the recipe's seed on: they make the error bars, and one verdict"
        )
        self.workers = QSpinBox(self)
        self.workers.setRange(0, LARGEST_WORKERS)
        self.workers.setSpecialValueText("auto")
        self.workers.setAccessibleName("Workers")
        self.workers.setToolTip("Processes of one thread each; auto: all cores but one")
        self.both_ways = QCheckBox("Up and down", self)
        self.both_ways.setToolTip(
            "Pull networks up the first field's values and down again, every one from the neurons of the one before:\n"
            "where two states compete, the two ways disagree (hysteresis)"
        )
        self.refine = QSpinBox(self)
        self.refine.setRange(0, LARGEST_REFINEMENT)
        self.refine.setAccessibleName("Values to add")
        self.refine.setToolTip("So many further values at most, where the order parameter bends")
        for box in (self.seeds, self.workers, self.refine):
            box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            box.setFixedWidth(48)
        self.studies = QPushButton("Tempering…", self)
        self.studies.setToolTip("Tempering of this recipe, and the closures of teacher theory, as figures")
        self.scheduler = QLineEdit(self)
        self.scheduler.setPlaceholderText("or tcp://…")
        self.scheduler.setAccessibleName("Dask scheduler")
        self.scheduler.setToolTip("Address of a Dask scheduler whose workers see this machine's folders; else empty")
        self.start = QPushButton("Start", self)
        self.start.setToolTip("Run the recipe that the controls show at every point; each becomes a stored run")
        self.cancel = QPushButton("Cancel", self)
        self.cancel.setToolTip("Stop; what is there stays, and Resume goes on from there")
        self.resume = QPushButton("Resume", self)
        self.resume.setToolTip("Go on with the points that are missing, and try failed ones again")
        self.stored = QComboBox(self)
        self.stored.setAccessibleName("Stored sweeps")
        self.stored.setToolTip("Sweeps that were begun before")
        self.stored.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.bar = QProgressBar(self)
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the sweep")
        self.sentence = QLabel(self)
        self.sentence.setWordWrap(True)
        self.sentence.setAccessibleName("State of the sweep")
        self.phase = PhaseView(theme, self)
        self._lay_out()
        for number, field in enumerate(self.fields):
            field.path.activated.connect(lambda _, number=number: self._field_chosen(number))
            field.point.toggled.connect(lambda is_on, number=number: self._point(number, is_on))
        self.start.clicked.connect(self.start_wanted)
        self.cancel.clicked.connect(self.cancel_wanted)
        self.resume.clicked.connect(self.resume_wanted)
        self.stored.activated.connect(self._stored_chosen)
        self.phase.run_picked.connect(self.run_picked)
        self.studies.clicked.connect(self.studies_wanted)
        self.both_ways.toggled.connect(lambda is_on: self.refine.setEnabled(not is_on))
        self.show_running(False)
        self.show_resumable(False)
        self.setMinimumSize(420, 130)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(8, 6, 6, 4)
        grid.setHorizontalSpacing(5)
        grid.setVerticalSpacing(5)
        for row, field in enumerate(self.fields):
            grid.addWidget(field.path, row, 0)
            grid.addWidget(field.point, row, 1)
            grid.addWidget(field.values, row, 2)
        seeds, workers, buttons = (QHBoxLayout() for _ in range(3))
        for line, name, widget in (
            (seeds, "Seeds", self.seeds), (seeds, "Refine", self.refine), (workers, "Workers", self.workers),
        ):  # fmt: skip
            label = QLabel(name, self)
            label.setBuddy(widget)
            line.addWidget(label)
            line.addWidget(widget)
        seeds.addWidget(self.both_ways)
        seeds.addStretch(1)
        workers.addWidget(self.scheduler, 1)
        workers.addWidget(self.studies)
        for button in (self.start, self.cancel, self.resume):
            buttons.addWidget(button)
        buttons.addWidget(self.stored, 1)
        for row, line in enumerate((seeds, workers, buttons), start=2):
            line.setSpacing(5)
            grid.addLayout(line, row, 0, 1, 3)
        grid.addWidget(self.bar, 5, 0, 1, 3)
        grid.addWidget(self.sentence, 6, 0, 1, 3)
        grid.setRowStretch(7, 1)
        grid.setColumnStretch(2, 1)
        controls = self._controls = QWidget(self)
        controls.setLayout(grid)
        controls.setFixedWidth(NARROWEST)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(controls)
        layout.addWidget(self.phase, 1)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Values that are typed are seen whole where the diagram has room enough."""
        super().resizeEvent(event)
        width = min(max(NARROWEST, self.width() - ROOM_FOR_DIAGRAM), WIDEST)
        self._controls.setFixedWidth(width)
        for field in self.fields:
            field.path.setFixedWidth(NAME_WIDTH + (width - NARROWEST) // 2)

    # What is shown

    def set_suggestion(self, suggest: Callable[[str], str]) -> None:
        """What proposes values for a field."""
        self._suggest = suggest

    def choose(self, number: int, path: str, values: str | None = None) -> None:
        """Put a field into a place, with its values or those that are proposed."""
        field = self.fields[number]
        found = field.path.findData(path)
        if found < 0:
            field.path.addItem(path, path)
            found = field.path.count() - 1
        field.path.setCurrentIndex(found)
        field.values.setText(self._suggest(path) if values is None else values)
        field.values.setCursorPosition(0)  # from its beginning, where it is longer than its place
        self.stop_pointing()

    def stop_pointing(self) -> None:
        """No control is waited for any more."""
        for field in self.fields:
            field.point.setChecked(False)

    def show_running(self, is_running: bool) -> None:
        """Whether a sweep is under way."""
        self.start.setEnabled(not is_running)
        self.cancel.setEnabled(is_running)
        self.stored.setEnabled(not is_running and self.stored.count() > 1)
        if is_running:
            self.resume.setEnabled(False)
        self.bar.setVisible(is_running)

    def show_resumable(self, is_resumable: bool) -> None:
        """Whether points are missing of the sweep in hand."""
        self.resume.setEnabled(is_resumable)

    def show_progress(self, fraction: float, words: str) -> None:
        """How far it is."""
        self.bar.setValue(round(1000 * fraction))
        self._say(words, "")

    def say(self, words: str) -> None:
        """What came out of it."""
        self._say(words, "")

    def say_fault(self, words: str) -> None:
        """Why it cannot be."""
        self._say(words, "fault")

    def show_stored(self, folders: Sequence[Path]) -> None:
        """Sweeps that can be opened."""
        self.stored.clear()
        self.stored.addItem("Open…", None)
        for folder in folders:
            self.stored.addItem(folder.name, folder)
        self.stored.setEnabled(bool(folders) and self.start.isEnabled())

    def show_axes(self, axes: Mapping[str, Any]) -> None:
        """The fields of a sweep that was opened, with their values as they could be typed."""
        for number, field in enumerate(self.fields):
            path = list(axes)[number] if number < len(axes) else ""
            if path:
                self.choose(number, path, axes[path])
            else:
                field.path.setCurrentIndex(0)
                field.values.clear()

    @property
    def axes(self) -> dict[str, str]:
        """The chosen fields and what was typed for their values."""
        chosen = [(field.path.currentData(), field.values.text().strip()) for field in self.fields]
        return {path: values for path, values in chosen if path}

    @property
    def n_refined(self) -> int:
        """How many values may be added; none to a chain."""
        return 0 if self.both_ways.isChecked() else self.refine.value()

    @property
    def n_workers(self) -> int | None:
        """None for automatic."""
        return self.workers.value() or None

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.phase.apply_theme(theme)

    # What a person does

    def _field_chosen(self, number: int) -> None:
        field = self.fields[number]
        field.values.setText(self._suggest(field.path.currentData()) if field.path.currentData() else "")

    def _point(self, number: int, is_on: bool) -> None:
        if is_on:
            for other, field in enumerate(self.fields):
                if other != number:
                    field.point.setChecked(False)
        if is_on or not any(field.point.isChecked() for field in self.fields):
            self.point_wanted.emit(number if is_on else -1)

    @Slot(int)
    def _stored_chosen(self, index: int) -> None:
        folder = self.stored.itemData(index)
        if folder is not None:
            self.opened.emit(folder)

    def _say(self, words: str, role: str) -> None:
        self.sentence.setText(words)
        self.sentence.setToolTip(words)
        if self.sentence.property("role") != role:
            self.sentence.setProperty("role", role)
            self.sentence.style().polish(self.sentence)
