"""Keeps the visible range of a plot on its neurons, without jumps, until a person takes it by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QObject, QPointF, QRectF, QTimer, Signal

from app.views.axis_range import StableRange
from app.views.projections import Kind
from mft_engine.looks import Ends

_EASE = 0.35
_EASE_MS = 25
_SETTLED = 0.004
_DEFAULT = QRectF(-3, -3, 6, 6)
_MOST_POINTS = 20_000


class RangeFollower(QObject):
    """One range per axis, or one for both where they are of one kind: then the picture is square."""

    hand_changed = Signal(bool)  # True: taken by hand

    def __init__(self, box: pg.ViewBox, parent: QObject) -> None:
        super().__init__(parent)
        self._box = box
        self._kinds: tuple[Kind, Kind] = ("weight", "weight")
        self._ranges = self._fresh()
        self._is_by_hand = False
        self._ease = QTimer(self)
        self._ease.setInterval(_EASE_MS)
        self._ease.timeout.connect(self._step)
        box.sigRangeChangedManually.connect(self.taken)
        box.sigResized.connect(self._resized)

    @property
    def is_moving(self) -> bool:
        """Whether the range is on its way to a new one."""
        return self._ease.isActive()

    @property
    def is_by_hand(self) -> bool:
        """Whether a person has zoomed or moved the picture."""
        return self._is_by_hand

    def set_kinds(self, kinds: tuple[Kind, Kind]) -> None:
        """Other quantities on the axes: forgets the ranges, and locks the aspect where the kinds are equal."""
        self._kinds = kinds
        self._box.setAspectLocked(kinds[0] == kinds[1])
        self.reset()

    def reset(self) -> None:
        """The next values set the range afresh, also after a person took it by hand."""
        self._ease.stop()
        self._ranges = self._fresh()
        self._is_by_hand = False
        self.hand_changed.emit(False)
        self._set(_DEFAULT)

    @property
    def is_set(self) -> bool:
        """Whether the range is one of neurons."""
        return self._is_by_hand or all(span.is_set for span in self._ranges)

    def follow(self, x: Sequence[np.ndarray | Ends], y: Sequence[np.ndarray | Ends], *, at_once: bool) -> None:
        """Makes room for some clouds.

        Args:
            x, y: for each cloud positions along the axes, or their ends.
            at_once: jump instead of gliding (a first picture, or a window that nobody sees).
        """
        was_set = all(span.is_set for span in self._ranges)
        changed = False
        for kind, span, clouds in self._spans(x, y):
            values, counted = [c for c in clouds if not isinstance(c, Ends)], [c for c in clouds if isinstance(c, Ends)]
            if kind == "angle":
                changed |= not span.is_set
                span.low, span.high = -180.0, 180.0
            elif clouds:
                changed |= span.follow(np.concatenate(values) if values else np.empty(0), counted)
        if not changed or self._is_by_hand:
            return
        if at_once or not was_set:
            self.settle()
        elif not self._ease.isActive():
            self._ease.start()

    def take(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """A range that a person chose before, taken as if it were chosen by hand now."""
        self._set(QRectF(x[0], y[0], x[1] - x[0], y[1] - y[0]))
        self.taken()

    def settle(self) -> None:
        """Goes to where the range was gliding."""
        self._ease.stop()
        goal = self._goal()
        if goal.width() > 0 and goal.height() > 0:
            self._set(goal)

    def _fresh(self) -> tuple[StableRange, StableRange]:
        first, second = (StableRange(is_symmetric=kind in ("weight", "readout", "component")) for kind in self._kinds)
        return (first, first) if self._kinds[0] == self._kinds[1] else (first, second)

    def _spans(
        self, x: Sequence[np.ndarray | Ends], y: Sequence[np.ndarray | Ends]
    ) -> list[tuple[Kind, StableRange, list[np.ndarray | Ends]]]:
        along = [[c if isinstance(c, Ends) else c[:: len(c) // _MOST_POINTS + 1] for c in clouds] for clouds in (x, y)]
        if self._ranges[0] is self._ranges[1]:
            return [(self._kinds[0], self._ranges[0], along[0] + along[1])]
        return [(self._kinds[i], self._ranges[i], along[i]) for i in (0, 1)]

    def _goal(self) -> QRectF:
        x, y = self._ranges
        return QRectF(x.low, y.low, x.high - x.low, y.high - y.low)

    def _set(self, rect: QRectF) -> None:
        self._box.setRange(rect, padding=0)

    def _step(self) -> None:
        """A part of the way per tick: the eye follows a growing picture, but loses one that jumps."""
        goal, wanted = self._goal(), _edges(self._goal())
        edges = [(1 - _EASE) * a + _EASE * b for a, b in zip(_edges(self._box.targetRect()), wanted, strict=True)]
        if max(abs(a - b) for a, b in zip(edges, wanted, strict=True)) < _SETTLED * max(goal.width(), goal.height()):
            self.settle()
            return
        self._set(QRectF(QPointF(edges[0], edges[1]), QPointF(edges[2], edges[3])))

    def taken(self) -> None:
        """A person zoomed or moved the picture: it stays where it is."""
        self._is_by_hand = True
        self._ease.stop()
        self.hand_changed.emit(True)

    def _resized(self) -> None:
        if not self._is_by_hand:
            self.settle()


def _edges(rect: QRectF) -> tuple[float, float, float, float]:
    return rect.left(), rect.top(), rect.right(), rect.bottom()
