"""Neurons that were followed are compared by where they are and by how far each has come, in replays as in watches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mft_engine as mft
from mft_engine.cli.reporting import describe_run
from mft_engine.compare.clouds import compare
from mft_engine.compare.paths import compare_followed, compare_paths
from mft_engine.compare.pooling import fisher, pool
from mft_engine.runs.runs import load

SMALL = {"network.n_neurons": 256, "foreground.n_neurons": 256, "training.n_steps": 40, "engine.device": "cpu"}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> mft.Run:
    recipe = mft.load_recipe("sgd-clover-replay").replace(SMALL)
    return mft.run(recipe, tmp_path_factory.mktemp("runs"))


def test_a_replay_is_tested_as_riders_are(replayed: mft.Run) -> None:
    found = replayed.outcome.comparison
    assert found is not None and found.way is not None and found.averages is None
    assert found.p_value_all == min(1.0, 2.0 * min(found.p_value, found.way.p_value))
    assert found.resolution is not None and found.resolution.prior_share is not None
    told = replayed.summary["comparison"]
    assert told["p_value_way"] == found.way.p_value and told["verdict"] == found.verdict
    assert "with their ways p" in describe_run(replayed.summary)


def test_a_stored_replay_keeps_its_ways_and_gives_the_same_verdict(replayed: mft.Run) -> None:
    found, stored = replayed.outcome.comparison, load(replayed.folder).comparison
    assert found is not None and stored is not None and found.way is not None and stored.way is not None
    assert np.array_equal(stored.way.null, found.way.null) and stored.resolution == found.resolution
    again = mft.verdict(replayed, seed=replayed.outcome.recipe.seed)
    assert (again.verdict, again.p_value_all) == (found.verdict, found.p_value_all)
    # Of given clouds nobody knows where they began.
    assert mft.verdict(replayed, background=replayed.outcome.background.theta[:200]).way is None


def test_where_a_law_is_known_averages_stand_beside_the_distance(tmp_path: Path) -> None:
    warm = {"training.dynamics": "langevin", "training.temperature": 0.002, "foreground.n_neurons": 300}
    found = mft.run(
        mft.load_recipe("sgd-clover-replay").replace(SMALL | warm | {"network.n_neurons": 300}), tmp_path
    ).outcome.comparison
    assert found is not None and found.way is None and found.averages is not None


def draws(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    start = generator.normal(size=(n, 3))
    return start, 0.8 * start + 0.6 * generator.normal(size=(n, 3))


def test_neurons_that_never_left_their_start_differ_by_their_way_alone() -> None:
    (start, end), (begun, fresh) = draws(0), draws(1)
    frozen = np.where(np.arange(200)[:, None] < 100, start, end)
    found = compare_paths((frozen, fresh), (start, begun), 2)
    # Start and end have one law, so that where the neurons are says nothing.
    assert found.p_value > 0.01 and found.decisive is found.way
    assert found.verdict == "inconsistent" and "way of" in found.what_differs and len(found.suspects)
    assert compare(frozen, fresh, 2).verdict == "consistent"


@pytest.mark.parametrize("parity", ["odd", "even"])
def test_ways_do_not_depend_on_which_of_two_equal_neurons_is_stored(parity: str) -> None:
    (start, end), (begun, fresh) = draws(2), draws(3)
    signs = np.where(np.arange(200) % 2 == 0, 1.0, -1.0)[:, None] * np.array([1.0, 1.0, 0.0])
    signs[:, 2] = signs[:, 0] if parity == "odd" else 1.0

    def ways(factor: np.ndarray) -> float:
        pairs = (end * factor, fresh), (start * factor, begun)
        *_, found = compare_followed(*pairs, 2, parity=parity)  # type: ignore[arg-type]
        assert not isinstance(found, float) and found.way is not None
        return found.way.energy_distance

    assert ways(signs) == pytest.approx(ways(np.ones(3)), rel=1e-5)


def test_seeds_of_a_replay_are_pooled_by_both_tests() -> None:
    rows = [draws(seed) for seed in range(4, 8)]
    pairs = [compare_paths((a[1], b[1]), (a[0], b[0]), 2) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    pooled = pool(pairs)
    ways = [one.way.p_value for one in pairs if one.way is not None]
    assert pooled.p_value_way == fisher(ways)
    assert pooled.p_value == min(1.0, 2.0 * min(fisher(ways), fisher([one.p_value for one in pairs])))
