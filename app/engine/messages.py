"""What the window and the worker tell each other: frozen values, no handles.

Requests go to the worker, events (these and the engine's own) come back. This module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mft_engine.experiment.events import Event
from mft_engine.looks import Look
from mft_engine.pages import Composition
from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Cloud
    from mft_engine.questions.widths import WidthRow

Array = np.ndarray
LOOP_TOLERANCE = 1e-6  # gap at which the engine's loop ends, which a test checks


@dataclass(frozen=True)
class Request:
    """The state that the worker shall bring about; only the newest counts.

    Attributes:
        generation: grows with every accepted change of the recipe; answers carry it.
        restart: grows when the experiment shall start again although its recipe is the same.
        steps_per_frame: 0 for as many as fit into a slice.
        watches_fields: the heat maps are visible and shall follow the training.
        watches_kernel: the data kernel is visible and shall be computed when training pauses or clouds were compared.
        look: what of a large cloud is looked at; None while all are small.
        origin: the run folder that this (re)start takes its neurons from; None for the initial cloud.
    """

    recipe: Recipe
    generation: int = 0
    restart: int = 0
    is_running: bool = False
    steps_per_frame: int = 0
    watches_fields: bool = False
    watches_kernel: bool = False
    look: Look | None = None
    origin: Path | None = None


@dataclass(frozen=True)
class Step:
    """Do some steps once, whether or not the run is playing."""

    n_steps: int = 1


@dataclass(frozen=True)
class Resample:
    """Draw a new foreground and compare; trains the background first where it has no average yet."""


@dataclass(frozen=True)
class Iterate:
    """Let the foreground become the background, again and again, until they agree.

    Attributes:
        damping: in (0, 1]; None for the automatic step.
        n_turns: at most.
    """

    damping: float | None = None
    n_turns: int = 60


@dataclass(frozen=True)
class LookBack:
    """Send the stored cloud nearest to a time of the run."""

    time: float


@dataclass(frozen=True)
class Reading:
    """How a person says that a file of text is to be read; None: guess.

    Attributes:
        delimiter: tab, semicolon, comma, bar or space; decimal: "." or ","; header: the first row names the columns.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class LookAtData:
    """Read a file of numbers and tell what is in it."""

    path: Path
    reading: Reading = Reading()


@dataclass(frozen=True)
class Cancel:
    """Stop every long job; what is there stays."""


@dataclass(frozen=True)
class Export:
    """Write figures and data.

    Attributes:
        folder: where; made if it is not there.
        figures: names of `mft_engine.figures`; "three-pictures" stands for the essay's set.
        figure_formats: png, svg, pdf, eps, tiff; data_formats: npz, csv, safetensors.
        animations: of the training: gif, apng, png (frames), mp4.
        width_mm: of one figure; composition: a page of several, written as "figure".
    """

    folder: Path
    figures: tuple[str, ...] = ("three-pictures",)
    figure_formats: tuple[str, ...] = ("png", "pdf")
    data_formats: tuple[str, ...] = ()
    animations: tuple[str, ...] = ()
    width_mm: float = 85.0
    has_captions: bool = True
    composition: Composition | None = None


@dataclass(frozen=True)
class Compose:
    """Draw a page of figures as it would be written; `number` tells the answer from earlier ones."""

    composition: Composition
    number: int


@dataclass(frozen=True)
class FigurePreview(Event):
    """A page of figures as a PNG, or why there is none.

    Attributes:
        number: of the question; height_mm: of the page.
    """

    number: int
    png: bytes = b""
    height_mm: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class TaskCard(Event):
    """One task of the gallery; `image` is its target on a square grid, drawn by the real generator.

    Attributes:
        parameters: the task's own parameters on this card, for example {"k": 3}.
        image: (n_pixels, n_pixels), row = x2 ascending; None where the input is not two-dimensional.
        brings_points: its data are its own: no measure to draw training points from.
    """

    name: str
    title: str
    formula: str
    parameters: dict[str, Any] = field(default_factory=dict)
    image: Array | None = None
    brings_points: bool = False


@dataclass(frozen=True)
class DataPreview(Event):
    """What is in a file of data, or why it cannot be read.

    Attributes:
        names: of the columns; n_rows; rows: the first ones, as text.
        target: the column (or the group of columns) that is learnt unless another is chosen.
        groups: arrays of several columns by name; worded: columns of words, which can only be the target.
        n_test: rows at the end that the file itself holds back.
        notes: what was guessed and left out, in sentences.
        reading: what was asked for; found: what was found of it, None of a file that is no text.
    """

    path: Path
    names: tuple[str, ...] = ()
    n_rows: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    target: str = ""
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    worded: tuple[str, ...] = ()
    n_test: int = 0
    notes: tuple[str, ...] = ()
    fault: str = ""
    reading: Reading = Reading()
    found: Reading | None = None


@dataclass(frozen=True)
class EngineReady(Event):
    """The engine is loaded; `devices` in the order of preference."""

    devices: tuple[str, ...]
    n_threads: int
    seconds: float


@dataclass(frozen=True)
class Built(Event):
    """An experiment is in hand: a new one, or a parked one that came back with its neurons.

    Attributes:
        initial: the neurons at step 0, one cloud a hidden layer.
        n_out: readouts of a neuron, the last columns of every theta.
        projections: name -> (n_inputs,) directions of input space that the task names.
        modulus: P of an addition modulo P, else 0.
        folder: of the store that the run is kept in; None until it has been written.
    """

    recipe: Recipe
    initial: tuple[Cloud, ...]
    device: str
    step: int
    is_restored: bool = False
    n_out: int = 1
    projections: dict[str, Array] = field(default_factory=dict)
    modulus: int = 0
    folder: Path | None = None

    @property
    def n_layers(self) -> int:
        """Hidden layers."""
        return len(self.initial)

    @property
    def n_inputs(self) -> int:
        """Of the network."""
        return self.initial[0].theta.shape[1] - self.n_out


@dataclass(frozen=True)
class RunKept(Event):
    """The run in hand was written to the store."""

    folder: Path


@dataclass(frozen=True)
class RunOpened(Event):
    """A stored run is in hand as it was; `faults` say what of it could not be read."""

    folder: Path
    step: int
    is_complete: bool
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected(Event):
    """The engine cannot use this recipe; the one before stays in force."""

    sentence: str
    traceback: str = ""


@dataclass(frozen=True)
class MetricsReady(Event):
    """Columns recorded along the run, each (n_records,): step, time, loss, step_size, eta_theta, cos4 ...

    Attributes:
        stored_times: (n_stored,) times of the clouds that can be looked back at.
    """

    columns: dict[str, Array]
    stored_times: Array


@dataclass(frozen=True)
class StoredCloud(Event):
    """The background as it was at an earlier time; theta (n_shown, n_params)."""

    theta: Array
    time: float


@dataclass(frozen=True)
class Retuned(Event):
    """Parameters changed while the neurons stayed; `recipe` carries the schedule that replays the run."""

    recipe: Recipe
    time: float
    text: str


@dataclass(frozen=True)
class Scheduled(Event):
    """The recipe's own schedule changed some values at this step."""

    changes: dict[str, Any]


@dataclass(frozen=True)
class RecipeComplete(Event):
    """The recipe's last step is done: this state equals that of `mft-lab run`."""

    step: int
    time: float


@dataclass(frozen=True)
class TheoryPicture(Event):
    """The infinite-width solution as arrays and plain numbers.

    Attributes:
        image: (n_pixels, n_pixels) density of w, row = w2 ascending; extent: half side of its square.
        marginals: {"w1": (x, density), "w2": ..., "a": ...}, those that are known exactly.
        samples: neurons of the law, a table for every hidden layer with the columns of its cloud; a layer whose table
            cannot be made is left out.
        numbers: loss, free_energy, gap, kl, ..., and order_parameters {"cos4": ...}.
        is_current: False while a drag is ahead of the solver: the picture follows the finger, the numbers are greyed.
    """

    image: Array | None
    extent: float
    marginals: dict[str, tuple[Array, Array]]
    numbers: dict[str, Any]
    is_current: bool = True
    samples: tuple[Array, ...] = ()


@dataclass(frozen=True)
class LoopEnded(Event):
    """The self-consistency loop is over; `fault` is a sentence where it ran away or cannot be turned."""

    is_converged: bool
    fault: str = ""


@dataclass(frozen=True)
class StudyWidths:
    """Sample networks of 8 to 4,096 neurons exactly and compare them with the laws for finite and infinite width."""


@dataclass(frozen=True)
class WidthReady(Event):
    """One width of the study: a `mft_engine.questions.widths.WidthRow`."""

    row: WidthRow


@dataclass(frozen=True)
class JobStarted(Event):
    """A long job began; its name is resample, iterate, widths or export."""

    name: str


@dataclass(frozen=True)
class JobEnded(Event):
    """A long job is over."""

    name: str
    was_cancelled: bool = False


@dataclass(frozen=True)
class Exported(Event):
    """Files were written."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Note(Event):
    """A sentence for the status bar."""

    sentence: str
