"""The compiled loops of the fused kernel, specialised by activation, symmetry of the points and dimension.

Every shipped activation is odd, even, or the positive side of an odd function b ("one-sided": b(z) for z > 0,
else 0). Points sit in slots: a point x alone, or a pair (x, -x) that shares one evaluation of b. With u what
is kept of z = w.x between the two passes, and s+ and s- the signals at x and -x:

    plain (phi = b):  f(x) = sum a b,  f(-x) = parity f(x);                      c = s+ + parity s-
    one-sided:        f(x), f(-x) = (sum a |b| + sum a b)/2, (... - ...)/2;      c = s+ where b > 0, else -s-
    gradient:         da = sum c b(u),  dw = a sum c b'(u) x

Slots are padded with x = 0 and no signal, neurons to a multiple of `NEURON_GROUP` with zeros.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import zlib
from collections.abc import Callable
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
from mft_engine.kernels.noise import fill_normal
from mft_engine.kernels.team import meet, share
from mft_engine.kernels.vectors import use_widest_vectors

NEURON_GROUP = 4
NEURON_BLOCK = 64

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
SOURCES = zlib.crc32(
    b"".join(
        (Path(__file__).parent / name).read_bytes()
        for name in ("approximations.py", "forms.py", "inner_loops.py", "noise.py", "team.py", "vectors.py")
    )
)

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
    kept, value, _ = FUNCTIONS[base.literal_value]
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
        for i in range(i0, i1):
            readout = theta[a, i]
            u_i = u[row + i - i0]
            for s in range(n_slots):
                z[s] = theta[w[0], i] * x[0, s]
            for j in range(1, n_inputs):
                weight = theta[w[j], i]
                x_j = x[j]
                for s in range(n_slots):
                    z[s] += weight * x_j[s]
            for s in range(n_slots):
                v = kept(z[s])
                u_i[s] = v
                if has_odd:
                    b = value(v)
                    odd[s] += readout * summed(b)
                    if has_even:
                        even[s] += readout * abs(b)

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
        for i in range(i0, i1):
            u_i = u[row + i - i0]
            total = ZERO
            for s in range(n_slots):
                c = chosen(u_i[s], c_plus[s], c_minus[s])
                total += c * value(u_i[s])
                h[s] = c * slope(u_i[s])
            drift[a, i - i0] = total
            for j in range(n_inputs):
                x_j = x[j]
                total = ZERO
                for s in range(n_slots):
                    total += h[s] * x_j[s]
                drift[w[j], i - i0] = total
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


@njit(nogil=True, error_model="numpy")
def spread(mode, parity, signal, plus, minus, c_plus, c_minus):
    """Signals of points -> c of slots."""
    for s in range(plus.shape[0]):
        s_plus = signal[plus[s]] if plus[s] >= 0 else 0.0
        s_minus = signal[minus[s]] if minus[s] >= 0 else 0.0
        if mode == PLAIN:
            c_plus[s] = s_plus + parity * s_minus
        else:
            c_plus[s] = s_plus
            c_minus[s] = -s_minus


@njit(nogil=True, error_model="numpy")
def collect(mode, parity, scale, odd, even, plus, minus, prediction):
    """Sums of slots -> f at the points."""
    for s in range(plus.shape[0]):
        at_plus, at_minus = odd[s], parity * odd[s]
        if mode == ONE_SIDED_PAIRS:
            at_plus, at_minus = 0.5 * (even[s] + odd[s]), 0.5 * (even[s] - odd[s])
        if plus[s] >= 0:
            prediction[plus[s]] = scale * at_plus
        if minus[s] >= 0:
            prediction[minus[s]] = scale * at_minus


@njit(nogil=True, error_model="numpy")
def measure(prediction, targets, weights, factor, total, signal):
    """Loss of this state; adds f to the running sum and sets signal = factor weight (y - f)."""
    loss = 0.0
    for mu in range(prediction.shape[0]):
        residual = targets[mu] - prediction[mu]
        loss += weights[mu] * residual * residual
        signal[mu] = factor * weights[mu] * residual
        total[mu] += prediction[mu]
    return loss


@njit(nogil=True)
def blocks_of(member, n_members, n_padded, n_kept):
    """A member's blocks of neurons whose u is kept, and of the others, which take longer: first and number of each."""
    n_blocks = (n_padded + NEURON_BLOCK - 1) // NEURON_BLOCK
    n_kept_blocks = (n_kept + NEURON_BLOCK - 1) // NEURON_BLOCK
    first_kept, last_kept = share(n_kept_blocks, member, n_members)
    first_other, last_other = share(n_blocks - n_kept_blocks, member, n_members)
    return first_kept, last_kept - first_kept, n_kept_blocks + first_other, last_other - first_other


def build_advance(base: int, mode: int, is_planar: bool, *, cache: bool) -> Callable[..., None]:
    """Compile (or load from the cache) the step loop for one b, one mode and planar or general inputs.

    The function runs n_steps without returning to Python: forward pass, loss and signals in float64, backward
    pass, noise, update, in one sweep over blocks of neurons per step. It is called once by each member of a team
    (`team.run_together`) with the same theta, u, xi_now, finite, counter, parts, sums and is_bad; signal, total,
    prediction and losses are each member's own and end equal. In a frozen field members do not meet and leave `finite`
    alone; is_bad says of each whether it had to stop.
    """
    BASE, MODE, IS_PLANAR, STAMP = base, mode, is_planar, SOURCES

    @njit(cache=cache, **SETTINGS)
    def advance(
        theta, n_neurons, w, a, x, u, n_kept, plus, minus, parity, is_frozen, moves_last,
        targets, weights, scale, factor, rate, decay, noise, is_noisy, uses_next, key_0, key_1, stream,
        first_neuron, first_step, n_steps, signal, total, prediction, losses, finite, xi_now,
        member, n_members, counter, parts, sums, is_bad,
    ):  # fmt: skip
        _ = STAMP
        n_params, n_padded, n_slots = rate.shape[0], theta.shape[1], x.shape[1]
        odd, even, z = np.zeros(n_slots, f32), np.zeros(n_slots, f32), np.zeros(n_slots, f32)
        c_plus, c_minus = np.zeros(n_slots, f32), np.zeros(n_slots, f32)
        drift = np.zeros((theta.shape[0], NEURON_BLOCK), f32)
        n_noise = xi_now.shape[0]
        words = np.empty((4, NEURON_BLOCK), u64)
        xi_next = np.empty((n_noise, NEURON_BLOCK), f32)
        n_blocks = (n_padded + NEURON_BLOCK - 1) // NEURON_BLOCK
        first_kept, n_own_kept, first_other, n_own_other = blocks_of(member, n_members, n_padded, n_kept)
        first_slot, last_slot = share(n_slots, member, n_members)
        n_meetings = 0
        if is_frozen:
            spread(MODE, parity, signal, plus, minus, c_plus, c_minus)
        for k in range(n_steps + 1):
            step = first_step + u64(k)
            is_own_bad = False  # told once a step: other members read the same line of memory
            if k == n_steps and not moves_last:
                break
            if n_members == 1:
                sums[:] = 0.0
            for own in range(n_own_kept + n_own_other):
                block = first_kept + own if own < n_own_kept else first_other + own - n_own_kept
                i0 = block * NEURON_BLOCK
                i1 = min(i0 + NEURON_BLOCK, n_padded)
                n = min(i1, n_neurons) - i0
                is_kept = i0 < n_kept
                row = i0 if is_kept else n_kept + member * NEURON_BLOCK
                if k == 0 and is_noisy:
                    fill_normal(key_0, key_1, stream, step, first_neuron + i0, n, words, xi_next)
                    for j in range(n_noise):
                        for i in range(n):
                            xi_now[j, i0 + i] = xi_next[j, i]
                if k > 0:
                    if not is_kept:
                        forward(BASE, MODE, IS_PLANAR, False, theta, w, a, i0, i1, x, u, row, odd, even, z)
                    backward(BASE, MODE, IS_PLANAR, theta, w, a, i0, i1, x, u, row, c_plus, c_minus, drift, z)
                    if is_noisy:
                        fill_normal(key_0, key_1, stream, step, first_neuron + i0, n, words, xi_next)
                    update(theta, n_params, i0, n, drift, rate, decay, noise, is_noisy, uses_next, xi_now, xi_next)
                    is_own_bad |= has_nonfinite(theta, n_params, i0, n)
                # One call site with sums: a state gives the same f whether it is met inside a call or begins the next.
                if k < n_steps and not is_frozen:
                    for s in range(n_slots):
                        odd[s] = ZERO
                        even[s] = ZERO
                    forward(BASE, MODE, IS_PLANAR, True, theta, w, a, i0, i1, x, u, row, odd, even, z)
                    if n_members == 1:
                        for s in range(n_slots):
                            sums[0, s] += odd[s]
                            sums[1, s] += even[s]
                    else:
                        for s in range(n_slots):
                            parts[0, block, s] = odd[s]
                            parts[1, block, s] = even[s]
            is_bad[member] = is_own_bad
            if not is_frozen:  # neurons of a frozen field have nothing to tell each other
                n_meetings += 1
                meet(counter, n_members, n_meetings)
            if n_members > 1 and k < n_steps and not is_frozen:
                # Block by block, as a single thread adds them: the same bits for any number of members.
                for s in range(first_slot, last_slot):
                    sums[0, s] = 0.0
                    sums[1, s] = 0.0
                for block in range(n_blocks):
                    for s in range(first_slot, last_slot):
                        sums[0, s] += parts[0, block, s]
                        sums[1, s] += parts[1, block, s]
            if k > 0:
                has_failed = is_own_bad
                if not is_frozen:
                    for other in range(n_members):
                        has_failed |= is_bad[other]
                    finite[k - 1] = not has_failed
                if has_failed:
                    break
            if not is_frozen:
                n_meetings += 1
                meet(counter, n_members, n_meetings)
            if k < n_steps and not is_frozen:
                collect(MODE, parity, scale, sums[0], sums[1], plus, minus, prediction)
                losses[k] = measure(prediction, targets, weights, factor, total, signal)
                spread(MODE, parity, signal, plus, minus, c_plus, c_minus)

    compiled: Callable[..., None] = advance
    return compiled
