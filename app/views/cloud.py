"""The cloud view: every neuron of background and foreground as a point in a plane of the person's choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.axis_range import StableRange
from app.views.brush import CloudBrush
from app.views.cloud_banner import CloudBanner
from app.views.cloud_header import CloudHeader
from app.views.cloud_layer import MOST_POINTS, CloudLayer, Colouring, point_size
from app.views.colour_key import ColourKey
from app.views.marked_neurons import MarkedNeurons
from app.views.neuron_card import NeuronCard
from app.views.neuron_hover import NeuronHover
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.views.projections import Axis, Components, available_axes, principal_components, project, table_axes
from app.views.range_follower import RangeFollower
from app.views.split_plot import PaintedPlot, SplitPlot
from app.views.theory_layer import TheoryLayer
from app.views.theory_overlay import TheoryOverlay
from app.widgets import colours
from app.widgets.activation_inset import Phi
from app.widgets.empty_state import EmptyState

# Laid over the background, orange lets the blue shine through.
_STRENGTHS = {"initial": 0.65, "background": 0.9, "foreground": 0.82}
_OVER_THE_BACKGROUND = 0.6
_TABLES = {"a": colours.diverging_points, "norm": colours.sequential_points, "angle": colours.cyclic_points}


class CloudView(QWidget):
    """Told what to show by `show_*`; draws at once, except while the mouse drags the picture.

    The axis range is shared by all clouds and stays: it grows when neurons leave it and follows a shrinking cloud only
    after a while. Zooming or moving by hand stops that, until "Reset view".
    """

    painted = Signal()
    split_changed = Signal(bool)

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._phi: Phi | None = None
        self._projections: Mapping[str, np.ndarray] = {}
        self._n_out = 1
        self._components: Components | None = None
        self._axes: tuple[Axis, Axis] | None = None
        self._choices: dict[str, Axis] = {}
        self._n_inputs = 0
        self._columns: tuple[tuple[str, ...], bool, tuple[str, ...]] | None = None
        self._colouring_key = "plain"
        self._colour_limit = StableRange(is_symmetric=True)
        self._is_stale = False

        self.header = CloudHeader(self)
        self.plot = PaintedPlot(self, enableMenu=False)
        self.plot.setAccessibleName("Cloud of neurons")
        self._box = self.plot.getViewBox()
        quiet_plot(self.plot.getPlotItem())
        self._zero_lines = tuple(pg.InfiniteLine(pos=0, angle=angle) for angle in (0, 90))
        for line in self._zero_lines:
            line.setZValue(-20)
            self.plot.addItem(line, ignoreBounds=True)
        item = self.plot.getPlotItem()
        self.layers = {
            "initial": CloudLayer(item, "initial", 0),
            "background": CloudLayer(item, "background", 10),
            "foreground": CloudLayer(item, "foreground", 20),
        }
        self.layers["initial"].is_wanted = False
        item.layout.setContentsMargins(2, 8, 10, 2)
        self.plot.getAxis("left").setWidth(52)
        self.plot.getAxis("bottom").setHeight(40)
        self.empty = EmptyState(
            "No neurons yet", "Press Play to train the background: every neuron becomes one point here.", self.plot
        )
        self.key = ColourKey(self.plot)
        self.banner = CloudBanner(self.plot)
        self.card = NeuronCard(self)
        self._follower = RangeFollower(self._box, self)
        self.second = SplitPlot(self.plot, self._follower, self)
        self._theory = TheoryLayer((TheoryOverlay(item, below=-10, above=25), self.second.theory))
        self._hover = NeuronHover((self.plot, self.second), self.layers, self.card, self._show_card, self)
        self._hover.drag_ended.connect(self._catch_up)
        self.marked = MarkedNeurons(self.plot, self.layers["background"], self.header, self._hover)
        self.brush = CloudBrush((self.plot, self.second), self.layers, self._hover, self)
        plots = QHBoxLayout()
        plots.setSpacing(0)
        plots.addWidget(self.plot, 1)
        plots.addWidget(self.second, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addLayout(plots, 1)
        self._resized = QTimer(self)
        self._resized.setSingleShot(True)
        self._resized.setInterval(60)
        self._resized.timeout.connect(self._draw)
        self.header.axes_picked.connect(self._pick_axes)
        self.header.colouring_picked.connect(self.colour_by)
        self.header.overlay_toggled.connect(self._toggle)
        self.header.reset_pressed.connect(self.reset_view)
        self._follower.hand_changed.connect(lambda by_hand: self.header.reset_button.setAutoRaise(not by_hand))
        self._box.sigRangeChanged.connect(self._range_changed)
        self.plot.painted.connect(self.painted)
        home = QShortcut(QKeySequence(Qt.Key.Key_Home), self.plot)
        home.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        home.activated.connect(self.reset_view)
        self.setMinimumSize(260, 220)
        self._offer_axes(2)
        self.apply_theme(theme)

    # What is shown

    def show_background(self, theta: np.ndarray, n_neurons: int) -> None:
        """The background cloud: theta (n_shown, n_params), of a network of `n_neurons`."""
        self._show("background", theta, n_neurons)

    def show_foreground(self, theta: np.ndarray | None) -> None:
        """The foreground cloud, (n_neurons, n_params), or None when there is none any more."""
        self._show("foreground", theta, None if theta is None else len(theta))

    def show_initial(self, theta: np.ndarray | None) -> None:
        """The background's neurons at step 0, (n_neurons, n_params)."""
        self._show("initial", theta, None if theta is None else len(theta))

    def show_theory(self, image: np.ndarray | None, extent: float = 0.0, sample: np.ndarray | None = None) -> None:
        """The infinite-width law: density of w on [-extent, extent]^2, row = w2 ascending, and neurons of it."""
        self._theory.take(image, extent, sample)
        self.header.set_count("theory", 0 if self._theory.is_known else None)
        self._show_or_hide_theory()

    def clear(self) -> None:
        """Forgets every cloud and the theory; the axis range starts afresh with the next one."""
        for name, layer in self.layers.items():
            layer.clear()
            self.header.set_count(name, None)
        self.marked.show(())
        self.show_theory(None)
        self._components = None
        self._hover.drop()
        self.empty.setVisible(True)
        self.key.setVisible(False)
        self.reset_view()

    def set_activation(self, phi: Callable[[np.ndarray], np.ndarray] | None) -> None:
        """The activation on numpy arrays, for the hovered neuron's curve."""
        self._phi = phi

    def set_projections(self, projections: Mapping[str, np.ndarray], n_out: int = 1) -> None:
        """The task's own directions in input space, name -> (n_inputs,), offered as axes; the first two are picked.

        Args:
            n_out: readouts of a neuron, of which theta has the length.
        """
        given = {name: np.asarray(v, np.float32) for name, v in projections.items()}
        if list(given) == list(self._projections) and n_out == self._n_out:
            return
        self._projections, self._n_out = given, n_out
        self._offer_axes(len(next(iter(given.values()))) if given else self._n_inputs)
        if len(given) >= 2:
            first, second, *_ = given
            self.pick_axes(first, second)

    def set_columns(self, names: Sequence[str] | None, *, has_weights: bool, meanings: Sequence[str] = ()) -> None:
        """Names of a table's columns, for a layer of a network with several; None: columns are w1 .. wd, a.

        Args:
            has_weights: the columns are input weights, whose neurons have a curve phi(w.x).
            meanings: a sentence for each column, of a table that brings everything that can be drawn.
        """
        columns = (tuple(names), has_weights, tuple(meanings)) if names else None
        if columns != self._columns:
            self._columns = columns
            self._offer_axes(len(names) - 1 if names else self._n_inputs)

    def pick_axes(self, x: str, y: str) -> None:
        """Puts two quantities on the axes, by key ("w1", "a", "norm", "PC1", ...); unknown ones change nothing."""
        for picker, key in ((self.header.x_picker, x), (self.header.y_picker, y)):
            if picker.findData(key) >= 0:
                picker.setCurrentIndex(picker.findData(key))

    @property
    def axes(self) -> tuple[str, str]:
        """Keys of the quantities on the axes."""
        assert self._axes is not None
        return self._axes[0].key, self._axes[1].key

    def name_theory(self, name: str, tip: str = "") -> None:
        """What the theory's chip is called, and what its tooltip says besides."""
        self.header.chips["theory"].set_name(name, tip)

    def show_overlay(self, name: str, is_shown: bool) -> None:
        """Switches "initial", "background", "foreground" or "theory" on or off."""
        self.header.chips[name].setChecked(is_shown)

    def set_split(self, is_split: bool) -> None:
        """The foreground beside the background, with the same axes, or over it."""
        if is_split == self.is_split:
            return
        self._hover.drop()
        self.second.setVisible(is_split)
        self.layers["foreground"].move_to((self.second if is_split else self.plot).getPlotItem())
        for plot, name in ((self.plot, "background"), (self.second, "foreground")):
            colour = getattr(self._theme, f"{name}_cloud")
            plot.getPlotItem().setTitle(name if is_split else None, color=colour, size="10pt")
        self._style_layers()
        self._show_or_hide_theory()
        self._draw()
        self.split_changed.emit(is_split)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of a neuron's columns."""
        return self._columns[0] if self._columns is not None else (*(f"w{k + 1}" for k in range(self._n_inputs)), "a")

    @property
    def is_split(self) -> bool:
        """Whether the foreground has a plot of its own."""
        return not self.second.isHidden()

    @property
    def span_by_hand(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """The axis range where a person took it by hand; None while it follows the neurons."""
        return self.visible_range() if self._follower.is_by_hand else None

    def set_span(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """A range as if a person had taken it."""
        self._follower.take(x, y)

    def visible_range(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The axis range on screen, ((x low, x high), (y low, y high)): figures can share it."""
        (x_low, x_high), (y_low, y_high) = self._box.viewRange()
        return (x_low, x_high), (y_low, y_high)

    def reset_view(self) -> None:
        """Fits the range to the neurons, and follows them again."""
        self._components = None
        self._colour_limit.forget()
        self._follower.reset()
        self._draw(at_once=True)

    def forget_range(self) -> None:
        """Fits the range to the clouds that are shown now, unless a person took it by hand."""
        if not self._follower.is_by_hand:
            self.reset_view()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plot.setBackground(theme.panel)
        style_plot(self.plot.getPlotItem(), theme)
        for part in (self.header, self.empty, self.card, self.key, self.banner, self._theory, self._hover):
            part.apply_theme(theme)
        for drawn in (self.marked, self.brush, self.second):
            drawn.apply_theme(theme)
        self._style_layers()
        for line in self._zero_lines:
            line.setPen(line_pen(theme.grid, 1))
        self.colour_by(self._colouring_key)

    def _style_layers(self) -> None:
        for name, strength in _STRENGTHS.items():
            is_over = name == "foreground" and not self.is_split and self.layers["background"].is_wanted
            self.layers[name].set_colour(
                getattr(self._theme, f"{name}_cloud"), min(strength, _OVER_THE_BACKGROUND) if is_over else strength
            )

    # Colours

    def colour_by(self, key: str) -> None:
        """Colours neurons by "plain", "a", "norm" or "angle"."""
        self._colouring_key = key
        found = self.header.colour_picker.findData(key)
        self.header.colour_picker.setCurrentIndex(found)
        self._colour_limit.forget()
        table, colouring = None, None
        if key in _TABLES:
            table = _TABLES[key](self._theme)
            palette = colours.brushes(table, 0.85)
            colouring = Colouring(palette, lambda theta: self._colour_index(theta, self._choices[key]))
        for name in ("background", "foreground"):
            # Where colour has another meaning, the clouds are told apart by their symbol.
            symbol = "d" if colouring is not None and name == "foreground" else "o"
            self.layers[name].set_colouring(colouring, symbol)
            self.header.chips[name].set_mark("diamond" if symbol == "d" else "dot")
        self.key.set_table(table, {"a": "readout a", "norm": "|w|", "angle": "angle(w)"}.get(key, ""))
        self._draw()

    def _colour_index(self, theta: np.ndarray, axis: Axis) -> np.ndarray:
        values = project(theta, axis)
        if axis.kind == "angle":
            self.key.set_limits("−180°", "180°")
            return colours.colour_index(values, 180.0, is_signed=True)
        inner = np.partition(np.abs(values), int(0.98 * (len(values) - 1)))[: int(0.98 * (len(values) - 1)) + 1]
        if self._colour_limit.follow(inner):
            limit = f"{self._colour_limit.high:.2g}"
            self.key.set_limits(f"−{limit}" if axis.kind == "readout" else "0", limit)
        return colours.colour_index(values, self._colour_limit.high, is_signed=axis.kind == "readout")

    # Drawing

    def _show(self, name: str, theta: np.ndarray | None, n_neurons: int | None) -> None:
        layer = self.layers[name]
        if theta is None or len(theta) == 0:
            layer.clear()
            self.header.set_count(name, None)
            self._hover.drop(name)
            self.marked.draw()
            self.brush.draw()
            return
        if theta.shape[1] - 1 != self._n_inputs:
            for other in self.layers.values():
                if other.theta is not None and other.theta.shape[1] != theta.shape[1]:
                    other.clear()
                    self.header.set_count(other.name, None)
            self._offer_axes(theta.shape[1] - 1)
        layer.theta = np.asarray(theta, np.float32)
        if layer.n_neurons != n_neurons:
            layer.n_neurons = n_neurons or len(theta)
            self.header.set_count(name, layer.n_neurons)
        self.empty.setVisible(False)
        self._draw(only=name)

    def _draw(self, only: str | None = None, at_once: bool = False) -> None:
        if self._hover.is_dragging:
            self._is_stale = True
            return
        if self._axes is None:
            return
        if self._components is None and "component" in (self._axes[0].kind, self._axes[1].kind):
            first = next((layer.theta for layer in self.layers.values() if layer.is_drawn), None)
            if first is not None:
                self._components = principal_components(first)
                self._theory.redraw()
                self._show_or_hide_theory()
        rect = self._box.viewRect()
        side = min(self._box.width(), self._box.height())
        for name, layer in self.layers.items():
            if only is None or name == only:
                layer.side = side
                layer.draw(self._axes, self._components, self._projections, rect)
        self.key.setVisible(
            self._colouring_key != "plain"
            and any(self.layers[name].has_points for name in ("background", "foreground"))
        )
        drawn = [layer for layer in self.layers.values() if layer.is_drawn]
        if drawn:
            at_once = at_once or not self.isVisible()
            self._follower.follow([layer.x for layer in drawn], [layer.y for layer in drawn], at_once=at_once)
        self.marked.draw()
        self.brush.draw()
        self._hover.refresh(only)

    def _pick_axes(self, x: str, y: str) -> None:
        self._axes = (self._choices[x], self._choices[y])
        plot = self.plot.getPlotItem()
        labels = [axis.label + (" (°)" if axis.kind == "angle" else "") for axis in self._axes]
        for name, label in zip(("bottom", "left"), labels, strict=True):
            plot.setLabel(name, label)
        self.second.set_axes(*labels, is_square=self._axes[0].kind == self._axes[1].kind)
        self._follower.set_kinds((self._axes[0].kind, self._axes[1].kind))
        self._show_or_hide_theory()
        self._hover.drop()
        self.reset_view()

    def _offer_axes(self, n_inputs: int) -> None:
        n_inputs = max(n_inputs, 1)
        self._n_inputs = n_inputs
        if self._columns is not None and len(self._columns[0]) == n_inputs + 1:
            axes = table_axes(self._columns[0], has_weights=self._columns[1], meanings=self._columns[2])
        else:
            axes = available_axes(n_inputs, self._projections, self._n_out)
        self._choices = {axis.key: axis for axis in axes}
        self._components = None
        self.header.set_axes(axes)
        if self._colouring_key in ("norm", "angle") and self._colouring_key not in self._choices:
            self.colour_by("plain")
        self._pick_axes(self.header.x_picker.currentData(), self.header.y_picker.currentData())

    def _toggle(self, name: str, is_shown: bool) -> None:
        if name == "theory":
            self._show_or_hide_theory()
        if name not in self.layers:
            return
        self.layers[name].is_wanted = is_shown
        self._hover.drop(name)
        self._style_layers()
        self._draw()

    def _show_or_hide_theory(self) -> None:
        chip = self.header.chips["theory"]
        fits = self._theory.fits(self._axes, self._n_inputs + 1, self._components)
        chip.setEnabled(fits)
        if not fits or self._axes is None or not chip.isChecked():
            self._theory.hide()
            return
        self._theory.show(self._axes, self._components, self._projections, (True, self.is_split))

    # Range

    def _range_changed(self) -> None:
        rect = self._box.viewRect()
        for layer in self.layers.values():
            layer.redraw_density(rect)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # Points scale with the plot; a paused run sends no frame that would redraw them.
        self._resized.start()

    def hideEvent(self, event: QHideEvent) -> None:
        if self._follower.is_moving:
            self._follower.settle()
        super().hideEvent(event)

    # Mouse

    def _catch_up(self) -> None:
        """What came while the mouse dragged the picture."""
        if self._is_stale:
            self._is_stale = False
            self._draw()

    def hover(self, cursor: QPoint) -> None:
        """Shows the card of the neuron under a point of the plot's viewport, if there is one."""
        self._hover.look(self.plot, cursor)

    def _show_card(self, layer: CloudLayer, index: int) -> None:
        assert layer.theta is not None
        colour, note = getattr(self._theme, f"{layer.name}_cloud"), self.marked.note(layer, index)
        if self._columns is not None:
            self.card.show_row(layer.name, index, self._columns[0], layer.theta[index], colour, note)
        else:
            self.card.show_neuron(layer.name, index, layer.theta[index], self._phi, colour, note)


__all__ = ["MOST_POINTS", "CloudView", "point_size"]
