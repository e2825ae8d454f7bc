"""What a running experiment tells its observers: events that carry read-only host arrays.

An observer (window, command line, run folder) gets values, never handles: every array here is a numpy copy that the
engine will not write again. This module imports no torch, so the window can know the types before the engine is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.experiment.outcome import Cloud, Outcome
    from mft_engine.looks import Seen
    from mft_engine.questions.certificate import Certificate
    from mft_engine.questions.kernel_study import DataKernels
    from mft_engine.questions.loop import Iteration
    from mft_engine.questions.references import ReferenceLines
    from mft_engine.questions.table import Answer
    from mft_engine.theory.theory import Theory

Array = np.ndarray


@dataclass(frozen=True)
class Event:
    """Anything that an experiment reports; `generation` is the recipe generation it belongs to (window only)."""

    generation: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Progress(Event):
    """How far a part of the experiment has come; `part` is train, foreground, compare or theory."""

    part: str
    fraction: float
    text: str


@dataclass(frozen=True)
class Snapshot(Event):
    """The background as it stands.

    Attributes:
        step, time: steps done and t = sum of step sizes.
        clouds: the neurons of every hidden layer, float32; of a large one the first few (`looks.n_sent`).
        n_neurons: of the first hidden layer; sizes: of every one.
        seen: what was counted of all neurons of the layer that is looked at, where its cloud is large.
        loss: E (y - f)^2 averaged over the steps since the last record.
        step_size: eta in force; eta_theta: eta x top eigenvalue of the tangent kernel (stable below 2).
        order_parameters: {"cos4": ...} of this cloud, cos k angle(w) averaged over all neurons; order_errors: theirs.
        average_age: time covered by the running average of f (0: none yet).
        is_complete: the recipe's last step has been done.
        kernel: name of the inner loop in use.
        test_loss: E (y - f)^2 at the last record on unseen data; None where training sees all that there is.
        test_minus_train, test_minus_train_error: mean over the averaging window, and its standard error (nan early on).
        accuracies: {"train_accuracy": ..., "test_accuracy": ...} at the last record, where the output is a class.
    """

    step: int
    time: float
    clouds: tuple[Cloud, ...]
    n_neurons: int
    loss: float
    step_size: float
    eta_theta: float
    order_parameters: dict[str, float]
    average_age: float
    is_complete: bool
    kernel: str
    test_loss: float | None = None
    test_minus_train: float | None = None
    test_minus_train_error: float | None = None
    accuracies: dict[str, float] = field(default_factory=dict)
    order_errors: dict[str, float] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    seen: Seen | None = None

    @property
    def theta(self) -> Array:
        """Neurons of the first hidden layer, (n_sent, n_columns)."""
        return self.clouds[0].theta


@dataclass(frozen=True)
class CloudSeen(Event):
    """What was counted of a large cloud (initial, background or foreground) that stood still while the look changed."""

    cloud: str
    seen: Seen


@dataclass(frozen=True)
class FieldsReady(Event):
    """The functions on a square grid of the plane, for heat maps; None where the input is not two-dimensional.

    Attributes:
        extent: half side of the square; maps are (n_pixels, n_pixels), row = x2 ascending, column = x1 ascending.
    """

    extent: float
    target: Array
    background: Array
    foreground: Array | None
    residual: Array


@dataclass(frozen=True)
class ForegroundReady(Event):
    """The foreground's neurons of every hidden layer, its loss (and accuracies), and how it was sampled.

    Attributes:
        clouds: of a large one the first few neurons (`looks.n_sent`); sizes: neurons of every hidden layer.
        orders: mean and standard error of the order parameters over all neurons, of one hidden layer.
    """

    clouds: tuple[Cloud, ...]
    loss: float
    method: str
    seconds: float
    accuracies: dict[str, float] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    orders: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def theta(self) -> Array:
        """Neurons of the first hidden layer, (n_sent, n_columns)."""
        return self.clouds[0].theta


@dataclass(frozen=True)
class ComparisonReady(Event):
    """Verdict and numbers of background against foreground, one comparison a hidden layer."""

    comparisons: tuple[Comparison, ...]

    @property
    def comparison(self) -> Comparison:
        """Of the first hidden layer."""
        return self.comparisons[0]


@dataclass(frozen=True)
class TheoryReady(Event):
    """The infinite-width solution for the recipe in force; `test_loss` where it is of a finite training set."""

    theory: Theory
    test_loss: float | None = None


@dataclass(frozen=True)
class TheoryAbsent(Event):
    """No infinite-width solution is known for this recipe; `reason` is a sentence."""

    reason: str


@dataclass(frozen=True)
class ReferencesReady(Event):
    """What a network that learns no features would do: the lines to compare with."""

    lines: ReferenceLines


@dataclass(frozen=True)
class CertificateReady(Event):
    """How far the background is from the exact optimum, where that can be said."""

    certificate: Certificate


@dataclass(frozen=True)
class Answered(Event):
    """The answer to a question of the table `questions.table.QUESTIONS`."""

    name: str
    answer: Answer


@dataclass(frozen=True)
class DataKernelsReady(Event):
    """The data kernels of the initial cloud, the background at `step` and, once sampled, the foreground."""

    kernels: DataKernels
    step: int


@dataclass(frozen=True)
class IterationReady(Event):
    """One turn of the self-consistency loop: the foreground has become the background."""

    iteration: Iteration


@dataclass(frozen=True)
class Finished(Event):
    """The recipe is complete; `summary` is the document of `mft-lab run --json`."""

    outcome: Outcome
    summary: dict[str, Any]


@dataclass(frozen=True)
class Failed(Event):
    """Something went wrong: a sentence for the person, the traceback for the log; `step` where training stopped."""

    sentence: str
    traceback: str = ""
    step: int | None = None
