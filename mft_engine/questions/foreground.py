"""A foreground from a law that is known exactly: the Gibbs law of the frozen field, or that of a finite network."""

from __future__ import annotations

import numpy as np
import torch

from mft_engine.device import to_host
from mft_engine.field.field import MeanField
from mft_engine.field.walk import DRAWS
from mft_engine.laws.chains import sample_frozen_law
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.theory import point_problem
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.finite_particles import follow_finite_width, sample_corrected
from mft_engine.theory.finite_width import solve_finite_width


def sample_exactly(
    recipe: Recipe, field: MeanField, points: FieldPoints, n_background: int, draw: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Neurons drawn from a law that is known exactly: no dynamics, no step size.

    Method "gibbs": the Gibbs law exp(-V/T)/Z of the frozen field. Method "finite-width": the law of one neuron of an
    equilibrium network of n_background neurons with that mean residual, correct to O(1/N). In other dimensions than
    two Metropolis-adjusted Langevin chains sample the former, and particles the latter.

    Returns:
        (n_neurons, n_inputs + 1) float64, and how the chains fared: acceptance, effective_sample_size, drift (none for
        draws that are independent by construction).

    Raises:
        RecipeError: frozen readouts, or a case without a known law.
        ArithmeticError: chains that have not mixed.
    """
    method = recipe.foreground.method
    if not recipe.network.train_readout:
        raise RecipeError(f'foreground.method = "{method}" needs trained readouts; choose "dynamics" for this recipe')
    neuron = Neuron.of(recipe)
    signal = to_host(field.signal).astype(np.float64)
    is_planar = points.inputs.shape[1] == 2 and points.targets.ndim == 1
    if method == "finite-width":
        if recipe.network.readout_exponent != 1.0:
            raise RecipeError('foreground.method = "finite-width" needs network.readout_exponent = 1')
        if not is_planar:
            return _from_particles(recipe, signal, points, n_background, draw), {}
        law = solve_finite_width(
            points.inputs, points.targets, points.weights, n_background, *neuron, residual=signal / points.weights
        ).law
    elif is_planar:
        law = PlanarLaw.from_field(points.inputs, signal, *neuron)
    else:
        sample = sample_frozen_law(
            points.inputs, signal, *neuron, recipe.foreground.n_neurons, seed=recipe.seed + draw * DRAWS
        )
        if abs(sample.drift) > 4:
            raise ArithmeticError(
                "The exact foreground has not reached its law: its chains still drift. Choose "
                'foreground.method = "dynamics", or a higher temperature'
            )
        health = {
            "acceptance": sample.acceptance,
            "effective_sample_size": sample.effective_sample_size,
            "drift": sample.drift,
        }
        return sample.theta, health
    return law.sample(recipe.foreground.n_neurons, host_generator(recipe.seed, Stream.FOREGROUND_GIBBS, draw)), {}


def _from_particles(
    recipe: Recipe, signal: np.ndarray, points: FieldPoints, n_background: int, draw: int
) -> np.ndarray:
    """Neurons of the finite-width law beyond the plane.

    Args:
        signal: (n_points,) or (n_points, n_out) weight x mean residual; others as in `sample_exactly`.
    """
    problem = point_problem(recipe, points.inputs, points.targets, points.weights)
    residual = signal.reshape(len(points.weights), -1) / points.weights[:, None]
    mean = torch.as_tensor(residual, dtype=torch.float64, device=problem.inputs.device)
    seed = recipe.seed + draw * DRAWS
    try:
        *_, found = follow_finite_width(problem, mean, n_background, seed=seed)
    except ValueError as error:
        raise RecipeError(f'foreground.method = "finite-width": {error}') from None
    assert not isinstance(found, float)
    return sample_corrected(problem, *found, recipe.foreground.n_neurons, seed)
