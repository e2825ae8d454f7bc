"""A folder that keeps up with a training, for a window that follows it from another process."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from mft_engine.experiment.storage import RunError
from mft_engine.runs.watched import WatchedRun, write_watched

# Seconds between two writes, and how many times longer than a write the training then goes on undisturbed.
LEAST_SECONDS = 2.0
PATIENCE = 20.0


class LiveFolder:
    """Written now and then; the clock decides when, and nothing of the training depends on it.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._due = 0.0

    def maybe_write(self, run: Callable[[str], WatchedRun]) -> None:
        """Write if it is time."""
        if time.monotonic() < self._due:
            return
        try:
            self.write(run)
        except RunError as error:
            # A full disk must not end a training.
            self._due = math.inf
            warnings.warn(f"mft.watch keeps {self.folder} up to date no more: {error}", stacklevel=2)

    def write(self, run: Callable[[str], WatchedRun]) -> None:
        """Write now.

        Raises:
            RunError: a folder that cannot be written.
        """
        start = time.monotonic()
        write_watched(run(self.folder.name), self.folder)
        now = time.monotonic()
        self._due = now + max(LEAST_SECONDS, PATIENCE * (now - start))
