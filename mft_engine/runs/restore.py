"""A stored run as a living experiment: training where it stood, and the answers that belong to that state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mft_engine.experiment.events import Answered, CertificateReady, ComparisonReady, ForegroundReady
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Outcome, sent
from mft_engine.recipe import Recipe
from mft_engine.runs import checkpoint
from mft_engine.runs.folder import CHECKPOINT, RESULT, Run


@dataclass(frozen=True)
class Restored:
    """An experiment as it was stored.

    Attributes:
        experiment: trained up to the checkpoint; advanced on the CPU, it does what the uninterrupted one would do.
        foreground, comparison, certificate, answers: the stored answers, where they are of the checkpoint's neurons.
        faults: sentences about what could not be read.
    """

    experiment: Experiment
    foreground: ForegroundReady | None = None
    comparison: ComparisonReady | None = None
    certificate: CertificateReady | None = None
    answers: tuple[Answered, ...] = ()
    faults: tuple[str, ...] = ()


def restore(folder: str | Path, recipe: Recipe | None = None) -> Restored:
    """Build the experiment of a run folder where it stood.

    Args:
        folder: a run folder, of a run that is complete, interrupted or killed.
        recipe: what the folder's recipe is replaced with, for another device; the folder's own by default.

    Raises:
        RunError: no run, or no readable recipe in it.
        RecipeError: a recipe whose experiment cannot be built here.
    """
    run = Run(folder)
    experiment = Experiment(recipe or run.recipe)
    kept = run.read_checkpoint()
    if kept is None:
        if experiment.background.is_trained_here and not run.faults:
            run.faults.append(f"{run.folder} has no {CHECKPOINT}: training begins again at step 0")
    else:
        try:
            checkpoint.unpack(experiment, *kept)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            # A state that is half put in place must not be trained on.
            experiment = Experiment(recipe or run.recipe)
            run.faults.append(f"{run.folder / CHECKPOINT} cannot be used ({error}): training begins again at step 0")
    if not (run.folder / RESULT).exists():
        return Restored(experiment, faults=tuple(run.faults))
    outcome = run.outcome
    faults = tuple(run.faults)
    if outcome.foreground is None or not _is_of_this_state(experiment, outcome):
        return Restored(experiment, faults=faults)
    experiment.take_back(outcome)
    fresh = outcome.foreground
    seconds = float((outcome.summary.get("foreground") or {}).get("seconds") or 0.0)
    shown, sizes = tuple(map(sent, fresh.clouds)), tuple(len(cloud.theta) for cloud in fresh.clouds)
    accuracies = experiment.sampler.accuracies()
    foreground = ForegroundReady(shown, fresh.loss, fresh.kind, seconds, accuracies, sizes=sizes)
    comparison = ComparisonReady(outcome.comparisons) if outcome.comparisons else None
    certificate = CertificateReady(outcome.certificate) if outcome.certificate is not None else None
    answers = tuple(Answered(name, answer) for name, answer in outcome.answers.items())
    return Restored(experiment, foreground, comparison, certificate, answers, faults)


def _is_of_this_state(experiment: Experiment, outcome: Outcome) -> bool:
    """Whether the stored result was computed from the neurons of the checkpoint, which may have gone on since."""
    now = experiment.outcome().background.clouds
    stored = outcome.background.clouds
    return len(now) == len(stored) and all(np.array_equal(a.theta, b.theta) for a, b in zip(now, stored, strict=True))
