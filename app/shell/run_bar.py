"""The toolbar: what is done to the run, and how fast it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QMainWindow, QToolBar, QToolButton, QWidget

from app.actions import fill_toolbar
from app.shell.commands import SPEEDS

_SHORT = {"export_three": "Three Pictures", "resample": "Resample Foreground", "export": "Export"}


class RunBar(QToolBar):
    """Actions by name, and at its end the box for the steps between two drawn frames.

    Args:
        set_speed: told the steps that a person picks, 0 for as many as fit.
    """

    def __init__(self, actions: Mapping[str, QAction], set_speed: Callable[[int], None], parent: QMainWindow) -> None:
        super().__init__("Run", parent)
        self.setObjectName("toolbar")
        self.setMovable(False)
        self.setIconSize(QSize(18, 18))
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        fill_toolbar(self, dict(actions))
        for name, text in _SHORT.items():
            actions[name].setIconText(text)
        play = self.widgetForAction(actions["play"])
        assert isinstance(play, QToolButton)
        play.setProperty("role", "play")
        play.setMinimumWidth(84)
        space = QWidget(self)
        space.setSizePolicy(space.sizePolicy().Policy.Expanding, space.sizePolicy().Policy.Preferred)
        self.addWidget(space)
        self.speed = QComboBox(self)
        self.speed.setAccessibleName("Steps per frame")
        self.speed.setToolTip("How many training steps pass between two drawn frames ([ slower, ] faster)")
        for steps in SPEEDS:
            noun = "step" if steps == 1 else "steps"
            self.speed.addItem(f"{steps:,} {noun} a frame" if steps else "as many as fit", steps)
        self._set_speed = set_speed
        self.speed.activated.connect(self._picked)
        self.addWidget(self.speed)

    @Slot(int)
    def _picked(self, index: int) -> None:
        self._set_speed(self.speed.itemData(index))

    def show_speed(self, steps_per_frame: int) -> None:
        """The speed in force."""
        self.speed.setCurrentIndex(self.speed.findData(steps_per_frame))
