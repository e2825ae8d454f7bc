"""The loop view: how far each turn of the self-consistency loop is from the fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget
from superqt.utils import QFlowLayout

from app.theme import LIGHT, Theme
from app.views.axis_range import StableRange
from app.views.chips import LegendChip, Mark
from app.views.plot_style import SparseLogAxis, WholeAxis, line_pen, quiet_plot, style_plot
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState
from app.widgets.log_slider import LogSlider
from app.widgets.words import written

if TYPE_CHECKING:
    from mft_engine.questions.loop import Iteration

TURNS = (20, 60, 200, 1000)
USUAL_TURNS = 60
USUAL_DAMPING = 0.01
LOWEST_DAMPING = 0.001
_FEWEST_SHOWN = 5
_LABEL_HEIGHT = 18.0

# Name, mark of the chip, symbol of the points, role of the colour, tooltip.
_SERIES: tuple[tuple[str, Mark, str, str, str], ...] = (
    ("gap", "dot", "o", "accent", "½ |f − f[μ]|²: f is felt, f[μ] is the answer of the neurons. 0 at self-consistency"),
    (
        "excess",
        "area",
        "s",
        "theory",
        "Free-energy excess F(μ) − F(μ*) over the exact optimum, in the gap's units. A small rest is quadrature error",
    ),
    ("KL", "diamond", "d", "warning", "KL(μ | μ*) in nats: relative entropy of the neuron law from the exact optimum"),
)
_NOTHING = (
    "No loop yet",
    "Iterate: the foreground becomes the background, again and again, from the background on screen.",
)


class LoopView(QWidget):
    """Told what to show by `begin`, `show_turns` and `end`; holds the choice of damping and turns."""

    def __init__(self, tolerance: float, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        """
        Args:
            tolerance: gap below which the loop ends.
            theme: colours.
            parent: owner.
        """
        super().__init__(parent)
        self._theme = theme
        self._tolerance = tolerance
        self._turns: list[int] = []
        self._values: dict[str, list[float]] = {name: [] for name, *_ in _SERIES}
        self._start = ""
        self._range = StableRange(is_symmetric=False)
        self._is_following = True
        self.chips: dict[str, LegendChip] = {}
        self.damping_choice = QComboBox(self)
        self.damping_slider = LogSlider(LOWEST_DAMPING, 1.0, self)
        self.turns_choice = QComboBox(self)
        self.sentence = QLabel(self)
        axes = {"left": SparseLogAxis("left"), "bottom": WholeAxis("bottom")}
        self.plot = pg.PlotWidget(self, enableMenu=False, axisItems=axes)
        self._box = self.plot.getViewBox()
        self._curves: dict[str, pg.PlotDataItem] = {}
        self._build_plot()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._build_header())
        layout.addWidget(self.sentence)
        layout.addWidget(self.plot, 1)
        self.sentence.setContentsMargins(12, 0, 8, 2)
        self.sentence.setWordWrap(True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setAccessibleName("What is seen in the loop")
        self.setMinimumSize(240, 130)
        self.apply_theme(theme)
        self.clear()

    def _build_header(self) -> QWidget:
        header = QWidget(self)
        flow = QFlowLayout(header)
        flow.setContentsMargins(8, 4, 8, 2)
        flow.setHorizontalSpacing(14)
        flow.setVerticalSpacing(2)
        chips, damping, turns = (QWidget(header) for _ in range(3))
        rows = [QHBoxLayout(part) for part in (chips, damping, turns)]
        for part, row in zip((chips, damping, turns), rows, strict=True):
            row.setContentsMargins(0, 0, 0, 0)
            row.setSpacing(4)
            flow.addWidget(part)
        for name, mark, _, role, tip in _SERIES:
            chip = LegendChip(name, mark, role, tip, self)
            chip.toggled.connect(self._redraw)
            self.chips[name] = chip
            rows[0].addWidget(chip)
        self.damping_choice.addItem("automatic", None)
        self.damping_choice.addItem("fixed", "fixed")
        tips = (
            "All neurons respond at once: Newton's step on the dual, shortened until its value rises",
            "f ← f + damping × (f[μ] − f): 1 is the plain loop, which overshoots outside the lazy regime",
        )
        for k, tip in enumerate(tips):
            self.damping_choice.setItemData(k, tip, Qt.ItemDataRole.ToolTipRole)
        self.damping_choice.setToolTip("How far the background moves towards its foreground in every turn")
        self.damping_choice.setAccessibleName("Damping of the loop")
        self.damping_choice.currentIndexChanged.connect(self._damping_picked)
        self.damping_slider.set_value(USUAL_DAMPING)
        self.damping_slider.setMinimumWidth(170)
        self.damping_slider.setToolTip("Damping, 0.001 to 1 (no unit)")
        for part in (self.damping_slider.slider, self.damping_slider.entry):
            part.setAccessibleName("Damping")
            part.setToolTip(self.damping_slider.toolTip())
        self.damping_slider.changed.connect(self._damping_moved)
        self.damping_slider.setVisible(False)
        for widget in (QLabel("damping", self), self.damping_choice, self.damping_slider):
            rows[1].addWidget(widget)
        for n_turns in TURNS:
            self.turns_choice.addItem(f"{n_turns:,}", n_turns)
        self.turns_choice.setCurrentIndex(TURNS.index(USUAL_TURNS))
        self.turns_choice.setToolTip("The loop ends after so many turns where it has not converged before")
        self.turns_choice.setAccessibleName("Largest number of turns")
        for widget in (QLabel("turns", self), self.turns_choice):
            rows[2].addWidget(widget)
        return header

    def _build_plot(self) -> None:
        plot = self.plot.getPlotItem()
        self.plot.setAccessibleName("Distance from the fixed point against the turn of the loop")
        quiet_plot(plot)
        plot.layout.setContentsMargins(4, 4, 14, 2)
        self.plot.setLogMode(y=True)
        for k, (name, *_) in enumerate(_SERIES):
            curve = pg.PlotDataItem(connect="finite")
            curve.setZValue(20 - k)
            self.plot.addItem(curve, ignoreBounds=True)
            self._curves[name] = curve
        # Below its line at the left: the curves come from above and end at the right.
        options = {"position": 0.03, "movable": False, "anchors": [(0, 0), (0, 0)]}
        self._tolerance_line = pg.InfiniteLine(
            angle=0, pos=np.log10(self._tolerance), label="gap at which the loop ends", labelOpts=options
        )
        options = {"position": 0.97, "movable": False, "anchors": [(-0.03, 0), (-0.03, 0)]}
        self._start_line = pg.InfiniteLine(angle=90, pos=0, label="", labelOpts=options)
        for line in (self._tolerance_line, self._start_line):
            self.plot.addItem(line, ignoreBounds=True)
        self.plot.setLabel("bottom", "turn")
        self.plot.setLabel("left", "distance")
        self.plot.getAxis("left").setWidth(58)
        self.plot.getAxis("bottom").setHeight(34)
        self.plot.setToolTip("Wheel zooms, drag moves, double click fits the picture again")
        self.empty = EmptyState(
            *_NOTHING,
            self.plot,
            covers=True,
        )
        self._box.sigRangeChangedManually.connect(self._taken_by_hand)
        self._box.sigResized.connect(self._redraw)
        self.plot.viewport().installEventFilter(self)

    # What a person chose

    @property
    def damping(self) -> float | None:
        """In (0, 1]; None for the automatic step."""
        return None if self.damping_choice.currentData() is None else self.damping_slider.value

    @property
    def n_turns(self) -> int:
        """The largest number of turns."""
        return int(self.turns_choice.currentData())

    # What is shown

    def begin(self, start: str) -> None:
        """A new loop.

        Args:
            start: the background it starts from, for example "trained, t = 24.00".
        """
        self.clear()
        self._start = start
        self.empty.setVisible(False)
        self._say("The loop has begun.")
        self._redraw()
        # A label takes no text while its line is hidden.
        self._start_line.label.setFormat(f"start: {start}")

    def show_turns(self, turns: Sequence[Iteration]) -> None:
        """The next turns, in order."""
        for turn in turns:
            self._turns.append(turn.index)
            for name, value in (("gap", turn.gap), ("excess", turn.excess), ("KL", turn.kl)):
                is_known = value is not None and np.isfinite(value) and value > 0
                self._values[name].append(float(value) if is_known and value is not None else np.nan)
        for name, values in self._values.items():
            self.chips[name].setEnabled(bool(np.isfinite(values).any()))
            self.chips[name].set_detail(written(values[-1], 2) if np.isfinite(values[-1]) else "")
        self._say(f"Turn {turns[-1].index}: gap {written(turns[-1].gap, 2)}")
        self._redraw()

    def end(self, sentence: str) -> None:
        """The loop is over; the sentence says how."""
        self._say(sentence)

    def clear(self) -> None:
        """Forgets the loop."""
        self._turns.clear()
        for name in self._values:
            self._values[name].clear()
            self.chips[name].setEnabled(False)
            self.chips[name].set_detail("")
        self._start = ""
        self._range.forget()
        self._is_following = True
        self.empty.setVisible(True)
        self._say("")
        self._redraw()

    def say_why_not(self, reason: str) -> None:
        """Why there can be no loop, in place of how to begin one; empty where there can."""
        self.empty.set_text(*(("No loop", reason) if reason else _NOTHING))

    def reset_view(self) -> None:
        """Fits the picture to the loop again."""
        self._is_following = True
        self._range.forget()
        self._redraw()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plot.setBackground(theme.panel)
        style_plot(self.plot.getPlotItem(), theme)
        self.empty.apply_theme(theme)
        for chip in self.chips.values():
            chip.apply_theme(theme)
        for name, _, symbol, role, _ in _SERIES:
            colour = getattr(theme, role)
            curve = self._curves[name]
            curve.setPen(line_pen(colour, 1.8))
            curve.setSymbol(symbol)
            curve.setSymbolSize(7)
            curve.setSymbolBrush(pg.mkBrush(colour))
            curve.setSymbolPen(None)
        self._tolerance_line.setPen(line_pen(theme.good, 1.2, Qt.PenStyle.DashLine))
        self._tolerance_line.label.setColor(theme.good)
        self._start_line.setPen(line_pen(theme.muted, 1, Qt.PenStyle.DotLine))
        self._start_line.label.setColor(theme.text)
        for line in (self._tolerance_line, self._start_line):
            line.label.fill = pg.mkBrush(with_opacity(theme.panel, 0.85))
        self.sentence.setStyleSheet(f"color: {theme.text};")
        self._redraw()

    # Drawing

    def _say(self, sentence: str) -> None:
        self.sentence.setText(sentence)
        self.sentence.setVisible(bool(sentence))

    @Slot()
    def _redraw(self) -> None:
        has_loop = bool(self._start)
        for line in (self._tolerance_line, self._start_line):
            line.setVisible(has_loop)
        shown = []
        for name, curve in self._curves.items():
            values = np.array(self._values[name])
            is_shown = self.chips[name].isChecked() and bool(np.isfinite(values).any())
            curve.setVisible(is_shown)
            curve.setData(np.array(self._turns, dtype=float), values)
            if is_shown:
                shown.append(np.log10(values[np.isfinite(values)]))
        if not has_loop:
            self._box.setRange(xRange=(0, _FEWEST_SHOWN), yRange=(-6, 0), padding=0)
            return
        floor = np.log10([self._tolerance])
        self._range.follow(np.concatenate([floor, *shown]))
        if self._is_following and self._range.is_set:
            share = min(_LABEL_HEIGHT / max(self._box.height(), 1.0), 0.25)
            spare = share * (self._range.high - self._range.low) / (1 - 2 * share)
            end = max(self._turns[-1] if self._turns else 0, _FEWEST_SHOWN)
            self._box.setRange(
                xRange=(-0.02 * end, end * 1.02),
                yRange=(self._range.low - spare, self._range.high + spare),
                padding=0,
            )
        for line in (self._tolerance_line, self._start_line):
            line.label.updatePosition()

    @Slot(int)
    def _damping_picked(self, index: int) -> None:
        self.damping_slider.setVisible(self.damping is not None)

    @Slot(float)
    def _damping_moved(self, value: float) -> None:
        # A typed number may lie outside the slider's range.
        self.damping_slider.set_value(min(1.0, max(LOWEST_DAMPING, value)))

    @Slot()
    def _taken_by_hand(self) -> None:
        self._is_following = False

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseButtonDblClick:
            self.reset_view()
        return False
