"""The figure of the data kernel: its spectrum, what it captures of the target, its leading eigenfunctions."""

from __future__ import annotations

from typing import Any

import numpy as np
from cmap import Colormap
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mft_engine import palette
from mft_engine.compare.rules import told_p
from mft_engine.experiment.outcome import Outcome
from mft_engine.figures.pictures import background_name, caption, unbroken
from mft_engine.figures.sheet import MissingError, Page, Sheet, bare, few_ticks, name_above
from mft_engine.network.activations import get_activation
from mft_engine.questions.kernel_study import DataKernels, last_of, study_kernels

COLOURS = {"initial": palette.INITIAL, "background": palette.BACKGROUND, "foreground": palette.FOREGROUND}
MARKERS = {"initial": "v", "background": "o", "foreground": "D"}
SHIFTS = {"initial": -0.16, "background": 0.0, "foreground": 0.16}
LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM, GAP_MM = 12.5, 3.0, 5.5, 9.0, 13.5
ROW_LABEL_MM, MAP_GAP_MM, MAP_TITLE_MM = 6.0, 2.5, 4.0
N_PIXELS = 80


def kernels_of(outcome: Outcome, n_pixels: int = N_PIXELS) -> DataKernels:
    """The data kernels of an outcome's clouds, from what a run folder keeps.

    Raises:
        MissingError: several hidden layers.
    """
    if len(outcome.recipe.network.n_neurons) > 1:
        raise MissingError("The data kernel is drawn for networks of one hidden layer")
    return last_of(
        study_kernels(
            outcome.initial_theta,
            outcome.background.theta,
            outcome.foreground.theta if outcome.foreground else None,
            outcome.points,
            get_activation(outcome.recipe.network.activation),
            seed=outcome.recipe.seed,
            n_pixels=n_pixels,
        )
    )


def draw_kernel(page: Page) -> Figure:
    """Eigenvalues of K(x, x') = mean phi(w.x) phi(w.x'), the target in the first k eigenfunctions, and their pictures.

    Error bars are standard errors over groups of neurons. Where the input has no plane, the third panel is each
    eigenfunction's own share of the target.
    """
    kernels = kernels_of(page.outcome)
    has_maps = kernels.background_maps is not None
    n_plots = 2 if has_maps else 3
    width = page.width_mm - LEFT_MM - RIGHT_MM
    side_by_side = n_plots if page.is_wide else 1
    panel = (width - GAP_MM * (side_by_side - 1)) / side_by_side
    height = (0.52 if page.is_wide else 0.46) * panel
    n_rows = -(-n_plots // side_by_side)
    plots_mm = TOP_MM + n_rows * (height + BOTTOM_MM)
    rows = [name for name in ("background", "foreground") if has_maps and name in kernels.spectra]
    n_maps = (6 if page.is_wide else 4) if has_maps else 0
    side = (page.width_mm - ROW_LABEL_MM - RIGHT_MM - MAP_GAP_MM * max(n_maps - 1, 0)) / max(n_maps, 1)
    map_row = side + MAP_TITLE_MM
    words = f"{caption(page.outcome)} {kernel_words(kernels)}"
    sheet = page.sheet(plots_mm + (1.0 + len(rows) * map_row + 2.0 if rows else 0.0), words)
    panels = []
    for number in range(n_plots):
        column, row = number % side_by_side, number // side_by_side
        place = (LEFT_MM + column * (panel + GAP_MM), TOP_MM + row * (height + BOTTOM_MM))
        panels.append(sheet.axes(*place, panel, height))
    titles = {"initial": "initial", "background": background_name(page.outcome), "foreground": "foreground"}
    _draw_spectrum(panels[0], kernels)
    name_above(panels[0], _handles(kernels, titles))
    _draw_shares(panels[1], kernels, is_sum=True)
    if not has_maps:
        _draw_shares(panels[2], kernels, is_sum=False)
    for line, name in enumerate(rows):
        _draw_maps(sheet, kernels, name, titles[name], plots_mm + 1.0 + line * map_row, side, n_maps)
    return sheet.figure


def kernel_words(kernels: DataKernels) -> str:
    """Alignment, effective rank, change and agreement in a sentence."""
    spectra, agreement = kernels.spectra, kernels.agreement
    numbers = ", ".join(f"{spectrum.alignment:.2g} ({name})" for name, spectrum in spectra.items())
    ranks = ", ".join(f"{spectrum.effective_rank:.2g}" for spectrum in spectra.values())
    words = f"Data kernel: target alignment {numbers}; effective rank {ranks}; change {kernels.change:.2g}"
    if agreement is not None:
        words += (
            f"; background against foreground {agreement.distance:.2g}, by chance {agreement.null_mean:.2g}, "
            f"95 % below {agreement.null_95:.2g}, {unbroken(told_p(agreement.p_value))}"
        )
    return words + "."


def _handles(kernels: DataKernels, titles: dict[str, str]) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="none", marker=MARKERS[name], markersize=3, markeredgewidth=0, color=COLOURS[name],
               label=titles[name])
        for name in kernels.spectra
    ]  # fmt: skip


def _draw_spectrum(axes: Axes, kernels: DataKernels) -> None:
    for name, spectrum in kernels.spectra.items():
        n = min(len(spectrum.functions), max(spectrum.n_trusted, 1))
        values, errors = spectrum.eigenvalues[:n], np.nan_to_num(spectrum.errors[:n])
        below = np.minimum(errors, 0.9 * values)
        axes.errorbar(
            np.arange(1, n + 1) + SHIFTS[name], values, yerr=np.stack([below, errors]), linestyle="none",
            marker=MARKERS[name], markersize=2.0, markeredgewidth=0, elinewidth=0.5, color=COLOURS[name],
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("$k$")
    axes.set_ylabel("eigenvalue")
    few_ticks(axes.xaxis)
    bare(axes)


def _draw_shares(axes: Axes, kernels: DataKernels, *, is_sum: bool) -> None:
    for name, spectrum in kernels.spectra.items():
        values = spectrum.captured if is_sum else spectrum.target_shares
        n = min(len(values), max(spectrum.n_trusted, 1))
        style: Any = {"linewidth": 0.7} if is_sum else {"linestyle": "none"}
        axes.plot(
            np.arange(1, n + 1) + (0 if is_sum else SHIFTS[name]), values[:n], marker=MARKERS[name], markersize=1.8,
            markeredgewidth=0, color=COLOURS[name], **style,
        )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u2009%"))
    axes.set_xlabel("first $k$ eigenfunctions" if is_sum else "$k$-th eigenfunction alone")
    axes.set_ylabel("target captured")
    few_ticks(axes.xaxis)
    bare(axes)


def _draw_maps(sheet: Sheet, kernels: DataKernels, name: str, title: str, top: float, side: float, n_maps: int) -> None:
    """One row of eigenfunctions, each on a colour scale of its own about zero, with eigenvalue and target share."""
    colours = ListedColormap(np.asarray(Colormap(palette.DIVERGING)(np.linspace(0.03, 0.97, 256))))
    maps, spectrum = getattr(kernels, f"{name}_maps"), kernels.spectra[name]
    for k, values in enumerate(maps[:n_maps]):
        axes = sheet.axes(ROW_LABEL_MM + k * (side + MAP_GAP_MM), top + MAP_TITLE_MM, side, side)
        limit = float(np.nanquantile(np.abs(values), 0.95)) if np.isfinite(values).any() else 1.0
        extent = (-kernels.extent, kernels.extent, -kernels.extent, kernels.extent)
        scale = Normalize(-limit or -1.0, limit or 1.0)
        axes.imshow(values, origin="lower", extent=extent, cmap=colours, norm=scale, interpolation="bilinear")
        axes.set_xticks([])
        axes.set_yticks([])
        share = 100 * spectrum.target_shares[k]
        sheet.above(axes, 0, f"{spectrum.eigenvalues[k]:#.2g} · {share:.0f} %", size=5.8)
        if k == 0:
            axes.set_ylabel(title, color=COLOURS[name])
