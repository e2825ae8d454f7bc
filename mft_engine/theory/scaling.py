"""Heuristic sample scales: how many points a pattern of feature learning costs, up to constants. Not theory to test by.

A pattern is a way for a network to make the target's third Hermite polynomial: from the kernel of all neurons (GP), by
widening all neurons along the teacher (Gaussian feature learning), or with few neurons that point along it
(specialisation). What each costs in nats of the prior, minimised over what it leaves open, is the energy E; the network
learns where the data repay it, n* of order E, and takes the cheapest pattern.

Standard scaling: f = sum a phi(w.x) (deeper alike), prior variances 1/fan-in, noise of order 1.

Sources: the exponents d^3, sqrt(N2 d), (N1 N2 d)^(1/3), samples of order d (for N of order d) and sqrt(N/d) specialised
neurons are those of docs/physics.md, section 8 (from arXiv 2512.04165, unchecked). The costs below reproduce
them; the Gaussian pattern's exponent is derived here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

DEGREE = 3


@dataclass(frozen=True)
class ScalingCurve:
    """A predicted scale along one variable, up to a constant factor.

    Attributes:
        label: for legends; ends with "(heuristic)".
        variable: what x is.
        x, y: (n,) the variable, and n* (or a number of neurons). nan where the pattern does not fit the network.
        is_heuristic: always true here: draw it thin, name it so, never as a theory's line.
    """

    label: str
    variable: str
    x: np.ndarray
    y: np.ndarray
    is_heuristic: bool = True


@dataclass(frozen=True)
class Pattern:
    """What a pattern needs.

    Attributes:
        samples: n*.
        n_special: specialised neurons in each hidden layer (0: none).
    """

    name: str
    samples: float
    n_special: tuple[float, ...]


def two_layer_patterns(n_inputs: float, n_neurons: float) -> list[Pattern]:
    """The patterns of f = sum_i a_i erf(w_i.x) for He3 in d dimensions.

    GP: He3 has the kernel eigenvalue d^-3, E = d^3. Gaussian feature learning: all N variances along the teacher grow
    s-fold, E = d^3/s^3 + N s, least at s = (3 d^3/N)^(1/4): E ~ (N d)^(3/4). Specialisation: M neurons at d each, whose
    readouts 1/M cost N/M together, least at M = sqrt(N/d): E ~ sqrt(N d), which is of order d where N is.
    """
    d, n = float(n_inputs), float(n_neurons)
    widening = (DEGREE * d**DEGREE / n) ** 0.25
    special = (n / d) ** 0.5
    return [
        Pattern("GP", d**DEGREE, (0.0,)),
        Pattern(
            "Gaussian feature learning",
            d**DEGREE / widening**DEGREE + n * widening if widening >= 1 else np.nan,
            (0.0,),
        ),
        Pattern("specialisation", special * d + n / special if special >= 1 else np.nan, (special,)),
    ]


def three_layer_patterns(n_inputs: float, n_first: float, n_second: float) -> list[Pattern]:
    """The patterns of three layers, first layer - second layer, for He3 in d dimensions.

    GP-GP: d^3. GP-specialisation: M2 upper neurons read the teacher from the first layer's kernel at d each,
    E = M2 d + N2/M2: sqrt(N2 d). Specialisation in both: M1 lower neurons at d each, weights 1/M1 into M2 upper ones at
    N1 M2/M1 together, readouts N2/M2; all three equal at the least: (N1 N2 d)^(1/3).
    """
    d, n1, n2 = float(n_inputs), float(n_first), float(n_second)
    upper = (n2 / d) ** 0.5
    energy = (n1 * n2 * d) ** (1 / 3)
    first, second = energy / d, n2 / energy
    fits = 1 <= first <= n1 and 1 <= second <= n2
    return [
        Pattern("GP-GP", d**DEGREE, (0.0, 0.0)),
        Pattern("GP-specialisation", 2 * (n2 * d) ** 0.5 if 1 <= upper <= n2 else np.nan, (0.0, upper)),
        Pattern("specialisation-specialisation", 3 * energy if fits else np.nan, (first, second)),
    ]


def cheapest(patterns: list[Pattern]) -> Pattern:
    """The pattern that is learnt first: the least n* of those that fit the network."""
    return min((p for p in patterns if np.isfinite(p.samples)), key=lambda p: p.samples)


def two_layer_samples(n_inputs: ArrayLike, neurons_per_input: float) -> list[ScalingCurve]:
    """n* against d for every pattern of two layers, N = neurons_per_input x d."""
    return _curves("d", n_inputs, lambda d: two_layer_patterns(d, neurons_per_input * d))


def three_layer_samples(n_inputs: ArrayLike, first_per_input: float, second_per_input: float) -> list[ScalingCurve]:
    """n* against d for every pattern of three layers, both widths in proportion to d."""
    return _curves("d", n_inputs, lambda d: three_layer_patterns(d, first_per_input * d, second_per_input * d))


def specialised_neurons(n_inputs: float, n_neurons: ArrayLike) -> ScalingCurve:
    """How many neurons of two layers specialise, sqrt(N/d), against N."""
    widths = np.asarray(n_neurons, dtype=float)
    return ScalingCurve("specialised neurons (heuristic)", "N", widths, np.sqrt(widths / n_inputs))


def _curves(variable: str, values: ArrayLike, patterns_at: Callable[[float], list[Pattern]]) -> list[ScalingCurve]:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not (x > 0).all():
        raise ValueError(f"A scaling curve needs a list of positive values of {variable}")
    columns = [patterns_at(float(value)) for value in x]
    return [
        ScalingCurve(f"{first.name} (heuristic)", variable, x, np.array([column[number].samples for column in columns]))
        for number, first in enumerate(columns[0])
    ]


def collapse_quality(scaled: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """How far curves are from one: rms distance between each and the others' mean where they overlap, in units of y.

    Args:
        scaled: (x, y) of every curve, x > 0 rising; compared in log x.

    Returns:
        0 for one common curve; nan where no two overlap.
    """
    distances = []
    for number, (x, y) in enumerate(scaled):
        others = [
            np.interp(np.log(x), np.log(u), v, left=np.nan, right=np.nan)
            for other, (u, v) in enumerate(scaled)
            if other != number
        ]
        known = np.isfinite(others).any(axis=0)
        if known.any():
            distances.append(y[known] - np.nanmean(np.array(others)[:, known], axis=0))
    return float(np.sqrt(np.mean(np.concatenate(distances) ** 2))) if distances else float("nan")
