"""The figure of modular addition: frequencies and phases of the neurons, right answers along the run."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.figures.pictures import caption
from mft_engine.figures.sheet import MissingError, Page, ShownCloud, bare, few_ticks, name_above, shown_clouds
from mft_engine.questions.waves import Waves, waves

HALF = 0.5


def draw_fourier(page: Page) -> Figure:
    """Share of neurons by frequency, phase of the answer against the sum of the other two, right answers in time.

    Phases are those of the stronger half of each cloud: a neuron that adds little has a phase by chance.
    """
    outcome = page.outcome
    n_inputs = outcome.points.inputs.shape[1]
    modulus = outcome.background.theta.shape[1] - n_inputs
    if outcome.recipe.task.name != "modular-addition":
        raise MissingError("This figure is for the task modular-addition")
    layers = shown_clouds(outcome, has_foreground=outcome.foreground is not None)
    found = [waves(layer.cloud, modulus) for layer in layers]
    left, right, top, bottom, gap = 12.0, 3.0, 5.5, 9.0, 13.0
    width = page.width_mm - left - right
    if page.is_wide:
        width = (width - 2 * gap) / 3
    height = (0.9 if page.is_wide else 0.5) * width
    sheet = page.sheet((top + height + bottom) * (1 if page.is_wide else 3), caption(outcome))
    panels = []
    for number in range(3):
        place = (left + number * (width + gap), top) if page.is_wide else (left, top + number * (top + height + bottom))
        panels.append(sheet.axes(*place, width, height))
    _frequencies(panels[0], layers, found)
    _phases(panels[1], layers, found)
    _answers(panels[2], outcome.metrics)
    name_above(panels[0], [layer.handle for layer in layers], n_columns=2)
    for axes in panels:
        bare(axes)
    return sheet.figure


def _frequencies(axes: Axes, layers: list[ShownCloud], found: list[Waves]) -> None:
    for number, (layer, series) in enumerate(zip(layers, found, strict=True)):
        n = series.power.shape[1]
        shares = np.bincount(series.frequency, minlength=n + 1)[1:] / len(series.frequency)
        offset = (number - (len(layers) - 1) / 2) * 0.4
        axes.bar(np.arange(1, n + 1) + offset, shares, width=0.38, color=layer.colour, linewidth=0)
    axes.set_xlabel("dominant frequency $k$")
    axes.set_ylabel("share of neurons")
    axes.set_xlim(0.4, found[0].power.shape[1] + 0.6)
    few_ticks(axes.xaxis, axes.yaxis)


def _phases(axes: Axes, layers: list[ShownCloud], found: list[Waves]) -> None:
    axes.plot([-np.pi, np.pi], [-np.pi, np.pi], color=palette.LINE, linewidth=0.8, zorder=0)
    for layer, series in zip(layers, found, strict=True):
        strong = series.strength >= np.quantile(series.strength, HALF)
        across = np.angle(np.exp(1j * series.phases[strong, :2].sum(axis=1)))
        axes.plot(
            across, series.phases[strong, 2], ".", markersize=2.2, markeredgewidth=0, color=layer.colour, alpha=0.7
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([-np.pi, 0, np.pi], ["$-\\pi$", "0", "$\\pi$"])
    axes.set_xlim(-np.pi, np.pi)
    axes.set_ylim(-np.pi, np.pi)
    axes.set_xlabel("phase of $n$ + phase of $m$")
    axes.set_ylabel("phase of the answer", labelpad=-2)


def _answers(axes: Axes, metrics: dict[str, np.ndarray]) -> None:
    time = metrics.get("time", np.zeros(0))
    lines = (("train_accuracy", palette.MUTED, "shown pairs"), ("test_accuracy", palette.BACKGROUND, "held-back pairs"))
    for name, colour, label in lines:
        if name in metrics:
            axes.plot(time, metrics[name], color=colour, label=label)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, float(time[-1]) if len(time) else 1.0)
    axes.set_xlabel("time $t$ (step size × steps)")
    axes.set_ylabel("right answers")
    few_ticks(axes.xaxis, axes.yaxis)
    if "train_accuracy" in metrics:
        axes.legend(loc="lower right", borderaxespad=0.4)
