"""Where a sweep needs more values: the intervals on whose ends the order parameter bends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mft_engine.studies.grid import Axis
from mft_engine.studies.phase import is_logarithmic, is_numeric, panels_of, positions
from mft_engine.studies.sweep_table import Sweep

# A bend counts where the curve leaves the straight line between its neighbours by so many standard errors.
SIGNIFICANT = 2.0
MOST_AXES = 2


def values_to_add(sweep: Sweep, n_most: int) -> dict[str, tuple[Any, ...]]:
    """Values worth computing next, by the path of their field: middles of the intervals where the curve bends most.

    The curve is what the phase diagram shows first: test accuracy or order parameter, else the loss. Half of what may
    be added is proposed at once, so that later values can follow what earlier ones show.

    Args:
        n_most: at most so many values in all.

    Returns:
        nothing where nothing bends beyond its errors, or no field is numeric.
    """
    if n_most < 1 or not sweep.rows or len(sweep.axes) > MOST_AXES:
        return {}
    panel = panels_of(sweep)[0]
    found: list[tuple[float, str, Any]] = []
    for number, axis in enumerate(sweep.axes):
        if not is_numeric(axis) or len(axis.values) < 3 or list(axis.values) != sorted(axis.values):
            continue
        means, errors = np.moveaxis(panel.mean, number, 0), np.moveaxis(panel.error, number, 0)
        lines = means.reshape(len(means), -1).T, errors.reshape(len(errors), -1).T
        scores = np.sum([bends(axis, mean, error) for mean, error in zip(*lines, strict=True)], axis=0)
        for interval, score in enumerate(scores):
            middle = middle_of(axis, interval)
            if score > 0 and middle not in axis.values:
                found.append((float(score), axis.path, middle))
    found.sort(key=lambda item: -item[0])
    chosen = found[: max(1, math.ceil(n_most / 2))]
    return {
        axis.path: tuple(value for _, path, value in chosen if path == axis.path)
        for axis in sweep.axes
        if any(path == axis.path for _, path, _ in chosen)
    }


def bends(axis: Axis, mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(n_values - 1,) how much every interval asks to be halved: the turns at its ends, times its length.

    Both directions are measured in units of what is shown, so that the numbers are those of the picture.

    Args:
        axis: with rising values; mean, error: (n_values,), nan where nothing is known.
    """
    x = np.log10(positions(axis)) if is_logarithmic(axis) else positions(axis)
    y, e = mean, np.nan_to_num(error)
    scores = np.zeros(len(x) - 1)
    known = np.flatnonzero(np.isfinite(y))
    if len(known) < 3:
        return scores
    x = (x - x[0]) / (x[-1] - x[0])
    height = float(np.ptp(y[known])) or 1.0
    y, e = y / height, e / height
    turns = np.zeros(len(x))
    for before, at, after in zip(known, known[1:], known[2:], strict=False):
        share = (x[at] - x[before]) / (x[after] - x[before])
        off = y[at] - ((1 - share) * y[before] + share * y[after])
        spread = math.sqrt(e[at] ** 2 + ((1 - share) * e[before]) ** 2 + (share * e[after]) ** 2)
        if abs(off) > SIGNIFICANT * spread and abs(off) > 1e-9:
            slopes = [(y[b] - y[a]) / (x[b] - x[a]) for a, b in ((before, at), (at, after))]
            turns[at] = abs(math.atan(slopes[1]) - math.atan(slopes[0]))
    for place in range(len(scores)):
        if np.isfinite(y[place : place + 2]).all():
            length = math.hypot(x[place + 1] - x[place], y[place + 1] - y[place])
            scores[place] = length * (turns[place] + turns[place + 1])
    return scores


def middle_of(axis: Axis, interval: int) -> Any:
    """The value half way between two neighbours, on the scale on which the axis is drawn; whole where they are."""
    low, high = axis.values[interval], axis.values[interval + 1]
    middle = math.sqrt(low * high) if is_logarithmic(axis) else 0.5 * (low + high)
    if all(isinstance(value, int) for value in axis.values):
        return round(middle)
    return float(f"{middle:.6g}")


def grown(axis: Axis, values: tuple[Any, ...]) -> Axis:
    """An axis with more values, in rising order."""
    return Axis(axis.path, tuple(sorted({*axis.values, *values})))
