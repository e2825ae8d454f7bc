"""What a network that learns no features would do on the same task: the lines to compare a run with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mft_engine.laws.harmonics import SuperlinearActivationError, refuse_superlinear
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import targets_on, training_measure
from mft_engine.recipe import Recipe
from mft_engine.tasks import Task
from mft_engine.theory.feature_kernel import solve_point_process
from mft_engine.theory.gaussian_process import solve_gaussian_process
from mft_engine.theory.tangent_kernel import tangent_kernel

N_TIMES = 200
MAX_TRAINING_POINTS = 1024
# Points beyond the plane: a kernel and its eigenvalues take some seconds.
MOST_POINTS = 2048


@dataclass(frozen=True)
class ReferenceLines:
    """Lazy predictions for the recipe in force; None where they do not apply.

    Attributes:
        gaussian_process_loss: E(y - f)^2 of the posterior mean at readout exponent 1/2 (T > 0).
        gaussian_process_network_loss: the same for one lazy network, its posterior variance included.
        tangent_times, tangent_losses: (n,) gradient descent with the tangent kernel frozen at its start (T = 0).
    """

    gaussian_process_loss: float | None = None
    gaussian_process_network_loss: float | None = None
    tangent_times: np.ndarray | None = None
    tangent_losses: np.ndarray | None = None


def reference_lines(recipe: Recipe, task: Task) -> ReferenceLines:
    """The lines for a recipe.

    The linearised run at T = 0 leaves regularisation out, so it is a guide for the early part of training.
    """
    training = recipe.training
    if recipe.network.n_layers > 1 or training.n_points > MAX_TRAINING_POINTS:
        return ReferenceLines()
    if task.n_inputs != 2 or task.n_out > 1:
        return _beyond_the_plane(recipe, task)
    activation = recipe.network.activation
    if training.temperature > 0:
        if not recipe.network.train_readout:
            return ReferenceLines()
        points = None
        if training.n_points or not task.is_gaussian:
            measure = training_measure(training, task, recipe.seed)
            if len(measure.weights) > MAX_TRAINING_POINTS:
                return ReferenceLines()
            points = (measure.inputs, targets_on(measure, task), measure.weights)
        target = None if points else task.target
        try:
            process = solve_gaussian_process(
                target, activation, training.temperature, recipe.lambda_w, recipe.lambda_a, points=points
            )
        except SuperlinearActivationError:
            return ReferenceLines()
        return ReferenceLines(gaussian_process_loss=process.loss, gaussian_process_network_loss=process.network_loss)
    if training.n_points or not task.is_gaussian or training.dynamics == "adam":
        return ReferenceLines()
    if training.preconditioner != "none" or training.step_size == "auto":
        return ReferenceLines()
    kernel = tangent_kernel(
        task.target,
        activation,
        recipe.initial.input_weight_std,
        recipe.initial.readout_std,
        train_readout=recipe.network.train_readout,
    )
    end = training.n_steps * float(training.step_size) if training.n_steps else training.time
    times = np.linspace(0.0, end, N_TIMES)
    return ReferenceLines(tangent_times=times, tangent_losses=kernel.loss(times))


def _beyond_the_plane(recipe: Recipe, task: Task) -> ReferenceLines:
    """The Gaussian process on the recipe's own points."""
    training = recipe.training
    if training.temperature == 0 or not recipe.network.train_readout:
        return ReferenceLines()
    try:
        refuse_superlinear(recipe.network.activation)
    except SuperlinearActivationError:
        return ReferenceLines()
    measure = training_measure(training, task, recipe.seed)
    if len(measure.weights) > MOST_POINTS:
        return ReferenceLines()
    targets = targets_on(measure, task).reshape(len(measure.weights), -1)
    process = solve_point_process(measure.inputs, targets, measure.weights, *Neuron.of(recipe))
    return ReferenceLines(gaussian_process_loss=process.loss, gaussian_process_network_loss=process.network_loss)
