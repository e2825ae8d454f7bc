"""A slider over the logarithm of a positive number, with the number itself beside it for typing."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSlider, QWidget

from app.widgets.words import read_number

TICKS = 1000
SETTLE_MILLISECONDS = 600


class LogSlider(QWidget):
    """Emits `changed` at every movement and `settled` when the hand lets go (or the keys and the wheel rest).

    A typed number may lie outside the slider's range; the slider then rests at its end and the number stays.
    """

    changed = Signal(float)
    settled = Signal()
    refused = Signal(str)

    def __init__(self, low: float, high: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high = math.log10(low), math.log10(high)
        self._value = low
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, TICKS)
        self.slider.setPageStep(TICKS // 8)
        self.slider.setSingleStep(TICKS // 200)
        self.entry = QLineEdit(self)
        self.entry.setFixedWidth(82)
        self.entry.setAlignment(Qt.AlignmentFlag.AlignRight)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.entry)
        self.setFocusProxy(self.slider)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(SETTLE_MILLISECONDS)
        self._rest.timeout.connect(self.settled)
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderReleased.connect(self._released)
        self.entry.editingFinished.connect(self._typed)

    @property
    def value(self) -> float:
        """The number shown."""
        return self._value

    def set_value(self, value: float) -> None:
        """Show a number without saying so."""
        self._value = value
        blocked = self.slider.blockSignals(True)
        if not self.slider.isSliderDown():
            self.slider.setValue(self.tick_of(value))
        self.slider.blockSignals(blocked)
        if not self.entry.hasFocus() or not self.entry.isModified():
            self.entry.setText(f"{value:.4g}")
        self._mark(True)

    def tick_of(self, value: float) -> int:
        """The slider's position for a number, at its ends for numbers outside."""
        if value <= 0:
            return 0
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return round(TICKS * min(1.0, max(0.0, share)))

    @Slot(int)
    def _moved(self, tick: int) -> None:
        self._value = float(f"{10 ** (self._low + tick / TICKS * (self._high - self._low)):.3g}")
        self.entry.setText(f"{self._value:.4g}")
        self._mark(True)
        self.changed.emit(self._value)
        if not self.slider.isSliderDown():
            self._rest.start()

    @Slot()
    def _released(self) -> None:
        self._rest.stop()
        self.settled.emit()

    @Slot()
    def _typed(self) -> None:
        if not self.entry.isModified():
            return
        self.entry.setModified(False)
        try:
            value = read_number(self.entry.text())
        except ValueError as error:
            self._mark(False)
            self.refused.emit(str(error))
            self.entry.setText(f"{self._value:.4g}")
            return
        self.changed.emit(value)
        self.settled.emit()

    def _mark(self, is_valid: bool) -> None:
        if self.entry.property("invalid") != (not is_valid):
            self.entry.setProperty("invalid", not is_valid)
            self.entry.style().polish(self.entry)
