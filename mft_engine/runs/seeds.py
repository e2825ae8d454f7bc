"""One recipe with several seeds: stored runs, and one verdict from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mft_engine.compare.pooling import Pooled, pool
from mft_engine.recipe import Recipe
from mft_engine.runs.folder import Run
from mft_engine.runs.runs import Report, run_stored
from mft_engine.runs.verdict import pooled_resolution


@dataclass(frozen=True)
class Seeds:
    """Runs of one recipe.

    Attributes:
        runs: in the order of their seeds; pooled: one verdict a hidden layer, () where nothing was compared.
    """

    runs: tuple[Run, ...]
    pooled: tuple[Pooled, ...]


def run_seeds(
    recipe: Recipe, n_seeds: int, out: str | Path | None = None, *, resume: bool = False, report: Report | None = None
) -> Seeds:
    """Carry out a recipe with its seed and the next, and pool what their clouds say.

    Args:
        n_seeds: at least 1; out, resume, report: as for `run_stored`, for each run.

    Raises:
        RecipeError, RunError, Diverged: as a run does; finished runs stay.
    """
    runs = []
    for number in range(n_seeds):
        seeded = recipe.replace({"seed": recipe.seed + number})

        def tell(part: str, fraction: float, text: str, number: int = number) -> None:
            if report is not None:
                report(part, fraction, f"run {number + 1} of {n_seeds}: {text}")

        runs.append(run_stored(seeded, out, resume=resume, report=tell))
    return Seeds(tuple(runs), pool_runs(runs, has_resolution=True))


def pool_runs(runs: Sequence[Run], *, has_resolution: bool = False) -> tuple[Pooled, ...]:
    """One verdict a hidden layer from finished runs; () where one of them was not compared.

    Args:
        has_resolution: whether to work out what all would have noticed together (a second).
    """
    outcomes = [run.outcome for run in runs]
    n_layers = min((len(outcome.comparisons) for outcome in outcomes), default=0)
    steps = [(run.summary.get("background") or {}).get("eta_theta") or 0.0 for run in runs]
    found = [pool([outcome.comparisons[layer] for outcome in outcomes], max(steps)) for layer in range(n_layers)]
    if has_resolution:
        for layer, pooled in enumerate(found):
            is_pooled = pooled.p_value_averages is not None
            resolution = pooled_resolution(outcomes[0], len(outcomes), layer) if is_pooled else None
            if resolution is not None:
                found[layer] = pooled.with_resolution(resolution)
    return tuple(found)
