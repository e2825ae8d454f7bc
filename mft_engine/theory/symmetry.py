"""Angular basis that a target allows: the harmonics its symmetry keeps, on a piece of the circle.

If y is periodic under a turn by 2 pi / m, or changes sign under a turn by pi / m, or is even or odd under a
reflection, so are g, the signed density and f: the solve then lives on that piece of the circle alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AngularBasis:
    """Orthonormal functions of the angle and the grid on which they are sampled.

    Attributes:
        harmonics: (n_basis,) the k of each function (0 for the constant).
        is_sine: (n_basis,) whether it is a sine.
        offset: angle t0 of the axis: functions are sqrt(2) cos or sin of k (t - t0).
        period: length of the piece of the circle that repeats (up to sign), starting at t0.
        values: (n_basis, n_t) on the midpoints `angles` of that piece; orthonormal under the grid's mean.
        is_reflected: the piece is half of what repeats; the other half is its mirror image about t0.
        is_round: nothing depends on the angle.
    """

    harmonics: NDArray[np.int64]
    is_sine: NDArray[np.bool_]
    offset: float
    period: float
    angles: Array
    values: Array
    is_reflected: bool
    is_round: bool

    def mean_cosine(self, k: int, mass: Array) -> float:
        """E cos(k t) over the full circle, from the angular mass on the piece (total 1).

        Args:
            k: harmonic.
            mass: (n_t,) probabilities of the grid angles.
        """
        turns = round(2 * np.pi / (self.period * (2 if self.is_reflected else 1)))
        if self.is_round or k % turns:
            return 0.0
        if self.is_reflected:
            return float(np.cos(k * self.offset) * (mass @ np.cos(k * (self.angles - self.offset))))
        return float(mass @ np.cos(k * self.angles))

    def at(self, angles: Array) -> Array:
        """The functions at any angles: (n_basis, *angles.shape)."""
        return _functions(self.harmonics, self.is_sine, angles - self.offset)


def _functions(harmonics: NDArray[np.int64], is_sine: NDArray[np.bool_], angles: Array) -> Array:
    shape = (-1,) + (1,) * np.ndim(angles)
    phase = harmonics.reshape(shape) * angles
    sine = is_sine.reshape(shape)
    values = np.sqrt(2.0) * np.where(sine, np.sin(phase), np.cos(phase))
    values[harmonics == 0] = 1.0
    return values


@dataclass(frozen=True)
class AngularSymmetry:
    """Symmetry of the visible part of a target.

    Attributes:
        base: m; every visible harmonic is a multiple of it (0: only the constant).
        flips: y changes sign under a turn by pi / m (only odd multiples of m occur).
        reflection: "even", "odd" or "none" about `offset`.
    """

    base: int
    flips: bool
    reflection: str
    offset: float

    def basis(self, n_harmonics: int, n_angles: int, visible: NDArray[np.bool_]) -> AngularBasis:
        """All allowed functions with k < n_harmonics, on a grid as fine as n_angles round the full circle."""
        if self.base == 0:
            harmonics = np.zeros(1, dtype=np.int64)
            period = 2 * np.pi
            n_t = 1
        else:
            harmonics = np.arange(self.base if self.flips else 0, n_harmonics, self.base * (2 if self.flips else 1))
            period = (np.pi if self.flips else 2 * np.pi) / self.base
            if self.reflection != "none":
                period /= 2
            n_t = max(4, int(np.ceil(n_angles * period / (2 * np.pi))))
        harmonics = harmonics[visible[harmonics]]
        cosines = harmonics if self.reflection != "odd" else harmonics[:0]
        sines = harmonics[harmonics > 0] if self.reflection != "even" else harmonics[:0]
        every = np.concatenate([cosines, sines])
        is_sine = np.concatenate([np.zeros(len(cosines), dtype=bool), np.ones(len(sines), dtype=bool)])
        local = (np.arange(n_t) + 0.5) * period / n_t
        return AngularBasis(
            every,
            is_sine,
            self.offset,
            period,
            local + self.offset,
            _functions(every, is_sine, local),
            is_reflected=self.base > 0 and self.reflection != "none",
            is_round=self.base == 0,
        )


NO_SYMMETRY = AngularSymmetry(base=1, flips=False, reflection="none", offset=0.0)


def find_symmetry(coefficients: NDArray[np.complex128], weights: Array, visible: NDArray[np.bool_]) -> AngularSymmetry:
    """The symmetry of the visible part of y(s, u) = sum_k Re[(2 - delta_k0) c_k(s) exp(i k u)].

    Args:
        coefficients: (n_k, n_s) c_k(s).
        weights: (n_s,) radial weights.
        visible: (n_k,) whether the activation has that harmonic at all.

    Returns:
        the symmetry; base 0 where nothing but the constant is left.
    """
    size = np.sqrt((np.abs(coefficients) ** 2 * weights).sum(axis=1))
    present = (size > 1e-10 * max(float(size.max()), 1e-300)) & visible[: len(size)]
    harmonics = np.flatnonzero(present)
    turning = harmonics[harmonics > 0]
    if not len(turning):
        return AngularSymmetry(0, False, "none", 0.0)
    base = reduce(gcd, (int(k) for k in turning))
    flips = 0 not in harmonics and bool(np.all((turning // base) % 2 == 1))
    strongest = int(turning[np.argmax(size[turning])])
    node = int(np.argmax(np.abs(coefficients[strongest]) ** 2 * weights))
    phase = -float(np.angle(coefficients[strongest, node]))
    kept = coefficients[harmonics] * np.sqrt(weights)
    limit = 1e-9 * float(size[harmonics].max())
    for j in range(4 * strongest):
        offset = (phase + 0.5 * np.pi * j) / strongest
        turned = kept * np.exp(1j * harmonics * offset)[:, None]
        if np.abs(turned.imag).max() < limit:
            return AngularSymmetry(base, flips, "even", offset)
        if np.abs(turned.real).max() < limit:
            return AngularSymmetry(base, flips, "odd", offset)
    return AngularSymmetry(base, flips, "none", 0.0)
