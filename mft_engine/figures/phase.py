"""Figures of a sweep: order parameter and loss along one swept field, or as heat maps over two."""

from __future__ import annotations

from collections.abc import Sequence
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
from mft_engine.studies.phase import Measured, is_logarithmic, is_numeric, panels_of, positions
from mft_engine.studies.sweep import Axis, Sweep

NAME = "phase-diagram"
MAX_LABELS = 8


def draw_phase_diagram(sweep: Sweep, width_mm: float = 120.0) -> Figure:
    """Test accuracy and order parameter, where there are any, and loss over the swept values, with the theory's.

    One swept field: points with error bars over seeds and the theory's line (for a cubic teacher its closure, called
    so). Two: heat maps.

    Raises:
        MissingError: more than two swept fields, or nothing finished.
    """
    if len(sweep.axes) > 2:
        raise MissingError(f"A phase diagram has one or two swept fields; this sweep has {len(sweep.axes)}")
    panels = panels_of(sweep)
    if not any(np.isfinite(panel.mean).any() for panel in panels):
        raise MissingError("There is no point to draw yet: none has finished")
    with matplotlib.rc_context(style(width_mm)):
        return _curves(sweep.axes[0], panels, width_mm) if len(sweep.axes) == 1 else _maps(sweep, panels, width_mm)


def _curves(axis: Axis, panels: Sequence[Measured], width_mm: float) -> Figure:
    left, right, top, bottom, gap = 13.0, 3.0, 5.5, 9.0, 3.5
    height = 0.34 * width_mm
    sheet = Sheet(width_mm, top + len(panels) * (height + gap) - gap + bottom)
    x = positions(axis)
    for number, panel in enumerate(panels):
        axes = sheet.axes(left, top + number * (height + gap), width_mm - left - right, height)
        handles: list[Any] = [_bars(axes, x, panel, "background" if panel.down is None else "up", "o", 3.0)]
        if panel.down is not None:
            handles.append(_bars(axes, x, panel.down, "down", "v", 3.6, face="white"))
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


def _bars(
    axes: Axes, x: np.ndarray, panel: Measured, label: str, marker: str, size: float, face: str | None = None
) -> Any:
    known = np.isfinite(panel.mean)
    return axes.errorbar(
        x[known], panel.mean[known], np.nan_to_num(panel.error[known]), color=palette.BACKGROUND, fmt=marker,
        markersize=size, markeredgewidth=0 if face is None else 0.8, markerfacecolor=face, elinewidth=0.9, capsize=1.8,
        capthick=0.7, label=label, zorder=3, linestyle="-" if label in ("up", "down") else "none", linewidth=0.6,
    )  # fmt: skip


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


def _name_values(axes: Axes, axis: Axis, which: str) -> None:
    if not is_numeric(axis):
        axes.set_xticks(range(len(axis.values)), [_short(value) for value in axis.values])
        return
    if is_logarithmic(axis):
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
