"""Figures of numbers: the loss along a run, marginals of the clouds, the comparison's null."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.figures.pictures import background_name, caption, shared_bins, short
from mft_engine.figures.sheet import MissingError, Page, bare, few_ticks, name_above, points, shown_clouds

DASHES: Any = (0, (4, 1.5))
DOTS: Any = (0, (1, 1.2))
# A distance this many times its null's mean leaves the null a spike on a linear axis.
FAR_RATIO = 6.0
# A curve of fewer points shows them, so that its corners are not taken for physics.
FEW_RECORDS = 12
# Losses that span more than this are drawn on a logarithmic axis.
WIDE_SPAN = 20.0


def draw_loss(page: Page) -> Figure:
    """E (y - f)^2 along the run, with the foreground's and the infinite-width value beside it."""
    outcome = page.outcome
    metrics = outcome.metrics
    if not len(metrics.get("time", ())):
        raise MissingError("There is no loss to draw yet: the run has not recorded anything")
    left, right, top, bottom = 11.0, 3.0, 5.5, 9.0
    height = (0.38 if page.is_wide else 0.52) * page.width_mm
    sheet = page.sheet(top + height + bottom, caption(outcome))
    axes = sheet.axes(left, top, page.width_mm - left - right, height)
    time, loss = metrics["time"], metrics["loss"]
    marker: Any = {"marker": "o", "markersize": 2.0} if len(time) < FEW_RECORDS else {}
    handles = axes.plot(time, loss, color=palette.BACKGROUND, linewidth=0.8, label=background_name(outcome), **marker)
    levels = [float(loss.min())]
    if "test_loss" in metrics:
        test = metrics["test_loss"]
        handles += axes.plot(time, test, color=palette.TEXT, linewidth=0.6, label="test", **marker)
        levels += [float(test.min()), float(test.max())]
    if outcome.foreground is not None:
        levels.append(outcome.foreground.loss)
        handles.append(axes.axhline(levels[-1], color=palette.FOREGROUND, linestyle=DOTS, label="foreground"))
    if outcome.theory is not None:
        levels.append(outcome.theory.loss)
        handles.append(axes.axhline(levels[-1], color=palette.THEORY, linestyle=DASHES, label="infinite width"))
    axes.set_xlim(0, float(time[-1]))
    highest = max(float(loss.max()), *levels)
    if min(levels) > 0 and highest > WIDE_SPAN * min(levels):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.06 * highest)
        few_ticks(axes.yaxis)
    axes.set_xlabel("time $t$ (step size × steps)")
    axes.set_ylabel(r"loss $\mathrm{E}\,(y-f)^2$")
    bare(axes)
    name_above(axes, handles)
    return sheet.figure


def draw_marginals(page: Page) -> Figure:
    """Densities of w1, w2 and a in both clouds, and in the infinitely wide network."""
    outcome = page.outcome
    n_inputs = outcome.points.inputs.shape[1]
    n_out = outcome.background.theta.shape[1] - n_inputs
    columns = [*range(min(n_inputs, 2)), n_inputs]
    left, right, top, bottom, gap = 5.0, 3.0, 5.5, 9.0, 6.0
    width = page.width_mm - left - right
    if page.is_wide:
        width = (width - gap * (len(columns) - 1)) / len(columns)
    height = (0.62 if page.is_wide else 0.27) * width
    n_rows = 1 if page.is_wide else len(columns)
    sheet = page.sheet(top + n_rows * (height + bottom), caption(outcome))
    layers = shown_clouds(outcome, has_foreground=outcome.foreground is not None)
    handles = [layer.handle for layer in layers]
    panels = []
    for number, column in enumerate(columns):
        place = (left + number * (width + gap), top) if page.is_wide else (left, top + number * (height + bottom))
        axes = sheet.axes(*place, width, height)
        panels.append(axes)
        edges = shared_bins([layer.cloud[:, column] for layer in layers])
        for layer in layers:
            density = np.histogram(layer.cloud[:, column], bins=edges)[0] / (len(layer.cloud) * np.diff(edges))
            is_filled = layer is layers[0]
            if is_filled:
                axes.stairs(density, edges, fill=True, color=layer.colour, alpha=0.22, linewidth=0)
            axes.stairs(density, edges, color=layer.colour, linewidth=0.6 if is_filled else 0.9)
        if outcome.theory is not None and (law := outcome.theory.density) is not None:
            values = np.linspace(edges[0], edges[-1], 401)
            is_weight = column < n_inputs
            density = law.marginal_weight(values, axis=column) if is_weight else law.marginal_readout(values)
            (curve,) = axes.plot(values, density, color=palette.THEORY, linestyle=DASHES, label="infinite width")
            handles = [*handles[: len(layers)], curve]
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"$w_{{{column + 1}}}$" if column < n_inputs else "$a$" if n_out == 1 else "$a_1$")
        axes.set_ylabel("density" if number == 0 or not page.is_wide else "")
        few_ticks(axes.xaxis, n_ticks=7)
        bare(axes, has_left=False)
    name_above(panels[0], handles)
    return sheet.figure


def draw_null(page: Page) -> Figure:
    """The distance between the clouds against what exchanging neurons at random between them gives."""
    comparison = page.outcome.comparison
    if comparison is None:
        raise MissingError("There is no comparison to draw yet: resample the foreground and compare first")
    left, right, top, bottom, gap = 5.0, 4.0, 5.5, 9.0, 9.0
    width = page.width_mm - left - right
    if page.is_wide:
        width = (width - gap) / 2
    height = (0.42 if page.is_wide else 0.28) * width
    row = top + height + bottom
    sheet = page.sheet(row if page.is_wide else 2 * row, caption(page.outcome))
    c = comparison
    panels = (
        ("$(w, a)$", c.null, c.null_95, c.energy_distance, c.p_value, c.ratio),
        (
            "$w$ alone",
            c.null_weights,
            c.null_95_weights,
            c.energy_distance_weights,
            c.p_value_weights,
            c.ratio_weights,
        ),
    )
    for number, (title, null, null_95, distance, p_value, ratio) in enumerate(panels):
        place = (left + number * (width + gap), top) if page.is_wide else (left, top + number * row)
        axes = sheet.axes(*place, width, height)
        low, high = float(null.min()), float(null.max())
        is_far = ratio > FAR_RATIO and 0 < low < high
        if not low < high:
            low, high = 0.0, 2 * high or 1.0
        edges = np.geomspace(low, high, 31) if is_far else np.linspace(low, high, 31)
        counts = np.histogram(null, bins=edges)[0]
        axes.stairs(counts, edges, fill=True, color=palette.LINE, linewidth=0)
        axes.axvline(null_95, color=palette.MUTED, linewidth=0.7, linestyle=(0, (3, 2)))
        axes.axvline(distance, color=palette.FOREGROUND, linewidth=1.2)
        if is_far:
            axes.set_xscale("log")
            axes.set_xlim(low / 1.5, distance * 2)
        else:
            axes.set_xlim(0, 1.12 * max(high, distance))
            few_ticks(axes.xaxis)
            axes.ticklabel_format(axis="x", scilimits=(-2, 3), useMathText=True)
        axes.set_ylim(0, 1.05 * float(counts.max()))
        axes.annotate(
            "95 %", (null_95, 1), (1.5, -1), ("data", "axes fraction"), "offset points",
            size=points(5.5, page.width_mm), color=palette.MUTED, va="top",
        )  # fmt: skip
        axes.set_xlabel("energy distance")
        axes.set_ylabel("permutations" if number == 0 or not page.is_wide else "")
        bare(axes, has_left=False)
        sheet.above(axes, 0, title)
        sheet.above(axes, 1, f"{short(ratio)} × null, $p$ = {p_value:.2g}", ha="right", color=palette.FOREGROUND)
    return sheet.figure
