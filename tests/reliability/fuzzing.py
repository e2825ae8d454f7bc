"""How the fuzz tests are run: the same cases every time, and each of them watched."""

from __future__ import annotations

import contextlib
import inspect
import os
import resource
import signal
import sys
import threading
import typing
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings

# Of the process's own time, which the load of the machine does not change.
LONGEST_SECONDS = 10.0
# By which the largest memory of the process may grow in one case; imports and the first compiled loops are in it.
MOST_KILOBYTES = 600_000
# Events of the interpreter that what is read has no business to cause.
FORBIDDEN = {"os.system", "subprocess.Popen", "exec", "os.exec", "os.fork", "os.posix_spawn", "socket.connect",
             "socket.bind", "pickle.find_class", "ctypes.dlopen"}  # fmt: skip
# Events that change files, with the number of their arguments that name one.
CHANGING = {"os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.symlink": 2, "os.link": 2, "os.chmod": 1,
            "os.truncate": 1, "os.utime": 1, "shutil.rmtree": 1, "shutil.move": 2, "shutil.copyfile": 2}  # fmt: skip
# Which evaluate the annotations of the program's own functions, for its command line.
ANNOTATIONS = {inspect.__file__, typing.__file__}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_watched: list[str] | None = None
_place = ""


def _watch(event: str, arguments: tuple) -> None:
    if _watched is None or threading.current_thread() is not threading.main_thread():
        return
    if event in FORBIDDEN:
        caller = sys._getframe(1)
        if caller.f_code.co_filename not in ANNOTATIONS and not _is_importing():
            _watched.append(f"{event} in {caller.f_code.co_filename}:{caller.f_lineno}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & WRITING:
        _changes(event, arguments[:1])
    elif event in CHANGING:
        _changes(event, arguments[: CHANGING[event]])


def _is_importing() -> bool:
    """Whether a module is being imported for the first time: its code, and what that makes, comes from a file."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not case.__wrapped__.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _changes(event: str, paths: tuple) -> None:
    for path in paths:
        where = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else _place
        # What Python and numba keep of compiled sources is no file of a run.
        if not where.startswith((_place, "/dev/null")) and "__pycache__" not in where:
            _watched.append(f"{event} {where}")


sys.addaudithook(_watch)


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """What hangs for so many seconds of the process's own time is a failure, in words and at its place."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"still at work after {seconds:g} s of its own time")

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


@contextlib.contextmanager
def case(place: Path, seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """One case: nothing is executed, written outside of `place`, hung on or asked of memory without bound."""
    global _watched, _place
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _watched, _place = [], os.path.abspath(place)
    try:
        with in_time(seconds):
            yield
    finally:
        found, _watched = _watched, None
    assert not found, sorted(set(found))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_KILOBYTES, f"{grown / 1000:.0f} MB more in one case"


def fuzzed(max_examples: int):
    """Settings for so many cases."""
    return settings(
        max_examples=max_examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )  # fmt: skip
