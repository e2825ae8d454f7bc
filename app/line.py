"""The engine's thread, and the queued ways into it."""

from __future__ import annotations

from PySide6.QtCore import QObject, QThread, Signal

from app.worker import Worker
from mft_engine.sections import EngineSection


class EngineLine(QObject):
    """Moves a worker into its thread and carries requests, commands and credits there.

    Args:
        is_threaded: False keeps the worker in the caller's thread.
    """

    requested = Signal(object)
    commanded = Signal(object)
    credited = Signal()
    _loading = Signal(object)
    _stopping = Signal()

    def __init__(self, worker: Worker, parent: QObject, *, is_threaded: bool) -> None:
        super().__init__(parent)
        self._worker = worker
        self.thread_of_engine: QThread | None = None
        self.requested.connect(worker.request)
        self.commanded.connect(worker.command)
        self.credited.connect(worker.give_credit)
        self._loading.connect(worker.load)
        self._stopping.connect(worker.stop)
        if is_threaded:
            self.thread_of_engine = QThread(self)
            self.thread_of_engine.setObjectName("engine")
            worker.moveToThread(self.thread_of_engine)

    def start(self, section: EngineSection) -> None:
        """Start the thread and load the engine in it."""
        if self.thread_of_engine is not None:
            self.thread_of_engine.start()
        self._loading.emit(section)

    def close(self, milliseconds: int) -> bool:
        """Stop, quit, wait; False where the thread is still inside one long call. The waiting is done once."""
        if self._worker.is_stopping:
            milliseconds = 0
        self._worker.is_stopping = True
        thread = self.thread_of_engine
        if thread is None or not thread.isRunning():
            self._worker.stop()
            return True
        self._stopping.emit()
        return thread.wait(milliseconds)
