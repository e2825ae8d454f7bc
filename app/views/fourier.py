"""The Fourier view: which waves the neurons of a network that adds modulo P have become, and how often it is right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.chips import LegendChip
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState
from mft_engine.looks import N_PHASES, WavesSeen
from mft_engine.questions.waves import Waves, phase_agreement, waves

_CLOUDS = ("background", "foreground")
_SERIES = (*_CLOUDS, "theory")
_LABELS_BELOW = 0.45  # share of right answers where the lines of words would be crossed
# Neurons that add little to their wave have a phase by chance: the strongest ones make the picture.
_MOST_OF_LAW = 600
_OTHER_TASK = "This view is for modular addition: choose that task, or the recipe modular-addition."


class FourierView(QWidget):
    """Told the clouds by `show_clouds`, (n_neurons, 3 P) columns w, v, a; empty for other tasks (modulus 0).

    The infinitely wide network's law stands behind them: how its neurons spread over frequencies, their phases, and
    what its mean function answers.
    """

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._modulus = 0
        self._is_laid_out = True
        self._waves: dict[str, Waves | None] = dict.fromkeys(_SERIES)
        self._law: np.ndarray | None = None
        self._law_answers: float | None = None
        self._metrics: Mapping[str, np.ndarray] = {}
        self._chosen: Mapping[str, np.ndarray] = {}
        self._counted: Mapping[str, WavesSeen] = {}
        self.chips = {name: LegendChip(name, "dot", f"{name}_cloud", f"The {name}'s neurons", self) for name in _CLOUDS}
        self.chips["theory"] = LegendChip("theory", "dashes", "theory", "Neurons of the exact infinite-width law", self)
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 8, 2)
        header.setSpacing(4)
        for chip in self.chips.values():
            header.addWidget(chip)
            chip.setEnabled(False)
            chip.toggled.connect(self._redraw)
        header.addStretch(1)
        self.plots = pg.GraphicsLayoutWidget(self)
        self.plots.setAccessibleName("Frequencies and phases of the neurons, right answers along the run")
        self.plots.ci.setContentsMargins(6, 8, 12, 2)
        self.plots.ci.setSpacing(10)
        self.items = {name: self.plots.addPlot() for name in ("frequencies", "phases", "answers")}
        for name, bottom, left in (
            ("frequencies", "dominant frequency k", "share of neurons"),
            ("phases", "phase of n + phase of m", "phase of the answer"),
            ("answers", "time t", "right answers"),
        ):
            item = self.items[name]
            quiet_plot(item)
            item.setMouseEnabled(False, False)
            item.setLabel("bottom", bottom)
            item.setLabel("left", left)
            item.getAxis("left").setWidth(58)
            item.getAxis("bottom").setHeight(34)
        turns = [[(-np.pi, "−π"), (0.0, "0"), (np.pi, "π")]]
        for side in ("bottom", "left"):
            self.items["phases"].getAxis(side).setTicks(turns)
        self.items["phases"].setRange(xRange=(-np.pi, np.pi), yRange=(-np.pi, np.pi), padding=0.02)
        self.items["answers"].getAxis("left").setTicks([[(0.0, "0"), (0.5, "50 %"), (1.0, "100 %")]])
        self.items["answers"].setRange(yRange=(0, 1.03), padding=0)
        self._bars = {name: pg.BarGraphItem(x=[0], height=[0], width=0.36) for name in _CLOUDS}
        self._points = {name: pg.ScatterPlotItem(size=3.5, pen=None, pxMode=True) for name in _CLOUDS}
        self._chosen_bars = {name: pg.BarGraphItem(x=[0], height=[0], width=0.2) for name in _CLOUDS}
        self._chosen_points = {name: pg.ScatterPlotItem(size=6.5, pxMode=True) for name in _CLOUDS}
        self._diagonal = pg.PlotDataItem([-np.pi, np.pi], [-np.pi, np.pi])
        self._curves = {name: pg.PlotDataItem() for name in ("train_accuracy", "test_accuracy")}
        self._law_shares = pg.PlotDataItem(connect="finite")
        self._law_phases = pg.ScatterPlotItem(size=5, pen=None, pxMode=True)
        self._law_level = pg.InfiniteLine(angle=0)
        self._law_level.setVisible(False)
        self.items["phases"].addItem(self._law_phases)
        self.items["answers"].addItem(self._law_level, ignoreBounds=True)
        self.items["phases"].addItem(self._diagonal)
        for name in _CLOUDS:
            self.items["frequencies"].addItem(self._bars[name])
            self.items["phases"].addItem(self._points[name])
            self.items["frequencies"].addItem(self._chosen_bars[name])
            self.items["phases"].addItem(self._chosen_points[name])
        self.items["frequencies"].addItem(self._law_shares)
        for curve in self._curves.values():
            self.items["answers"].addItem(curve)
        self._labels = {name: pg.TextItem(anchor=(1, anchor)) for name, anchor in (("train", 0.0), ("test", 0.0))}
        for label in self._labels.values():
            self.items["answers"].addItem(label, ignoreBounds=True)
        self.empty = EmptyState("No waves", _OTHER_TASK, self.plots)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.plots, 1)
        self.setMinimumSize(320, 130)
        self.apply_theme(theme)
        self.set_modulus(0)

    def set_modulus(self, modulus: int) -> None:
        """P of the task, 0 for every other task; forgets the clouds."""
        self._modulus = modulus
        self._metrics, self._law, self._law_answers = {}, None, None
        if modulus:
            ticks = [(float(k), str(k)) for k in range(1, (modulus - 1) // 2 + 1)]
            step = -(-len(ticks) // 12)
            self.items["frequencies"].getAxis("bottom").setTicks([ticks[::step]])
        self.show_clouds(None, None)

    @property
    def modulus(self) -> int:
        """P of the task, 0 for every other one."""
        return self._modulus

    def show_clouds(
        self, background: np.ndarray | None, foreground: np.ndarray | None,
        counted: Mapping[str, WavesSeen | None] | None = None,
    ) -> None:  # fmt: skip
        """Both clouds, (n_neurons, 3 P); None while there is none.

        Args:
            counted: of each cloud of which only some neurons are here the waves of all, once they are known.
        """
        self._counted = {name: found for name, found in (counted or {}).items() if found is not None}
        for name, theta in zip(_CLOUDS, (background, foreground), strict=True):
            self._take(name, theta, f"The {name}'s neurons.")
        self._redraw()

    def show_chosen(self, chosen: Mapping[str, np.ndarray]) -> None:
        """Numbers of neurons by cloud: their part of every frequency, and their phases with a dark edge."""
        if chosen or self._chosen:
            self._chosen = chosen
            self._redraw()

    def show_theory(self, law: np.ndarray | None, test_accuracy: float | None = None) -> None:
        """Neurons of the infinite-width law, (n, 3 P), and the share of held-back pairs that its function answers.

        Drawn with the next clouds.
        """
        if law is not self._law:
            self._law = law
            self._take("theory", law, "Neurons of the exact law of the infinitely wide network.")
        self._law_answers = test_accuracy if law is not None else None

    def _take(self, name: str, theta: np.ndarray | None, what: str) -> None:
        fits = theta is not None and self._modulus > 0 and theta.shape[1] == 3 * self._modulus
        found = waves(theta, self._modulus) if theta is not None and fits else None
        self._waves[name] = found
        chip = self.chips[name]
        chip.setEnabled(found is not None)
        told = self._counted.get(name)
        agreement = "" if found is None else f"phases {told.agreement if told else phase_agreement(found)[0]:.2f}"
        chip.set_detail(agreement)
        chip.setToolTip(
            f"{what} Phases agree: mean of cos(phase of the answer − phase of n − phase of m), each "
            "neuron counted by its strength; 1 in the known solution, 0 at the start, near 0.35 where only "
            "readouts have learnt"
        )

    def show_metrics(self, metrics: Mapping[str, np.ndarray]) -> None:
        """The columns recorded so far, with train_accuracy and test_accuracy where the task has classes."""
        self._metrics = metrics if self._modulus else {}
        self._redraw_answers()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plots.setBackground(theme.panel)
        for item in self.items.values():
            style_plot(item, theme, small=True)
        for chip in self.chips.values():
            chip.apply_theme(theme)
        self.empty.apply_theme(theme)
        for name in _CLOUDS:
            colour = getattr(theme, f"{name}_cloud")
            self._bars[name].setOpts(brush=pg.mkBrush(with_opacity(colour, 0.85)), pen=pg.mkPen(None))
            self._points[name].setBrush(pg.mkBrush(with_opacity(colour, 0.7)))
            self._chosen_bars[name].setOpts(brush=pg.mkBrush(theme.text), pen=pg.mkPen(None))
            self._chosen_points[name].setBrush(pg.mkBrush(with_opacity(colour, 0.9)))
            self._chosen_points[name].setPen(line_pen(theme.text, 1.3))
        self._diagonal.setPen(line_pen(theme.muted, 1))
        self._law_shares.setPen(line_pen(theme.theory, 2))
        self._law_phases.setBrush(pg.mkBrush(with_opacity(theme.theory, 0.45)))
        self._law_level.setPen(line_pen(theme.theory, 1.6, Qt.PenStyle.DashLine))
        self._curves["train_accuracy"].setPen(line_pen(theme.muted, 1.6))
        self._curves["test_accuracy"].setPen(line_pen(theme.background_cloud, 2))
        self._labels["train"].setColor(theme.muted)
        self._labels["test"].setColor(theme.background_cloud)

    def _redraw(self) -> None:
        is_any = any(found is not None for found in self._waves.values())
        self.empty.set_text(*self._why_empty())
        self.empty.setVisible(not is_any)
        self._lay_out(is_any)
        if not is_any:
            return
        top = 0.0
        for name, side in zip(_CLOUDS, (-0.19, 0.19), strict=True):
            found = self._waves[name]
            is_shown = found is not None and self.chips[name].isChecked()
            self._bars[name].setVisible(is_shown)
            self._points[name].setVisible(is_shown)
            self._draw_chosen(name, found if is_shown else None, side)
            if not is_shown or found is None:
                continue
            told = self._counted.get(name)
            shares = _shares(found) if told is None else told.counts / told.counts.sum()
            top = max(top, float(shares.max()))
            self._bars[name].setOpts(x=np.arange(1, len(shares) + 1) + side, height=shares)
            across, along = _phases(found, _strongest(found, N_PHASES)) if told is None else told.phases.T
            self._points[name].setData(x=across, y=along)
        top = max(top, self._draw_law())
        n = max((found.power.shape[1] for found in self._waves.values() if found is not None), default=1)
        self.items["frequencies"].setRange(xRange=(0.4, n + 0.6), yRange=(0, 1.1 * max(top, 1e-3)), padding=0)
        self._redraw_answers()

    def _draw_chosen(self, name: str, found: Waves | None, side: float) -> None:
        numbers = self._chosen.get(name)
        is_shown = found is not None and numbers is not None
        for part in (self._chosen_bars[name], self._chosen_points[name]):
            part.setVisible(is_shown)
        if found is None or numbers is None:
            return
        numbers = numbers[numbers < len(found.frequency)]
        shares = _shares(found, numbers)
        self._chosen_bars[name].setOpts(x=np.arange(1, len(shares) + 1) + side, height=shares)
        across, along = _phases(found, numbers)
        self._chosen_points[name].setData(x=across, y=along)

    def _draw_law(self) -> float:
        """A level over each frequency and phases behind the clouds'; the largest share of a frequency."""
        found = self._waves["theory"]
        is_shown = found is not None and self.chips["theory"].isChecked()
        for part in (self._law_shares, self._law_phases):
            part.setVisible(is_shown)
        self._law_level.setVisible(is_shown and self._law_answers is not None)
        if self._law_answers is not None:
            self._law_level.setValue(self._law_answers)
        if not is_shown or found is None:
            return 0.0
        shares = _shares(found)
        ends = np.arange(1, len(shares) + 1)[:, None] + np.array([-0.42, 0.42, np.nan])
        self._law_shares.setData(ends.ravel(), np.repeat(shares, 3))
        across, along = _phases(found, _strongest(found, _MOST_OF_LAW))
        self._law_phases.setData(x=across, y=along)
        return float(shares.max())

    def _lay_out(self, is_any: bool) -> None:
        """The three plots in a row, or nothing but the sentence."""
        if is_any == self._is_laid_out:
            return
        self._is_laid_out = is_any
        for column, item in enumerate(self.items.values()):
            if is_any:
                self.plots.addItem(item, 0, column)
            else:
                self.plots.removeItem(item)

    def _redraw_answers(self) -> None:
        time = np.asarray(self._metrics.get("time", ()))
        for name, curve in self._curves.items():
            values = np.asarray(self._metrics.get(name, np.full(len(time), np.nan)))
            curve.setData(time, values)
            label = self._labels[name.removesuffix("_accuracy")]
            label.setVisible(len(values) > 0)
            if len(values):
                what = "shown" if name.startswith("train") else "held back"
                label.setText(f"{what} {100 * values[-1]:.0f} %")
        if len(time):
            self._place_labels(time)
            self.items["answers"].setXRange(0, float(time[-1]), padding=0.01)

    def _place_labels(self, time: np.ndarray) -> None:
        """Below the curves, or above the held-back pairs' while these are seldom right."""
        held_back = np.asarray(self._metrics.get("test_accuracy", ()))[len(time) // 3 :]
        is_low = bool((held_back < _LABELS_BELOW).any())
        for name, height in (("train", 0.95 if is_low else 0.34), ("test", 0.81 if is_low else 0.2)):
            self._labels[name].setPos(float(time[-1]), height)

    def _why_empty(self) -> tuple[str, str]:
        if self._modulus:
            return "No neurons yet", "Frequencies and phases appear with the first frame of training."
        return "No waves", _OTHER_TASK


def _shares(found: Waves, numbers: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Share of all neurons that is at each frequency from 1 on, of some of them."""
    counts = np.bincount(found.frequency[numbers], minlength=found.power.shape[1] + 1)[1:]
    return np.asarray(counts / len(found.frequency))


def _strongest(found: Waves, most: int) -> np.ndarray:
    """Numbers of the neurons that add most, the weaker half left out."""
    strongest = np.argsort(-found.strength)[:most]
    return strongest[found.strength[strongest] >= np.median(found.strength)]


def _phases(found: Waves, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phase of n plus that of m, and phase of the answer, of some neurons."""
    phases = found.phases[numbers]
    return np.angle(np.exp(1j * phases[:, :2].sum(axis=1))), phases[:, 2]
