"""Everything that a finished (or interrupted) experiment leaves: host arrays that figures, exports and folders use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mft_engine.looks import n_sent
from mft_engine.points.measure import FieldPoints
from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.questions.certificate import Certificate
    from mft_engine.questions.kernel_study import DataKernels
    from mft_engine.questions.table import Answer
    from mft_engine.theory.theory import Theory

Array = np.ndarray


@dataclass(frozen=True)
class Cloud:
    """The neurons of one hidden layer as a table.

    Attributes:
        theta: (n_neurons, n_columns). Of one hidden layer the whole neuron, w1 .. wd and a; of several the few numbers
            that tell neurons apart, the last one the weight with which a neuron acts on the output (`network.tables`).
        names: of the columns.
    """

    theta: Array
    names: tuple[str, ...]


def sent(cloud: Cloud) -> Cloud:
    """A cloud in float32, for pictures: of a large one the neurons that are sent one by one."""
    return Cloud(cloud.theta[: n_sent(*cloud.theta.shape)].astype(np.float32), cloud.names)


@dataclass(frozen=True)
class Population:
    """The neurons of a network, or the fresh ones in their place.

    Attributes:
        clouds: one a hidden layer, the first layer first.
        prediction: (n_points,) or (n_points, n_out) the function it makes on the field points (background: its running
            average; foreground: with the neurons of the last hidden layer in their place).
        loss: E (y - f)^2.
        kind: trained, lazy, untrained, dynamics, gibbs, ...
    """

    clouds: tuple[Cloud, ...]
    prediction: Array
    loss: float
    kind: str

    @property
    def theta(self) -> Array:
        """The table of the first hidden layer, (n_neurons, n_columns)."""
        return self.clouds[0].theta

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns."""
        return self.clouds[0].names


@dataclass(frozen=True)
class Outcome:
    """What a run has computed so far; parts that are not there yet are None.

    Attributes:
        initial_theta: (n_neurons, n_params), the cloud at step 0.
        metrics: columns recorded along the run, each (n_records,): step, time, loss, step_size, eta_theta, cos4 ...
        snapshots: stored clouds along the run, (n_stored, n_shown, n_params); snapshot_steps (n_stored,).
        comparisons: one a hidden layer; none before there is a foreground.
        answers: to the questions of `questions.table`, by name.
    """

    recipe: Recipe
    points: FieldPoints
    initial_theta: Array
    background: Population
    metrics: dict[str, Array]
    snapshots: Array
    snapshot_steps: Array
    foreground: Population | None = None
    comparisons: tuple[Comparison, ...] = ()
    theory: Theory | None = None
    certificate: Certificate | None = None
    data_kernels: DataKernels | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def comparison(self) -> Comparison | None:
        """Of the first hidden layer, which is the only one of most networks."""
        return self.comparisons[0] if self.comparisons else None
