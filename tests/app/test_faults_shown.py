"""What the window says of itself: whether the run is stored, and what a fault of the program looks like."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from app.logs import ExceptionHook
from app.panels.defect import DefectDialog
from app.widgets.status_line import LATE_SECONDS
from app.window import MainWindow


def test_an_exception_that_nobody_caught_reaches_the_log_and_the_status_bar(window: MainWindow, qtbot: Any) -> None:
    hook = ExceptionHook(window.show_defect)
    try:
        hook._caught(ValueError, ValueError("odd thing"), None)
        hook._caught(ValueError, ValueError("another thing"), None)
    finally:
        hook.remove()
    assert "another thing" in window.status_line.sentence.text()
    # One dialog in plain words, with a report that can be copied; the log is a click away.
    (dialog,) = window.findChildren(DefectDialog)
    assert dialog.isVisible() and "2 faults" in dialog.informativeText() and "Traceback" not in dialog.text()
    qtbot.mouseClick(dialog.copy, Qt.MouseButton.LeftButton)
    report = QApplication.clipboard().text()
    for words in ("ValueError: odd thing", "another thing", "torch", "[training]", window.session.recipe.name):
        assert words in report
    assert dialog.isVisible()
    window.docks.bring_up("loss")
    qtbot.mouseClick(dialog.log, Qt.MouseButton.LeftButton)
    assert window.docks.front == "log"
    qtbot.waitUntil(lambda: not window.findChildren(DefectDialog))
    window.log_panel.drain()
    assert "ValueError: odd thing" in window.log_panel.text.toPlainText()


def test_a_dot_says_whether_the_run_is_stored(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    line, clock = window.status_line, [100.0]
    monkeypatch.setattr("app.widgets.status_line.time.perf_counter", lambda: clock[0])

    def step(number: int) -> None:
        line.show_snapshot(SimpleNamespace(step=number, time=0.1, is_complete=False, kernel="fused"))

    step(10)
    assert not line.stored.isVisible()  # before it has been written for the first time
    window.session.run_kept.emit(Path("/runs/clover"))
    assert line.stored.isVisible() and line.stored.text() == "● stored" and "/runs/clover" in line.stored.toolTip()
    for number, seconds in ((11, 1.0), (12, 20.0)):
        clock[0] += seconds
        step(number)
        assert line.stored.text() == "● stored"
    clock[0] += LATE_SECONDS
    step(13)
    assert line.stored.text() == "○ not stored" and "could not be written" in line.stored.toolTip()
    window.session.run_kept.emit(Path("/runs/clover"))
    clock[0] += 1000.0
    step(13)  # nothing new since
    assert line.stored.text() == "● stored"
    line.forget_run()
    assert not line.stored.isVisible()
