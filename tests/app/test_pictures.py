"""Every plot of the window leaves it as a picture: into the clipboard and into files."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyqtgraph as pg
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent, QGuiApplication
from PySide6.QtWidgets import QApplication

from app.panels.export_dialog import ExportDialog
from app.panels.gauges import StabilityGauge
from app.panels.null_band import NullBand
from app.shell import recording
from app.shell.pictures import SHARPNESS, PictureError, save_picture
from app.window import MainWindow

NAMES = ["loss", "fields", "kernel", "marginals", "fourier", "loop", "width", "sweep", "runs"]


@pytest.mark.parametrize("name", NAMES)
def test_the_tab_in_front_is_copied_as_it_is_on_the_screen(name: str, window: MainWindow, qtbot: Any) -> None:
    window.docks.bring_up(name)
    content = window.docks[name].widget()
    qtbot.waitUntil(content.isVisible)
    qtbot.wait(20)
    window.actions_by_name["copy_tab"].trigger()
    image = QGuiApplication.clipboard().image()
    assert image.size() == content.size() * SHARPNESS
    colours = {image.pixelColor(x, y).name() for x in range(0, image.width(), 9) for y in range(0, image.height(), 9)}
    assert len(colours) > 2
    assert window.status_line.sentence.text() == f"The picture of {name} is in the clipboard"


@pytest.mark.parametrize(
    ("suffix", "head"),
    [("png", b"\x89PNG"), ("tiff", b"II*"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("eps", b"%!PS-Adobe-3.0 EPSF-3.0")],
)
def test_the_cloud_is_saved_in_every_format(
    suffix: str, head: bytes, window: MainWindow, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / f"cloud.{suffix}"
    monkeypatch.setattr("app.shell.picture_commands.QFileDialog.getSaveFileName", lambda *arguments: (str(path), ""))
    window.cloud.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    content = path.read_bytes()
    assert content.startswith(head) and len(content) > 1500
    if suffix == "svg":
        assert b"<path" in content or b"<polyline" in content
    if suffix == "eps":  # as large as on the screen: 96 pixels an inch, 72 points an inch
        width, height = (math.ceil(side * 72 / 96) for side in window.cloud.size().toTuple())
        assert b"%%%%BoundingBox: 0 0 %d %d\n" % (width, height) in content
        assert b"%d %d 8" % (window.cloud.width() * SHARPNESS, window.cloud.height() * SHARPNESS) in content


def test_a_picture_that_cannot_be_written_is_a_sentence(window: MainWindow, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PictureError, match="cannot be written"):
        save_picture(window.cloud, tmp_path / "file" / "cloud.png")
    with pytest.raises(PictureError, match=r"\.svg"):
        save_picture(window.cloud, tmp_path / "cloud.doc")
    assert save_picture(window.cloud, tmp_path / "cloud").name == "cloud.png"
    with Image.open(tmp_path / "cloud.png") as picture:
        assert picture.size == (window.cloud.width() * 3, window.cloud.height() * 3)


def test_animations_are_asked_for_in_the_export_dialog(qtbot: Any, tmp_path: Path) -> None:
    dialog = ExportDialog(tmp_path)
    qtbot.addWidget(dialog)
    for box in dialog.figures.values():
        box.setChecked(False)
    dialog.show()
    dialog.go.click()
    assert "animation" in dialog.fault.text() and dialog.isVisible()
    dialog.animations["gif"].setChecked(True)
    dialog.animations["apng"].setChecked(True)
    dialog.go.click()
    assert not dialog.isVisible() and dialog.command().animations == ("gif", "apng")


def test_the_panel_beside_the_cloud_is_copied_whole_whatever_is_scrolled_out_of_sight(
    window: MainWindow, qtbot: Any
) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    qtbot.wait(50)
    page = window.self_consistency.page
    assert page.height() > window.self_consistency.viewport().height()  # part of it is out of sight
    window.actions_by_name["copy_panel"].trigger()
    assert QGuiApplication.clipboard().image().size() == page.size() * SHARPNESS


def test_a_right_click_on_any_plot_offers_its_picture(window: MainWindow, qtbot: Any) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    beside = {"null band": NullBand, "step size": StabilityGauge}
    for name in ("loss", "loop", "width", "marginals", "fields", *beside, "cloud"):
        if name in beside:
            plot = window.self_consistency.findChild(beside[name])
            window.self_consistency.ensureWidgetVisible(plot)
        elif name == "cloud":
            plot = window.cloud.plot
        else:
            window.docks.bring_up(name)
            content = window.docks[name].widget()
            plot = content if name == "fields" else content.findChild(pg.GraphicsView)
        qtbot.waitUntil(plot.isVisible)
        QGuiApplication.clipboard().clear()
        middle = plot.rect().center()
        target = plot.viewport() if isinstance(plot, pg.GraphicsView) else plot
        event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, middle, plot.mapToGlobal(middle))
        QApplication.sendEvent(target, event)
        menu = window.commands.pictures.menu
        assert menu is not None and menu.isVisible(), name
        action = next(action for action in menu.actions() if action.text() == "Copy Picture")
        qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())
        assert QGuiApplication.clipboard().image().size() == plot.size() * SHARPNESS, name


@pytest.mark.parametrize("ending", [".gif", "", ".mp4", pytest.param(".png", marks=pytest.mark.slow)])
def test_a_drag_of_the_slider_and_a_turning_loop_are_filmed(
    ending: str, window: MainWindow, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == ".mp4" and shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / f"film{ending}"
    monkeypatch.setattr("app.shell.picture_commands.QFileDialog.getSaveFileName", lambda *arguments: (str(path), ""))
    record, recorder = window.actions_by_name["record"], window.commands.recorder
    control = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    qtbot.keyClick(window, Qt.Key.Key_R, control)
    assert recorder.is_recording and record.isChecked()
    window.session.play()
    slider = window.experiment.rows["regularisation.scale"].control.log_slider.slider
    place = QPoint(round(8 + slider.value() / 1000 * (slider.width() - 16)), slider.height() // 2)
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=place)
    for _ in range(8):
        place += QPoint(8, 0)
        qtbot.mouseMove(slider, place)
        qtbot.wait(60)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=place)
    with qtbot.waitSignal(window.session.loop_ended):
        window.actions_by_name["iterate"].trigger()
    qtbot.waitUntil(lambda: recorder.n_frames >= 6)
    n_frames = recorder.n_frames
    with qtbot.waitSignal(recorder.written, timeout=20_000):
        qtbot.keyClick(window, Qt.Key.Key_R, control)
    assert not recorder.is_recording and not record.isChecked()
    if ending == "":
        assert len(list(path.glob("*.png"))) >= n_frames
    elif ending == ".mp4":
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"]
        assert subprocess.run(command, capture_output=True, check=True).stderr == b""
        assert b"ftyp" in path.read_bytes()[:16]
    else:
        with Image.open(path) as film:
            shown = []
            for number in range(film.n_frames):
                film.seek(number)
                shown.append(film.convert("RGB").resize((64, 36)).tobytes())
            assert film.n_frames >= 5 and len(set(shown)) > 2  # equal neighbours are one longer frame


def test_a_film_that_cannot_be_made_is_a_sentence(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    recorder = window.commands.recorder
    said: list[str] = []
    recorder.failed.connect(said.append)
    recorder.write(tmp_path / "film.avi")
    assert "ends with .gif" in said[-1]
    recorder.start(window.cloud)
    recorder.stop()
    (tmp_path / "file").write_text("")
    with qtbot.waitSignal(recorder.failed):
        recorder.write(tmp_path / "file" / "film.gif")
    assert said[-1].startswith("The film cannot be written: ")


def test_a_long_recording_keeps_every_other_frame_and_goes_on_at_half_the_pace(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_FRAMES", 6)
    recorder = window.commands.recorder
    recorder.start(window.cloud)
    for _ in range(6):
        recorder._at = 0.0
        recorder._take()
    assert recorder.n_frames < 6 and recorder._interval == pytest.approx(2 / recording.FRAMES_PER_SECOND)
    recorder.stop()
