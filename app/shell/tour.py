"""The guided tour: five steps on the live picture, each beside what it speaks of."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from mft_engine.resources import resources_folder

WIDTH = 320
GAP = 12


@dataclass(frozen=True)
class Step:
    """One step: what is pointed at, what is said, and what its button does (empty: nothing)."""

    title: str
    target: str
    text: str
    button: str = ""
    act: str = ""


def read_steps() -> tuple[Step, ...]:
    """The steps of `resources/tour.toml`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    document = tomllib.loads((resources_folder() / "tour.toml").read_text(encoding="utf-8"))
    return tuple(Step(**step) for step in document["steps"])


class _Frame(QWidget):
    """A line around what is spoken of; the mouse goes through."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.colour = QColor(LIGHT.accent)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self.colour, 3))
        painter.drawRoundedRect(self.rect().adjusted(2, 2, -2, -2), 8, 8)


class Tour(QObject):
    """Goes through the steps; the window stays usable meanwhile.

    Args:
        targets: name -> finds the widget that is pointed at, opening what hides it.
        acts: name -> what a step's button does.
    """

    ended = Signal()

    def __init__(
        self, window: QWidget, targets: Mapping[str, Callable[[], QWidget]], acts: Mapping[str, Callable[[], None]]
    ) -> None:
        super().__init__(window)
        self._window, self._targets, self._acts = window, targets, acts
        self._steps = read_steps()
        self._at = -1
        self._is_offered = False
        self._target: QWidget = window
        self._frame = _Frame(window)
        self.bubble = QFrame(window)
        self.bubble.setObjectName("tour")
        self.bubble.setProperty("role", "bubble")
        self.bubble.setFixedWidth(WIDTH)
        self.count = QLabel(self.bubble)
        self.count.setProperty("role", "muted")
        self.title = QLabel(self.bubble)
        self.title.setProperty("role", "heading")
        self.text = QLabel(self.bubble)
        self.text.setWordWrap(True)
        self.text.setAccessibleName("What the tour says")
        self.act, self.back = QPushButton(self.bubble), QPushButton("Back", self.bubble)
        self.next, self.end = QPushButton("Next", self.bubble), QPushButton("End", self.bubble)
        tips = {
            self.act: "Do what is described",
            self.back: "The step before",
            self.next: "The next step",
            self.end: "Leave the tour (Help brings it back)",
        }
        for button, tip in tips.items():
            button.setToolTip(tip)
            button.setAccessibleName(tip)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(self.count)
        below = QHBoxLayout()
        for button in (self.end, self.back, self.next):
            below.addWidget(button)
        layout = QVBoxLayout(self.bubble)
        layout.setContentsMargins(14, 10, 14, 10)
        layout.addLayout(head)
        layout.addWidget(self.text)
        layout.addWidget(self.act)
        layout.addLayout(below)
        self.act.clicked.connect(self._do)
        self.back.clicked.connect(lambda: self._go(self._at - 1))
        self.next.clicked.connect(self._go_on)
        self.end.clicked.connect(self.stop)
        self._frame.hide()
        self.bubble.hide()

    @property
    def is_running(self) -> bool:
        """Whether a step is on the screen."""
        return self._at >= 0

    @property
    def step(self) -> int:
        """The step on the screen, from 0; -1 for none."""
        return self._at

    def start(self) -> None:
        """From the first step on."""
        self._window.installEventFilter(self)
        self._go(0)

    def offer(self) -> None:
        """Ask whether somebody who is new here wants to be shown around; nothing is covered but a corner."""
        self._is_offered = True
        self._window.installEventFilter(self)
        self._target = self._targets["cloud"]()
        self.title.setText("New here?")
        self.text.setText("Five steps on the live picture show what this window is about. Help brings them back.")
        self.count.clear()
        self.act.hide()
        self.back.hide()
        self.end.setText("Not Now")
        self.next.setText("Show Me")
        self._place(is_framed=False)
        self.next.setFocus()

    @Slot()
    def _go_on(self) -> None:
        self._go(self._at + 1)

    @Slot()
    def stop(self) -> None:
        """The end, wherever it is."""
        if self._at >= 0 or self._is_offered:
            self._at, self._is_offered = -1, False
            self._window.removeEventFilter(self)
            self._frame.hide()
            self.bubble.hide()
            self.ended.emit()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._frame.colour = QColor(theme.accent)
        self._frame.update()

    def _go(self, place: int) -> None:
        if place >= len(self._steps):
            self.stop()
            return
        self._at, self._is_offered = max(0, place), False
        self.end.setText("End")
        self.back.show()
        step = self._steps[self._at]
        self._target = self._targets[step.target]()
        self.title.setText(step.title)
        self.text.setText(step.text)
        self.count.setText(f"{self._at + 1} of {len(self._steps)}")
        self.act.setText(step.button)
        self.act.setVisible(bool(step.act))
        self.back.setEnabled(self._at > 0)
        self.next.setText("Next" if self._at + 1 < len(self._steps) else "Done")
        self._place()
        (self.act if step.act else self.next).setFocus()

    @Slot()
    def _do(self) -> None:
        self._acts[self._steps[self._at].act]()

    def _place(self, *, is_framed: bool = True) -> None:
        """Beside the target: to its right where there is room, else to its left, below, or inside it."""
        window = self._window.rect()
        corner = self._target.mapTo(self._window, QPoint(0, 0))
        target = QRect(corner, self._target.size()).intersected(window)
        self._frame.setGeometry(target.adjusted(-4, -4, 4, 4).intersected(window))
        layout = self.bubble.layout()
        assert layout is not None
        layout.activate()  # a button that has just come or gone counts at once
        size = QSize(WIDTH, max(layout.totalHeightForWidth(WIDTH), layout.totalSizeHint().height()))
        beside = min(target.top(), window.bottom() - size.height() - 8)
        places = (
            QPoint(target.right() + GAP, beside),
            QPoint(target.left() - GAP - size.width(), beside),
            QPoint(target.left(), target.bottom() + GAP),
            QPoint(target.center().x() - size.width() // 2, target.bottom() - size.height() - GAP),
        )
        fitting = [place for place in places if window.contains(QRect(place, size))]
        chosen = fitting[0] if fitting and is_framed else places[-1]  # an offer covers no control
        x = min(max(chosen.x(), 8), window.width() - size.width() - 8)
        y = min(max(chosen.y(), 8), window.height() - size.height() - 8)
        self.bubble.setGeometry(QRect(QPoint(x, y), size))
        for part in (self._frame, self.bubble) if is_framed else (self.bubble,):
            part.show()
            part.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and (self.is_running or self._is_offered):
            self._place(is_framed=self.is_running)
        return False
