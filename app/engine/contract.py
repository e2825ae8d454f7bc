"""What the window asks of the engine: the only words in which the two speak.

The real engine (`app.engine.loading`) and the small fake one of the tests are both held to these protocols, name by
name and argument by argument. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from app.engine.messages import (
    Compose,
    DataPreview,
    EngineReady,
    Export,
    FigurePreview,
    Reading,
    TaskCard,
    TheoryPicture,
)
from mft_engine.changes import Change
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    Event,
    FieldsReady,
    ForegroundReady,
    IterationReady,
    Progress,
    ReferencesReady,
    Snapshot,
    TheoryAbsent,
    TheoryReady,
)
from mft_engine.looks import Look, Seen
from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Cloud, Outcome
    from mft_engine.questions.widths import WidthRow
    from mft_engine.theory.theory import Theory


class State(Protocol):
    """Where a run stands."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def time(self) -> float:
        """Sum of the step sizes."""

    @property
    def is_settled(self) -> bool:
        """Whether the burn-in since the last change is over."""

    @property
    def average_age(self) -> float:
        """Time that the running average covers."""


class History(Protocol):
    """What is remembered along a run."""

    def clouds(self) -> tuple[np.ndarray, np.ndarray]:
        """Stored clouds (n_stored, n_neurons, n_params) and their steps."""


class Task(Protocol):
    """What views must know of a task beyond its recipe."""

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""

    @property
    def projections(self) -> Mapping[str, np.ndarray]:
        """Directions of input space that the task names."""

    @property
    def modulus(self) -> int:
        """P of an addition modulo P, else 0."""


class Experiment(Protocol):
    """A background and what can be asked of it; `mft_engine.experiment.experiment.Experiment` is one."""

    @property
    def recipe(self) -> Recipe:
        """The recipe in force, its schedule applied up to now."""

    @property
    def state(self) -> State:
        """Where the run stands."""

    @property
    def history(self) -> History:
        """Stored clouds."""

    @property
    def task(self) -> Task:
        """What is learnt."""

    @property
    def is_complete(self) -> bool:
        """Whether the recipe's last step is done."""

    @property
    def progress(self) -> float:
        """Share of the recipe that is done."""

    def advance(self, n_steps: int, *, beyond: bool = False) -> int:
        """Train; returns the steps done."""

    def retune(self, recipe: Recipe) -> Change:
        """Follow a recipe that keeps the neurons."""

    def schedule_of(self, start: Recipe, old: Recipe, new: Recipe) -> Recipe:
        """`start` with the change from old to new as an entry of its schedule at this step."""

    def snapshot(self, look: Look | None = None) -> Snapshot:
        """The background as it stands, and what is counted of all neurons for a look."""

    def see(self, cloud: str, look: Look) -> Seen | None:
        """What is counted of the initial, background or foreground cloud where it is large."""

    def initial_clouds(self) -> tuple[Cloud, ...]:
        """The neurons at step 0, one cloud a hidden layer."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns recorded along the run."""

    def fields(self) -> FieldsReady | None:
        """Functions on a grid of the plane."""

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        """A new foreground in the background's field."""

    def redraw(self) -> ForegroundReady | None:
        """The exactly drawn foreground with the parameters in force."""

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Verdict and numbers."""

    def theory(self) -> Iterator[Progress | TheoryReady | TheoryAbsent]:
        """The infinite-width solution."""

    def refer(self) -> Iterator[ReferencesReady]:
        """What a network that learns no features would do."""

    def certify(self) -> Iterator[Progress | CertificateReady]:
        """How far the background is from the exact optimum."""

    def ask(self) -> Iterator[Progress | Answered]:
        """The questions of the table."""

    def data_kernel(self) -> Iterator[Progress | DataKernelsReady]:
        """Spectra of the clouds in hand."""

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """The self-consistency loop."""

    def outcome(self) -> Outcome:
        """Everything that is known, as values."""


class Restored(Protocol):
    """A stored run that lives again; `mft_engine.runs.restore.Restored` is one."""

    @property
    def experiment(self) -> Experiment:
        """Trained as far as it came."""

    @property
    def foreground(self) -> ForegroundReady | None:
        """Its foreground, where there is one of this state."""

    @property
    def comparison(self) -> ComparisonReady | None:
        """Its verdicts."""

    @property
    def certificate(self) -> CertificateReady | None:
        """How far it was from the exact optimum."""

    @property
    def answers(self) -> tuple[Answered, ...]:
        """To the questions of the table."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Sentences about what could not be read."""


class Keeper(Protocol):
    """Writes runs to the store; `mft_engine.runs.keeping.Keeper` is one."""

    def keep(
        self, experiment: Experiment, recipe: Recipe, folder: Path | None, *, has_answers: bool = False
    ) -> Future[Path]:
        """Take a copy now and write it soon."""

    def close(self) -> None:
        """Wait until everything is written."""


class Engine(Protocol):
    """What the worker asks of the engine."""

    @property
    def ready(self) -> EngineReady:
        """What the engine found on this machine."""

    def experiment(self, recipe: Recipe) -> Experiment:
        """A new experiment."""

    def keeper(self, store: Path) -> Keeper:
        """What writes runs to a store."""

    def restore(self, folder: Path, recipe: Recipe) -> Restored:
        """The experiment of a run folder where it stood, with its answers."""

    def device_of(self, experiment: Experiment) -> str:
        """The device in force, in words."""

    def is_device_trouble(self, error: BaseException, recipe: Recipe) -> bool:
        """Whether the CPU would have managed: a device that is missing, broken or full."""

    def task_cards(self) -> Iterator[TaskCard]:
        """The gallery."""

    def data_preview(self, path: Path, reading: Reading) -> DataPreview:
        """What is in a file of numbers."""

    def study_widths(self, recipe: Recipe, should_stop: Callable[[], bool]) -> Iterator[float | WidthRow]:
        """Fractions done, and a row for every width; ends early where it shall stop."""

    def theory_picture(self, theory: Theory, experiment: Experiment) -> TheoryPicture:
        """The solution of an experiment's recipe as arrays and plain numbers."""

    def compose(self, command: Compose, outcome: Outcome, wrong: Outcome | None) -> FigurePreview:
        """A page of figures as it would be written; why there is none is said in it."""

    def export(self, command: Export, outcome: Outcome, wrong: Outcome | None) -> Iterator[Event]:
        """Write files; ends with `Exported`."""
