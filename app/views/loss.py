"""The loss view: how far the network is from the target along the run, against the foreground and the theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QGraphicsItem, QHBoxLayout, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.axis_range import StableRange
from app.views.chips import LegendChip
from app.views.gap_label import GapLabel
from app.views.limit_curve import LimitCurve
from app.views.plot_style import SparseLogAxis, line_pen, quiet_plot, style_plot
from app.views.scrubber import Scrubber
from app.widgets.colours import with_opacity
from app.widgets.empty_state import EmptyState
from app.widgets.words import four_digits

_LEVELS = ("foreground", "theory")
# The infinitely wide network's loss on unseen data belongs to the test curve, and is switched with it.
_UNSEEN = "theory, test"
# Marks nearer than this share of the time axis belong to one drag of a slider.
_SAME_MARK = 0.02
_LABEL_HEIGHT = 20.0
_MARK_HEIGHTS = (0.96, 0.8, 0.62, 0.36)
_GAP_ABOVE = 0.9


class LossView(QWidget):
    """Told what to show by `show_*` and `mark_*`; the horizontal axis is the time t, not the step number."""

    scrubbed = Signal(int)

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._time = self._loss = self._test = np.empty(0)
        self._levels: dict[str, float | None] = dict.fromkeys((*_LEVELS, _UNSEEN))
        self._marks: list[tuple[float, str]] = []
        self._complete: float | None = None
        self._theory_name = "theory"
        self._range = StableRange(is_symmetric=False)
        self._time_end = self._duration = 1.0
        self._is_following = True

        self.chips = {
            "background": LegendChip(
                "background", "line", "background_cloud", "E (y − f)² of the trained network, along the run", self
            ),
            "test": LegendChip(
                "test",
                "line",
                "text",
                "E (y − f)² on data that the network has not seen, every 50 steps; dashed: infinitely wide",
                self,
            ),
            "foreground": LegendChip(
                "foreground", "line", "foreground_cloud", "E (y − f)² of the network of the foreground neurons", self
            ),
            "theory": LegendChip("theory", "dashes", "theory", "Exact loss of the infinitely wide network", self),
            "lazy": LegendChip("lazy", "dashes", "muted", "What a network that learns no features would do", self),
        }
        # A reference far above the curve would flatten it, so it is drawn on demand.
        self.chips["lazy"].setChecked(False)
        self.log_scale = QCheckBox("Logarithmic", self)
        self.log_scale.setToolTip("Draw the loss on a logarithmic axis")
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 8, 2)
        header.setSpacing(4)
        for chip in self.chips.values():
            header.addWidget(chip)
            chip.setEnabled(False)
            chip.toggled.connect(self._redraw)
        self.chips["test"].hide()
        header.addStretch(1)
        header.addWidget(self.log_scale)

        self.plot = pg.PlotWidget(self, enableMenu=False, axisItems={"left": SparseLogAxis("left")})
        self.plot.setAccessibleName("Loss against time")
        quiet_plot(self.plot.getPlotItem())
        self.plot.getPlotItem().layout.setContentsMargins(4, 4, 14, 2)
        self._box = self.plot.getViewBox()
        self._curve = pg.PlotDataItem(connect="finite")
        self._curve.setZValue(10)
        self.plot.addItem(self._curve, ignoreBounds=True)
        # After adding: a plot sets its own choices on every curve that it takes.
        self._curve.setDownsampling(auto=True, method="peak")
        self._curve.setClipToView(True)
        self._test_curve = pg.PlotDataItem(connect="finite")
        self._test_curve.setZValue(9)
        self.plot.addItem(self._test_curve, ignoreBounds=True)
        self._test_curve.setDownsampling(auto=True, method="peak")
        self._test_curve.setClipToView(True)
        self._lazy = np.empty((0, 2))
        self._lazy_curve = pg.PlotDataItem()
        self._lazy_curve.setZValue(4)
        self.plot.addItem(self._lazy_curve, ignoreBounds=True)
        self._limit = LimitCurve(self.plot)
        self._level_lines = {name: self._level_line(z) for name, z in (("foreground", 5), ("theory", 6), (_UNSEEN, 6))}
        # Apart from the other two labels: its height is not theirs to know.
        self._level_lines[_UNSEEN].label.setPosition(0.66)
        self._complete_line = self._vertical_line("recipe complete")
        self._cursor_line = self._vertical_line("")
        self._marks_drawn: object = None
        self._mark_lines: list[pg.InfiniteLine] = []
        self.plot.setLabel("bottom", "time t")
        self.plot.setLabel("left", "loss")
        self.plot.getAxis("left").setWidth(58)
        self.plot.getAxis("bottom").setHeight(34)
        self.gap = GapLabel(self.plot)
        self.empty = EmptyState("No loss yet", "It appears with the first steps of training.", self.plot)
        self.scrubber = Scrubber(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.scrubber)

        self.log_scale.toggled.connect(self._switch_scale)
        self.scrubber.scrubbed.connect(self._show_cursor)
        self.scrubber.scrubbed.connect(self.scrubbed)
        self._box.sigRangeChangedManually.connect(self._taken_by_hand)
        self._box.sigResized.connect(self._redraw)
        self.plot.viewport().installEventFilter(self)
        self.plot.setToolTip("Wheel zooms, drag moves, double click fits the picture again")
        self.setMinimumSize(240, 130)
        self.apply_theme(theme)
        self._box.setRange(xRange=(0, 1), yRange=(0, 1.05), padding=0)

    # What is shown

    def show_metrics(self, metrics: Mapping[str, np.ndarray]) -> None:
        """The columns recorded so far; `time`, `loss` and, where there is one, `test_loss` are drawn, (n_records,)."""
        time, loss = np.asarray(metrics.get("time", ())), np.asarray(metrics.get("loss", ()))
        self._time, self._loss, self._test = time, loss, np.asarray(metrics.get("test_loss", ()))
        has_any = len(time) > 0
        chip = self.chips["background"]
        chip.setEnabled(has_any)
        right = f" · test accuracy {100 * metrics['test_accuracy'][-1]:.0f} %" if "test_accuracy" in metrics else ""
        chip.set_detail(four_digits(float(loss[-1])) + right if has_any else "")
        chip, is_tested = self.chips["test"], len(self._test) > 0
        chip.setVisible(is_tested)
        chip.setEnabled(is_tested)
        chip.set_detail(four_digits(float(self._test[-1])) if is_tested else "")
        self._redraw()

    def show_gap(self, gap: float | None, error: float | None) -> None:
        """Test loss minus training loss and its standard error (nan or None: not known yet); None takes it away."""
        self.gap.show_gap(gap, error)

    def show_foreground_loss(self, loss: float | None) -> None:
        """The foreground network's loss, or None while there is no foreground."""
        self._show_level("foreground", loss)

    def show_theory_loss(self, loss: float | None) -> None:
        """The infinite-width loss, or None where none is known."""
        self._show_level("theory", loss)

    def show_theory_test_loss(self, loss: float | None) -> None:
        """The infinitely wide network's loss on unseen data, or None where it is trained on all there is."""
        self._show_level(_UNSEEN, loss)

    def show_lazy_loss(self, times: np.ndarray, losses: np.ndarray, name: str = "lazy") -> None:
        """The reference of a lazy network, (n,) each; two equal values make a level, none take it away."""
        self._lazy = np.column_stack([times, losses])
        chip = self.chips["lazy"]
        chip.setEnabled(len(times) > 0)
        chip.set_detail(four_digits(float(losses[-1])) if len(times) else "")
        chip.set_name("lazy", name)
        self._redraw()

    def show_limit(
        self, times: Sequence[float], losses: Sequence[float], expected: Sequence[float], spread: Sequence[float]
    ) -> None:
        """The loss of infinite width along the training, with the band of single networks; empty: none."""
        self._limit.show_curve(times, losses, expected, spread)
        if self._levels["theory"] is None:
            self.chips["theory"].setEnabled(self._limit.is_known)
            self.chips["theory"].set_detail(four_digits(losses[-1]) if self._limit.is_known else "")
        self._redraw()

    def name_theory(self, name: str, tip: str = "") -> None:
        """What the theory's chip and line are called, and what the tooltip says besides."""
        self._theory_name = name
        self.chips["theory"].set_name(name, tip)
        self._redraw()

    def mark_complete(self, time: float | None) -> None:
        """A vertical line where the recipe's last step was done."""
        self._complete = time
        self._redraw()

    def mark_change(self, time: float, text: str) -> None:
        """A vertical line where a parameter was changed; the changes of one drag become one line.

        Args:
            time: t of the change.
            text: what changed, short: it is written into the plot, for example "scale 0.01".
        """
        if self._marks and time - self._marks[-1][0] <= _SAME_MARK * self._time_end:
            self._marks[-1] = (time, text)
        else:
            self._marks.append((time, text))
        self._redraw()

    def set_duration(self, time: float) -> None:
        """The recipe's time, so that the axis shows from the start how long the run will be."""
        if self._duration != max(time, 1e-9):
            self._duration = self._time_end = max(time, 1e-9)
            self._redraw()

    def set_snapshots(self, times: np.ndarray) -> None:
        """Times of the stored snapshots; the scrubber is shown while there are at least two."""
        self.scrubber.set_times(np.asarray(times))

    @property
    def is_live(self) -> bool:
        """Whether the scrubber is at the present state."""
        return self.scrubber.is_live

    def go_live(self) -> None:
        """Takes the scrubber back to the present state."""
        self.scrubber.go_live()
        self._cursor_line.setVisible(False)

    def clear(self) -> None:
        """Forgets the run."""
        self._marks.clear()
        self._complete = None
        self._range.forget()
        self._is_following = True
        self._time_end = self._duration = 1.0
        for name in self._levels:
            self._show_level(name, None)
        self.show_gap(None, None)
        self.scrubber.set_times(np.empty(0))
        self._cursor_line.setVisible(False)
        self.show_lazy_loss(np.empty(0), np.empty(0))
        self.show_limit((), (), (), ())
        self.show_metrics({})

    def reset_view(self) -> None:
        """Fits the picture to the run again."""
        self._is_following = True
        self._range.forget()
        self._redraw()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plot.setBackground(theme.panel)
        style_plot(self.plot.getPlotItem(), theme)
        for chip in self.chips.values():
            chip.apply_theme(theme)
        self.empty.apply_theme(theme)
        self._curve.setPen(line_pen(theme.background_cloud, 2))
        self._test_curve.setPen(line_pen(theme.text, 1.3))
        self.gap.apply_theme(theme)
        colours = {"foreground": theme.foreground_cloud, "theory": theme.theory, _UNSEEN: theme.theory}
        for name, colour in colours.items():
            line, is_solid = self._level_lines[name], name == "foreground"
            line.setPen(line_pen(colour, 1.8, Qt.PenStyle.SolidLine if is_solid else Qt.PenStyle.DashLine))
            line.label.setColor(colour)
            line.label.fill = pg.mkBrush(with_opacity(theme.panel, 0.85))
        self._limit.apply_theme(theme)
        self._lazy_curve.setPen(line_pen(theme.muted, 1.4, Qt.PenStyle.DashLine))
        self._complete_line.setPen(line_pen(theme.good, 1.2))
        self._complete_line.label.setColor(theme.good)
        self._cursor_line.setPen(line_pen(theme.text, 1.2))
        self._redraw()

    # Drawing

    def _show_level(self, name: str, value: float | None) -> None:
        if value is not None and not np.isfinite(value):
            value = None
        self._levels[name] = value
        if name in self.chips:
            self.chips[name].setEnabled(value is not None)
            self.chips[name].set_detail("" if value is None else four_digits(value))
        self._redraw()

    def _redraw(self) -> None:
        # Words would stand across a level of the theory or a lazy network.
        has_level = any(level is not None for level in self._levels.values()) or len(self._lazy) > 0
        self.empty.setVisible(not has_level and not len(self._time))
        self._fit_header()
        is_log = self.log_scale.isChecked()
        self._curve.setVisible(self.chips["background"].isChecked())
        self._curve.setData(self._time, self._loss)
        shown = [self._loss] if self.chips["background"].isChecked() else []
        is_test_shown = self.chips["test"].isChecked() and len(self._test) > 0
        self._test_curve.setVisible(is_test_shown)
        if is_test_shown:
            self._test_curve.setData(self._time, self._test)
            shown.append(self._test)
        is_lazy_shown = self.chips["lazy"].isChecked() and len(self._lazy) > 0
        self._lazy_curve.setVisible(is_lazy_shown)
        if is_lazy_shown:
            times = np.minimum(self._lazy[:, 0], 2 * self._time_end)
            self._lazy_curve.setData(times, self._lazy[:, 1])
            shown.append(self._lazy[:, 1])
        self._limit.set_visible(self.chips["theory"].isChecked())
        if self._limit.is_known and self.chips["theory"].isChecked():
            shown.append(self._limit.losses)
        for name, line in self._level_lines.items():
            value = self._levels[name]
            chip = self.chips["test" if name == _UNSEEN else name]
            is_shown = value is not None and chip.isChecked() and not (is_log and value <= 0)
            line.setVisible(is_shown)
            if is_shown:
                assert value is not None
                line.setPos(np.log10(value) if is_log else value)
                title = name.replace("theory", self._theory_name)
                line.label.setFormat(f"{title} {four_digits(value)}")
                shown.append(np.array([value]))
        self._follow(np.concatenate(shown) if shown else np.empty(0), is_log)
        self._draw_marks()

    def _follow(self, values: np.ndarray, is_log: bool) -> None:
        if len(self._time) and self._time[-1] > self._time_end:
            # Beyond the recipe's end the axis grows by quarters, not at every frame.
            self._time_end = float(self._time[-1]) * 1.25
        values = values[np.isfinite(values)]
        if is_log:
            values = np.log10(values[values > 0])
        self._range.follow(values)
        if not self._is_following:
            return
        if self._range.is_set:
            # Room for the label of a line that nearly touches the bottom or the top.
            share = min(_LABEL_HEIGHT / max(self._box.height(), 1.0), 0.25)
            spare = share * (self._range.high - self._range.low) / (1 - 2 * share)
            low, high = self._range.low - spare, self._range.high + spare
            self._box.setRange(xRange=(0, self._time_end * 1.01), yRange=(low, high), padding=0)
        self._place_labels()

    def _place_labels(self) -> None:
        # The two level lines often nearly coincide: the upper one is labelled above, the lower one below.
        values = [self._levels[name] for name in _LEVELS]
        foreground_above = values[0] is None or values[1] is None or values[0] >= values[1]
        for name in _LEVELS:
            is_above = foreground_above == (name == "foreground")
            label = self._level_lines[name].label
            label.anchors = [(1, 1 if is_above else 0)] * 2
            label.updatePosition()
        unseen, seen = self._levels[_UNSEEN], values[1]
        label = self._level_lines[_UNSEEN].label
        label.anchors = [(1, 0 if unseen is not None and seen is not None and unseen < seen else 1)] * 2
        label.updatePosition()

    def _clear_height(self) -> float:
        """Height in the plot, 0 to 1, at which a mark's label keeps clear of the level lines' labels."""
        low, high = self._box.viewRange()[1]
        lines = [line for line in self._level_lines.values() if line.isVisible()]
        heights = [(line.value() - low) / max(high - low, 1e-12) for line in lines]
        # The gap between the two losses stands at the top.
        places = [h for h in _MARK_HEIGHTS if self.gap.isHidden() or h < _GAP_ABOVE]
        return next((h for h in places if all(abs(h - 0.08 - y) > 0.2 for y in heights)), places[0])

    def _draw_marks(self) -> None:
        # Every mark costs a third of a millisecond, and they are many after a long play with the slider.
        height = self._clear_height()
        now = (tuple(self._marks), self._theme.name, self._time_end, self._complete, height)
        if now == self._marks_drawn:
            return
        self._marks_drawn = now
        while len(self._mark_lines) < len(self._marks):
            self._mark_lines.append(self._vertical_line("", position=0.82))
        for k, line in enumerate(self._mark_lines):
            is_used = k < len(self._marks)
            line.setVisible(is_used)
            if not is_used:
                continue
            time, text = self._marks[k]
            line.setPen(line_pen(self._theme.muted, 1, Qt.PenStyle.DotLine))
            self._place_mark(line, time)
            line.setToolTip(f"t = {time:.2f}: {text}")
            # Labels of earlier changes would overlap; they are in their tooltips.
            line.label.setFormat(text if k == len(self._marks) - 1 else "")
            line.label.setColor(self._theme.muted)
        self._complete_line.setVisible(self._complete is not None)
        if self._complete is not None:
            self._complete_line.label.setPosition(height)
            self._place_mark(self._complete_line, self._complete)

    def _place_mark(self, line: pg.InfiniteLine, time: float) -> None:
        line.setPos(time)
        # The label stands on the side where there is room for it.
        side = -0.04 if time < 0.3 * self._time_end else 1.04
        line.label.anchors = [(side, 0), (side, 0)]
        line.label.updatePosition()

    def _level_line(self, z: float) -> pg.InfiniteLine:
        options = {"position": 0.985, "movable": False, "anchors": [(1, 1), (1, 1)]}
        line = pg.InfiniteLine(angle=0, label="", labelOpts=options)
        line.setZValue(z)
        # Its ground is for the curves below, and leaves the line itself whole.
        line.label.setFlag(QGraphicsItem.GraphicsItemFlag.ItemStacksBehindParent)
        line.setVisible(False)
        self.plot.addItem(line, ignoreBounds=True)
        return line

    def _vertical_line(self, text: str, position: float = 0.96) -> pg.InfiniteLine:
        options = {"position": position, "movable": False, "anchors": [(1.04, 0), (1.04, 0)]}
        line = pg.InfiniteLine(angle=90, label=text, labelOpts=options)
        line.setVisible(False)
        self.plot.addItem(line, ignoreBounds=True)
        return line

    def _switch_scale(self, is_log: bool) -> None:
        self.plot.setLogMode(y=is_log)
        self._range.forget()
        self._is_following = True
        self._redraw()

    def _taken_by_hand(self) -> None:
        self._is_following = False

    def _show_cursor(self, index: int) -> None:
        time = self.scrubber.time_of(index)
        self._cursor_line.setVisible(time is not None)
        if time is not None:
            self._cursor_line.setPos(time)

    def _fit_header(self) -> None:
        """Numbers leave the legend where it is too narrow for them: the plot's own labels have most of them too."""
        chips = [chip for chip in self.chips.values() if not chip.isHidden()]
        wanted = sum(chip.full_width() + 4 for chip in chips) + self.log_scale.sizeHint().width() + 16
        for chip in chips:
            chip.set_brief(wanted > self.width())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Legend and gap find their place."""
        super().resizeEvent(event)
        self._fit_header()
        self.gap.place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseButtonDblClick:
            self.reset_view()
        return False
