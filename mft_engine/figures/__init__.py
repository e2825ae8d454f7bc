"""Figures for print from an outcome: exact sizes in mm, embedded fonts, the same colours as in the window.

The only folder that imports matplotlib, and then not its pyplot: nothing is shared, so it may run in any one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import write_atomically, writing_to
from mft_engine.figures.clouds import (
    draw_background,
    draw_foreground,
    draw_theory,
    draw_three_pictures,
    draw_wrong_background,
)
from mft_engine.figures.composition import compose
from mft_engine.figures.curves import draw_loss, draw_marginals, draw_null
from mft_engine.figures.file_formats import MAKERS
from mft_engine.figures.fourier import draw_fourier
from mft_engine.figures.maps import draw_fields
from mft_engine.figures.sheet import FigureError, MissingError, Page, style
from mft_engine.figures.spectra import draw_kernel
from mft_engine.pages import MM_PER_INCH, Composition

__all__ = [
    "FIGURES",
    "FORMATS",
    "PANELS",
    "Composition",
    "FigureError",
    "MissingError",
    "draw",
    "draw_composition",
    "save",
    "save_composition",
    "save_three_pictures",
    "write_figure",
]

FORMATS = tuple(MAKERS)
MIN_WIDTH_MM, MAX_WIDTH_MM = 60.0, 1000.0

FIGURES: dict[str, Callable[[Page], Figure]] = {
    "background": draw_background,
    "foreground": draw_foreground,
    "wrong-background": draw_wrong_background,
    "three-pictures": draw_three_pictures,
    "loss": draw_loss,
    "fields": draw_fields,
    "marginals": draw_marginals,
    "null": draw_null,
    "theory": draw_theory,
    "kernel": draw_kernel,
    "fourier": draw_fourier,
}

# What can be a panel of a page: the three pictures have letters of their own.
PANELS = {name: maker for name, maker in FIGURES.items() if name != "three-pictures"}
USUAL_PANEL_MM = 55.0


def draw(
    name: str,
    outcome: Outcome,
    *,
    wrong: Outcome | None = None,
    width_mm: float = 85.0,
    has_caption: bool = False,
) -> Figure:
    """One figure, exactly `width_mm` wide.

    Args:
        name: a key of FIGURES ("_" is as good as "-"), or several with "+" between them for one page of all.
        outcome: of a run.
        wrong: of its twin with the wrong background; its clouds then share the axis range.
        has_caption: recipe, seed, sizes and verdict under the figure.

    Raises:
        FigureError: an unknown name, a width out of range, or something that is not computed yet.
    """
    if "+" in name:
        return draw_composition(of_names(name, width_mm, has_caption=has_caption), outcome, wrong=wrong)
    maker = FIGURES.get(name.replace("_", "-"))
    if maker is None:
        raise FigureError(f"There is no figure {name!r}; there are {', '.join(FIGURES)}")
    if not MIN_WIDTH_MM <= width_mm <= MAX_WIDTH_MM:
        raise FigureError(f"A figure of {width_mm:g} mm: its width can be {MIN_WIDTH_MM:g} to {MAX_WIDTH_MM:g} mm")
    with matplotlib.rc_context(style(width_mm)):
        return maker(Page(outcome, wrong, width_mm, has_caption))


def draw_composition(composition: Composition, outcome: Outcome, *, wrong: Outcome | None = None) -> Figure:
    """Several figures on one page, with letters.

    Args:
        wrong: as in `draw`.

    Raises:
        FigureError: a panel with an unknown name, or of something that is not computed yet.
    """
    return compose(composition, outcome, PANELS, wrong)


def save_composition(
    composition: Composition,
    outcome: Outcome,
    folder: str | Path,
    formats: Sequence[str] = ("pdf",),
    *,
    wrong: Outcome | None = None,
    name: str = "figure",
) -> list[Path]:
    """Write such a page as `folder/name.format`.

    Returns:
        the files, in the order of the formats.

    Raises:
        FigureError, RunError: as `save`.
    """
    _require_formats(formats)
    figure = draw_composition(composition, outcome, wrong=wrong)
    return [write_figure(figure, Path(folder) / f"{name}.{form}") for form in formats]


def of_names(names: str, width_mm: float, *, has_caption: bool) -> Composition:
    """The page that "name+name+..." stands for: as many panels in a row as have 55 mm each."""
    panels = tuple(name.strip().replace("_", "-") for name in names.split("+"))
    return Composition(panels, max(1, int(width_mm // USUAL_PANEL_MM)), width_mm, has_caption=has_caption)


def save(
    name: str,
    outcome: Outcome,
    folder: str | Path,
    formats: Sequence[str] = ("pdf",),
    width_mm: float = 85.0,
    *,
    wrong: Outcome | None = None,
    has_caption: bool = False,
) -> list[Path]:
    """Draw a figure and write it as `folder/name.format`, fonts embedded, text kept as text in SVG.

    Args:
        formats: of pdf, svg, png (300 dots an inch), eps (without transparency), tiff (600 dots an inch); the others as
            in `draw`.

    Returns:
        the files, in the order of the formats.

    Raises:
        FigureError: as `draw`, or an unknown format.
        RunError: a folder that cannot be written.
    """
    _require_formats(formats)
    figure = draw(name, outcome, wrong=wrong, width_mm=width_mm, has_caption=has_caption)
    return [write_figure(figure, Path(folder) / f"{name.replace('_', '-')}.{form}") for form in formats]


def save_three_pictures(
    outcome: Outcome,
    wrong: Outcome,
    folder: str | Path,
    formats: Sequence[str] = ("pdf",),
    width_mm: float = 85.0,
    *,
    has_caption: bool = True,
) -> list[Path]:
    """The essay's three pictures in one action: each by itself and all in one figure, on one axis range.

    Args:
        width_mm: of each picture; the figure of all three is twice as wide.

    Returns:
        the files.

    Raises:
        FigureError, RunError: as `save`.
    """
    options: dict[str, Any] = {"wrong": wrong, "has_caption": has_caption}
    files = save("three-pictures", outcome, folder, formats, 2 * width_mm, **options)
    for name in ("background", "foreground", "wrong-background"):
        files += save(name, outcome, folder, formats, width_mm, **options)
    return files


def _require_formats(formats: Sequence[str]) -> None:
    unknown = [form for form in formats if form not in FORMATS]
    if unknown:
        raise FigureError(f"There is no figure format {unknown[0]!r}; there are {', '.join(FORMATS)}")


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all, in the format that the file is named after; text stays text."""
    form = path.suffix.removeprefix(".")
    with matplotlib.rc_context(style(float(figure.get_figwidth()) * MM_PER_INCH)):
        data = MAKERS[form](figure)
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return path
