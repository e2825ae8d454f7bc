"""Two stored runs, cloud against cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.compare.moments import with_moments
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import RunError
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.tables import table_parity
from mft_engine.runs.runs import load
from mft_engine.runs.watched import WatchedRun, is_watched, read_watched


def read_any(folder: str | Path) -> Outcome | WatchedRun:
    """A stored run, the lab's own or a watched training.

    Raises:
        RunError: neither of them, or nothing readable in it.
    """
    return read_watched(folder) if is_watched(folder) else load(folder)


def compare_any(first: Outcome | WatchedRun, second: Outcome | WatchedRun) -> tuple[Comparison, ...]:
    """`comparing` run to its end; same arguments and errors."""
    *_, answers = comparing(first, second)
    assert isinstance(answers, tuple)
    return answers


def comparing(first: Outcome | WatchedRun, second: Outcome | WatchedRun) -> Iterator[float | tuple[Comparison, ...]]:
    """The neurons of two stored runs, the lab's own or watched ones: how far it is, then one comparison a hidden layer.

    Raises:
        RunError: networks whose neurons are told by other numbers.
    """
    if isinstance(first, Outcome) and isinstance(second, Outcome):
        yield from _comparing_runs(first, second)
        return
    if isinstance(first, WatchedRun) and isinstance(second, WatchedRun):
        yield from _comparing_watched(first, second)
        return
    names = [run.name if isinstance(run, WatchedRun) else run.recipe.name for run in (first, second)]
    watched, own = names if isinstance(first, WatchedRun) else names[::-1]
    raise RunError(f"{watched} is a watched training and {own} is a run of the lab: their neurons differ in kind")


def _comparing_watched(ours: WatchedRun, theirs: WatchedRun) -> Iterator[float | tuple[Comparison, ...]]:
    if ours.columns != theirs.columns:
        raise RunError(
            f"These two runs cannot be compared: the neurons of {ours.name} ({ours.about['layer']}) are told by other "
            f"numbers than those of {theirs.name} ({theirs.about['layer']})"
        )
    clouds = ours.clouds["background"], theirs.clouds["background"]
    for found in compare_clouds(*clouds, ours.n_inputs, names=ours.columns):
        if isinstance(found, Comparison):
            yield (with_moments(found, *clouds, ours.n_inputs, ours.columns),)
        else:
            yield found


def _comparing_runs(first: Outcome, second: Outcome) -> Iterator[float | tuple[Comparison, ...]]:
    """The backgrounds, with their moments beside the distance; permutations and seed are the first recipe's."""
    ours, theirs = first.background.clouds, second.background.clouds
    if [cloud.names for cloud in ours] != [cloud.names for cloud in theirs]:
        raise RunError(
            "These two runs cannot be compared: the neurons of "
            + " are told by other numbers than those of ".join(
                f"{outcome.recipe.name} ({'; '.join(', '.join(cloud.names) for cloud in outcome.background.clouds)})"
                for outcome in (first, second)
            )
        )
    network = LayeredNetwork.of(first.recipe, first.points.inputs.shape[1])
    n_out = 1 if first.points.targets.ndim == 1 else first.points.targets.shape[1]
    answers = []
    for layer, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        n_inputs = mine.theta.shape[1] - (n_out if layer == 1 else 1)
        parity = table_parity(network.activations, layer)
        seed = first.recipe.seed + (layer if len(ours) > 1 else 0)
        n_permutations = first.recipe.comparison.n_permutations
        for found in compare_clouds(
            mine.theta,
            other.theta,
            n_inputs,
            parity=parity,
            n_permutations=n_permutations,
            seed=seed,
            names=mine.names,
        ):
            if isinstance(found, Comparison):
                answers.append(
                    with_moments(found, mine.theta, other.theta, n_inputs, mine.names, parity=parity, seed=seed)
                )
            else:
                yield (layer - 1 + found) / len(ours)
    yield tuple(answers)
