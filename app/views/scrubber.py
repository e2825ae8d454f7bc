"""A slider over the stored snapshots of a run."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QToolButton, QWidget

LIVE = -1
STEP_MILLISECONDS = 90


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
        self.film = QToolButton(self)
        self.film.setCheckable(True)
        self.film.setText("▶")
        self.film.setAccessibleName("Play the stored snapshots")
        self.film.setToolTip("Play the run's stored clouds from here on; at the end it stands still")
        self._step = QTimer(self)
        self._step.setInterval(STEP_MILLISECONDS)
        self._step.timeout.connect(self._next)
        row = QHBoxLayout(self)
        row.setContentsMargins(58, 0, 8, 4)
        row.addWidget(self.film)
        row.addWidget(self.slider, 1)
        row.addWidget(self.label)
        row.addWidget(self.live)
        self.slider.valueChanged.connect(self._moved)
        self.live.clicked.connect(self._pressed_live)
        self.film.toggled.connect(self._roll)
        self.slider.sliderPressed.connect(lambda: self.film.setChecked(False))
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

    @Slot(bool)
    def _roll(self, is_rolling: bool) -> None:
        """From the beginning where the slider stands at its end."""
        if not is_rolling:
            self._step.stop()
            return
        if self.slider.value() >= self.slider.maximum():
            self.slider.setValue(0)
        self._step.start()

    @Slot()
    def _next(self) -> None:
        if self.slider.value() >= self.slider.maximum() or not self.isVisible():
            self.film.setChecked(False)
        else:
            self.slider.setValue(self.slider.value() + 1)

    def go_live(self) -> None:
        """Back to the present state without saying so."""
        self.film.setChecked(False)
        self.live.setChecked(True)
        self.label.setText("now")
        self.slider.blockSignals(True)
        self.slider.setValue(self.slider.maximum())
        self.slider.blockSignals(False)

    def _pressed_live(self) -> None:
        self.go_live()
        self.scrubbed.emit(LIVE)
