"""Handwritten digits: one of them against the rest. Real data on which a network need not leave the lazy limit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mft_engine.rng import Stream, host_generator
from mft_engine.tasks.dataset import NearestTarget
from mft_engine.tasks.task import OwnPoints, Task, TaskError, no_more, whole

N_PIXELS = 64


def build_digits(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = +1 on pictures (8 x 8 pixels) of the digit `task.digit`, -1 on those of the nine others.

        x = s P (p - mean p),   E|x|^2 = d on the training part

    p are the pixels, P the first d principal components (`n_components`), or the identity for all 64 pixels. One factor
    s scales all inputs alike: pixel by pixel, the ones at the edge that are nearly always blank would count most.
    Mean, P and s come from the training part alone.

    Nine points of ten are -1: an accuracy of 0.9 is that of a network which has learnt nothing.

    Parameters, with what they are where they are left out: digit (3); n_components (64); test_fraction (0.25); split
    (which random split; 0).

    Raises:
        TaskError: a parameter out of range.

    Source: scikit-learn's `load_digits`, 1,797 pictures (the test part of UCI's optical recognition of handwritten
    digits); nothing is downloaded.
    """
    no_more(name, parameters, ("digit", "n_components", "test_fraction", "split"))
    digit = whole(parameters, "digit", 3, 0, 9, "the digit against the rest")
    d = whole(parameters, "n_components", N_PIXELS, 1, N_PIXELS, "the number of principal components")
    split = whole(parameters, "split", 0, 0, 2**31, "the number of the split")
    fraction = parameters.get("test_fraction", 0.25)
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 0.9:
        raise TaskError(f"task.test_fraction = {fraction!r}: the part held back is a number from 0 to 0.9")
    pixels, labels = load_pictures()
    order = host_generator(split, Stream.TASK).permutation(len(labels))
    pixels, targets = pixels[order], np.where(labels[order] == digit, 1.0, -1.0)
    n_test = round(fraction * len(labels))
    n_train = len(labels) - n_test
    inputs = _projected(pixels, n_train, d)
    points = OwnPoints(inputs[:n_train], targets[:n_train], inputs[n_train:], targets[n_train:], "digits")
    what = "8 × 8 pixels" if d == N_PIXELS else f"{d} principal component{'s' if d > 1 else ''}"
    title = f"Digit {digit} against the rest, {what}: {n_train:,} pictures, {n_test:,} held back"
    formula = f"+1 on {digit}, −1 on other digits"
    # What sets the digit apart, pixel by pixel; the pictures' first row is at the top.
    apart = (pixels[targets > 0].mean(axis=0) - pixels[targets < 0].mean(axis=0)).reshape(8, 8)[::-1]
    return Task(name, title, formula, d, NearestTarget(points), points=points, is_classification=True, picture=apart)


@functools.cache
def load_pictures() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) pixels from 0 to 16 and (1797,) digits."""
    from sklearn.datasets import load_digits  # half a second that only this task is worth

    found = load_digits()
    return np.asarray(found.data, dtype=np.float64), np.asarray(found.target)


def _projected(pixels: np.ndarray, n_train: int, n_components: int) -> np.ndarray:
    centred = pixels - pixels[:n_train].mean(axis=0)
    if n_components < N_PIXELS:
        _, _, axes = np.linalg.svd(centred[:n_train], full_matrices=False)
        # The sign of a component is arbitrary, and libraries differ in it: its largest entry shall be positive.
        peaks = np.abs(axes).argmax(axis=1)
        axes = axes * np.sign(axes[np.arange(len(axes)), peaks])[:, None]
        centred = centred @ axes[:n_components].T
    mean_square = (centred[:n_train] ** 2).sum(axis=1).mean()
    return np.asarray(centred * np.sqrt(n_components / mean_square))
