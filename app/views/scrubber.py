"""A slider over the stored snapshots of a run."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QToolButton, QWidget

LIVE = -1


class Scrubber(QWidget):
    """Emits `scrubbed(index)` of a stored snapshot, or `LIVE`; hidden while there is no choice."""

    scrubbed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._times = np.empty(0)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setAccessibleName("Stored snapshot")
        self.slider.setToolTip("Look at the cloud as it was at an earlier time")
        self.label = QLabel(self)
        self.label.setMinimumWidth(self.fontMetrics().horizontalAdvance("t = 0000.00"))
        self.live = QToolButton(self)
        self.live.setText("Live")
        self.live.setCheckable(True)
        self.live.setChecked(True)
        self.live.setToolTip("Back to the present state")
        row = QHBoxLayout(self)
        row.setContentsMargins(58, 0, 8, 4)
        row.addWidget(self.slider, 1)
        row.addWidget(self.label)
        row.addWidget(self.live)
        self.slider.valueChanged.connect(self._moved)
        self.live.clicked.connect(self._pressed_live)
        self.setVisible(False)

    def set_times(self, times: np.ndarray) -> None:
        """Times of the snapshots, ascending; a live scrubber stays live, one that looks back stays at its time."""
        is_live = self.live.isChecked()
        before = self.time_of(self.slider.value())
        self._times = times
        self.setVisible(len(times) > 1)
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(len(times) - 1, 0))
        if is_live or not len(times):
            self.slider.setValue(self.slider.maximum())
            self.live.setChecked(True)
            self.label.setText("now")
        elif before is not None:
            # A long run keeps every second cloud only: the same place on the slider is another time then.
            self.slider.setValue(int(np.abs(times - before).argmin()))
        self.slider.blockSignals(False)

    def time_of(self, index: int) -> float | None:
        """Time of a snapshot; None for `LIVE`."""
        return float(self._times[index]) if 0 <= index < len(self._times) else None

    def _moved(self, index: int) -> None:
        self.live.setChecked(False)
        self.label.setText(f"t = {self._times[index]:.2f}")
        self.scrubbed.emit(index)

    @property
    def is_live(self) -> bool:
        """Whether the present state is looked at."""
        return self.live.isChecked()

    def go_live(self) -> None:
        """Back to the present state without saying so."""
        self.live.setChecked(True)
        self.label.setText("now")
        self.slider.blockSignals(True)
        self.slider.setValue(self.slider.maximum())
        self.slider.blockSignals(False)

    def _pressed_live(self) -> None:
        self.go_live()
        self.scrubbed.emit(LIVE)
