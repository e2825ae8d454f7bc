"""Files dropped on the window, and the question which columns are to be learnt."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QComboBox, QWidget
from pytestqt.qtbot import QtBot

from app.engine.loading import TorchEngine
from app.engine.messages import DataPreview, Reading
from app.panels.data_dialog import DataDialog
from app.session import Session
from app.shell.dropping import is_data_file, what_it_becomes
from app.window import MainWindow
from mft_engine.recipe import Recipe
from mft_engine.sections import EngineSection

COPY, LEFT, NO_KEY = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
TABLE = "x1,x2,y\n" + "\n".join(f"{k},{k * k},{-k}" for k in range(60)) + "\n"


def files(*paths: Path) -> QMimeData:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    return mime


def hover(target: QWidget, mime: QMimeData) -> QDragEnterEvent:
    event = QDragEnterEvent(QPoint(9, 9), COPY, mime, LEFT, NO_KEY)
    QApplication.sendEvent(target, event)
    return event


def drop(target: QWidget, mime: QMimeData) -> None:
    hover(target, mime)  # Qt drops on what has taken the drag
    QApplication.sendEvent(target, QDropEvent(QPointF(9, 9), COPY, mime, LEFT, NO_KEY))


def written(folder: Path, name: str, text: str = TABLE) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def dialog_of(window: MainWindow, qtbot: QtBot) -> DataDialog:
    qtbot.waitUntil(lambda: bool(window.findChildren(DataDialog)), timeout=30_000)
    return window.findChildren(DataDialog)[0]


# ---- the frame ------------------------------------------------------------------------------------------------------


def test_a_file_is_taken_over_every_part_of_the_window_and_the_frame_says_what_it_becomes(
    window: MainWindow, tmp_path: Path
) -> None:
    mime = files(written(tmp_path, "points.csv"))
    places = [
        window.loss.plot.viewport(),
        window.experiment.formula.entry,
        window.experiment.rows["seed"].control,
        window.log_panel,
        window.statusBar(),
        *(child for child in window.cloud.findChildren(QWidget) if child.isVisible()),
    ]
    for place in places:
        assert hover(place, mime).isAccepted(), place
        assert window.drop_frame.isVisible()
        assert (window.drop_frame.title, window.drop_frame.hint) == ("Learn from these data", "points.csv")
        assert window.drop_frame.size() == window.size()
        QApplication.sendEvent(window, QDragLeaveEvent())
        assert not window.drop_frame.isVisible()


def test_the_frame_is_seen_and_lets_the_mouse_through(window: MainWindow, tmp_path: Path) -> None:
    before = window.grab().toImage()
    hover(window, files(written(tmp_path, "points.csv")))
    after = window.grab().toImage()
    corner = (before.width() // 2, 8 * before.height() // window.height())
    assert before.pixelColor(*corner) != after.pixelColor(*corner)
    assert window.drop_frame.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)


def test_text_that_is_dragged_is_none_of_the_windows_business(window: MainWindow) -> None:
    mime = QMimeData()
    mime.setText("x1*x2")
    assert not hover(window, mime).isAccepted() and not window.drop_frame.isVisible()


def test_what_a_path_becomes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert what_it_becomes(run)[0] == "" and "recipe.toml" in what_it_becomes(run)[1]
    (run / "recipe.toml").write_text(Recipe().to_toml())
    assert what_it_becomes(run) == ("Open this run", "run")
    assert what_it_becomes(tmp_path / "a.toml")[0] == "Open this recipe"
    assert what_it_becomes(tmp_path / "a.NPZ")[0] == "Learn from these data"
    assert what_it_becomes(tmp_path / "a.pdf")[0] == ""
    assert not is_data_file(tmp_path / "a.toml")


# ---- what is dropped ------------------------------------------------------------------------------------------------


def test_a_dropped_table_asks_for_its_columns_and_becomes_the_task(
    window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    path = written(tmp_path, "points.csv")
    window.session.edit("training.n_points", 500)
    drop(window.loss.plot.viewport(), files(path))
    assert not window.drop_frame.isVisible()
    dialog = dialog_of(window, qtbot)
    assert window.session.recipe.task.name == "product"
    dialog.accept()
    recipe = window.session.recipe
    assert recipe.task.name == "dataset" and recipe.training.n_points == 0
    assert recipe.task.parameters == {"path": str(path), "target": "y", "train_fraction": 0.8}
    assert window.settings.recent == [str(path)]
    window.session.undo_stack.undo()
    assert window.session.recipe.task.name == "product" and window.session.recipe.training.n_points == 500


def test_data_that_were_read_when_the_window_was_closed_open_no_dialog_behind_it(
    window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    (tmp_path / "table.csv").write_text("x1,x2,y\n1,2,3\n")
    window.commands.open_path(tmp_path / "table.csv")
    thread = window.session._line.thread_of_engine
    assert thread is not None
    time.sleep(0.2)  # it has been read: the answer waits for the window's thread
    window.close()
    QApplication.processEvents()
    assert not window.findChildren(DataDialog)


def test_a_dialog_that_is_closed_changes_nothing(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    before = window.session.recipe
    drop(window, files(written(tmp_path, "points.csv")))
    dialog_of(window, qtbot).reject()
    assert window.session.recipe is before and window.settings.recent == []


def test_a_dropped_run_folder_opens(window: MainWindow, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(Recipe(name="stored", seed=11).to_toml())
    drop(window, files(tmp_path))
    assert window.session.recipe.name == "stored" and window.session.recipe.seed == 11


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.csv", "", "empty.csv is empty"),
        ("picture.pdf", "%PDF", "picture.pdf cannot be opened: recipes are .toml"),
        ("bad.toml", "seed = [", "bad.toml is not valid TOML"),
    ],
)
def test_a_bad_file_is_a_sentence_and_changes_nothing(
    window: MainWindow, tmp_path: Path, qtbot: QtBot, name: str, text: str, words: str
) -> None:
    before = window.session.recipe
    drop(window, files(written(tmp_path, name, text)))
    qtbot.waitUntil(lambda: words in window.status_line.sentence.text(), timeout=30_000)
    assert window.session.recipe is before
    assert not window.findChildren(DataDialog) and not window.drop_frame.isVisible()


def test_a_folder_that_is_no_run_is_a_sentence(window: MainWindow, tmp_path: Path) -> None:
    drop(window, files(tmp_path))
    assert "is no run" in window.status_line.sentence.text()


def test_data_dropped_before_the_engine_is_there_are_read_once_it_is(
    make_session: Callable[..., Session], engine: FakeEngine, tmp_path: Path, qtbot: QtBot
) -> None:
    def slowly(section: EngineSection) -> FakeEngine:
        time.sleep(0.3)
        return engine

    session = make_session(is_threaded=True, load=slowly)
    session.start()
    assert not session.is_engine_ready
    with qtbot.waitSignal(session.data_ready) as caught:
        session.look_at_data(written(tmp_path, "points.csv"))
    assert caught.args[0].n_rows == 120


# ---- the dialog -----------------------------------------------------------------------------------------------------


@pytest.fixture
def dialog(qtbot: QtBot) -> DataDialog:
    names = ("age", "height", "noise", "yield")
    dialog = DataDialog(DataPreview(Path("/data/field.csv"), names, 300, (("1", "2", "-3.5", "4"),)))
    qtbot.addWidget(dialog)
    return dialog


def test_the_dialog_shows_the_file_and_offers_its_last_column_as_target(dialog: DataDialog) -> None:
    assert dialog.table.item(0, 2).text() == "−3.5"
    assert dialog.target.currentText() == "yield"
    assert dialog.chosen_inputs() == ["age", "height", "noise"]
    assert dialog.parameters() == {"path": "/data/field.csv", "target": "yield", "train_fraction": 0.8}
    assert "240 rows to learn from, 60 held back" in dialog.outcome.text()


def test_ticks_target_share_and_standardising_reach_the_task(dialog: DataDialog) -> None:
    dialog.target.setCurrentText("age")
    dialog.inputs.item(2).setCheckState(Qt.CheckState.Unchecked)
    dialog.test_percent.setValue(0)
    dialog.standardise.click()
    assert dialog.inputs.isRowHidden(0) and not dialog.inputs.isRowHidden(3)
    assert dialog.parameters() == {
        "path": "/data/field.csv", "target": "age", "inputs": ["height", "yield"], "standardise": False,
    }  # fmt: skip
    assert "no test loss" in dialog.outcome.text()


def test_without_an_input_there_is_nothing_to_learn_from(dialog: DataDialog) -> None:
    dialog.no_inputs.click()
    assert not dialog.go.isEnabled() and dialog.outcome.text() == "Tick at least one input."
    dialog.all_inputs.click()
    assert dialog.go.isEnabled()


# ---- the real engine ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_engine() -> TorchEngine:
    return TorchEngine(EngineSection(n_threads=1), time.perf_counter())


def test_the_engine_tells_columns_rows_and_faults_of_real_files(torch_engine: Any, tmp_path: Path) -> None:
    preview = torch_engine.data_preview(written(tmp_path, "points.csv"), Reading())
    assert preview.names == ("x1", "x2", "y") and preview.n_rows == 60 and not preview.fault
    assert preview.rows[2] == ("2", "4", "-2")
    np.savez(tmp_path / "both.npz", x=np.ones((7, 2)), y=np.zeros(7))
    assert torch_engine.data_preview(tmp_path / "both.npz", Reading()).names == ("x1", "x2", "y")
    fault = torch_engine.data_preview(written(tmp_path, "bad.csv", "a,b\n1,x\n2,3\n"), Reading()).fault
    assert fault == "bad.csv, line 2, column 'b': 'x' is not a number"
    assert "cannot be read" in torch_engine.data_preview(tmp_path / "gone.csv", Reading()).fault


def test_what_the_dialog_says_builds_a_task(torch_engine: Any, tmp_path: Path, qtbot: QtBot) -> None:
    from mft_engine.sections import TaskSection
    from mft_engine.tasks import build_task

    dialog = DataDialog(torch_engine.data_preview(written(tmp_path, "points.csv"), Reading()))
    qtbot.addWidget(dialog)
    task = build_task(TaskSection.model_validate({"name": "dataset", **dialog.parameters()}))
    assert task.n_inputs == 2 and len(task.points.targets) == 48 and len(task.points.test_targets) == 12


def choose(box: QComboBox, data: Any, qtbot: QtBot) -> None:
    """Pick an entry with the keys, as a person does."""
    box.setFocus()
    steps = box.findData(data) - box.currentIndex()
    for _ in range(abs(steps)):
        qtbot.keyClick(box, Qt.Key.Key_Down if steps > 0 else Qt.Key.Key_Up)


def test_how_a_file_is_read_can_be_said_in_the_dialog_and_reaches_the_task(
    torch_engine: Any, tmp_path: Path, qtbot: QtBot
) -> None:
    from mft_engine.sections import TaskSection
    from mft_engine.tasks import build_task

    # 1,250 in every cell: a thousand and more, or one and a quarter?
    path = written(tmp_path, "both.csv", "\n".join(f"{k},250;{2 * k},500;{k},125" for k in range(1, 61)) + "\n")
    dialog = DataDialog(torch_engine.data_preview(path, Reading()))
    qtbot.addWidget(dialog)
    dialog.read_again.connect(lambda p, reading: dialog.show_preview(torch_engine.data_preview(p, reading)))
    dialog.show()
    assert dialog.delimiter.itemText(0) == "automatic: semicolons ;" and dialog.delimiter.currentData() is None
    assert set(dialog.parameters()) == {"path", "target", "train_fraction"}
    choose(dialog.delimiter, "tab", qtbot)
    assert not dialog.go.isEnabled() and dialog.notes.property("role") == "fault" and dialog.notes.text()
    choose(dialog.delimiter, "semicolon", qtbot)
    assert dialog.go.isEnabled() and dialog.notes.property("role") == "muted"
    choose(dialog.header, False, qtbot)
    qtbot.mouseClick(dialog.no_inputs, LEFT)
    dialog.inputs.item(0).setCheckState(Qt.CheckState.Checked)
    choose(dialog.decimal, ",", qtbot)
    assert dialog.table.item(0, 1).text() == "2.5" and dialog.parameters()["decimal"] == ","
    # The same columns: what was ticked before stays.
    assert dialog.chosen_inputs() == [dialog.preview.names[0]] and dialog.preview.n_rows == 60
    said = {name: dialog.parameters()[name] for name in ("delimiter", "decimal", "header")}
    assert said == {"delimiter": "semicolon", "decimal": ",", "header": False}
    task = build_task(TaskSection.model_validate({"name": "dataset", **dialog.parameters()}))
    assert task.n_inputs >= 1 and len(task.points.targets) == 48


def test_an_archive_has_no_dialect_to_ask_for(torch_engine: Any, tmp_path: Path, qtbot: QtBot) -> None:
    np.savez(tmp_path / "both.npz", x=np.ones((7, 2)), y=np.zeros(7))
    dialog = DataDialog(torch_engine.data_preview(tmp_path / "both.npz", Reading()))
    qtbot.addWidget(dialog)
    assert dialog.reading.isHidden() and "delimiter" not in dialog.parameters()


def test_the_window_reads_a_file_again_as_it_is_told(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    drop(window, files(written(tmp_path, "points.csv")))
    dialog = dialog_of(window, qtbot)
    choose(dialog.decimal, ".", qtbot)
    qtbot.waitUntil(lambda: dialog.preview.reading == Reading(decimal="."), timeout=30_000)
    assert len(window.findChildren(DataDialog)) == 1
    dialog.reject()
    qtbot.waitUntil(lambda: not window.findChildren(DataDialog), timeout=30_000)
