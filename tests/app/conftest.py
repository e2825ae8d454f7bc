"""Sessions on a fake engine, and a guard against what a test may leave behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import shiboken6
from fake_engine import FakeEngine
from journeys import LOOKS, Journey, Look
from PySide6.QtCore import QThread, QTimer
from PySide6.QtWidgets import QApplication

from app.logs import LogBuffer
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.window import MainWindow
from mft_engine.recipe import Recipe
from mft_engine.sections import EngineSection


@pytest.fixture(
    params=[pytest.param(look, marks=[pytest.mark.slow] if k else [], id=str(look)) for k, look in enumerate(LOOKS)]
)
def journey(
    request: pytest.FixtureRequest, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Journey]:
    """A person before the real window: light and small always, the other looks with `--runslow`.

    `--pictures FOLDER` keeps the screenshots.
    """
    look: Look = request.param
    kept = request.config.getoption("--pictures")
    journey = Journey(qtbot, look, tmp_path, Path(kept) if kept else tmp_path / "pictures")
    yield journey
    journey.end()


@pytest.fixture
def engine() -> FakeEngine:
    """The engine that `session` uses."""
    return FakeEngine()


@pytest.fixture
def make_session(qapp: QApplication, engine: FakeEngine) -> Iterator[Callable[..., Session]]:
    """Sessions on the fake engine, closed after the test; threaded only when asked for."""
    sessions: list[Session] = []

    def make(
        recipe: Recipe | None = None, *, is_threaded: bool = False, load: Any = None, store: Path | None = None
    ) -> Session:
        def loaded(section: EngineSection) -> FakeEngine:
            return engine

        small = recipe or Recipe().replace({"network.n_neurons": 64, "foreground.n_neurons": 32})
        sessions.append(Session(small, load=load or loaded, is_threaded=is_threaded, store=store))
        return sessions[-1]

    yield make
    for session in sessions:
        assert session.close(), "the engine's thread did not end in time"


@pytest.fixture(scope="session", autouse=True)
def imports_are_old_news() -> Iterator[None]:
    """What the imports made is not looked through again after every test.

    Nor does Python collect by itself: in an engine's thread it could free a widget, which Qt does not survive. The
    program has a keeper for that; here it is done after every test.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def nothing_left_behind(qapp: QApplication) -> Iterator[None]:
    """Fails the test that leaves a window, a running thread or a running timer behind."""
    yield
    QApplication.processEvents()
    windows = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
    for window in windows:
        window.close()
    own = qapp.thread()
    things = [o for o in gc.get_objects() if type(o) in (QThread, QTimer) and _is_alive(o)]
    threads = [o for o in things if isinstance(o, QThread) and o != own and o.isRunning()]
    timers = [o for o in things if isinstance(o, QTimer) and o.isActive() and not o.isSingleShot()]
    gc.collect()
    assert not windows, f"windows left open: {windows}"
    assert not threads, f"threads left running: {threads}"
    assert not timers, f"timers left running: {[t.parent() for t in timers]}"


def _is_alive(thing: Any) -> bool:
    return bool(shiboken6.isValid(thing))


@pytest.fixture
def themes(qapp: QApplication) -> Iterator[ThemeKeeper]:
    """The light theme."""
    keeper = ThemeKeeper("light", qapp)
    keeper.apply()
    yield keeper
    keeper.deleteLater()


@pytest.fixture
def window(
    make_session: Callable[..., Session], themes: ThemeKeeper, tmp_path: Path, qtbot: Any
) -> Iterator[MainWindow]:
    """A window on the fake engine, loaded and shown, with settings of its own."""
    session = make_session(is_threaded=True)
    log = LogBuffer()
    window = MainWindow(session, Settings(tmp_path / "state"), themes, log)
    window.resize(1280, 720)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)  # keys reach the active window only
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    yield window
    window.close()
    log.close()
    window.deleteLater()
    QApplication.processEvents()
