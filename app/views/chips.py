"""Legend chips: a coloured mark, a name and a number, which can be switched on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QSizePolicy, QWidget

from app.widgets.colours import mixed

if TYPE_CHECKING:
    from app.theme import Theme

Mark = Literal["dot", "diamond", "line", "dashes", "area"]


class LegendChip(QAbstractButton):
    """A legend entry that is also the check box of what it names."""

    def __init__(self, name: str, mark: Mark, role: str, tip: str, parent: QWidget | None = None) -> None:
        """
        Args:
            name: what it stands for, in lower case.
            mark: the shape drawn in the plot.
            role: the theme's colour for it, for example "background_cloud".
            tip: one sentence for the tooltip.
        """
        super().__init__(parent)
        self._name = name
        self._tip = tip
        self._mark = mark
        self._role = role
        self._strength = 1.0
        self._detail = ""
        self._is_brief = False
        self._theme: Theme | None = None
        self.setCheckable(True)
        self.setChecked(True)
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.set_detail("")

    def set_detail(self, detail: str) -> None:
        """The number behind the name, for example "2,048"."""
        if detail == self._detail and self.accessibleName():
            return
        self._detail = detail
        self.setAccessibleName(f"{self._name} {detail}".strip())
        self.updateGeometry()
        self.update()

    def set_name(self, name: str, tip: str = "") -> None:
        """Another name, with a sentence that the tooltip says besides."""
        self._name = name
        self.setToolTip(f"{self._tip}\n{tip}" if tip else self._tip)
        self.setAccessibleName(f"{name} {self._detail}".strip())
        self.updateGeometry()
        self.update()

    def set_strength(self, strength: float) -> None:
        """How strong its colour is against the page, 1 for the colour itself."""
        self._strength = strength
        self.update()

    def set_mark(self, mark: Mark) -> None:
        """Another shape, when the plot draws another one."""
        self._mark = mark
        self.update()

    def set_brief(self, is_brief: bool) -> None:
        """Leave the number out where there is no room for it; the tooltip's reader still hears it."""
        if is_brief != self._is_brief:
            self._is_brief = is_brief
            self.updateGeometry()
            self.update()

    def full_width(self) -> int:
        """What name and number would take, device-independent pixels."""
        metrics = self.fontMetrics()
        width = 24 + metrics.horizontalAdvance(self._name) + 8
        return width + metrics.horizontalAdvance(self._detail) + 5 if self._detail else width

    @property
    def detail(self) -> str:
        """The number shown."""
        return self._detail

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        width = 24 + metrics.horizontalAdvance(self._name) + 8 if self._is_brief else self.full_width()
        return QSize(width, metrics.height() + 8)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._theme is None:
            return
        theme = self._theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        if self.isEnabled() and (self.underMouse() or self.isDown()):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(mixed(theme.panel, theme.text, 0.10 if not self.isDown() else 0.16))
            painter.drawRoundedRect(frame, 5, 5)
        if self.hasFocus():
            painter.setPen(QPen(QColor(theme.accent), 1.4))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame.adjusted(0.5, 0.5, -0.5, -0.5), 5, 5)
        is_shown = self.isEnabled() and (self.isChecked() or not self.isCheckable())
        colour = (
            mixed(theme.panel, getattr(theme, self._role), self._strength)
            if self.isEnabled()
            else mixed(theme.panel, theme.muted, 0.5)
        )
        self._draw_mark(painter, colour, is_shown)
        metrics = self.fontMetrics()
        base = (self.height() + metrics.ascent() - metrics.descent()) / 2
        painter.setPen(QColor(theme.text if is_shown else theme.muted))
        if not self.isEnabled():
            painter.setPen(mixed(theme.panel, theme.muted, 0.75))
        painter.drawText(QPointF(22, base), self._name)
        if self._detail and not self._is_brief:
            painter.setPen(QColor(theme.muted))
            painter.drawText(QPointF(27 + metrics.horizontalAdvance(self._name), base), self._detail)

    def _draw_mark(self, painter: QPainter, colour: QColor, is_shown: bool) -> None:
        middle = QPointF(12, self.height() / 2)
        painter.setPen(QPen(colour, 1.6))
        painter.setBrush(colour if is_shown else Qt.BrushStyle.NoBrush)
        if self._mark == "dot":
            painter.drawEllipse(middle, 4.0, 4.0)
        elif self._mark == "diamond":
            x, y = middle.x(), middle.y()
            painter.drawPolygon([QPointF(x, y - 5), QPointF(x + 5, y), QPointF(x, y + 5), QPointF(x - 5, y)])
        elif self._mark == "area":
            painter.drawRoundedRect(QRectF(middle.x() - 5, middle.y() - 5, 10, 10), 2, 2)
        else:
            style = Qt.PenStyle.DashLine if self._mark == "dashes" else Qt.PenStyle.SolidLine
            pen = QPen(colour, 2.0 if is_shown else 1.0, style)
            if self._mark == "dashes":
                pen.setDashPattern([2.2, 1.4])
            painter.setPen(pen)
            painter.drawLine(QPointF(middle.x() - 7, middle.y()), QPointF(middle.x() + 7, middle.y()))
