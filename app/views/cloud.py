"""The cloud view: every neuron of background and foreground as a point in a plane of the person's choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.brush import CloudBrush
from app.views.cloud_axes import CloudAxes
from app.views.cloud_banner import CloudBanner
from app.views.cloud_colouring import CloudColouring
from app.views.cloud_header import CloudHeader
from app.views.cloud_layer import CloudLayer
from app.views.colour_key import ColourKey
from app.views.density import bins_of
from app.views.marked_neurons import MarkedNeurons
from app.views.neuron_card import NeuronCard
from app.views.neuron_hover import NeuronHover
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.views.projections import moments_of, principal_components
from app.views.range_follower import RangeFollower
from app.views.split_plot import PaintedPlot, SplitPlot
from app.views.theory_layer import TheoryLayer
from app.views.theory_overlay import TheoryOverlay
from app.widgets.activation_inset import Phi
from app.widgets.empty_state import EmptyState
from mft_engine.looks import Moments, Plane, Seen

# Laid over the background, orange lets the blue shine through.
_STRENGTHS = {"initial": 0.65, "background": 0.9, "foreground": 0.82}
_OVER_THE_BACKGROUND = 0.6


class CloudView(QWidget):
    """Told what to show by `show_*`; draws at once, except while the mouse drags the picture.

    The axis range is shared by all clouds and stays: it grows when neurons leave it and follows a shrinking cloud only
    after a while. Zooming or moving by hand stops that, until "Reset view".

    Of a large cloud that is counted elsewhere some neurons are here, and what was counted for the `plane` looked at;
    `looked` says that it may be another one. Until new counts come the old ones stay where they belong.
    """

    painted = Signal()
    looked = Signal()
    split_changed = Signal(bool)

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._phi: Phi | None = None
        self._axes = CloudAxes()
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
        self._colouring = CloudColouring(self.layers, self.header, self.key)
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

    def show_background(
        self, theta: np.ndarray, n_neurons: int, *, is_counted: bool = False, seen: Seen | None = None
    ) -> None:
        """The background cloud: theta (n_shown, n_params), of a network of `n_neurons`.

        Args:
            is_counted: these are some of many, and what is counted of all comes with them (`seen`) or later.
        """
        self._show("background", theta, n_neurons, is_counted, seen)

    def show_foreground(self, theta: np.ndarray | None, n_neurons: int = 0, *, is_counted: bool = False) -> None:
        """The foreground cloud, (n_shown, n_params) of n_neurons (0: all are here), or None when there is none."""
        self._show("foreground", theta, n_neurons, is_counted)

    def show_initial(self, theta: np.ndarray | None, n_neurons: int = 0, *, is_counted: bool = False) -> None:
        """The background's neurons at step 0, likewise."""
        self._show("initial", theta, n_neurons, is_counted)

    def show_seen(self, name: str, seen: Seen) -> None:
        """What was counted of a large cloud, without its neurons having moved."""
        layer = self.layers[name]
        if layer.is_counted:
            layer.take_seen(seen)
            layer.redraw_density(self._box.viewRect())  # also while the mouse drags the picture
            self._draw(only=name)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the clouds that shall be seen where they are."""
        return tuple(name for name, layer in self.layers.items() if layer.is_wanted)

    @property
    def plane(self) -> Plane | None:
        """What is looked at; None while the axes are principal components that nobody knows yet."""
        along = self._axes.plane
        if along is None:
            return None
        rect = self._box.viewRect()
        is_known = self._follower.is_set and rect.width() > 0 and rect.height() > 0
        return Plane(*along, bins_of(rect) if is_known else None)

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
        self._axes.components = None
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
        if list(given) == list(self._axes.projections) and n_out == self._axes.n_out:
            return
        self._axes.projections, self._axes.n_out = given, n_out
        self._offer_axes(len(next(iter(given.values()))) if given else self._axes.n_inputs)
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
        if columns != self._axes.columns:
            self._axes.columns = columns
            self._offer_axes(len(names) - 1 if names else self._axes.n_inputs)

    def pick_axes(self, x: str, y: str) -> None:
        """Puts two quantities on the axes, by key ("w1", "a", "norm", "PC1", ...); unknown ones change nothing."""
        for picker, key in ((self.header.x_picker, x), (self.header.y_picker, y)):
            if picker.findData(key) >= 0:
                picker.setCurrentIndex(picker.findData(key))

    @property
    def axes(self) -> tuple[str, str]:
        """Keys of the quantities on the axes."""
        assert self._axes.chosen is not None
        return self._axes.chosen[0].key, self._axes.chosen[1].key

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
        return self._axes.names

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
        self._axes.components = None
        self._colouring.forget()
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
        self.colour_by(self._colouring.chosen)

    def _style_layers(self) -> None:
        for name, strength in _STRENGTHS.items():
            is_over = name == "foreground" and not self.is_split and self.layers["background"].is_wanted
            self.layers[name].set_colour(
                getattr(self._theme, f"{name}_cloud"), min(strength, _OVER_THE_BACKGROUND) if is_over else strength
            )

    def colour_by(self, key: str) -> None:
        """Colours neurons by "plain", "a", "norm" or "angle"."""
        self._colouring.choose(key, self._axes.choices, self._theme)
        self._draw()

    # Drawing

    def _show(
        self, name: str, theta: np.ndarray | None, n_neurons: int, is_counted: bool, seen: Seen | None = None
    ) -> None:
        layer = self.layers[name]
        if theta is None or len(theta) == 0:
            layer.clear()
            self.header.set_count(name, None)
            self._hover.drop(name)
            self.marked.draw()
            self.brush.draw()
            return
        if theta.shape[1] - 1 != self._axes.n_inputs:
            for other in self.layers.values():
                if other.theta is not None and other.theta.shape[1] != theta.shape[1]:
                    other.clear()
                    self.header.set_count(other.name, None)
            self._offer_axes(theta.shape[1] - 1)
        before = layer.n_neurons
        layer.take(theta, n_neurons or len(theta), is_counted=is_counted, seen=seen)
        if layer.n_neurons != before:
            self.header.set_count(name, layer.n_neurons)
        self.empty.setVisible(False)
        self._draw(only=name)

    def _draw(self, only: str | None = None, at_once: bool = False) -> None:
        if self._hover.is_dragging:
            self._is_stale = True
            return
        if self._axes.plane is None and (moments := self._moments()) is not None:
            self._axes.components = principal_components(moments)
            self._theory.redraw()
            self._show_or_hide_theory()
        rect = self._box.viewRect()
        side = min(self._box.width(), self._box.height())
        for name, layer in self.layers.items():
            if only is None or name == only:
                layer.side = side
                layer.draw(self._axes.plane, rect)
        self._colouring.show_key()
        ends = [layer.ends for layer in self.layers.values() if layer.is_drawn]
        known = [both for both in ends if both is not None]
        if known:
            at_once = at_once or not self.isVisible()
            self._follower.follow([x for x, _ in known], [y for _, y in known], at_once=at_once)
        self.marked.draw()
        self.brush.draw()
        self._hover.refresh(only)
        self.looked.emit()

    def _moments(self) -> Moments | None:
        """Of the first cloud that is drawn, where they can be known."""
        first = next((layer for layer in self.layers.values() if layer.is_drawn), None)
        if first is None or first.theta is None:
            return None
        if first.is_counted:
            return first.seen.moments if first.seen is not None else None
        return moments_of(first.theta)

    def _pick_axes(self, x: str, y: str) -> None:
        chosen = self._axes.choose(x, y)
        plot = self.plot.getPlotItem()
        labels = [axis.label + (" (°)" if axis.kind == "angle" else "") for axis in chosen]
        for name, label in zip(("bottom", "left"), labels, strict=True):
            plot.setLabel(name, label)
        kinds = chosen[0].kind, chosen[1].kind
        self.second.set_axes(*labels, is_square=kinds[0] == kinds[1])
        self._follower.set_kinds(kinds)
        self._show_or_hide_theory()
        self._hover.drop()
        self.reset_view()

    def _offer_axes(self, n_inputs: int) -> None:
        self.header.set_axes(self._axes.offer(n_inputs))
        if self._colouring.chosen in ("norm", "angle") and self._colouring.chosen not in self._axes.choices:
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
        axes = self._axes
        fits = self._theory.fits(axes.chosen, axes.n_inputs + 1, axes.components)
        chip.setEnabled(fits)
        if not fits or axes.chosen is None or not chip.isChecked():
            self._theory.hide()
            return
        self._theory.show(axes.chosen, axes.components, axes.projections, (True, self.is_split))

    # Range

    def _range_changed(self) -> None:
        rect = self._box.viewRect()
        for layer in self.layers.values():
            layer.redraw_density(rect)
        self.looked.emit()

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
        if self._axes.columns is not None:
            self.card.show_row(layer.name, layer.number(index), self._axes.names, layer.theta[index], colour, note)
        else:
            self.card.show_neuron(layer.name, layer.number(index), layer.theta[index], self._phi, colour, note)
