"""When the experiment in hand is written to the store: every few seconds of training, at answers, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from app.engine.contract import Keeper
from app.engine.hand import Bench

KEEP_SECONDS = 8.0


class Keeping:
    """Decides, and says in a sentence when a run cannot be kept.

    Args:
        tell: told the folder of the run that was written.
        say: told why one could not be written, once.
    """

    def __init__(self, keeper: Keeper, tell: Callable[[Path], None], say: Callable[[str], None]) -> None:
        self._keeper, self._tell, self._say = keeper, tell, say
        self._at = time.monotonic()
        self._has_failed = False

    def look(self, bench: Bench) -> None:
        """Called between slices: writes where it is time, one copy after the other."""
        self._take_note(bench)
        if bench.writing is None and bench.step != bench.kept_step and time.monotonic() - self._at > KEEP_SECONDS:
            self.keep(bench)

    def keep(self, bench: Bench, *, has_answers: bool = False) -> None:
        """Write now what has not been written."""
        self._take_note(bench, is_waiting=True)
        if bench.step == 0 or (bench.step == bench.kept_step and not has_answers):
            return
        self._at, bench.kept_step = time.monotonic(), bench.step
        recipe = bench.replay or bench.applied
        bench.writing = self._keeper.keep(bench.experiment, recipe, bench.folder, has_answers=has_answers)

    def finish(self, benches: list[Bench]) -> None:
        """Write what is left, and wait until it is."""
        for bench in benches:
            self.keep(bench)
        for bench in benches:
            self._take_note(bench, is_waiting=True)
        self._keeper.close()

    def _take_note(self, bench: Bench, *, is_waiting: bool = False) -> None:
        if bench.writing is None or not (is_waiting or bench.writing.done()):
            return
        writing, bench.writing = bench.writing, None
        try:
            bench.folder = writing.result()
            self._tell(bench.folder)
        except Exception as error:
            bench.kept_step = -1
            if not self._has_failed:
                self._has_failed = True
                self._say(f"This run cannot be kept: {error}")
