"""The sweep tab, driven with mouse and keys: fields by pointing, points that come in, cancel, resume, clicks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from stored_runs import SMALL, make_run

from app.sweeping import Sweeping, SweepOrder
from app.theme import DARK
from app.window import MainWindow
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.studies.grid import parse_axis, plan_sweep
from mft_engine.studies.sweep import run_sweep
from mft_engine.studies.sweep_table import Sweep, open_sweep, read_table

LEFT = Qt.MouseButton.LeftButton
SCALES = "0.0005:0.05:log3"


def short(**changes: object) -> Recipe:
    return load_recipe("clover").replace(SMALL | {"foreground.n_neurons": 16, "training.n_steps": 50} | changes)


def invented(sweep_of: Recipe, folder: Path, n_rows: int | None = None, *texts: str) -> Sweep:
    """A sweep whose numbers tell where they belong: loss = place of the first value + seed / 10."""
    axes = tuple(parse_axis(text, sweep_of) for text in texts)
    points = plan_sweep(sweep_of, axes, 2)
    rows = []
    for point in points[:n_rows]:
        place = axes[0].values.index(point.values[0])
        head = {"seed": point.recipe.seed, **dict(zip((a.path for a in axes), point.values, strict=True))}
        loss = 1.0 + place + point.recipe.seed / 10
        run = str(folder / f"run{place}-{point.recipe.seed}")
        theory = {"theory.loss": 1.0 + place}
        rows.append(head | {"background.loss": loss, "run_dir": run, "failure": None} | theory)
    return Sweep(axes, tuple(rows), len(points), folder)


def test_a_field_is_chosen_by_pointing_at_its_control_which_does_nothing_else_meanwhile(
    window: MainWindow, qtbot: Any
) -> None:
    window.docks.bring_up("sweep")
    view, before = window.sweep_view, window.session.recipe
    field = view.fields[0]
    qtbot.mouseClick(field.point, LEFT)
    assert field.point.isChecked() and "Esc gives up" in window.status_line.sentence.text()
    row = window.experiment.rows["regularisation.scale"]
    qtbot.mouseClick(row.control.log_slider.slider, LEFT, pos=QPoint(150, 8))
    assert field.path.currentData() == "regularisation.scale" and field.values.text() == "1e-4:0.1:log8"
    assert window.session.recipe == before and not field.point.isChecked()
    qtbot.mouseClick(view.fields[1].point, LEFT)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not view.fields[1].point.isChecked() and view.fields[1].path.currentData() == ""
    # Now the controls answer again.
    qtbot.mouseClick(row.control.log_slider.slider, LEFT, pos=QPoint(150, 8))
    assert window.session.recipe != before


def test_what_cannot_be_swept_is_one_sentence_and_starts_nothing(window: MainWindow, qtbot: Any) -> None:
    window.docks.bring_up("sweep")
    view = window.sweep_view
    qtbot.mouseClick(view.start, LEFT)
    assert "at least one field" in view.sentence.text()
    for values, words in (
        ("1:2", "should be a valid number"),
        ("1:2:3", "write path="),
        ("-1, 1", "scale"),
        ("0:1:log3", "START and STOP above 0"),
    ):
        view.choose(0, "regularisation.scale", values)
        qtbot.mouseClick(view.start, LEFT)
        assert words in view.sentence.text() and view.sentence.property("role") == "fault", view.sentence.text()
    assert not window.sweeping.is_running and not window.settings.sweeps_folder.exists()


def test_points_draw_means_bars_and_theory_and_a_click_on_a_dot_names_its_run(
    window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    window.docks.bring_up("sweep")
    phase, recipe = window.sweep_view.phase, short()
    sweep = invented(recipe, tmp_path, None, f"regularisation.scale={SCALES}")
    window.sweeping.changed.emit(sweep, recipe)
    (curves,) = phase._curves
    assert np.allclose(curves["means"].getData()[1], [1.05, 2.05, 3.05])
    assert np.allclose(curves["line"].getData()[1], [1, 2, 3])
    # Two seeds 0.1 apart: the standard error of their mean is 0.05, and a bar is two of them.
    assert np.allclose(curves["bars"].opts["height"], 0.1)
    assert len(curves["dots"].getData()[0]) == 6
    qtbot.wait(20)
    box = phase.items[0].getViewBox()
    place = box.mapViewToScene(QPointF(np.log10(0.005), 2.1))
    with qtbot.waitSignal(phase.run_picked) as picked:
        qtbot.mouseClick(phase.plots.viewport(), LEFT, pos=phase.plots.mapFromScene(place))
    assert picked.args == [str(tmp_path / "run1-1")]
    phase._moved(place)
    assert "regularisation.scale = 0.005, seed 1: loss E (y − f)² 2.10" in phase.hint.text()


def test_two_fields_make_a_heat_map_that_grows(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    window.docks.bring_up("sweep")
    phase, recipe = window.sweep_view.phase, short()
    texts = (f"regularisation.scale={SCALES}", "training.temperature=0.01:0.1:lin2")
    for n_rows, n_cells in ((4, 2), (12, 6)):
        window.sweeping.changed.emit(invented(recipe, tmp_path, n_rows, *texts), recipe)
        image = phase._curves[0]["image"].image
        assert image.shape == (3, 2) and np.isfinite(image).sum() == n_cells
    assert np.allclose(image, [[1.05, 1.05], [2.05, 2.05], [3.05, 3.05]])
    # Which colour is which number.
    title, table = phase.items[0].titleLabel.text, phase._curves[0]["image"].lut
    for number, colour in (("1.1", table[0]), ("3.0", table[-1])):
        assert f"rgb{tuple(int(part) for part in colour[:3])}'>■</span> {number}" in title
    qtbot.wait(20)
    place = phase.items[0].getViewBox().mapViewToScene(QPointF(2, 1))
    with qtbot.waitSignal(phase.run_picked) as picked:
        qtbot.mouseClick(phase.plots.viewport(), LEFT, pos=phase.plots.mapFromScene(place))
    assert picked.args == [str(tmp_path / "run2-0")]


@pytest.mark.parametrize("second", [[], ["training.temperature=0.01:0.1:lin2"]])
def test_what_the_seeds_say_together_is_shown_and_rejected_points_get_a_cross(
    window: MainWindow, tmp_path: Path, qtbot: Any, second: list[str]
) -> None:
    window.docks.bring_up("sweep")
    phase, recipe = window.sweep_view.phase, short()
    sweep = invented(recipe, tmp_path, None, f"regularisation.scale={SCALES}", *second)
    window.sweeping.changed.emit(sweep, recipe)
    assert phase.together.isHidden() and not len(phase._curves[0]["crosses"].getData()[0])
    rest = {axis.path: axis.values[1] for axis in sweep.axes[1:]}
    told = [
        {
            "regularisation.scale": scale,
            **rest,
            "verdict": verdict,
            "n_runs": 2,
            "p_value": 0.0,
            "sentence": f"The seeds & all: {verdict}.",
        }
        for scale, verdict in zip(sweep.axes[0].values, ("consistent", "inconsistent", None), strict=True)
    ]
    window.sweeping.changed.emit(replace(sweep, pooled=tuple(told)), recipe)
    words = "Together: 1 consistent, 1 inconsistent, 1 without verdict"
    assert not phase.together.isHidden() and phase.together.text() == words
    x, y = phase._curves[0]["crosses"].getData()
    at = (1, 1) if second else (np.log10(0.005), 2.05)
    assert np.allclose([x, y], np.array(at)[:, None])
    qtbot.wait(20)
    place = phase.items[0].getViewBox().mapViewToScene(QPointF(at[0], at[1] if second else 2.1))
    phase._moved(place)
    assert phase.together.text() == "2 runs together: inconsistent (p < 1 × 10⁻³⁰⁰)"
    assert phase.plots.toolTip() == "<qt>The seeds &amp; all: inconsistent.</qt>"
    phase._moved(QPointF(-50, -50))
    assert phase.together.text() == words and not phase.plots.toolTip()
    phase.apply_theme(DARK)
    assert len(phase._curves[0]["crosses"].getData()[0]) == 1
    window.sweeping.changed.emit(sweep, recipe)
    assert phase.together.isHidden() and not len(phase._curves[0]["crosses"].getData()[0])


def test_a_sweep_is_started_cancelled_resumed_and_clicked_and_its_table_is_that_of_the_command_line(
    window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    recipe = short()
    window.session.open_recipe(recipe)
    window.docks.bring_up("sweep")
    view = window.sweep_view
    view.choose(0, "regularisation.scale", SCALES)
    view.seeds.setValue(1)
    view.workers.setValue(1)
    with qtbot.waitSignal(window.sweeping.changed, timeout=60_000, check_params_cb=lambda s, _: len(s.rows) == 1):
        qtbot.mouseClick(view.start, LEFT)
    assert view.cancel.isEnabled() and not view.start.isEnabled()
    with qtbot.waitSignal(window.sweeping.ended, timeout=60_000) as ended:
        qtbot.mouseClick(view.cancel, LEFT)
    assert "Stopped" in ended.args[0]
    if ended.args[1]:  # all three points may have been faster than the click
        with qtbot.waitSignal(window.sweeping.ended, timeout=60_000) as ended:
            qtbot.mouseClick(view.resume, LEFT)
        assert "Done: 3 of 3 points" in view.sentence.text()
    assert not view.resume.isEnabled()
    (folder,) = window.settings.sweeps_folder.iterdir()
    axes = [parse_axis(f"regularisation.scale={SCALES}", recipe)]
    other = run_sweep(recipe, axes, 1, tmp_path / "cli", n_workers=1)
    columns = ("digest", "background.loss", "comparison.p_value", "theory.loss")
    mine, theirs = ([tuple(row[c] for c in columns) for row in rows] for rows in (read_table(folder), other.rows))
    assert mine == [tuple(json.loads(json.dumps(value)) for value in row) for row in theirs]
    # The newest sweep can be opened again, and one of its points is a run like any other.
    assert view.stored.itemData(1) == folder and open_sweep(folder).recipe.digest == recipe.digest
    opened: list[Path] = []
    window.commands.open_path = opened.append  # type: ignore[method-assign]
    phase = view.phase
    qtbot.wait(50)
    item, means = phase.items[0], phase._curves[0]["means"].getData()
    place = item.getViewBox().mapViewToScene(QPointF(means[0][1], means[1][1]))
    with qtbot.waitSignal(phase.run_picked) as picked:
        qtbot.mouseClick(phase.plots.viewport(), LEFT, pos=phase.plots.mapFromScene(place))
    assert load_recipe(picked.args[0]).regularisation.scale == pytest.approx(0.005)
    assert Path(picked.args[0]).parent == folder / "runs" and folder / "runs" in window.settings.stores


def test_a_stored_sweep_is_opened_with_its_fields_and_can_be_gone_on_with(
    window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    recipe = short()
    axes = [parse_axis("regularisation.scale=0.01,0.02", recipe)]
    folder = window.settings.sweeps_folder / "mine"
    run_sweep(recipe, axes, 1, folder, n_workers=1)
    lines = (folder / "table.csv").read_text().splitlines()
    (folder / "table.csv").write_text("\n".join(lines[:2]) + "\n")
    window.docks.bring_up("sweep")
    view = window.sweep_view
    qtbot.waitUntil(lambda: view.stored.count() == 2)
    view.stored.setCurrentIndex(1)
    view.stored.activated.emit(1)
    assert view.axes == {"regularisation.scale": "0.01, 0.02"} and "1 of 2 points" in view.sentence.text()
    assert view.seeds.value() == 1
    assert view.resume.isEnabled()
    (folder / "sweep.json").write_text("{}")
    view.stored.activated.emit(1)
    assert view.sentence.property("role") == "fault" and "sweep.json" in view.sentence.text()


@pytest.mark.slow
def test_eight_by_four_clovers_are_started_cancelled_resumed_and_clicked(window: MainWindow, qtbot: Any) -> None:
    window.session.open_recipe(short())
    window.docks.bring_up("sweep")
    view = window.sweep_view
    view.choose(0, "regularisation.scale", "0.0003:0.1:log8")
    view.choose(1, "training.temperature", "0.005:0.05:log4")
    view.seeds.setValue(1)
    view.workers.setValue(2)
    with qtbot.waitSignal(window.sweeping.changed, timeout=250_000, check_params_cb=lambda s, _: len(s.rows) >= 5):
        qtbot.mouseClick(view.start, LEFT)
    with qtbot.waitSignal(window.sweeping.ended, timeout=60_000) as ended:
        qtbot.mouseClick(view.cancel, LEFT)
    kept = window.sweeping.sweep
    assert ended.args[0].startswith("Stopped") and ended.args[1] and kept is not None and 5 <= len(kept.rows) < 32
    with qtbot.waitSignal(window.sweeping.ended, timeout=280_000) as ended:
        qtbot.mouseClick(view.resume, LEFT)
    assert "Done: 32 of 32 points" in view.sentence.text() and not ended.args[1]
    image = view.phase._curves[0]["image"].image
    assert image.shape == (8, 4) and np.isfinite(image).all()
    qtbot.wait(50)
    opened: list[Path] = []
    window.commands.open_path = opened.append  # type: ignore[method-assign]
    place = view.phase.items[0].getViewBox().mapViewToScene(QPointF(6, 2))
    with qtbot.waitSignal(view.phase.run_picked) as picked:
        qtbot.mouseClick(view.phase.plots.viewport(), LEFT, pos=view.phase.plots.mapFromScene(place))
    recipe, (first, second) = load_recipe(picked.args[0]), kept.axes
    assert (recipe.regularisation.scale, recipe.training.temperature) == (first.values[6], second.values[2])


def test_networks_are_pulled_up_and_down_from_the_tab_and_both_ways_are_drawn(
    window: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    window.docks.bring_up("sweep")
    view, recipe = window.sweep_view, short(**{"training.n_steps": 0, "training.time": 0.2})
    qtbot.mouseClick(view.both_ways, LEFT)
    assert not view.refine.isEnabled() and window.saved.capture().sweep.both_ways
    axis = parse_axis("regularisation.scale=0.001,0.01,0.1", recipe)
    head = {"seed": 0, "failure": None, "digest": ""}
    rows = [head | {"regularisation.scale": scale, "way": way, "background.loss": loss, "run_dir": f"/{way}{scale}"}
            for way, losses in (("up", (1.0, 2.0, 3.0)), ("down", (1.5, 2.5, 3.0)))
            for scale, loss in zip(axis.values, losses, strict=True)]  # fmt: skip
    window.sweeping.changed.emit(Sweep((axis,), tuple(rows), 6, tmp_path, True), recipe)
    curves = view.phase._curves[0]
    assert list(curves["means"].getData()[1]) == [1.0, 2.0, 3.0]
    assert list(curves["back"].getData()[1]) == [1.5, 2.5, 3.0]
    window.session.open_recipe(recipe)
    view.choose(0, "network.n_neurons", "16, 32")
    qtbot.mouseClick(view.start, LEFT)
    assert "can change while" in view.sentence.text() and view.sentence.property("role") == "fault"


@pytest.mark.slow
def test_a_closed_window_ends_its_sweep_within_seconds_and_it_can_be_resumed(tmp_path: Path, qtbot: Any) -> None:
    sweeping = Sweeping(tmp_path)
    recipe = short(**{"training.n_steps": 20_000})
    with qtbot.waitSignal(sweeping.progress, timeout=60_000, check_params_cb=lambda f, text: "points" in text):
        sweeping.start(SweepOrder(recipe, {"regularisation.scale": SCALES}, 1, 1))
        qtbot.waitUntil(lambda: any(tmp_path.glob("*/runs/*/recipe.toml")), timeout=60_000)
        sweeping.resume()  # nothing: it is running
    sweeping.close()
    (folder,) = tmp_path.iterdir()
    assert len(read_table(folder)) < 3
    assert sweeping.open(folder) and sweeping.sweep is not None and sweeping.sweep.n_points == 3


def test_a_run_made_elsewhere_is_not_in_a_sweeps_way(tmp_path: Path, qtbot: Any) -> None:
    make_run(tmp_path / "clover-scale")
    sweeping = Sweeping(tmp_path)
    told: list[str] = []
    sweeping.refused.connect(told.append)
    assert sweeping.stored() == [] and not sweeping.open(tmp_path / "clover-scale") and "sweep.json" in told[0]
    sweeping.close()
