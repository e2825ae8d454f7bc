"""When the experiment in hand is written to the store: every few seconds of training, at answers, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from app.engine.contract import Keeper
from app.engine.hand import Hand

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

    def look(self, hand: Hand) -> None:
        """Called between slices: writes where it is time, one copy after the other."""
        self._take_note(hand)
        if hand.writing is None and hand.step != hand.kept_step and time.monotonic() - self._at > KEEP_SECONDS:
            self.keep(hand)

    def keep(self, hand: Hand) -> None:
        """Write now what has not been written: neurons, and the verdict with what belongs to it."""
        self._take_note(hand, is_waiting=True)
        verdict = (hand.comparison, hand.certificate)
        is_new = any(now is not then for now, then in zip(verdict, hand.kept_verdict, strict=True))
        has_answers = hand.comparison is not None and is_new
        if hand.step == 0 or (hand.step == hand.kept_step and not has_answers):
            return
        self._at, hand.kept_step = time.monotonic(), hand.step
        if has_answers:
            hand.kept_verdict = verdict
        recipe = hand.repeating or hand.applied
        hand.writing = self._keeper.keep(hand.experiment, recipe, hand.folder, has_answers=has_answers)

    def finish(self, hands: list[Hand]) -> None:
        """Write what is left, and wait until it is."""
        for hand in hands:
            self.keep(hand)
        for hand in hands:
            self._take_note(hand, is_waiting=True)
        self._keeper.close()

    def _take_note(self, hand: Hand, *, is_waiting: bool = False) -> None:
        if hand.writing is None or not (is_waiting or hand.writing.done()):
            return
        writing, hand.writing = hand.writing, None
        try:
            hand.folder = writing.result()
            self._tell(hand.folder)
        except Exception as error:
            hand.kept_step = -1
            if not self._has_failed:
                self._has_failed = True
                self._say(f"This run cannot be kept: {error}")
