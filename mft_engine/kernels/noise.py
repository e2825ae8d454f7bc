"""The numbers of `mft_engine.rng.normal` in compiled kernels: same words, polynomials for Box-Muller."""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import math

import numpy as np
from numba import njit

from mft_engine import rng
from mft_engine.kernels import forms
from mft_engine.kernels.approximations import EXACT_ORDER
from mft_engine.kernels.vectors import use_widest_vectors

f32, u64, i32 = np.float32, np.uint64, np.int32
MULTIPLIER_0, MULTIPLIER_1 = u64(rng.MULTIPLIER_0), u64(rng.MULTIPLIER_1)
WEYL_0, WEYL_1 = u64(rng.WEYL_0), u64(rng.WEYL_1)
MASK_32, SHIFT_32, SHIFT_8 = u64(rng.MASK_32), u64(32), u64(8)
N_ROUNDS = rng.N_ROUNDS

L0, L1, L2, L3, L4, L5, L6, L7, L8 = (f32(c) for c in forms.LOGARITHM)
S0, S1, S2, S3 = (f32(c) for c in forms.SINE_OF_EIGHTHS)
C0, C1, C2, C3, C4 = (f32(c) for c in forms.COSINE_OF_EIGHTHS)
SQRT_HALF_BITS = i32(np.float32(math.sqrt(0.5)).view(np.int32))
LOG_2 = f32(math.log(2.0))
ONE_F, MINUS_TWO = f32(1.0), f32(-2.0)
EXPONENT_SHIFT, UNIT_EXPONENT = i32(23), i32(24)
HALF_TURN, EIGHTH_TURN, QUARTER_SHIFT = i32(2**23), i32(2**21), i32(22)
PER_EIGHTH_TURN = f32(2.0**-21)
ONE, TWO = i32(1), i32(2)


@njit(fastmath=EXACT_ORDER, error_model="numpy", nogil=True)
def _radius(word):
    """sqrt(-2 log u), u = ((word >> 8) + 1) 2^-24."""
    bits = np.float32(i32(word >> SHIFT_8) + ONE).view(np.int32)
    exponent = i32(i32(bits - SQRT_HALF_BITS) >> EXPONENT_SHIFT)
    f = i32(bits - i32(exponent << EXPONENT_SHIFT)).view(np.float32) - ONE_F
    log_mantissa = f * (L0 + f * (L1 + f * (L2 + f * (L3 + f * (L4 + f * (L5 + f * (L6 + f * (L7 + f * L8))))))))
    return np.sqrt(MINUS_TWO * (log_mantissa + f32(exponent - UNIT_EXPONENT) * LOG_2))


@njit(fastmath=EXACT_ORDER, error_model="numpy", nogil=True)
def _cosine_and_sine(word):
    """cos and sin of pi ((word >> 8) - 2^23) 2^-23; exact quadrants, because they come from the integer."""
    turn = i32(word >> SHIFT_8) - HALF_TURN
    quadrant = i32(i32(turn + EIGHTH_TURN) >> QUARTER_SHIFT)
    t = f32(i32(turn - i32(quadrant << QUARTER_SHIFT))) * PER_EIGHTH_TURN
    s = t * t
    sine = t * (S0 + s * (S1 + s * (S2 + s * S3)))
    cosine = C0 + s * (C1 + s * (C2 + s * (C3 + s * C4)))
    is_swapped = (quadrant & ONE) != 0
    along, across = (sine, cosine) if is_swapped else (cosine, sine)
    along = -along if (i32(quadrant + ONE) & TWO) != 0 else along
    across = -across if (quadrant & TWO) != 0 else across
    return along, across


@njit(fastmath=EXACT_ORDER, error_model="numpy", nogil=True)
def fill_normal(key_0, key_1, stream, step, first_row, n_rows, words, out):
    """out[j, i] = rng.normal(seed, stream, step)[first_row + i, j], equal to about 1e-6.

    Args:
        key_0, key_1, stream, step: uint64; all but the step, which wraps, below 2^32.
        first_row, n_rows: which rows.
        words: (4, n) uint64 scratch, n at least n_rows.
        out: (4 ceil(n_cols/4), n) float32; all its rows are filled.
    """
    use_widest_vectors()
    for block in range(out.shape[0] // 4):
        for i in range(n_rows):
            c0, c1, c2, c3 = u64(first_row + i) & MASK_32, u64(block), step & MASK_32, stream
            k0, k1 = key_0, key_1
            for _ in range(N_ROUNDS):
                p0 = c0 * MULTIPLIER_0
                p1 = c2 * MULTIPLIER_1
                c0, c1 = (p1 >> SHIFT_32) ^ c1 ^ k0, p1 & MASK_32
                c2, c3 = (p0 >> SHIFT_32) ^ c3 ^ k1, p0 & MASK_32
                k0 = (k0 + WEYL_0) & MASK_32
                k1 = (k1 + WEYL_1) & MASK_32
            words[0, i], words[1, i], words[2, i], words[3, i] = c0, c1, c2, c3
        for pair in range(2):
            column = 4 * block + 2 * pair
            for i in range(n_rows):
                radius = _radius(words[2 * pair, i])
                cosine, sine = _cosine_and_sine(words[2 * pair + 1, i])
                out[column, i] = radius * cosine
                out[column + 1, i] = radius * sine
