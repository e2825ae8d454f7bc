"""Cyclic garbage is collected in the window's thread only.

Python runs its collector in whatever thread happens to allocate. In the engine's thread it could free a dialog or a
menu of the window, which Qt does not survive. So the automatic collector is off while the window lives, and a timer
of the window's thread does its work.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot

INTERVAL_MILLISECONDS = 1000


class GarbageKeeper(QObject):
    """Collects as often as Python would, but here."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._was_enabled = gc.isenabled()
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MILLISECONDS)
        self._timer.timeout.connect(self.collect)
        self._timer.start()

    @Slot()
    def collect(self) -> None:
        """One round: the youngest generation, and older ones when their turn has come."""
        counts, thresholds = gc.get_count(), gc.get_threshold()
        for generation in (2, 1, 0):
            if counts[generation] > thresholds[generation]:
                gc.collect(generation)
                return

    @Slot()
    def forget_imports(self) -> None:
        """What exists now (the modules of the engine) is never looked through again: a pause of 0.3 s less."""
        gc.freeze()

    def stop(self) -> None:
        """Python collects by itself again."""
        self._timer.stop()
        if self._was_enabled:
            gc.enable()
