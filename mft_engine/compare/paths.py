"""Neurons that were followed: compared by where they are, and by how far each has come from its start.

Two clouds can look alike although half of the neurons of one have never moved; their ways tell them apart at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mft_engine.compare.clouds import Comparison, Theta, compare_clouds, fold
from mft_engine.compare.path_resolution import resolution_of
from mft_engine.compare.rules import AVERAGES_LEVEL, judge, verdict_clause, why_no_verdict
from mft_engine.curves import Parity
from mft_engine.network.two_layer import column_names
from mft_engine.points.statistics import host_array


def verdict_of(comparison: Comparison | None) -> str:
    """A comparison in a clause."""
    if comparison is None:
        return "not compared"
    return verdict_clause(comparison.verdict, comparison.p_value_all, comparison.decisive.ratio, comparison.why)


def compare_paths(
    now: tuple[Theta, Theta], start: tuple[Theta, Theta], n_inputs: int, names: Sequence[str] | None = None, *,
    n_permutations: int = 500, seed: int = 0,
) -> Comparison:  # fmt: skip
    """`compare_followed` run to its end."""
    *_, found = compare_followed(now, start, n_inputs, names, n_permutations=n_permutations, seed=seed)
    assert isinstance(found, Comparison)
    return found


def compare_followed(
    now: tuple[Theta, Theta],
    start: tuple[Theta, Theta],
    n_inputs: int,
    names: Sequence[str] | None = None,
    *,
    parity: Parity = "none",
    n_permutations: int = 500,
    seed: int = 0,
    eta_theta: float | None = None,
) -> Iterator[float | Comparison]:
    """Compare neurons and their ways, each test at half of the level.

    Args:
        now, start: (background, foreground), each (n, n_params), row by row the same neurons.
        n_inputs: columns before the readouts; names: of the columns.
        parity, n_permutations, seed, eta_theta: as in `compare_clouds`; 199 permutations at least.

    Yields:
        fractions in [0, 1), then the Comparison with its `way` (None before anybody has moved) and its `resolution`.

    Raises:
        ComparisonError: clouds that are empty, not finite or of different columns; too few permutations.
    """
    names = column_names(n_inputs, now[0].shape[1] - n_inputs) if names is None else names
    ways = [_way(end, begin, n_inputs, parity) for end, begin in zip(now, start, strict=True)]
    has_moved = any(np.any(way) for way in ways)
    n_tests = 2 if has_moved else 1
    found: Comparison | None = None
    for answer in compare_clouds(*now, n_inputs, parity=parity, n_permutations=n_permutations, seed=seed,
                                 eta_theta=eta_theta, names=names):  # fmt: skip
        if isinstance(answer, Comparison):
            found = answer
        else:
            yield answer / n_tests
    assert found is not None
    if has_moved:
        words = [f"way of {name}" for name in names]
        for answer in compare_clouds(ways[0], ways[1], n_inputs, n_permutations=n_permutations, seed=seed, names=words):
            if isinstance(answer, Comparison):
                found = with_way(found, answer, eta_theta)
            else:
                yield 0.5 + answer / n_tests
    riders, begun = (fold(host_array(cloud), n_inputs, parity) for cloud in (now[1], start[1]))
    yield replace(found, resolution=resolution_of(found, riders, begun, n_inputs))


def with_way(found: Comparison, way: Comparison, eta_theta: float | None = None) -> Comparison:
    """A comparison of clouds with that of the ways of the same neurons, which has a say in the verdict."""
    both = replace(found, way=way)
    if found.why:
        return both
    verdict = judge(both.p_value_all, both.decisive.ratio, eta_theta)
    # "Consistent" needs tests that could have said no at half of the level.
    why = why_no_verdict(found.n_background, found.n_foreground, found.n_permutations, AVERAGES_LEVEL)
    return replace(both, verdict=None, why=why) if why and verdict == "consistent" else replace(both, verdict=verdict)


def _way(end: Theta, begin: Theta, n_inputs: int, parity: Parity) -> np.ndarray:
    """(n, n_params) displacements, of neurons that a symmetry of the activation turns together with their start."""
    pairs = [(cloud[:, :n_inputs], cloud[:, n_inputs:]) for cloud in (host_array(end), host_array(begin))]
    turned = fold(np.hstack([pairs[k][part] for part in (0, 1) for k in (0, 1)]), 2 * n_inputs, parity)
    w, was_w, a, was_a = np.split(turned, [n_inputs, 2 * n_inputs, n_inputs + end.shape[1]], axis=1)
    return np.hstack([w - was_w, a - was_a])
