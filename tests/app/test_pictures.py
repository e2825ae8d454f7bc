"""Every plot of the window leaves it as a picture: into the clipboard and into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from app.panels.export_dialog import ExportDialog
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
    ("suffix", "head"), [("png", b"\x89PNG"), ("tiff", b"II*"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
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
