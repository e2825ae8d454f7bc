"""The averages of a background against what its own field makes of a neuron, and what that would have noticed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mft_engine.compare.averages import (
    AveragesTest,
    Expectation,
    averages,
    compare_averages,
    feature_words,
    neuron_features,
    neuron_outputs,
    short_length,
)
from mft_engine.compare.fluctuations import MAX_OUTPUTS, Averaging, Fluctuations, fluctuations
from mft_engine.compare.resolution import Resolution, resolve
from mft_engine.compare.rules import AVERAGES_LEVEL
from mft_engine.field.field import MeanField
from mft_engine.laws.harmonics import SuperlinearActivationError
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.foreground import law_of
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.slices import finished

# Exact draws cost next to nothing, and a large reference has no noise of its own.
N_EXACT = 30_000
# Of which the covariances are taken.
N_COVARIANCE = 8192
# Below so many neurons averages are not normal, and covariances of the reference are not known.
FEWEST = 100
PER_STATISTIC = 20
# Number of the draw of the reference, apart from those of foregrounds.
DRAW = 977


def has_gibbs_law(recipe: Recipe) -> bool:
    """Whether a neuron in a field that stays has the law exp(-V/T)/Z: with noise, and readouts that move."""
    return recipe.training.temperature > 0 and recipe.network.train_readout


def is_of_one_moment(recipe: Recipe, kind: str, averaging: Averaging) -> bool:
    """Whether the noise of the field alone could pull right clouds apart.

    Gradient descent has no law that the noise of one moment would tilt; an untrained background is wrong anyway.

    Args:
        kind: of the background; averaging: of its field.
    """
    return has_gibbs_law(recipe) and kind != "untrained" and averaging.n_predictions <= 1


@dataclass(frozen=True)
class FieldExpectation:
    """What a field makes of a neuron, as far as the averages of a background go.

    Attributes:
        reference: (n, n_inputs + n_out) neurons of the law in the field; field: in float64; temperature: 1 where T = 0.
        short: as in `neuron_features`; expected: of a background of n_background neurons.
        is_gibbs: whether the law is exp(-V/T)/Z.
    """

    reference: Tensor
    field: MeanField
    temperature: float
    short: float
    expected: Expectation
    n_background: int
    is_gibbs: bool

    def test(self, background: Tensor) -> AveragesTest:
        """The quadratic test of a background, (n_background, n_inputs + n_out)."""
        rows = averages(background.double(), self.field, self.temperature, self.short, self.expected.modes)
        return compare_averages(rows, self.expected)

    def resolution(self, seed: int, n_pooled: int = 1) -> Resolution:
        """What the test would notice in n_pooled runs together."""
        found = resolve(
            self.reference, self.field, self.temperature, self.short, self.expected, self.n_background, AVERAGES_LEVEL,
            seed, n_pooled,
        )  # fmt: skip
        if self.is_gibbs:
            return found
        # There is no prior to draw from, and no temperature.
        return Resolution(weight_scale=found.weight_scale, readout_scale=found.readout_scale, turn=found.turn)


def compare_with_field(
    recipe: Recipe,
    background: Tensor,
    foreground: Tensor,
    frozen: MeanField,
    points: FieldPoints,
    mean_prediction: np.ndarray,
    averaging: Averaging,
    n_pooled: int = 1,
) -> tuple[AveragesTest, Resolution] | None:
    """The quadratic test of the averages, and its resolution; None for clouds too small to have any.

    Args:
        background: (n_neurons, n_inputs + n_out); the others as in `expect_in_field`.
        n_pooled: runs that the resolution is told for, whose averages are pooled.
    """
    found = expect_in_field(recipe, len(background), foreground, frozen, points, mean_prediction, averaging)
    return None if found is None else (found.test(background), found.resolution(recipe.seed, n_pooled))


def expect_in_field(
    recipe: Recipe,
    n_background: int,
    foreground: Tensor,
    frozen: MeanField,
    points: FieldPoints,
    mean_prediction: np.ndarray,
    averaging: Averaging,
) -> FieldExpectation | None:
    """What the averages of a background of so many neurons should be; None for clouds too small to have any.

    Where the law of a neuron in the field is known exactly (temperature above 0, trained readouts, one readout in the
    plane) the reference is a large draw from it, else the foreground itself. At temperature 0 there is no repulsion to
    reckon with, and the background's scatter is counted as that of independent neurons.

    Args:
        foreground: (n_neurons, n_inputs + n_out); frozen: the field that it reacted to.
        mean_prediction: (n_points,) or (n_points, n_out) the function that made the field, as a mean of a phi over the
            neurons (f times N^(kappa-1)).
    """
    is_gibbs = has_gibbs_law(recipe)
    temperature = recipe.training.temperature or 1.0
    field = replace(frozen, inputs=frozen.inputs.double(), signal=frozen.signal.double())
    n_inputs = points.inputs.shape[1]
    reference = foreground.double()
    if is_gibbs and n_inputs == 2 and points.targets.ndim == 1:
        drawn = _exact_reference(recipe, frozen, points, n_background)
        reference = reference if drawn is None else torch.as_tensor(drawn, device=foreground.device)
    words = feature_words(n_inputs)
    if min(n_background, len(reference)) < max(FEWEST, PER_STATISTIC * len(words)):
        return None
    short = short_length(reference, n_inputs)
    found = neuron_features(reference, field, temperature, short)
    k = found.shape[1]
    if is_gibbs:
        # Of too many points the covariance is not taken, and the outputs are not made.
        n_taken = N_COVARIANCE if points.targets.size <= MAX_OUTPUTS else 0
        outputs = neuron_outputs(reference[:n_taken], field)
        weights = points.weights
        flat = np.repeat(weights, outputs.shape[1] // len(weights)) if weights.ndim == 1 else weights.ravel()
        moving = fluctuations(
            found[:N_COVARIANCE], outputs, flat, temperature, averaging,
            lambda cloud: neuron_outputs(torch.as_tensor(cloud, device=foreground.device), field),
        )  # fmt: skip
        modes = moving.modes * flat[:, None]
    else:
        own = np.cov(found.T, bias=True).reshape(k, k)
        moving, modes = Fluctuations(np.zeros((0, 0)), own, np.zeros((k, k))), np.zeros((0, 0))
    covariance = (moving.scatter + moving.tilt) / n_background
    covariance[:k, :k] += np.cov(found.T, bias=True).reshape(k, k) / len(reference)
    along = mean_prediction.reshape(-1) @ modes if modes.size else np.zeros(0)
    # The sign of a mode is arbitrary: the function lies on its positive side.
    signs = np.where(along < 0, -1.0, 1.0)
    modes = modes * signs
    flip = np.concatenate([np.ones(k), signs])
    covariance *= np.outer(flip, flip)
    mean = np.concatenate([found.mean(axis=0), along * signs])
    words |= {f"mode{j + 1}": f"function along its mode {j + 1}" for j in range(modes.shape[1])}
    expected = Expectation.of(words, mean, covariance, modes)
    return FieldExpectation(reference, field, temperature, short, expected, n_background, is_gibbs)


def _exact_reference(recipe: Recipe, frozen: MeanField, points: FieldPoints, n_background: int) -> np.ndarray | None:
    """A large draw from the law of a neuron in the field; None where it is not known after all."""
    method = "finite-width" if recipe.foreground.method == "finite-width" else "gibbs"
    try:
        law = law_of(recipe.replace({"foreground.method": method}), frozen, points, n_background)
        return finished(law.draw(N_EXACT, seed=recipe.seed, number=DRAW)).theta
    except (SuperlinearActivationError, RecipeError, ArithmeticError):
        return None
