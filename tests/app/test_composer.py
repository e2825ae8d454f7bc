"""The figure composer: its page is drawn while it is put together, and written as it was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from journeys import SMALL, Journey
from PIL import Image
from PySide6.QtCore import QRect, Qt, QTimer
from PySide6.QtWidgets import QApplication

from app.panels.composer import OTHER, PANELS, ComposerDialog
from app.theme import ThemeKeeper
from app.window import MainWindow
from mft_engine.figures import PANELS as DRAWN
from mft_engine.pages import JOURNALS, Composition
from mft_engine.recipe import load_recipe

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dialog(qtbot: Any, tmp_path: Path) -> ComposerDialog:
    dialog = ComposerDialog(tmp_path)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_every_figure_but_the_three_pictures_can_be_a_panel() -> None:
    assert set(PANELS) == set(DRAWN) and "three-pictures" not in PANELS


def test_journals_set_the_width_and_a_typed_width_names_its_journal(dialog: ComposerDialog, qtbot: Any) -> None:
    assert dialog.composition == Composition(("background", "foreground"), 2, 183.0)
    for name, width in JOURNALS.items():
        dialog.journal.setCurrentIndex(list(JOURNALS).index(name))
        dialog.journal.activated.emit(dialog.journal.currentIndex())
        assert dialog.composition.width_mm == width
    dialog.width_mm.setFocus()
    dialog.width_mm.selectAll()
    qtbot.keyClicks(dialog.width_mm, "120")
    qtbot.keyClick(dialog.width_mm, Qt.Key.Key_Tab)
    assert dialog.journal.currentText() == OTHER and dialog.composition.width_mm == 120
    dialog.width_mm.setValue(89)
    assert dialog.journal.currentText().startswith("Nature, one column")


def test_panels_are_ticked_and_put_in_order_by_keys(dialog: ComposerDialog, qtbot: Any) -> None:
    dialog.panels.setFocus()
    for _ in range(2):
        qtbot.keyClick(dialog.panels, Qt.Key.Key_Down)
    qtbot.keyClick(dialog.panels, Qt.Key.Key_Space)
    assert dialog.composition.panels == ("background", "foreground", "loss")
    for _ in range(2):
        qtbot.mouseClick(dialog.up, LEFT)
    assert dialog.composition.panels == ("loss", "background", "foreground")
    qtbot.mouseClick(dialog.down, LEFT)
    assert dialog.composition.panels == ("background", "loss", "foreground")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_box_of_a_panel_that_is_not_ticked_is_seen_in_both_themes(
    mode: str, dialog: ComposerDialog, themes: ThemeKeeper, qtbot: Any
) -> None:
    themes.set_mode(mode)
    qtbot.wait(20)
    row = dialog.panels.item(dialog.panels.count() - 1)
    assert row.checkState() == Qt.CheckState.Unchecked
    place = dialog.panels.visualItemRect(row)
    image = dialog.panels.viewport().grab(QRect(place.left(), place.top(), 24, place.height())).toImage()
    shades = [image.pixelColor(x, y).lightness() for x in range(image.width()) for y in range(image.height())]
    assert max(shades) - min(shades) > 40
    themes.set_mode("light")


def test_a_change_asks_once_for_the_page_and_old_answers_are_left_aside(dialog: ComposerDialog, qtbot: Any) -> None:
    asked: list[Any] = []
    dialog.wanted.connect(asked.append)
    qtbot.waitUntil(lambda: len(asked) == 1)
    for columns in (1, 2, 3, 1):
        dialog.columns.setValue(columns)
    qtbot.waitUntil(lambda: len(asked) == 2)
    assert asked[1].composition.n_columns == 1 and asked[1].number > asked[0].number
    answer = FakeEngine().compose
    outcome = type("Outcome", (), {"foreground": object()})()
    dialog.show_preview(answer(asked[0], outcome, None))  # type: ignore[arg-type]
    assert dialog._page.isNull()
    dialog.show_preview(answer(asked[1], outcome, None))  # type: ignore[arg-type]
    assert dialog._page.width() == 200 and dialog.size_line.text() == "183.0 × 91.5 mm"


def test_what_cannot_be_laid_out_is_said_and_not_asked_for(dialog: ComposerDialog, qtbot: Any) -> None:
    for row in range(dialog.panels.count()):
        dialog.panels.item(row).setCheckState(Qt.CheckState.Unchecked)
    qtbot.waitUntil(lambda: "at least one panel" in dialog.fault.text())
    qtbot.mouseClick(dialog.go, LEFT)
    assert dialog.isVisible()


def test_the_page_of_a_run_is_shown_and_written_by_mouse_and_keys(
    window: MainWindow, engine: FakeEngine, tmp_path: Path, qtbot: Any
) -> None:
    """On the small engine: the whole way from the menu to the files."""
    seen: list[str] = []

    def act() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, ComposerDialog) or not (dialog.fault.text() or not dialog._page.isNull()):
            QTimer.singleShot(20, act)
            return
        seen.append(dialog.fault.text())
        dialog.folder.setText(str(tmp_path / "out"))
        qtbot.keyClick(dialog, Qt.Key.Key_Return)

    QTimer.singleShot(0, act)
    with qtbot.waitSignal(window.session.exported):
        window.actions_by_name["compose"].trigger()
    assert seen == [""] and "compose background+foreground" in engine.log
    assert (tmp_path / "out").is_dir()


def test_a_panel_that_cannot_be_drawn_yet_is_said_beside_the_page(
    window: MainWindow, dialog: ComposerDialog, qtbot: Any
) -> None:
    dialog.wanted.connect(window.session.compose)
    window.session.figure_drawn.connect(dialog.show_preview)
    row = next(
        row
        for row in range(dialog.panels.count())
        if dialog.panels.item(row).data(Qt.ItemDataRole.UserRole) == "wrong-background"
    )
    dialog.panels.item(row).setCheckState(Qt.CheckState.Checked)
    qtbot.waitUntil(lambda: dialog.fault.text() == "This figure needs the twin run")


def test_a_page_is_written_as_wide_as_it_was_asked_for(journey: Journey, tmp_path: Path) -> None:
    window = journey.start(load_recipe("clover-warm").replace(SMALL | {"training.time": 2.0}))
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    journey.rest()

    def act() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, ComposerDialog) or dialog._page.isNull():
            QTimer.singleShot(20, act)
            return
        if dialog.columns.value() == 2:
            dialog.columns.setValue(3)
            dialog.panels.item(2).setCheckState(Qt.CheckState.Checked)
            drawn.append(dialog._page.cacheKey())
            QTimer.singleShot(20, act)
            return
        if dialog._page.cacheKey() == drawn[0]:
            QTimer.singleShot(20, act)
            return
        journey.picture("composer", dialog)
        dialog.folder.setText(str(tmp_path / "out"))
        journey.click(dialog.go)

    drawn: list[int] = []
    QTimer.singleShot(0, act)
    files = journey.wait_for("exported", lambda: window.actions_by_name["compose"].trigger())
    assert [path.name for path in files] == ["figure.png", "figure.pdf"]
    with Image.open(files[0]) as page:
        assert abs(page.width / 300 * 25.4 - 183) < 0.2
    assert journey.faults == []
