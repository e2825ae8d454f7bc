"""The functions b of `mft_engine.kernels.passes` and what a step takes from them, for a GPU.

Exponentials and reciprocals are the hardware's own (one instruction each, relative error 2^-22), and
tanh|z| = 1 - 2/(exp 2|z| + 1) has an absolute error of 3e-7. The interpreter, which runs a kernel's logic on a CPU, has
no such instructions and divides.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disable-error-code=assignment
from __future__ import annotations

import math

import triton
import triton.language as tl
from triton import knobs

from mft_engine.kernels import forms

TANH = tl.constexpr(forms.TANH)
LINEAR = tl.constexpr(forms.LINEAR)
HARDTANH = tl.constexpr(forms.HARDTANH)
ERF = tl.constexpr(forms.ERF)
SIN = tl.constexpr(forms.SIN)
SQUARE = tl.constexpr(forms.SQUARE)
TANH_SQUARED = tl.constexpr(forms.TANH_SQUARED)
PLAIN = tl.constexpr(forms.PLAIN)
ONE_SIDED_PAIRS = tl.constexpr(forms.ONE_SIDED_PAIRS)
ONE_SIDED_SINGLES = tl.constexpr(forms.ONE_SIDED_SINGLES)

IS_INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
SIGN_BIT = tl.constexpr(-(2**31))
MINUS_LOG2_E = tl.constexpr(-1.0 / math.log(2.0))
# exp 2|z| = 2^|y| with y = w.x times this: the factor goes into the numbers that stay, not into the loop.
TANH_SCALE = tl.constexpr(2.0 / math.log(2.0))
ONE = tl.constexpr(1.0)
TWO_OVER_SQRT_PI = tl.constexpr(2.0 / math.sqrt(math.pi))
TWO_OVER_PI = tl.constexpr(2.0 / math.pi)
# pi/2 in three parts, so that z - q pi/2 keeps its digits (Cody and Waite).
HALF_PI_1 = tl.constexpr(1.5703125)
HALF_PI_2 = tl.constexpr(4.837512969970703e-4)
HALF_PI_3 = tl.constexpr(7.549789948768648e-8)
# Adding and subtracting 1.5 * 2^23 rounds to an integer.
ROUND = tl.constexpr(1.5 * 2**23)
P0, P1, P2 = (tl.constexpr(c) for c in forms.ERFCX_P)
Q1, Q2, Q3, Q4 = (tl.constexpr(c) for c in forms.ERFCX_Q)
S0, S1, S2, S3 = (tl.constexpr(c) for c in forms.SINE)
C0, C1, C2, C3, C4 = (tl.constexpr(c) for c in forms.COSINE)


@triton.jit
def exp2(x):
    """2^x."""
    if IS_INTERPRETED:
        return tl.exp2(x)
    else:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def reciprocal(x):
    """1/x."""
    if IS_INTERPRETED:
        return 1.0 / x
    else:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def with_sign_of(size, z):
    """The sign of z on a number that is not negative."""
    bits = size.to(tl.int32, bitcast=True) | (z.to(tl.int32, bitcast=True) & SIGN_BIT)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def scale_of(BASE: tl.constexpr):
    """What w.x is multiplied by before it is given to `value` or `terms`."""
    return TANH_SCALE if BASE == TANH or BASE == TANH_SQUARED else ONE


@triton.jit
def tanh(y):
    """tanh z from y = `TANH_SCALE` z."""
    return with_sign_of(1.0 - 2.0 * reciprocal(exp2(tl.abs(y)) + 1.0), y)


@triton.jit
def erf_and_gaussian(z):
    """erf z and exp(-z^2)."""
    x = tl.minimum(tl.abs(z), 5.0)
    gaussian = exp2(x * x * MINUS_LOG2_E)
    fraction = (P0 + x * (P1 + x * P2)) * reciprocal(1.0 + x * (Q1 + x * (Q2 + x * (Q3 + x * Q4))))
    return with_sign_of(1.0 - gaussian * fraction, z), gaussian


@triton.jit
def quadrant(turns, sine, cosine):
    """sin(r + turns pi/2) from sin r and cos r."""
    size = tl.where((turns & 1) != 0, cosine, sine)
    return tl.where((turns & 2) != 0, -size, size)


@triton.jit
def sine_and_cosine(z):
    """sin z and cos z for |z| <= 1e4."""
    turns = (z * TWO_OVER_PI + ROUND) - ROUND
    r = ((z - turns * HALF_PI_1) - turns * HALF_PI_2) - turns * HALF_PI_3
    s = r * r
    sine = r * (S0 + s * (S1 + s * (S2 + s * S3)))
    cosine = C0 + s * (C1 + s * (C2 + s * (C3 + s * C4)))
    count = turns.to(tl.int32)
    return quadrant(count, sine, cosine), quadrant(count + 1, sine, cosine)


@triton.jit
def value(y, BASE: tl.constexpr):
    """b(z)."""
    if BASE == TANH:
        return tanh(y)
    elif BASE == LINEAR:
        return y
    elif BASE == HARDTANH:
        return tl.minimum(tl.maximum(y, -1.0), 1.0)
    elif BASE == ERF:
        return erf_and_gaussian(y)[0]
    elif BASE == SIN:
        return sine_and_cosine(y)[0]
    elif BASE == SQUARE:
        return y * y
    else:
        t = tanh(y)
        return t * t


@triton.jit
def terms(y, c, BASE: tl.constexpr):
    """c b(z) and c b'(z)."""
    if BASE == TANH:
        b = tanh(y)
        h = c * b
        return h, c - h * b
    elif BASE == LINEAR:
        return c * y, c + 0.0 * y
    elif BASE == HARDTANH:
        b = tl.minimum(tl.maximum(y, -1.0), 1.0)
        return c * b, tl.where(tl.abs(y) < 1.0, c, 0.0)
    elif BASE == ERF:
        b, gaussian = erf_and_gaussian(y)
        return c * b, c * (TWO_OVER_SQRT_PI * gaussian)
    elif BASE == SIN:
        sine, cosine = sine_and_cosine(y)
        return c * sine, c * cosine
    elif BASE == SQUARE:
        h = c * y
        return h * y, h + h
    else:
        t = tanh(y)
        h = c * t
        return h * t, 2.0 * (h - h * t * t)


@triton.jit
def chosen(y, c_plus, c_minus, MODE: tl.constexpr):
    """c of a slot, as in `passes.CHOSEN`."""
    if MODE == PLAIN:
        return c_plus
    elif MODE == ONE_SIDED_PAIRS:
        return tl.where(y > 0.0, c_plus, c_minus)
    else:
        return tl.where(y > 0.0, c_plus, 0.0)
