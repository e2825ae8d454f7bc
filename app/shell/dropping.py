"""Files dropped on the window: what they would become, and the frame that says so while they hover."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QMimeData, QObject, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QGraphicsView, QLineEdit, QWidget

from app.saved import SUFFIX
from app.widgets.colours import mixed, with_opacity
from app.widgets.placing import parent_of

if TYPE_CHECKING:
    from app.theme import Theme

DATA_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".npz")
_BOX = (420.0, 112.0)


def dropped_path(mime: QMimeData) -> Path | None:
    """The first file of what is dragged; None where it is no file of this machine."""
    local = [url.toLocalFile() for url in mime.urls() if url.isLocalFile()]
    return Path(local[0]) if local and local[0] else None


def is_data_file(path: Path) -> bool:
    """Whether a path is to be read as a table of numbers."""
    return path.suffix.lower() in DATA_SUFFIXES and not os.path.isdir(path)


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a stored run."""
    return os.path.isfile(path / "recipe.toml")


def is_watched(path: Path) -> bool:
    """Whether a path is the folder of a training that `mft.watch` has kept."""
    return os.path.isfile(path / "watched.json")


def is_sweep(path: Path) -> bool:
    """Whether a path is the folder of a sweep, whoever carried it out."""
    return os.path.isfile(path / "sweep.json")


def what_it_becomes(path: Path) -> tuple[str, str]:
    """A title and what will happen when a path is dropped; an empty title for what cannot be opened."""
    if os.path.isdir(path):
        if is_run(path):
            return "Open this run", path.name
        if is_watched(path):
            return "Open this watched training", path.name
        if is_sweep(path):
            return "Open this sweep", path.name
        return "", f"{path.name} is no run: a run's folder has a recipe.toml"
    if path.suffix.lower() == ".toml":
        return "Open this recipe", path.name
    if path.suffix.lower() == SUFFIX:
        return "Open this session", path.name
    if is_data_file(path):
        return "Learn from these data", path.name
    return "", f"{path.name} cannot be opened: recipes are .toml files, data .csv or .npz, runs folders"


class DropFrame(QWidget):
    """Covers the whole window while something hovers over it; never in the way of the mouse."""

    def __init__(self, theme: Theme, window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName("drop_frame")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._theme = theme
        self.title = self.hint = ""
        window.installEventFilter(self)
        self.hide()

    def offer(self, path: Path) -> None:
        """Say what dropping a path would do."""
        self.title, self.hint = what_it_becomes(path)
        self.setGeometry(parent_of(self).rect())
        self.raise_()
        self.show()
        self.update()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and watched is self.parent():
            self.setGeometry(parent_of(self).rect())
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        theme, can_open = self._theme, bool(self.title)
        colour = QColor(theme.accent if can_open else theme.bad)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), with_opacity(theme.window, 0.62))
        painter.setPen(QPen(colour, 3, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(8, 8, -8, -8), 10, 10)
        metrics = painter.fontMetrics()
        width = min(max(_BOX[0], metrics.horizontalAdvance(self.hint) + 60.0), self.width() - 60.0)
        box = QRectF(0, 0, width, _BOX[1])
        box.moveCenter(QRectF(self.rect()).center())
        painter.setPen(QPen(colour, 1.4))
        painter.setBrush(mixed(theme.panel, colour.name(), 0.08))
        painter.drawRoundedRect(box, 10, 10)
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 1.5)
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor(theme.text))
        upper, lower = box.adjusted(20, 16, -20, -box.height() / 2), box.adjusted(20, box.height() / 2, -20, -16)
        painter.drawText(upper, Qt.AlignmentFlag.AlignCenter, self.title or "This cannot be opened")
        painter.setFont(self.font())
        painter.setPen(QColor(theme.muted if can_open else theme.text))
        hint = metrics.elidedText(self.hint, Qt.TextElideMode.ElideMiddle, int(width) - 40)
        painter.drawText(lower, Qt.AlignmentFlag.AlignCenter, hint)


def let_drops_through(window: QWidget) -> None:
    """Plots swallow what is dragged over them, and entries take a file's address as text: the window shall get both."""
    for view in window.findChildren(QGraphicsView):
        view.setAcceptDrops(False)
        view.viewport().setAcceptDrops(False)
    for entry in window.findChildren(QLineEdit):
        entry.setAcceptDrops(False)
