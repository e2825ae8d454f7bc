"""A recipe made concrete: task, measure, device and inner loop; what does not change while a background is trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mft_engine import kernels
from mft_engine.device import choose_device, choose_dtype, set_threads
from mft_engine.dynamics import Problem
from mft_engine.dynamics.layered import Layered
from mft_engine.dynamics.two_layer import TwoLayer
from mft_engine.experiment.stored_background import StoredBackground, load_stored_background
from mft_engine.kernels import Kernel, Mover
from mft_engine.network.activations import Activation, get_activation
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.scaling import LAZY_EXPONENT
from mft_engine.network.tables import Tables
from mft_engine.points.measure import (
    FieldPoints,
    Measure,
    judging_measure,
    polar_rule,
    signs,
    targets_on,
    training_measure,
)
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.tasks import Task, build_task


@dataclass(frozen=True)
class Setting:
    """Task, measures, device and kernel of one recipe.

    Attributes:
        kind: of the background: trained, lazy, untrained or stored.
        stored: the background of a run or a file, where the recipe names one.
        network: how parameters make a function; movers: the inner loops of its fresh neurons, one a hidden layer.
        measure: what the network is trained on; field_measure: the points on which its running average lives.
    """

    task: Task
    kind: str
    device: torch.device
    dtype: torch.dtype
    activation: Activation
    measure: Measure
    field_measure: Measure
    network: TwoLayer | Layered
    kernel: Kernel
    movers: tuple[Mover, ...]
    stored: StoredBackground | None = None

    @classmethod
    def of(cls, recipe: Recipe, kernel: str = "auto") -> Setting:
        """Build what a recipe names.

        Raises:
            RecipeError: a task, rule, background or device that cannot be built.
        """
        task = build_task(recipe.task, recipe.seed)
        kind = recipe.foreground.background
        stored = None
        if kind not in ("trained", "lazy", "untrained"):
            stored, kind = load_stored_background(kind, task.n_inputs, task.n_out), "stored"
        if recipe.training.rule_rotates and not (task.n_inputs == 2 and task.is_gaussian):
            raise RecipeError("training.rule_rotates = true turns the Gaussian plane; this task has other inputs")
        if recipe.training.dynamics == "gibbs" and (task.n_inputs != 2 or task.n_out > 1):
            raise RecipeError(
                'training.dynamics = "gibbs" is for two inputs and one readout; choose "langevin" for this task'
            )
        device = choose_device(recipe.engine.device)
        dtype = choose_dtype(recipe.engine.dtype, device)
        set_threads(recipe.engine)
        activation = get_activation(recipe.network.activation)
        measure = training_measure(recipe.training, task, recipe.seed)
        field_measure = _field_measure(recipe, task, measure)
        if recipe.network.n_layers > 1:
            if task.n_out > 1:
                raise RecipeError(
                    f"task.name = {task.name!r} has {task.n_out} readouts a neuron, which is for networks of one "
                    "hidden layer: choose one number of neurons, or another task"
                )
            if stored is not None:
                raise RecipeError(
                    "foreground.background: a stored background has one hidden layer; this recipe asks for "
                    f'{recipe.network.n_layers}. Choose "trained", "lazy" or "untrained"'
                )
            shapes = LayeredNetwork.of(recipe, task.n_inputs)
            network = Layered(shapes, _told_by(task, measure, device, dtype))
            movers = kernels.choose_movers(shapes, device, dtype)
            n_points = recipe.training.batch_size or len(measure.inputs)
            layered = kernels.choose_layered(shapes, device, dtype, n_points, cast(kernels.KernelKind, kernel))
            return cls(task, kind, device, dtype, activation, measure, field_measure, network, layered, movers)
        chosen = kernels.choose(
            activation,
            device=device,
            dtype=dtype,
            n_inputs=task.n_inputs,
            n_out=task.n_out,
            kind=cast(kernels.KernelKind, kernel),
        )
        cloud = TwoLayer(activation, task.n_inputs, task.n_out, recipe.network.n_neurons[0], task.n_relevant)
        return cls(task, kind, device, dtype, activation, measure, field_measure, cloud, chosen, (chosen,), stored)

    def readout_exponent(self, recipe: Recipe) -> float:
        """kappa of the background: the recipe's, 1/2 for the lazy one, its own for a stored one."""
        if self.stored is not None:
            return self.stored.readout_exponent
        return LAZY_EXPONENT if self.kind == "lazy" else recipe.network.readout_exponent

    def foreground_exponent(self, recipe: Recipe) -> float:
        """kappa of the foreground: mean field against a lazy background, else the background's."""
        return 1.0 if self.kind == "lazy" else recipe.network.readout_exponent

    def tensor(self, values: np.ndarray) -> Tensor:
        """Host values in the device's dtype."""
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def targets(self, measure: Measure) -> np.ndarray:
        """The target at the points of a measure, (n,) or (n, n_out) float64.

        Raises:
            RecipeError: a target that is not a finite number there.
        """
        values = targets_on(measure, self.task)
        if not np.isfinite(values).all():
            is_bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
            place = measure.inputs[is_bad][0].round(3).tolist()
            raise RecipeError(f"The target {self.task.formula} is not a finite number at x = {place}")
        return values

    @cached_property
    def field_points(self) -> FieldPoints:
        """The points on which the frozen field lives, on the host."""
        measure = self.field_measure
        return FieldPoints(measure.inputs, measure.weights, self.targets(measure), measure.rule)

    def problem(self, recipe: Recipe) -> Problem:
        """What the dynamics needs to know of this setting."""
        training, measure = recipe.training, self.measure
        inputs = self.tensor(measure.inputs)
        is_still = self.field_measure is measure
        return Problem(
            network=self.network,
            inputs=inputs,
            targets=self.tensor(self.targets(measure)),
            weights=self.tensor(measure.weights),
            field_inputs=inputs if is_still else self.tensor(self.field_measure.inputs),
            target=self.task.target,
            readout_exponent=self.readout_exponent(recipe),
            seed=recipe.seed,
            batch_size=training.batch_size,
            is_finite_data=training.n_points > 0 or self.task.points is not None,
            input_map=signs if self.task.inputs == "signs" else None,
            rotates=training.rule_rotates and not training.n_points and not training.batch_size,
            burn_in=burn_in(recipe),
            end_time=training.time,
            end_step=training.n_steps,
            kernel=self.kernel,
        )


def burn_in(recipe: Recipe) -> float:
    """Time after a change of hyperparameters before the averages (re)start: the first part of the run."""
    training = recipe.training
    length = training.time
    if training.n_steps and training.step_size != "auto":
        length = training.n_steps * float(training.step_size)
    return (1.0 - recipe.foreground.window) * length


def _told_by(task: Task, measure: Measure, device: torch.device, dtype: torch.dtype) -> Tables:
    """What neurons of upper layers are told apart by."""
    named, inputs = task.functions, measure.inputs
    values = np.stack([function.of(inputs) for function in named], axis=1) if named else np.zeros((len(inputs), 0))
    weights, functions = (torch.as_tensor(a, dtype=dtype, device=device) for a in (measure.weights, values))
    return Tables(weights, functions, tuple(f.name for f in named))


def _field_measure(recipe: Recipe, task: Task, measure: Measure) -> Measure:
    training = recipe.training
    if training.n_points or task.points is not None or not (training.batch_size or training.rule_rotates):
        return measure
    if task.n_inputs == 2 and task.is_gaussian:
        return polar_rule(16, 64)
    return judging_measure(training, task, recipe.seed)
