"""Is the foreground distributed like the background? Energy distance of two clouds and its permutation null.

The O(n^2) work is cut into tiles and told as a generator, so that a window can show its progress and stop it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.compare.averages import AveragesTest
from mft_engine.compare.differences import standing_out, what_differs
from mft_engine.compare.distances import N_DIRECTIONS, SLICE_ELEMENTS, directions, line, quadratic_forms, sliced_forms
from mft_engine.compare.resolution import Resolution
from mft_engine.compare.rules import (
    AVERAGES_LEVEL,
    ONE_MOMENT,
    P_VALUE_LIMIT,
    Verdict,
    judge,
    verdict_clause,
    why_no_verdict,
)
from mft_engine.curves import Parity
from mft_engine.network.two_layer import column_names
from mft_engine.points.statistics import host_array
from mft_engine.rng import Stream
from mft_engine.slices import relayed

Theta = Tensor | np.ndarray
Forms = Callable[[Tensor], Generator[float, None, Tensor]]

# (1 + 0)/(1 + 99) = 0.01 is the first p-value that can reject.
MIN_PERMUTATIONS = 99

# Neurons a cloud beyond which the distance is sliced: exact work grows as n^2, a minute of one thread there.
EXACT_LIMIT = 30_000
# Neurons are exchangeable, so the first ones stand for all; this many resolve more than any sampler holds.
SLICED_LIMIT = 100_000
# Labels (permutations x neurons) held at once (80 MB), and permutations a pass over the distances (exact, or
# sliced, where the bins of a whole pass are kept: 0.4 MB a permutation).
MAX_LABELS = 20_500_000
PERMUTATIONS_A_PASS = {True: 512, False: 128}
# float32 distances reproduce a statistic to about 3e-6: a permutation so near to the observed value is a tie.
TIE = 1e-5


class ComparisonError(ValueError):
    """Clouds that cannot be compared; the message says why."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """Background against foreground: distance, null, verdict, and the numbers that stand beside it.

    Fields named `..._weights` are of the input weights w alone, the others of (w, a). A ratio below 1 is
    normal: neurons of a background repel and lie more regularly than an independent sample.

    Attributes:
        energy_distance: 2 E|X-Y| - E|X-X'| - E|Y-Y'|, diagonal included, in pooled standard deviations.
        null, null_weights: (n_permutations,) the same after exchanging neurons at random between the clouds.
        null_mean, null_95: of `null`; p_value = (1 + #{null >= distance})/(1 + n_permutations).
        ratio: energy_distance / null_mean.
        p_value_all: min(1, 2 min(p_value, that of the averages or of the ways)), p_value alone where there are neither;
            that of the averages alone in the field of one moment, whose noise pulls the clouds apart
            (`is_of_one_moment`).
        averages: the quadratic test of the averages that the field suggests; resolution: what would have been noticed.
        way: how far each neuron has come from its start, compared; where neurons were followed, in place of averages.
        verdict: consistent if p_value_all > 0.01 (unless eta_theta > 1.8), else close if ratio < 4, else not; None
            where there are too few neurons or permutations for any p_value to fall that low, and `why` says so.
        difference: what differs most between the clouds, a sentence; outliers: (n_shown,) numbers of the background's
            neurons that make the distance, worst first. Both empty where the distance alone does not say no.
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
    difference: str = ""
    outliers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    way: Comparison | None = None

    @property
    def decisive(self) -> Comparison:
        """The test that speaks more against one law: where the neurons are, or how far each has come."""
        if self.way is None:
            return self
        return min((self, self.way), key=lambda test: (test.p_value, -test.ratio))

    @property
    def is_by_averages(self) -> bool:
        """Whether `p_value_all` is that of the averages; else it is that of the distance."""
        return self.averages is not None and (self.is_of_one_moment or self.averages.p_value < self.p_value)

    @property
    def what_differs(self) -> str:
        """What differs most, in a sentence; empty where nothing was noticed."""
        if self.is_of_one_moment:  # it would be the noise of that moment
            return ""
        if self.way is not None:
            return self.decisive.difference if self.p_value_all <= P_VALUE_LIMIT else ""
        if self.averages is not None and self.is_by_averages:
            told = self.averages.largest_difference or self.difference or self.averages.together
            return told if self.p_value_all <= P_VALUE_LIMIT else ""
        return self.difference

    @property
    def suspects(self) -> np.ndarray:
        """(n_shown,) numbers of the background's neurons that speak most for the difference, worst first."""
        if self.is_of_one_moment:
            return self.outliers[:0]
        if self.averages is not None and self.is_by_averages:
            return self.averages.outliers if self.p_value_all <= P_VALUE_LIMIT else self.outliers[:0]
        if self.way is not None:
            return self.decisive.outliers if self.p_value_all <= P_VALUE_LIMIT else self.outliers[:0]
        return self.outliers

    @property
    def distance_upper(self) -> float:
        """The laws' own energy distance lies below in at least 95 of 100 draws, in pooled standard deviations.

        Its root is a norm, so that the laws are no farther apart than the samples and their noise together:
        sqrt(D) <= sqrt(distance) + sqrt(null_95).
        """
        return (math.sqrt(max(0.0, self.energy_distance)) + math.sqrt(self.null_95)) ** 2

    @property
    def p_value_all(self) -> float:
        """Of distance and averages (or ways) together, each tested at half of the level (Bonferroni)."""
        second = self.averages if self.way is None else self.way
        if second is None:
            return self.p_value
        return second.p_value if self.is_of_one_moment else min(1.0, 2.0 * min(self.p_value, second.p_value))

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
        if self.why:
            return both
        verdict = judge(both.p_value_all, self.ratio, eta_theta)
        if is_of_one_moment and verdict != "consistent":
            return replace(both, verdict=None, why=ONE_MOMENT, difference="", outliers=self.outliers[:0])
        # "Consistent" needs a distance that could have said no at its half of the level.
        why = why_no_verdict(self.n_background, self.n_foreground, self.n_permutations, AVERAGES_LEVEL)
        if why and verdict == "consistent" and not is_of_one_moment:
            return replace(both, verdict=None, why=why)
        if is_of_one_moment or self.p_value > AVERAGES_LEVEL:  # no evidence at half of the level
            both = replace(both, difference="", outliers=self.outliers[:0])
        return replace(both, verdict=verdict)

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

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>"

    def __repr__(self) -> str:
        """The verdict, what would have been noticed, and what differs; a notebook shows it."""
        told = verdict_clause(self.verdict, self.p_value_all, self.decisive.ratio, self.why)
        noticed = "" if self.resolution is None or self.verdict != "consistent" else self.resolution.words
        told += f"; would have noticed {noticed}" if noticed else ""
        return told + (f". {self.what_differs}" if self.what_differs else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the null arrays; a number that is not finite becomes None."""
        values = {
            row.name: getattr(self, row.name)
            for row in fields(self)
            if not isinstance(getattr(self, row.name), np.ndarray)
            and row.name not in ("averages", "resolution", "difference", "way")
        }
        test = self.averages
        values |= {
            "p_value_all": self.p_value_all,
            "p_value_averages": None if test is None else test.p_value,
            "p_value_way": None if self.way is None else self.way.p_value,
            "ratio_way": None if self.way is None else self.way.ratio,
            "statistics": [] if test is None else [statistic.to_dict() for statistic in test.statistics],
            "resolution": asdict(self.resolution) if self.resolution is not None else None,
            "kl_upper": None if test is None else test.kl_upper,
            "distance_upper": self.distance_upper,
            "largest_difference": self.what_differs or None,
            "outliers": self.suspects.tolist(),
        }
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }


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
    names: Sequence[str] | None = None,
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
        names: of the columns, for the sentence that says what differs; w1 .. wd and a by default.

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
        passed = yield from relayed(work, functools.partial(_share_done, number, len(passes)))
        values.append(host_array(passed).sum(axis=0))
    scale = -(((n_bg + n_fg) / (n_bg * n_fg)) ** 2)
    weights_alone, whole = np.concatenate(values, axis=1) * scale
    found = _comparison(whole, weights_alone, n_bg, n_fg, eta_theta, method)
    if found.p_value <= P_VALUE_LIMIT:
        own, other = (fold(host_array(cloud), n_inputs, parity) for cloud in (background, foreground))
        names = column_names(n_inputs, points.shape[1] - n_inputs) if names is None else names
        found = replace(found, difference=what_differs(own, other, names), outliers=standing_out(points, n_bg))
    yield found


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


def _share_done(number: int, n_passes: int, done: float) -> float:
    """Of all passes, with some of one done."""
    return min((number + 0.1 + 0.9 * done) / n_passes, 0.999)
