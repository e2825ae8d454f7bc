"""The compiled loop of networks with several hidden layers: whole steps by a team, each product of one thread.

The points are cut into chunks whose number has nothing to do with that of the threads. A member goes through the
network and back with each of its own chunks,

    z_l = c_l h_{l-1} W_l^T,  h_l = phi_l(z_l),  f = N^-kappa h_L b
    delta_L = s b phi_L',  delta_{l-1} = c_l (delta_l W_l) phi_{l-1}'

and leaves the chunk's part of the drift, c_l delta_l^T h_{l-1}. Then members meet, and each moves its own share of the
parameters by the parts of all chunks, added in their order: the same bits for any number of members.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from mft_engine.kernels.forms import ERF, HARDTANH, LINEAR, SIN, SQUARE, TANH, TANH_SQUARED
from mft_engine.kernels.noise import fill_normal
from mft_engine.kernels.passes import FUNCTIONS, SETTINGS, SOURCES, ZERO, f32, fast, has_nonfinite, u64
from mft_engine.kernels.team import meet, share

# What other files make of this one is compiled anew with it.
LAYER_SOURCES = zlib.crc32(Path(__file__).read_bytes())
# Rows of the noise counter, of four parameters each, that are updated together.
ROWS = 64
PARAMETERS = 4 * ROWS


def _activation_of(base: int) -> Callable[..., None]:
    """z, in place, becomes phi(scale z), and slope phi' of it."""
    kept, value, derivative = FUNCTIONS[base]

    @fast
    def activation(z, slope, scale, is_one_sided):
        for i in range(z.size):
            u = kept(scale * z[i])
            b, d = value(u), derivative(u)
            is_flat = is_one_sided and not b > ZERO
            z[i] = ZERO if is_flat else b
            slope[i] = ZERO if is_flat else d

    return activation


_tanh, _linear, _hardtanh, _erf, _sin, _square, _tanh_squared = (
    _activation_of(base) for base in (TANH, LINEAR, HARDTANH, ERF, SIN, SQUARE, TANH_SQUARED)
)


@fast
def activate(base, is_one_sided, z, slope, scale):
    """The activation of one layer on flat arrays: z becomes phi(scale z), slope phi'(scale z)."""
    if base == TANH:
        _tanh(z, slope, scale, is_one_sided)
    elif base == LINEAR:
        _linear(z, slope, scale, is_one_sided)
    elif base == HARDTANH:
        _hardtanh(z, slope, scale, is_one_sided)
    elif base == ERF:
        _erf(z, slope, scale, is_one_sided)
    elif base == SIN:
        _sin(z, slope, scale, is_one_sided)
    elif base == SQUARE:
        _square(z, slope, scale, is_one_sided)
    else:
        _tanh_squared(z, slope, scale, is_one_sided)


@fast
def there_and_back(
    theta,
    starts,
    widths,
    bases,
    one_sided,
    scales,
    x,
    targets,
    factor,
    output_scale,
    prediction,
    features,
    slopes,
    back,
    moved,
):
    """f at the points of one chunk, and what they contribute to the drift, layer by layer (without c_l).

    Args:
        starts: of W_1 .. W_L and b in theta; widths: d, N_1 .. N_L; x (n, d); targets, factor, prediction (n,).
        features, slopes: scratch, n numbers a neuron; back: n numbers for each neuron of the widest layer.
        moved: (n_parameters,), overwritten.
    """
    n, n_layers = x.shape[0], widths.size - 1
    below, first = x, 0
    for layer in range(n_layers):
        n_in, n_out = widths[layer], widths[layer + 1]
        weight = theta[starts[layer] : starts[layer + 1]].reshape((n_out, n_in))
        flat = features[first : first + n * n_out]
        above = flat.reshape((n, n_out))
        np.dot(below, weight.T, above)
        activate(bases[layer], one_sided[layer], flat, slopes[first : first + n * n_out], scales[layer])
        below, first = above, first + n * n_out
    readouts, moved_readouts = theta[starts[n_layers] :], moved[starts[n_layers] :]
    width = widths[n_layers]
    first -= n * width
    moved_readouts[:] = ZERO
    for mu in range(n):
        at_point, delta = below[mu], slopes[first + mu * width : first + (mu + 1) * width]
        total = ZERO
        for j in range(width):
            total += at_point[j] * readouts[j]
        prediction[mu] = output_scale * total
        signal = factor[mu] * (targets[mu] - prediction[mu])
        for j in range(width):
            delta[j] *= signal * readouts[j]
            moved_readouts[j] += signal * at_point[j]
    for layer in range(n_layers - 1, -1, -1):
        n_in, n_out = widths[layer], widths[layer + 1]
        delta = slopes[first : first + n * n_out].reshape((n, n_out))
        gradient = moved[starts[layer] : starts[layer + 1]].reshape((n_out, n_in))
        if layer == 0:
            np.dot(delta.T, x, gradient)
        else:
            first -= n * n_in
            np.dot(delta.T, features[first : first + n * n_in].reshape((n, n_in)), gradient)
            pushed = back[: n * n_in]
            weight = theta[starts[layer] : starts[layer + 1]].reshape((n_out, n_in))
            np.dot(delta, weight, pushed.reshape((n, n_in)))
            lower, scale = slopes[first : first + n * n_in], scales[layer]
            for i in range(n * n_in):
                lower[i] *= scale * pushed[i]


@fast
def fill_flat(key_0, key_1, stream, step, first_row, words, columns, xi):
    """xi = network.layered.flat_normal of the step, from 4 first_row on."""
    fill_normal(key_0, key_1, stream, step, first_row, ROWS, words, columns)
    for i in range(ROWS):
        for j in range(4):
            xi[4 * i + j] = columns[j, i]


@fast
def update(theta, drift, rate, decay, noise, now, following, is_noisy, uses_next):
    """One update of parameters that share their rates; `now`, noise of this step, becomes `following`."""
    if not is_noisy:
        for i in range(theta.size):
            theta[i] += rate * drift[i] - decay * theta[i]
        return
    share_of_next = f32(0.5) * noise if uses_next else ZERO
    share_of_now = noise - share_of_next
    for i in range(theta.size):
        theta[i] += rate * drift[i] - decay * theta[i] + (share_of_now * now[i] + share_of_next * following[i])
        now[i] = following[i]


def build_advance(*, cache: bool) -> Callable[..., None]:
    """Compile (or load from the cache) the step loop: n_steps of the whole network.

    It is called once by each member of a team (`team.run_together`) with the same arrays.

    Its arguments:
        theta: (n_parameters,) float32, overwritten; rate, decay, noise: (L + 1,).
        starts: (L + 2,); widths: (L + 1,); bases, one_sided, scales: (L,), see `there_and_back`.
        chunk: points of a chunk; moved: (n_chunks, n_parameters).
        xi_now: one for every parameter, in whole groups of `PARAMETERS`.
        total, losses: float64, of member 0 alone; losses that no step reached stay as they are.
    """
    STAMP = SOURCES

    @njit(cache=cache, **SETTINGS)
    def advance(
        theta, starts, widths, bases, one_sided, scales, x, targets, weights, factor, output_scale, chunk,
        rate, decay, noise, is_noisy, uses_next, key_0, key_1, stream, first_step, n_steps,
        prediction, total, losses, finite, moved, xi_now, member, n_members, counter, is_bad,
    ):  # fmt: skip
        _ = STAMP
        n_points, n_layers, n_parameters = x.shape[0], scales.size, theta.size
        n_neurons = widths[1:].sum()
        features, slopes = np.empty(chunk * n_neurons, f32), np.empty(chunk * n_neurons, f32)
        back = np.empty(chunk * widths[1:].max(), f32)
        drift, xi = np.empty(PARAMETERS, f32), np.empty(PARAMETERS, f32)
        words, columns = np.empty((4, ROWS), u64), np.empty((4, ROWS), f32)
        first_chunk, last_chunk = share(moved.shape[0], member, n_members)
        first_group, last_group = share(xi_now.size // PARAMETERS, member, n_members)
        if is_noisy:
            for group in range(first_group, last_group):
                now = xi_now[group * PARAMETERS : (group + 1) * PARAMETERS]
                fill_flat(key_0, key_1, stream, first_step, group * ROWS, words, columns, now)
        n_meetings = 0
        for k in range(n_steps):
            for c in range(first_chunk, last_chunk):
                low, high = c * chunk, min((c + 1) * chunk, n_points)
                there_and_back(
                    theta, starts, widths, bases, one_sided, scales, x[low:high], targets[low:high], factor[low:high],
                    output_scale, prediction[low:high], features, slopes, back, moved[c],
                )  # fmt: skip
            n_meetings += 1
            meet(counter, n_members, n_meetings)
            if member == 0:
                loss = 0.0
                for mu in range(n_points):
                    residual = np.float64(targets[mu]) - np.float64(prediction[mu])
                    loss += weights[mu] * residual * residual
                    total[mu] += prediction[mu]
                losses[k] = loss
            is_bad[member] = False
            for group in range(first_group, last_group):
                begin, end = group * PARAMETERS, min((group + 1) * PARAMETERS, n_parameters)
                now = xi_now[begin : begin + PARAMETERS]
                for i in range(end - begin):
                    drift[i] = moved[0, begin + i]
                for c in range(1, moved.shape[0]):
                    for i in range(end - begin):
                        drift[i] += moved[c, begin + i]
                if is_noisy:
                    fill_flat(key_0, key_1, stream, first_step + u64(k + 1), group * ROWS, words, columns, xi)
                for layer in range(n_layers + 1):
                    low, high = max(starts[layer], begin) - begin, min(starts[layer + 1], end) - begin
                    pace = rate[layer] * scales[layer] if layer < n_layers else rate[layer]
                    if low < high:
                        update(
                            theta[begin + low : begin + high], drift[low:high], pace, decay[layer], noise[layer],
                            now[low:high], xi[low:high], is_noisy, uses_next,
                        )  # fmt: skip
                is_bad[member] |= has_nonfinite(theta.reshape((1, n_parameters)), 1, begin, end - begin)
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
