"""Densities of a law that is known by samples, in whatever quantity is on an axis: smoothed, with honest ends."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF

from app.views.projections import Axis

N_CELLS, N_CURVE = 128, 240
# Width of smoothing over Silverman's rule, which is for one lump: laws have several, narrower ones.
NARROWER = 0.6
# Smallest and largest power of two in density by which smoothing is adapted, as its square root.
LEVELS = (-1, 6)
# Share of the neurons beyond each end of a picture.
BEYOND = 0.0005
FULL_TURN = 360.0


def density_image(x: np.ndarray, y: np.ndarray, axes: tuple[Axis, Axis]) -> tuple[np.ndarray, QRectF] | None:
    """The joint density of two quantities.

    Args:
        x, y: (n,) of every neuron; axes: what they are, for lengths begin at zero and angles close.

    Returns:
        (N_CELLS, N_CELLS) density, row = y ascending, and the rectangle that it covers; None where all are equal.
    """
    spans = [_span(values, axis) for values, axis in zip((x, y), axes, strict=True)]
    if any(high <= low for low, high in spans):
        return None
    edges = [np.linspace(*span, N_CELLS + 1) for span in spans]
    counts, _, _ = np.histogram2d(y, x, bins=[edges[1], edges[0]])
    places = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    widths = [NARROWER * len(x) ** (-1 / 6) * _spread(v, axis) for v, axis in zip((x, y), axes, strict=True)]

    def smoothed(part: np.ndarray, wider: float) -> np.ndarray:
        across, along = (
            _smoothing(place, wider * width, axis) for place, width, axis in zip(places, widths, axes, strict=True)
        )
        return np.asarray(along @ part @ across.T)

    # Where neurons are few they are smoothed further, so that no line runs round single ones (Abramson 1982).
    pilot = np.maximum(smoothed(counts, 1.0), 1e-12)
    typical = np.exp((counts * np.log(pilot)).sum() / counts.sum())
    level = np.clip(np.log2(typical / pilot), *LEVELS)
    image = sum(
        smoothed(counts * np.maximum(1.0 - np.abs(level - k), 0.0), 2.0 ** (k / 2))
        for k in range(LEVELS[0], LEVELS[1] + 1)
    )
    (left, right), (bottom, top) = spans
    return np.asarray(image), QRectF(left, bottom, right - left, top - bottom)


def density_curve(values: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """The density of one quantity: (n,) places, (n,) density of area one; empty where all neurons are equal."""
    low, high = _span(values, axis)
    if high <= low:
        return np.empty(0), np.empty(0)
    edges = np.linspace(low, high, N_CURVE + 1)
    counts, _ = np.histogram(values, bins=edges)
    places = 0.5 * (edges[1:] + edges[:-1])
    width = NARROWER * len(values) ** (-1 / 5) * _spread(values, axis)
    return places, _smoothing(places, width, axis) @ counts / (len(values) * (edges[1] - edges[0]))


def _span(values: np.ndarray, axis: Axis) -> tuple[float, float]:
    if axis.kind == "angle":
        return -FULL_TURN / 2, FULL_TURN / 2
    low, high = np.quantile(values, [BEYOND, 1 - BEYOND])
    margin = 0.1 * (high - low)
    return (0.0 if axis.is_length else float(low - margin)), float(high + margin)


def _spread(values: np.ndarray, axis: Axis) -> float:
    """Standard deviation, or what the middle half has for one where tails are heavy."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    found = min(float(values.std()), float(upper - lower) / 1.34) or float(values.std())
    return found if axis.kind != "angle" else min(found, 0.25 * FULL_TURN / np.pi)


def _smoothing(places: np.ndarray, width: float, axis: Axis) -> np.ndarray:
    """(n, n) what a count at one place gives to another; columns have total one, but for what leaves the picture."""
    cell = places[1] - places[0]
    width = max(width, 0.5 * cell)
    apart = places[:, None] - places[None, :]
    shifted = [apart]
    if axis.kind == "angle":
        shifted += [apart - FULL_TURN, apart + FULL_TURN]
    elif axis.is_length:  # what would fall below zero is reflected
        shifted.append(places[:, None] + places[None, :])
    kernel = np.sum([np.exp(-0.5 * (part / width) ** 2) for part in shifted], axis=0)
    return np.asarray(kernel * (cell / (width * np.sqrt(2 * np.pi))))
