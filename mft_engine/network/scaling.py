"""How a network of N neurons depends on N, through its readout exponent kappa: the one place of these powers.

Source: docs/physics.md, sections 1 and 11.
"""

from __future__ import annotations

# kappa of the lazy background, in which neurons hardly move.
LAZY_EXPONENT = 0.5


def output_scale(n_neurons: int, exponent: float) -> float:
    """N^-kappa, by which the sum over neurons is multiplied to be f."""
    return float(n_neurons) ** -exponent


def drive(n_neurons: int, exponent: float) -> float:
    """N^(kappa - 1), by which one neuron feels the residual; f times it is the mean of a phi over neurons."""
    return float(n_neurons) ** (exponent - 1.0)


def readout_gain(n_neurons: int, exponent: float) -> float:
    """N^(1 - kappa), by which readouts of the mean-field network with the same law are larger."""
    return float(n_neurons) ** (1.0 - exponent)


def output_variance_scale(n_neurons: int, exponent: float) -> float:
    """N^(1 - 2 kappa), by which the variance of a phi of independent neurons is multiplied to be that of f."""
    return float(n_neurons) ** (1.0 - 2.0 * exponent)


def energy_scale(n_neurons: int, exponent: float) -> float:
    """N^(2 kappa - 1), the weight of E r^2 / 2 beside the penalties of all neurons."""
    return float(n_neurons) ** (2.0 * exponent - 1.0)


def mean_field_temperature_scale(n_neurons: int, exponent: float) -> float:
    """N^(2 - 2 kappa), by which T and lambda_w of the mean-field network with the same law are larger."""
    return float(n_neurons) ** (2.0 - 2.0 * exponent)
