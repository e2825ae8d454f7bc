"""The marginals view: one-dimensional histograms of both clouds, with the theory's densities through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.axis_range import StableRange
from app.views.brush import Stroke
from app.views.chips import LegendChip
from app.views.outline import N_BINS, CloudAlong, outline
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.views.projections import Axis, available_axes, coordinate, project, table_axes
from app.views.theory_sample import density_curve
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState
from mft_engine.looks import Line, Seen, Span

Densities = Mapping[str, tuple[np.ndarray, np.ndarray]]
_KEYS = ("w1", "w2", "a", "angle")
_CHOSEN = {"chosen background": "background", "chosen foreground": "foreground"}


class MarginalsView(QWidget):
    """Densities (area one) of w1, w2, a and the angle of w; of w1, a and |w| where the input has one dimension."""

    brushed = Signal(str, float, float)  # key of an axis, and the values between which somebody has drawn
    looked = Signal()  # `lines` may be other ones

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._clouds: dict[str, np.ndarray | None] = {"background": None, "foreground": None}
        self._counted: Mapping[str, tuple[int, Seen | None]] = {}
        self._densities: Densities | None = None
        self._theory: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._law: np.ndarray | None = None
        self._axes: tuple[Axis, ...] = ()
        self._columns: tuple[tuple[str, ...], bool] | None = None
        self._n_out = 1
        self._ranges: dict[str, StableRange] = {}
        self._heights: dict[str, StableRange] = {}
        self._items: dict[str, pg.PlotItem] = {}
        self._curves: dict[tuple[str, str], pg.PlotDataItem] = {}
        self._chosen: Mapping[str, np.ndarray] = {}
        self._band = pg.LinearRegionItem(movable=False)

        self.chips = {
            "background": LegendChip("background", "line", "background_cloud", "Neurons of the trained network", self),
            "foreground": LegendChip("foreground", "line", "foreground_cloud", "Fresh neurons in its field", self),
            "theory": LegendChip("theory", "dashes", "theory", "Density in the infinitely wide network", self),
        }
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 8, 0)
        header.setSpacing(4)
        for chip in self.chips.values():
            chip.setEnabled(False)
            chip.toggled.connect(self._redraw)
            header.addWidget(chip)
        header.addStretch(1)
        self.plots = pg.GraphicsLayoutWidget(self)
        self.plots.setAccessibleName("Histograms of the coordinates of the neurons")
        self._stroke = Stroke((self.plots.viewport(),), self)
        self._stroke.moved.connect(self._draw_band)
        self._stroke.ended.connect(self._take)
        self.plots.ci.setContentsMargins(6, 0, 12, 2)
        self.plots.ci.setSpacing(10)
        words = ("No neurons yet", "Histograms appear with the first frame of training.")
        self.empty = EmptyState(*words, self.plots, covers=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.plots, 1)
        self.setMinimumSize(320, 130)
        self._offer(2)
        self.apply_theme(theme)

    def name_theory(self, name: str, tip: str = "") -> None:
        """What the theory's chip is called, and what its tooltip says besides."""
        self.chips["theory"].set_name(name, tip)

    def set_columns(self, names: Sequence[str] | None, *, has_weights: bool) -> None:
        """Names of a table's columns, for a layer of a network with several; None: columns are w1 .. wd, a."""
        self._columns = (tuple(names), has_weights) if names else None
        self._offer(len(names) - 1 if names else 2)

    def set_readouts(self, n_out: int) -> None:
        """Readouts of a neuron; of several theta has the length."""
        self._n_out = n_out

    def show_clouds(
        self, background: np.ndarray | None, foreground: np.ndarray | None = None,
        counted: Mapping[str, tuple[int, Seen | None]] | None = None,
    ) -> None:  # fmt: skip
        """Both clouds, theta (n_neurons, n_params) with columns w1 .. wd, a.

        Args:
            counted: of each cloud of which only some neurons are here the number of all of them, and what was counted
                of them for the `lines`, once that is known.
        """
        self._counted = counted or {}
        for name, theta in (("background", background), ("foreground", foreground)):
            self._clouds[name] = None if theta is None or len(theta) == 0 else theta
            self.chips[name].setEnabled(self._clouds[name] is not None)
            n_neurons = self._counted[name][0] if name in self._counted else 0 if theta is None else len(theta)
            self.chips[name].set_detail("" if self._clouds[name] is None else f"{n_neurons:,}")
        some = next((theta for theta in self._clouds.values() if theta is not None), None)
        self.empty.setVisible(some is None)
        if some is not None:
            self._offer(some.shape[1] - 1)
        self._redraw()

    def show_theory(self, densities: Densities | None, law: np.ndarray | None = None) -> None:
        """The infinite-width law.

        Args:
            densities: "w1" / "w2" / "a" / "angle" (degrees) -> (x, density of x), those that are known exactly.
            law: neurons of it, (n, n_params) like a cloud's, for the others.
        """
        if densities is self._densities and law is self._law:
            return  # told with every frame, and smoothed once
        self._densities, self._law = densities, law
        self._theory = dict(densities or {})
        self.chips["theory"].setEnabled(bool(self._theory) or law is not None)
        self._redraw()

    def show_chosen(self, chosen: Mapping[str, np.ndarray]) -> None:
        """Neurons of the clouds, (n_chosen, n_params), drawn as their part of the histograms."""
        if chosen or self._chosen:
            self._chosen = chosen
            self._redraw()

    @property
    def lines(self) -> tuple[Line, ...]:
        """The histograms that are looked at: what is along each axis, and its bins where its range is known."""
        found = []
        for axis in self._axes:
            span = self._ranges[axis.key]
            bins = Span(span.low, span.high, N_BINS) if span.is_set else None
            found.append(Line(coordinate(axis), bins))
        return tuple(found)

    def axis(self, key: str) -> Axis | None:
        """The axis of a histogram."""
        return next((axis for axis in self._axes if axis.key == key), None)

    def clear(self) -> None:
        """Forgets the clouds and the theory."""
        self.show_clouds(None, None)
        self.show_theory(None)
        # At last: what is still drawn on the way would set the ranges of what comes.
        for span in (*self._ranges.values(), *self._heights.values()):
            span.forget()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plots.setBackground(theme.panel)
        for chip in self.chips.values():
            chip.apply_theme(theme)
        self.empty.apply_theme(theme)
        for item in self._items.values():
            style_plot(item, theme, small=True)
        self._style_curves()

    def _offer(self, n_inputs: int) -> None:
        if self._columns is not None and len(self._columns[0]) == n_inputs + 1:
            choices = {axis.key: axis for axis in table_axes(self._columns[0], has_weights=self._columns[1])}
            keys: tuple[str, ...] = (*list(choices)[: min(n_inputs, 3)], "a")
        else:
            choices = {axis.key: axis for axis in available_axes(n_inputs, None, self._n_out)}
            keys = _KEYS if n_inputs >= 2 else ("w1", "a", "norm")
        axes = tuple(choices[key] for key in keys)
        if axes == self._axes:
            return
        self._axes = axes
        self.plots.clear()
        self._items, self._curves, self._ranges, self._heights = {}, {}, {}, {}
        for axis in axes:
            item = self.plots.addPlot()
            quiet_plot(item)
            item.setMouseEnabled(False, False)
            item.setLabel("bottom", axis.label + (" (°)" if axis.kind == "angle" else ""))
            item.getAxis("left").setWidth(38)
            item.getAxis("bottom").setHeight(34)
            style_plot(item, self._theme, small=True)
            self._items[axis.key] = item
            self._ranges[axis.key] = self._ranges.get("w1") or StableRange(is_symmetric=axis.kind != "norm")
            if axis.kind != "weight":
                is_length = axis.is_length or (axis.kind == "readout" and self._n_out > 1)
                self._ranges[axis.key] = StableRange(is_symmetric=not is_length)
            self._heights[axis.key] = StableRange(is_symmetric=False)
            for name in ("background", "foreground", "theory", *_CHOSEN):
                curve = pg.PlotDataItem()
                curve.setZValue({"background": 1, "foreground": 2, "theory": 5}.get(name, 3))
                item.addItem(curve, ignoreBounds=True)
                self._curves[axis.key, name] = curve
        first = self._items[axes[0].key]
        first.setLabel("left", "density")
        style_plot(first, self._theme, small=True)
        first.getAxis("left").setWidth(54)
        self._style_curves()

    def _style_curves(self) -> None:
        theme = self._theme
        for (_, name), curve in self._curves.items():
            if name == "theory":
                curve.setPen(line_pen(theme.theory, 2, Qt.PenStyle.DashLine))
                continue
            if name in _CHOSEN:
                curve.setPen(None)
                curve.setFillLevel(0.0)
                curve.setFillBrush(pg.mkBrush(with_opacity(getattr(theme, f"{_CHOSEN[name]}_cloud"), 0.75)))
                continue
            colour = getattr(theme, f"{name}_cloud")
            curve.setPen(line_pen(colour, 1.8))
            if name == "background":
                curve.setFillLevel(0.0)
                curve.setFillBrush(pg.mkBrush(with_opacity(colour, 0.16)))

    def _redraw(self) -> None:
        shown = {name: theta for name, theta in self._clouds.items() if theta is not None}
        shown = {name: theta for name, theta in shown.items() if self.chips[name].isChecked()}
        along = {
            axis.key: {name: self._along(name, theta, axis) for name, theta in shown.items()} for axis in self._axes
        }
        # Weights share one range: all of them are followed before any is drawn.
        for axis in self._axes:
            span = self._ranges[axis.key]
            if axis.kind == "angle":
                span.low, span.high = -180.0, 180.0
            for cloud in along[axis.key].values() if axis.kind != "angle" else ():
                cloud.lead(span)
        for axis in self._axes:
            span, item, clouds = self._ranges[axis.key], self._items[axis.key], along[axis.key]
            tops = []
            for name in ("background", "foreground"):
                curve = self._curves[axis.key, name]
                found = clouds[name].outline(span) if name in clouds else None
                if found is not None:
                    edges, density = found
                    curve.setData(edges, density, stepMode="center")
                    tops.append(float(density.max(initial=0.0)))
                # What was counted before stays until the new counts come.
                curve.setVisible(found is not None or (name in clouds and clouds[name].is_waiting))
            self._draw_chosen(axis, {name: len(shown[name]) for name in clouds})
            tops += self._draw_theory(axis)
            if not tops or not span.is_set:
                continue
            height = self._heights[axis.key]
            height.follow(np.array([0.0, max(tops)]))
            item.getViewBox().setRange(xRange=(span.low, span.high), yRange=(0, height.high), padding=0)
        self.looked.emit()

    def _along(self, name: str, theta: np.ndarray, axis: Axis) -> CloudAlong:
        n_neurons, seen = self._counted.get(name, (0, None))
        if name not in self._counted:
            return CloudAlong(project(theta, axis))
        return CloudAlong(None, n_neurons, None if seen is None else seen.histogram(coordinate(axis)))

    def _draw_chosen(self, axis: Axis, n_all: Mapping[str, int]) -> None:
        span = self._ranges[axis.key]
        for name, cloud in _CHOSEN.items():
            theta = self._chosen.get(cloud)
            is_shown = theta is not None and cloud in n_all and span.is_set
            self._curves[axis.key, name].setVisible(is_shown)
            if is_shown and theta is not None:
                edges, density = outline(project(theta, axis), span.low, span.high)
                self._curves[axis.key, name].setData(edges, density * len(theta) / n_all[cloud], stepMode="center")

    def _between(self, points: np.ndarray) -> tuple[str, pg.PlotItem, float, float] | None:
        """The histogram under the first point, and the values between which the points lie."""
        places = [self.plots.mapToScene(QPoint(round(x), round(y))) for x, y in points]
        for key, item in self._items.items():
            box = item.getViewBox()
            if box.sceneBoundingRect().contains(places[0]):
                along = [box.mapSceneToView(place).x() for place in places]
                return key, item, min(along), max(along)
        return None

    def _draw_band(self, _: object, points: np.ndarray) -> None:
        found = self._between(points)
        if found is not None:
            _, item, low, high = found
            if self._band.scene() is None:
                item.addItem(self._band, ignoreBounds=True)
            self._band.setRegion((low, high))

    def _take(self, _: object, points: np.ndarray) -> None:
        found = self._between(points)
        if self._band.scene() is not None:
            self._band.getViewBox().removeItem(self._band)
        if found is not None:
            key, _, low, high = found
            is_click = len(points) == 1
            self.brushed.emit(key, np.inf if is_click else low, -np.inf if is_click else high)

    def _draw_theory(self, axis: Axis) -> list[float]:
        curve = self._curves[axis.key, "theory"]
        law = self._law
        n_params = next((theta.shape[1] for theta in self._clouds.values() if theta is not None), None)
        if axis.key not in self._theory and law is not None and law.shape[1] == n_params:
            self._theory[axis.key] = density_curve(project(law, axis), axis)
        is_shown = len(self._theory.get(axis.key, ((),))[0]) > 0 and self.chips["theory"].isChecked()
        curve.setVisible(is_shown)
        if not is_shown:
            return []
        x, density = self._theory[axis.key]
        curve.setData(np.asarray(x), np.asarray(density))
        return [float(np.max(density))]
