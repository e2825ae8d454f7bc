"""Figure of an order-parameter closure along the noise: how much is learned, and how many neurons specialise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.figures import write_figure
from mft_engine.figures.sheet import Sheet, bare, few_ticks, name_above, style
from mft_engine.studies.phase import LOG_SPAN

NAME = "closure"
# What the two teachers learn, by the column of their table.
LEARNT = (("learned_cubic", "share of the cubic learned"), ("unlearned", "share left unlearned"))
MASS = ("aligned_mass", "share of aligned neurons")
LINES = {"equilibrium": "-", "unaligned": ":", "aligned": "--"}


def draw_closures(document: Mapping[str, Any], width_mm: float = 120.0) -> Figure:
    """Every branch of a table of `closure_table` over sigma^2; the branch that wins is drawn in full."""
    rows = document["rows"]
    panels = [
        (column, title) for column, title in LEARNT if any(row.get(column) is not None for row in rows)
    ] + [MASS]  # fmt: skip
    with matplotlib.rc_context(style(width_mm)):
        left, right, top, bottom, gap, height = 14.0, 3.0, 5.5, 9.0, 3.5, 0.3 * width_mm
        sheet = Sheet(width_mm, top + len(panels) * (height + gap) - gap + bottom)
        for number, (column, title) in enumerate(panels):
            axes = sheet.axes(left, top + number * (height + gap), width_mm - left - right, height)
            handles = _branches(axes, rows, column)
            axes.set_ylabel(title)
            axes.set_ylim(-0.03, max(1.0, axes.get_ylim()[1]) + 0.03)
            noises = [row["noise"] for row in rows]
            if min(noises) > 0 and max(noises) >= LOG_SPAN * min(noises):
                axes.set_xscale("log")
            else:
                few_ticks(axes.xaxis)
            few_ticks(axes.yaxis, n_ticks=5)
            bare(axes)
            axes.tick_params(labelbottom=number + 1 == len(panels))
            if number == 0:
                name_above(axes, handles)
            if number + 1 == len(panels):
                axes.set_xlabel(r"noise $\sigma^2$")
        return sheet.figure


def _branches(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
    handles: list[Any] = []
    for branch, dashes in LINES.items():
        points = [(row["noise"], row[column]) for row in rows if row["branch"] == branch and row[column] is not None]
        if points:
            x, y = np.array(sorted(points), dtype=float).T
            handles += axes.plot(
                x,
                y,
                color=palette.THEORY,
                linestyle=dashes,
                marker="o",
                markersize=2.5,
                markeredgewidth=0,
                label=branch,
            )
    return handles


def save_closures(
    document: Mapping[str, Any], folder: Path, formats: Sequence[str] = ("pdf", "png"), width_mm: float = 120.0
) -> list[Path]:
    """Write the figure, one file a format; returns them."""
    figure = draw_closures(document, width_mm)
    return [write_figure(figure, folder / f"{NAME}.{form}") for form in formats]
