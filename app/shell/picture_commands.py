"""Commands that take a picture of the window's plots, and where exports go."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QStandardPaths, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDockWidget, QFileDialog, QMainWindow, QScrollArea, QWidget

from app.session import Session
from app.settings import Settings
from app.shell.picture_menu import PictureMenu
from app.shell.pictures import KINDS, PictureError, image_of, save_picture
from app.shell.recording import Recorder
from app.views.cloud import CloudView

FILMS = "Films (*.gif *.png *.mp4);;Frames in a folder (*)"


class PictureCommands(QObject):
    """The cloud, the tab in front below it, the panel beside it, and any plot, as they are on the screen; and films."""

    recording_changed = Signal(bool)

    def __init__(self, session: Session, settings: Settings, owner: QMainWindow) -> None:
        super().__init__(owner)
        self._session, self._settings, self._owner = session, settings, owner
        self.pictures = PictureMenu(self._save, self._copy_picture, self)
        self.pictures.attach(owner)
        self.recorder = Recorder(self)
        self.recorder.written.connect(lambda path: session.status.emit(f"Saved the film to {path}"))
        self.recorder.failed.connect(session.failed)

    @Slot()
    def save_cloud(self) -> None:
        self._save(self._cloud, "cloud")

    @Slot()
    def save_tab(self) -> None:
        self._save(*self._tab_in_front())

    @Slot()
    def save_panel(self) -> None:
        self._save(*self._panel_in_front())

    def _save(self, widget: QWidget | None, name: str) -> None:
        if widget is None:
            return
        kinds = " ".join(f"*.{kind}" for kind in KINDS)
        start = str(Path(self._export_folder) / f"{name.lower().replace(' ', '-')[:60]}.png")
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
        self._copy_picture(self._cloud, "cloud")

    @Slot()
    def copy_tab(self) -> None:
        self._copy_picture(*self._tab_in_front())

    @Slot()
    def copy_panel(self) -> None:
        self._copy_picture(*self._panel_in_front())

    def _copy_picture(self, widget: QWidget | None, name: str) -> None:
        if widget is not None:
            QGuiApplication.clipboard().setImage(image_of(widget))
            self._session.status.emit(f"The picture of {name} is in the clipboard")

    @Slot()
    def record(self) -> None:
        """Begin to film the cloud; the second time, ask where the film shall go."""
        if not self.recorder.is_recording:
            self.recorder.start(self._cloud)
            self._session.status.emit("Filming the cloud: train, drag the slider, iterate; the same command ends it")
            self.recording_changed.emit(True)
            return
        self.recorder.stop()
        self.recording_changed.emit(False)
        start = str(Path(self._export_folder) / "cloud.gif")
        path, _ = QFileDialog.getSaveFileName(self._owner, "Save film", start, FILMS)
        if path:
            self._settings.set("export_folder", str(Path(path).parent))
            self._session.status.emit(f"Writing a film of {self.recorder.n_frames} pictures …")
            self.recorder.write(Path(path))

    @property
    def _cloud(self) -> CloudView:
        cloud = self._owner.findChild(CloudView)
        assert cloud is not None  # no window is without one
        return cloud

    def _tab_in_front(self) -> tuple[QWidget | None, str]:
        return self._in_front(Qt.DockWidgetArea.BottomDockWidgetArea)

    def _panel_in_front(self) -> tuple[QWidget | None, str]:
        widget, name = self._in_front(Qt.DockWidgetArea.RightDockWidgetArea)
        # The whole of it, not the part that is scrolled to.
        return (widget.widget() if isinstance(widget, QScrollArea) else widget), name

    def _in_front(self, area: Qt.DockWidgetArea) -> tuple[QWidget | None, str]:
        for dock in self._owner.findChildren(QDockWidget):
            if self._owner.dockWidgetArea(dock) == area and not dock.visibleRegion().isEmpty():
                return dock.widget(), dock.windowTitle().lower()
        return None, ""

    @property
    def _export_folder(self) -> str:
        return self._settings.get("export_folder", "") or str(Path(documents()) / "mft-lab")


def documents() -> str:
    """The person's folder of documents."""
    return QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation) or str(Path.home())
