"""The law that an exact foreground is drawn from: the Gibbs law of the frozen field, or that of a finite network."""

from __future__ import annotations

import numpy as np
import torch

from mft_engine.device import double_device, to_host
from mft_engine.field.field import MeanField
from mft_engine.laws.frozen import FrozenLaw
from mft_engine.laws.law import Law
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.theory import point_problem
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.theory.finite_particles import FollowedLaw, refuse_width
from mft_engine.theory.finite_width import solve_finite_width


def law_of(recipe: Recipe, field: MeanField, points: FieldPoints, n_background: int) -> Law:
    """The law of a neuron in the frozen field of a background, by the recipe's method.

    Method "gibbs": the Gibbs law exp(-V/T)/Z of the field. Method "finite-width": the law of one neuron of an
    equilibrium network of n_background neurons with that mean residual, correct to O(1/N). With two inputs and one
    readout both stand on a grid; else chains draw from the former, and particles from the latter.

    Raises:
        RecipeError: frozen readouts, or a case without a known law.
    """
    method = recipe.foreground.method
    if not recipe.network.train_readout:
        raise RecipeError(f'foreground.method = "{method}" needs trained readouts; choose "dynamics" for this recipe')
    if method == "finite-width" and recipe.network.readout_exponent != 1.0:
        raise RecipeError('foreground.method = "finite-width" needs network.readout_exponent = 1')
    neuron, signal = Neuron.of(recipe), to_host(field.signal).astype(np.float64)
    if points.inputs.shape[1] == 2 and points.targets.ndim == 1:
        if method == "gibbs":
            return PlanarLaw.from_field(points.inputs, signal, *neuron)
        residual = signal / points.weights
        finite = solve_finite_width(
            points.inputs, points.targets, points.weights, n_background, *neuron, residual=residual
        )
        return finite.law
    if method == "gibbs":
        device = double_device(field.signal.device)
        inputs, told = (torch.as_tensor(part, dtype=torch.float64, device=device) for part in (points.inputs, signal))
        return FrozenLaw.from_field(inputs, told, *neuron)
    problem = point_problem(recipe, points.inputs, points.targets, points.weights)
    residual = signal.reshape(len(points.weights), -1) / points.weights[:, None]
    mean = torch.as_tensor(residual, dtype=torch.float64, device=problem.inputs.device)
    try:
        refuse_width(problem, n_background)
    except ValueError as error:
        raise RecipeError(f'foreground.method = "finite-width": {error}') from None
    return FollowedLaw(problem, mean, n_background)
