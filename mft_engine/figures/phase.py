"""Figures of a sweep: order parameter and loss along one swept field, or as heat maps over two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.figures import write_figure
from mft_engine.figures.curves import DASHES
from mft_engine.figures.pictures import short
from mft_engine.figures.sheet import MissingError, Sheet, bare, few_ticks, name_above, points, style
from mft_engine.studies.sweep import FAILURE, Axis, Sweep

NAME = "phase-diagram"
ORDERS = "feature_learning.order_parameters."
ERRORS = "feature_learning.order_parameters_error."
THEORY_ORDERS = "theory.order_parameters."
LOSS, THEORY_LOSS = "background.loss", "theory.loss"
CLOSURES = {"overlap": "closure.overlap"}
ACCURACY = "background.test_accuracy"
# Positive values whose steps grow by at least this factor are shown on a logarithmic axis.
LOG_SPAN = 8.0
MAX_LABELS = 8


@dataclass(frozen=True)
class Measured:
    """One number of the summary over the grid of swept values.

    Attributes:
        title: on its axis.
        mean, error: over seeds (error: of the single run where there is one seed); theory: infinite width. All of the
            shape of the grid, nan where nothing is known.
        source: what the theory's line is called: a closure is not the exact infinite-width law.
    """

    title: str
    mean: np.ndarray
    error: np.ndarray
    theory: np.ndarray
    source: str = "infinite width"


def measured(sweep: Sweep, column: str, title: str, error: str = "", theory: str = "") -> Measured:
    """Mean and standard error over seeds of a column of the table, at every point of the grid."""
    shape = tuple(len(axis.values) for axis in sweep.axes)
    cells: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in sweep.rows:
        if row.get(FAILURE) is None and row.get(column) is not None:
            place = tuple(_index(axis, row[axis.path]) for axis in sweep.axes)
            cells.setdefault(place, []).append(row)
    mean, spread, line = (np.full(shape, np.nan) for _ in range(3))
    for place, rows in cells.items():
        values = np.array([row[column] for row in rows], dtype=float)
        mean[place] = values.mean()
        if len(values) > 1:
            spread[place] = values.std(ddof=1) / len(values) ** 0.5
        elif error and rows[0].get(error) is not None:
            spread[place] = rows[0][error]
        known = [row[theory] for row in rows if theory and row.get(theory) is not None]
        line[place] = np.mean(known) if known else np.nan
    return Measured(title, mean, spread, line)


def _with_closure(sweep: Sweep, panel: Measured, order: str) -> Measured:
    """The panel with the order-parameter closure as its line, where there is one and no exact theory.

    Not for the loss: a closure's is that of the mean function on the population, a network's own has more in it.
    """
    if np.isfinite(panel.theory).any() or order not in CLOSURES:
        return panel
    return replace(panel, theory=measured(sweep, CLOSURES[order], "").mean, source="closure")


def _index(axis: Axis, value: Any) -> int:
    shown = [str(list(v)) if isinstance(v, tuple) else v for v in axis.values]
    return shown.index(value) if value in shown else [str(v) for v in shown].index(str(value))


def order_parameter(sweep: Sweep) -> str | None:
    """The order parameter that the sweep moves most, by its name; None where the clouds have none."""
    names = [name for name in dict.fromkeys(name for row in sweep.rows for name in row) if name.startswith(ORDERS)]
    found = {name: measured(sweep, name, "").mean for name in names}
    sizes = {name: np.nanmax(np.abs(mean)) for name, mean in found.items() if np.isfinite(mean).any()}
    return max(sizes, key=lambda name: float(sizes[name])).removeprefix(ORDERS) if sizes else None


def draw_phase_diagram(sweep: Sweep, width_mm: float = 120.0) -> Figure:
    """Test accuracy and order parameter, where there are any, and loss over the swept values, with the theory's.

    One swept field: points with error bars over seeds and the theory's line (for a cubic teacher its closure, called
    so). Two: heat maps.

    Raises:
        MissingError: more than two swept fields, or nothing finished.
    """
    if len(sweep.axes) > 2:
        raise MissingError(f"A phase diagram has one or two swept fields; this sweep has {len(sweep.axes)}")
    order = order_parameter(sweep)
    panels = [measured(sweep, LOSS, r"loss $\mathrm{E}\,(y-f)^2$", theory=THEORY_LOSS)]
    if order is not None:
        wave = order.removeprefix("cos")
        title = rf"$\langle\cos {wave}\vartheta_w\rangle$" if wave.isdigit() else order
        found = measured(sweep, ORDERS + order, title, ERRORS + order, THEORY_ORDERS + order)
        panels.insert(0, _with_closure(sweep, found, order))
    if any(row.get(ACCURACY) is not None for row in sweep.rows):
        panels.insert(0, measured(sweep, ACCURACY, "test accuracy", f"{ACCURACY}_error"))
    if not any(np.isfinite(panel.mean).any() for panel in panels):
        raise MissingError("There is no point to draw yet: none has finished")
    with matplotlib.rc_context(style(width_mm)):
        return _curves(sweep.axes[0], panels, width_mm) if len(sweep.axes) == 1 else _maps(sweep, panels, width_mm)


def _curves(axis: Axis, panels: Sequence[Measured], width_mm: float) -> Figure:
    left, right, top, bottom, gap = 13.0, 3.0, 5.5, 9.0, 3.5
    height = 0.34 * width_mm
    sheet = Sheet(width_mm, top + len(panels) * (height + gap) - gap + bottom)
    x = _positions(axis)
    for number, panel in enumerate(panels):
        axes = sheet.axes(left, top + number * (height + gap), width_mm - left - right, height)
        known = np.isfinite(panel.mean)
        bars = axes.errorbar(
            x[known], panel.mean[known], np.nan_to_num(panel.error[known]), color=palette.BACKGROUND, fmt="o",
            markersize=3, markeredgewidth=0, elinewidth=0.9, capsize=1.8, capthick=0.7, label="background", zorder=3,
        )  # fmt: skip
        handles: list[Any] = [bars]
        solved = np.isfinite(panel.theory)
        if solved.any():
            marker: Any = {"marker": "_", "markersize": 5} if solved.sum() == 1 else {}
            handles += axes.plot(
                x[solved],
                panel.theory[solved],
                color=palette.THEORY,
                linestyle=DASHES,
                label=panel.source,
                **marker,
            )
        axes.set_ylabel(panel.title)
        few_ticks(axes.yaxis, n_ticks=5)
        axes.margins(0.05, 0.12)
        axes.axhline(0, color=palette.GRID, linewidth=0.6, zorder=0)
        _name_values(axes, axis, "x")
        bare(axes)
        if number == 0:
            name_above(axes, handles)
        if number + 1 < len(panels):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel(axis.path)
    return sheet.figure


def _maps(sweep: Sweep, panels: Sequence[Measured], width_mm: float) -> Figure:
    left, right, top, bottom, bar = 16.0, 11.0, 5.5, 13.0, 2.2
    width = (width_mm - len(panels) * right - left) / len(panels)
    height = min(width, 0.6 * width_mm)
    sheet = Sheet(width_mm, top + height + bottom)
    first, second = sweep.axes
    for number, panel in enumerate(panels):
        at = left + number * (width + right)
        axes = sheet.axes(at, top, width, height)
        colours = matplotlib.colormaps["viridis"].copy()
        colours.set_bad(palette.GRID)
        values = np.ma.masked_invalid(panel.mean.T)
        image = axes.imshow(values, origin="lower", aspect="auto", cmap=colours, interpolation="nearest")
        for kind, axis in (("x", first), ("y", second)):
            chosen = np.unique(
                np.linspace(0, len(axis.values) - 1, min(len(axis.values), MAX_LABELS)).round().astype(int)
            )
            labels = [_short(axis.values[i]) for i in chosen]
            if kind == "x":
                axes.set_xticks(chosen, labels, rotation=45, ha="right", rotation_mode="anchor")
            else:
                axes.set_yticks(chosen, labels if number == 0 else [])
        axes.set_xlabel(first.path)
        axes.set_ylabel(second.path if number == 0 else "")
        sheet.above(axes, 0, panel.title)
        frame = sheet.axes(at + width + 1.2, top, bar, height)
        scale = sheet.figure.colorbar(image, cax=frame)
        scale.outline.set_linewidth(0.4)  # type: ignore[operator]
        few_ticks(scale.ax.yaxis, n_ticks=5)
        scale.ax.tick_params(labelsize=points(5.5, width_mm))
    return sheet.figure


def _positions(axis: Axis) -> np.ndarray:
    return np.array(axis.values if _is_numeric(axis) else range(len(axis.values)), dtype=float)


def _is_numeric(axis: Axis) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis.values)


def _name_values(axes: Axes, axis: Axis, which: str) -> None:
    if not _is_numeric(axis):
        axes.set_xticks(range(len(axis.values)), [_short(value) for value in axis.values])
        return
    x = _positions(axis)
    if x.min() > 0 and x.max() >= LOG_SPAN * x.min():
        axes.set_xscale("log")
    else:
        few_ticks(axes.xaxis)


def _short(value: Any) -> str:
    return short(value) if isinstance(value, float) else str(list(value) if isinstance(value, tuple) else value)[:16]


def save_phase_diagram(sweep: Sweep, formats: Sequence[str] = ("pdf", "png"), width_mm: float = 120.0) -> list[Path]:
    """Write the phase diagram beside the table.

    Returns:
        the files; none where there are more than two swept fields or nothing to draw.
    """
    try:
        figure = draw_phase_diagram(sweep, width_mm)
    except MissingError:
        return []
    return [write_figure(figure, sweep.folder / f"{NAME}.{form}") for form in formats]
