"""The task gallery: a card for every target, its thumbnail drawn from the real generator."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app.engine.messages import TaskCard
from app.theme import LIGHT, Theme
from app.widgets.colours import diverging_map
from mft_engine.sections import TaskSection

N_COLUMNS = 4
THUMBNAIL = 48
# What fits under a thumbnail; the tooltip has the whole title.
_SHORT_TITLES = {
    "hermite2": "Hermite 2",
    "sine": "Sine",
    "expression": "Formula",
    "three_leaf": "3 leaves",
    "dataset": "Data file",
    "parity": "Parity",
    "staircase": "Staircase",
    "cubic-teacher": "Cubic",
    "continuous-xor": "Deep xor",
    "digits": "Digits",
    "modular-addition": "Addition",
}


class TaskGallery(QWidget):
    """Cards of the tasks; `chosen` says a task's name and its own parameters."""

    chosen = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = LIGHT
        self._task = TaskSection()
        self._cards: list[tuple[TaskCard, QToolButton]] = []
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._waiting = QLabel("The gallery is drawn as soon as the engine is loaded.", self)
        self._waiting.setProperty("role", "muted")
        self._waiting.setWordWrap(True)
        self._grid = QGridLayout()
        self._grid.setSpacing(5)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._waiting)
        layout.addLayout(self._grid)
        self._group.idClicked.connect(self._clicked)

    def add_card(self, card: TaskCard) -> None:
        """One more task."""
        self._waiting.hide()
        button = QToolButton(self)
        button.setProperty("role", "card")
        button.setCheckable(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        # Ignored: the panel's width is shared out among the columns, whatever the titles would like.
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        font = button.font()
        font.setPointSizeF(font.pointSizeF() * 0.82)
        button.setFont(font)
        title = _SHORT_TITLES.get(card.name, card.title.partition(":")[0])
        button.setText(button.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, THUMBNAIL + 12))
        button.setToolTip(f"{card.title}\ny = {card.formula}")
        button.setAccessibleName(f"Task {card.title}, y = {card.formula}")
        self._cards.append((card, button))
        index = len(self._cards) - 1
        self._group.addButton(button, index)
        self._grid.addWidget(button, index // N_COLUMNS, index % N_COLUMNS)
        self._draw(card, button)
        self.show_task(self._task)

    def show_task(self, task: TaskSection) -> None:
        """Mark the card of the task in force."""
        self._task = task
        self._group.setExclusive(False)
        names = [card.name for card, _ in self._cards]
        for card, button in self._cards:
            is_only_one = names.count(card.name) == 1
            is_same = card.name == task.name and (is_only_one or card.parameters == dict(task.parameters))
            button.setChecked(is_same)
        self._group.setExclusive(True)

    def brings_points(self, name: str) -> bool:
        """Whether a task has data of its own, as far as its card has come."""
        return any(card.brings_points for card, _ in self._cards if card.name == name)

    def apply_theme(self, theme: Theme) -> None:
        """Draw the thumbnails in the colours of the heat maps."""
        self._theme = theme
        for card, button in self._cards:
            self._draw(card, button)

    def _draw(self, card: TaskCard, button: QToolButton) -> None:
        if card.image is not None:
            button.setIcon(QIcon(thumbnail(card.image, diverging_map())))

    @Slot(int)
    def _clicked(self, index: int) -> None:
        card, _ = self._cards[index]
        self.show_task(self._task)
        self.chosen.emit(card.name, card.parameters)


def thumbnail(values: np.ndarray, table: np.ndarray) -> QPixmap:
    """A signed function as a small picture, zero in the middle of the table; row 0 of `values` is at the bottom."""
    peak = float(np.quantile(np.abs(values), 0.98)) or 1.0
    index = np.clip(np.rint((values / peak + 1) * 127.5), 0, 255).astype(np.uint8)
    pixels = np.ascontiguousarray(table[index[::-1]])
    height, width = index.shape
    image = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
    return QPixmap.fromImage(image.copy())
