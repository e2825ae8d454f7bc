"""A control with its name, unit, way back to the default, and the sentence that says why a value was refused."""

from __future__ import annotations

import html
import re
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QSlider, QToolButton, QVBoxLayout, QWidget

from app.widgets.controls import Control

TITLE_WIDTH = 104


class Row(QWidget):
    """One value of the recipe, by its dotted path."""

    edited = Signal(str, object)
    settled = Signal()
    refused = Signal(str)

    def __init__(
        self, path: str, title: str, control: Control, tip: str, *, unit: str = "", is_wide: bool = False
    ) -> None:
        super().__init__()
        self.path, self.control, self._default = path, control, None
        self.title = QLabel(title, self)
        self.title.setTextFormat(Qt.TextFormat.RichText)
        self.title.setBuddy(control)
        self.back = QToolButton(self)
        self.back.setText("↺")
        self.back.setToolTip("Back to the value that was opened")
        self.back.setProperty("role", "quiet")
        self.back.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        policy = self.back.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.back.setSizePolicy(policy)
        self.back.hide()
        self.fault = QLabel(self)
        self.fault.setProperty("role", "fault")
        self.fault.setWordWrap(True)
        self.fault.hide()
        self.unit = QLabel(unit, self)
        self.unit.setProperty("role", "muted")
        plain = _plain(title)
        control.setAccessibleName(plain)
        (control.focusProxy() or control).setAccessibleName(plain)
        for part in control.findChildren(QWidget):
            if isinstance(part, (QLineEdit, QSlider)) and not part.accessibleName():
                part.setAccessibleName(plain)
        for widget in (self.title, control, *control.findChildren(QWidget)):
            widget.setToolTip(tip)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(3)
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self.title)
        if is_wide:
            head.addWidget(self.unit)
            head.addStretch(1)
            head.addWidget(self.back)
            outer.addLayout(head)
            outer.addWidget(control)
        else:
            self.title.setFixedWidth(TITLE_WIDTH)
            head.addWidget(self.back)
            head.addWidget(control, 1)
            if unit:
                head.addWidget(self.unit)
            outer.addLayout(head)
        if not unit:
            self.unit.hide()
        outer.addWidget(self.fault)
        control.edited.connect(self._tell)
        control.settled.connect(self.settled)
        control.refused.connect(self._refuse)
        self.back.clicked.connect(self._reset)

    def show_value(self, value: Any, default: Any) -> None:
        """Show the value in force and remember what "reset" goes back to."""
        self._default = default
        self.control.show_value(value)
        is_changed = value != default
        self.back.setVisible(is_changed)
        if is_changed:
            shown = default[0] if isinstance(default, tuple) and len(default) == 1 else default
            text = f"{shown:g}" if isinstance(shown, float) else str(shown)
            self.back.setToolTip(f"Back to {text}")
            self.back.setAccessibleName(f"Reset {_plain(self.title.text())} to {text}")

    def show_fault(self, sentence: str) -> None:
        """The sentence under the control; empty to take it away."""
        self.fault.setText(sentence)
        self.fault.setVisible(bool(sentence))

    @Slot(object)
    def _tell(self, value: Any) -> None:
        self.edited.emit(self.path, value)

    @Slot(str)
    def _refuse(self, sentence: str) -> None:
        self.show_fault(sentence)
        self.refused.emit(sentence)

    @Slot()
    def _reset(self) -> None:
        self.edited.emit(self.path, self._default)
        self.settled.emit()


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))
