"""The steps of one readout on a GPU; what a slot and the modes are, `mft_engine.kernels.passes` tells.

No number crosses threads inside a loop. Going forward a thread owns slots of points and walks over the neurons of its
program; going backward it owns neurons and walks over slots (or, in small clouds, over every LANES-th slot). Sums over
neurons are fixed-point integers added by atomics: the order of the programs leaves no trace. The program that arrives
last turns them into the loss and the signals of the next launch, so that a step is one launch:

    backward with the signals of the last launch, noise, update  ->  forward of the new neurons  ->  last one: signals

Arrays:
    state (n_inputs + 1, n_padded) float32: a row a column of theta, zeros behind n_neurons.
    xi, likewise: xi_k of the coming step (Leimkuhler-Matthews alone).
    x (n_inputs, n_slots), c (2, n_slots) float32.
    numbers (3, n_inputs + 1) float32: rate, decay and noise.
    points (4, n_slots) float64: targets at x and -x, weights at x and -x.
    found (4, n_slots) float64: f at x and -x, its running sum at x and -x.
    scales (3,) float64: f per unit of the integers, N^(kappa-1), parity.
    sums (2, n_slots) int64: the integers.
    counts (6,) int64: first step, forward passes done, key low, key high, stream, first neuron's number in the noise.
    marks (2 + n_losses,) int32: programs arrived, a sum beyond the integers, neurons not finite after step k.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disable-error-code=assignment
from __future__ import annotations

import triton
import triton.language as tl

from mft_engine.kernels.gpu.functions import ONE_SIDED_PAIRS, ONE_SIDED_SINGLES, PLAIN, chosen, scale_of, terms, value
from mft_engine.kernels.gpu.noise import four_normals

LARGEST = tl.constexpr(3.4e38)


@triton.jit
def plus(one, other):
    """What sums across threads are made of; `tl.sum` cannot be interpreted beside compiled code."""
    return one + other


@triton.jit
def load_rows(ptr, at, stride, N_ROWS: tl.constexpr):
    """Elements `at` of N_ROWS rows."""
    rows = ()
    for j in tl.static_range(N_ROWS):
        rows = rows + (tl.load(ptr + j * stride + at),)
    return rows


@triton.jit
def inner(w, x, N: tl.constexpr):
    """sum_j w_j x_j."""
    y = w[0] * x[0]
    for j in tl.static_range(1, N):
        y += w[j] * x[j]
    return y


@triton.jit
def scaled(rows, factor, N: tl.constexpr):
    """Every row times a number."""
    found = ()
    for j in tl.static_range(N):
        found = found + (rows[j] * factor,)
    return found


@triton.jit
def drift(w, x_ptr, c_ptr, n_slots, N_INPUTS: tl.constexpr, BASE: tl.constexpr, MODE: tl.constexpr,
          BLOCK: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr):  # fmt: skip
    """sum_mu s_mu phi' x_mu without the readout, and sum_mu s_mu phi: N_INPUTS + 1 tensors (BLOCK,)."""
    v = scaled(w, scale_of(BASE), N_INPUTS)
    if LANES > 1:
        spread = ()
        for j in tl.static_range(N_INPUTS):
            wide = tl.broadcast_to(tl.expand_dims(v[j], 1), (BLOCK, LANES))
            spread = spread + (tl.reshape(wide, (BLOCK * LANES,)),)
        v = spread
    lane = tl.arange(0, BLOCK * LANES) % LANES
    value_sum = tl.full((BLOCK * LANES,), 0.0, tl.float32)
    slope_sums = scaled(v, 0.0, N_INPUTS)
    for s in tl.range(0, n_slots, LANES, loop_unroll_factor=UNROLL):
        at = s if LANES == 1 else s + lane
        x = load_rows(x_ptr, at, n_slots, N_INPUTS)
        c_plus = tl.load(c_ptr + at)
        c_minus = tl.load(c_ptr + n_slots + at) if MODE == ONE_SIDED_PAIRS else 0.0
        y = inner(v, x, N_INPUTS)
        h, g = terms(y, chosen(y, c_plus, c_minus, MODE), BASE)
        value_sum += h
        added = ()
        for j in tl.static_range(N_INPUTS):
            added = added + (slope_sums[j] + g * x[j],)
        slope_sums = added
    if LANES > 1:
        gathered = ()
        for j in tl.static_range(N_INPUTS):
            gathered = gathered + (tl.reduce(tl.reshape(slope_sums[j], (BLOCK, LANES)), 1, plus),)
        slope_sums = gathered
        value_sum = tl.reduce(tl.reshape(value_sum, (BLOCK, LANES)), 1, plus)
    return slope_sums + (value_sum,)


@triton.jit
def normals(row, step, counts_ptr, N_PARAMS: tl.constexpr):
    """rng.normal(seed, stream, step) of these neurons, a tensor a column; up to the next multiple of four columns."""
    row = row + tl.load(counts_ptr + 5)
    stream, key_0 = tl.load(counts_ptr + 4).to(tl.uint32), tl.load(counts_ptr + 2).to(tl.uint32)
    key_1 = tl.load(counts_ptr + 3).to(tl.uint32)
    found = ()
    for block in tl.static_range((N_PARAMS + 3) // 4):
        number = tl.full((), block, tl.uint32)
        found = found + four_normals(row.to(tl.uint32), number, step.to(tl.uint32), stream, key_0, key_1)
    return found


@triton.jit
def updated(theta, sums, xi, numbers_ptr, N_INPUTS: tl.constexpr, MODE: tl.constexpr, IS_NOISY: tl.constexpr):
    """theta_j + rate_j drift_j - decay_j theta_j + noise_j xi_j for every column."""
    N_PARAMS: tl.constexpr = N_INPUTS + 1
    factor = theta[N_INPUTS]
    if MODE != PLAIN:
        # At w = 0 every point sits on the kink, where the slope counts as 0.
        is_alive = theta[0] != 0.0
        for j in tl.static_range(1, N_INPUTS):
            is_alive = is_alive | (theta[j] != 0.0)
        factor = tl.where(is_alive, factor, 0.0)
    found = ()
    for j in tl.static_range(N_PARAMS):
        pull = sums[j] * factor if j < N_INPUTS else sums[j]
        change = tl.load(numbers_ptr + j) * pull - tl.load(numbers_ptr + N_PARAMS + j) * theta[j]
        if IS_NOISY:
            change += tl.load(numbers_ptr + 2 * N_PARAMS + j) * xi[j]
        found = found + (theta[j] + change,)
    return found


@triton.jit
def sum_forward(state_ptr, n_padded, first, x_ptr, n_slots, sums_ptr, marks_ptr, scale, limit,
                N_INPUTS: tl.constexpr, BASE: tl.constexpr, MODE: tl.constexpr, BLOCK: tl.constexpr,
                SLOTS: tl.constexpr, UNROLL: tl.constexpr):  # fmt: skip
    """Add sum_i a_i b (and, for one-sided pairs, sum_i a_i |b|) of BLOCK neurons to the integers of every slot."""
    for s in range(0, n_slots, SLOTS):
        at = s + tl.arange(0, SLOTS)
        is_here = at < n_slots
        x = ()
        for j in tl.static_range(N_INPUTS):
            x = x + (tl.load(x_ptr + j * n_slots + at, mask=is_here, other=0.0) * scale_of(BASE),)
        odd = tl.full((SLOTS,), 0.0, tl.float32)
        even = tl.full((SLOTS,), 0.0, tl.float32)
        for i in tl.range(first, first + BLOCK, loop_unroll_factor=UNROLL):
            w = load_rows(state_ptr, i, n_padded, N_INPUTS)
            readout = tl.load(state_ptr + N_INPUTS * n_padded + i)
            b = value(inner(w, x, N_INPUTS), BASE)
            if MODE == ONE_SIDED_SINGLES:
                b = tl.maximum(b, 0.0)
            odd += readout * b
            if MODE == ONE_SIDED_PAIRS:
                even += readout * tl.abs(b)
        add_fixed(sums_ptr + at, odd, is_here, marks_ptr, scale, limit)
        if MODE == ONE_SIDED_PAIRS:
            add_fixed(sums_ptr + n_slots + at, even, is_here, marks_ptr, scale, limit)


@triton.jit
def add_fixed(ptr, number, is_here, marks_ptr, scale, limit):
    """Add numbers in units of 1/scale; mark those that do not fit, not-a-number among them."""
    fits = tl.abs(number) < limit
    fixed = tl.where(fits, number * scale, 0.0)
    # The nearest integer: adding a half and rounding down, exact because scale is a power of two.
    tl.atomic_add(ptr, tl.floor(fixed + 0.5).to(tl.int64), mask=is_here, sem="relaxed")
    one = tl.where(fits, 0, 1)
    tl.atomic_or(marks_ptr + 1 + 0 * one, one, mask=is_here & (one != 0), sem="relaxed")


@triton.jit
def measure(c_ptr, points_ptr, found_ptr, scales_ptr, sums_ptr, counts_ptr, marks_ptr, losses_ptr, n_slots,
            MODE: tl.constexpr, SLOTS: tl.constexpr):  # fmt: skip
    """Integers -> f, its running sum, the loss and the signals c; the integers are zero again afterwards."""
    unit, factor, parity = tl.load(scales_ptr), tl.load(scales_ptr + 1), tl.load(scales_ptr + 2)
    unit = tl.where(tl.atomic_xchg(marks_ptr + 1, 0, sem="relaxed") != 0, float("nan"), unit)
    loss = 0.0 * factor
    for s in range(0, n_slots, SLOTS):
        at = s + tl.arange(0, SLOTS)
        is_here = at < n_slots
        nothing = tl.full((SLOTS,), 0, tl.int64)
        f_plus = tl.atomic_xchg(sums_ptr + at, nothing, mask=is_here, sem="relaxed").to(tl.float64) * unit
        f_minus = parity * f_plus
        if MODE == ONE_SIDED_PAIRS:
            even = tl.atomic_xchg(sums_ptr + n_slots + at, nothing, mask=is_here, sem="relaxed").to(tl.float64) * unit
            f_plus, f_minus = 0.5 * (even + f_plus), 0.5 * (even - f_plus)
        target_plus = tl.load(points_ptr + at, mask=is_here, other=0.0)
        target_minus = tl.load(points_ptr + n_slots + at, mask=is_here, other=0.0)
        weight_plus = tl.load(points_ptr + 2 * n_slots + at, mask=is_here, other=0.0)
        weight_minus = tl.load(points_ptr + 3 * n_slots + at, mask=is_here, other=0.0)
        left_plus, left_minus = target_plus - f_plus, target_minus - f_minus
        misses = weight_plus * left_plus * left_plus + weight_minus * left_minus * left_minus
        loss += tl.reduce(tl.where(is_here, misses, 0.0), 0, plus)
        signal_plus, signal_minus = factor * weight_plus * left_plus, factor * weight_minus * left_minus
        if MODE == PLAIN:
            tl.store(c_ptr + at, (signal_plus + parity * signal_minus).to(tl.float32), mask=is_here)
        else:
            tl.store(c_ptr + at, signal_plus.to(tl.float32), mask=is_here)
            tl.store(c_ptr + n_slots + at, (-signal_minus).to(tl.float32), mask=is_here)
        tl.store(found_ptr + at, f_plus, mask=is_here)
        tl.store(found_ptr + n_slots + at, f_minus, mask=is_here)
        total = found_ptr + 2 * n_slots + at
        tl.store(total, tl.load(total, mask=is_here, other=0.0) + f_plus, mask=is_here)
        tl.store(total + n_slots, tl.load(total + n_slots, mask=is_here, other=0.0) + f_minus, mask=is_here)
    done = tl.load(counts_ptr + 1)
    tl.store(losses_ptr + done, loss)
    tl.store(counts_ptr + 1, done + 1)


@triton.jit(do_not_specialize=["n_neurons"])
def background_step(state_ptr, xi_ptr, x_ptr, c_ptr, numbers_ptr, points_ptr, found_ptr, scales_ptr, sums_ptr,
                    counts_ptr, marks_ptr, losses_ptr, n_neurons, n_padded, n_slots, scale, limit,
                    N_INPUTS: tl.constexpr, BASE: tl.constexpr, MODE: tl.constexpr, IS_NOISY: tl.constexpr,
                    USES_NEXT: tl.constexpr, GOES_BACK: tl.constexpr, GOES_ON: tl.constexpr, BLOCK: tl.constexpr,
                    LANES: tl.constexpr, SLOTS: tl.constexpr, UNROLL: tl.constexpr):  # fmt: skip
    """GOES_BACK: move the neurons by the signals there are. GOES_ON: f of the neurons, its loss and signals.

    A call of n steps is one launch that only goes on, n - 1 that do both, and one that only goes back.
    """
    N_PARAMS: tl.constexpr = N_INPUTS + 1
    first = tl.program_id(0) * BLOCK
    at = first + tl.arange(0, BLOCK)
    is_neuron = at < n_neurons
    step = tl.load(counts_ptr)
    if GOES_BACK:
        done = tl.load(counts_ptr + 1)
        step += done - 1
        theta = load_rows(state_ptr, at, n_padded, N_PARAMS)
        sums = drift(theta, x_ptr, c_ptr, n_slots, N_INPUTS, BASE, MODE, BLOCK, LANES, UNROLL)
        xi = theta
        if IS_NOISY:
            if USES_NEXT:
                following = normals(at, step + 1, counts_ptr, N_PARAMS)
                xi = ()
                for j in tl.static_range(N_PARAMS):
                    now = tl.load(xi_ptr + j * n_padded + at)
                    xi = xi + (0.5 * (now + following[j]),)
                    tl.store(xi_ptr + j * n_padded + at, following[j])
            else:
                xi = normals(at, step, counts_ptr, N_PARAMS)
        theta = updated(theta, sums, xi, numbers_ptr, N_INPUTS, MODE, IS_NOISY)
        is_bad = at < 0
        for j in tl.static_range(N_PARAMS):
            is_bad = is_bad | ~(tl.abs(theta[j]) <= LARGEST)
            tl.store(state_ptr + j * n_padded + at, theta[j], mask=is_neuron)
        tl.store(marks_ptr + 1 + done + 0 * at, 1 + 0 * at, mask=is_bad & is_neuron)
    elif IS_NOISY and USES_NEXT:
        xi = normals(at, step, counts_ptr, N_PARAMS)
        for j in tl.static_range(N_PARAMS):
            tl.store(xi_ptr + j * n_padded + at, xi[j])
    if GOES_ON:
        # Threads now read neurons that others of this program have written.
        tl.debug_barrier()
        sum_forward(state_ptr, n_padded, first, x_ptr, n_slots, sums_ptr, marks_ptr, scale, limit,
                    N_INPUTS, BASE, MODE, BLOCK, SLOTS, UNROLL)  # fmt: skip
        # All of this program's atomics come before its arrival, and whoever arrives last sees everybody's.
        tl.debug_barrier()
        if tl.atomic_add(marks_ptr, 1, sem="acq_rel") == tl.num_programs(0) - 1:
            tl.store(marks_ptr, 0)
            measure(c_ptr, points_ptr, found_ptr, scales_ptr, sums_ptr, counts_ptr, marks_ptr, losses_ptr, n_slots,
                    MODE, SLOTS)  # fmt: skip


@triton.jit(do_not_specialize=["n_neurons", "n_steps"])
def frozen_steps(state_ptr, x_ptr, c_ptr, numbers_ptr, counts_ptr, n_neurons, n_padded, n_slots, n_steps,
                 N_INPUTS: tl.constexpr, BASE: tl.constexpr, MODE: tl.constexpr, IS_NOISY: tl.constexpr,
                 USES_NEXT: tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr):  # fmt: skip
    """n_steps of neurons that do not see each other; they stay in registers."""
    N_PARAMS: tl.constexpr = N_INPUTS + 1
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(counts_ptr)
    theta = load_rows(state_ptr, at, n_padded, N_PARAMS)
    now = theta
    if IS_NOISY:
        now = normals(at, step, counts_ptr, N_PARAMS)
    for k in range(n_steps):
        sums = drift(theta, x_ptr, c_ptr, n_slots, N_INPUTS, BASE, MODE, BLOCK, LANES, UNROLL)
        if IS_NOISY:
            following = normals(at, step + k + 1, counts_ptr, N_PARAMS)
            xi = now
            if USES_NEXT:
                xi = ()
                for j in tl.static_range(N_PARAMS):
                    xi = xi + (0.5 * (now[j] + following[j]),)
            now = following
            theta = updated(theta, sums, xi, numbers_ptr, N_INPUTS, MODE, IS_NOISY)
        else:
            theta = updated(theta, sums, theta, numbers_ptr, N_INPUTS, MODE, IS_NOISY)
    for j in tl.static_range(N_PARAMS):
        tl.store(state_ptr + j * n_padded + at, theta[j], mask=at < n_neurons)
