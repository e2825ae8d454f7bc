"""The page that figures are drawn on: exact sizes in mm, one typography, the names of clouds above a panel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mft_engine import palette
from mft_engine.experiment.outcome import Outcome
from mft_engine.figures.pictures import background_name
from mft_engine.pages import MM_PER_INCH

DPI = 300
MM_PER_POINT = MM_PER_INCH / 72
# Below this, panels go under each other: beside each other they would be too small to read.
WIDE_MM = 160.0
# Below this the type shrinks with the page, so that legends fit.
FULL_TYPE_MM = 80.0

_SIZES = {
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
}
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "mathtext.fontset": "dejavusans",
    "text.color": palette.TEXT,
    "axes.labelcolor": palette.TEXT,
    "axes.edgecolor": palette.LINE,
    "xtick.color": palette.LINE,
    "ytick.color": palette.LINE,
    "xtick.labelcolor": palette.TEXT,
    "ytick.labelcolor": palette.TEXT,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "axes.labelpad": 2.0,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    # Without a salt the ids in an SVG are random, and a figure would differ from itself.
    "svg.hashsalt": "mft-lab",
}


def register_fonts() -> None:
    """Make matplotlib's own fonts known to it.

    Its list of fonts is kept in the user's cache, and one that was written by another installation can lack them:
    italics are then silently set upright, and every formula is complained about on standard error.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    known = {entry.fname for entry in fontManager.ttflist}
    for file in sorted(folder.glob("*.ttf")):
        # Not the one whose letters are pictures of what is missing.
        if str(file) not in known and not file.name.startswith("LastResort"):
            fontManager.addfont(file)


def style(width_mm: float) -> dict[Any, Any]:
    """The settings of matplotlib that make a figure of that width."""
    register_fonts()
    return {**_STYLE, **{name: points(size, width_mm) for name, size in _SIZES.items()}}


def points(size: float, width_mm: float) -> float:
    """The size of type on a page of that width, from its size on a full one."""
    return size * min(1.0, width_mm / FULL_TYPE_MM)


class FigureError(ValueError):
    """A figure that cannot be drawn; the message says what is allowed, or missing."""


class MissingError(FigureError):
    """A figure of something that this run does not have (yet)."""


@dataclass(frozen=True)
class Page:
    """What a figure is drawn from and how large.

    Attributes:
        wrong: the outcome with the wrong background.
        part: of a larger figure, drawn on in place of a figure of its own.
    """

    outcome: Outcome
    wrong: Outcome | None
    width_mm: float
    has_caption: bool
    part: SubFigure | None = None

    @property
    def is_wide(self) -> bool:
        """Whether panels stand beside each other."""
        return self.width_mm >= WIDE_MM

    def sheet(self, height_mm: float, words: str) -> Sheet:
        """A sheet for panels of that height together, with the caption below where one is wanted."""
        return Sheet(self.width_mm, height_mm, words if self.has_caption else "", self.part)


class Sheet:
    """A figure whose panels are placed in mm from its top left corner.

    Args:
        width_mm, height_mm: of the whole, the caption below it not counted.
        caption_text: written under the panels where it is not empty.
        part: of a larger figure, as large as this sheet, that it is drawn on; a figure of its own where there is none.
    """

    CAPTION_SIZE = 5.5
    CAPTION_LINE_MM = 2.7
    # Mean width of a letter of DejaVu Sans over its size.
    LETTER = 0.53

    def __init__(
        self, width_mm: float, height_mm: float, caption_text: str = "", part: SubFigure | None = None
    ) -> None:
        letter_mm = points(self.CAPTION_SIZE, width_mm) * self.LETTER * MM_PER_POINT
        lines = textwrap.wrap(caption_text, int((width_mm - 4) / letter_mm))
        line_mm = points(self.CAPTION_LINE_MM, width_mm)
        self.width_mm = width_mm
        self.height_mm = height_mm + (len(lines) * line_mm + 2.0 if lines else 0.0)
        if part is None:
            own = Figure(figsize=(self.width_mm / MM_PER_INCH, self.height_mm / MM_PER_INCH), dpi=DPI)
            FigureCanvasAgg(own)
            self.figure = own
        else:
            self.figure = cast("Figure", part)  # the two answer alike to everything that draws
        for number, line in enumerate(lines):
            self.text(2, height_mm + 0.8 + number * line_mm, line, self.CAPTION_SIZE, color=palette.MUTED)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """A panel by its frame, in mm."""
        x, y = self.place(left, top + height)
        return self.figure.add_axes((x, y, width / self.width_mm, height / self.height_mm))

    def place(self, left: float, top: float) -> tuple[float, float]:
        """A point in mm as fractions of the figure from below."""
        return left / self.width_mm, 1 - top / self.height_mm

    def text(self, left: float, top: float, words: str, size: float = 6.5, **style: Any) -> None:
        """Text by its top left corner, in mm."""
        self.figure.text(*self.place(left, top), words, va="top", size=points(size, self.width_mm), **style)

    def above(self, axes: Axes, at: float, words: str, size: float = 6.5, **style: Any) -> None:
        """Text just above a panel, `at` a fraction of its width."""
        offset = 1.0 / (axes.get_position().height * self.height_mm)
        axes.text(
            at, 1 + offset, words, transform=axes.transAxes, va="bottom", size=points(size, self.width_mm), **style
        )


@dataclass(frozen=True)
class ShownCloud:
    """One cloud in a panel: its neurons, what it is called, its colour."""

    cloud: np.ndarray
    name: str
    colour: str

    @property
    def handle(self) -> Line2D:
        """Its line in a legend."""
        return dot(self.colour, f"{self.name} ({len(self.cloud):,})")


def shown_clouds(outcome: Outcome, *, has_foreground: bool) -> list[ShownCloud]:
    """Background and, where wanted, foreground.

    Raises:
        MissingError: no foreground yet.
    """
    layers = [ShownCloud(outcome.background.theta, background_name(outcome), palette.BACKGROUND)]
    if has_foreground:
        if outcome.foreground is None:
            raise MissingError("There is no foreground to draw yet: resample it first")
        layers.append(ShownCloud(outcome.foreground.theta, "foreground", palette.FOREGROUND))
    return layers


def require_plane(*outcomes: Outcome) -> None:
    """Refuse tasks that have no plane of input weights.

    Raises:
        MissingError: not two inputs.
    """
    for outcome in outcomes:
        n_inputs = outcome.points.inputs.shape[1]
        if n_inputs != 2:
            raise MissingError(f"This figure is for tasks with two inputs; this one has {n_inputs}")


def dot(colour: str, label: str) -> Line2D:
    """A legend's line for points."""
    return Line2D([], [], linestyle="none", marker="o", markersize=3, markeredgewidth=0, color=colour, label=label)


def name_above(axes: Axes, handles: Sequence[Artist], n_columns: int = 3) -> None:
    """A legend in one line above the panel, flush with its left edge."""
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.005),
        ncols=n_columns,
        borderaxespad=0,
        borderpad=0.15,
        handlelength=1.2,
        handletextpad=0.35,
        columnspacing=1.0 if len(handles) < 3 else 0.6,
    )


def bare(axes: Axes, *, has_left: bool = True) -> None:
    """Take away the frame's sides that say nothing."""
    for side in ("top", "right", *(() if has_left else ("left",))):
        axes.spines[side].set_visible(False)
    if not has_left:
        axes.set_yticks([])


def few_ticks(*axes: Any, n_ticks: int = 6) -> None:
    """Round numbers, not many."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(nbins=n_ticks, steps=[1, 2, 5, 10], min_n_ticks=3))
