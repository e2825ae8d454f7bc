"""What stands behind the words of a verdict: how far a background is from the exact mean-field optimum."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mft_engine.laws.harmonics import SuperlinearActivationError
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.neuron import Neuron
from mft_engine.points.measure import FieldPoints, weighted
from mft_engine.questions.posterior import Posterior
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.bounds import (
    SteinDiscrepancy,
    certify_law,
    cloud_score,
    residual_gap,
    stein_discrepancy,
)
from mft_engine.theory.planar import PlanarTheory

STEIN_NEURONS = 1024


@dataclass(frozen=True)
class Certificate:
    """Certificates of the background's time-averaged residual r and of its cloud; energies in units of the loss.

    mu_r is the Gibbs law of r: what an exact foreground is drawn from. Parts that no theory covers are None.

    Attributes:
        kernel_change: how far the data kernel has turned from that of the initial cloud, 0 to 1: feature learning.
        kl_from_prior: KL(mu_r | prior) of (w, a) in nats: feature learning, a different question from self-consistency.
        residual_gap: |y - r - f_(mu_r)|^2 / 2, the dual gap of r; it bounds `free_energy_excess` without any theory.
        free_energy: F(mu_r).
        free_energy_excess: F(mu_r) - F(mu*).
        lower, upper: T KL(mu_r | mu*) <= free_energy_excess <= T KL(mu_r | mu-hat).
        posterior: mean and variance of the function over the run's averaging window.
        stein: kernelised Stein discrepancy of the cloud under its own field, with its null band.
    """

    kernel_change: float | None = None
    kl_from_prior: float | None = None
    residual_gap: float | None = None
    free_energy: float | None = None
    free_energy_excess: float | None = None
    lower: float | None = None
    upper: float | None = None
    stein: SteinDiscrepancy | None = None
    posterior: Posterior | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the summary, which has the posterior in a place of its own."""
        elsewhere = ("posterior",)
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}


def certify(
    recipe: Recipe,
    points: FieldPoints,
    mean_prediction: np.ndarray,
    theta: np.ndarray,
    factor: float,
    theory: PlanarTheory | None,
) -> Certificate:
    """Everything that can be certified of a background.

    Args:
        mean_prediction: (n_points,) the time average of f on the field points.
        theta: (n_neurons, n_params) the cloud; at most STEIN_NEURONS of it are tested.
        factor: N^(kappa-1), by which a neuron feels the residual.
        theory: the optimum for the same recipe, where it is known.
    """
    temperature = recipe.training.temperature
    if temperature == 0 or not recipe.network.train_readout:
        return Certificate()
    residual = points.targets - mean_prediction
    signal = weighted(factor * points.weights, residual)
    neuron = Neuron.of(recipe)
    neurons = theta[:: math.ceil(len(theta) / STEIN_NEURONS)].astype(np.float64)
    stein = stein_discrepancy(
        neurons,
        cloud_score(neurons, points.inputs, signal, *neuron),
        host_generator(recipe.seed, Stream.PERMUTATION),
    )
    if points.inputs.shape[1] != 2 or points.targets.ndim > 1:
        return Certificate(stein=stein)
    try:
        law = PlanarLaw.from_field(points.inputs, signal, *neuron)
    except SuperlinearActivationError:
        return Certificate(stein=stein)
    gap = residual_gap(law, points.inputs, points.weights, points.targets, residual)
    known = Certificate(kl_from_prior=law.kl, residual_gap=gap if factor == 1.0 else None, stein=stein)
    if theory is None or recipe.training.n_points or factor != 1.0:
        return known
    try:
        sandwich = certify_law(law, theory, points.inputs, points.weights, points.targets)
    except SuperlinearActivationError:  # the law that answers mu_r has no end, so there is no upper bound
        return known
    return replace(
        known,
        free_energy=sandwich.free_energy,
        free_energy_excess=sandwich.excess,
        lower=sandwich.lower,
        upper=sandwich.upper,
    )
