"""One log for everything: a bounded list that the log dock drains, a file for hard crashes, one exception hook."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from loguru import logger

N_LINES = 2000
_FORMAT = "{time:HH:mm:ss} | {level: <7} | {message}"


@dataclass(frozen=True)
class LogLine:
    """One entry of the log."""

    level: str
    text: str


class LogBuffer:
    """Lines written by any thread, taken by the window's timer; the oldest are dropped when nobody takes them."""

    def __init__(self, n_lines: int = N_LINES) -> None:
        self._lines: deque[LogLine] = deque(maxlen=n_lines)
        self._sink = logger.add(self._write, format=_FORMAT, level="DEBUG", backtrace=False, diagnose=False)

    def _write(self, message: Any) -> None:
        self._lines.append(LogLine(message.record["level"].name, str(message).rstrip("\n")))

    def take(self) -> list[LogLine]:
        """All lines since the last call."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return lines

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(ValueError):
            logger.remove(self._sink)


def quiet_standard_error() -> None:
    """Only warnings and worse go to the terminal; the log dock shows the rest."""
    with contextlib.suppress(ValueError):
        logger.remove(0)
        logger.add(sys.stderr, format=_FORMAT, level="WARNING", backtrace=False, diagnose=False)


def watch_for_crashes(folder: Path) -> IO[str] | None:
    """Let a crash of the process itself write where every thread was; None where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "crash.log").open("a", encoding="utf-8")
    except OSError as error:
        logger.warning("No crash log: {}", error)
        return None
    faulthandler.enable(file)
    return file


class ExceptionHook:
    """Sends every exception that nobody caught to the log, and its last line to `tell`.

    `tell` is called in the thread that failed: it must be safe there (a queued Qt signal is).
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._before = (sys.excepthook, threading.excepthook)
        sys.excepthook = self._caught
        threading.excepthook = self._caught_in_thread

    def remove(self) -> None:
        """Put the former hooks back."""
        sys.excepthook, threading.excepthook = self._before

    def _caught(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._before[0](kind, error, where)
            return
        logger.error("{}", "".join(traceback.format_exception(kind, error, where)))
        self._tell(f"Something went wrong ({kind.__name__}: {error}); the log has the details.")

    def _caught_in_thread(self, caught: threading.ExceptHookArgs) -> None:
        if caught.exc_value is not None:
            self._caught(caught.exc_type, caught.exc_value, caught.exc_traceback)
