"""The phase diagram of a sweep while its points arrive: every run a dot, means with error bars, the theory's line.

Points whose seeds together are rejected get a cross, and what they say together stands above, for all or for the one
under the mouse. The lines above are as high whatever they say: the plots stay where they are.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from app.theme import LIGHT, Theme
from app.views.plot_style import line_pen, quiet_plot, style_plot
from app.widgets.colours import sequential_points, with_opacity
from app.widgets.empty_state import EmptyState
from app.widgets.words import p_clause, written, written_tail

if TYPE_CHECKING:
    from mft_engine.studies.grid import Axis
    from mft_engine.studies.phase import Measured
    from mft_engine.studies.sweep_table import Sweep

_NOTHING = (
    "No sweep yet",
    "Choose one or two fields, by name or by pointing at their controls, and press Start.",
)
REJECTED = ("close", "inconsistent")
_MOST_TICKS = 6
_LETTER_PIXELS = 7
_TICK_PIXELS = 62


class PhaseView(QWidget):
    """Told a sweep and what is measured of it; says which run was clicked."""

    run_picked = Signal(str)  # its folder

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._shown: tuple[Sweep, Sequence[Measured], Sequence[tuple[int, ...]]] | None = None
        self._x: np.ndarray = np.empty(0)
        self._is_logarithmic = False
        self._grid: list[int] = []
        self._curves: list[dict[str, Any]] = []
        self._pooled: Mapping[tuple[int, ...], Mapping[str, Any]] = {}
        self.plots = pg.GraphicsLayoutWidget(self)
        self.plots.setAccessibleName("Phase diagram; a click on a point opens that run")
        self.plots.ci.setContentsMargins(4, 0, 10, 2)
        self.plots.ci.setSpacing(8)
        self.items: list[pg.PlotItem] = []
        self.dots: list[pg.ScatterPlotItem] = []
        self.hint = QLabel(self)
        self.hint.setProperty("role", "muted")
        self.hint.setContentsMargins(8, 2, 8, 0)
        self.hint.setAccessibleName("What is under the mouse")
        self.together = QLabel(self)
        self.together.setContentsMargins(8, 2, 8, 2)
        self.together.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.together.setAccessibleName("What the seeds of a point say together")
        self.together.setToolTip("One verdict a point from all of its seeds; a cross where they are rejected together")
        self.together.hide()
        self.empty = EmptyState(*_NOTHING, self.plots, covers=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.together)
        layout.addWidget(self.hint)
        layout.addWidget(self.plots, 1)
        self.plots.scene().sigMouseClicked.connect(self._clicked)
        self.plots.scene().sigMouseMoved.connect(self._moved)
        self.setMinimumSize(260, 120)
        self.apply_theme(theme)

    # What is shown

    def show_sweep(self, sweep: Sweep, panels: Sequence[Measured], places: Sequence[tuple[int, ...]], x: np.ndarray,
                   *, is_logarithmic: bool) -> None:  # fmt: skip
        """What there is of a sweep.

        Args:
            places: of every row on the grid; x: (n_values,) positions of the first field's values.
        """
        self._shown, self._is_logarithmic = (sweep, panels, places), is_logarithmic
        self._x = np.log10(x) if is_logarithmic else x
        self.empty.setVisible(not any(np.isfinite(panel.mean).any() for panel in panels))
        if len(panels) != len(self.items) or [len(a.values) for a in sweep.axes] != self._grid:
            self._make_plots(sweep, panels)
        if len(sweep.axes) == 1:
            self._draw_curves(sweep, panels, places)
        elif len(sweep.axes) == 2:
            self._draw_maps(panels)
        self._name_values()

    def show_pooled(self, pooled: Mapping[tuple[int, ...], Mapping[str, Any]]) -> None:
        """What the seeds of points say together (verdict, sentence), by place on the grid; none takes it away."""
        self._pooled = pooled
        at = [place for place, row in pooled.items() if row["verdict"] in REJECTED]
        for curves, panel in zip(self._curves, self._shown[1] if self._shown else (), strict=False):
            known = [place for place in at if np.isfinite(panel.mean[place])]
            x = [self._x[place[0]] if len(place) == 1 else place[0] for place in known]
            curves["crosses"].setData(x, [panel.mean[place] if len(place) == 1 else place[1] for place in known])
        self._tell_together(None)

    def _tell_together(self, place: tuple[int, ...] | None) -> None:
        """Of a place of the grid, with the whole sentence under the mouse, or of all."""
        row = self._pooled.get(place) if place is not None else None
        self.plots.setToolTip(f"<qt>{html.escape(row['sentence'])}</qt>" if row is not None else "")
        self.together.setText(_together(row) if row is not None else self._all_together())
        self.together.setVisible(bool(self._pooled))

    def _all_together(self) -> str:
        verdicts = [row["verdict"] for row in self._pooled.values()]
        counts = ((verdict, verdicts.count(verdict)) for verdict in ("consistent", *REJECTED, None))
        return "Together: " + ", ".join(f"{count} {verdict or 'without verdict'}" for verdict, count in counts if count)

    def clear(self) -> None:
        """No sweep."""
        self._shown = None
        self.plots.clear()
        self.items, self.dots, self._grid = [], [], []
        self._curves, self._pooled = [], {}
        self._tell_together(None)
        self.empty.setVisible(True)
        self.hint.clear()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plots.setBackground(theme.panel)
        self.empty.apply_theme(theme)
        self._grid = []
        if self._shown is not None:
            sweep, panels, places = self._shown
            x = 10.0**self._x if self._is_logarithmic else self._x
            self.show_sweep(sweep, panels, places, x, is_logarithmic=self._is_logarithmic)
            self.show_pooled(self._pooled)

    # Drawing

    def _make_plots(self, sweep: Sweep, panels: Sequence[Measured]) -> None:
        self.plots.clear()
        self.items, self.dots = [], []
        self._grid = [len(axis.values) for axis in sweep.axes]
        self._curves = []
        for column, panel in enumerate(panels):
            item = self.plots.addPlot(0, column)
            quiet_plot(item)
            style_plot(item, self._theme, small=True)
            item.setMouseEnabled(False, False)
            item.setTitle(panel.words, color=self._theme.text, size="9pt")
            item.getAxis("left").setWidth(42)
            item.getAxis("bottom").setHeight(32)
            # The first and the last value stand half outside of their axis.
            item.getAxis("bottom").setStyle(hideOverlappingLabels=False)
            item.getViewBox().sigResized.connect(self._name_values)
            self.items.append(item)
            self._curves.append(
                self._curve_items(item) if len(sweep.axes) == 1 else self._map_items(item, sweep, column)
            )

    def _curve_items(self, item: pg.PlotItem) -> dict[str, Any]:
        theme = self._theme
        line = pg.PlotDataItem(pen=line_pen(theme.theory, 1.8, Qt.PenStyle.DashLine), connect="finite")
        bars = pg.ErrorBarItem(x=np.zeros(1), y=np.zeros(1), height=np.zeros(1), beam=0.0,
                               pen=line_pen(theme.background_cloud, 1.4))  # fmt: skip
        dots = pg.ScatterPlotItem(size=6, pen=None, brush=with_opacity(theme.background_cloud, 0.35), hoverable=True,
                                                hoverSize=10, tip=None)  # fmt: skip
        means = pg.ScatterPlotItem(size=8, pen=None, brush=pg.mkBrush(theme.background_cloud))
        # On the way down: hollow triangles, and both ways joined by thin lines.
        ways = pg.PlotDataItem(pen=line_pen(theme.background_cloud, 1.0), connect="finite")
        back = pg.PlotDataItem(
            pen=line_pen(theme.background_cloud, 1.0), connect="finite", symbol="t", symbolSize=10,
            symbolBrush=theme.panel, symbolPen=line_pen(theme.background_cloud, 1.4),
        )  # fmt: skip
        crosses = self._cross_item()
        for z, part in enumerate((line, bars, ways, dots, back, means, crosses)):
            part.setZValue(z)
            item.addItem(part)
        self.dots.append(dots)
        return {
            "line": line, "bars": bars, "dots": dots, "means": means, "ways": ways, "back": back, "crosses": crosses,
        }  # fmt: skip

    def _cross_item(self) -> pg.ScatterPlotItem:
        return pg.ScatterPlotItem(size=13, symbol="x", pen=line_pen(self._theme.panel, 1.0),
                                  brush=pg.mkBrush(self._theme.bad))  # fmt: skip

    def _map_items(self, item: pg.PlotItem, sweep: Sweep, column: int) -> dict[str, Any]:
        image = pg.ImageItem()
        image.setLookupTable(sequential_points(self._theme))
        item.addItem(image)
        places = np.arange(len(sweep.axes[1].values), dtype=float)
        item.getAxis("left").setTicks([_ticks(sweep.axes[1], places, _MOST_TICKS), []])
        item.getAxis("left").setWidth(58 if column == 0 else 12)
        item.getAxis("left").setStyle(showValues=column == 0)
        if column == 0:
            item.setLabel("left", sweep.axes[1].path)
        n, m = (len(axis.values) for axis in sweep.axes)
        item.getViewBox().setRange(xRange=(-0.5, n - 0.5), yRange=(-0.5, m - 0.5), padding=0.02)
        crosses = self._cross_item()
        item.addItem(crosses)
        return {"image": image, "crosses": crosses}

    def _draw_curves(self, sweep: Sweep, panels: Sequence[Measured], places: Sequence[tuple[int, ...]]) -> None:
        rows = [(place[0], row) for place, row in zip(places, sweep.rows, strict=True) if not row.get("failure")]
        for panel, curves in zip(panels, self._curves, strict=True):
            known, solved = np.isfinite(panel.mean), np.isfinite(panel.theory)
            error = np.nan_to_num(panel.error[known])
            curves["means"].setData(self._x[known], panel.mean[known])
            curves["bars"].setData(x=self._x[known], y=panel.mean[known], height=2 * error)
            down = panel.down
            come_back = np.isfinite(down.mean) if down is not None else np.zeros(len(self._x), dtype=bool)
            curves["ways"].setData(
                self._x[known], panel.mean[known] if down is not None else np.full(known.sum(), np.nan)
            )
            curves["back"].setData(self._x[come_back], down.mean[come_back] if down is not None else np.empty(0))
            curves["line"].setData(self._x[solved], panel.theory[solved])
            drawn = [(self._x[place], float(row[panel.column])) for place, row in rows if _is_known(row, panel)]
            x, y = np.array(drawn, dtype=float).reshape(-1, 2).T
            curves["dots"].setData(x, y)
            shown = np.concatenate([panel.mean[known] - error, panel.mean[known] + error, panel.theory[solved], y])
            shown = np.concatenate([shown, down.mean[come_back]]) if down is not None else shown
            if len(shown):
                low, high = float(shown.min()), float(shown.max())
                margin = 0.1 * (high - low) or 0.1 * abs(high) or 0.1
                reach = 0.1 * float(np.ptp(self._x)) or 0.5
                box = self.items[self._curves.index(curves)].getViewBox()
                box.setRange(xRange=(self._x.min() - reach, self._x.max() + reach),
                             yRange=(low - margin, high + margin), padding=0)  # fmt: skip

    def _draw_maps(self, panels: Sequence[Measured]) -> None:
        for panel, curves in zip(panels, self._curves, strict=True):
            values = panel.mean[np.isfinite(panel.mean)]
            if len(values):
                low, high = float(values.min()), float(values.max())
                curves["image"].setImage(panel.mean, levels=(low, high if high > low else low + 1))
                n, m = panel.mean.shape
                curves["image"].setRect(QRectF(-0.5, -0.5, n, m))
                table = sequential_points(self._theme)
                ends = (_swatch(table[0]) + written(low, 2), _swatch(table[-1]) + written(high, 2))
                title = f"{panel.words}<br>{' to '.join(ends)}"
                self.items[self._curves.index(curves)].setTitle(title, color=self._theme.text, size="9pt")

    def _name_values(self) -> None:
        """As many values under the plots as there is room for; whole powers of ten on a logarithmic axis."""
        if self._shown is None:
            return
        axis = self._shown[0].axes[0]
        places = self._x if len(self._grid) == 1 else np.arange(len(axis.values), dtype=float)
        for item in self.items:
            # A field's whole name where there is room for it: section and field are in the chooser beside the plots.
            whole = item.getViewBox().width() > _LETTER_PIXELS * len(axis.path)
            item.setLabel("bottom", axis.path if whole else axis.path.rpartition(".")[2])
            room = max(2, int(item.getViewBox().width() // _TICK_PIXELS))
            ticks = _ticks(axis, places, room)
            if self._is_logarithmic:
                powers = range(int(np.ceil(places.min() - 1e-9)), int(np.floor(places.max() + 1e-9)) + 1)
                stride = -(-len(powers) // room)
                if len(powers[::stride]) >= 2:
                    ticks = [(float(power), f"{10.0**power:g}") for power in powers[::stride]]
            item.getAxis("bottom").setTicks([ticks, []])

    # The mouse

    def _clicked(self, event: Any) -> None:
        row = self._row_at(event.scenePos())
        if row is not None and row.get("run_dir"):
            self.run_picked.emit(str(row["run_dir"]))

    def _moved(self, place: Any) -> None:
        row = self._row_at(place)
        self.plots.setCursor(Qt.CursorShape.PointingHandCursor if row is not None else Qt.CursorShape.ArrowCursor)
        if row is None or self._shown is None:
            self.hint.clear()
            self._tell_together(None)
            return
        sweep, panels, places = self._shown
        self._tell_together(next(place for place, known in zip(places, sweep.rows, strict=True) if known is row))
        parts = [f"{axis.path} = {_short(row[axis.path])}" for axis in sweep.axes] + [f"seed {row['seed']}"]
        parts += [f"way {row['way']}"] if row.get("way") else []
        numbers = [f"{p.words} {written(row[p.column], 3)}" for p in panels if row.get(p.column) is not None]
        self.hint.setText(", ".join(parts) + ": " + (row.get("failure") or ", ".join(numbers)) + " (click opens it)")

    def _row_at(self, scene_place: Any) -> Mapping[str, Any] | None:
        """The run that a place of the picture stands for: the nearest dot, or the cell's first seed."""
        if self._shown is None:
            return None
        sweep, panels, places = self._shown
        for item, panel in zip(self.items, panels, strict=True):
            box = item.getViewBox()
            if not box.sceneBoundingRect().contains(scene_place):
                continue
            at = box.mapSceneToView(scene_place)
            if len(sweep.axes) == 2:
                cell = (round(at.x()), round(at.y()))
                found = [row for place, row in zip(places, sweep.rows, strict=True) if place == cell]
                return min(found, key=lambda row: row["seed"], default=None)
            pixel_x, pixel_y = box.viewPixelSize()
            near = [
                (((self._x[place[0]] - at.x()) / pixel_x) ** 2 + ((row[panel.column] - at.y()) / pixel_y) ** 2, k)
                for k, (place, row) in enumerate(zip(places, sweep.rows, strict=True))
                if _is_known(row, panel)
            ]
            distance, k = min(near, default=(np.inf, 0))
            return sweep.rows[k] if distance < 12**2 else None
        return None


def _together(row: Mapping[str, Any]) -> str:
    verdict = f"{row['verdict']} ({p_clause(written_tail(row['p_value']))})" if row["verdict"] else "no verdict"
    return f"{row['n_runs']} runs together: {verdict}"


def _swatch(colour: np.ndarray) -> str:
    """A square of a colour, for a line of text."""
    return f"<span style='color: rgb{tuple(int(part) for part in colour[:3])}'>■</span> "


def _is_known(row: Mapping[str, Any], panel: Measured) -> bool:
    return row.get(panel.column) is not None


def _ticks(axis: Axis, places: np.ndarray, most: int) -> list[tuple[float, str]]:
    n = len(axis.values)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    return [(float(places[k]), _short(axis.values[k])) for k in chosen]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return "; ".join(_short(part) for part in value)
    return str(value)
