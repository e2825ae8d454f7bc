"""The numbers of `mft_engine.rng.normal` on a GPU: same words, the polynomials of the compiled CPU loops."""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disable-error-code=assignment
from __future__ import annotations

import math

import numpy as np
import triton
import triton.language as tl

from mft_engine import rng
from mft_engine.kernels import forms

MULTIPLIER_0, MULTIPLIER_1 = tl.constexpr(rng.MULTIPLIER_0), tl.constexpr(rng.MULTIPLIER_1)
WEYL_0, WEYL_1 = tl.constexpr(rng.WEYL_0), tl.constexpr(rng.WEYL_1)
N_ROUNDS = tl.constexpr(rng.N_ROUNDS)
L0, L1, L2, L3, L4, L5, L6, L7, L8 = (tl.constexpr(c) for c in forms.LOGARITHM)
S0, S1, S2, S3 = (tl.constexpr(c) for c in forms.SINE_OF_EIGHTHS)
C0, C1, C2, C3, C4 = (tl.constexpr(c) for c in forms.COSINE_OF_EIGHTHS)
SQRT_HALF_BITS = tl.constexpr(int(np.float32(math.sqrt(0.5)).view(np.int32)))
LOG_2 = tl.constexpr(math.log(2.0))
HALF_TURN, EIGHTH_TURN = tl.constexpr(2**23), tl.constexpr(2**21)
PER_EIGHTH_TURN = tl.constexpr(2.0**-21)


@triton.jit
def words(row, block, step, stream, key_0, key_1):
    """Four words of Philox4x32-10 with counter (row, block, step, stream); all uint32."""
    c0, c1 = row, block + 0 * row
    c2, c3 = step + 0 * row, stream + 0 * row
    for _ in tl.static_range(N_ROUNDS):
        high_0, low_0 = tl.umulhi(c0, MULTIPLIER_0), c0 * MULTIPLIER_0
        high_1, low_1 = tl.umulhi(c2, MULTIPLIER_1), c2 * MULTIPLIER_1
        c0, c1 = high_1 ^ c1 ^ key_0, low_1
        c2, c3 = high_0 ^ c3 ^ key_1, low_0
        key_0 = key_0 + WEYL_0
        key_1 = key_1 + WEYL_1
    return c0, c1, c2, c3


@triton.jit
def radius(word):
    """sqrt(-2 log u), u = ((word >> 8) + 1) 2^-24."""
    bits = ((word >> 8).to(tl.int32) + 1).to(tl.float32).to(tl.int32, bitcast=True)
    exponent = (bits - SQRT_HALF_BITS) >> 23
    f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    log_mantissa = f * (L0 + f * (L1 + f * (L2 + f * (L3 + f * (L4 + f * (L5 + f * (L6 + f * (L7 + f * L8))))))))
    # At u = 1 the sum is zero or rounds below it.
    return tl.sqrt(tl.maximum(-2.0 * (log_mantissa + (exponent - 24).to(tl.float32) * LOG_2), 0.0))


@triton.jit
def cosine_and_sine(word):
    """cos and sin of pi ((word >> 8) - 2^23) 2^-23; exact quadrants, because they come from the integer."""
    turn = (word >> 8).to(tl.int32) - HALF_TURN
    quarter = (turn + EIGHTH_TURN) >> 22
    t = (turn - (quarter << 22)).to(tl.float32) * PER_EIGHTH_TURN
    s = t * t
    sine = t * (S0 + s * (S1 + s * (S2 + s * S3)))
    cosine = C0 + s * (C1 + s * (C2 + s * (C3 + s * C4)))
    is_swapped = (quarter & 1) != 0
    along = tl.where(is_swapped, sine, cosine)
    across = tl.where(is_swapped, cosine, sine)
    along = tl.where(((quarter + 1) & 2) != 0, -along, along)
    across = tl.where((quarter & 2) != 0, -across, across)
    return along, across


@triton.jit
def four_normals(row, block, step, stream, key_0, key_1):
    """Columns 4 block to 4 block + 3 of rng.normal(seed, stream, step) in these rows, equal to about 1e-6."""
    w0, w1, w2, w3 = words(row, block, step, stream, key_0, key_1)
    r0, r1 = radius(w0), radius(w2)
    cos_0, sin_0 = cosine_and_sine(w1)
    cos_1, sin_1 = cosine_and_sine(w3)
    return r0 * cos_0, r0 * sin_0, r1 * cos_1, r1 * sin_1
