"""The runs tab, driven with mouse and keys: listed, filtered, sorted, named, thrown away, opened, compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QLineEdit
from stored_runs import copies, make_run

from app.keepers import runs as runs_keeper
from app.session import Session
from app.views.compare_runs import CompareDialog
from app.views.run_table import COLUMNS
from app.window import MainWindow
from mft_engine.runs.folder import Run
from mft_engine.runs.marks import Marks, read_marks

LEFT, CONTROL, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.NoModifier
N_RUNS = 9


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("one"))


@pytest.fixture
def stored(window: MainWindow, one: Path) -> list[Path]:
    return copies(one, window.settings.runs_folder, N_RUNS)


@pytest.fixture
def listed(window: MainWindow, stored: list[Path], qtbot: Any) -> Iterator[list[Path]]:
    """The tab is opened by its tab's own place in the bar, and every run is there."""
    window.docks.bring_up("runs")
    qtbot.waitUntil(lambda: window.runs.model.n_all == N_RUNS and window.runs._is_complete)
    yield stored


def column(name: str) -> int:
    return [c.name for c in COLUMNS].index(name)


def cell(window: MainWindow, folder: Path, name: str) -> QPoint:
    """The middle of a cell, scrolled into view."""
    model, table = window.runs.model, window.runs.table
    place = model.place_of(folder)
    assert place is not None
    index = model.index(place, column(name))
    table.scrollTo(index)
    return table.visualRect(index).center()


def click(window: MainWindow, folder: Path, qtbot: Any, modifier: Qt.KeyboardModifier = NONE) -> None:
    place = cell(window, folder, "title")
    qtbot.mouseClick(window.runs.table.viewport(), LEFT, modifier, place)


def shown(window: MainWindow, name: str) -> list[str]:
    model = window.runs.model
    return [model.data(model.index(place, column(name))) for place in range(model.rowCount())]


def test_nothing_is_read_before_somebody_looks(window: MainWindow, stored: list[Path], qtbot: Any) -> None:
    qtbot.wait(50)
    assert window.runs.model.n_all == 0
    window.docks.bring_up("runs")
    qtbot.waitUntil(lambda: window.runs.model.n_all == N_RUNS)
    qtbot.waitUntil(lambda: window.runs.count.text() == "9 runs")


def test_the_newest_run_is_first_and_a_heading_sorts_by_its_column(
    window: MainWindow, listed: list[Path], qtbot: Any
) -> None:
    assert shown(window, "title") == [f.name for f in reversed(listed)]
    header = window.runs.table.horizontalHeader()
    loss = QPoint(header.sectionViewportPosition(column("loss")) + 20, header.height() // 2)
    qtbot.mouseClick(header.viewport(), LEFT, pos=loss)
    losses = [float(text) for text in shown(window, "loss")]
    assert losses == sorted(losses) and len(set(losses)) > 1
    qtbot.mouseClick(header.viewport(), LEFT, pos=loss)
    assert [float(text) for text in shown(window, "loss")] == sorted(losses, reverse=True)


def test_typing_filters_by_every_word(window: MainWindow, listed: list[Path], qtbot: Any) -> None:
    window.runs.table.setFocus()
    qtbot.keyClick(window.runs.table, Qt.Key.Key_F, CONTROL)
    assert window.runs.search.hasFocus()
    qtbot.keyClicks(window.runs.search, "inconsistent")
    assert window.runs.count.text() == "3 of 9 runs" and set(shown(window, "verdict")) == {"inconsistent"}
    qtbot.keyClicks(window.runs.search, " 0005")
    assert shown(window, "title") == ["clover-0005"]
    qtbot.keyClicks(window.runs.search, " nothing")
    assert window.runs.model.rowCount() == 0
    window.runs.search.clear()
    assert window.runs.count.text() == "9 runs"


def test_f2_renames_and_undo_brings_the_folders_name_back(window: MainWindow, listed: list[Path], qtbot: Any) -> None:
    click(window, listed[4], qtbot)
    qtbot.keyClick(window.runs.table, Qt.Key.Key_F2)
    editor = window.runs.table.findChild(QLineEdit)
    assert editor.text() == "clover-0004"
    editor.selectAll()
    qtbot.keyClicks(editor, "The Best")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: read_marks(listed[4]).name == "The Best")
    qtbot.waitUntil(lambda: "The Best" in shown(window, "title"))
    assert window.session.undo_stack.undoText() == "rename clover-0004"
    qtbot.keyClicks(window.runs.search, "best")
    assert shown(window, "title") == ["The Best"]
    window.runs.search.clear()
    window.runs.table.setFocus()
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: read_marks(listed[4]).is_empty)
    qtbot.waitUntil(lambda: "clover-0004" in shown(window, "title"))


def test_tags_and_notes_are_typed_into_their_cells(window: MainWindow, listed: list[Path], qtbot: Any) -> None:
    for name, text in (("tag", "paper, round #paper"), ("note", "why is it round?")):
        click(window, listed[2], qtbot)
        window.runs.actions_by_name[name].trigger()
        editor = window.runs.table.findChild(QLineEdit)
        qtbot.keyClicks(editor, text)
        qtbot.keyClick(editor, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: window.runs.table.findChild(QLineEdit) is None)
        qtbot.waitUntil(lambda name=name: bool(shown(window, "tags" if name == "tag" else "note")[6]))
    assert read_marks(listed[2]) == Marks(tags=("paper", "round"), note="why is it round?")
    assert [row.folder for row in window.runs.picked] == [listed[2]]


def test_delete_throws_the_picked_runs_away_and_undo_takes_them_back(
    window: MainWindow, listed: list[Path], qtbot: Any
) -> None:
    click(window, listed[7], qtbot)
    click(window, listed[3], qtbot, CONTROL)
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: window.runs.model.n_all == N_RUNS - 2)
    assert not listed[3].exists() and not listed[7].exists()
    assert window.session.undo_stack.undoText() == "trash 2 runs"
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: window.runs.model.n_all == N_RUNS)
    assert Run(listed[3]).is_complete and Run(listed[7]).is_complete


def test_a_double_click_opens_the_run_and_the_run_on_the_screen_cannot_be_thrown_away(
    window: MainWindow, listed: list[Path], engine: FakeEngine, qtbot: Any
) -> None:
    place = cell(window, listed[5], "title")
    viewport = window.runs.table.viewport()
    with qtbot.waitSignal(window.session.experiment_changed) as built:
        qtbot.mouseClick(viewport, LEFT, pos=place)
        qtbot.mouseDClick(viewport, LEFT, pos=place)
    assert built.args[0].folder == listed[5] and window.session.recipe.seed == 5
    qtbot.waitUntil(lambda: window.runs.model.current == listed[5])
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Delete)
    assert "is on the screen" in window.status_line.sentence.text() and listed[5].exists()
    n_built = len(engine.experiments)
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Return)
    assert "on the screen already" in window.status_line.sentence.text() and len(engine.experiments) == n_built


def test_picked_runs_lay_their_loss_curves_over_each_other(window: MainWindow, listed: list[Path], qtbot: Any) -> None:
    assert window.runs.no_curves.isVisibleTo(window.runs)
    click(window, listed[8], qtbot)
    click(window, listed[6], qtbot, CONTROL)
    items = window.runs.plot.getPlotItem().listDataItems
    qtbot.waitUntil(lambda: len(items()) == 2)
    outcome = Run(listed[8]).outcome
    assert list(items()[0].xData) == list(outcome.metrics["time"])
    assert not window.runs.no_curves.isVisibleTo(window.runs)
    colours = {item.opts["pen"].color().name() for item in items()}
    icon = Qt.ItemDataRole.DecorationRole
    marks = [window.runs.model.data(window.runs.model.index(place, 0), icon) for place in range(N_RUNS)]
    assert {mark.name() for mark in marks if mark is not None} == colours and len(colours) == 2


def test_picked_runs_lay_their_clouds_over_each_other_in_the_colours_of_the_table(
    window: MainWindow, listed: list[Path], qtbot: Any
) -> None:
    view = window.runs
    click(window, listed[8], qtbot)
    click(window, listed[6], qtbot, CONTROL)
    qtbot.mouseClick(view.as_clouds, LEFT)
    qtbot.waitUntil(lambda: len(view.clouds.drawn) == 2)
    theta = Run(listed[8]).outcome.background.clouds[0].theta
    x, y = view.clouds.drawn[listed[8]].getData()
    assert np.allclose(x, theta[:, 0]) and np.allclose(y, theta[:, 1])
    (low, high), _ = view.clouds.getViewBox().viewRange()
    assert low < np.quantile(x, 0.01) and high > np.quantile(x, 0.99) and not view.clouds.empty.isVisibleTo(view)
    colours = {item.opts["brush"].color().name() for item in view.clouds.drawn.values()}
    icon = Qt.ItemDataRole.DecorationRole
    marks = [view.model.data(view.model.index(place, 0), icon) for place in range(N_RUNS)]
    assert {mark.name() for mark in marks if mark is not None} == colours
    qtbot.mouseClick(view.as_clouds, LEFT)
    assert view.overlay.currentWidget() is view.plot


def test_runs_that_are_dragged_onto_the_table_are_listed_and_its_own_are_left_alone(
    window: MainWindow, listed: list[Path], one: Path, tmp_path: Path, qtbot: Any
) -> None:
    (mine,) = copies(one, tmp_path / "mine", 1)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(mine))])
    viewport, copy, no_key = window.runs.table.viewport(), Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(9, 9), copy, mime, LEFT, no_key)
    QApplication.sendEvent(viewport, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(viewport, QDropEvent(QPointF(9, 9), copy, mime, LEFT, no_key))
    qtbot.waitUntil(lambda: window.runs.model.known(mine) is not None)
    assert mine.parent in window.settings.stores and mine.exists()


def test_two_picked_runs_are_compared_with_linked_axes_and_the_difference_of_their_recipes(
    window: MainWindow, stored: list[Path], one: Path, qtbot: Any
) -> None:
    other = make_run(window.settings.runs_folder, **{"regularisation.scale": 0.1, "seed": 3})
    window.docks.bring_up("runs")
    qtbot.waitUntil(lambda: window.runs.model.n_all == N_RUNS + 1 and window.runs._is_complete)
    click(window, stored[0], qtbot)
    assert not window.runs.buttons["compare"].isEnabled()
    click(window, other, qtbot, CONTROL)
    with qtbot.waitSignal(window.library.compared, timeout=20_000) as answer:
        qtbot.mouseClick(window.runs.buttons["compare"], LEFT)
    assert {path for path, *_ in answer.args[0].differences} == {"regularisation.scale", "seed"}
    dialog = window.findChild(CompareDialog)
    assert dialog.isVisible() and dialog.headline.text() == "Different laws"
    assert "as far apart as chance" in dialog.sentence.text()
    texts = {dialog.table.item(row, 0).text() for row in range(dialog.table.rowCount())}
    assert texts == {"regularisation.scale", "seed"}
    first, second = (plot.getViewBox() for plot in dialog.plots)
    first.setRange(xRange=(-1, 1), yRange=(-1, 1), padding=0)
    QApplication.processEvents()
    # A column may be a few pixels of some 400 wider than the other, and scales are the same.
    assert second.viewRange()[0] == pytest.approx(first.viewRange()[0], rel=0.03)
    dialog.close()


def test_a_comparison_tells_how_far_it_is_and_esc_ends_it(
    window: MainWindow, listed: list[Path], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mft_engine.runs.compare as comparing

    go_on, parts = threading.Event(), iter([0.25, 0.5, 0.75])

    def slowly(first: object, second: object) -> Iterator[float]:
        for part in parts:
            yield part
            assert go_on.wait(20)
            go_on.clear()

    monkeypatch.setattr(comparing, "comparing", slowly)
    line, cancel, answers = window.status_line, window.actions_by_name["cancel"], []
    window.library.compared.connect(answers.append)
    click(window, listed[0], qtbot)
    click(window, listed[1], qtbot, CONTROL)
    assert not cancel.isEnabled()
    qtbot.mouseClick(window.runs.buttons["compare"], LEFT)
    qtbot.waitUntil(lambda: line.bar.value() == 250)
    assert line.bar.isVisible() and cancel.isEnabled() and line.part.text() == "Comparing the clouds"
    go_on.set()
    qtbot.waitUntil(lambda: line.bar.value() == 500)
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not line.bar.isVisible() and not cancel.isEnabled()
    go_on.set()
    # What is asked next comes after it, and nothing comes of it.
    with qtbot.waitSignal(window.library.curves_ready, timeout=20_000):
        window.library.read_curves([listed[0]])
    assert not answers and next(parts, None) is None
    assert not line.bar.isVisible() and not window.findChildren(CompareDialog)


def test_a_dragged_run_is_its_folder_and_the_listing_ends_with_the_window(
    window: MainWindow, listed: list[Path], qtbot: Any
) -> None:
    click(window, listed[1], qtbot)
    mime = window.runs.model.mimeData(window.runs.table.selectionModel().selectedRows())
    assert [Path(url.toLocalFile()) for url in mime.urls()] == [listed[1]]
    window.library.refresh()
    window.close()
    window.library.refresh()  # after the end: nothing, and no complaint


def test_the_row_of_a_run_that_keeps_itself_follows_it(
    window: MainWindow, listed: list[Path], make_session: Callable[..., Session], qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(runs_keeper, "FOLLOW_MILLISECONDS", 10)
    recipe = listed[0] / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 77", 1))
    window.session.run_kept.emit(listed[0])
    qtbot.waitUntil(lambda: "77" in shown(window, "seed"), timeout=3000)


def test_another_folders_runs_are_listed_from_then_on(
    window: MainWindow, listed: list[Path], one: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine,) = copies(one, tmp_path / "mine", 1)
    monkeypatch.setattr("app.keepers.runs.QFileDialog.getExistingDirectory", lambda *arguments: str(tmp_path / "mine"))
    qtbot.mouseClick(window.runs.buttons["folder"], LEFT)
    qtbot.waitUntil(lambda: window.runs.model.known(mine) is not None)
    assert tmp_path / "mine" in type(window.settings)(window.settings.folder).stores


def test_watched_trainings_stand_among_the_runs_are_opened_and_compared(
    window: MainWindow, one: Path, qtbot: Any
) -> None:
    import torch
    from torch import nn

    import mft_engine as mft

    store = window.settings.runs_folder
    (own,) = copies(one, store, 1)
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], seed=seed)
        for _ in range(5):
            model(torch.ones(4, 2)).square().mean().backward()
            optimizer.step()
        watch.save(store / f"mine{seed}")
    window.docks.bring_up("runs")
    qtbot.waitUntil(lambda: window.runs.model.n_all == 3 and window.runs._is_complete)
    assert sorted(shown(window, "state")) == ["complete", "watched", "watched"]
    click(window, store / "mine1", qtbot)
    click(window, store / "mine2", qtbot, CONTROL)
    with qtbot.waitSignal(window.library.compared, timeout=20_000) as answer:
        qtbot.mouseClick(window.runs.buttons["compare"], LEFT)
    assert [path for path, *_ in answer.args[0].differences] == ["seed"] and len(answer.args[0].comparisons) == 1
    click(window, own, qtbot)
    click(window, store / "mine2", qtbot, CONTROL)
    with qtbot.waitSignal(window.library.compared, timeout=20_000) as answer:
        qtbot.mouseClick(window.runs.buttons["compare"], LEFT)
    assert "differ in kind" in answer.args[0].fault
    click(window, store / "mine1", qtbot)
    qtbot.mouseDClick(window.runs.table.viewport(), LEFT, pos=cell(window, store / "mine1", "title"))
    qtbot.waitUntil(lambda: bool(window.commands.watched))
    (opened,) = window.commands.watched
    assert opened.folder == (store / "mine1").resolve()
    qtbot.waitUntil(lambda: opened.run is not None, timeout=20_000)
    for other in (opened, *window.findChildren(CompareDialog)):
        other.close()
