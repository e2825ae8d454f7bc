"""Everything that a finished (or interrupted) experiment leaves: host arrays that figures, exports and folders use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.questions.certificate import Certificate
    from mft_engine.questions.kernel_study import DataKernels
    from mft_engine.theory.planar import PlanarTheory

Array = np.ndarray


@dataclass(frozen=True)
class Cloud:
    """One population of neurons on the host.

    Attributes:
        theta: (n_neurons, n_params) columns w1 .. wd, a.
        prediction: (n_points,) or (n_points, n_out) the function it makes on the field points (background: its running
            average).
        loss: E (y - f)^2.
        kind: trained, lazy, untrained, dynamics, gibbs, ...
    """

    theta: Array
    prediction: Array
    loss: float
    kind: str


@dataclass(frozen=True)
class LayerCloud:
    """The neurons of one hidden layer of a network with several, by the few numbers that tell them apart.

    Attributes:
        theta: (n_neurons, k + 1) float32; the last column is the weight with which a neuron acts on the output.
        names: of the columns.
    """

    theta: Array
    names: tuple[str, ...]


@dataclass(frozen=True)
class FieldPoints:
    """The points that stand for the measure of x, with the target on them.

    Attributes:
        inputs: (n_points, n_inputs); weights: (n_points,) that sum to 1 or to the data's own total; targets:
            (n_points,) or (n_points, n_out).
        rule: in words, with its size.
    """

    inputs: Array
    weights: Array
    targets: Array
    rule: str


@dataclass(frozen=True)
class Outcome:
    """What a run has computed so far; parts that are not there yet are None.

    Attributes:
        initial_theta: (n_neurons, n_params), the cloud at step 0.
        metrics: columns recorded along the run, each (n_records,): step, time, loss, step_size, eta_theta, cos4 ...
        snapshots: stored clouds along the run, (n_stored, n_shown, n_params); snapshot_steps (n_stored,).
        layers, foreground_layers, layer_comparisons: one entry a hidden layer, for networks with several.
    """

    recipe: Recipe
    points: FieldPoints
    initial_theta: Array
    background: Cloud
    metrics: dict[str, Array]
    snapshots: Array
    snapshot_steps: Array
    foreground: Cloud | None = None
    comparison: Comparison | None = None
    theory: PlanarTheory | None = None
    certificate: Certificate | None = None
    layers: tuple[LayerCloud, ...] = ()
    foreground_layers: tuple[LayerCloud, ...] = ()
    layer_comparisons: tuple[Comparison, ...] = ()
    kernels: DataKernels | None = None
    summary: dict[str, Any] = field(default_factory=dict)
