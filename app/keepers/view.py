"""How the clouds are looked at, as a value: saved with the session, and every change of it can be taken back."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QObject, QTimer, Slot
from PySide6.QtGui import QUndoStack

from app.edits import ViewEdit
from app.keepers.brushing import BrushKeeper
from app.saved import ViewState
from app.views.cloud import CloudView
from app.views.loss import LossView

MOST_KEPT = 20_000  # chosen neurons of a cloud: more are not carried into the history and the session


class ViewKeeper(QObject):
    """Tells what a person picks from what the program sets: only the former is an entry of the history."""

    def __init__(self, cloud: CloudView, loss: LossView, brush: BrushKeeper, stack: QUndoStack) -> None:
        super().__init__(cloud)
        self._cloud, self._loss, self._brush, self._stack = cloud, loss, brush, stack
        self._before = self._now = self.state
        self._is_applying = False
        header = cloud.header
        for signal in (header.axes_picked, header.colouring_picked, header.overlay_toggled, loss.log_scale.toggled):
            signal.connect(self._changed)
        cloud.split_changed.connect(self._changed)
        pickers = {"x axis": header.x_picker, "y axis": header.y_picker, "colour": header.colour_picker}
        for name, picker in pickers.items():
            picker.activated.connect(lambda _, name=name: self._picked(name))
        for name, chip in header.chips.items():
            chip.clicked.connect(lambda _, name=name: self._picked(f"show {name}"))
        brush.changed.connect(self._changed)
        brush.picked.connect(lambda: self._picked("choose neurons"))
        loss.log_scale.clicked.connect(lambda: self._picked("logarithmic loss"))

    @property
    def state(self) -> ViewState:
        """The view as it is."""
        x, y = self._cloud.axes
        chips = self._cloud.header.chips
        return ViewState(
            x=x,
            y=y,
            colour=self._cloud.header.colour_picker.currentData(),
            overlays={name: chip.isChecked() for name, chip in chips.items()},
            span=self._cloud.span_by_hand,
            is_split=self._cloud.is_split,
            is_loss_logarithmic=self._loss.log_scale.isChecked(),
            chosen={
                name: tuple(found.tolist()) for name, found in self._brush.numbers.items() if len(found) <= MOST_KEPT
            },
        )

    def switch_split(self) -> None:
        """The foreground beside the background, or over it again."""
        self._cloud.set_split(not self._cloud.is_split)
        self._picked("split view")

    def restore(self, state: ViewState) -> None:
        """Look like that; what this run does not have stays as it is."""
        self._is_applying = True
        try:
            self._cloud.pick_axes(state.x, state.y)
            if self._cloud.header.colour_picker.findData(state.colour) >= 0:
                self._cloud.colour_by(state.colour)
            for name, is_shown in state.overlays.items():
                if name in self._cloud.header.chips:
                    self._cloud.show_overlay(name, is_shown)
            self._cloud.set_split(state.is_split)
            self._loss.log_scale.setChecked(state.is_loss_logarithmic)
            self._brush.choose({name: np.array(numbers, np.int64) for name, numbers in state.chosen.items()})
            if state.span is not None:
                self._cloud.set_span(*state.span)
        finally:
            self._is_applying = False
        self._before = self._now = self.state

    def restore_soon(self, state: ViewState) -> None:
        """The same, now and once what was just built has offered its axes."""
        self.restore(state)
        QTimer.singleShot(0, self, lambda: self.restore(state))

    @Slot()
    def _changed(self) -> None:
        if not self._is_applying:
            self._before, self._now = self._now, self.state

    def _picked(self, text: str) -> None:
        """A person's own choice, told just after the change itself."""
        if not self._is_applying and self._before != self._now:
            self._stack.push(ViewEdit(self.restore, self._before, self._now, text))
            self._before = self._now
