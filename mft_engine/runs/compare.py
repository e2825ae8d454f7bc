"""Two stored runs, cloud against cloud."""

from __future__ import annotations

from pathlib import Path

from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.moments import with_moments
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import RunError
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.tables import table_parity
from mft_engine.runs.runs import load
from mft_engine.runs.watched import is_watched, read_watched


def compare_folders(first: str | Path, second: str | Path) -> tuple[Comparison, ...]:
    """The neurons of two stored runs, the lab's own or watched ones, one comparison a hidden layer.

    Raises:
        RunError: no runs, or networks whose neurons are told by other numbers.
    """
    if not is_watched(first) and not is_watched(second):
        return compare_runs(load(first), load(second))
    for one, other in ((first, second), (second, first)):
        if not is_watched(one):
            raise RunError(f"{other} is a watched training and {one} is a run of the lab: their neurons differ in kind")
    ours, theirs = read_watched(first), read_watched(second)
    if ours.columns != theirs.columns:
        raise RunError(
            f"These two runs cannot be compared: the neurons of {ours.name} ({ours.about['layer']}) are told by other "
            f"numbers than those of {theirs.name} ({theirs.about['layer']})"
        )
    clouds = ours.clouds["background"], theirs.clouds["background"]
    found = compare(*clouds, ours.n_inputs, names=ours.columns)
    return (with_moments(found, *clouds, ours.n_inputs, ours.columns),)


def compare_runs(first: Outcome, second: Outcome) -> tuple[Comparison, ...]:
    """The backgrounds of two runs, one comparison a hidden layer, with their moments beside the distance.

    Permutations and seed are the first recipe's.

    Raises:
        RunError: networks whose neurons are told by other numbers.
    """
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
        found = compare(
            mine.theta,
            other.theta,
            n_inputs,
            parity=parity,
            n_permutations=first.recipe.comparison.n_permutations,
            seed=seed,
            names=mine.names,
        )
        answers.append(with_moments(found, mine.theta, other.theta, n_inputs, mine.names, parity=parity, seed=seed))
    return tuple(answers)
