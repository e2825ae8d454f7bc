"""The whole window, driven with mouse and keys, on an engine with known behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, FakeExperiment, fake_turn
from loguru import logger
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QColor, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QDialogButtonBox, QSlider, QStyle, QToolBar, QToolButton

from app.engine.messages import Export, TaskCard
from app.logs import LogBuffer
from app.panels.export_dialog import ExportDialog
from app.session import Session
from app.settings import Settings
from app.theme import DARK, ThemeKeeper
from app.widgets.controls import ChoiceControl, LogControl, NumberControl, StepSizeControl
from app.widgets.task_gallery import TaskGallery
from app.window import LAYOUT_VERSION, MainWindow
from mft_engine.recipe import Recipe, load_recipe


def button(window: MainWindow, name: str) -> QToolButton:
    """The toolbar's button of an action."""
    bar = window.findChild(QToolBar, "toolbar")
    widget = bar.widgetForAction(window.actions_by_name[name])
    assert isinstance(widget, QToolButton)
    return widget


def click(qtbot: Any, window: MainWindow, name: str) -> None:
    qtbot.mouseClick(button(window, name), Qt.MouseButton.LeftButton)


def big_slider(window: MainWindow) -> QSlider:
    control = window.experiment.rows["regularisation.scale"].control
    assert isinstance(control, LogControl)
    return control.log_slider.slider


def drag(qtbot: Any, slider: QSlider, shares: list[float]) -> None:
    """Press the handle, move it along and let go."""
    places = [QPoint(round(8 + share * (slider.width() - 16)), slider.height() // 2) for share in shares]
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places[1:]:
        qtbot.mouseMove(slider, place)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=places[-1])


def test_play_by_mouse_forms_the_cloud_and_pause_by_the_space_bar_stops_it(window: MainWindow, qtbot: Any) -> None:
    click(qtbot, window, "play")
    assert button(window, "play").text() == "Pause"
    qtbot.waitUntil(lambda: "step 0 " not in window.status_line.run.text())
    qtbot.waitUntil(lambda: window.status_line.complete.isVisible())
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert not window.session.is_running
    assert button(window, "play").text() == "Play"


def test_histograms_show_the_last_frame_though_it_came_just_after_the_one_before(
    window: MainWindow, engine: FakeEngine, qtbot: Any
) -> None:
    window.docks.bring_up("marginals")
    qtbot.waitUntil(lambda: not window.marginals.visibleRegion().isEmpty())
    qtbot.wait(300)
    frames = [engine.experiments[-1].snapshot() for _ in range(2)]
    for frame in frames:
        window.session.snapshot_ready.emit(frame)
    qtbot.waitUntil(lambda: window.marginals._clouds["background"] is frames[1].theta)


def test_dragging_the_scale_keeps_the_neurons_and_is_one_undo(
    window: MainWindow, engine: FakeEngine, qtbot: Any
) -> None:
    click(qtbot, window, "play")
    slider = big_slider(window)
    start = slider.value() / 1000
    drag(qtbot, slider, [start, start + 0.1, start + 0.2, start + 0.3])
    scale = window.session.recipe.regularisation.scale
    assert scale > 0.003
    assert window.session.undo_stack.count() == 1
    qtbot.waitUntil(lambda: f"retune {scale:g}" in engine.log)
    assert len(engine.experiments) == 1
    qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.session.recipe.regularisation.scale == 0.001
    assert slider.value() == round(1000 * start)
    click(qtbot, window, "play")


def test_resampling_shows_the_orange_neurons_and_the_verdict_and_the_wrong_background_is_rejected(
    window: MainWindow, qtbot: Any
) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        click(qtbot, window, "resample")
    assert window.self_consistency.card.state == "consistent"
    qtbot.waitUntil(lambda: "Certified by the exact optimum" in window.self_consistency.card.certificate.text())
    qtbot.waitUntil(lambda: not window.actions_by_name["cancel"].isEnabled())
    box = window.experiment.rows["foreground.background"].control
    assert isinstance(box, ChoiceControl)
    box.box.setFocus()
    qtbot.keyClick(box.box, Qt.Key.Key_Down)
    assert window.session.recipe.foreground.background == "lazy"
    qtbot.waitUntil(lambda: "theory (mean field)" in window.cloud.header.chips["theory"].accessibleName())
    assert "not the lazy background's" in window.loss.chips["theory"].toolTip()
    with qtbot.waitSignal(window.session.comparison_ready):
        qtbot.keyClick(window, Qt.Key.Key_F)
    assert window.self_consistency.card.state == "inconsistent"


def test_iterate_shows_every_turn_of_the_loop_and_play_goes_back_to_the_run(
    window: MainWindow, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.jobs.TURN_SECONDS", 0.01)
    turns: list[Any] = []
    window.session.iteration_ready.connect(turns.append)
    click(qtbot, window, "iterate")
    qtbot.waitUntil(lambda: "Converged: gap 1.0 × 10⁻⁸ after 4 turns" in window.status_line.sentence.text())
    assert [turn.index for turn in turns] == [0, 1, 2, 3, 4]
    assert len(window.cloud.layers["background"].x) == 16
    assert (window.cloud.layers["background"].x == 4).all() and (window.cloud.layers["foreground"].x == 5).all()
    assert window.cloud.banner.sentence.text() == "Self-consistency loop, turn 4"
    click(qtbot, window, "play")
    qtbot.waitUntil(lambda: len(window.cloud.layers["background"].x) == 64)
    assert not window.cloud.layers["foreground"].is_drawn
    assert not window.cloud.banner.isVisible()
    click(qtbot, window, "play")


def test_a_loop_that_ran_far_away_leaves_no_wide_axes_behind(window: MainWindow) -> None:
    far = np.full((16, 3), 200.0, np.float32) + np.arange(16, dtype=np.float32)[:, None]
    near = np.arange(48, dtype=np.float32).reshape(16, 3) / 48
    stage = window.clouds.stage
    for leave in (lambda: stage.show_stored(near, 1.0), stage.go_live):
        stage.show_background(near, 16)
        stage.begin_loop()
        stage.show_turn(fake_turn(3, 1.0, far))
        window.cloud.reset_view()
        assert window.cloud.visible_range()[0][1] > 200
        leave()
        assert window.cloud.visible_range()[0][1] < 10


def test_a_change_after_the_verdict_takes_the_orange_neurons_away_and_marks_it_as_old(
    window: MainWindow, qtbot: Any
) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        click(qtbot, window, "resample")
    headline = window.self_consistency.card.headline.text()
    window.session.edit("regularisation.scale", 0.01)
    assert window.self_consistency.card.headline.text() != headline or window.self_consistency.card.is_stale


def test_an_impossible_number_keeps_the_old_value_and_says_why_beside_it(window: MainWindow, qtbot: Any) -> None:
    window.experiment.sections["Network"].set_open(True)
    row = window.experiment.rows["network.n_neurons"]
    assert isinstance(row.control, NumberControl)
    entry = row.control.entry
    for typed, reason in (("many", "not a whole number"), ("0", "greater than or equal to 1")):
        entry.setFocus()
        entry.selectAll()
        qtbot.keyClicks(entry, typed)
        qtbot.keyClick(entry, Qt.Key.Key_Return)
        assert window.session.recipe.network.n_neurons == (64,)
        assert entry.text() == "64"
        assert reason in row.fault.text()
        assert reason in window.status_line.sentence.text()


def test_a_changed_value_has_a_way_back(window: MainWindow, qtbot: Any) -> None:
    row = window.experiment.rows["training.temperature"]
    assert not row.back.isVisible()
    window.session.edit("training.temperature", 0.5)
    assert row.back.isVisible() and window.experiment.changed_mark.isVisible()
    qtbot.mouseClick(row.back, Qt.MouseButton.LeftButton)
    assert window.session.recipe.training.temperature == 0.02
    assert not row.back.isVisible() and not window.experiment.changed_mark.isVisible()


def test_gradient_descent_takes_the_temperature_away_in_one_entry(window: MainWindow) -> None:
    window.session.edit("training.dynamics", "sgd")
    assert window.session.recipe.training.temperature == 0
    assert not window.experiment.rows["training.temperature"].isVisible()
    assert window.session.undo_stack.count() == 1


def test_the_card_of_a_task_is_marked_whatever_its_parameters(window: MainWindow, qtbot: Any) -> None:
    window.session._receive(TaskCard("digits", "Digits", "±1", {}, np.zeros((8, 8)), brings_points=True))
    window.session.open_recipe(load_recipe("digits"))
    gallery = window.findChild(TaskGallery)
    assert [card.name for card, marked in gallery._cards if marked.isChecked()] == ["digits"]


def test_a_card_of_the_gallery_chooses_its_task(window: MainWindow, qtbot: Any) -> None:
    gallery = window.experiment.gallery
    qtbot.waitUntil(lambda: len(gallery.findChildren(QToolButton)) == 3)
    ring = gallery.findChildren(QToolButton)[1]
    assert not ring.icon().isNull()
    qtbot.mouseClick(ring, Qt.MouseButton.LeftButton)
    assert window.session.recipe.task.name == "ring"
    assert ring.isChecked()


def test_a_typed_formula_becomes_the_task(window: MainWindow, qtbot: Any) -> None:
    entry = window.experiment.formula.entry
    entry.setFocus()
    qtbot.keyClicks(entry, "x1 + 2*x2")
    qtbot.keyClick(entry, Qt.Key.Key_Return)
    assert window.session.recipe.task.name == "expression"
    assert window.session.recipe.task.parameters == {"expression": "x1 + 2*x2"}


def test_a_preset_sets_every_control(window: MainWindow, qtbot: Any) -> None:
    window.experiment.preset.textActivated.emit("clover-warm")
    warm = load_recipe("clover-warm")
    assert window.session.recipe == warm
    control = window.experiment.rows["training.temperature"].control
    assert isinstance(control, LogControl)
    assert control.log_slider.entry.text() == f"{warm.training.temperature:g}"
    assert "clover-warm" in window.windowTitle()


def test_a_dropped_recipe_opens_and_is_remembered_and_a_broken_one_is_only_a_sentence(
    window: MainWindow, tmp_path: Path
) -> None:
    good, bad = tmp_path / "mine.toml", tmp_path / "bad.toml"
    good.write_text(Recipe(name="mine", seed=7).to_toml())
    bad.write_text("seed = [")
    for path in (good, bad):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path))])
        actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
        window.dropEvent(QDropEvent(QPointF(5, 5), actions, mime, buttons, Qt.KeyboardModifier.NoModifier))
        assert window.session.recipe.seed == 7
    assert "bad.toml is not valid TOML" in window.status_line.sentence.text()
    assert window.settings.recent == [str(good)]


def test_what_is_copied_repeats_the_run(window: MainWindow) -> None:
    window.session.open_recipe(load_recipe("clover").replace({"regularisation.scale": 0.02, "seed": 3}))
    window.session._repeating = window.session.recipe  # as the worker reports it once it has built the run
    window.actions_by_name["copy_command"].trigger()
    command = QGuiApplication.clipboard().text()
    assert command == "mft-lab run clover --set seed=3 --set regularisation.scale=0.02"
    window.actions_by_name["copy_python"].trigger()
    python = QGuiApplication.clipboard().text()
    assert "mft.load_recipe('clover').replace({" in python and "'regularisation.scale': 0.02" in python
    compile(python, "copied", "exec")
    window.actions_by_name["copy_recipe"].trigger()
    assert "scale = 0.02" in QGuiApplication.clipboard().text()


def test_export_asks_for_something_and_writes_it_where_it_was_asked(
    window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    dialog = ExportDialog(tmp_path / "figures", window)
    for box in dialog.figures.values():
        box.setChecked(False)
    dialog.open()
    qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert dialog.isVisible() and "at least one figure" in dialog.fault.text()
    dialog.figures["background"].setChecked(True)
    qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert not dialog.isVisible()
    command = dialog.command()
    assert command == Export(folder=tmp_path / "figures", figures=("background",))
    with qtbot.waitSignal(window.session.exported) as exported:
        window.session.export(command)
    assert [path.exists() for path in exported.args[0]] == [True]
    assert "Exported 1 file" in window.status_line.sentence.text()
    assert dialog.buttons.button(QDialogButtonBox.StandardButton.Cancel) is not None


def test_an_unwritable_folder_is_a_sentence(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "file").write_text("not a folder")
    with qtbot.waitSignal(window.session.failed):
        window.session.export(Export(folder=tmp_path / "file" / "figures"))
    assert window.status_line.sentence.property("role") == "fault"


def test_a_diverging_run_says_what_to_do_and_keeps_the_cloud(
    window: MainWindow, engine: FakeEngine, qtbot: Any
) -> None:
    engine.experiments[0].diverges_at = 150
    with qtbot.waitSignal(window.session.failed):
        click(qtbot, window, "play")
    assert "set training.step_size to 0.01" in window.status_line.sentence.text()
    assert button(window, "play").text() == "Play"
    assert not window.cloud.empty.isVisible()


def test_dark_reaches_every_view_and_is_remembered(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    window.actions_by_name["theme_dark"].trigger()
    assert QApplication.instance().palette().window().color().name() == DARK.window  # type: ignore[union-attr]
    picture = window.grab().toImage()
    corner = picture.pixelColor(4, picture.height() - 4)
    # A test's screen may have 16 bits a pixel: 5 for red and blue, so a step of 8.
    pairs = zip(corner.getRgb(), QColor(DARK.window).getRgb(), strict=True)
    assert max(abs(seen - meant) for seen, meant in pairs) <= 8
    assert Settings(tmp_path / "state").get("theme", "system") == "dark"
    assert window.actions_by_name["theme_dark"].isChecked()
    assert not window.actions_by_name["theme_light"].isChecked()


def test_recipe_and_layout_come_back_at_the_next_start(
    window: MainWindow, themes: ThemeKeeper, tmp_path: Path, make_session: Any, qtbot: Any
) -> None:
    window.session.edit("regularisation.scale", 0.07)
    window.docks["log"].hide()
    window.close()
    settings = Settings(tmp_path / "state")
    assert settings.recipe is not None and settings.recipe.regularisation.scale == 0.07
    log = LogBuffer()
    again = MainWindow(make_session(settings.recipe), settings, themes, log)
    again.show()
    assert not again.docks["log"].isVisible()
    again.actions_by_name["layout"].trigger()
    assert not again.docks["log"].isHidden()
    again.close()
    log.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"recipe": {"seed": -1}, "recent": 7, "theme": 3}', "\x00"])
def test_a_broken_settings_file_never_blocks_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "window.json").write_text(content)
    settings = Settings(tmp_path)
    assert settings.recipe is None and settings.recent == [] and settings.get("theme", "system") == "system"
    settings.set("theme", "dark")
    assert Settings(tmp_path).get("theme", "system") == "dark"


def test_every_bottom_tab_and_dock_has_content_or_a_calm_sentence_before_the_first_step(
    window: MainWindow, qtbot: Any
) -> None:
    assert window.loss.empty.isVisible()
    assert window.self_consistency.card.state == "none"
    for name in ("fields", "marginals", "log"):
        window.docks[name].raise_()
        qtbot.waitUntil(lambda name=name: window.docks[name].widget().isVisible())


def test_the_scrubber_shows_an_earlier_cloud_until_live_is_pressed(window: MainWindow, qtbot: Any) -> None:
    click(qtbot, window, "play")
    scrubber = window.loss.scrubber
    qtbot.waitUntil(lambda: scrubber.isVisible() and scrubber.slider.maximum() >= 3)
    click(qtbot, window, "play")
    with qtbot.waitSignal(window.session.stored_cloud_ready) as stored:
        scrubber.slider.setValue(1)
    assert stored.args[0].time == pytest.approx(10.0)  # the second stored cloud: step 100, 0.1 a step
    assert len(window.cloud.layers["background"].x) == 5
    assert window.cloud.banner.sentence.text() == "t = 10.00, stored"
    qtbot.mouseClick(scrubber.live, Qt.MouseButton.LeftButton)
    assert len(window.cloud.layers["background"].x) == 64
    assert not window.cloud.banner.isVisible()


@pytest.mark.parametrize("way", ["banner", "play", "step", "edit", "resample"])
def test_every_way_back_from_an_earlier_cloud_shows_the_run_again(window: MainWindow, qtbot: Any, way: str) -> None:
    click(qtbot, window, "play")
    scrubber = window.loss.scrubber
    qtbot.waitUntil(lambda: scrubber.isVisible() and scrubber.slider.maximum() >= 3)
    click(qtbot, window, "play")
    with qtbot.waitSignal(window.session.stored_cloud_ready):
        scrubber.slider.setValue(1)
    if way == "banner":
        qtbot.mouseClick(window.cloud.banner.back, Qt.MouseButton.LeftButton)
    elif way == "edit":
        window.session.edit("regularisation.scale", 0.02)
    else:
        click(qtbot, window, way)
    qtbot.waitUntil(lambda: len(window.cloud.layers["background"].x) == 64)
    qtbot.waitUntil(lambda: scrubber.is_live and not window.cloud.banner.isVisible())
    window.session.pause()


def test_frames_of_the_run_do_not_cover_an_earlier_cloud(window: MainWindow, qtbot: Any) -> None:
    click(qtbot, window, "play")
    scrubber = window.loss.scrubber
    qtbot.waitUntil(lambda: scrubber.isVisible() and scrubber.slider.maximum() >= 3)
    with qtbot.waitSignal(window.session.stored_cloud_ready):
        scrubber.slider.setValue(1)
    with qtbot.waitSignals([window.session.snapshot_ready] * 2):
        pass
    assert len(window.cloud.layers["background"].x) == 5
    click(qtbot, window, "play")


def test_the_fields_are_computed_only_while_they_are_looked_at(
    window: MainWindow, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fields = FakeExperiment.fields
    monkeypatch.setattr(FakeExperiment, "fields", lambda self: calls.append(1) or fields(self))
    click(qtbot, window, "step")
    qtbot.wait(100)
    assert not calls
    window.docks["fields"].raise_()
    qtbot.waitUntil(lambda: bool(calls))


def test_the_log_shows_what_was_said_in_any_thread(window: MainWindow) -> None:
    logger.info("a line <with> signs & spaces")
    window.log_panel.drain()
    assert "a line <with> signs & spaces" in window.log_panel.text.toPlainText().replace("\xa0", " ")


def test_a_floating_dock_closes_with_the_window_and_floats_again_at_the_next_start(
    window: MainWindow, qtbot: Any
) -> None:
    window.docks["experiment"].setFloating(True)
    QApplication.processEvents()
    window.close()
    assert not [w for w in QApplication.topLevelWidgets() if w.isVisible()]
    state = window.settings.geometry("docks")
    window.docks["experiment"].setFloating(False)
    assert window.restoreState(state, LAYOUT_VERSION) and window.docks["experiment"].isFloating()
    window.docks["experiment"].setFloating(False)


def test_closing_while_it_trains_ends_the_engines_thread(window: MainWindow, qtbot: Any) -> None:
    click(qtbot, window, "play")
    click(qtbot, window, "resample")
    qtbot.wait(30)
    window.close()
    session: Session = window.session
    thread = session._line.thread_of_engine
    assert thread is not None and not thread.isRunning()


@pytest.mark.parametrize("n_cards", [3, 20])
def test_the_gallery_shares_out_its_width_whatever_the_titles(qtbot: Any, n_cards: int) -> None:
    gallery = TaskGallery()
    qtbot.addWidget(gallery)
    gallery.resize(290, 600)
    gallery.show()
    for k in range(n_cards):
        title = f"A task with a very long title, number {k}"
        gallery.add_card(TaskCard(name=f"t{k}", title=title, formula="x1", parameters={}, image=np.zeros((8, 8))))
    qtbot.wait(20)
    assert gallery.minimumSizeHint().width() <= 290
    for _, button in gallery._cards:
        assert 0 <= button.x() and button.x() + button.width() <= 290


def test_an_automatic_step_size_is_not_cut_off_in_the_narrowest_panel(qtbot: Any) -> None:
    control = StepSizeControl()
    qtbot.addWidget(control)
    # What the row leaves to its control at a panel of 300 px: title, reset button and margins take the rest.
    control.resize(152, control.sizeHint().height())
    control.show()
    control.show_value("auto")
    control.show_in_force(0.00123456)
    entry = control.number.entry
    qtbot.wait(20)
    room = entry.width() - 2 * entry.style().pixelMetric(QStyle.PixelMetric.PM_DefaultFrameWidth) - 12
    assert entry.fontMetrics().horizontalAdvance(entry.text()) <= room
