"""The width view: networks of N neurons, sampled exactly, beside the infinite-width law and its correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.chips import LegendChip, Mark
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.widgets.empty_state import EmptyState
from app.widgets.words import written

if TYPE_CHECKING:
    from mft_engine.questions.widths import WidthRow

# Key in a row, title of the plot, sign.
_QUANTITIES = (
    ("loss", "loss", 1.0),
    ("cos4", "−⟨cos 4θ⟩", -1.0),
    ("mean_square_norm", "E|w|²", 1.0),
    ("mean_square_readout", "E a²", 1.0),
)
_SERIES: tuple[tuple[str, Mark, str, str], ...] = (
    ("sampled", "dot", "background_cloud",
     "Networks of N neurons at equilibrium, exact Gibbs sampling; bars are one standard error"),
    ("finite width", "line", "theory", "The corrected law of one neuron of N, solved without simulation"),
    ("infinite width", "dashes", "theory", "The law of the infinitely wide network"),
    ("uncorrected", "diamond", "foreground_cloud",
     "An exact foreground: the Gibbs law of the network's own averaged residual, without the correction for finite N"),
)  # fmt: skip
_TICKS = (8, 128, 4096)
_NOTHING = (
    "No widths yet",
    "Study Widths samples networks of 8 to 4,096 neurons and lays the corrected law beside them "
    "(half a minute to a few minutes).",
)


class WidthView(QWidget):
    """Told what to show by `begin`, `add_row` and `end`; N on a logarithmic axis."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._rows: list[WidthRow] = []
        self.chips: dict[str, LegendChip] = {}
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 8, 0)
        header.setSpacing(4)
        for name, mark, role, tip in _SERIES:
            chip = LegendChip(name, mark, role, tip, self)
            chip.setEnabled(False)
            chip.toggled.connect(self._redraw)
            self.chips[name] = chip
            header.addWidget(chip)
        header.addStretch(1)
        self.button = QPushButton(self)
        header.addWidget(self.button)
        self.sentence = QLabel(self)
        self.sentence.setContentsMargins(12, 0, 8, 2)
        self.sentence.setWordWrap(True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setAccessibleName("What is seen of the width")
        self.plots = pg.GraphicsLayoutWidget(self)
        self.plots.setAccessibleName("Loss and moments against the number of neurons")
        self.plots.ci.setContentsMargins(6, 0, 12, 2)
        self.plots.ci.setSpacing(10)
        self._items: dict[str, pg.PlotItem] = {}
        self._curves: dict[tuple[str, str], pg.PlotDataItem] = {}
        self._bars: dict[str, pg.ErrorBarItem] = {}
        for k, (key, title, _) in enumerate(_QUANTITIES):
            self._add_plot(k, key, title)
        self.empty = EmptyState(
            *_NOTHING,
            self.plots,
            covers=True,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.sentence)
        layout.addWidget(self.plots, 1)
        self.setMinimumSize(320, 130)
        self.apply_theme(theme)
        self.clear()

    def _add_plot(self, column: int, key: str, title: str) -> None:
        item = self.plots.addPlot(0, column)
        quiet_plot(item)
        item.setMouseEnabled(False, False)
        item.setLabel("bottom", f"{title} against N")
        item.getAxis("bottom").setTicks([[(np.log10(n), f"{n:,}") for n in _TICKS], []])
        item.getAxis("bottom").setHeight(34)
        item.getAxis("left").setWidth(46)
        bars = pg.ErrorBarItem(beam=0.06)
        bars.setZValue(9)
        item.addItem(bars)
        self._items[key], self._bars[key] = item, bars
        for z, (name, *_) in enumerate(_SERIES):
            curve = pg.PlotDataItem(connect="finite")
            curve.setZValue(10 - z)
            item.addItem(curve)
            self._curves[key, name] = curve

    def set_action(self, action: QAction) -> None:
        """The action that starts the study, as a button beside the legend."""
        self.button.setText(action.text())
        self.button.clicked.connect(action.trigger)
        self._action = action
        action.changed.connect(self._follow_action)
        self._follow_action()

    @Slot()
    def _follow_action(self) -> None:
        self.button.setEnabled(self._action.isEnabled())
        self.button.setToolTip(self._action.toolTip())

    # What is shown

    def begin(self) -> None:
        """A new study."""
        self.clear()
        self.empty.setVisible(False)
        self._say("Sampling networks of 8 neurons …")

    def add_row(self, row: WidthRow) -> None:
        """The next width, ascending."""
        self._rows.append(row)
        for chip in self.chips.values():
            chip.setEnabled(True)
        self._say(summary(self._rows))
        self._redraw()

    def end(self, sentence: str = "") -> None:
        """The study is over; a sentence where it was stopped or its numbers do not hold any more."""
        self._say(" ".join(part for part in (sentence, summary(self._rows)) if part))

    def say_why_not(self, reason: str) -> None:
        """Why there can be no study, in place of how to begin one; empty where there can."""
        self.empty.set_text(*(("No width study", reason) if reason else _NOTHING))

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to see."""
        return bool(self._rows)

    def clear(self) -> None:
        """Forgets the study."""
        self._rows.clear()
        for chip in self.chips.values():
            chip.setEnabled(False)
        self.empty.setVisible(True)
        self._say("")
        self._redraw()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plots.setBackground(theme.panel)
        self.empty.apply_theme(theme)
        self.sentence.setStyleSheet(f"color: {theme.text};")
        for chip in self.chips.values():
            chip.apply_theme(theme)
        for key, item in self._items.items():
            style_plot(item, theme, small=True)
            self._bars[key].setOpts(pen=line_pen(theme.background_cloud, 1.4))
            self._style(key, "sampled", None, "o", theme.background_cloud)
            self._style(key, "finite width", Qt.PenStyle.SolidLine, None, theme.theory)
            self._style(key, "infinite width", Qt.PenStyle.DashLine, None, theme.theory)
            self._style(key, "uncorrected", None, "d", theme.foreground_cloud)

    def _style(self, key: str, name: str, line: Qt.PenStyle | None, symbol: str | None, colour: str) -> None:
        curve = self._curves[key, name]
        curve.setPen(line_pen(colour, 1.8, line) if line is not None else None)
        curve.setSymbol(symbol)
        if symbol is not None:
            curve.setSymbolSize(7 if symbol == "o" else 9)
            curve.setSymbolBrush(pg.mkBrush(colour))
            curve.setSymbolPen(None)

    # Drawing

    def _say(self, sentence: str) -> None:
        self.sentence.setText(sentence)
        self.sentence.setVisible(bool(sentence))

    def _redraw(self) -> None:
        x = np.log10([row.n_neurons for row in self._rows]) if self._rows else np.empty(0)
        for key, _, sign in _QUANTITIES:
            means = np.array([row.simulated[key].mean for row in self._rows]) * sign
            errors = np.array([row.simulated[key].standard_error for row in self._rows])
            values = {
                "sampled": means,
                "finite width": np.array([row.corrected[key] for row in self._rows]) * sign,
                "infinite width": np.array([row.infinite[key] for row in self._rows]) * sign,
                "uncorrected": np.array([row.uncorrected[key] for row in self._rows]) * sign,
            }
            shown = [means - errors, means + errors]
            for name, y in values.items():
                is_shown = self.chips[name].isChecked() and len(y) > 0
                curve = self._curves[key, name]
                curve.setVisible(is_shown)
                curve.setData(x, y)
                if is_shown:
                    shown.append(y)
            self._bars[key].setVisible(self.chips["sampled"].isChecked() and len(x) > 0)
            self._bars[key].setData(x=x, y=means, height=2 * errors)
            self._fit(key, np.concatenate(shown) if shown else np.empty(0))

    def _fit(self, key: str, values: np.ndarray) -> None:
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
        box = self._items[key].getViewBox()
        box.setRange(xRange=(np.log10(6), np.log10(16000)), yRange=(low - margin, high + margin), padding=0)


def summary(rows: Sequence[WidthRow]) -> str:
    """How far the corrected and the uncorrected law are from the sampled networks, in standard errors."""
    if not rows:
        return ""
    keys = [key for key, *_ in _QUANTITIES]
    corrected, uncorrected = (
        np.sqrt(np.mean([
            ((law[key] - row.simulated[key].mean) / max(row.simulated[key].standard_error, 1e-12)) ** 2
            for row in rows for law in (getattr(row, name),) for key in keys
        ]))
        for name in ("corrected", "uncorrected")
    )  # fmt: skip
    widths = f"N = {rows[0].n_neurons:,} to {rows[-1].n_neurons:,}" if len(rows) > 1 else f"N = {rows[0].n_neurons:,}"
    return (
        f"{widths}: finite-width law {written(float(corrected), 2)} standard errors from the sampled networks "
        f"(r.m.s.), uncorrected law {written(float(uncorrected), 2)}."
    )
