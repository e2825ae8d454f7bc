"""What every infinite-width solution answers, whichever solver found it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mft_engine.laws.planar import PlanarLaw

# Numbers of the summary: of every solution, of its one layer, and of those that are found by particles.
LAYER_NUMBERS = ("mean_norm", "mean_square_norm", "mean_square_readout")
NUMBERS = (
    "loss",
    "target_power",
    "alignment",
    "free_energy",
    "gap",
    "kl",
    "readout_free_kl",
    *LAYER_NUMBERS,
    "seconds",
)
PARTICLE_NUMBERS = (
    "loss_error", "test_loss", "test_loss_error", "train_accuracy", "train_accuracy_error", "test_accuracy",
    "test_accuracy_error", "free_energy_error", "dual",
    "gap_error", "excess", "excess_error", "population_share", "method", "n_particles", "n_replicates", "n_rounds",
)  # fmt: skip


class Theory(Protocol):
    """The infinitely wide network of a recipe: `PlanarTheory` on a grid, `ParticleTheory` by particles,
    `LayeredTheory` of two hidden layers.

    Attributes are read-only. loss is E |y - f|^2 without the half, with its standard error (0 on a grid); free_energy
    is loss/2 + T KL, the KL per neuron from the prior; gap is how far it is from its lower bound; alignment is
    E[y f] / E[y^2].
    """

    @property
    def loss(self) -> float: ...
    @property
    def loss_error(self) -> float: ...
    @property
    def test_loss(self) -> float | None: ...
    @property
    def test_accuracy(self) -> float | None: ...
    @property
    def free_energy(self) -> float: ...
    @property
    def gap(self) -> float: ...
    @property
    def kl(self) -> float: ...
    @property
    def alignment(self) -> float: ...
    @property
    def mean_norm(self) -> float: ...
    @property
    def mean_square_norm(self) -> float: ...
    @property
    def mean_square_readout(self) -> float: ...
    @property
    def order_parameters(self) -> dict[str, float]: ...
    @property
    def seconds(self) -> float: ...

    @property
    def trace_response(self) -> float | None:
        """Tr C (I + C/T)^-1: N times the mean-square fluctuation of an equilibrium background's function.

        None where that is not known.
        """
        ...

    @property
    def shortfall(self) -> str:
        """What the solution does not suffice for, and what would be enough; empty where it may be relied on."""
        ...

    @property
    def density(self) -> PlanarLaw | None:
        """The law with its density, in the plane; None where it is known by samples alone."""
        ...

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""
        ...

    def prediction(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The network's function at (n, n_inputs), (n,) or (n, n_out)."""
        ...

    def sample(self, n: int, *, seed: int = 0) -> NDArray[np.float64]:
        """Neurons of the law, (n, n_inputs + n_out) columns w, a."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for the summary; errors and counts are those of particles, else None."""
        ...


def function_variance(theory: Theory, n_neurons: int) -> float | None:
    """Mean-square fluctuation of the function of N neurons at the law's equilibrium; None where it is not known."""
    return None if theory.trace_response is None else theory.trace_response / n_neurons
