"""Claims about the test of moments between two clouds of which no law is known: level, power, words, resolution."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.moments import with_moments
from mft_engine.compare.pooling import pool
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs.compare import compare_any
from mft_engine.runs.runs import load, run_stored

NAMES = ("w1", "w2", "a")


def draws(number: int, n: int = 150) -> np.ndarray:
    """Correlated, with heavy tails: nothing that the test's chi^2 would be right for."""
    x = host_generator(37, Stream.TEST_POINTS, number).standard_t(5, size=(n, 3))
    x[:, 1] += 0.5 * x[:, 0]
    return x


@cache
def distance(number: int, n: int = 150) -> Comparison:
    return compare(draws(2 * number, n), draws(2 * number + 1, n), 2, n_permutations=199, seed=number)


def test_the_level_of_the_moments_is_that_of_their_exchanges():
    """150 pairs at 5 %: 7.5 expected with an error of 2.7, so 17 or more in one of 1,000."""
    rejected = 0
    for k in range(150):
        test = with_moments(distance(0), draws(2 * k), draws(2 * k + 1), 2, NAMES, seed=k).averages
        assert test is not None
        rejected += test.p_value <= 0.05
    assert rejected <= 16


def test_a_wider_column_that_the_distance_passes_is_noticed_and_told():
    x, y = draws(0, 600), draws(1, 600)
    x[:, 1] *= 1.3
    alone = compare(x, y, 2, names=NAMES)
    found = with_moments(alone, x, y, 2, NAMES)
    assert alone.verdict == "consistent" and found.verdict != "consistent" and found.p_value_all <= 0.01
    assert "mean square deviation of w2" in found.what_differs and "larger" in found.what_differs
    assert "its counterpart" in found.what_differs
    # Neurons far out along w2 speak for it.
    assert np.abs(x[found.suspects[:20], 1]).mean() > 2 * np.abs(x[:, 1]).mean()


def test_the_stated_resolution_of_the_moments_is_right():
    """Twice the stated size is found in all of 10 pairs; half of it in at most 7, being found in some 15 of 100."""
    stated = with_moments(distance(0, 600), draws(0, 600), draws(1, 600), 2, NAMES).resolution
    for kind, columns in (("weight_scale", slice(0, 2)), ("readout_scale", slice(2, 3))):
        size = getattr(stated, kind)
        found = {2.0: 0, 0.5: 0}
        for k in range(10):
            for factor in found:
                x = draws(2 * k, 600)
                x[:, columns] *= 1 + factor * size
                test = with_moments(distance(0, 600), x, draws(2 * k + 1, 600), 2, NAMES, seed=k).averages
                found[factor] += test.p_value <= 0.005
        assert found[2.0] >= 9 and found[0.5] <= 7, (kind, size, found)


def test_clouds_with_too_few_neurons_for_their_columns_are_left_to_the_distance():
    few = distance(0, 100)
    assert with_moments(few, draws(0, 100), draws(1, 100), 2, NAMES) is few
    # 99 exchanges can say no at the whole level alone: shared, neither test could.
    coarse = compare(draws(0), draws(1) + 5.0, 2, n_permutations=99)
    assert with_moments(coarse, draws(0), draws(1) + 5.0, 2, NAMES) is coarse and coarse.verdict == "inconsistent"


def test_two_stored_runs_of_one_recipe_agree_and_one_at_another_temperature_is_told_apart(tmp_path):
    def run(seed: int, temperature: float):
        recipe = load_recipe("clover").replace({
            "seed": seed, "network.n_neurons": 400, "foreground.n_neurons": 100, "foreground.method": "gibbs",
            "training.dynamics": "gibbs", "training.n_steps": 100, "training.temperature": temperature,
        })  # fmt: skip
        return load(run_stored(recipe, tmp_path).folder)

    first = run(0, 0.02)
    (same,), (hotter,) = compare_any(first, run(1, 0.02)), compare_any(first, run(0, 0.03))
    assert same.verdict == "consistent" and same.averages is not None
    assert hotter.verdict != "consistent" and hotter.what_differs


def test_moments_of_several_pairs_are_pooled_to_the_level_and_see_more_together():
    def pair(k: int, factor: float = 1.0) -> Comparison:
        return with_moments(distance(0), draws(2 * k) * [1, 1, factor], draws(2 * k + 1), 2, NAMES, seed=k)

    right = [pool([pair(4 * j + k) for k in range(4)]).p_value_averages for j in range(40)]
    # 2 expected at 5 %, so 8 or more in one of 1,000.
    assert sum(p <= 0.05 for p in right) <= 7
    wider = [pair(k, 1.25) for k in range(16)]
    together = pool(wider)
    assert together.n_rejected < 12 and together.p_value < 1e-6 and "of a" in together.largest_difference


def test_runs_pooled_resolve_what_the_root_of_their_number_times_smaller_differs() -> None:
    own, other = (host_generator(5, Stream.TEST_POINTS, k).normal(size=(400, 3)) + 1.0 for k in range(2))
    found = compare(own, other, 2, n_permutations=199)
    one, four = (with_moments(found, own, other, 2, NAMES, n_pooled=n).resolution for n in (1, 4))
    assert one is not None and four is not None
    # Linear but for a few per cent: mean squares change by (1 + s)^2.
    assert four.weight_scale == pytest.approx(one.weight_scale / 2, rel=0.1)
    assert four.readout_scale == pytest.approx(one.readout_scale / 2, rel=0.1)
