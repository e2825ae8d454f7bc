"""Is the foreground distributed like the background? Energy distance of two clouds and its permutation null.

The O(n^2) work is cut into tiles and told as a generator, so that a window can show its progress and stop it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.compare.averages import AveragesTest
from mft_engine.compare.resolution import Resolution
from mft_engine.network.activations import Parity
from mft_engine.points.statistics import host_array
from mft_engine.rng import Stream

Verdict = Literal["consistent", "close", "inconsistent"]
Theta = Tensor | np.ndarray
Forms = Callable[[Tensor], Generator[float, None, Tensor]]

P_VALUE_LIMIT = 0.01
# Two tests share the level: the distance of the clouds and the averages, half each.
AVERAGES_LEVEL = P_VALUE_LIMIT / 2
CLOSE_RATIO = 4.0
# Beyond eta Theta = 2 the cloud shrinks and stays finite; a step this near to it is no evidence for anything.
ETA_THETA_LIMIT = 1.8
# (1 + 0)/(1 + 99) = 0.01 is the first p-value that can reject.
MIN_PERMUTATIONS = 99

# Neurons a cloud beyond which the distance is sliced: exact work grows as n^2, a minute of one thread there.
EXACT_LIMIT = 30_000
# Neurons are exchangeable, so the first ones stand for all; this many resolve more than any sampler holds.
SLICED_LIMIT = 100_000
N_DIRECTIONS = 48
GOLDEN = (5**0.5 - 1) / 2
# Points at which two distributions on a line are compared; more change the distance by less than 0.1 %.
N_QUANTILES = 1024
# Labels (permutations x neurons) held at once (80 MB), and permutations a pass over the distances (exact, or
# sliced, where the bins of a whole pass are kept: 0.4 MB a permutation).
MAX_LABELS = 20_500_000
PERMUTATIONS_A_PASS = {True: 512, False: 128}
# 2 x 512 x 640 x 640 multiply-adds are about 10 ms of one core, and the tile (1.6 MB) stays in its cache.
TILE = 640
# Labels shuffled or binned in one slice of work, some ms.
SLICE_ELEMENTS = 1_000_000
# float32 distances reproduce a statistic to about 3e-6: a permutation so near to the observed value is a tie.
TIE = 1e-5


class ComparisonError(ValueError):
    """Clouds that cannot be compared; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """Background against foreground: distance, null, verdict, and the numbers that stand beside it.

    Fields named `..._weights` are of the input weights w alone, the others of (w, a). A ratio below 1 is
    normal: neurons of a background repel and lie more regularly than an independent sample.

    Attributes:
        energy_distance: 2 E|X-Y| - E|X-X'| - E|Y-Y'|, diagonal included, in pooled standard deviations.
        null, null_weights: (n_permutations,) the same after exchanging neurons at random between the clouds.
        null_mean, null_95: of `null`; p_value = (1 + #{null >= distance})/(1 + n_permutations).
        ratio: energy_distance / null_mean.
        p_value_all: min(1, 2 min(p_value, averages.p_value)), p_value alone where there are no averages; that of the
            averages alone in the field of one moment, whose noise pulls the two clouds apart (`is_of_one_moment`).
        averages: the quadratic test of the averages that the field suggests; resolution: what it would notice.
        verdict: consistent if p_value_all > 0.01 (unless eta_theta > 1.8), else close if ratio < 4, else not; None
            where there are too few neurons for any p_value to fall that low, and `why` says so.
        function_alignment: E[f_bg f_fg]/(|f_bg||f_fg|); nan where unknown, as are the losses.
        background_loss, foreground_loss: E (y - f)^2 of the two networks.
        expected_loss_difference: Tr C / n_foreground, by which a foreground of the same law is worse.
        n_background, n_foreground: neurons compared.
        method: how the distance was computed, in words.
    """

    energy_distance: float
    null_mean: float
    null_95: float
    null: np.ndarray
    p_value: float
    ratio: float
    verdict: Verdict | None
    energy_distance_weights: float
    null_mean_weights: float
    null_95_weights: float
    null_weights: np.ndarray
    p_value_weights: float
    ratio_weights: float
    n_background: int
    n_foreground: int
    n_permutations: int
    method: str
    function_alignment: float = math.nan
    background_loss: float = math.nan
    foreground_loss: float = math.nan
    expected_loss_difference: float | None = None
    why: str = ""
    averages: AveragesTest | None = None
    resolution: Resolution | None = None
    is_of_one_moment: bool = False

    @property
    def p_value_all(self) -> float:
        """Of distance and averages together, each tested at half of the level (Bonferroni)."""
        if self.averages is None:
            return self.p_value
        if self.is_of_one_moment:
            return self.averages.p_value
        return min(1.0, 2.0 * min(self.p_value, self.averages.p_value))

    def with_averages(
        self,
        averages: AveragesTest,
        resolution: Resolution,
        eta_theta: float | None = None,
        *,
        is_of_one_moment: bool = False,
    ) -> Comparison:
        """The same comparison with the averages, which have a say in the verdict."""
        both = replace(self, averages=averages, resolution=resolution, is_of_one_moment=is_of_one_moment)
        return both if self.why else replace(both, verdict=judge(both.p_value_all, self.ratio, eta_theta))

    def with_functions(
        self,
        *,
        function_alignment: float,
        background_loss: float,
        foreground_loss: float,
        expected_loss_difference: float | None = None,
    ) -> Comparison:
        """The same comparison with what is known about the two network functions."""
        return replace(
            self,
            function_alignment=function_alignment,
            background_loss=background_loss,
            foreground_loss=foreground_loss,
            expected_loss_difference=expected_loss_difference,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the null arrays; a number that is not finite becomes None."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if not isinstance(getattr(self, field.name), np.ndarray) and field.name not in ("averages", "resolution")
        }
        test = self.averages
        values |= {
            "p_value_all": self.p_value_all,
            "p_value_averages": None if test is None else test.p_value,
            "statistics": [] if test is None else [statistic.to_dict() for statistic in test.statistics],
            "resolution": asdict(self.resolution) if self.resolution is not None else None,
            "kl_upper": None if test is None else test.kl_upper,
            "largest_difference": None if test is None else test.largest_difference or None,
        }
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }


def smallest_p_value(n_background: int, n_foreground: int, n_permutations: int) -> float:
    """The least p-value that exchanges of so many neurons can give, however different the clouds are.

    The share of all exchanges that leave the clouds as they are (clouds of equal size may also change places), and not
    below 1/(1 + n_permutations).
    """
    n_exchanges = math.comb(n_background + n_foreground, n_background)
    return max(1 / (1 + n_permutations), (1 + (n_background == n_foreground)) / n_exchanges)


def why_no_verdict(n_background: int, n_foreground: int, n_permutations: int) -> str:
    """The sentence that says why these sizes allow no verdict, and what would be enough; empty where they do."""
    least = smallest_p_value(n_background, n_foreground, n_permutations)
    if least <= P_VALUE_LIMIT:
        return ""
    enough = next(n for n in range(1, 100) if smallest_p_value(n, n, n_permutations) <= P_VALUE_LIMIT)
    return (
        f"{n_background} background and {n_foreground} foreground neurons are too few for a verdict: whatever they "
        f"look like, the p-value cannot fall below {least:.2g}. {enough} on each side are the least that can say no."
    )


def judge(p_value: float, ratio: float, eta_theta: float | None = None) -> Verdict:
    """The verdict of a comparison.

    Args:
        p_value, ratio: as in `Comparison`.
        eta_theta: step size times the top eigenvalue of the tangent kernel; above 1.8 nothing is consistent.
    """
    is_stable = eta_theta is None or not eta_theta > ETA_THETA_LIMIT
    if p_value > P_VALUE_LIMIT and is_stable:
        return "consistent"
    return "close" if ratio < CLOSE_RATIO else "inconsistent"


def fold(theta: np.ndarray, n_inputs: int, parity: Parity) -> np.ndarray:
    """One representative of every neuron that the activation's symmetry cannot tell apart.

        odd:  (w, a) ~ (-w, -a)      even:  (w, a) ~ (-w, a)      kept: w1 + w2/8 + w3/64 + ... >= 0

    The half-space leans a little, so that lumps on an axis (where targets like to put them) stay whole.

    Args:
        theta: (n_neurons, n_params); n_inputs: leading columns that are w.

    Returns:
        (n_neurons, n_params), a copy.
    """
    folded = theta.copy()
    if parity == "none":
        return folded
    normal = 0.125 ** np.arange(n_inputs)
    sign = np.where(theta[:, :n_inputs] @ normal < 0, -1.0, 1.0)[:, None]
    folded[:, :n_inputs] *= sign
    if parity == "odd":
        folded[:, n_inputs:] *= sign
    return folded


def compare(background: Theta, foreground: Theta, n_inputs: int, **options: Any) -> Comparison:
    """`compare_clouds` run to its end; same arguments."""
    *_, comparison = compare_clouds(background, foreground, n_inputs, **options)
    assert isinstance(comparison, Comparison)
    return comparison


def compare_clouds(
    background: Theta,
    foreground: Theta,
    n_inputs: int,
    *,
    parity: Parity = "none",
    n_permutations: int = 500,
    seed: int = 0,
    eta_theta: float | None = None,
    exact_limit: int = EXACT_LIMIT,
) -> Iterator[float | Comparison]:
    """Compare two clouds, telling the fraction done about every 10 ms of work and at last the Comparison.

        E = 2 E|X-Y| - E|X-X'| - E|Y-Y'| = -h' D h,   h_i = 1/n_background or -1/n_foreground

    D is the matrix of distances of the pooled cloud, each coordinate over its pooled standard deviation; a
    permutation of the neurons permutes h, so that all of them are one matrix product with each tile of D.
    Above `exact_limit` neurons in a cloud the distance is sliced: an average over directions of the distance
    on a line, scaled to estimate the same number and permuted along the same directions. Its p-value is as
    valid as the exact one, its value is an estimate.

    Args:
        background: (n_background, n_params), columns w1 .. wd, then readouts; tensor on any device, or array.
        foreground: (n_foreground, n_params).
        n_inputs: d; parity: the activation's, for folding both clouds.
        n_permutations: at least 99, below which nothing could be rejected.
        seed: of the permutations.
        eta_theta: of the background's run, for the verdict.
        exact_limit: neurons a cloud.

    Yields:
        fractions in [0, 1), then the Comparison.

    Raises:
        ComparisonError: clouds that are empty, not finite or of different columns; too few permutations.
    """
    if n_permutations < MIN_PERMUTATIONS:
        raise ComparisonError(
            f"comparison.n_permutations = {n_permutations} cannot reject anything: a p-value of 0.01 takes "
            f"at least {MIN_PERMUTATIONS}"
        )
    yield 0.0
    is_exact = max(len(background), len(foreground)) <= exact_limit
    method = "exact" if is_exact else f"sliced along {N_DIRECTIONS} directions"
    if max(len(background), len(foreground)) > SLICED_LIMIT:
        method += f", the first {SLICED_LIMIT:,} neurons of a cloud"
        background, foreground = background[:SLICED_LIMIT], foreground[:SLICED_LIMIT]
    points = _standardised(background, foreground, n_inputs, parity)
    n_bg, n_fg = len(background), len(foreground)
    device = background.device if isinstance(background, Tensor) else None
    pool = torch.from_numpy(points.astype(np.float32)).to(device)
    cuts = (n_inputs, points.shape[1])
    if is_exact:
        forms: Forms = partial(quadratic_forms, pool, cuts)
    else:
        lines = []
        for number in range(N_DIRECTIONS):
            lines.append([line(pool[:, :c], torch.from_numpy(directions(seed, c)[number]).to(device)) for c in cuts])
            yield 0.0
        forms = partial(sliced_forms, lines)

    generator = rng.host_generator(seed, Stream.PERMUTATION)
    n_a_pass = min(PERMUTATIONS_A_PASS[is_exact], max(1, MAX_LABELS // (n_bg + n_fg)))
    passes = range(0, n_permutations + 1, n_a_pass)
    values: list[np.ndarray] = []
    for number, first in enumerate(passes):
        labels = np.empty((min(n_a_pass, n_permutations + 1 - first), n_bg + n_fg), dtype=np.float32)
        for done in _fill_labels(labels, n_bg, n_fg, generator, has_observed=number == 0):
            yield (number + 0.1 * done) / len(passes)
        work = forms(torch.from_numpy(labels).to(device))
        while True:
            try:
                yield min((number + 0.1 + 0.9 * next(work)) / len(passes), 0.999)
            except StopIteration as end:
                values.append(host_array(end.value).sum(axis=0))
                break
    scale = -(((n_bg + n_fg) / (n_bg * n_fg)) ** 2)
    weights_alone, whole = np.concatenate(values, axis=1) * scale
    yield _comparison(whole, weights_alone, n_bg, n_fg, eta_theta, method)


def _standardised(background: Theta, foreground: Theta, n_inputs: int, parity: Parity) -> np.ndarray:
    """(n_background + n_foreground, n_params), folded, centred, in pooled population standard deviations."""
    clouds = [host_array(cloud) for cloud in (background, foreground)]
    shapes = [cloud.shape for cloud in clouds]
    is_table = all(cloud.ndim == 2 and cloud.size > 0 for cloud in clouds)
    if not is_table or shapes[0][1] != shapes[1][1] or shapes[0][1] <= n_inputs:
        raise ComparisonError(
            f"The clouds cannot be compared: they have shapes {shapes[0]} and {shapes[1]}, and need at least "
            f"one neuron each and the same columns, {n_inputs} input weights and a readout"
        )
    pool = np.concatenate([fold(cloud, n_inputs, parity) for cloud in clouds])
    if not np.isfinite(pool).all():
        raise ComparisonError("The clouds cannot be compared: some neurons are not finite")
    size = np.abs(pool).max(axis=0)
    pool -= pool.mean(axis=0)
    spread = pool.std(axis=0)
    # A coordinate that never varies (a fixed readout) separates nothing: its rounding must not be blown up.
    is_constant = spread <= 1e-12 * size
    return np.where(is_constant, 0.0, pool / np.where(is_constant, 1.0, spread))


def _fill_labels(
    labels: np.ndarray, n_bg: int, n_fg: int, generator: np.random.Generator, *, has_observed: bool
) -> Iterator[float]:
    """Fill the rows with shuffled h n_bg n_fg/n: of order one, and exactly +-1/2 for clouds of equal size.

    Row 0 is left as observed where `has_observed`. Rows are drawn one after the other, so that a permutation
    depends neither on how many there are nor on how many fit into a pass.
    """
    n = n_bg + n_fg
    n_rows = max(1, SLICE_ELEMENTS // (2 * n))
    for first in range(0, len(labels), n_rows):
        rows = labels[first : first + n_rows]
        rows[:, :n_bg], rows[:, n_bg:] = n_fg / n, -n_bg / n
        shuffled = rows[1:] if has_observed and first == 0 else rows
        generator.permuted(shuffled, axis=1, out=shuffled)
        yield first / len(labels)


def quadratic_forms(points: Tensor, cuts: tuple[int, ...], labels: Tensor) -> Generator[float, None, Tensor]:
    """h' D h for every row h of labels and the distances over the first c columns, for each c in cuts.

    D is never held: a tile of it is made, used for all labels and dropped; the tiles below the diagonal are
    counted through their mirror images.

    Args:
        points: (n, n_columns); cuts: increasing column counts; labels: (n_labels, n).

    Yields:
        the fraction of the tiles done, after each.

    Returns:
        (n_tiles, n_cuts, n_labels), to be summed over the tiles in float64 (which some devices lack).
    """
    n = len(points)
    tiles = [(i, j) for i in range(0, n, TILE) for j in range(i, n, TILE)]
    sums = labels.new_zeros(len(tiles), len(cuts), len(labels))
    for done, (i, j) in enumerate(tiles):
        rows, columns = points[i : i + TILE], points[j : j + TILE]
        left, right = labels[:, i : i + TILE], labels[:, j : j + TILE]
        weight = 1.0 if i == j else 2.0
        square = torch.zeros(len(rows), len(columns), dtype=points.dtype, device=points.device)
        for column in range(points.shape[1]):
            difference = rows[:, column, None] - columns[None, :, column]
            square.addcmul_(difference, difference)
            if column + 1 in cuts:
                sums[done, cuts.index(column + 1)] = ((left @ square.sqrt()) * right).sum(dim=1) * weight
        yield (done + 1) / len(tiles)
    return sums


def directions(seed: int, n_columns: int) -> np.ndarray:
    """(N_DIRECTIONS, n_columns) unit vectors that cover the sphere of directions evenly, turned at random.

    Equal angles in the plane, a Fibonacci lattice on the half-sphere in space (both integrate |u.x| to about a per
    cent, where independent directions err by tens), orthonormal groups above.
    """
    generator = rng.host_generator(seed, Stream.PROJECTION, n_columns)
    middles = (np.arange(N_DIRECTIONS) + 0.5) / N_DIRECTIONS
    if n_columns == 2:
        even = np.stack([np.cos(np.pi * middles), np.sin(np.pi * middles)], axis=1)
    elif n_columns == 3:
        around = 2 * np.pi * GOLDEN * np.arange(N_DIRECTIONS)
        radius = np.sqrt(1 - middles**2)
        even = np.stack([radius * np.cos(around), radius * np.sin(around), middles], axis=1)
    else:
        n_groups = -(-N_DIRECTIONS // n_columns)
        groups = np.linalg.qr(generator.standard_normal((n_groups, n_columns, n_columns)))[0]
        even = groups.reshape(-1, n_columns)[:N_DIRECTIONS]
    turn = np.linalg.qr(generator.standard_normal((n_columns, n_columns)))[0]
    return (even @ turn).astype(np.float32)


def line(points: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """What `sliced_forms` needs of a cloud seen along one direction: its quantile bins and their distances.

        |x| = E_u |u.x| / c_d,   c_d = Gamma(d/2) / (sqrt(pi) Gamma((d + 1)/2)),   u uniform on the sphere

    Args:
        points: (n, d); direction: (d,) a unit vector.

    Returns:
        (n,) bin of each point; (n_bins - 1,) distances between the middles of neighbouring bins, over c_d.
    """
    n, d = points.shape
    n_bins = min(n, N_QUANTILES)
    place, order = torch.sort(points @ direction)
    ranked = torch.arange(n, device=points.device) * n_bins // n
    bins = torch.empty_like(ranked).scatter_(0, order, ranked)
    starts = torch.arange(n_bins + 1, device=points.device) * n // n_bins
    middles = place[(starts[:-1] + starts[1:]) // 2]
    factor = math.sqrt(math.pi) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    return bins.to(torch.int32), (middles[1:] - middles[:-1]) * factor


def sliced_forms(lines: list[list[tuple[Tensor, Tensor]]], labels: Tensor) -> Generator[float, None, Tensor]:
    """h' D h for every row h of labels (of sum zero), estimated from distances along lines.

        h' D_u h = -2 integral H(t)^2 dt,   H(t) = sum of h over the points with u.x <= t

    On a line the energy distance is twice Cramer's, here with H at the edges of quantile bins (in a small
    cloud every point is its own bin: then it is exact). The same lines serve all labels, so that this is a
    permutation test of the sliced statistic itself.

    Args:
        lines: for every direction, for every cut, what `line` gives; labels: (n_labels, n).

    Yields:
        the fraction done, after every few ms.

    Returns:
        (n_directions, n_cuts, n_labels), to be summed over the directions in float64.
    """
    n_labels, n = labels.shape
    n_rows = max(1, SLICE_ELEMENTS // n_labels)
    binned = [[labels.new_zeros(len(gaps) + 1, n_labels) for _, gaps in bundle] for bundle in lines]
    for first in range(0, n, n_rows):
        columns = labels[:, first : first + n_rows].T.contiguous()
        for number, bundle in enumerate(lines):
            for (bins, _), counts in zip(bundle, binned[number], strict=True):
                counts.index_add_(0, bins[first : first + n_rows], columns)
            yield (first + n_rows * (number + 1) / len(lines)) / (n + n_rows)
    sums = []
    for bundle, counts_of_bundle in zip(lines, binned, strict=True):
        forms = [
            gaps @ counts.cumsum(dim=0)[:-1].square_()
            for (_, gaps), counts in zip(bundle, counts_of_bundle, strict=True)
        ]
        sums.append(torch.stack(forms) * (-2.0 / len(lines)))
        yield 0.999
    return torch.stack(sums)


def _comparison(
    whole: np.ndarray,
    weights_alone: np.ndarray,
    n_bg: int,
    n_fg: int,
    eta_theta: float | None,
    method: str,
) -> Comparison:
    """Verdict and numbers from statistics whose first value is the observed one and the others the null."""
    distance, null, null_mean, null_95, p_value, ratio = _against_null(whole)
    why = why_no_verdict(n_bg, n_fg, len(null))
    distance_w, null_w, null_mean_w, null_95_w, p_value_w, ratio_w = _against_null(weights_alone)
    return Comparison(
        energy_distance=distance,
        null_mean=null_mean,
        null_95=null_95,
        null=null,
        p_value=p_value,
        ratio=ratio,
        verdict=None if why else judge(p_value, ratio, eta_theta),
        energy_distance_weights=distance_w,
        null_mean_weights=null_mean_w,
        null_95_weights=null_95_w,
        null_weights=null_w,
        p_value_weights=p_value_w,
        ratio_weights=ratio_w,
        n_background=n_bg,
        n_foreground=n_fg,
        n_permutations=len(null),
        method=method,
        why=why,
    )


def _against_null(values: np.ndarray) -> tuple[float, np.ndarray, float, float, float, float]:
    """Distance, null, its mean and 95 % quantile, p-value, ratio."""
    # Rounding may leave the distance of two equal clouds a hair below zero.
    distance, null = max(float(values[0]), 0.0), np.maximum(values[1:], 0.0)
    mean = float(null.mean())
    n_reached = int(np.count_nonzero(null >= distance - TIE * max(distance, mean)))
    p_value = (1 + n_reached) / (1 + len(null))
    return distance, null, mean, float(np.quantile(null, 0.95)), p_value, distance / mean if mean > 0 else 0.0
