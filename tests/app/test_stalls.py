"""When the window stands still, the log says who kept it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from app.stalls import STALL_SECONDS, Stall, StallWatch


@pytest.fixture
def watch(qapp: QApplication) -> Iterator[StallWatch]:
    watch = StallWatch()
    watch.start()
    yield watch
    watch.stop()


def sleepy_slot() -> None:
    time.sleep(3 * STALL_SECONDS)


def greedy_engine(until: threading.Event) -> None:
    """Holds the interpreter: one call of C, which gives nobody else a turn."""
    while not until.is_set():
        sum(range(60_000_000))


def test_a_slot_that_takes_long_is_named_with_its_time(watch: StallWatch, qtbot: Any) -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), format="{level}: {message}")
    QTimer.singleShot(0, sleepy_slot)
    # A busy machine may have made the window stand still before, and is named too.

    def found() -> list[Stall]:
        return [stall for stall in watch.stalls if stall.places["window"].startswith("sleepy_slot (test_stalls.py:")]

    qtbot.waitUntil(lambda: bool(found()), timeout=20_000)
    logger.remove(sink)
    (stall,) = found()
    assert stall.seconds > 2 * STALL_SECONDS
    assert any("INFO: The window stood still for" in line and "sleepy_slot" in line for line in said)


def test_a_thread_that_holds_the_interpreter_is_named(watch: StallWatch, qtbot: Any) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=greedy_engine, args=(ended,), name="greedy")
    thread.start()
    try:
        qtbot.waitUntil(
            lambda: any("greedy_engine" in stall.places.get("greedy", "") for stall in watch.stalls), timeout=60_000
        )
    finally:
        ended.set()
        thread.join()
    assert any(stall.is_held for stall in watch.stalls)


def test_a_window_that_is_idle_or_has_ended_is_not_reported(watch: StallWatch, qtbot: Any) -> None:
    watch.start()
    qtbot.wait(10)
    watch.stop()
    sleepy_slot()
    qtbot.wait(10)
    watch.stop()
    assert not any("sleepy_slot" in str(stall) for stall in watch.stalls)
