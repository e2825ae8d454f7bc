"""Several threads in one compiled loop: a meeting point for compiled code, and the threads that enter it.

A loop that is written for a team is called once by every member, with the same shared arrays and its own number. All
that members say to each other goes through shared arrays, written before a meeting and read after it.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# Looks at the counter before the processor is offered to others: a meeting is over within a microsecond where every
# member has a processor, and only then is waiting without sleep worth it.
PATIENCE = 2000

# Steps after which a number of members has been timed: at a first look, and while it is at work.
LOOK_STEPS, SHIFT_STEPS = 16, 128
# Between two looks at the whole team while one member alone is quicker: longer after every look that was in vain.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

# The system call that offers the processor to others, looked up by name so that compiled code can be cached.
_yield = types.ExternalFunction("sched_yield", types.int32()) if sys.platform != "win32" else None

# One team at a time: half of one and half of another would wait for each other for ever.
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


@intrinsic
def _arrive(typingctx, counter):
    """counter[0] += 1, seen by all members before anything that is read afterwards."""

    def build(context, builder, signature, arguments):
        (array,) = arguments
        pointer = cgutils.create_struct_proxy(signature.args[0])(context, builder, array).data
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", pointer, one, "seq_cst")

    return types.int64(counter), build


@intrinsic
def _arrived(typingctx, counter):
    """counter[0], never from a register."""

    def build(context, builder, signature, arguments):
        (array,) = arguments
        pointer = cgutils.create_struct_proxy(signature.args[0])(context, builder, array).data
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(counter), build


if _yield is None:  # pragma: no cover

    @njit(nogil=True)
    def meet(counter, n_members, n_meetings):
        """Wait until all members have come here for the n_meetings-th time (counted from 1)."""
        if n_members > 1:
            _arrive(counter)
            while _arrived(counter) < n_members * n_meetings:
                pass

else:

    @njit(nogil=True)
    def meet(counter, n_members, n_meetings):
        """Wait until all members have come here for the n_meetings-th time (counted from 1)."""
        if n_members > 1:
            _arrive(counter)
            n_looks = 0
            while _arrived(counter) < n_members * n_meetings:
                n_looks += 1
                if n_looks > PATIENCE:
                    _yield()


@njit(nogil=True)
def share(n, member, n_members):
    """First and behind the last of n things that are a member's own: as many as any other's, but for one."""
    return member * n // n_members, (member + 1) * n // n_members


def run_together(n_members: int, work: Callable[[int], None]) -> None:
    """Call work(0) .. work(n_members - 1) at the same time, each in a thread of its own; work(0) in this one.

    Args:
        work: compiled code that meets the other members and cannot raise: a member that stays away stops the others
            for ever.
    """
    if n_members == 1:
        work(0)
        return
    with _lock:
        others = [_threads(n_members - 1).submit(work, member) for member in range(1, n_members)]
        work(0)
        for other in others:
            other.result()


def run_shift(
    work: Callable[[int, int, int, int, NDArray[np.int64]], None],
    n_members: int,
    first: int,
    n_steps: int,
    is_bad: NDArray[np.bool_],
) -> bool:
    """Let so many members do some steps; whether all they made is finite.

    Args:
        work: member, members, first step, steps, the counter of their meetings; marks `is_bad`, (most members,).
    """
    counter = np.zeros(1, dtype=np.int64)
    run_together(n_members, lambda member: work(member, n_members, first, n_steps, counter))
    return not is_bad[:n_members].any()


def built(build: Callable[..., Any], *key: Any) -> Any:
    """A loop by its builder, compiled in memory where there is no folder in which the compiler may cache."""
    try:
        return build(*key, cache=True)
    except RuntimeError:
        return build(*key, cache=False)


class Crew:
    """How many members one kind of loop gets: all that it may have, or one where that is quicker.

    Members meet at every step, so that beside other programs, which hold up now this member and now that one, several
    can take many times as long as one. Their number changes no bit, so the clock may choose it.

    Args:
        n_most: members that the loop may have.
    """

    def __init__(self, n_most: int) -> None:
        self.n_most = n_most
        self._seconds: dict[int, float] = {}  # a step, by the number of members
        self._n_members, self._length = 1, LOOK_STEPS
        self._spent, self._n_steps = 0.0, 0
        self._pause, self._due = FIRST_PAUSE, 0.0

    def shifts(self, n_steps: int) -> Iterator[tuple[int, int, int]]:
        """The parts of a call: members, first step, number of steps. What is done with each is timed."""
        if self.n_most == 1:
            yield 1, 0, n_steps
            return
        done = 0
        while done < n_steps:
            n = min(self._length - self._n_steps, n_steps - done)
            start = time.perf_counter()
            yield self._n_members, done, n
            self._note(time.perf_counter() - start, n)
            done += n

    def _note(self, seconds: float, n_steps: int) -> None:
        self._spent, self._n_steps = self._spent + seconds, self._n_steps + n_steps
        if self._n_steps >= self._length:
            self._seconds[self._n_members] = self._spent / self._n_steps
            self._spent, self._n_steps = 0.0, 0
            self._n_members, self._length = self._next()

    def _next(self) -> tuple[int, int]:
        """Members of the next shift and its length."""
        alone, together = self._seconds[1], self._seconds.get(self.n_most)
        if together is None:
            return self.n_most, LOOK_STEPS
        if together <= alone:
            self._pause = FIRST_PAUSE
            return self.n_most, SHIFT_STEPS
        now = time.perf_counter()
        if now < self._due:
            return 1, SHIFT_STEPS
        self._due, self._pause = now + self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return self.n_most, LOOK_STEPS


def _threads(n_wanted: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < n_wanted:
        _pool, _pool_size = ThreadPoolExecutor(n_wanted, thread_name_prefix="mft-team"), n_wanted
        # A thread that cannot be started shows here, before anybody waits for it.
        started = threading.Barrier(n_wanted + 1)
        for _ in range(n_wanted):
            _pool.submit(started.wait)
        started.wait()
    return _pool
