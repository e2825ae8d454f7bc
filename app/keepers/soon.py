"""Curves and numbers may lag a tenth of a second behind the finger; the cloud and its overlay may not."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Slot

SOON_MILLISECONDS = 100


class Soon(QObject):
    """Puts things off for at most a tenth of a second; a newer one of the same name takes the place of an older one."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._pending: dict[str, Callable[[], None]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SOON_MILLISECONDS)
        self._timer.timeout.connect(self.flush)

    def do(self, name: str, call: Callable[[], None]) -> None:
        """Do something soon."""
        self._pending.pop(name, None)
        self._pending[name] = call
        if not self._timer.isActive():
            self._timer.start()

    def forget(self, name: str) -> None:
        """Do not do it after all."""
        self._pending.pop(name, None)

    def clear(self) -> None:
        """Forget everything that was put off."""
        self._pending.clear()

    @Slot()
    def flush(self) -> None:
        """Do now what was put off."""
        pending, self._pending = self._pending, {}
        for call in pending.values():
            call()
