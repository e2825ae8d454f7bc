"""Journeys of `product.md` in the real window on the real engine, by mouse and keys: the live picture.

Each ends in a screenshot: `pytest tests/app/test_journeys*.py --runslow --pictures FOLDER` keeps those of every look.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from journeys import LEFT, LONG, SMALL, Journey
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication

from app.panels.data_dialog import DataDialog
from mft_engine.recipe import load_recipe
from mft_engine.runs.restore import restore

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def test_j1_the_three_pictures_play_resample_wrong_background_export(journey: Journey, tmp_path: Path) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL))
    # Play: the cloud forms until the recipe is complete.
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    right = journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    # The law is the same and the noise of 256 neurons is large: at worst "close" (ratio below 4).
    assert right[0].ratio < 4
    assert window.self_consistency.card.state == right[0].verdict
    assert len(window.cloud.layers["foreground"].x) == 256
    journey.rest()
    journey.picture("J1-right")
    # The wrong background is rejected.
    journey.wait_for("experiment_changed", lambda: journey.choose_value("foreground.background", "Wrong"))
    wrong = journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    assert wrong[0].verdict == "inconsistent" and wrong[0].ratio > 5
    journey.rest()
    journey.picture("J1-wrong")
    # Export: the three pictures, each alone and all in one, in one step.
    figures = tmp_path / "figures"
    figures.mkdir()
    journey.name_file(figures)
    files = journey.wait_for("exported", lambda: journey.key(Qt.Key.Key_E, CONTROL))
    names = {f"{name}.{form}" for name in ("three-pictures", "background", "foreground", "wrong-background")
             for form in ("png", "svg", "pdf")}  # fmt: skip
    assert {path.name for path in files} == names and all(path.stat().st_size > 1000 for path in files)
    assert journey.faults == []
    # Close while it trains.
    journey.press("play")
    journey.qtbot.wait(100)
    journey.key(Qt.Key.Key_Q, CONTROL)
    thread = journey.session._line.thread_of_engine
    assert thread is not None and thread.isFinished()


def test_j2_the_slider_is_dragged_while_it_trains_and_the_change_is_part_of_the_recipe(journey: Journey) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL))
    session, theories = window.session, []
    session.theory_ready.connect(theories.append)
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    assert session.is_running and "sampling goes on" in window.status_line.sentence.text()
    first = session._worker._hand
    # The same neurons go on, and the theory follows.
    journey.wait_for(
        "theory_ready",
        lambda: journey.drag_slider("regularisation.scale", *5 * [4]),
        check_params_cb=lambda picture: picture.is_current,
    )
    assert session.recipe.regularisation.scale > 0.001 and session._worker._hand is first
    assert session.undo_stack.count() == 1
    # Stronger regularisation leaves more of the target unlearned.
    assert theories[-1].numbers["loss"] > theories[0].numbers["loss"]
    schedule = session.repeating_recipe.schedule
    assert schedule and schedule[-1].value == session.recipe.regularisation.scale
    journey.key(Qt.Key.Key_C, CONTROL | SHIFT)
    assert f"value = {schedule[-1].value}" in QApplication.clipboard().text()
    # The speed by its keys: one step a frame at the slow end, as many as fit at the other.
    for key, end in ((Qt.Key.Key_BracketLeft, 1), (Qt.Key.Key_BracketRight, 0)):
        for _ in range(8):
            journey.key(key)
        assert session.steps_per_frame == window.speed.currentData() == end
    journey.picture("J2")
    # Undo by keyboard while it goes on.
    journey.key(Qt.Key.Key_Z, CONTROL)
    assert session.recipe.regularisation.scale == 0.001 and session.is_running
    assert journey.faults == []


def test_j6_my_own_task_a_formula_that_is_typed_and_a_table_that_is_dropped(journey: Journey, tmp_path: Path) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL | {"training.time": 3.0}))
    formula = "x1*x2 + 0.3*sin(3*x1)"
    journey.wait_for("experiment_changed", lambda: journey.type(window.experiment.formula.entry, formula))
    assert window.session.recipe.task.parameters == {"expression": formula}
    journey.look_at("fields")
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    journey.rest()
    journey.picture("J6-formula")
    # A table: 200 points of a saddle with noise.
    noise = np.random.default_rng(0)
    x = noise.standard_normal((200, 2))
    lines = [f"{a:.4f},{b:.4f},{a * b + 0.1 * e:.4f}" for (a, b), e in zip(x, noise.standard_normal(200), strict=True)]
    table = tmp_path / "saddle.csv"
    table.write_text("height,width,y\n" + "\n".join(lines) + "\n")
    mime, target = QMimeData(), window.cloud.plot.viewport()
    mime.setUrls([QUrl.fromLocalFile(str(table))])
    place, copy, no_key = QPointF(200, 150), Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(target, QDragEnterEvent(place.toPoint(), copy, mime, LEFT, no_key))
    QApplication.sendEvent(target, QDropEvent(place, copy, mime, LEFT, no_key))
    journey.qtbot.waitUntil(lambda: bool(window.findChildren(DataDialog)), timeout=LONG)
    dialog = window.findChildren(DataDialog)[0]
    journey.qtbot.waitUntil(dialog.isVisible)
    journey.picture("J6-dialog", dialog)
    journey.wait_for("experiment_changed", lambda: journey.qtbot.keyClick(dialog, Qt.Key.Key_Return))
    assert window.session.recipe.task.parameters["path"] == str(table)
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.look_at("loss")
    journey.picture("J6-table")
    assert journey.faults == []


def test_j8_the_lecture_a_guided_tour_on_the_live_picture(journey: Journey) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL | {"training.time": 4.0}))
    tour = window.tour
    journey.pick_from_menu("tour")
    for number in range(5):
        assert tour.step == number and tour.bubble.isVisible()
        if number == 0:
            journey.wait_for("recipe_complete", lambda: journey.click(tour.act))
            journey.press("play")
        elif tour.act.isVisible():
            journey.wait_for("comparison_ready", lambda: journey.click(tour.act))
            journey.rest()
        journey.picture(f"J8-step{number + 1}")
        journey.click(tour.next)
    assert not tour.is_running
    assert window.self_consistency.card.state == "inconsistent"
    journey.key(Qt.Key.Key_F1)
    assert journey.faults == []


def test_j11_nothing_is_lost_train_resample_close_and_the_next_start_goes_on(journey: Journey) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL | {"training.time": 4.0}))
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    verdict = journey.wait_for("comparison_ready", lambda: journey.press("resample"))[0]
    journey.rest()
    drawn = window.cloud.layers["background"].theta.copy()
    journey.key(Qt.Key.Key_Q, CONTROL)
    # The next start: the run where it stood, with its foreground and verdict; Play goes on.
    again = journey.start()
    assert again is not window and not again.session.is_running
    journey.qtbot.waitUntil(lambda: again.self_consistency.card.state == verdict.verdict, timeout=LONG)
    shown = again.cloud.layers
    assert np.array_equal(shown["background"].theta, drawn) and len(shown["foreground"].x) == 256
    journey.look_at("runs")
    journey.qtbot.waitUntil(lambda: again.runs.table.model().rowCount() == 1, timeout=LONG)
    journey.picture("J11")
    folder = again.session.kept_folder
    assert folder is not None
    step = restore(folder).experiment.state.step
    journey.wait_for("snapshot_ready", lambda: journey.press("play"), check_params_cb=lambda s: s.step > step + 50)
    journey.key(Qt.Key.Key_Q, CONTROL)
    assert restore(folder).experiment.state.step > step + 50
    assert journey.faults == []
