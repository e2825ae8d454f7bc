"""The compiled loop of the fused kernel: whole steps, in passes through blocks of neurons (`passes`).

What a slot, u, c and the modes are, `passes` tells.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from mft_engine.kernels.forms import ONE_SIDED_PAIRS, PLAIN
from mft_engine.kernels.noise import fill_normal
from mft_engine.kernels.passes import (
    NEURON_GROUP,
    SETTINGS,
    SOURCES,
    ZERO,
    backward,
    f32,
    forward,
    has_nonfinite,
    u64,
    update,
)
from mft_engine.kernels.team import meet, share

NEURON_BLOCK = 64


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
        odd, even, z = np.zeros(n_slots, f32), np.zeros(n_slots, f32), np.zeros((NEURON_GROUP, n_slots), f32)
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
