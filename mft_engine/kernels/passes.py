"""The two passes of a step through a block of neurons, specialised by activation, symmetry of the points and dimension.

Every shipped activation is odd, even, or the positive side of an odd function b ("one-sided": b(z) for z > 0,
else 0). Points sit in slots: a point x alone, or a pair (x, -x) that shares one evaluation of b. With u what
is kept of z = w.x between the two passes, and s+ and s- the signals at x and -x:

    plain (phi = b):  f(x) = sum a b,  f(-x) = parity f(x);                      c = s+ + parity s-
    one-sided:        f(x), f(-x) = (sum a |b| + sum a b)/2, (... - ...)/2;      c = s+ where b > 0, else -s-
    gradient:         da = sum c b(u),  dw = a sum c b'(u) x

Slots are padded with x = 0 and no signal, neurons to a multiple of `NEURON_GROUP` with zeros: neurons go through the
slots in groups, which read a point once and share a division (`approximations.tanh_of_four`).
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from mft_engine.kernels import approximations as approx
from mft_engine.kernels.forms import (
    ERF,
    HARDTANH,
    LINEAR,
    ONE_SIDED_PAIRS,
    ONE_SIDED_SINGLES,
    PLAIN,
    SIN,
    SQUARE,
    TANH,
    TANH_SQUARED,
)
from mft_engine.kernels.vectors import use_widest_vectors

NEURON_GROUP = 4

# Sums may be reordered, and nothing inside asks for non-finite values (`has_nonfinite` looks at the bits).
# Reciprocal estimates are left out: they differ between processors and cost accuracy without gaining time.
SETTINGS: dict[str, Any] = {
    "fastmath": {"nnan", "ninf", "nsz", "contract", "reassoc"},
    "error_model": "numpy",
    "nogil": True,
}
# A call that stays a call goes to whichever copy the process met first: its own, just compiled, or the one of the whole
# loop from the cache; and their sums are ordered differently. So nothing stays a call.
INLINED: dict[str, Any] = {**SETTINGS, "forceinline": True}
fast = njit(**INLINED)
f32, u64, i32 = np.float32, np.uint64, np.int32
ZERO, HALF, ONE, TWO = f32(0.0), f32(0.5), f32(1.0), f32(2.0)
EXPONENT_BITS = i32(0x7F800000)

# The compiler's cache only looks at the main function's file: this makes it follow the others too.
COMPILED = ("approximations", "forms", "inner_loops", "noise", "passes", "team", "vectors")
SOURCES = zlib.crc32(b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in COMPILED))

_identity = fast(lambda z: z)
_four = fast(lambda z0, z1, z2, z3: (z0, z1, z2, z3))
_one_minus_square = fast(lambda u: ONE - u * u)
_square = fast(lambda u: u * u)
_clipped = fast(lambda u: min(max(u, -ONE), ONE))
_is_inside = fast(lambda u: ONE if abs(u) < ONE else ZERO)

# b: z -> u, u -> b, u -> b'.
FUNCTIONS: dict[int, tuple[Any, Any, Any]] = {
    TANH: (approx.tanh, _identity, _one_minus_square),
    LINEAR: (_identity, _identity, fast(lambda u: ONE)),
    HARDTANH: (_identity, _clipped, _is_inside),
    ERF: (_identity, approx.erf, approx.erf_slope),
    SIN: (_identity, approx.sin, approx.cos),
    SQUARE: (_identity, _square, fast(lambda u: u + u)),
    TANH_SQUARED: (approx.tanh, _square, fast(lambda u: TWO * u * (ONE - u * u))),
}
# u of four z at once, which come multiplied by a factor.
OF_FOUR: dict[int, tuple[Any, np.float32]] = {
    base: (approx.tanh_of_four, approx.MINUS_2_LOG2_E) if kept is approx.tanh else (_four, ONE)
    for base, (kept, _, _) in FUNCTIONS.items()
}
# c of a slot, and what the odd sum adds, by mode.
CHOSEN: dict[int, Any] = {
    PLAIN: fast(lambda u, c_plus, c_minus: c_plus),
    ONE_SIDED_PAIRS: fast(lambda u, c_plus, c_minus: c_plus if u > ZERO else c_minus),
    ONE_SIDED_SINGLES: fast(lambda u, c_plus, c_minus: c_plus if u > ZERO else ZERO),
}
SUMMED: dict[int, Any] = {
    PLAIN: _identity,
    ONE_SIDED_PAIRS: _identity,
    ONE_SIDED_SINGLES: fast(lambda b: max(b, ZERO)),
}


def forward(base, mode, is_planar, has_sums, theta, w, a, i0, i1, x, u, row, odd, even, z):
    """Fill u of neurons i0 to i1; add sum_i a_i b to odd and, for one-sided pairs, sum_i a_i |b| to even."""
    raise NotImplementedError("compiled code only")


def backward(base, mode, is_planar, theta, w, a, i0, i1, x, u, row, c_plus, c_minus, drift, h):
    """drift[:, i - i0] = sum_mu signal_mu grad(a phi) of neurons i0 to i1, from u."""
    raise NotImplementedError("compiled code only")


@overload(forward, jit_options=INLINED, prefer_literal=True)
def _forward(base, mode, is_planar, has_sums, theta, w, a, i0, i1, x, u, row, odd, even, z):
    _, value, _ = FUNCTIONS[base.literal_value]
    kept_of_four, factor = OF_FOUR[base.literal_value]
    summed = SUMMED[mode.literal_value]
    has_odd = has_sums.literal_value
    has_even = has_odd and mode.literal_value == ONE_SIDED_PAIRS

    def planar(base, mode, is_planar, has_sums, theta, w, a, i0, i1, x, u, row, odd, even, z):
        use_widest_vectors()
        n_slots = x.shape[1]
        x1, x2 = x[0], x[1]
        for i in range(i0, i1, 4):
            p, q = theta[w[0]], theta[w[1]]
            p0, p1, p2, p3 = factor * p[i], factor * p[i + 1], factor * p[i + 2], factor * p[i + 3]
            q0, q1, q2, q3 = factor * q[i], factor * q[i + 1], factor * q[i + 2], factor * q[i + 3]
            a0, a1, a2, a3 = theta[a, i], theta[a, i + 1], theta[a, i + 2], theta[a, i + 3]
            k = row + i - i0
            u0, u1, u2, u3 = u[k], u[k + 1], u[k + 2], u[k + 3]
            for s in range(n_slots):
                v0, v1, v2, v3 = kept_of_four(
                    p0 * x1[s] + q0 * x2[s], p1 * x1[s] + q1 * x2[s], p2 * x1[s] + q2 * x2[s], p3 * x1[s] + q3 * x2[s]
                )
                u0[s], u1[s], u2[s], u3[s] = v0, v1, v2, v3
                if has_odd:
                    b0, b1, b2, b3 = value(v0), value(v1), value(v2), value(v3)
                    odd[s] += a0 * summed(b0) + a1 * summed(b1) + a2 * summed(b2) + a3 * summed(b3)
                    if has_even:
                        even[s] += a0 * abs(b0) + a1 * abs(b1) + a2 * abs(b2) + a3 * abs(b3)

    def general(base, mode, is_planar, has_sums, theta, w, a, i0, i1, x, u, row, odd, even, z):
        use_widest_vectors()
        n_inputs, n_slots = x.shape
        z0, z1, z2, z3 = z[0], z[1], z[2], z[3]
        for i in range(i0, i1, 4):
            z[:] = ZERO
            for j in range(0, n_inputs, 2):
                p, x_j = theta[w[j]], x[j]
                # Two inputs a pass over z; the last one of an odd number is counted once.
                other = min(j + 1, n_inputs - 1)
                q, y_j = theta[w[other]], x[other]
                share_of_other = factor if other > j else ZERO
                p0, p1, p2, p3 = factor * p[i], factor * p[i + 1], factor * p[i + 2], factor * p[i + 3]
                q0, q1 = share_of_other * q[i], share_of_other * q[i + 1]
                q2, q3 = share_of_other * q[i + 2], share_of_other * q[i + 3]
                for s in range(n_slots):
                    z0[s] += p0 * x_j[s] + q0 * y_j[s]
                    z1[s] += p1 * x_j[s] + q1 * y_j[s]
                    z2[s] += p2 * x_j[s] + q2 * y_j[s]
                    z3[s] += p3 * x_j[s] + q3 * y_j[s]
            a0, a1, a2, a3 = theta[a, i], theta[a, i + 1], theta[a, i + 2], theta[a, i + 3]
            k = row + i - i0
            u0, u1, u2, u3 = u[k], u[k + 1], u[k + 2], u[k + 3]
            for s in range(n_slots):
                v0, v1, v2, v3 = kept_of_four(z0[s], z1[s], z2[s], z3[s])
                u0[s], u1[s], u2[s], u3[s] = v0, v1, v2, v3
                if has_odd:
                    b0, b1, b2, b3 = value(v0), value(v1), value(v2), value(v3)
                    odd[s] += a0 * summed(b0) + a1 * summed(b1) + a2 * summed(b2) + a3 * summed(b3)
                    if has_even:
                        even[s] += a0 * abs(b0) + a1 * abs(b1) + a2 * abs(b2) + a3 * abs(b3)

    return planar if is_planar.literal_value else general


@overload(backward, jit_options=INLINED, prefer_literal=True)
def _backward(base, mode, is_planar, theta, w, a, i0, i1, x, u, row, c_plus, c_minus, drift, h):
    _, value, slope = FUNCTIONS[base.literal_value]
    chosen = CHOSEN[mode.literal_value]
    has_kink = mode.literal_value != PLAIN

    def planar(base, mode, is_planar, theta, w, a, i0, i1, x, u, row, c_plus, c_minus, drift, h):
        use_widest_vectors()
        n_slots = x.shape[1]
        x1, x2 = x[0], x[1]
        for i in range(i0, i1, 4):
            k = row + i - i0
            u0, u1, u2, u3 = u[k], u[k + 1], u[k + 2], u[k + 3]
            a0 = a1 = a2 = a3 = p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = ZERO
            for s in range(n_slots):
                c = chosen(u0[s], c_plus[s], c_minus[s])
                a0 += c * value(u0[s])
                g = c * slope(u0[s])
                p0 += g * x1[s]
                q0 += g * x2[s]
                c = chosen(u1[s], c_plus[s], c_minus[s])
                a1 += c * value(u1[s])
                g = c * slope(u1[s])
                p1 += g * x1[s]
                q1 += g * x2[s]
                c = chosen(u2[s], c_plus[s], c_minus[s])
                a2 += c * value(u2[s])
                g = c * slope(u2[s])
                p2 += g * x1[s]
                q2 += g * x2[s]
                c = chosen(u3[s], c_plus[s], c_minus[s])
                a3 += c * value(u3[s])
                g = c * slope(u3[s])
                p3 += g * x1[s]
                q3 += g * x2[s]
            k = i - i0
            drift[a, k], drift[a, k + 1], drift[a, k + 2], drift[a, k + 3] = a0, a1, a2, a3
            drift[w[0], k], drift[w[0], k + 1], drift[w[0], k + 2], drift[w[0], k + 3] = p0, p1, p2, p3
            drift[w[1], k], drift[w[1], k + 1], drift[w[1], k + 2], drift[w[1], k + 3] = q0, q1, q2, q3
        finish_drift(has_kink, theta, w, a, i0, i1, drift)

    def general(base, mode, is_planar, theta, w, a, i0, i1, x, u, row, c_plus, c_minus, drift, h):
        use_widest_vectors()
        n_inputs, n_slots = x.shape
        h0, h1, h2, h3 = h[0], h[1], h[2], h[3]
        for i in range(i0, i1, 4):
            k = row + i - i0
            u0, u1, u2, u3 = u[k], u[k + 1], u[k + 2], u[k + 3]
            a0 = a1 = a2 = a3 = ZERO
            for s in range(n_slots):
                c = chosen(u0[s], c_plus[s], c_minus[s])
                a0 += c * value(u0[s])
                h0[s] = c * slope(u0[s])
                c = chosen(u1[s], c_plus[s], c_minus[s])
                a1 += c * value(u1[s])
                h1[s] = c * slope(u1[s])
                c = chosen(u2[s], c_plus[s], c_minus[s])
                a2 += c * value(u2[s])
                h2[s] = c * slope(u2[s])
                c = chosen(u3[s], c_plus[s], c_minus[s])
                a3 += c * value(u3[s])
                h3[s] = c * slope(u3[s])
            k = i - i0
            drift[a, k], drift[a, k + 1], drift[a, k + 2], drift[a, k + 3] = a0, a1, a2, a3
            for j in range(0, n_inputs, 2):
                other = min(j + 1, n_inputs - 1)
                x_j, y_j = x[j], x[other]
                p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = ZERO
                for s in range(n_slots):
                    p0 += h0[s] * x_j[s]
                    p1 += h1[s] * x_j[s]
                    p2 += h2[s] * x_j[s]
                    p3 += h3[s] * x_j[s]
                    q0 += h0[s] * y_j[s]
                    q1 += h1[s] * y_j[s]
                    q2 += h2[s] * y_j[s]
                    q3 += h3[s] * y_j[s]
                p, q = drift[w[j]], drift[w[other]]
                p[k], p[k + 1], p[k + 2], p[k + 3] = p0, p1, p2, p3
                q[k], q[k + 1], q[k + 2], q[k + 3] = q0, q1, q2, q3
        finish_drift(has_kink, theta, w, a, i0, i1, drift)

    return planar if is_planar.literal_value else general


@fast
def finish_drift(has_kink, theta, w, a, i0, i1, drift):
    """Multiply dw by the readout; at w = 0 every point sits on the kink, where the slope counts as 0."""
    for i in range(i0, i1):
        is_alive = not has_kink
        for j in w:
            is_alive |= theta[j, i] != ZERO
        factor = theta[a, i] if is_alive else ZERO
        for j in w:
            drift[j, i - i0] *= factor


@fast
def update(theta, n_params, i0, n, drift, rate, decay, noise, is_noisy, uses_next, xi_now, xi_next):
    """One update of neurons i0 to i0 + n; xi_now becomes xi_next."""
    use_widest_vectors()
    for j in range(n_params):
        row, drift_j = theta[j], drift[j]
        if is_noisy:
            now, following = xi_now[j], xi_next[j]
            for k in range(n):
                xi = HALF * (now[i0 + k] + following[k]) if uses_next else now[i0 + k]
                old = row[i0 + k]
                row[i0 + k] = old + (rate[j] * drift_j[k] - decay[j] * old + noise[j] * xi)
                now[i0 + k] = following[k]
        else:
            for k in range(n):
                old = row[i0 + k]
                row[i0 + k] = old + (rate[j] * drift_j[k] - decay[j] * old)


@fast
def has_nonfinite(theta, n_params, i0, n):
    largest = i32(0)
    for j in range(n_params):
        row = theta[j]
        for k in range(i0, i0 + n):
            largest = max(largest, np.float32(row[k]).view(np.int32) & EXPONENT_BITS)
    return largest == EXPONENT_BITS
