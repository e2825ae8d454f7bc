"""Figure of a tempering ladder: loss and order parameter at every temperature, exchange rates between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mft_engine import palette
from mft_engine.figures import write_figure
from mft_engine.figures.curves import DASHES, DOTS
from mft_engine.figures.sheet import Sheet, bare, few_ticks, name_above, style
from mft_engine.studies.ladder import TARGET_RATE
from mft_engine.studies.tempering import Tempering

NAME = "ladder"
MAX_LABELS = 8


def draw_ladder(found: Tempering, width_mm: float = 120.0) -> Figure:
    """Loss beside the infinite- and finite-width laws, the order parameter that moves most, rates beside expected."""
    with matplotlib.rc_context(style(width_mm)):
        order = _order(found)
        left, right, top, bottom, gap, height = 13.0, 3.0, 5.5, 9.0, 3.5, 0.3 * width_mm
        n_panels = 2 + (order is not None)
        sheet = Sheet(width_mm, top + n_panels * (height + gap) - gap + bottom)
        panels = [sheet.axes(left, top + k * (height + gap), width_mm - left - right, height) for k in range(n_panels)]
        temperatures = np.array([rung.temperature for rung in found.rungs])
        handles = [_bars(panels[0], temperatures, [rung.loss for rung in found.rungs], "networks")]
        for label, values, dashes in (
            ("infinite width", [rung.theory_loss for rung in found.rungs], DASHES),
            ("this width", [rung.finite_width_loss for rung in found.rungs], DOTS),
        ):
            known = np.array([value is not None for value in values])
            if known.any():
                line = np.array([value for value in values if value is not None])
                handles += panels[0].plot(
                    temperatures[known], line, color=palette.THEORY, linestyle=dashes, label=label
                )
        panels[0].set_ylabel(r"loss $\mathrm{E}\,(y-f)^2$")
        name_above(panels[0], handles)
        if order is not None:
            _bars(panels[1], temperatures, [rung.observables[order] for rung in found.rungs], order)
            wave = order.removeprefix("cos")
            panels[1].set_ylabel(rf"$\langle\cos {wave}\vartheta_w\rangle$" if wave.isdigit() else order)
        shown = temperatures[:: -(-len(temperatures) // MAX_LABELS)]
        middle = np.sqrt(temperatures[:-1] * temperatures[1:])
        panels[-1].plot(middle, found.rates, "o", color=palette.BACKGROUND, markersize=3, markeredgewidth=0)
        panels[-1].plot(middle, found.expected_rates, color=palette.THEORY, linestyle=DASHES)
        panels[-1].axhline(TARGET_RATE, color=palette.GRID, linewidth=0.6, zorder=0)
        panels[-1].set_ylim(0, 1)
        panels[-1].set_ylabel("exchange rate")
        panels[-1].set_xlabel("temperature $T$")
        for axes in panels:
            axes.set_xscale("log")
            axes.set_xlim(temperatures[0] / 1.06, temperatures[-1] * 1.06)
            axes.set_xticks(shown, [f"{value:.3g}" for value in shown])
            axes.xaxis.set_minor_locator(NullLocator())
            few_ticks(axes.yaxis, n_ticks=5)
            bare(axes)
            axes.tick_params(labelbottom=axes is panels[-1])
        return sheet.figure


def _order(found: Tempering) -> str | None:
    """The order parameter whose means differ most between the rungs."""
    spans = {
        name: float(np.ptp([rung.observables[name].mean for rung in found.rungs]))
        for name in found.rungs[0].observables
    }
    return max(spans, key=lambda name: spans[name]) if spans else None


def _bars(axes: Axes, x: np.ndarray, values: Sequence[Any], label: str) -> Any:
    means, errors = np.array(values, dtype=float).T
    return axes.errorbar(
        x, means, np.nan_to_num(errors), color=palette.BACKGROUND, fmt="o", markersize=3, markeredgewidth=0,
        elinewidth=0.9, capsize=1.8, capthick=0.7, label=label, zorder=3,
    )  # fmt: skip


def save_ladder(
    found: Tempering, folder: Path, formats: Sequence[str] = ("pdf", "png"), width_mm: float = 120.0
) -> list[Path]:
    """Write the figure, one file a format; returns them."""
    figure = draw_ladder(found, width_mm)
    return [write_figure(figure, folder / f"{NAME}.{form}") for form in formats]
