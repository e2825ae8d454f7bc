"""What differs between two clouds that are not alike, and which neurons make the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special
from scipy.spatial.distance import cdist

# Neurons named, and neurons of each cloud that the others are measured against (a percent of noise, some ms of work).
N_SHOWN = 50
N_MEASURED = 2000
# Neurons a block of distances (16 MB).
BLOCK = 1000
# A moment is called different where chance alone would make one of them so different in 3 of 1,000 clouds.
TELLING = 0.003


def standing_out(points: np.ndarray, n_background: int, n_shown: int = N_SHOWN) -> np.ndarray:
    """The neurons of the background where there are too many of them, by the witness of the energy distance.

        h(x) = E|x - Y| - E|x - X|,   distance = mean over the background of h - mean over the foreground of h

    Args:
        points: (n_background + n_foreground, n_columns) in pooled standard deviations, the background first.

    Returns:
        (n_shown,) their numbers, largest h first.
    """
    own, other = points[:n_background], points[n_background:]
    near, far = own[:N_MEASURED], other[:N_MEASURED]
    witness = np.empty(n_background)
    for first in range(0, n_background, BLOCK):
        block = own[first : first + BLOCK]
        witness[first : first + BLOCK] = cdist(block, far).mean(axis=1) - cdist(block, near).mean(axis=1)
    return np.argsort(-witness, kind="stable")[:n_shown].astype(np.int64)


def what_differs(background: np.ndarray, foreground: np.ndarray, names: Sequence[str]) -> str:
    """A sentence about the mean, spread or correlation that differs most; empty where chance does as much.

    Args:
        background, foreground: (n_neurons, n_columns); names: of the columns.
    """
    clouds = (background, foreground)
    # A spread's error is that of the variance of squares, which heavy tails make larger than a Gaussian's.
    centred = [cloud - cloud.mean(axis=0) for cloud in clouds]
    spreads = [cloud.std(axis=0) for cloud in clouds]
    found: list[tuple[float, str, float, float]] = []
    for c, name in enumerate(names):
        if min(spread[c] for spread in spreads) <= 0.0:
            continue
        means = [float(cloud[:, c].mean()) for cloud in clouds]
        error = math.hypot(*(spread[c] / math.sqrt(len(cloud)) for spread, cloud in zip(spreads, clouds, strict=True)))
        found.append(((means[0] - means[1]) / error, f"mean of {name}", means[0], means[1]))
        widths = [float(spread[c]) for spread in spreads]
        noise = [float((x[:, c] ** 2).std()) / (2 * s[c] * math.sqrt(len(x)))
                 for x, s in zip(centred, spreads, strict=True)]  # fmt: skip
        error = math.hypot(*noise)
        if error > 0:
            found.append(((widths[0] - widths[1]) / error, f"spread of {name}", widths[0], widths[1]))
    found += _correlations(centred, spreads, names)
    if not found:
        return ""
    z, what, value, expected = max(found, key=lambda one: abs(one[0]))
    if 2 * len(found) * special.ndtr(-abs(z)) > TELLING:
        return ""
    way = "larger" if value > expected else "smaller"
    return (
        f"What differs most is the {what}: {value:.3g} in the background, {way} than the foreground's {expected:.3g} "
        f"by {abs(z):.1f} standard errors."
    )


def _correlations(
    centred: Sequence[np.ndarray], spreads: Sequence[np.ndarray], names: Sequence[str]
) -> list[tuple[float, str, float, float]]:
    found = []
    for first, left in enumerate(names):
        for second in range(first + 1, min(len(names), first + 1 + 24)):
            values, errors = [], []
            for cloud, spread in zip(centred, spreads, strict=True):
                scale = spread[first] * spread[second]
                if scale <= 0.0:
                    break
                product = cloud[:, first] * cloud[:, second] / scale
                values.append(float(product.mean()))
                errors.append(float(product.std()) / math.sqrt(len(product)))
            error = math.hypot(*errors)
            if len(values) == 2 and error > 0:
                what = f"correlation of {left} and {names[second]}"
                found.append(((values[0] - values[1]) / error, what, values[0], values[1]))
    return found
