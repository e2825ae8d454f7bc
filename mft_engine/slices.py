"""Long work in slices: generators that yield what is done and return what was found, and how long a slice is.

Whoever drives such work can show progress, do something else in between, and stop it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Found = TypeVar("Found")
Done = TypeVar("Done")
Told = TypeVar("Told")

SLICE_SECONDS = 0.010


def finished(work: Generator[Any, None, Found]) -> Found:
    """What the work finds, at its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def relayed(work: Generator[Done, None, Found], tell: Callable[[Done], Told]) -> Generator[Told, None, Found]:
    """The same work, whose words on the way are told in another way."""
    while True:
        try:
            yield tell(next(work))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def telling(work: Generator[Any, None, Found], word: Told) -> Generator[Told, None, Found]:
    """The same work, which says one word while it goes on."""
    return relayed(work, lambda _: word)


class Clock:
    """Says when it is time to tell how far work has come."""

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._slice_seconds = slice_seconds
        self._told = time.perf_counter()

    def is_due(self) -> bool:
        """Whether a slice has passed since it last was."""
        now = time.perf_counter()
        if now - self._told < self._slice_seconds:
            return False
        self._told = now
        return True


class Pace:
    """Steps that fit into one slice, from the measured time of the last ones.

    A faster measurement counts at once and a slower one only by half, so that one compilation or one busy moment does
    not slow the following slices; the number at most doubles from slice to slice.

    Attributes:
        n_steps: of the next slice.
    """

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._slice_seconds = slice_seconds
        self._seconds_per_step = 0.0
        self.n_steps = 1

    def measured(self, n_steps: int, seconds: float) -> None:
        """Learn that `n_steps` took `seconds`."""
        if n_steps <= 0:
            return
        now = seconds / n_steps
        known = self._seconds_per_step
        self._seconds_per_step = now if known == 0 or now < known else 0.5 * (now + known)
        fitting = int(self._slice_seconds / max(self._seconds_per_step, 1e-9))
        self.n_steps = max(1, min(2 * self.n_steps, fitting))

    def carry_out(self, advance: Callable[[int], int]) -> int:
        """One slice of `advance`, which answers how many steps it did; learns from it and answers the same."""
        started = time.perf_counter()
        done = advance(self.n_steps)
        self.measured(done, time.perf_counter() - started)
        return done
