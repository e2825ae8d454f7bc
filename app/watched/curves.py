"""A plot of some lines with a legend that switches them, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.chips import LegendChip
from app.views.plot_style import SparseLogAxis, line_pen, quiet_plot, style_plot
from app.widgets.colours import mixed
from app.widgets.empty_state import EmptyState

WIDE_SPAN = 20.0


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        name: in the legend; role: the theme's colour; tip: a sentence.
        x, y: (n,); not finite ones are left out.
        strength: 1 for the colour itself, less towards the page.
        has_dots: each value is a mark.
    """

    name: str
    role: str
    tip: str
    x: np.ndarray
    y: np.ndarray
    strength: float = 1.0
    has_dots: bool = False


class CurvesView(QWidget):
    """Told what to show by `show_lines`; a logarithmic axis where values above zero span more than a factor of 20.

    Args:
        x, y: labels of the axes; title, reason: what stands there while there are no lines.
        level: a dashed horizontal line; None for none.
    """

    def __init__(
        self,
        x: str,
        y: str,
        title: str,
        reason: str,
        theme: Theme = LIGHT,
        parent: QWidget | None = None,
        *,
        level: float | None = None,
    ) -> None:
        super().__init__(parent)
        self._theme = theme
        self._lines: tuple[Line, ...] = ()
        self._drawn: dict[str, pg.PlotDataItem] = {}
        self.chips: dict[str, LegendChip] = {}
        self._header = QHBoxLayout()
        self._header.setContentsMargins(8, 4, 8, 0)
        self._header.setSpacing(4)
        self._header.addStretch(1)
        self.plot = pg.PlotWidget(self, enableMenu=False, axisItems={"left": SparseLogAxis("left")})
        self.plot.setAccessibleName(title)
        quiet_plot(self.plot.getPlotItem())
        self.plot.setLabel("bottom", x)
        self.plot.setLabel("left", y)
        self.plot.getAxis("left").setWidth(54)
        self._level = None if level is None else pg.InfiniteLine(pos=level, angle=0)
        if self._level is not None:
            self.plot.addItem(self._level)
        self.empty = EmptyState(title, reason, self.plot, covers=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self._header)
        layout.addWidget(self.plot, 1)
        self.setMinimumSize(240, 130)
        self.apply_theme(theme)

    def show_lines(self, lines: Sequence[Line]) -> None:
        """Draw these lines instead of the ones before; none: the reason comes back."""
        self._lines = tuple(lines)
        names = [line.name for line in lines]
        for name in [name for name in self.chips if name not in names]:
            chip = self.chips.pop(name)
            self._header.removeWidget(chip)
            chip.deleteLater()
            self.plot.removeItem(self._drawn.pop(name))
        for line in lines:
            if line.name not in self.chips:
                mark = "dot" if line.has_dots else "line"
                chip = LegendChip(line.name, mark, line.role, line.tip, self)  # type: ignore[arg-type]
                chip.toggled.connect(self._redraw)
                self.chips[line.name] = chip
                self._header.insertWidget(self._header.count() - 1, chip)
                self._drawn[line.name] = self.plot.plot([], [])
            self.chips[line.name].set_strength(line.strength)
        self.empty.setVisible(not lines)
        self.apply_theme(self._theme)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plot.setBackground(theme.panel)
        style_plot(self.plot.getPlotItem(), theme, small=True)
        self.empty.apply_theme(theme)
        for chip in self.chips.values():
            chip.apply_theme(theme)
        if self._level is not None:
            self._level.setPen(line_pen(theme.muted, 1, Qt.PenStyle.DashLine))
        self._redraw()

    def _redraw(self) -> None:
        shown = [line for line in self._lines if self.chips[line.name].isChecked()]
        values = np.concatenate([line.y[np.isfinite(line.y)] for line in shown]) if shown else np.zeros(0)
        is_log = bool(len(values)) and float(values.min()) > 0 and float(values.max()) > WIDE_SPAN * float(values.min())
        self.plot.setLogMode(y=is_log)
        if self._level is not None:
            self._level.setVisible(bool(shown) and not is_log)
        for line in self._lines:
            item, fits = self._drawn[line.name], np.isfinite(line.y)
            item.setVisible(line in shown)
            colour = mixed(self._theme.panel, getattr(self._theme, line.role), line.strength)
            item.setPen(line_pen(colour, 1.6))
            item.setSymbol("o" if line.has_dots else None)
            item.setSymbolSize(5)
            item.setSymbolBrush(colour)
            item.setSymbolPen(None)
            item.setData(line.x[fits], line.y[fits])
        if len(values) and not is_log:
            self.plot.setYRange(min(0.0, float(values.min())), 1.08 * float(values.max()) or 1.0, padding=0)
        else:
            self.plot.enableAutoRange(y=True)
        self.plot.enableAutoRange(x=True)
