"""Commands that take a picture of the window's plots, and where exports go."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QStandardPaths, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDockWidget, QFileDialog, QMainWindow, QWidget

from app.session import Session
from app.settings import Settings
from app.shell.pictures import KINDS, PictureError, image_of, save_picture
from app.views.cloud import CloudView


class PictureCommands(QObject):
    """The cloud, and the tab in front below it, as they are on the screen."""

    def __init__(self, session: Session, settings: Settings, owner: QMainWindow) -> None:
        super().__init__(owner)
        self._session, self._settings, self._owner = session, settings, owner

    @Slot()
    def save_cloud(self) -> None:
        self._save(self._owner.findChild(CloudView), "cloud")

    @Slot()
    def save_tab(self) -> None:
        self._save(*self._tab_in_front())

    def _save(self, widget: QWidget | None, name: str) -> None:
        if widget is None:
            return
        kinds = " ".join(f"*.{kind}" for kind in KINDS)
        start = str(Path(self._export_folder) / f"{name}.png")
        path, _ = QFileDialog.getSaveFileName(self._owner, "Save picture", start, f"Pictures ({kinds})")
        if path:
            try:
                written = save_picture(widget, Path(path))
            except PictureError as error:
                self._session.failed.emit(str(error))
                return
            self._settings.set("export_folder", str(written.parent))
            self._session.status.emit(f"Saved the picture to {written}")

    @Slot()
    def copy_cloud(self) -> None:
        self._copy_picture(self._owner.findChild(CloudView), "cloud")

    @Slot()
    def copy_tab(self) -> None:
        self._copy_picture(*self._tab_in_front())

    def _copy_picture(self, widget: QWidget | None, name: str) -> None:
        if widget is not None:
            QGuiApplication.clipboard().setImage(image_of(widget))
            self._session.status.emit(f"The picture of {name} is in the clipboard")

    def _tab_in_front(self) -> tuple[QWidget | None, str]:
        below = Qt.DockWidgetArea.BottomDockWidgetArea
        for dock in self._owner.findChildren(QDockWidget):
            if self._owner.dockWidgetArea(dock) == below and not dock.visibleRegion().isEmpty():
                return dock.widget(), dock.windowTitle().lower()
        return None, ""

    @property
    def _export_folder(self) -> str:
        return self._settings.get("export_folder", "") or str(Path(documents()) / "mft-lab")


def documents() -> str:
    """The person's folder of documents."""
    return QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation) or str(Path.home())
