"""How many training points: a logarithmic slider whose right end is infinite data."""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QLineEdit, QSlider

from app.widgets.controls import Control
from app.widgets.log_slider import SETTLE_MILLISECONDS
from app.widgets.words import read_whole_number

FEWEST, MOST = 8, 16384
TICKS = 440
INFINITE = 0
_SIGNS = ("∞", "inf", "infinite", "infinity", "0")


class PointsControl(Control):
    """A whole number, or 0 for infinite data, which is shown as ∞.

    Every number of points is a run of its own, so a drag shows the number and says it once, when the hand lets go.
    """

    def __init__(self) -> None:
        super().__init__()
        self._value = INFINITE
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, TICKS + 1)
        self.slider.setPageStep(TICKS // 11)
        self.slider.setSingleStep(TICKS // 44)
        self.entry = QLineEdit(self)
        self.entry.setFixedWidth(82)
        self.entry.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._layout.setSpacing(8)
        self._layout.addWidget(self.slider, 1)
        self._layout.addWidget(self.entry)
        self.setFocusProxy(self.slider)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(SETTLE_MILLISECONDS)
        self._rest.timeout.connect(self._let_go)
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderReleased.connect(self._let_go)
        self.entry.editingFinished.connect(self._typed)

    @property
    def value(self) -> int:
        """The number in force; 0 for infinite data."""
        return self._value

    def show_value(self, value: Any) -> None:
        self._value = int(value)
        self._rest.stop()
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(tick_of(self._value))
        self.slider.blockSignals(blocked)
        self.entry.setText(_written(self._value))

    @Slot(int)
    def _moved(self, tick: int) -> None:
        self.entry.setText(_written(number_at(tick)))
        if not self.slider.isSliderDown():
            self._rest.start()

    @Slot()
    def _let_go(self) -> None:
        self._rest.stop()
        number = number_at(self.slider.value())
        if tick_of(number) != tick_of(self._value):
            self._value = number
            self._say(number)

    @Slot()
    def _typed(self) -> None:
        if not self.entry.isModified():
            return
        self.entry.setModified(False)
        text = self.entry.text().strip()
        try:
            value = INFINITE if text.lower() in _SIGNS else read_whole_number(text)
        except ValueError:
            self.entry.setText(_written(self._value))
            self.refused.emit(f"{text!r} is no number of points; write for example 500, or ∞ for infinite data")
            return
        self.entry.setText(_written(value))
        if value != self._value:
            self._say(value)


def tick_of(value: int) -> int:
    """The slider's place for a number of points; its right end for infinite data."""
    if value == INFINITE:
        return TICKS + 1
    share = math.log(max(value, FEWEST) / FEWEST) / math.log(MOST / FEWEST)
    return round(TICKS * min(1.0, share))


def number_at(tick: int) -> int:
    """The number of points at a place of the slider, of two significant digits."""
    if tick > TICKS:
        return INFINITE
    if tick == TICKS:
        return MOST
    value = FEWEST * (MOST / FEWEST) ** (tick / TICKS)
    return int(float(f"{value:.2g}"))


def _written(value: int) -> str:
    return "∞" if value == INFINITE else f"{value:,}"
