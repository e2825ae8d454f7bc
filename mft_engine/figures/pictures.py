"""What figures show, as plain arrays and words: axis ranges, functions on a grid, histograms' bins, captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mft_engine.compare.rules import told_p
from mft_engine.experiment.outcome import Outcome
from mft_engine.network.activations import phi_numpy
from mft_engine.network.scaling import LAZY_EXPONENT, output_scale
from mft_engine.tasks import build_task

# Neurons times grid points evaluated at once (16 MB).
MAX_FEATURES = 2_000_000
# Neurons times grid points of one figure, some seconds.
MAX_EVALUATIONS = 400_000_000

NAMES_OF_KINDS = {
    "trained": "background",
    "lazy": "lazy background",
    "untrained": "untrained background",
    "stored": "stored background",
}


def axis_range(clouds: Sequence[np.ndarray], share: float = 0.995) -> float:
    """Half the side of a square around the origin that shows the clouds with their far arms.

    The quantile, not the largest weight: one neuron far away must not shrink all others to a dot.

    Args:
        clouds: each (n_neurons, at least 2), columns w1, w2.
        share: of the neurons that must lie inside, for every cloud by itself.

    Returns:
        a number with at most two digits, a multiple of 1/2 between 1 and 10.
    """
    reach = max(float(np.quantile(np.abs(cloud[:, :2]).max(axis=1), share)) for cloud in clouds if len(cloud))
    if not math.isfinite(reach) or reach <= 0:
        return 1.0
    digit = 10.0 ** math.floor(math.log10(reach))
    return math.ceil(reach / digit * 2 * 1.001) / 2 * digit


def n_outside(cloud: np.ndarray, half: float) -> int:
    """Neurons that a square of that half side does not show."""
    return int(np.count_nonzero(np.abs(cloud[:, :2]).max(axis=1) > half))


def background_name(outcome: Outcome) -> str:
    """The background in a word or two, as in legends."""
    return NAMES_OF_KINDS.get(outcome.background.kind, outcome.background.kind)


def short(number: float) -> str:
    """A number for people: three digits, and no power of ten for large ones."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e7 else f"{number:.3g}"


def unbroken(text: str) -> str:
    """The same, not to be broken into lines."""
    return text.replace(" ", "\xa0")


def caption(outcome: Outcome, *, has_foreground: bool = True) -> str:
    """Recipe, seed, sizes and verdict in one line."""
    recipe, comparison = outcome.recipe, outcome.comparison
    words = [f"{recipe.name}, seed {recipe.seed}: {len(outcome.background.theta):,} background"]
    if has_foreground and outcome.foreground is not None:
        words[0] += f" and {len(outcome.foreground.theta):,} foreground"
    words[0] += " neurons"
    words.append(
        f"activation {recipe.network.activation}, temperature {recipe.training.temperature:g}, "
        f"regularisation {recipe.lambda_w:g}\xa0(w) and {recipe.lambda_a:g}\xa0(a)"
    )
    if has_foreground and comparison is not None:
        words.append(
            f"{comparison.verdict or 'no verdict'}: energy distance {comparison.energy_distance:.3g} is "
            f"{short(comparison.ratio)} times the mean of its null, {unbroken(told_p(comparison.p_value))}"
        )
        if comparison.averages is not None:
            words[-1] += f" (with the averages {unbroken(told_p(comparison.p_value_all))})"
        if comparison.way is not None:
            words[-1] += f" (with how far each neuron has come {unbroken(told_p(comparison.p_value_all))})"
        noticed = comparison.resolution.words if comparison.resolution is not None else ""
        if noticed and comparison.verdict == "consistent":
            words.append(f"would have noticed {noticed}")
        if comparison.verdict == "consistent":
            words.append(f"the laws' energy distance is at most {comparison.distance_upper:.2g} (95\xa0%)")
            if comparison.averages is not None:
                words[-1] += f", their divergence along the averages {comparison.averages.kl_upper:.2g} nats a neuron"
    return "; ".join(words) + "."


@dataclass(frozen=True)
class Functions:
    """Target and networks on a square of the plane, each (n_pixels, n_pixels), row = x2 upwards.

    Attributes:
        extent: half the side; limit: the 98 % quantile of |target| under the measure of x, for the colours.
    """

    extent: float
    limit: float
    target: np.ndarray
    background: np.ndarray
    foreground: np.ndarray | None

    @property
    def residual(self) -> np.ndarray:
        """Target minus background."""
        return self.target - self.background


def functions_on_grid(outcome: Outcome, n_pixels: int | None = None, extent: float = 3.0) -> Functions:
    """The target and what the stored neurons make of it, f(x) = N^-kappa sum_i a_i phi(w_i.x).

    These are the functions of the clouds as they stand; the field that the foreground felt is the background's
    average over the window, which is smoother.

    Args:
        n_pixels: along a side; 96 by default, fewer for more than some 40,000 neurons. extent: half the side.
    """
    if n_pixels is None:
        n_neurons = len(outcome.background.theta) + (len(outcome.foreground.theta) if outcome.foreground else 0)
        n_pixels = int(np.clip((MAX_EVALUATIONS / n_neurons) ** 0.5, 24, 96))
    kind, exponent = outcome.background.kind, outcome.recipe.network.readout_exponent
    line = (np.arange(n_pixels) + 0.5) / n_pixels * 2 * extent - extent
    x1, x2 = np.meshgrid(line, line)
    grid = np.stack([x1.ravel(), x2.ravel()], axis=1)
    shape = (n_pixels, n_pixels)
    target = np.asarray(build_task(outcome.recipe.task).target(grid), dtype=np.float64).reshape(shape)
    activation = outcome.recipe.network.activation
    background = _network(outcome.background.theta, grid, activation, LAZY_EXPONENT if kind == "lazy" else exponent)
    foreground = None
    if outcome.foreground is not None:
        felt = 1.0 if kind == "lazy" else exponent
        foreground = _network(outcome.foreground.theta, grid, activation, felt).reshape(shape)
    points = outcome.points
    order = np.argsort(np.abs(points.targets))
    reached = np.searchsorted(np.cumsum(points.weights[order]), 0.98 * points.weights.sum())
    limit = float(np.abs(points.targets)[order][min(reached, len(order) - 1)])
    return Functions(extent, limit if limit > 0 else 1.0, target, background.reshape(shape), foreground)


def _network(theta: np.ndarray, inputs: np.ndarray, activation: str, exponent: float) -> np.ndarray:
    """(n_inputs_given,) f at the inputs, over chunks of them."""
    neurons = np.asarray(theta, dtype=np.float64)
    w, a = neurons[:, :-1], neurons[:, -1]
    n_rows = max(1, MAX_FEATURES // len(neurons))
    parts = [phi_numpy(activation, inputs[first : first + n_rows] @ w.T) @ a for first in range(0, len(inputs), n_rows)]
    return np.concatenate(parts) * output_scale(len(neurons), exponent)


def shared_bins(samples: Sequence[np.ndarray], share: float = 0.998) -> np.ndarray:
    """(n_bins + 1,) edges of equal bins that hold the middle `share` of every sample.

    A little narrower than Freedman and Diaconis advise for the sample that needs it most, 1.5 IQR n^(-1/3): a
    density is drawn through them. Symmetric about 0 where the samples nearly are.
    """
    tail = (1 - share) / 2
    low = min(float(np.quantile(sample, tail)) for sample in samples)
    high = max(float(np.quantile(sample, 1 - tail)) for sample in samples)
    if not low < high:
        return np.linspace(low - 0.5, high + 0.5, 13)
    if low < 0 < high and 0.5 < -low / high < 2:
        low, high = min(low, -high), max(high, -low)
    spreads = [float(np.subtract(*np.quantile(sample, [0.75, 0.25]))) for sample in samples]
    widths = [1.5 * spread * len(sample) ** (-1 / 3) for spread, sample in zip(spreads, samples, strict=True)]
    narrowest = min((width for width in widths if width > 0), default=high - low)
    return np.linspace(low, high, int(np.clip((high - low) / narrowest, 12, 90)) + 1)


def density_levels(density: np.ndarray, pixel: float, shares: Sequence[float]) -> list[float]:
    """Ascending densities above which the given shares of the probability lie.

    Args:
        density: any shape, per unit area; pixel: area of one entry; shares: in (0, 1), of the whole probability 1.
    """
    ordered = np.sort(density.ravel())[::-1]
    inside = np.cumsum(ordered) * pixel
    places = [min(int(np.searchsorted(inside, share)), len(ordered) - 1) for share in shares]
    return sorted({float(ordered[place]) for place in places})
