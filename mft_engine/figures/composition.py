"""Several figures on one page: panels in rows, with letters, exactly as wide as a journal asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import matplotlib
from matplotlib.figure import Figure, SubFigure

from mft_engine import palette
from mft_engine.experiment.outcome import Outcome
from mft_engine.figures.pictures import caption
from mft_engine.figures.sheet import FigureError, Page, Sheet, points, style
from mft_engine.pages import LETTERS, MM_PER_INCH, Composition

LETTER_SIZE = 8.0


def compose(
    composition: Composition,
    outcome: Outcome,
    makers: Mapping[str, Callable[[Page], Figure]],
    wrong: Outcome | None = None,
) -> Figure:
    """The page with every panel in its place, each as it would be drawn alone at that width.

    Args:
        makers: name -> what draws a figure; wrong: as in `figures.draw`.

    Raises:
        FigureError: a page that cannot be laid out, an unknown panel, or something that is not computed yet.
    """
    if composition.fault:
        raise FigureError(composition.fault)
    for name in composition.panels:
        if name not in makers:
            raise FigureError(f"There is no figure {name!r}; there are {', '.join(makers)}")
    page = Page(outcome, wrong, composition.panel_mm, has_caption=False)
    columns, gap = composition.columns, composition.gap_mm
    with matplotlib.rc_context(style(composition.panel_mm)):
        # Drawn alone first: only then is it known how high each is.
        heights = [float(makers[name](page).get_figheight()) * MM_PER_INCH for name in composition.panels]
        rows = [heights[first : first + columns] for first in range(0, len(heights), columns)]
        words = caption(outcome) if composition.has_caption else ""
        sheet = Sheet(composition.width_mm, sum(map(max, rows)) + gap * (len(rows) - 1), words)
        top = 0.0
        for line, row in enumerate(rows):
            for column, height in enumerate(row):
                number = line * columns + column
                left = column * (composition.panel_mm + gap)
                part = _part(sheet, left, top, composition.panel_mm, height)
                makers[composition.panels[number]](replace(page, part=part))
                if composition.has_letters:
                    size = points(LETTER_SIZE, composition.panel_mm)
                    place = sheet.place(left + 0.5, top + 0.6)
                    sheet.figure.text(*place, LETTERS[number], va="top", weight="bold", size=size, color=palette.TEXT)
            top += max(row) + gap
    return sheet.figure


def _part(sheet: Sheet, left: float, top: float, width: float, height: float) -> SubFigure:
    """A rectangle of a sheet, in mm, that is drawn on like a figure."""
    widths = [left, width, sheet.width_mm - left - width]
    heights = [top, height, sheet.height_mm - top - height]
    grid = sheet.figure.add_gridspec(
        3, 3, width_ratios=[max(w, 1e-9) for w in widths], height_ratios=[max(h, 1e-9) for h in heights]
    )
    part = sheet.figure.add_subfigure(grid[1, 1])
    part.patch.set_visible(False)
    return part
