"""The compiled loop of one hidden layer with any number of inputs and readouts: matrix products shared by a team.

Points are cut into chunks as for several hidden layers (`layered_loop`): a member takes each of its own chunks there
and back,

    h = phi(x W),  f = N^-kappa h A^T,  s = weight (y - f) N^(kappa - 1);   dW = x^T (s A phi'),  dA = s^T h

with W (n_inputs, N) and A (n_out, N), then members meet, and each moves its own neurons.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from mft_engine.kernels.inner_loops import NEURON_BLOCK
from mft_engine.kernels.layered_loop import LAYER_SOURCES, activate
from mft_engine.kernels.noise import fill_normal
from mft_engine.kernels.passes import ONE, SETTINGS, SOURCES, f32, fast, has_nonfinite, u64, update
from mft_engine.kernels.team import meet, share


@fast
def there_and_back(
    theta, base, is_one_sided, x, targets, factor, output_scale, is_frozen, signal, prediction, z, slope, back, moved
):
    """f and the signal at the points of one chunk, and what they contribute to the drift.

    Args:
        theta, moved: (n_inputs + n_out, N); x (n, n_inputs); targets, signal, prediction (n, n_out); factor (n,).
        z, slope, back: scratch, n numbers a neuron.
        is_frozen: the signal is given.
    """
    n, n_inputs = x.shape
    size = n * theta.shape[1]
    weights, readouts = theta[:n_inputs], theta[n_inputs:]
    features = z[:size].reshape((n, theta.shape[1]))
    np.dot(x, weights, features)
    activate(base, is_one_sided, z[:size], slope[:size], ONE)
    if not is_frozen:
        np.dot(features, readouts.T, prediction)
        for mu in range(n):
            for c in range(prediction.shape[1]):
                prediction[mu, c] *= output_scale
                signal[mu, c] = factor[mu] * (targets[mu, c] - prediction[mu, c])
    np.dot(signal, readouts, back[:size].reshape((n, theta.shape[1])))
    for i in range(size):
        back[i] *= slope[i]
    np.dot(x.T, back[:size].reshape((n, theta.shape[1])), moved[:n_inputs])
    np.dot(signal.T, features, moved[n_inputs:])


def build_advance(*, cache: bool) -> Callable[..., None]:
    """Compile (or load from the cache) the step loop, which every member of a team calls with the same arrays.

    Its arguments:
        theta: (n_params, N) float32, overwritten; rate, decay, noise: (n_params,).
        x, targets, factor, signal, prediction: as in `there_and_back`, of all points; weights: (n_points,) float64.
        chunk: points of a chunk; moved: (n_chunks, n_params, N); xi_now: (4 ceil(n_params / 4), N).
        total, losses: float64, of member 0 alone; losses that no step reached stay as they are.
    """
    STAMP, LAYER_STAMP = SOURCES, LAYER_SOURCES

    @njit(cache=cache, **SETTINGS)
    def advance(
        theta, base, is_one_sided, x, targets, weights, factor, output_scale, chunk, is_frozen,
        rate, decay, noise, is_noisy, uses_next, key_0, key_1, stream, first_neuron, first_step, n_steps,
        signal, prediction, total, losses, finite, moved, xi_now, member, n_members, counter, is_bad,
    ):  # fmt: skip
        _ = STAMP + LAYER_STAMP
        n_points, n_out = targets.shape
        n_params, n_neurons = theta.shape
        size = chunk * n_neurons
        z, slope, back = np.empty(size, f32), np.empty(size, f32), np.empty(size, f32)
        drift = np.empty((n_params, NEURON_BLOCK), f32)
        words = np.empty((4, NEURON_BLOCK), u64)
        xi_next = np.empty((xi_now.shape[0], NEURON_BLOCK), f32)
        first_chunk, last_chunk = share(moved.shape[0], member, n_members)
        first_block, last_block = share((n_neurons + NEURON_BLOCK - 1) // NEURON_BLOCK, member, n_members)
        if is_noisy:
            for block in range(first_block, last_block):
                i0 = block * NEURON_BLOCK
                n = min(NEURON_BLOCK, n_neurons - i0)
                fill_normal(key_0, key_1, stream, first_step, first_neuron + i0, n, words, xi_next)
                for j in range(xi_now.shape[0]):
                    for i in range(n):
                        xi_now[j, i0 + i] = xi_next[j, i]
        n_meetings = 0
        for k in range(n_steps):
            for c in range(first_chunk, last_chunk):
                low, high = c * chunk, min((c + 1) * chunk, n_points)
                there_and_back(
                    theta, base, is_one_sided, x[low:high], targets[low:high], factor[low:high], output_scale,
                    is_frozen, signal[low:high], prediction[low:high], z, slope, back, moved[c],
                )  # fmt: skip
            n_meetings += 1
            meet(counter, n_members, n_meetings)
            if member == 0 and not is_frozen:
                loss = 0.0
                for mu in range(n_points):
                    for c in range(n_out):
                        residual = np.float64(targets[mu, c]) - np.float64(prediction[mu, c])
                        loss += weights[mu] * residual * residual
                        total[mu, c] += prediction[mu, c]
                losses[k] = loss
            is_bad[member] = False
            for block in range(first_block, last_block):
                i0 = block * NEURON_BLOCK
                n = min(NEURON_BLOCK, n_neurons - i0)
                for j in range(n_params):
                    for i in range(n):
                        drift[j, i] = moved[0, j, i0 + i]
                    for c in range(1, moved.shape[0]):
                        for i in range(n):
                            drift[j, i] += moved[c, j, i0 + i]
                if is_noisy:
                    fill_normal(
                        key_0, key_1, stream, first_step + u64(k + 1), first_neuron + i0, n, words, xi_next
                    )  # fmt: skip
                update(theta, n_params, i0, n, drift, rate, decay, noise, is_noisy, uses_next, xi_now, xi_next)
                is_bad[member] |= has_nonfinite(theta, n_params, i0, n)
            n_meetings += 1
            meet(counter, n_members, n_meetings)
            has_failed = False
            for other in range(n_members):
                has_failed |= is_bad[other]
            if member == 0:
                finite[k] = not has_failed
            if has_failed:
                break

    compiled: Callable[..., None] = advance
    return compiled
