"""Claims about `mft_engine.compare.clouds` and `.statistics`: the defined distance, an honest null, true errors."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine.compare import clouds as compare_module
from mft_engine.compare import distances
from mft_engine.compare.clouds import (
    Comparison,
    ComparisonError,
    compare,
    compare_clouds,
    fold,
)
from mft_engine.compare.rules import judge, smallest_p_value
from mft_engine.estimates import averaged
from mft_engine.points.statistics import function_alignment, order_parameters
from mft_engine.rng import Stream, host_generator

# Distances are float32 (6e-8 relative, random) and a tile's sum is too: a statistic is right to some 1e-6 of
# the mean distance over n, which is the size of the null.
RELATIVE = 2e-5


def draws(number: int = 0) -> np.random.Generator:
    return host_generator(11, Stream.TEST_POINTS, number)


def pair(n_bg: int, n_fg: int, n_columns: int = 3, shift: float = 0.0, number: int = 0) -> tuple:
    generator = draws(number)
    return generator.normal(size=(n_bg, n_columns)), shift + generator.normal(size=(n_fg, n_columns))


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    return float(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean())


def standardised(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = np.concatenate([x, y]).std(axis=0)
    return x / spread, y / spread


@pytest.mark.parametrize(("n_bg", "n_fg", "n_columns"), [(700, 700, 3), (40, 900, 3), (333, 50, 54), (1, 2, 2)])
def test_distance_is_the_definition_over_neurons_and_over_weights_alone(n_bg, n_fg, n_columns):
    x, y = pair(n_bg, n_fg, n_columns, shift=0.3)
    x, y = x * np.geomspace(0.1, 300, n_columns), y * np.geomspace(0.1, 300, n_columns)
    result = compare(x, y, n_columns - 1, n_permutations=99)
    x, y = standardised(x, y)
    tolerance = RELATIVE * result.null_mean
    assert result.energy_distance == pytest.approx(by_definition(x, y), abs=tolerance)
    assert result.energy_distance_weights == pytest.approx(by_definition(x[:, :-1], y[:, :-1]), abs=tolerance)
    assert (result.n_background, result.n_foreground, result.n_permutations) == (n_bg, n_fg, 99)


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    st.lists(st.floats(-50, 50), min_size=1, max_size=30),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("exact_limit", [0, 10_000])
def test_distance_on_a_line_is_twice_the_integral_of_the_squared_cdf_difference(exact_limit, first, second):
    x, y = np.array(first), np.array(second)
    spread = np.concatenate([x, y]).std()
    scale = 1.0 if spread <= 1e-12 * max(abs(x).max(), abs(y).max()) else spread
    places = np.sort(np.concatenate([x, y]))
    difference = [np.mean(x <= t) - np.mean(y <= t) for t in places[:-1]]
    integral = 2 * float(np.sum(np.diff(places) * np.square(difference))) / scale
    clouds = [np.stack([v, np.zeros_like(v)], axis=1) for v in (x, y)]
    result = compare(*clouds, 1, n_permutations=99, exact_limit=exact_limit)
    # 60 points of standardised size below 8: float32 rounding of each distance is below 5e-7.
    assert result.energy_distance_weights == pytest.approx(integral if scale != 1.0 else 0.0, abs=2e-6)
    if scale != 1.0:
        assert result.energy_distance_weights == pytest.approx(
            stats.energy_distance(x / scale, y / scale) ** 2, abs=2e-6
        )


@pytest.mark.parametrize("sizes", [(60, 60), (25, 80)])
def test_every_value_of_the_null_is_the_distance_of_two_reshuffled_clouds(sizes):
    n_bg, n_fg = sizes
    x, y = pair(n_bg, n_fg, shift=0.4)
    result = compare(x, y, 2, n_permutations=120, seed=5)
    labels = np.empty((121, n_bg + n_fg), dtype=np.float32)
    generator = host_generator(5, Stream.PERMUTATION)
    list(compare_module._fill_labels(labels, n_bg, n_fg, generator, has_observed=True))
    pool = np.concatenate(standardised(x, y))
    expected = [by_definition(pool[row > 0], pool[row < 0]) for row in labels[1:]]
    np.testing.assert_allclose(result.null, expected, rtol=0, atol=RELATIVE * result.null_mean)
    assert result.null_mean == pytest.approx(np.mean(expected), rel=RELATIVE)
    assert result.null_95 == pytest.approx(np.quantile(expected, 0.95), rel=RELATIVE)
    n_reached = np.count_nonzero(np.array(expected) >= result.energy_distance)
    assert result.p_value == (1 + n_reached) / 121
    assert result.ratio == result.energy_distance / result.null_mean


def test_permutations_are_uniform_over_the_splits():
    labels = np.empty((6000, 4), dtype=np.float32)
    list(compare_module._fill_labels(labels, 2, 2, host_generator(1, Stream.PERMUTATION), has_observed=False))
    splits, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(splits) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("exact_limit", [0, 10_000])
def test_p_values_are_uniform_when_the_laws_are_equal(exact_limit):
    n_repeats = 400
    p_values = [
        compare(*pair(24, 30, number=k), 2, n_permutations=99, seed=k, exact_limit=exact_limit).p_value
        for k in range(n_repeats)
    ]
    # p is uniform on 0.01, 0.02 .. 1: within 0.005 of a uniform number once shifted by half a step.
    # 1.95/sqrt(n) is the 0.1 % point of Kolmogorov and Smirnov's statistic.
    statistic = stats.kstest(np.array(p_values) - 0.005, "uniform").statistic
    assert statistic < 1.95 / math.sqrt(n_repeats) + 0.005


@pytest.mark.parametrize("exact_limit", [0, 10_000])
def test_a_shift_of_a_third_of_a_deviation_is_rejected_and_a_larger_one_is_inconsistent(exact_limit):
    # Shift s in each of 3 coordinates: Hotelling's statistic n s^2 3/2 = 50 at n = 300, against 11.3 at 1 %.
    small = compare(*pair(300, 300, shift=1 / 3), 2, n_permutations=499, exact_limit=exact_limit)
    large = compare(*pair(300, 300, shift=1.0), 2, n_permutations=499, exact_limit=exact_limit)
    assert small.p_value == large.p_value == 1 / 500
    assert large.ratio > small.ratio > 1
    assert large.verdict == "inconsistent"


def test_ratio_of_a_wrong_cloud_grows_like_the_number_of_neurons():
    ratios = [compare(*pair(n, n, shift=0.5), 2).ratio for n in (200, 1600)]
    # The relative deviation of E is about 2/(0.5 sqrt(3) sqrt(n)) = 16 % at n = 200, and E contains its null.
    assert ratios[1] / ratios[0] == pytest.approx(8, rel=0.5)


def test_units_of_a_coordinate_do_not_matter():
    x, y = pair(200, 150, shift=0.2)
    units, offsets = np.array([1e-6, 3.0, 1e5]), np.array([0.0, 10.0, -1e5])
    one, other = compare(x, y, 2, seed=3), compare(x * units + offsets, y * units + offsets, 2, seed=3)
    np.testing.assert_allclose(other.null, one.null, atol=RELATIVE * one.null_mean)
    assert other.energy_distance == pytest.approx(one.energy_distance, abs=RELATIVE * one.null_mean)


def test_a_constant_coordinate_changes_nothing():
    x, y = pair(100, 100, n_columns=2, shift=0.2)
    fixed = [np.column_stack([v, np.full(len(v), 0.1)]) for v in (x, y)]
    result = compare(*fixed, 2)
    assert result.energy_distance == result.energy_distance_weights
    np.testing.assert_array_equal(result.null, result.null_weights)


def test_permutations_that_tie_with_the_observed_split_count_as_reaching_it():
    x, y = np.array([[0.0, 0], [0.1, 0], [0.25, 0]]), np.array([[7.0, 0], [7.3, 0], [7.9, 0]])
    n_permutations = 2000
    p_value = compare(x, y, 1, n_permutations=n_permutations).p_value
    # Of the 20 splits only the observed one and its mirror image are this far apart.
    assert p_value == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / n_permutations))


def test_equal_clouds_and_clouds_of_one_point_are_consistent():
    x, _ = pair(50, 50)
    same = compare(x, x.copy(), 2)
    # 1e-7: rounding of the float32 sum whose terms cancel.
    assert (same.p_value, same.verdict) == (1.0, "consistent") and same.energy_distance < 1e-7
    point = compare(np.ones((5, 3)), np.ones((6, 3)), 2)
    assert (point.energy_distance, point.p_value, point.ratio, point.verdict) == (0.0, 1.0, 0.0, "consistent")


@pytest.mark.parametrize(
    ("p_value", "ratio", "eta_theta", "expected"),
    [
        (0.011, 9.0, None, "consistent"),
        (0.011, 9.0, 1.8, "consistent"),
        (0.5, 1.0, 1.81, "close"),
        (0.5, 4.0, 1.81, "inconsistent"),
        (0.01, 3.9, 1.0, "close"),
        (0.01, 4.0, 1.0, "inconsistent"),
        (0.5, 1.0, math.nan, "consistent"),
    ],
)
def test_verdict_follows_its_table(p_value, ratio, eta_theta, expected):
    assert judge(p_value, ratio, eta_theta) == expected


def test_an_unstable_step_forbids_the_verdict_consistent():
    clouds = pair(100, 100)
    assert compare(*clouds, 2, eta_theta=1.7).verdict == "consistent"
    assert compare(*clouds, 2, eta_theta=1.9).verdict == "close"


def flipped(theta: np.ndarray, parity: str, number: int) -> np.ndarray:
    sign = draws(number).choice([-1.0, 1.0], size=(len(theta), 1))
    return np.concatenate([sign * theta[:, :2], (sign if parity == "odd" else 1.0) * theta[:, 2:]], axis=1)


@pytest.mark.parametrize("parity", ["odd", "even"])
def test_neurons_that_the_activation_cannot_tell_apart_compare_as_equal(parity):
    x, y = pair(150, 150, shift=0.5)
    first = compare(x, y, 2, parity=parity)
    other = compare(flipped(x, parity, 1), flipped(y, parity, 2), 2, parity=parity)
    assert other.energy_distance == first.energy_distance
    np.testing.assert_array_equal(other.null, first.null)
    unfolded = compare(x, flipped(x, parity, 3), 2)
    assert unfolded.energy_distance > 0
    # 1e-7 as for equal clouds above.
    assert compare(x, flipped(x, parity, 3), 2, parity=parity).energy_distance < 1e-7


def test_fold_keeps_the_function_of_a_neuron_and_leaves_its_argument_alone():
    theta, _ = pair(100, 1)
    before = theta.copy()
    inputs = draws(5).normal(size=(2, 7))
    for parity, phi in (("odd", np.tanh), ("even", np.square)):
        folded = fold(theta, 2, parity)
        np.testing.assert_allclose(
            folded[:, 2:] * phi(folded[:, :2] @ inputs), theta[:, 2:] * phi(theta[:, :2] @ inputs), rtol=1e-14
        )
        assert (folded[:, 0] + folded[:, 1] / 8 >= 0).all()
        assert (folded != theta).any()
    np.testing.assert_array_equal(fold(theta, 2, "none"), theta)
    np.testing.assert_array_equal(theta, before)


def test_lumps_on_the_axes_stay_whole_when_folded():
    centres = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]]).repeat(50, axis=0)
    theta = np.column_stack([centres + 0.01 * draws(6).normal(size=(200, 2)), np.ones(200)])
    folded = fold(theta, 2, "even")
    # Two lumps of radius below 0.06 at (0, 1) and (1, 0) are left.
    distance = np.minimum(np.hypot(folded[:, 0], folded[:, 1] - 1), np.hypot(folded[:, 0] - 1, folded[:, 1]))
    assert distance.max() < 0.06


@pytest.mark.parametrize("n_columns", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_directions_give_the_length_of_any_vector_within_a_few_per_cent(n_columns, seed):
    vectors = draws(12).normal(size=(500, n_columns))
    lengths = np.abs(vectors @ distances.directions(seed, n_columns).T).mean(axis=1)
    # E|u.x| = |x| c_d with c_2 = 2/pi, c_3 = 1/2. 48 even angles are 3.75 degrees apart: (pi/48)^2/8 = 0.05 %; on the
    # half-sphere the spacing is 21 degrees, and the kink of |u.x| costs its square, 0.36^2/4 = 3 %, at the worst.
    worst = np.abs(lengths / (np.linalg.norm(vectors, axis=1) * {2: 2 / np.pi, 3: 0.5}[n_columns]) - 1).max()
    assert worst < {2: 1e-3, 3: 0.03}[n_columns]


@pytest.mark.parametrize("n_columns", [3, 6])
def test_sliced_distance_estimates_the_exact_one(n_columns):
    x, y = pair(1500, 1500, n_columns, shift=0.5)
    exact, sliced = (compare(x, y, n_columns - 1, exact_limit=limit) for limit in (10_000, 100))
    # A shift s gives E_u proportional to (u.s)^2 up to saturation: even directions integrate that to some per cent;
    # in 6 columns (u.s)^2 has a relative deviation of 1.1, over 48 independent directions 16 %, here at 3 deviations.
    # The null is shared by all directions.
    assert sliced.energy_distance == pytest.approx(exact.energy_distance, rel=0.05 if n_columns == 3 else 0.48)
    assert sliced.null_mean == pytest.approx(exact.null_mean, rel=0.05)
    assert exact.method == "exact" and sliced.method.startswith("sliced along 48 directions")


def test_quantile_bins_change_a_distance_by_less_than_a_thousandth(monkeypatch):
    x, y = pair(4000, 4000, shift=0.2)
    values = []
    for n_quantiles in (1024, 8000):
        monkeypatch.setattr(distances, "N_QUANTILES", n_quantiles)
        values.append(compare(x, y, 2, n_permutations=99, exact_limit=0).energy_distance)
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_more_neurons_than_the_limit_are_compared_by_the_first_ones_and_the_method_says_so(monkeypatch):
    monkeypatch.setattr(compare_module, "SLICED_LIMIT", 80)
    x, y = pair(100, 70)
    result = compare(x, y, 2, exact_limit=50)
    assert (result.n_background, result.n_foreground) == (80, 70)
    assert "the first 80 neurons" in result.method
    np.testing.assert_array_equal(result.null, compare(x[:80], y, 2, exact_limit=50).null)


def test_permutations_depend_neither_on_their_number_nor_on_the_memory_at_hand(monkeypatch):
    clouds = pair(700, 650)
    many = compare(*clouds, 2, n_permutations=300, seed=2)
    few = compare(*clouds, 2, n_permutations=150, seed=2)
    monkeypatch.setattr(compare_module, "PERMUTATIONS_A_PASS", {True: 64, False: 64})
    passes = compare(*clouds, 2, n_permutations=300, seed=2)
    tolerance = RELATIVE * many.null_mean
    np.testing.assert_allclose(few.null, many.null[:150], atol=tolerance)
    np.testing.assert_allclose(passes.null, many.null, atol=tolerance)
    assert np.abs(compare(*clouds, 2, n_permutations=300, seed=3).null - many.null).max() > 100 * tolerance


def test_tensors_and_arrays_and_repeats_give_the_same_bits():
    x, y = (v.astype(np.float32) for v in pair(100, 120))
    first, second = compare(x, y, 2), compare(torch.from_numpy(x), torch.from_numpy(y), 2)
    assert first.to_dict() == second.to_dict()
    np.testing.assert_array_equal(first.null, second.null)


@pytest.mark.parametrize("exact_limit", [0, 10_000])
def test_progress_rises_from_nothing_to_the_answer_in_many_slices(exact_limit):
    *fractions, last = compare_clouds(*pair(1500, 1500), 2, exact_limit=exact_limit)
    assert isinstance(last, Comparison)
    assert fractions[0] == 0.0 and fractions[-1] < 1.0
    assert all(a <= b for a, b in itertools.pairwise(fractions))
    # 15 tiles on or above the diagonal, or one slice a direction.
    assert len(set(fractions)) >= 15


def test_work_runs_on_any_device():
    with FakeTensorMode():
        points, labels = torch.empty(1500, 3, device="meta"), torch.empty(20, 1500, device="meta")
        for work in (
            distances.quadratic_forms(points, (2, 3), labels),
            distances.sliced_forms(
                [[distances.line(points[:, :c], torch.empty(c, device="meta")) for c in (2, 3)]], labels
            ),
        ):
            try:
                while True:
                    assert isinstance(next(work), float)
            except StopIteration as end:
                assert end.value.device.type == "meta"
                assert end.value.shape[1:] == (2, 20)


MEMORY_PROBE = """
import threading, psutil, torch
torch.set_num_threads(1)
from mft_engine.compare import clouds as compare
from mft_engine.rng import Stream, normal
def cloud(n, step):
    return normal(1, Stream.TEST_POINTS, step, n, 3, device="cpu")
compare.compare(cloud(500, 0), cloud(500, 1), 2)
rss, over = [psutil.Process().memory_info().rss], threading.Event()
def watch():
    while not over.wait(0.002):
        rss.append(psutil.Process().memory_info().rss)
watcher = threading.Thread(target=watch)
watcher.start()
for fraction in compare.compare_clouds(cloud({n}, 2), cloud({n}, 3), 2):
    if fraction > {until}: break
over.set()
watcher.join()
print((max(rss) - rss[0]) / 2**20)
"""


@pytest.mark.parametrize(("n", "until"), [(20_000, 0.12), (60_000, 0.15)])
def test_large_clouds_take_less_than_half_a_gigabyte(n, until):
    # Labels, tile and sums (or bins) are all held by then; the rest of the work repeats.
    probe = MEMORY_PROBE.replace("{n}", str(n)).replace("{until}", str(until))
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    peak = float(answer.stdout)
    # The labels alone are 20,000 x 2 x 501 x 4 bytes = 76 MB: less would mean that nothing was measured.
    assert 50 < peak < 500


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (np.zeros((0, 3)), np.zeros((4, 3)), {}, "at least one neuron"),
        (np.zeros((4, 3)), np.zeros((4, 4)), {}, "same columns"),
        (np.zeros((4, 2)), np.zeros((4, 2)), {}, "a readout"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), {}, "not finite"),
        (np.zeros((4, 3)), np.zeros((4, 3)), {"n_permutations": 98}, "at least 99"),
    ],
)
def test_clouds_that_cannot_be_compared_are_refused_in_a_sentence(x, y, options, words):
    with pytest.raises(ComparisonError, match=words):
        compare(x, y, 2, **options)


def test_json_holds_plain_numbers_and_null_for_what_is_unknown():
    result = compare(*pair(30, 30), 2)
    assert "NaN" not in json.dumps(result.to_dict())
    assert result.to_dict()["function_alignment"] is None and "null" not in result.to_dict()
    known = result.with_functions(
        function_alignment=0.9, background_loss=0.3, foreground_loss=0.4, expected_loss_difference=0.1
    ).to_dict()
    assert (known["function_alignment"], known["expected_loss_difference"]) == (0.9, 0.1)
    assert known["energy_distance"] == result.energy_distance


def test_order_parameters_are_means_over_neurons_with_their_standard_error():
    n = 4000
    angle = draws(7).uniform(-math.pi, math.pi, n)
    radius = draws(8).uniform(0.1, 3, n)
    round_cloud = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(n)])
    for estimate in order_parameters(round_cloud, 2).values():
        # cos^2 averages to 1/2; the spread of its own mean over 4000 neurons is 0.8 %, here at 4 deviations.
        assert estimate.standard_error == pytest.approx(math.sqrt(0.5 / n), rel=0.035)
        assert abs(estimate.mean) < 4 * estimate.standard_error
    corners = np.array([[1.0, 1, 0], [-2, 2, 0], [-3, -3, 0], [4, -4, 0]])
    estimates = order_parameters(torch.from_numpy(corners), 2)
    clover = {name: estimate.mean for name, estimate in estimates.items()}
    assert clover == pytest.approx({"cos2": 0, "cos3": 0, "cos4": -1, "cos6": 0, "cos8": 1}, abs=1e-12)
    assert order_parameters(np.zeros((5, 4)), 3) == {}
    assert math.isnan(order_parameters(np.ones((1, 3)), 2)["cos4"].standard_error)


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.9])
def test_error_of_an_autocorrelated_mean_is_its_true_spread(memory):
    n, n_series = 4000, 200
    noise = draws(9).normal(size=(n_series, n))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / math.sqrt(1 - memory**2)
    for k in range(1, n):
        series[:, k] = memory * series[:, k - 1] + noise[:, k]
    estimates = [averaged(row) for row in series]
    exact = 1 / (1 - memory) / math.sqrt(n)
    # One error estimate has a relative deviation of about sqrt(10 tau/n)/2 (11 % for tau = 19), their mean over
    # 200 series 1 %, with a bias of some tau/n = 0.5 %. The deviation of 200 scores is 1 within 4/sqrt(400).
    assert np.mean([e.standard_error for e in estimates]) == pytest.approx(exact, rel=0.05)
    scores = [e.mean / e.standard_error for e in estimates]
    assert np.std(scores) == pytest.approx(1, abs=0.2)


def test_averages_of_short_or_constant_or_broken_series_say_what_they_can():
    assert averaged([2.0, 2.0, 2.0]) == (2.0, 0.0)
    assert averaged([3.0]).mean == 3.0 and math.isnan(averaged([3.0]).standard_error)
    with pytest.raises(ValueError, match="finite"):
        averaged([1.0, math.nan])
    with pytest.raises(ValueError, match="at least one"):
        averaged([])


def test_function_alignment_is_the_weighted_cosine():
    weights = np.array([0.5, 0.25, 0.25])
    f, g = np.array([1.0, 2.0, 0.0]), np.array([1.0, 0.0, -2.0])
    # E fg = 0.5, E f^2 = E g^2 = 1.5.
    assert function_alignment(torch.from_numpy(f), g, weights) == pytest.approx(1 / 3, rel=1e-15)
    assert function_alignment(f, -3 * f, weights) == pytest.approx(-1, rel=1e-15)
    assert math.isnan(function_alignment(f, 0 * f, weights))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_neurons_too_few_for_any_p_value_to_fall_below_the_level_get_no_verdict(n):
    """Of C(2n, n) exchanges two leave the clouds apart as they are: with n = 4 a p-value of 2/70 at the least."""
    far = np.full((n, 3), 100.0) + np.arange(n)[:, None]
    found = compare(np.zeros((n, 3)) + np.arange(n)[:, None], far, 2, n_permutations=99)
    assert found.verdict is None and found.to_dict()["verdict"] is None
    assert f"{n} background and {n} foreground neurons are too few" in found.why and "5 on each side" in found.why


def test_five_neurons_a_side_can_be_told_apart():
    near, far = np.arange(15.0).reshape(5, 3), 1000 + np.arange(15.0).reshape(5, 3)
    found = compare(near, far, 2, n_permutations=999)
    assert found.verdict == "inconsistent" and found.why == ""
    # Half of all p-values of such clouds lie below 2/252: the level is reached, not only allowed.
    assert smallest_p_value(5, 5, 10**6) == pytest.approx(2 / 252)
    assert smallest_p_value(1, 2048, 500) == pytest.approx(1 / 501)
