"""The table of further questions: what is asked of a run once its foreground, theory and certificate are there.

A question more is a file here with its answer, a row below, and in the window a dock or a line that is shown the answer
(`Session.answered`). Events, summary, stored results, the command line and the window's thread loop over the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mft_engine.dynamics import Problem, State
from mft_engine.questions.drift import Drift, Recorded, drift_of
from mft_engine.questions.equilibrium import Equilibrium, equilibrium_of
from mft_engine.questions.posterior import Posterior
from mft_engine.questions.replay import InForce
from mft_engine.questions.training_curve import TrainingCurve, training_curve
from mft_engine.recipe import Recipe
from mft_engine.tasks import Task
from mft_engine.theory.theory import Theory


class Asked(Protocol):
    """What a question may look at: an experiment, or anything with the same to show."""

    @property
    def recipe(self) -> Recipe:
        """In force."""

    @property
    def task(self) -> Task:
        """What is learnt."""

    @property
    def kind(self) -> str:
        """Of the background: trained, lazy, untrained or stored."""

    @property
    def history(self) -> Recorded:
        """What was recorded along the run."""

    @property
    def problem(self) -> Problem:
        """What its dynamics knows."""

    @property
    def state(self) -> State:
        """Where it stands."""

    @property
    def path(self) -> Sequence[InForce]:
        """The recipes in force, from step 0 on."""

    @property
    def solution(self) -> Theory | None:
        """The exact law, where it is known."""

    def posterior(self) -> Posterior | None:
        """Mean and variance of its function over the averaging window."""


class Answer(Protocol):
    """What a question comes to."""

    @property
    def verdict(self) -> str | None:
        """A word or two; None where nothing can be said."""

    @property
    def why(self) -> str:
        """A sentence for people."""

    @property
    def remark(self) -> str:
        """The sentence without which a verdict on the clouds should not be read; empty where there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the summary and for the store."""


@dataclass(frozen=True)
class Question:
    """One row.

    Attributes:
        name: of the answer in summary, store and window.
        ask: yields the fraction done where it takes longer than a slice, at last the answer.
        read: an answer from what its `to_dict` gave.
    """

    name: str
    ask: Callable[[Asked], Iterator[float | Answer]]
    read: Callable[[Mapping[str, Any]], Answer]


def _drift(asked: Asked) -> Iterator[float | Answer]:
    yield drift_of(asked.recipe, asked.kind, asked.history, asked.task.n_inputs)


def _equilibrium(asked: Asked) -> Iterator[float | Answer]:
    law = asked.solution
    # Hundreds of functions are gone through only where the law does not say how its networks fluctuate.
    posterior = asked.posterior() if law is not None and law.trace_response is None else None
    yield equilibrium_of(asked.recipe, asked.kind, asked.history, law, posterior)


def _training_curve(asked: Asked) -> Iterator[float | Answer]:
    yield from training_curve(asked.recipe, asked.problem, asked.path, asked.state, asked.history.rows)


QUESTIONS: dict[str, Question] = {
    row.name: row
    for row in (
        Question("drift", _drift, Drift.from_dict),
        Question("equilibrium", _equilibrium, lambda values: Equilibrium(**values)),
        Question("training_curve", _training_curve, TrainingCurve.from_dict),
    )
}


def answers_from(values: Mapping[str, Any]) -> dict[str, Answer]:
    """Stored answers by name; those that this version does not know are left out."""
    return {name: QUESTIONS[name].read(one) for name, one in values.items() if name in QUESTIONS}
