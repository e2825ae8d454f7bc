"""Several threads in one compiled loop: a meeting point for compiled code, and the threads that enter it.

A loop that is written for a team is called once by every member, with the same shared arrays and its own number. All
that members say to each other goes through shared arrays, written before a meeting and read after it.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Looks at the counter before the processor is offered to others: a meeting is over within a microsecond where every
# member has a processor, and only then is waiting without sleep worth it.
PATIENCE = 2000

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
