"""The experiment in hand, and the few that are parked beside it."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.engine.contract import Experiment, Restored
from app.engine.messages import TheoryPicture
from mft_engine.changes import Change, changes_on_the_way
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    FieldsReady,
    ForegroundReady,
)
from mft_engine.recipe import Recipe, differences, plan_change


@dataclass
class Hand:
    """An experiment with the answers that belong to it.

    Attributes:
        applied: the person's recipe that the experiment follows now; the experiment's own one keeps the values it
            began with and a schedule, and so differs.
        device: in words.
        kernel_asked: step and comparison for which the data kernel was last computed.
        repeating: the recipe that repeats this run, with the changes made on the way as its schedule.
        folder: of the run that this experiment is kept in; kept_step: the step that was copied last.
        kept_verdict: the comparison and its certificate that were copied last.
        writing: the copy that is being written.
        end: step and time at which the recipe was complete, for a run that was stored after that.
    """

    experiment: Experiment
    applied: Recipe
    device: str
    foreground: ForegroundReady | None = None
    comparison: ComparisonReady | None = None
    certificate: CertificateReady | None = None
    answers: dict[str, Answered] = field(default_factory=dict)
    fields: FieldsReady | None = None
    theory: TheoryPicture | None = None
    kernel: DataKernelsReady | None = None
    kernel_asked: tuple[int, ComparisonReady | None] = (0, None)
    is_complete_told: bool = False
    n_retunes: int = 0
    repeating: Recipe | None = None
    folder: Path | None = None
    kept_step: int = 0
    kept_verdict: tuple[ComparisonReady | None, CertificateReady | None] = (None, None)
    writing: Future[Path] | None = None
    end: tuple[int, float] | None = None

    @classmethod
    def of_stored(cls, stored: Restored, recipe: Recipe, device: str) -> Hand:
        """A run folder's experiment with the answers that were stored with it."""
        hand = cls(stored.experiment, recipe, device, stored.foreground, stored.comparison, repeating=recipe)
        hand.kept_step, hand.kept_verdict = hand.step, (hand.comparison, hand.certificate)
        hand.end = hand._recipe_end()
        return hand

    def _recipe_end(self) -> tuple[int, float]:
        """Step and time of the recipe's last step in a run that may have gone on since, read off the records."""
        state, training, columns = self.experiment.state, self.applied.training, self.experiment.metrics()
        steps, times = (columns.get(name, np.empty(0)) for name in ("step", "time"))
        if training.n_steps and len(steps) and state.step > training.n_steps:
            return training.n_steps, float(np.interp(training.n_steps, steps, times))
        if not training.n_steps and len(steps) and times[-1] > training.time:
            return round(float(np.interp(training.time, times, steps))), training.time
        return state.step, state.time

    @property
    def step(self) -> int:
        """Steps done."""
        return self.experiment.state.step

    def retune(self, recipe: Recipe) -> bool:
        """Follow a recipe that keeps the neurons; True where the training itself changes."""
        changes = differences(self.applied, recipe)
        is_training = plan_change(self.applied, recipe) is Change.RETUNE
        self.repeating = self.experiment.schedule_of(self.repeating or self.applied, self.applied, recipe)
        self.repeating = self.repeating.replace(
            {path: new for path, _, new in changes if path != "schedule" and not changes_on_the_way(path)}
        )
        self.experiment.retune(recipe)
        self.applied = recipe
        self.forget_answers()
        self.n_retunes += is_training and self.step > 0
        return is_training

    def scheduled_changes(self) -> dict[str, Any]:
        """Values that the recipe's own schedule changed since they were last looked at."""
        now = self.experiment.recipe
        if not self.applied.schedule or plan_change(self.applied, now) is not Change.RETUNE:
            return {}
        changes = {path: new for path, _, new in differences(self.applied, now) if path != "schedule"}
        self.applied = self.applied.replace(changes)
        return changes

    def is_kernel_due(self, is_running: bool) -> bool:
        """Whether the data kernel shall be computed: after a comparison, or paused at a new step."""
        step, comparison = self.kernel_asked
        has_compared = self.comparison is not None and self.comparison is not comparison
        return has_compared or (not is_running and self.step != step)

    def stored_times(self) -> np.ndarray:
        """(n_stored,) times of the stored clouds, read off the records."""
        _, steps = self.experiment.history.clouds()
        columns = self.experiment.metrics()
        return np.interp(steps, columns["step"], columns["time"]) if columns else np.empty(0)

    def stored_cloud(self, time: float) -> tuple[np.ndarray, float] | None:
        """The stored cloud nearest to a time, and its time."""
        times = self.stored_times()
        if not len(times):
            return None
        index = int(np.abs(times - time).argmin())
        return self.experiment.history.clouds()[0][index], float(times[index])

    def forget_answers(self) -> None:
        """Drop foreground, comparison, certificate and data kernel: they belonged to other parameters."""
        self.foreground = self.comparison = self.certificate = self.kernel = None
        self.answers = {}


class Parking:
    """Experiments laid aside, by what their background depends on; the one parked longest ago goes first."""

    def __init__(self, n_places: int = 4) -> None:
        self._places: OrderedDict[str, Hand] = OrderedDict()
        self._n_places = n_places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def hands(self) -> list[Hand]:
        """Everything that is parked."""
        return list(self._places.values())

    def park(self, hand: Hand) -> None:
        """Lay an experiment aside."""
        self._places[hand.applied.background_digest] = hand
        self._places.move_to_end(hand.applied.background_digest)
        while len(self._places) > self._n_places:
            self._places.popitem(last=False)

    def take(self, recipe: Recipe) -> Hand | None:
        """The parked experiment whose background is the recipe's, if there is one."""
        return self._places.pop(recipe.background_digest, None)

    def look(self, recipe: Recipe) -> Hand | None:
        """The same without taking it out."""
        return self._places.get(recipe.background_digest)
