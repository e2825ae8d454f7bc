"""The card that states the verdict: in words first, with an icon and a colour that say the same."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.widgets.colours import mixed

State = Literal["none", "pending", "consistent", "close", "inconsistent"]

_ROLES = {"none": "muted", "pending": "accent", "consistent": "good", "close": "warning", "inconsistent": "bad"}


class VerdictIcon(QWidget):
    """A disc with a tick, a wave, a cross, dots or nothing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: State = "none"
        self._colour = QColor("#808080")
        self._ink = QColor("#ffffff")
        self.setFixedSize(QSize(34, 34))

    def show_state(self, state: State, colour: QColor, ink: QColor) -> None:
        """Draws the sign of a state in its colour."""
        self._state, self._colour, self._ink = state, colour, ink
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        disc = QRectF(self.rect()).adjusted(2, 2, -2, -2)
        if self._state == "none":
            pen = QPen(self._colour, 2, Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawEllipse(disc)
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour)
        painter.drawEllipse(disc)
        pen = QPen(self._ink, 3.0, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._state == "consistent":
            painter.drawPolyline([QPointF(10.5, 17.5), QPointF(15.2, 22.2), QPointF(24, 12.5)])
        elif self._state == "close":
            for y in (14.0, 20.5):
                painter.drawPolyline(
                    [QPointF(10, y + 1), QPointF(13.5, y - 1.5), QPointF(20.5, y + 1.5), QPointF(24, y - 1)]
                )
        elif self._state == "inconsistent":
            painter.drawLine(QPointF(12, 12), QPointF(22, 22))
            painter.drawLine(QPointF(22, 12), QPointF(12, 22))
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._ink)
            for x in (10.5, 17.0, 23.5):
                painter.drawEllipse(QPointF(x, 17), 2.3, 2.3)


class VerdictCard(QFrame):
    """Icon, headline, sentence; greyed with a reason when it no longer belongs to what is on screen."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("verdictCard")
        self._theme = theme
        self._state: State = "none"
        self._stale = ""
        self.icon = VerdictIcon(self)
        self.headline = QLabel(self)
        self.sentence = QLabel(self)
        self.certificate = QLabel(self)
        self.stale_reason = QLabel(self)
        for label in (self.sentence, self.certificate, self.stale_reason):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(self.headline)
        words.addWidget(self.sentence)
        words.addWidget(self.certificate)
        words.addWidget(self.stale_reason)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 12, 12, 12)
        row.setSpacing(12)
        row.addWidget(self.icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        self.show_state("none", "No verdict yet", "")

    def show_state(self, state: State, headline: str, sentence: str) -> None:
        """States something new; it is not stale."""
        self._state, self._stale = state, ""
        self.headline.setText(headline)
        # A number and its % stay on one line.
        self.sentence.setText(sentence.replace(" %", "\u00a0%"))
        self.sentence.setVisible(bool(sentence))
        self.show_certificate("")

    def show_certificate(self, sentence: str) -> None:
        """Which certificate is behind the verdict; empty until one is known."""
        self.certificate.setText(sentence)
        self.certificate.setVisible(bool(sentence))
        self._restyle()

    def mark_stale(self, reason: str) -> None:
        """Greys the verdict and says why it no longer holds; without a verdict there is nothing to grey."""
        if self._state in ("none", "pending"):
            return
        self._stale = reason
        self._restyle()

    @property
    def is_stale(self) -> bool:
        """Whether the verdict is greyed."""
        return bool(self._stale)

    @property
    def state(self) -> State:
        """What the card states."""
        return self._state

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self._restyle()

    def _restyle(self) -> None:
        theme = self._theme
        role = "muted" if self._stale else _ROLES[self._state]
        colour = QColor(getattr(theme, role))
        is_calm = self._stale or self._state == "none"
        fill = QColor(theme.raised) if is_calm else mixed(theme.panel, colour.name(), 0.10)
        edge = QColor(theme.line) if is_calm else mixed(theme.panel, colour.name(), 0.45)
        self.icon.show_state(self._state, colour, QColor(theme.panel))
        size = self.font().pointSizeF()
        self.setStyleSheet(
            f"#verdictCard {{ background: {fill.name()}; border: 1px solid {edge.name()}; border-radius: 8px; }}"
            "#verdictCard QLabel { background: transparent; }"
        )
        self.headline.setStyleSheet(f"color: {colour.name()}; font-size: {size * 1.5:.1f}pt; font-weight: 600;")
        self.sentence.setStyleSheet(f"color: {theme.muted if is_calm else theme.text};")
        self.certificate.setStyleSheet(f"color: {theme.muted};")
        self.stale_reason.setStyleSheet(f"color: {theme.warning}; font-weight: 600;")
        self.stale_reason.setText(f"Out of date: {self._stale}" if self._stale else "")
        self.stale_reason.setVisible(bool(self._stale))
        labels = (self.headline, self.sentence, self.certificate, self.stale_reason)
        self.setAccessibleName(" ".join(label.text() for label in labels if label.text()))
