"""Figures of clouds in the plane of their input weights: background, foreground, wrong background, theory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cmap import Colormap
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mft_engine import palette
from mft_engine.experiment.outcome import Outcome
from mft_engine.figures.pictures import axis_range, caption, density_levels, n_outside, short
from mft_engine.figures.sheet import (
    MissingError,
    Page,
    ShownCloud,
    dot,
    few_ticks,
    name_above,
    require_plane,
    shown_clouds,
)

# More markers than this make a vector file that viewers redraw for seconds.
MAX_VECTOR_POINTS = 5000
LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM = 9.5, 2.5, 5.5, 9.0
SHARES = (0.25, 0.5, 0.75, 0.95)


def draw_background(page: Page) -> Figure:
    """The background's neurons in the plane of their input weights."""
    require_plane(page.outcome)
    return _one_panel(page.outcome, page, axis_range(_clouds_shown(page)), has_foreground=False)


def draw_foreground(page: Page) -> Figure:
    """The foreground's neurons over the background's."""
    require_plane(page.outcome)
    return _one_panel(page.outcome, page, axis_range(_clouds_shown(page)), has_foreground=True)


def draw_wrong_background(page: Page) -> Figure:
    """The foreground of a background that is not the network's own, over that background."""
    return _one_panel(_wrong_of(page), page, axis_range(_clouds_shown(page)), has_foreground=True)


def draw_three_pictures(page: Page) -> Figure:
    """Background; foreground over it; wrong background with its foreground: one axis range.

    In one row where the page is wide enough, else two by two with the legend in the fourth place.
    """
    wrong = _wrong_of(page)
    if wrong is page.outcome:
        raise MissingError("The three pictures need the run with the right background and its wrong twin")
    half = axis_range(_clouds_shown(page))
    right, other = shown_clouds(page.outcome, has_foreground=True), shown_clouds(wrong, has_foreground=True)
    panels = [("background", right[:1]), ("foreground", right), ("wrong background", other)]
    n_columns = 3 if page.is_wide else 2
    gap, top = 4.0, 5.0
    side = (page.width_mm - LEFT_MM - RIGHT_MM - gap * (n_columns - 1)) / n_columns
    row = side + top + 1.0
    legend_mm = 5.0 if page.is_wide else 0.0
    height = (row if page.is_wide else 2 * row) + BOTTOM_MM + legend_mm
    words = f"a, b: {caption(page.outcome)} c: {caption(wrong)}"
    sheet = page.sheet(height, words + _outside([*right, *other], half))
    for number, (title, layers) in enumerate(panels):
        column, line = number % n_columns, number // n_columns
        axes = sheet.axes(LEFT_MM + column * (side + gap), top + line * row, side, side)
        _draw_cloud(axes, layers, half, side_mm=side)
        sheet.above(axes, 0, "abc"[number], 8, weight="bold")
        sheet.above(axes, 3.5 / side, title)
        if column:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if not page.is_wide and number == 0:
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        if page.is_wide and number:
            left = LEFT_MM + column * (side + gap)
            sheet.text(left, height - 4.5, _verdict(page.outcome if number == 1 else wrong))
    blue, orange = palette.BACKGROUND, palette.FOREGROUND
    kind = wrong.background.kind
    if page.is_wide:
        handles = [dot(blue, f"background (c: {kind})"), dot(orange, "foreground")]
        style: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0, "handletextpad": 0.3, "columnspacing": 1.0}
        place = sheet.place(LEFT_MM - 1.5, height - 4.5)
        sheet.figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=2, **style)
    else:
        left, middle = LEFT_MM + side + gap, top + row + side / 2
        handles = [dot(blue, f"background\n(c: {kind})"), dot(orange, "foreground")]
        place = sheet.place(left, middle + 1)
        sheet.figure.legend(handles=handles, loc="lower left", bbox_to_anchor=place, borderaxespad=0, labelspacing=0.8)
        for number, (letter, outcome) in enumerate((("b", page.outcome), ("c", wrong))):
            sheet.text(left + 2, middle + 2.4 + 7 * number, letter, weight="bold")
            sheet.text(left + 5, middle + 2 + 7 * number, _verdict(outcome, "\n"), linespacing=1.3)
    return sheet.figure


def draw_theory(page: Page) -> Figure:
    """The law of input weights in the infinitely wide network, over the background's neurons.

    Lines enclose the regions of highest density that hold 25, 50, 75 and 95 % of it.
    """
    require_plane(page.outcome)
    theory = page.outcome.theory
    if theory is None or theory.density is None:
        raise MissingError("This run has no infinite-width solution whose density could be drawn")
    half = axis_range(_clouds_shown(page))
    side = page.width_mm - LEFT_MM - RIGHT_MM
    words = " Lines enclose the stated shares of the infinitely wide network's neurons, where they are densest."
    sheet = page.sheet(side + TOP_MM + BOTTOM_MM, caption(page.outcome, has_foreground=False) + words)
    axes = sheet.axes(LEFT_MM, TOP_MM, side, side)
    density = theory.density.density_image(half, 360)
    corner = half * (1 - 1 / 360)
    axes.imshow(
        density,
        origin="lower",
        extent=(-half, half, -half, half),
        cmap=Colormap(list(palette.DENSITY)).to_mpl(),
        norm=PowerNorm(0.5, 0, 1.6 * float(density.max())),
        interpolation="bilinear",
    )
    layers = shown_clouds(page.outcome, has_foreground=False)
    _draw_cloud(axes, layers, half, side_mm=0.7 * side)
    line = np.linspace(-corner, corner, 360)
    pixel = (2 * half / 360) ** 2
    levels = density_levels(density, pixel, SHARES)
    axes.contour(line, line, density, levels=levels, colors=palette.TEXT, linewidths=0.7, zorder=5)
    percent = ", ".join(f"{100 * share:.0f}" for share in SHARES)
    law = Line2D([], [], color=palette.TEXT, linewidth=0.7, label=f"infinite width: {percent} %")
    name_above(axes, [layers[0].handle, law])
    return sheet.figure


def _one_panel(outcome: Outcome, page: Page, half: float, *, has_foreground: bool) -> Figure:
    layers = shown_clouds(outcome, has_foreground=has_foreground)
    side = page.width_mm - LEFT_MM - RIGHT_MM
    words = caption(outcome, has_foreground=has_foreground) + _outside(layers, half)
    sheet = page.sheet(side + TOP_MM + BOTTOM_MM, words)
    axes = sheet.axes(LEFT_MM, TOP_MM, side, side)
    _draw_cloud(axes, layers, half, side_mm=side)
    name_above(axes, [layer.handle for layer in layers])
    return sheet.figure


def _draw_cloud(axes: Axes, layers: Sequence[ShownCloud], half: float, *, side_mm: float) -> None:
    """Neurons as points; a lower layer's are a little larger, so that it shows under the one above."""
    size = float(np.clip(side_mm / 55, 0.7, 2.0))
    for number, layer in enumerate(layers):
        is_covered = number + 1 < len(layers)
        # Cut here as well as by the panel: some viewers of SVG do not know clipping.
        shown = layer.cloud[np.abs(layer.cloud[:, :2]).max(axis=1) <= half]
        axes.plot(
            shown[:, 0],
            shown[:, 1],
            linestyle="none",
            marker="o",
            markersize=size * (1.3 if is_covered else 1.05),
            markeredgewidth=0,
            color=layer.colour,
            rasterized=len(layer.cloud) > MAX_VECTOR_POINTS,
            zorder=2 + number,
        )
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal")
    few_ticks(axes.xaxis, axes.yaxis)
    axes.set_xlabel("$w_1$")
    axes.set_ylabel("$w_2$")


def _clouds_shown(page: Page) -> list[np.ndarray]:
    """All clouds that the figures of a page can show, so that its pictures share one range."""
    outcomes = [outcome for outcome in (page.outcome, page.wrong) if outcome is not None]
    clouds = [cloud for outcome in outcomes for cloud in (outcome.background, outcome.foreground)]
    return [cloud.theta for cloud in clouds if cloud is not None]


def _outside(layers: Sequence[ShownCloud], half: float) -> str:
    """What a caption must admit: neurons that the axes do not show."""
    n = sum(n_outside(layer.cloud, half) for layer in layers)
    return f" {n} of {sum(len(layer.cloud) for layer in layers):,} neurons lie outside the axes." if n else ""


def _wrong_of(page: Page) -> Outcome:
    wrong = page.wrong
    if wrong is None and page.outcome.background.kind != "trained":
        wrong = page.outcome
    if wrong is None:
        raise MissingError('This figure needs the twin run with the wrong background (foreground.background = "lazy")')
    require_plane(page.outcome, wrong)
    return wrong


def _verdict(outcome: Outcome, separator: str = ", ") -> str:
    comparison = outcome.comparison
    if comparison is None:
        return "not compared"
    if comparison.verdict is None:
        return "too few neurons for a verdict"
    return f"{comparison.verdict}{separator}{short(comparison.ratio)} × null"
