"""The roads from rich to lazy: what temperature and readout exponent mean in units of the mean-field problem.

With f = N^-kappa sum a phi and b = N^(1-kappa) a, f = (1/N) sum b phi, and the energy

    N^(2 kappa - 1) E r^2 / 2 + sum_i (lambda_w |w_i|^2 + lambda_a a_i^2) / 2          at temperature T

times N^(2 - 2 kappa) is the mean-field energy with T' = N^(2-2kappa) T, lambda_w' = N^(2-2kappa) lambda_w and
lambda_a' = lambda_a. At kappa = 1/2 T' = N T grows without bound at a fixed prior of w: the Gaussian process.

Source: docs/physics.md, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from mft_engine.network.scaling import mean_field_temperature_scale, readout_gain


@dataclass(frozen=True)
class EquivalentProblem:
    """A mean-field problem (readout exponent 1) that is the same as one at another exponent.

    Attributes:
        temperature, lambda_w, lambda_a: of the mean-field problem.
        readout_factor: b / a, by which readouts are larger there.
    """

    temperature: float
    lambda_w: float
    lambda_a: float
    readout_factor: float


def equivalent_mean_field(
    n_neurons: int, readout_exponent: float, temperature: float, lambda_w: float, lambda_a: float
) -> EquivalentProblem:
    """The mean-field problem whose finite-N equilibrium is exactly that of readout exponent kappa.

    Solving it at infinite width with these values gives the theory for *this* N at kappa < 1 (up to 1/N): the
    readout-exponent road. An observed readout a is b / readout_factor.

    Args:
        n_neurons: N.
        readout_exponent: kappa, 1/2 to 1.
        temperature, lambda_w, lambda_a: of the network at exponent kappa.
    """
    factor = mean_field_temperature_scale(n_neurons, readout_exponent)
    return EquivalentProblem(
        factor * temperature, factor * lambda_w, lambda_a, readout_gain(n_neurons, readout_exponent)
    )
