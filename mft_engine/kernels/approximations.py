"""Scalar float32 functions for compiled kernels, in forms that vectorise: no branches, no library calls.

Coefficients are minimax fits made for this program. The errors stated are absolute, against float64, over all
float32 arguments; `tests/engine/test_kernels.py` measures them.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import math

import numpy as np
from numba import njit

from mft_engine.kernels import forms

# Reassociation is left out on purpose: argument reductions rely on the order of their additions.
EXACT_ORDER = {"nnan", "ninf", "nsz", "contract"}
scalar = njit(fastmath=EXACT_ORDER, error_model="numpy", nogil=True)

f32 = np.float32
ZERO, HALF, ONE, TWO = f32(0.0), f32(0.5), f32(1.0), f32(2.0)

# 2^f on [-1/2, 1/2], relative error 7.5e-8.
EXP2 = tuple(
    f32(c)
    for c in (
        1.0000000716546718,
        0.693146967064358,
        0.24022119723882351,
        0.05550713274154806,
        0.00967554133275074,
        0.00132764717801631,
    )
)
E0, E1, E2, E3, E4, E5 = EXP2
# Adding 1.5 * 2^23 rounds to an integer kept in the low bits; 127 more is the exponent's offset.
ROUND_TO_EXPONENT = f32(1.5 * 2**23 + 127)
ROUND = f32(1.5 * 2**23)
EXPONENT_LIMIT = f32(126.0)
EXPONENT_SHIFT = np.int32(23)
LOG2_E = f32(1.0 / math.log(2.0))
MINUS_2_LOG2_E = f32(-2.0 / math.log(2.0))


@scalar
def exp2(y):
    """2^y for |y| <= 126; relative error below 2e-7."""
    shifted = y + ROUND_TO_EXPONENT
    f = y - (shifted - ROUND_TO_EXPONENT)
    power = np.int32(np.float32(shifted).view(np.int32) << EXPONENT_SHIFT)
    return (E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * E5))))) * np.int32(power).view(np.float32)


@scalar
def tanh(z):
    """tanh z = 2/(1 + exp(-2z)) - 1; error below 2.5e-7."""
    y = min(max(z * MINUS_2_LOG2_E, -EXPONENT_LIMIT), EXPONENT_LIMIT)
    return TWO / (ONE + exp2(y)) - ONE


# (1 + 2^30)^4 is still a float32, and tanh is 1 to its last bit there.
SHARED_LIMIT = f32(30.0)


@scalar
def _one_plus_exp2(y):
    return ONE + exp2(min(max(y, -SHARED_LIMIT), SHARED_LIMIT))


@scalar
def tanh_of_four(y0, y1, y2, y3):
    """tanh z of four numbers y = -2 z / log 2, which share one division; error below 5e-7.

    1/a = b c d / (a b c d): a division of vectors takes as long as ten products.
    """
    a, b, c, d = _one_plus_exp2(y0), _one_plus_exp2(y1), _one_plus_exp2(y2), _one_plus_exp2(y3)
    ab, cd = a * b, c * d
    both = TWO / (ab * cd)
    of_ab, of_cd = both * cd, both * ab
    return of_ab * b - ONE, of_ab * a - ONE, of_cd * d - ONE, of_cd * c - ONE


P0, P1, P2 = (f32(c) for c in forms.ERFCX_P)
Q1, Q2, Q3, Q4 = (f32(c) for c in forms.ERFCX_Q)
ERF_IS_ONE = f32(5.0)
TWO_OVER_SQRT_PI = f32(2.0 / math.sqrt(math.pi))
# exp(-60): nothing is left of the slope there, and a signal's share of less is a subnormal number, which takes a
# hundred times as long as others.
SLOPE_LIMIT = f32(60.0 / math.log(2.0))


@scalar
def gaussian(z):
    """exp(-z^2); error below 4e-7."""
    return exp2(max(-z * z * LOG2_E, -EXPONENT_LIMIT))


@scalar
def erf(z):
    """erf z = sign(z) (1 - exp(-z^2) erfcx|z|); error below 4e-7."""
    x = min(abs(z), ERF_IS_ONE)
    tail = gaussian(x) * (P0 + x * (P1 + x * P2)) / (ONE + x * (Q1 + x * (Q2 + x * (Q3 + x * Q4))))
    return ONE - tail if z > ZERO else tail - ONE


@scalar
def erf_slope(z):
    """2/sqrt(pi) exp(-z^2); error below 4e-7."""
    return TWO_OVER_SQRT_PI * exp2(max(-z * z * LOG2_E, -SLOPE_LIMIT))


# pi/2 in three parts, so that z - q pi/2 keeps its digits (Cody and Waite).
HALF_PI_1, HALF_PI_2, HALF_PI_3 = f32(1.5703125), f32(4.837512969970703e-4), f32(7.549789948768648e-8)
TWO_OVER_PI = f32(2.0 / math.pi)
S0, S1, S2, S3 = (f32(c) for c in forms.SINE)
C0, C1, C2, C3, C4 = (f32(c) for c in forms.COSINE)
ONE_BIT, TWO_BIT = np.int32(1), np.int32(2)


@scalar
def _sine_quadrant(quadrant, r):
    """sin(r + quadrant pi/2), |r| <= pi/4."""
    s = r * r
    sine = r * (S0 + s * (S1 + s * (S2 + s * S3)))
    cosine = C0 + s * (C1 + s * (C2 + s * (C3 + s * C4)))
    base = cosine if (quadrant & ONE_BIT) != 0 else sine
    return -base if (quadrant & TWO_BIT) != 0 else base


@scalar
def _quarter_turns(z):
    return (z * TWO_OVER_PI + ROUND) - ROUND


@scalar
def _reduced(z, q):
    return ((z - q * HALF_PI_1) - q * HALF_PI_2) - q * HALF_PI_3


@scalar
def sin(z):
    """sin z; error below 2e-7 for |z| <= 1e4."""
    q = _quarter_turns(z)
    return _sine_quadrant(np.int32(q), _reduced(z, q))


@scalar
def cos(z):
    """cos z; error below 2e-7 for |z| <= 1e4."""
    q = _quarter_turns(z)
    return _sine_quadrant(np.int32(q) + ONE_BIT, _reduced(z, q))
