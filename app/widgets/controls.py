"""Controls for one value of the recipe each: told what to show, and telling what a person set."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QWidget

from app.widgets.log_slider import LogSlider
from app.widgets.words import read_number, read_whole_number


class Control(QWidget):
    """One value. `edited` at every change, `settled` when the change is over, `refused` for what is no value."""

    edited = Signal(object)
    settled = Signal()
    refused = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(6)

    def show_value(self, value: Any) -> None:
        """Show a value without saying so."""
        raise NotImplementedError

    def _say(self, value: Any) -> None:
        self.edited.emit(value)
        self.settled.emit()


class LogControl(Control):
    """A positive number on a logarithmic slider."""

    def __init__(self, low: float, high: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.log_slider = LogSlider(low, high, self)
        self._layout.addWidget(self.log_slider)
        self.setFocusProxy(self.log_slider)
        self.log_slider.changed.connect(self.edited.emit)
        self.log_slider.settled.connect(self.settled)
        self.log_slider.refused.connect(self.refused)

    def show_value(self, value: Any) -> None:
        self.log_slider.set_value(float(value))


class NumberControl(Control):
    """A typed number, whole or not; several (one a hidden layer) are separated by semicolons."""

    def __init__(self, is_whole: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_whole = is_whole
        self._shown = ""
        self.entry = QLineEdit(self)
        self.entry.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._layout.addWidget(self.entry)
        self.setFocusProxy(self.entry)
        self.entry.editingFinished.connect(self._typed)

    def show_value(self, value: Any) -> None:
        values = value if isinstance(value, (tuple, list)) else (value,)
        self._shown = "; ".join(f"{v:,}" if self._is_whole else f"{v:g}" for v in values)
        self.entry.setText(self._shown)

    @Slot()
    def _typed(self) -> None:
        text = self.entry.text().strip()
        if text.replace(" ", "") == self._shown.replace(" ", ""):
            return
        read = read_whole_number if self._is_whole else read_number
        try:
            values = [read(part) for part in text.split(";")]
        except ValueError as error:
            self.entry.setText(self._shown)
            self.refused.emit(str(error))
            return
        self._say(values if len(values) > 1 else values[0])


class ChoiceControl(Control):
    """One of a few; `choices` are (what it is called, value, explanation)."""

    def __init__(self, choices: list[tuple[str, Any, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox(self)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(8)
        self._layout.addWidget(self.box, 1)
        self.setFocusProxy(self.box)
        self.set_choices(choices)
        self.box.activated.connect(self._picked)

    def set_choices(self, choices: list[tuple[str, Any, str]]) -> None:
        """Offer other choices; the value shown stays where it is among them."""
        value = self.box.currentData()
        self.box.clear()
        for i, (text, data, explanation) in enumerate(choices):
            self.box.addItem(text, data)
            self.box.setItemData(i, explanation, Qt.ItemDataRole.ToolTipRole)
        self.show_value(value)

    def show_value(self, value: Any) -> None:
        index = self.box.findData(value)
        if index < 0 and value is not None:
            self.box.addItem(str(value), value)
            index = self.box.count() - 1
        self.box.setCurrentIndex(index)

    @Slot(int)
    def _picked(self, index: int) -> None:
        self._say(self.box.itemData(index))


class SwitchControl(Control):
    """Yes or no."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.check = QCheckBox(text, self)
        self._layout.addWidget(self.check)
        self._layout.addStretch(1)
        self.setFocusProxy(self.check)
        self.check.clicked.connect(self._say)

    def show_value(self, value: Any) -> None:
        self.check.setChecked(bool(value))


class StepSizeControl(Control):
    """ "auto" (the engine finds the largest safe step) or a number."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.auto = QCheckBox("auto", self)
        self.number = NumberControl(False, self)
        self.number.entry.setMaximumWidth(90)
        self._layout.addWidget(self.auto)
        self._layout.addStretch(1)
        self._layout.addWidget(self.number)
        self.setFocusProxy(self.auto)
        self._in_force = 0.001
        self.auto.clicked.connect(self._switched)
        self.number.edited.connect(self._say)
        self.number.refused.connect(self.refused)

    def show_value(self, value: Any) -> None:
        is_auto = value == "auto"
        self.auto.setChecked(is_auto)
        self.number.setEnabled(not is_auto)
        self.number.show_value(self._in_force if is_auto else value)

    def show_in_force(self, step_size: float) -> None:
        """The step that the engine takes at present; shown where it is automatic."""
        self._in_force = float(f"{step_size:.3g}") if step_size > 0 else self._in_force
        if self.auto.isChecked():
            self.number.show_value(self._in_force)

    @Slot(bool)
    def _switched(self, is_auto: bool) -> None:
        self._say("auto" if is_auto else self._in_force)


class TextControl(Control):
    """A line of text, told when Enter is pressed."""

    def __init__(self, hint: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.entry = QLineEdit(self)
        self.entry.setPlaceholderText(hint)
        self._layout.addWidget(self.entry)
        self.setFocusProxy(self.entry)
        self.entry.returnPressed.connect(self._typed)

    def show_value(self, value: Any) -> None:
        self.entry.setText(str(value))

    @Slot()
    def _typed(self) -> None:
        self._say(self.entry.text().strip())
