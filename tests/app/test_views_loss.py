"""The loss view: curves, level lines, marks, and an axis that does not jump."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.theme import DARK, LIGHT
from app.views.loss import LossView
from app.views.plot_style import SparseLogAxis, line_pen
from app.views.scrubber import LIVE


@pytest.fixture
def view(qtbot: QtBot) -> LossView:
    view = LossView(LIGHT)
    qtbot.addWidget(view)
    view.resize(900, 260)
    view.show()
    return view


def run(n_records: int = 300, end: float = 24.0) -> dict[str, np.ndarray]:
    time = np.linspace(0.0, end, n_records)
    return {"time": time, "loss": 0.2945 + 0.75 * np.exp(-1.4 * time), "step": np.arange(n_records)}


def test_the_curve_is_the_loss_against_time(view: LossView) -> None:
    view.show_metrics(run())
    x, y = view._curve.getOriginalDataset()
    assert np.array_equal(x, run()["time"])
    assert np.array_equal(y, run()["loss"])
    assert view.chips["background"].detail == "0.2945"
    assert not view.empty.isVisible()


def test_no_words_stand_across_the_level_of_the_theory(view: LossView) -> None:
    view.show_metrics(run())
    view.clear()
    assert view.empty.isVisible()
    view.show_theory_loss(0.2933)
    assert not view.empty.isVisible()


def test_theory_is_a_dashed_line_labelled_with_its_value(view: LossView) -> None:
    view.show_metrics(run())
    view.show_theory_loss(0.29331)
    line = view._level_lines["theory"]
    assert line.isVisible() and line.value() == pytest.approx(0.29331)
    assert line.pen.style() == Qt.PenStyle.DashLine
    assert line.label.toPlainText() == "theory 0.2933"
    view.show_theory_loss(None)
    assert not line.isVisible()
    assert not view.chips["theory"].isEnabled()


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize(("foreground", "theory"), [(0.2987, 0.2933), (0.28, 0.2933), (1.4, 0.2933), (2.9, 3.0)])
def test_labels_of_nearly_equal_levels_do_not_overlap(
    view: LossView, qtbot: QtBot, foreground: float, theory: float, is_log: bool
) -> None:
    view.show_metrics(run())
    view.log_scale.setChecked(is_log)
    view.show_foreground_loss(foreground)
    view.show_theory_loss(theory)
    view.grab()
    boxes = [view._level_lines[name].label.mapRectToScene(view._level_lines[name].label.boundingRect())
             for name in ("foreground", "theory")]  # fmt: skip
    assert not boxes[0].intersects(boxes[1])
    area = view.plot.getViewBox().sceneBoundingRect().adjusted(-2, -2, 2, 2)
    assert all(area.contains(box) for box in boxes)


def test_logarithmic_box_moves_lines_with_the_curve(view: LossView, qtbot: QtBot) -> None:
    view.show_metrics(run())
    view.show_theory_loss(0.1)
    qtbot.mouseClick(view.log_scale, Qt.MouseButton.LeftButton, pos=QPoint(8, view.log_scale.height() // 2))
    assert view._level_lines["theory"].value() == pytest.approx(-1.0)
    low, high = view.plot.getViewBox().viewRange()[1]
    assert low < -1.0 and high > np.log10(run()["loss"].max())
    view.show_theory_loss(0.0)
    assert not view._level_lines["theory"].isVisible()


def test_axis_shows_the_whole_recipe_and_does_not_move_within_it(view: LossView) -> None:
    view.set_duration(24.0)
    view.show_metrics({k: v[:20] for k, v in run().items()})
    before = view.plot.getViewBox().viewRange()
    for n in range(21, 300, 9):
        view.show_metrics({k: v[:n] for k, v in run().items()})
        assert view.plot.getViewBox().viewRange()[0] == before[0]
    assert before[0][1] >= 24.0


def test_axis_grows_in_few_steps_beyond_the_end(view: LossView) -> None:
    view.set_duration(24.0)
    ends = set()
    for end in np.linspace(24, 60, 100):
        view.show_metrics(run(50, end))
        x_end = view.plot.getViewBox().viewRange()[0][1]
        assert x_end >= end
        ends.add(x_end)
    assert len(ends) <= 6


def test_changes_of_one_drag_become_one_mark_with_the_last_text(view: LossView) -> None:
    view.set_duration(24.0)
    view.show_metrics(run())
    for k in range(40):
        view.mark_change(8.0 + 0.01 * k, f"scale {k}")
    view.mark_change(15.0, "temperature 0.05")
    visible = [line for line in view._mark_lines if line.isVisible()]
    assert len(visible) == 2
    assert "scale 39" in visible[0].toolTip()
    assert visible[1].label.toPlainText() == "temperature 0.05"
    view.clear()
    assert not [line for line in view._mark_lines if line.isVisible()]


def test_recipe_complete_is_marked_where_it_happened(view: LossView) -> None:
    view.show_metrics(run())
    view.mark_complete(24.0)
    assert view._complete_line.isVisible() and view._complete_line.value() == 24.0


@pytest.mark.parametrize("time", [0.0, 1.0, 12.0, 24.0])
def test_labels_of_marks_are_never_cut_off(view: LossView, time: float) -> None:
    view.set_duration(24.0)
    view.show_metrics(run())
    view.mark_complete(time)
    view.mark_change(time, "regularisation scale 0.01")
    view.grab()
    area = view.plot.getViewBox().sceneBoundingRect().adjusted(-2, -2, 2, 2)
    for line in (view._complete_line, view._mark_lines[0]):
        assert area.contains(line.label.mapRectToScene(line.label.boundingRect()))


def test_a_first_record_alone_is_shown_around_its_value(view: LossView) -> None:
    view.show_metrics({"time": np.array([0.1]), "loss": np.array([0.7])})
    low, high = view.plot.getViewBox().viewRange()[1]
    assert 0.3 < low < 0.7 < high < 1.1


def test_scrubber_tells_the_snapshot_and_live_ends_it(view: LossView, qtbot: QtBot) -> None:
    assert not view.scrubber.isVisible()
    view.show_metrics(run())
    view.set_snapshots(np.linspace(0, 24, 25))
    assert view.scrubber.isVisible()
    with qtbot.waitSignal(view.scrubbed) as told:
        view.scrubber.slider.setFocus()
        qtbot.keyClick(view.scrubber.slider, Qt.Key.Key_Home)
    assert told.args == [0]
    assert view._cursor_line.value() == 0.0
    with qtbot.waitSignal(view.scrubbed) as told:
        qtbot.mouseClick(view.scrubber.live, Qt.MouseButton.LeftButton)
    assert told.args == [LIVE]
    assert not view._cursor_line.isVisible()


def test_the_stored_clouds_play_like_a_film_and_stand_still_at_the_end(view: LossView, qtbot: QtBot) -> None:
    view.set_snapshots(np.arange(4.0))
    told: list[int] = []
    view.scrubbed.connect(told.append)
    qtbot.mouseClick(view.scrubber.film, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not view.scrubber.film.isChecked())
    assert told == [0, 1, 2, 3] and not view.is_live
    view.scrubber.slider.setValue(1)
    qtbot.mouseClick(view.scrubber.film, Qt.MouseButton.LeftButton)
    view.go_live()
    assert not view.scrubber.film.isChecked() and not view.scrubber._step.isActive()


def test_new_snapshots_do_not_move_a_scrubber_that_looks_back(view: LossView) -> None:
    told: list[int] = []
    view.scrubbed.connect(told.append)
    view.set_snapshots(np.arange(5.0))
    view.set_snapshots(np.arange(6.0))
    assert told == [] and view.scrubber.slider.value() == 5
    view.scrubber.slider.setValue(2)
    view.set_snapshots(np.arange(9.0))
    assert told == [2] and view.scrubber.slider.value() == 2


def test_a_scrubber_that_looks_back_keeps_its_time_when_clouds_are_thinned_out(view: LossView) -> None:
    view.set_snapshots(np.arange(9.0))
    view.scrubber.slider.setValue(6)
    view.set_snapshots(np.arange(0.0, 9.0, 2.0))
    assert view.scrubber.time_of(view.scrubber.slider.value()) == 6.0
    view.go_live()
    assert view.is_live and not view._cursor_line.isVisible()


def test_a_zoom_stays_until_a_double_click(view: LossView, qtbot: QtBot) -> None:
    view.show_metrics(run())
    before = view.plot.getViewBox().viewRange()
    port = view.plot.viewport()
    middle = QPointF(port.rect().center())
    wheel = QWheelEvent(
        middle, port.mapToGlobal(middle), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(port, wheel)
    zoomed = view.plot.getViewBox().viewRange()
    assert zoomed != before
    view.show_metrics(run())
    assert view.plot.getViewBox().viewRange() == zoomed
    qtbot.mouseDClick(port, Qt.MouseButton.LeftButton, pos=port.rect().center())
    assert np.allclose(view.plot.getViewBox().viewRange(), before)


def test_infinite_losses_leave_a_gap_not_an_error(view: LossView) -> None:
    metrics = run()
    metrics["loss"][100:] = np.inf
    view.show_metrics(metrics)
    view.show_foreground_loss(float("nan"))
    view.log_scale.setChecked(True)
    view.grab()
    assert not view._level_lines["foreground"].isVisible()
    assert np.isfinite(view.plot.getViewBox().viewRange()).all()


def test_a_long_run_draws_a_bounded_number_of_points(view: LossView) -> None:
    view.show_metrics(run(200_000))
    view.grab()
    x, _ = view._curve.getData()
    # Two points (least and largest) per horizontal pixel and some rounding.
    assert len(x) < 8 * view.width()


def test_both_themes_reach_the_curve(view: LossView) -> None:
    view.show_metrics(run())
    view.apply_theme(DARK)
    assert view._curve.opts["pen"].color().name() == DARK.background_cloud


@pytest.mark.parametrize(("low", "high"), [(0.25, 1.1), (1e-6, 10.0), (0.29, 0.31), (1e-9, 1e-8), (1e-9, 1e12)])
def test_labels_of_the_logarithmic_axis_keep_their_distance(low: float, high: float) -> None:
    axis = SparseLogAxis("left")
    ((_, ticks),) = axis.logTickValues(np.log10(low), np.log10(high), 130.0, None)
    places = (np.array(ticks) - np.log10(low)) / np.log10(high / low) * 130
    assert ((places >= -1e-9) & (places <= 130 + 1e-9)).all()
    # A line of text is about 14 pixels high.
    assert (np.diff(places) >= 14).all()
    assert axis.logTickStrings([-1.0, float(np.log10(0.15))], 1.0, None) == ["0.1", "0.15"]


def test_a_line_is_as_thick_on_a_screen_of_high_resolution(qapp: QApplication) -> None:
    assert line_pen("#123456", 2.0).widthF() == pytest.approx(2.0 * qapp.devicePixelRatio())


@pytest.mark.parametrize("foreground", [0.28, 0.6, 1.4, 2.468])
@pytest.mark.parametrize("size", [(900, 260), (600, 170)])
def test_the_completion_label_keeps_clear_of_the_level_labels(
    view: LossView, qtbot: QtBot, foreground: float, size: tuple[int, int]
) -> None:
    view.resize(*size)
    view.show_metrics(run())
    view.show_foreground_loss(foreground)
    view.show_theory_loss(0.2933)
    view.mark_complete(24.0)
    view.show_metrics(run(end=24.5))
    qtbot.wait(30)
    stamp = view._complete_line.label
    for line in view._level_lines.values():
        assert not stamp.sceneBoundingRect().intersects(line.label.sceneBoundingRect())


@pytest.mark.parametrize("is_log", [False, True])
def test_the_lazy_reference_is_drawn_on_demand_and_inside_the_plot(view: LossView, qtbot: QtBot, is_log: bool) -> None:
    view.show_metrics(run())
    view.log_scale.setChecked(is_log)
    view.show_lazy_loss(np.array([0.0, np.inf]), np.array([2.0, 2.0]), "Gaussian process")
    chip = view.chips["lazy"]
    assert chip.isEnabled() and chip.detail == "2.0000" and not view._lazy_curve.isVisible()
    qtbot.mouseClick(chip, Qt.MouseButton.LeftButton)
    assert view._lazy_curve.isVisible()
    low, high = view.plot.getViewBox().viewRange()[1]
    assert low < (np.log10(2.0) if is_log else 2.0) < high
    view.clear()
    assert not chip.isEnabled() and not view._lazy_curve.isVisible()


def finite_run() -> dict[str, np.ndarray]:
    return run() | {"test_loss": run()["loss"] + 0.1}


def test_the_test_loss_is_a_curve_of_its_own_where_there_is_one(view: LossView) -> None:
    view.show_metrics(run())
    assert view.chips["test"].isHidden() and not view._test_curve.isVisible()
    view.show_metrics(finite_run())
    assert not view.chips["test"].isHidden() and view.chips["test"].detail == "0.3945"
    x, y = view._test_curve.getOriginalDataset()
    assert np.array_equal(x, run()["time"]) and np.array_equal(y, finite_run()["test_loss"])
    assert view._test_curve.opts["pen"].color() != view._curve.opts["pen"].color()
    view.chips["test"].click()
    assert not view._test_curve.isVisible() and view._curve.isVisible()
    view.clear()
    assert view.chips["test"].isHidden()


def test_the_axis_holds_the_test_loss_too(view: LossView) -> None:
    view.show_metrics(run() | {"test_loss": np.full(300, 2.5)})
    low, high = view._box.viewRange()[1]
    assert low < 0.2945 and high > 2.5


def test_the_end_of_the_recipe_is_written_below_the_gap(view: LossView) -> None:
    view.show_metrics(run())
    view.mark_complete(12.0)
    label = view._complete_line.label
    assert label.orthoPos > 0.9
    view.show_gap(0.0770, 0.0003)
    view.show_metrics(run())
    assert label.orthoPos < 0.9


def test_the_gap_is_written_with_as_many_decimals_as_its_error_has(view: LossView) -> None:
    assert view.gap.isHidden()
    view.show_gap(0.07956, 0.00066)
    assert view.gap.text() == "test − train 0.07956 ± 0.00066"
    view.show_gap(-0.0123, 0.04)
    assert view.gap.text() == "test − train −0.012 ± 0.040"
    view.show_gap(0.0796, float("nan"))
    assert view.gap.text() == "test − train 0.0796"
    assert view.plot.rect().contains(view.gap.geometry())
    view.show_gap(None, None)
    assert view.gap.isHidden()


def test_theory_on_unseen_data_is_a_line_of_its_own_switched_with_the_test_curve(view: LossView) -> None:
    view.show_metrics(finite_run())
    view.show_theory_loss(0.26)
    view.show_theory_test_loss(0.3423)
    line = view._level_lines["theory, test"]
    assert line.isVisible() and line.value() == pytest.approx(0.3423)
    assert line.label.toPlainText() == "theory, test 0.3423"
    view.chips["test"].click()
    assert not line.isVisible() and view._level_lines["theory"].isVisible()
    view.show_theory_test_loss(None)
    view.chips["test"].click()
    assert not line.isVisible()


@pytest.mark.parametrize("width", [520, 620, 1100])
def test_the_legend_fits_its_line_and_gives_up_numbers_before_names(view: LossView, qtbot: QtBot, width: int) -> None:
    view.resize(width, 220)
    view.show_metrics(finite_run())
    view.show_foreground_loss(0.2987)
    view.show_theory_loss(0.2933)
    view.show_lazy_loss(np.array([0.0, 24.0]), np.array([0.57, 0.57]))
    QApplication.processEvents()
    for chip in view.chips.values():
        assert chip.width() >= chip.sizeHint().width()
    is_brief = view.chips["background"].sizeHint().width() < view.chips["background"].full_width()
    assert is_brief == (width < 800)
