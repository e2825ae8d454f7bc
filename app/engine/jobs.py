"""Long work as generators, so that pause, cancel and close are ordinary events between two slices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from app.engine.contract import Engine, Experiment
from app.engine.hand import Hand
from app.engine.messages import (
    LOOP_TOLERANCE,
    Compose,
    Export,
    Iterate,
    LoopEnded,
    TaskCard,
    WidthReady,
)
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    Event,
    ForegroundReady,
    IterationReady,
    Progress,
    TheoryAbsent,
    TheoryReady,
)
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.slices import SLICE_SECONDS, Pace

TURN_SECONDS = 0.5
FULL_TURNS = 4
_NAMES = {"trained": "background", "lazy": "wrong background"}


@dataclass
class Job:
    """A generator under way.

    Attributes:
        generation: of the recipe that it answers.
        is_apart: an export that has taken all that it draws: no change of the experiment touches it any more.
    """

    name: str
    steps: Iterator[Event]
    generation: int
    is_apart: bool = False


def run_slice(job: Job, tell: Callable[[Event], None], seconds: float = SLICE_SECONDS) -> bool:
    """Run a job for one slice and tell its events; True when it has come to its end."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        event = next(job.steps, None)
        if event is None:
            return True
        job.is_apart |= isinstance(event, Progress) and event.part == "export"
        tell(replace(event, generation=job.generation))
    return False


def train_until_averaged(hand: Hand) -> Iterator[Event]:
    """Train until there is a field for the foreground to feel.

    Before the burn-in is over the average is of the transient: such a run goes to its recipe's end. Otherwise
    training goes on, beyond the end if need be, until the average covers half the recipe's window (for the clover
    8 units of time: they pass the test, 4 do not always).
    """
    experiment, foreground = hand.experiment, hand.applied.foreground
    if foreground.background not in ("trained", "lazy"):
        return
    pace = Pace()
    if foreground.field == "end" or not experiment.state.is_settled:
        text = f"training the {_NAMES.get(foreground.background, 'background')}"
        while not experiment.is_complete:
            _advance(experiment, pace, beyond=False)
            yield Progress("train", experiment.progress, f"{text}: step {experiment.state.step:,}")
    wanted = 0.0 if foreground.field == "end" else 0.5 * foreground.window * _duration(hand.applied)
    first = experiment.state.time
    while not _is_averaged(experiment, wanted):
        if _advance(experiment, pace, beyond=True) == 0:
            return
        done = (experiment.state.time - first) / max(wanted, 1e-9)
        yield Progress("train", min(0.99, done), "averaging the field of the parameters in force")


def _is_averaged(experiment: Experiment, wanted: float) -> bool:
    state = experiment.state
    return wanted == 0 or (state.is_settled and state.average_age >= wanted * (1 - 1e-9))


def _duration(recipe: Recipe) -> float:
    training = recipe.training
    if training.n_steps and training.step_size != "auto":
        return training.n_steps * training.step_size
    return training.time


def _advance(experiment: Experiment, pace: Pace, *, beyond: bool) -> int:
    return pace.carry_out(lambda n_steps: experiment.advance(n_steps, beyond=beyond))


def resample(hand: Hand) -> Iterator[Event]:
    """Background to its average if need be, then a foreground in its frozen field, then the comparison."""
    yield from train_until_averaged(hand)
    for event in hand.experiment.foreground():
        if isinstance(event, ForegroundReady):
            hand.foreground = event
        yield event
    for answer in hand.experiment.compare():
        if isinstance(answer, ComparisonReady):
            hand.comparison = answer
        yield answer


def silent_resample(hand: Hand) -> Iterator[Event]:
    """Resample for a figure: progress is told, answers stay with their experiment (it may not be the one shown)."""
    for event in resample(hand):
        if isinstance(event, Progress):
            yield event


def iterate(hand: Hand, command: Iterate) -> Iterator[Event]:
    """The self-consistency loop from the present background, its first turns slowly enough for the eye to follow."""
    yield from (event for event in hand.experiment.theory() if isinstance(event, Progress))
    index, gap = 0, float("inf")
    try:
        for event in hand.experiment.iterate(damping=command.damping, n_iterations=command.n_turns):
            yield event
            if isinstance(event, IterationReady):
                index, gap = event.iteration.index, event.iteration.gap
                yield from _pause(index, command.n_turns)
    except (ArithmeticError, RecipeError) as error:
        yield LoopEnded(is_converged=False, fault=str(error))
        return
    yield LoopEnded(is_converged=index < command.n_turns or gap < LOOP_TOLERANCE)


def _pause(index: int, n_turns: int) -> Iterator[Progress]:
    """Waits without holding up requests; ever shorter, because later turns move the neurons ever less."""
    until = time.perf_counter() + TURN_SECONDS * min(1.0, FULL_TURNS / (index + 1)) ** 2
    while time.perf_counter() < until:
        time.sleep(0.005)
        yield Progress("iterate", index / n_turns, f"turn {index} of the loop")


def solve_theory(hand: Hand, engine: Engine) -> Iterator[Event]:
    """The infinite-width solution for the parameters in force, as a picture with numbers."""
    for event in hand.experiment.theory():
        if isinstance(event, TheoryReady):
            picture = engine.theory_picture(event.theory, hand.experiment)
            if event.test_loss is not None:
                picture = replace(picture, numbers=picture.numbers | {"test_loss": event.test_loss})
            hand.theory = picture
            yield picture
        else:
            if isinstance(event, TheoryAbsent):
                hand.theory = None
            yield event


def certify(hand: Hand) -> Iterator[Event]:
    """How far the background that was compared is from the exact optimum, and what a lazy network would do."""
    yield from hand.experiment.refer()
    for event in hand.experiment.certify():
        if isinstance(event, CertificateReady):
            hand.certificate = event
        yield event
    for answer in hand.experiment.ask():
        if isinstance(answer, Answered):
            hand.answers[answer.name] = answer
        yield answer


def data_kernel(hand: Hand) -> Iterator[Event]:
    """The data kernels of the clouds in hand."""
    hand.kernel_asked = (hand.step, hand.comparison)
    for event in hand.experiment.data_kernel():
        if isinstance(event, DataKernelsReady):
            hand.kernel = event
        yield event


def study_widths(hand: Hand, engine: Engine, should_stop: Callable[[], bool]) -> Iterator[Event]:
    """Networks of every width beside the laws, for the parameters in force."""
    for item in engine.study_widths(hand.applied, should_stop):
        if isinstance(item, float):
            yield Progress("widths", item, "sampling networks of every width")
        else:
            yield WidthReady(item)


def task_cards(engine: Engine) -> Iterator[TaskCard]:
    """The gallery's cards, one by one."""
    yield from engine.task_cards()


def compose(command: Compose, hand: Hand, wrong: Hand | None, engine: Engine) -> Iterator[Event]:
    """Draw a page of what is there; nothing is computed for it."""
    has_twin = wrong is not None and wrong.comparison is not None
    yield engine.compose(
        command, hand.experiment.outcome(), wrong.experiment.outcome() if wrong is not None and has_twin else None
    )


def export(command: Export, hand: Hand, wrong: Hand | None, shown: Hand, engine: Engine) -> Iterator[Event]:
    """Compute what the figures lack (foreground, wrong-background twin), then write them."""
    for needed in (hand, wrong):
        if needed is not None and needed.comparison is None:
            yield from resample(needed) if needed is shown else silent_resample(needed)
    outcome, twin = hand.experiment.outcome(), wrong.experiment.outcome() if wrong else None
    yield Progress("export", 0.0, "writing the figures")
    yield from engine.export(command, outcome, twin)
