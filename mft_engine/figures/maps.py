"""Figures of functions: target, networks and residual as heat maps."""

from __future__ import annotations

import numpy as np
from cmap import Colormap
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.figures.pictures import background_name, caption, functions_on_grid
from mft_engine.figures.sheet import Page, few_ticks, require_plane

LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM, GAP_MM = 8.5, 12.0, 5.0, 9.0, 3.0


def draw_fields(page: Page) -> Figure:
    """Target, background, foreground and residual on a square of the input plane, in one colour scale.

    The scale ends at the 98 % quantile of |target|, so that the corners, which inputs hardly ever reach, do not wash
    out the rest; values beyond it take the end colours.
    """
    require_plane(page.outcome)
    functions = functions_on_grid(page.outcome)
    panels = [("target $y$", functions.target), (f"{background_name(page.outcome)} $f$", functions.background)]
    if functions.foreground is not None:
        panels.append(("foreground", functions.foreground))
    panels.append(("residual $y-f$", functions.residual))
    n_columns = len(panels) if page.is_wide else 2
    n_rows = -(-len(panels) // n_columns)
    side = (page.width_mm - LEFT_MM - RIGHT_MM - GAP_MM * (n_columns - 1)) / n_columns
    row = side + TOP_MM
    sheet = page.sheet(n_rows * row + BOTTOM_MM, caption(page.outcome, has_foreground=functions.foreground is not None))
    colours = ListedColormap(np.asarray(Colormap(palette.DIVERGING)(np.linspace(0.03, 0.97, 256))))
    scale = Normalize(-functions.limit, functions.limit)
    for number, (title, values) in enumerate(panels):
        column, line = number % n_columns, number // n_columns
        axes = sheet.axes(LEFT_MM + column * (side + GAP_MM), TOP_MM + line * row, side, side)
        image = axes.imshow(
            values,
            origin="lower",
            extent=(-functions.extent, functions.extent, -functions.extent, functions.extent),
            cmap=colours,
            norm=scale,
            interpolation="bilinear",
        )
        sheet.above(axes, 0, title)
        few_ticks(axes.xaxis, axes.yaxis, n_ticks=4)
        is_lowest = number + n_columns >= len(panels)
        axes.set_xlabel("$x_1$" if is_lowest else "")
        axes.set_ylabel("" if column else "$x_2$")
        axes.tick_params(labelleft=not column, labelbottom=is_lowest)
    frame = sheet.axes(page.width_mm - RIGHT_MM + 2.5, TOP_MM, 2.2, n_rows * row - TOP_MM)
    bar = sheet.figure.colorbar(image, cax=frame, extend="both", extendfrac=0.04)
    bar.outline.set_linewidth(0.4)
    few_ticks(bar.ax.yaxis)
    return sheet.figure
