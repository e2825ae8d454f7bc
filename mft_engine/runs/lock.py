"""One program at a time works on a run or a sweep; a lock dies with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from mft_engine.experiment.storage import RunError

LOCK = ".lock"


@contextlib.contextmanager
def working_alone(folder: Path) -> Iterator[None]:
    """Hold a folder while something is computed in it.

    Raises:
        RunError: another program is at work there.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{folder} is being worked on by another program: wait until it has ended, or choose another folder (--out)"
        ) from None
    except (OSError, NotImplementedError):
        # Some file systems know no locks, and one that refuses to write says so when a result is written.
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            lock.release()
