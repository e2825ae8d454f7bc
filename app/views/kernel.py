"""The kernel view: spectrum of the data kernel, its relevant directions, and whether the two clouds' kernels agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.chips import LegendChip, Mark
from app.views.eigenmaps import EigenMaps
from app.views.plot_style import SparseLogAxis, WholeAxis, line_pen, quiet_plot, style_plot
from app.widgets.colours import mixed, with_opacity
from app.widgets.empty_state import EmptyState
from app.widgets.words import p_clause, written, written_p

if TYPE_CHECKING:
    from mft_engine.questions.kernel_spectrum import KernelSpectrum
    from mft_engine.questions.kernel_study import DataKernels, KernelAgreement

# Name, mark, symbol, sentence.
_SERIES: tuple[tuple[str, Mark, str, str], ...] = (
    ("initial", "dot", "t", "The cloud at step 0: the kernel before anything was learnt"),
    ("background", "dot", "o", "The trained network"),
    ("foreground", "diamond", "d", "Fresh neurons in its field"),
    ("theory", "dashes", "", "Neurons of the infinitely wide network's law"),
)
_SYMBOL_SIZES = {"t": 6, "o": 5, "d": 7}
# Symbols of one index stand beside each other.
_SHIFTS = {"initial": -0.16, "background": 0.0, "foreground": 0.16, "theory": 0.0}
_N_INDICES = 30
_PLOTS = ("spectrum", "captured", "shares")
_LABELS = {
    "spectrum": "k-th eigenvalue",
    "captured": "target captured",
    "shares": "target in the k-th alone",
}
# A p-value up to this rejects that the kernels are one, as in the verdict on the clouds.
_LIMIT = 0.01
NOTHING_TITLE = "No data kernel yet"
HINT = "The spectrum of K(x, x′) = mean φ(w·x) φ(w·x′) is computed when training pauses, and after Resample Foreground."
LAYERS_HINT = "Its spectrum is computed for networks of one hidden layer."


class KernelView(QWidget):
    """Told what to show by `show_kernels`; the step is that of the background it belongs to."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._kernels: DataKernels | None = None
        self._sentence = ""
        self.chips: dict[str, LegendChip] = {}
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 12, 0)
        header.setSpacing(4)
        for name, mark, _, tip in _SERIES:
            chip = LegendChip(name, mark, _role(name), tip, self)
            chip.toggled.connect(self._redraw)
            self.chips[name] = chip
            header.addWidget(chip)
        header.addStretch(1)
        self.strip = AgreementStrip(theme, self)
        header.addWidget(self.strip)
        self.sentence = QLabel(self)
        self.sentence.setContentsMargins(12, 0, 12, 2)
        self.sentence.setWordWrap(True)
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setAccessibleName("Alignment, effective rank and change of the data kernel")
        self.sentence.setToolTip(
            "Each at step 0 → in the background (in the foreground).\n"
            "Alignment: E[y K y]/(|K| E y²), 1 where the kernel is y(x) y(x′).\n"
            "Effective rank: (Σ eigenvalues)²/Σ eigenvalues².\n"
            "Change: 1 − ⟨K, K′⟩/(|K| |K′|) between step 0 and the background; about 1/N by chance."
        )
        self.plots = pg.GraphicsLayoutWidget(self)
        self.plots.setAccessibleName("Eigenvalues of the data kernel and the part of the target they capture")
        self.plots.ci.setContentsMargins(6, 0, 8, 2)
        self.plots.ci.setSpacing(8)
        self._items: dict[str, pg.PlotItem] = {}
        self._curves: dict[tuple[str, str], pg.PlotDataItem] = {}
        self._bars: dict[str, pg.ErrorBarItem] = {}
        self._chosen: np.ndarray | None = None
        self._chosen_curve = pg.PlotDataItem(connect="finite", symbol="s", symbolSize=7)
        self._chosen_curve.setZValue(20)
        for name in _PLOTS:
            self._add_plot(name)
        self._items["spectrum"].addItem(self._chosen_curve, ignoreBounds=True)
        self.maps = EigenMaps(theme, self)
        self.body = QWidget(self)
        self.body.setAutoFillBackground(True)
        columns = QHBoxLayout(self.body)
        columns.setContentsMargins(0, 0, 0, 0)
        columns.setSpacing(0)
        for part, share in ((self.plots, 4), (self.maps, 5)):
            part.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
            columns.addWidget(part, share)
        self.plots.setMinimumWidth(150)
        self.empty = EmptyState(NOTHING_TITLE, HINT, self.body)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.sentence)
        layout.addWidget(self.body, 1)
        self.setMinimumSize(320, 130)
        self.apply_theme(theme)
        self.clear()

    def sizeHint(self) -> QSize:
        return QSize(900, 230)

    def _add_plot(self, name: str) -> None:
        axes = {"bottom": WholeAxis("bottom")}
        if name == "spectrum":
            axes["left"] = SparseLogAxis("left")
        item = self.plots.addPlot(0, _PLOTS.index(name), axisItems=axes)
        quiet_plot(item)
        item.setMouseEnabled(False, False)
        item.setLabel("bottom", _LABELS[name])
        item.getAxis("left").setWidth(44)
        item.getAxis("bottom").setHeight(34)
        if name == "spectrum":
            item.getAxis("left").setLogMode(True)
        else:
            item.getAxis("left").setTicks([[(v, f"{100 * v:.0f} %") for v in (0.0, 0.25, 0.5, 0.75, 1.0)], []])
        self._items[name] = item
        for z, (series, *_) in enumerate(_SERIES):
            curve = pg.PlotDataItem(connect="finite")
            curve.setZValue(10 + z)
            item.addItem(curve, ignoreBounds=True)
            self._curves[name, series] = curve
            if name == "spectrum":
                bars = pg.ErrorBarItem(beam=0.0)
                bars.setZValue(9)
                item.addItem(bars, ignoreBounds=True)
                self._bars[series] = bars

    # What is shown

    def show_kernels(self, kernels: DataKernels, step: int) -> None:
        """Draws the spectra of the clouds there are; `step` is the background's."""
        self._kernels = kernels
        self._sentence = f"{summary(kernels, self._theme)} · step {step:,}"
        self._show()

    def show_chosen(self, shares: np.ndarray | None) -> None:
        """The chosen neurons' part of each of the background's first eigenvalues, (n_eigenvalues,) from 0 to 1."""
        if shares is not None or self._chosen is not None:
            self._chosen = shares
            self._tell()
            self._redraw()

    def _tell(self) -> None:
        chosen = ""
        if self._chosen is not None and self._kernels is not None:
            parts = ", ".join(f"{100 * share:.0f}" for share in self._chosen[:3])
            chosen = f" · chosen neurons (squares): {parts} % of the first eigenvalues"
        self.sentence.setText(self._sentence + chosen)

    def mark_stale(self, reason: str) -> None:
        """Says that what is drawn belongs to other parameters."""
        if self._kernels is not None:
            self.sentence.setText(f"Out of date: {reason}. {self._sentence}")
            self.strip.show_agreement(None)

    def clear(self, has_layers: bool = False) -> None:
        """Forgets the kernels; networks of several hidden layers have none to show."""
        self._kernels, self._sentence = None, ""
        self.empty.set_text(NOTHING_TITLE if not has_layers else "No data kernel", LAYERS_HINT if has_layers else HINT)
        self._show()

    @property
    def has_kernels(self) -> bool:
        """Whether there is anything to see."""
        return self._kernels is not None

    def _show(self) -> None:
        kernels = self._kernels
        self.empty.setVisible(kernels is None)
        self.empty.raise_()
        for part in (self.plots, self.maps):
            part.setVisible(kernels is not None)
        for name, chip in self.chips.items():
            chip.setEnabled(name in _spectra(kernels))
        self._tell()
        self.sentence.setVisible(bool(self._sentence))
        self.strip.show_agreement(kernels.agreement if kernels else None)
        self._arrange(kernels is None or kernels.background_maps is not None)
        self.maps.show_kernels(kernels)
        self._redraw()

    def _arrange(self, has_maps: bool) -> None:
        """Maps beside two plots; without a plane to draw them on, the shares of the eigenfunctions as a third plot."""
        shares = self._items["shares"]
        if has_maps and shares in self.plots.ci.items:
            self.plots.removeItem(shares)
        elif not has_maps and shares not in self.plots.ci.items:
            self.plots.addItem(shares, 0, _PLOTS.index("shares"))
        self.maps.setVisible(has_maps and self._kernels is not None)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plots.setBackground(theme.panel)
        colours = self.body.palette()
        colours.setColor(QPalette.ColorRole.Window, QColor(theme.panel))
        self.body.setPalette(colours)
        self.maps.apply_theme(theme)
        self.strip.apply_theme(theme)
        self.empty.apply_theme(theme)
        self.sentence.setStyleSheet(f"color: {theme.text};")
        for chip in self.chips.values():
            chip.apply_theme(theme)
        for item in self._items.values():
            style_plot(item, theme, small=True)
        for (name, series), curve in self._curves.items():
            symbol = next(symbol for other, _, symbol, _ in _SERIES if other == series)
            colour = getattr(theme, _role(series))
            if not symbol:
                curve.setPen(line_pen(colour, 1.8, Qt.PenStyle.DashLine))
                continue
            curve.setSymbol(symbol)
            curve.setSymbolSize(_SYMBOL_SIZES[symbol] - (name == "captured"))
            curve.setSymbolBrush(pg.mkBrush(colour))
            curve.setSymbolPen(None)
            curve.setPen(line_pen(colour, 1.4) if name == "captured" else None)
        self._chosen_curve.setPen(None)
        self._chosen_curve.setSymbolPen(line_pen(theme.text, 1.4))
        self._chosen_curve.setSymbolBrush(pg.mkBrush(None))
        for series, bars in self._bars.items():
            bars.setOpts(pen=line_pen(getattr(theme, _role(series)), 1.4))

    # Drawing

    @Slot()
    def _redraw(self) -> None:
        spectra = {name: found for name, found in _spectra(self._kernels).items() if self.chips[name].isChecked()}
        lowest, highest = [], []
        n_indices = 1
        for name, *_ in _SERIES:
            spectrum = spectra.get(name)
            for plot in _PLOTS:
                self._curves[plot, name].setVisible(spectrum is not None)
            self._bars[name].setVisible(spectrum is not None)
            if spectrum is None:
                continue
            n = min(_N_INDICES, len(spectrum.functions), max(spectrum.n_trusted, 1))
            n_indices = max(n_indices, n)
            index = np.arange(1, n + 1)
            values = np.maximum(spectrum.eigenvalues[:n], 1e-300)
            errors = np.nan_to_num(spectrum.errors[:n])
            logs = np.log10(values)
            # An error as large as the value reaches down to nothing, which a logarithmic axis does not have.
            below = logs - np.log10(np.maximum(values - errors, 0.1 * values))
            above = np.log10(values + errors) - logs
            place = index + _SHIFTS[name]
            self._curves["spectrum", name].setData(place, logs)
            self._bars[name].setData(x=place, y=logs, top=above, bottom=below)
            self._curves["captured", name].setData(index, spectrum.captured[:n])
            self._curves["shares", name].setData(place, spectrum.target_shares[:n])
            lowest.append(float((logs - below).min()))
            highest.append(float((logs + above).max()))
        lowest += self._draw_chosen(spectra)
        span = (0.3, n_indices + 0.7)
        if lowest:
            margin = 0.06 * (max(highest) - min(lowest)) or 0.3
            self._range("spectrum", span, (min(lowest) - margin, max(highest) + margin))
        for plot in ("captured", "shares"):
            self._range(plot, span, (-0.03, 1.03))

    def _draw_chosen(self, spectra: Mapping[str, KernelSpectrum]) -> list[float]:
        """The chosen neurons' parts below the background's eigenvalues; returns where the lowest worth seeing is."""
        spectrum, shares = spectra.get("background"), self._chosen
        self._chosen_curve.setVisible(spectrum is not None and shares is not None)
        if spectrum is None or shares is None:
            return []
        n = min(len(shares), _N_INDICES, len(spectrum.eigenvalues))
        parts = spectrum.eigenvalues[:n] * shares[:n]
        floor = 1e-4 * float(spectrum.eigenvalues[0])
        logs = np.where(parts > floor, np.log10(np.maximum(parts, 1e-300)), np.nan)
        self._chosen_curve.setData(np.arange(1, n + 1), logs)
        return [float(np.nanmin(logs))] if np.isfinite(logs).any() else []

    def _range(self, name: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._items[name].getViewBox().setRange(xRange=x, yRange=y, padding=0)


def _role(series: str) -> str:
    """The theme's colour of a series."""
    return series if series == "theory" else f"{series}_cloud"


def _spectra(kernels: DataKernels | None) -> dict[str, KernelSpectrum]:
    """By name, those that are there, the theory's among them."""
    if kernels is None:
        return {}
    return kernels.spectra | ({"theory": kernels.theory} if kernels.theory is not None else {})


class AgreementStrip(QWidget):
    """The distance of the two clouds' kernels on a line, with the band in which 95 % of chance distances lie."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._agreement: KernelAgreement | None = None
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.show_agreement(None)

    def sizeHint(self) -> QSize:
        return QSize(330, self.fontMetrics().height() + 8)

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance(self.verdict) + 60, self.fontMetrics().height() + 8)

    def show_agreement(self, agreement: KernelAgreement | None) -> None:
        """Draws a distance with its null; None draws nothing."""
        self._agreement = agreement
        words = ""
        if agreement is not None:
            words = (
                f"|K − K′| of background and foreground, over that of both: {written(agreement.distance)}.\n"
                f"After exchanging neurons at random it is {written(agreement.null_mean)} on average,\n"
                f"and below {written(agreement.null_95)} in 95 % of {len(agreement.null)} exchanges (the band)."
            )
        self.setToolTip(words)
        self.setAccessibleName(f"{words} {self.verdict}".strip() or "The kernels have not been compared yet")
        self.setVisible(agreement is not None)
        self.updateGeometry()
        self.update()

    @property
    def verdict(self) -> str:
        """In words with the p-value; empty where nothing was compared."""
        if self._agreement is None:
            return ""
        p_value = self._agreement.p_value
        word = "kernels agree" if p_value > _LIMIT else "kernels differ"
        return f"{word}, {p_clause(written_p(p_value, len(self._agreement.null)))}"

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._agreement is None:
            return
        theme, agreement = self._theme, self._agreement
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width = self.fontMetrics().horizontalAdvance(self.verdict)
        colour = QColor(theme.good if agreement.p_value > _LIMIT else theme.bad)
        painter.setPen(colour)
        words = QRectF(self.width() - width, 0, width, self.height())
        painter.drawText(words, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, self.verdict)
        left, right = 6.0, self.width() - width - 14.0
        if right - left < 30:
            return
        top = 1.25 * max(agreement.distance, float(agreement.null.max()))
        middle = self.height() / 2

        def at(value: float) -> float:
            return left + value / top * (right - left)

        painter.setPen(QPen(mixed(theme.panel, theme.text, 0.35), 1))
        painter.drawLine(QPointF(left, middle), QPointF(right, middle))
        painter.drawLine(QPointF(left, middle - 4), QPointF(left, middle + 4))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(with_opacity(theme.muted, 0.3))
        painter.drawRoundedRect(QRectF(at(0), middle - 5, at(agreement.null_95) - at(0), 10), 2, 2)
        painter.setPen(QPen(QColor(theme.muted), 1))
        mean = at(agreement.null_mean)
        painter.drawLine(QPointF(mean, middle - 5), QPointF(mean, middle + 5))
        painter.setPen(QPen(colour, 2.4))
        x = at(agreement.distance)
        painter.drawLine(QPointF(x, middle - 8), QPointF(x, middle + 8))


def summary(kernels: DataKernels, theme: Theme) -> str:
    """Alignment, effective rank and change in one line of rich text, initial → background, foreground in brackets."""

    def along(name: str, digits: int) -> str:
        numbers = {
            cloud: f'<span style="color:{mixed(getattr(theme, f"{cloud}_cloud"), theme.text, 0.15).name()}">'
            f"{written(getattr(spectrum, name), digits)}</span>"
            for cloud, spectrum in kernels.spectra.items()
        }
        after = f" ({numbers['foreground']})" if "foreground" in numbers else ""
        return f"{numbers['initial']} → {numbers['background']}{after}"

    return (
        f"Alignment {along('alignment', 2)} · effective rank {along('effective_rank', 2)} · "
        f"change {written(kernels.change, 2)}"
    )
