"""The left dock: everything that makes the experiment, each value with its unit, its symbol and its way back."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from app.engine.messages import TaskCard
from app.panels.experiment_rows import SECTIONS, scale_row
from app.panels.formulas import Formulas
from app.theme import Theme
from app.widgets.column import Column
from app.widgets.controls import ChoiceControl, StepSizeControl, TextControl
from app.widgets.row import Row
from app.widgets.section import Section
from app.widgets.task_gallery import TaskGallery
from mft_engine.recipe import Recipe


class ExperimentPanel(QWidget):
    """Shows a recipe and says what a person wants changed; it never changes anything by itself."""

    edited = Signal(str, object)
    settled = Signal()
    refused = Signal(str)
    task_chosen = Signal(str, object)
    preset_chosen = Signal(str)

    def __init__(self, presets: dict[str, str], parent: QWidget | None = None) -> None:
        """Args: presets: name of a shipped recipe to its description."""
        super().__init__(parent)
        self.setProperty("role", "page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._presets = presets
        self._recipe: Recipe | None = None
        self._step_size: float | None = None
        self.rows: dict[str, Row] = {}
        self.preset = QComboBox(self)
        self.preset.setAccessibleName("Preset")
        self.preset.setToolTip("A shipped recipe: everything below is set to its values")
        self.preset.addItems(list(presets))
        self.description = QLabel(self)
        self.description.setWordWrap(True)
        self.description.setProperty("role", "muted")
        self.changed_mark = QLabel("changed", self)
        self.changed_mark.setProperty("role", "chip")
        self.changed_mark.setToolTip("Some values differ from the recipe as it was opened; ↺ beside them goes back")
        self.gallery = TaskGallery(self)
        self.formula = TextControl("x1*x2 + 0.3*sin(3*x1)", self)
        self.formula.entry.setAccessibleName("Own formula")
        self.formula.entry.setToolTip(
            "A function of x1 and x2: + - * / **, pi, r, angle, sin cos exp log sqrt abs sign tanh relu …\n"
            "Enter sets it"
        )
        self.task_fault = QLabel(self)
        self.task_fault.setProperty("role", "fault")
        self.task_fault.setWordWrap(True)
        self.task_fault.hide()
        self.formulas = Formulas(self)
        self.sections: dict[str, Section] = {}
        self._build()
        self.preset.textActivated.connect(self.preset_chosen)
        self.gallery.chosen.connect(self.task_chosen)
        self.formula.edited.connect(self._formula_typed)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        top = QVBoxLayout()
        top.setContentsMargins(12, 8, 12, 8)
        top.setSpacing(6)
        line = QHBoxLayout()
        name = QLabel("Preset", self)
        name.setProperty("role", "heading")
        name.setBuddy(self.preset)
        line.addWidget(name)
        line.addWidget(self.preset, 1)
        line.addWidget(self.changed_mark)
        top.addLayout(line)
        top.addWidget(self.description)
        big = scale_row()
        font = big.title.font()
        font.setPointSizeF(font.pointSizeF() * 1.12)
        font.setBold(True)
        big.title.setFont(font)
        top.addSpacing(2)
        top.addWidget(big)
        self._adopt(big)
        layout.addLayout(top)
        inside = QWidget()
        inside.setProperty("role", "page")
        column = QVBoxLayout(inside)
        column.setContentsMargins(10, 0, 10, 10)
        column.setSpacing(2)
        for title, is_open, make_rows in SECTIONS:
            section = Section(title, inside, is_open=is_open)
            if title == "Task":
                section.body.addWidget(self.gallery)
                own = QHBoxLayout()
                own.addWidget(QLabel("<i>y</i> =", section))
                own.addWidget(self.formula, 1)
                section.body.addLayout(own)
                section.body.addWidget(self.task_fault)
            for row in make_rows():
                section.body.addWidget(row)
                self._adopt(row)
            self.sections[title] = section
            column.addWidget(section)
        section = Section("Formulas in force", inside, is_open=False)
        section.body.addWidget(self.formulas)
        section.heading.toggled.connect(self._show_formulas)
        self.sections["Formulas in force"] = section
        column.addWidget(section)
        column.addStretch(1)
        scroll = Column(self)
        scroll.setWidget(inside)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(308)

    def _adopt(self, row: Row) -> None:
        self.rows[row.path] = row
        row.edited.connect(self.edited)
        row.settled.connect(self.settled)
        row.refused.connect(self.refused)

    # What is shown -------------------------------------------------------------------------------------------

    def show_recipe(self, recipe: Recipe, opened: Recipe) -> None:
        """Show a recipe; values that differ from the one opened get a way back."""
        self._recipe = recipe
        for path, row in self.rows.items():
            row.show_value(recipe.get(path), opened.get(path))
            row.show_fault("")
        self._show_preset(recipe, opened)
        self.gallery.show_task(recipe.task)
        self.task_fault.hide()
        if recipe.task.name == "expression":
            self.formula.show_value(recipe.task.parameters.get("expression", ""))
        has_temperature = recipe.training.dynamics == "langevin"
        self.rows["training.temperature"].setVisible(has_temperature)
        self.rows["training.batch_size"].setVisible(recipe.training.rule == "batch")
        for path in ("network.upper_activation", "regularisation.hidden_weight"):
            self.rows[path].setVisible(recipe.network.n_layers > 1)
        self._show_data_rows()
        self._show_formulas()

    def _show_data_rows(self) -> None:
        """How a measure is represented is no question to a task with data of its own."""
        if self._recipe is not None:
            is_measure = not self.gallery.brings_points(self._recipe.task.name)
            for path in ("training.rule", "training.n_points"):
                # A part of a task's own data can be asked for by a recipe; then it shall be seen.
                self.rows[path].setVisible(is_measure or self._recipe.get(path) not in (0, "polar"))

    def _show_preset(self, recipe: Recipe, opened: Recipe) -> None:
        is_shipped = opened.name in self._presets
        if not is_shipped and self.preset.findText(opened.name) < 0:
            self.preset.addItem(opened.name)
        self.preset.setCurrentText(opened.name)
        self.description.setText(opened.description)
        self.description.setVisible(bool(opened.description))
        self.changed_mark.setVisible(recipe.digest != opened.digest)

    def reveal(self, path: str) -> Row:
        """The row of a value, brought into sight."""
        row = self.rows[path]
        for section in self.sections.values():
            if section.isAncestorOf(row):
                section.set_open(True)
        for scroll in self.findChildren(QScrollArea):
            if scroll.isAncestorOf(row):
                scroll.ensureWidgetVisible(row)
        return row

    def show_refusal(self, path: str, sentence: str) -> None:
        """A value was not allowed: show the old one again and the sentence beside it."""
        if path == "task.name":
            self.task_fault.setText(sentence)
            self.task_fault.show()
        row = self.rows.get(path)
        if row is not None and self._recipe is not None:
            row.control.show_value(self._recipe.get(path))
            row.show_fault(sentence)

    def show_step_size(self, step_size: float) -> None:
        """The step in force."""
        control = self.rows["training.step_size"].control
        assert isinstance(control, StepSizeControl)
        if step_size > 0 and step_size != self._step_size:
            self._step_size = step_size
            control.show_in_force(step_size)
            self._show_formulas()

    def show_devices(self, devices: tuple[str, ...]) -> None:
        """The devices that this machine has."""
        control = self.rows["engine.device"].control
        assert isinstance(control, ChoiceControl)
        choices: list[tuple[str, Any, str]] = [("automatic", "auto", "The fastest device of this machine")]
        control.set_choices([*choices, *((name, name, "") for name in devices)])
        if self._recipe is not None:
            control.show_value(self._recipe.engine.device)

    def show_device_in_force(self, device: str) -> None:
        """Where the run really is."""
        self.rows["engine.device"].unit.setText(f"in force: {device}")
        self.rows["engine.device"].unit.show()

    def add_task(self, card: TaskCard) -> None:
        """One more card of the gallery."""
        self.gallery.add_card(card)
        self._show_data_rows()

    def apply_theme(self, theme: Theme) -> None:
        """Thumbnails follow the theme; the rest follows the application's stylesheet."""
        self.gallery.apply_theme(theme)

    @Slot()
    def _show_formulas(self) -> None:
        if self._recipe is not None and self.sections["Formulas in force"].is_open:
            self.formulas.show_recipe(self._recipe, self._step_size)

    @Slot(object)
    def _formula_typed(self, text: Any) -> None:
        if text:
            self.task_chosen.emit("expression", {"expression": text})
