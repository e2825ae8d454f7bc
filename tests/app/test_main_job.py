"""The main job in the real window on the real engine: play, drag, resample, wrong background, export, close."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QToolBar

from app.engine.messages import Export
from app.logs import LogBuffer
from app.session import Session
from app.settings import Settings
from app.theme import ThemeKeeper
from app.widgets.controls import ChoiceControl, LogControl
from app.window import MainWindow
from mft_engine.recipe import load_recipe

SMALL = {
    "network.n_neurons": 256,
    "foreground.n_neurons": 256,
    "comparison.n_permutations": 199,
    "training.time": 12.0,
}


@pytest.fixture
def real_window(themes: ThemeKeeper, tmp_path: Path, qtbot: Any) -> Iterator[MainWindow]:
    session = Session(load_recipe("clover-warm").replace(SMALL))
    log = LogBuffer()
    window = MainWindow(session, Settings(tmp_path / "state"), themes, log)
    window.resize(1280, 720)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    with qtbot.waitSignal(session.snapshot_ready, timeout=60_000):
        session.start()
    yield window
    window.close()
    log.close()
    window.deleteLater()
    QApplication.processEvents()


def click(qtbot: Any, window: MainWindow, name: str) -> None:
    bar = window.findChild(QToolBar, "toolbar")
    qtbot.mouseClick(bar.widgetForAction(window.actions_by_name[name]), Qt.MouseButton.LeftButton)


def test_play_drag_resample_verdict_wrong_background_export_close(
    real_window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    window, session = real_window, real_window.session
    faults: list[str] = []
    session.failed.connect(faults.append)
    # Play: the cloud forms until the recipe is complete.
    with qtbot.waitSignal(session.recipe_complete, timeout=60_000):
        click(qtbot, window, "play")
    first = session._worker._hand
    # Drag the big slider while it trains: the same neurons go on, the theory follows.
    control = window.experiment.rows["regularisation.scale"].control
    assert isinstance(control, LogControl)
    slider = control.log_slider.slider
    x, y = round(8 + slider.value() / 1000 * (slider.width() - 16)), slider.height() // 2
    with qtbot.waitSignal(session.theory_ready, timeout=20_000, check_params_cb=lambda p: p.is_current):
        qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(x, y))
        for k in range(1, 6):
            qtbot.mouseMove(slider, QPoint(x + 4 * k, y))
            qtbot.wait(20)
        qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(x + 20, y))
    assert session.recipe.regularisation.scale > 0.001
    assert session._worker._hand is first
    assert session.undo_stack.count() == 1
    schedule = session.repeating_recipe.schedule
    assert schedule and schedule[-1].value == session.recipe.regularisation.scale
    # Undo by keyboard, pause, resample: orange neurons and a verdict.
    qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert session.recipe.regularisation.scale == 0.001
    click(qtbot, window, "play")
    with qtbot.waitSignal(session.comparison_ready, timeout=60_000) as right:
        click(qtbot, window, "resample")
    # The law is the same and the noise of 256 neurons is large: at worst "close" (ratio below 4).
    assert right.args[0][0].ratio < 4
    assert window.self_consistency.card.state == right.args[0][0].verdict
    assert len(window.cloud.layers["foreground"].x) == 256
    # The wrong background is rejected.
    box = window.experiment.rows["foreground.background"].control
    assert isinstance(box, ChoiceControl)
    box.box.setFocus()
    with qtbot.waitSignal(session.experiment_changed, timeout=20_000):
        qtbot.keyClick(box.box, Qt.Key.Key_Down)
    with qtbot.waitSignal(session.comparison_ready, timeout=60_000) as wrong:
        click(qtbot, window, "resample")
    assert wrong.args[0][0].verdict == "inconsistent" and wrong.args[0][0].ratio > 5
    # Export: the three pictures, each alone and all in one, and both clouds.
    command = Export(folder=tmp_path / "figures", figure_formats=("png", "pdf"), data_formats=("npz",))
    with qtbot.waitSignal(session.exported, timeout=60_000) as exported:
        session.export(command)
    names = {path.name for path in exported.args[0]}
    assert {f"{n}.png" for n in ("three-pictures", "background", "foreground", "wrong-background")} < names
    assert all(path.stat().st_size > 1000 for path in exported.args[0])
    assert any(name.endswith(".npz") for name in names)
    assert faults == []
    # Close while it trains.
    click(qtbot, window, "play")
    qtbot.wait(100)
    window.close()
    thread = session._line.thread_of_engine
    assert thread is not None and thread.isFinished()
