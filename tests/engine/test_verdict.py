"""Claims about verdicts: too little to say, what differs, which neurons, and an upper bound of the distance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mft_engine.compare.averages import AveragesTest, Statistic
from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.resolution import Resolution
from mft_engine.rng import Stream, host_generator


def draws(number: int, n: int, n_columns: int = 3) -> np.ndarray:
    return host_generator(29, Stream.TEST_POINTS, number).normal(size=(n, n_columns))


def averages(p_value: float, outliers: tuple[int, ...] = ()) -> AveragesTest:
    statistics = (
        Statistic("norm", "mean length |w|", 0.7, 0.75, 0.01, 5e-7),
        Statistic("cos2", "mean cos 2θ", 0.0, 0.01, 0.01, 0.3),
    )
    return AveragesTest(statistics, 20.0, 17, p_value, 0.01, np.array(outliers, dtype=np.int64))


def judged(x: np.ndarray, y: np.ndarray, p_averages: float = 0.5, **options) -> Comparison:
    return compare(x, y, 2, **options).with_averages(averages(p_averages), Resolution())


@pytest.mark.parametrize("n_permutations", [99, 198])
def test_permutations_too_few_for_half_of_the_level_give_no_verdict_and_say_how_many_do(n_permutations):
    """Beside averages the distance is tested at 0.005, and 1/(1 + 198) lies above: 5 standard deviations passed."""
    found = judged(draws(0, 300), draws(1, 300) + 5.0, n_permutations=n_permutations)
    assert found.verdict is None and found.to_dict()["verdict"] is None
    assert f"{n_permutations} random exchanges are too few" in found.why and "199" in found.why


def test_one_hundred_and_ninety_nine_permutations_can_say_no_beside_averages():
    found = judged(draws(0, 300), draws(1, 300) + 5.0, n_permutations=199)
    assert found.p_value_all == 0.01 and found.verdict == "inconsistent" and found.why == ""
    assert judged(draws(0, 300), draws(1, 300), n_permutations=199).verdict == "consistent"


def test_averages_that_say_no_need_no_permutations():
    found = judged(draws(0, 300), draws(1, 300), 1e-6, n_permutations=99)
    assert found.verdict == "close" and found.why == "" and found.p_value_all == 2e-6
    # Without averages the distance has the whole level, and 99 exchanges reach it.
    assert compare(draws(0, 300), draws(1, 300) + 5.0, 2, n_permutations=99).verdict == "inconsistent"


def test_what_differs_most_between_two_clouds_is_told_where_they_are_rejected():
    x, y = draws(0, 600), draws(1, 600)
    assert compare(x, y, 2).what_differs == ""
    x[:, 1] *= 2.0
    found = compare(x, y, 2, names=("w1", "w2", "a"))
    assert found.verdict != "consistent" and "spread of w2" in found.what_differs and "larger" in found.what_differs
    assert found.to_dict()["largest_difference"] == found.what_differs
    shifted = compare(draws(0, 600) - np.array([0, 0, 0.4]), y, 2)
    assert "mean of a" in shifted.what_differs and "smaller" in shifted.what_differs
    turned = draws(0, 600)
    turned[:, 1] = 0.8 * turned[:, 0] + 0.6 * turned[:, 1]
    assert "w1 and w2" in compare(turned, y, 2).what_differs


def test_neurons_that_make_the_difference_are_numbered_worst_first():
    """A tenth lies 4 standard deviations away: of the 50 named at least 45 are among them (witness, by definition)."""
    x, y = draws(0, 600), draws(1, 600)
    x[100:160, 0] += 4.0
    found = compare(x, y, 2)
    named = set(found.outliers.tolist())
    assert len(found.outliers) == 50 and len(named & set(range(100, 160))) >= 45
    assert found.to_dict()["outliers"] == found.outliers.tolist()
    pool = np.vstack([x, y])
    points = (pool - pool.mean(axis=0)) / pool.std(axis=0)
    witness = cdist(points[:600], points[600:]).mean(axis=1) - cdist(points[:600], points[:600]).mean(axis=1)
    assert named == set(np.argsort(-witness)[:50].tolist())
    assert compare(draws(0, 600), y, 2).outliers.size == 0


def test_where_the_averages_say_no_their_neurons_and_their_sentence_are_told():
    x, y = draws(0, 300), draws(1, 300)
    found = compare(x, y, 2).with_averages(averages(1e-8, (7, 3)), Resolution())
    assert found.suspects.tolist() == [7, 3] and found.to_dict()["outliers"] == [7, 3]
    assert "mean length |w| is 0.7, smaller" in found.what_differs
    passed = compare(x, y, 2).with_averages(averages(0.4, (7, 3)), Resolution())
    assert passed.suspects.size == 0 and passed.to_dict()["outliers"] == []


def test_the_upper_bound_of_the_distance_holds_in_at_least_95_of_100_draws():
    """Law against law: two Gaussians 0.3 apart in one coordinate; their true distance is measured on 2 x 6,000."""
    shift = np.array([0.3, 0.0, 0.0])
    large = compare(draws(100, 6000), draws(101, 6000) + shift, 2, n_permutations=99)
    true = large.energy_distance - large.null_mean
    found = [compare(draws(2 * k, 200), draws(2 * k + 1, 200) + shift, 2, n_permutations=99) for k in range(40)]
    # At a coverage of 95 % all but 5 of 40 hold with probability .97; the triangle inequality makes it larger still.
    assert sum(one.distance_upper >= true for one in found) >= 36
    assert all(one.distance_upper >= one.energy_distance for one in found)
    # It shrinks with the number of neurons, as 1/n where the laws agree.
    few, many = (compare(draws(0, n), draws(1, n), 2, n_permutations=99).distance_upper for n in (200, 3200))
    assert many < 0.25 * few


def test_a_stored_comparison_keeps_neurons_and_sentence():
    found = compare(draws(0, 300) * 1.3, draws(1, 300), 2)
    again = replace(found)
    assert again.to_dict() == found.to_dict() and isinstance(found.difference, str)
