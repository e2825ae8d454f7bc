"""A window that was closed is gone: its widgets, its pictures and what pyqtgraph makes for their menus."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QApplication

from app.logs import LogBuffer
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.window import MainWindow
from mft_engine.recipe import Recipe


def test_closed_windows_leave_no_widgets_behind_that_make_every_change_of_theme_slower(
    make_session: Callable[..., Session], themes: ThemeKeeper, tmp_path: Path, qtbot: Any
) -> None:
    def open_and_close(number: int) -> weakref.ref[MainWindow]:
        session, log = make_session(), LogBuffer()
        window = MainWindow(session, Settings(tmp_path / str(number)), themes, log)
        window.show()
        session.start()
        qtbot.waitUntil(lambda: window.experiment.isEnabled())
        window.close()
        log.close()
        window.deleteLater()
        return weakref.ref(window)

    def settle() -> int:
        for _ in range(3):
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            QApplication.processEvents()
            gc.collect()
        return len(QApplication.allWidgets())

    open_and_close(0)
    before = settle()
    windows = [open_and_close(number) for number in range(1, 4)]
    after = settle()
    assert [window() for window in windows[:2]] == [None, None]
    # What the last one shares with the application may stay until the next one is opened.
    assert after <= before + 5, f"{after - before} widgets more after three windows"


def test_a_session_is_freed_with_its_window_whatever_is_in_its_history(
    engine: FakeEngine, themes: ThemeKeeper, tmp_path: Path, qtbot: Any
) -> None:
    session, log = Session(Recipe(), load=lambda section: engine, is_threaded=False), LogBuffer()
    window = MainWindow(session, Settings(tmp_path), themes, log)
    window.show()
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    qtbot.wait(30)
    # A parameter, the view and the docks: each kind of entry.
    session.edit("regularisation.scale", 0.01)
    qtbot.mouseClick(window.cloud.header.chips["initial"], Qt.MouseButton.LeftButton)
    window.docks["log"].toggleViewAction().trigger()
    qtbot.wait(30)
    assert session.undo_stack.count() == 3
    session.undo_stack.undo()
    kept = weakref.ref(session)
    window.close()
    log.close()
    window.deleteLater()
    del session, window
    for _ in range(3):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QApplication.processEvents()
        gc.collect()
    assert kept() is None, f"kept by {[type(one) for one in gc.get_referrers(kept())]}"
