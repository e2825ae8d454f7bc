"""Two stored runs beside each other: how their recipes differ, whether their clouds do, and both pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.theme import LIGHT, Theme
from app.views.plot_style import SparseLogAxis, line_pen, quiet_plot, style_plot
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState
from app.widgets.words import p_clause, written, written_p

if TYPE_CHECKING:
    from app.library import RunsCompared, Side
    from mft_engine.compare.clouds import Comparison

MOST_POINTS = 20_000
_HEADLINES = {
    "none": ("No verdict", "muted"),
    "consistent": ("The same law", "good"),
    "close": ("Nearly the same law", "warning"),
    "inconsistent": ("Different laws", "bad"),
}


class CompareDialog(QDialog):
    """Shows a comparison; the two clouds have linked axes, so that a place in one is the same place in the other."""

    def __init__(self, answer: RunsCompared, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("compare_dialog")
        self.setWindowTitle(f"{answer.first.title} beside {answer.second.title}")
        self.headline = QLabel(self)
        self.headline.setAccessibleName("Verdict")
        self.sentence = QLabel(self)
        self.sentence.setWordWrap(True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        worst = worst_of(answer.comparisons)
        state = (worst.verdict if worst is not None else None) or "none"
        words, role = _HEADLINES[state]
        self.headline.setText(words)
        size = self.headline.font().pointSizeF() * 1.25
        colour = getattr(theme, role)
        self.headline.setStyleSheet(f"font-size: {size:.1f}pt; font-weight: 600; color: {colour};")
        self.sentence.setText(sentence_of(answer))
        self.clouds = pg.GraphicsLayoutWidget(self)
        self.clouds.setMinimumHeight(240)
        self.clouds.setAccessibleName("The clouds of both runs, with linked axes")
        self.clouds.setBackground(theme.panel)
        self.plots = [
            self._cloud(column, side, colour, theme)
            for column, (side, colour) in enumerate(
                ((answer.first, theme.background_cloud), (answer.second, theme.accent))
            )
        ]
        self.plots[1].setXLink(self.plots[0])
        self.plots[1].setYLink(self.plots[0])
        for column in (0, 1):
            self.clouds.ci.layout.setColumnStretchFactor(column, 1)
        self._fit(answer)
        self.losses = self._curves(answer, theme)
        self.table = _difference_table(answer, self)
        below = QSplitter(Qt.Orientation.Horizontal, self)
        below.addWidget(self.table)
        below.addWidget(self.losses)
        whole = QSplitter(Qt.Orientation.Vertical, self)
        whole.addWidget(self.clouds)
        whole.addWidget(below)
        whole.setSizes([400, 200])
        below.setSizes([500, 400])
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.button(QDialogButtonBox.StandardButton.Close).setToolTip("Close the comparison")
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addWidget(self.headline)
        layout.addWidget(self.sentence)
        layout.addWidget(whole, 1)
        layout.addWidget(buttons)
        self.resize(900, 640)

    def _cloud(self, column: int, side: Side, colour: str, theme: Theme) -> pg.PlotItem:
        item = self.clouds.addPlot(0, column, title=None)
        quiet_plot(item)
        style_plot(item, theme, small=True)
        loss = "" if math.isnan(side.loss) else f", loss {written(side.loss, 3)}"
        item.setTitle(side.title + loss, color=theme.text, size="9pt")
        item.setLabel("bottom", side.names[0])
        item.setLabel("left", side.names[1])
        item.getAxis("left").setWidth(44)
        item.getViewBox().setAspectLocked(True)
        theta = side.theta[:MOST_POINTS]
        scatter = pg.ScatterPlotItem(theta[:, 0], theta[:, 1], size=4, pen=None, brush=with_opacity(colour, 0.7))
        item.addItem(scatter, ignoreBounds=True)
        return item

    def _fit(self, answer: RunsCompared) -> None:
        both = np.concatenate([answer.first.theta[:, :2].ravel(), answer.second.theta[:, :2].ravel()])
        reach = float(np.quantile(np.abs(both), 0.999)) * 1.06 or 1.0
        self.plots[0].getViewBox().setRange(xRange=(-reach, reach), yRange=(-reach, reach), padding=0)

    def _curves(self, answer: RunsCompared, theme: Theme) -> pg.PlotWidget:
        plot = pg.PlotWidget(self, enableMenu=False, axisItems={"left": SparseLogAxis("left")})
        plot.setAccessibleName("Loss curves of both runs")
        plot.setBackground(theme.panel)
        quiet_plot(plot.getPlotItem())
        style_plot(plot.getPlotItem(), theme, small=True)
        plot.getPlotItem().setLogMode(y=True)
        plot.setLabel("bottom", "time t")
        plot.setLabel("left", "loss")
        for side, colour in ((answer.first, theme.background_cloud), (answer.second, theme.accent)):
            losses = np.where(side.curve.losses > 0, side.curve.losses, np.nan)
            plot.plot(side.curve.times, losses, pen=line_pen(colour, 1.6), connect="finite")
        if not len(answer.first.curve.times) and not len(answer.second.curve.times):
            nothing = EmptyState("No losses are kept", "mft.watch(..., loss=...) asks for them.", plot, covers=True)
            nothing.apply_theme(theme)
        return plot


def worst_of(comparisons: tuple[Comparison, ...]) -> Comparison | None:
    """The layer that decides: the one least like the other's."""
    order = {"inconsistent": 0, "close": 1, None: 2, "consistent": 3}
    return min(comparisons, key=lambda c: (order[c.verdict], c.p_value), default=None)


def sentence_of(answer: RunsCompared) -> str:
    """What was found between two clouds, layer by layer, with the numbers that decide."""
    if answer.fault:
        return answer.fault
    parts = []
    for layer, comparison in enumerate(answer.comparisons, start=1):
        p = p_clause(written_p(comparison.p_value, comparison.n_permutations))
        where = f"Layer {layer}: " if len(answer.comparisons) > 1 else ""
        if comparison.verdict is None:
            parts.append(where + comparison.why)
        elif comparison.verdict == "consistent":
            parts.append(f"{where}the two clouds cannot be told apart ({p}).")
        else:
            times = written(comparison.ratio, 2)
            parts.append(f"{where}the two clouds lie {times} times as far apart as chance puts them ({p}).")
    text = " ".join(parts)
    return text[:1].upper() + text[1:]


def _difference_table(answer: RunsCompared, parent: QWidget) -> QTableWidget:
    rows = [row for row in answer.differences if row[0] not in ("name", "description")] or [
        ("no difference", "the settings are the same", "")
    ]
    table = QTableWidget(len(rows), 3, parent)
    table.setAccessibleName("How the settings differ")
    table.setToolTip("Every setting in which the two differ")
    table.setHorizontalHeaderLabels(["Setting", answer.first.title, answer.second.title])
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    table.setShowGrid(False)
    for i, values in enumerate(rows):
        for j, value in enumerate(values):
            table.setItem(i, j, QTableWidgetItem(_shown(value)))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return written(value, 4)
    if isinstance(value, (list, tuple)):
        return "; ".join(_shown(part) for part in value)
    return str(value)
