"""What a step does between its matrix products, as Triton kernels: clouds of many readouts or inputs, and layers.

A step is a recorded row of launches: for each hidden layer a product and `activate`; the product that gives f;
`measure`; then down again, for each layer `pull`, the products for its drift and for the layer below; at last `update`.
A launch reads what an earlier one has written; inside one no program waits for another. The order of every sum is a
function of the sizes alone.

Arrays, all of float32 but where stated (n_points x n_out = n_values):
    z, slope, back (n_points, n_neurons) of one layer: phi takes the place of z, and what is pulled back that of back.
    f, signal (n_values,).
    points (2, n_values) float64: targets and weights; found (2, n_values) float64: f and its running sum.
    scales (2,) float64: N^-kappa and N^(kappa - 1).
    parts (programs of `measure`,) float64: their parts of the loss.
    theta, drift (n_params,): rows of n_columns, the rows of `rng.normal` (for flat parameters: of four).
    numbers (3, n_columns or n_params): rate, decay and noise.
    counts (6,) int64: first step, steps begun, key low, key high, stream, first row's number in the noise.
    marks (n_steps,) int32: 1 where a parameter is not finite after a step; losses (n_steps,) float64.
"""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, disable-error-code=assignment
from __future__ import annotations

import triton
import triton.language as tl

from mft_engine.kernels.gpu.functions import scale_of, terms
from mft_engine.kernels.gpu.noise import four_normals
from mft_engine.kernels.gpu.steps import LARGEST, plus


@triton.jit(do_not_specialize=["n_elements"])
def activate(z_ptr, slope_ptr, counts_ptr, n_elements, scale, BASE: tl.constexpr, IS_ONE_SIDED: tl.constexpr,
             IS_FIRST: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """phi(scale z) in the place of z, and phi'(scale z). IS_FIRST: with this launch a step begins."""
    if IS_FIRST:
        if tl.program_id(0) == 0:
            tl.store(counts_ptr + 1, tl.load(counts_ptr + 1) + 1)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_here = at < n_elements
    y = tl.load(z_ptr + at, mask=is_here, other=0.0) * (scale * scale_of(BASE))
    value, slope = terms(y, tl.full((BLOCK,), 1.0, tl.float32), BASE)
    if IS_ONE_SIDED:
        value, slope = tl.where(y > 0.0, value, y * 0.0), tl.where(y > 0.0, slope, 0.0)
    tl.store(z_ptr + at, value, mask=is_here)
    tl.store(slope_ptr + at, slope, mask=is_here)


@triton.jit(do_not_specialize=["n_values"])
def measure(f_ptr, points_ptr, found_ptr, signal_ptr, scales_ptr, parts_ptr, n_values, BLOCK: tl.constexpr):
    """f of the sum over neurons, its running sum, the signals, and a part of the loss."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_here = at < n_values
    f = tl.load(f_ptr + at, mask=is_here, other=0.0).to(tl.float64) * tl.load(scales_ptr)
    left = tl.load(points_ptr + at, mask=is_here, other=0.0) - f
    felt = tl.load(points_ptr + n_values + at, mask=is_here, other=0.0) * left
    tl.store(parts_ptr + tl.program_id(0), tl.reduce(tl.where(is_here, felt * left, 0.0), 0, plus))
    tl.store(signal_ptr + at, (tl.load(scales_ptr + 1) * felt).to(tl.float32), mask=is_here)
    tl.store(found_ptr + at, f, mask=is_here)
    total = found_ptr + n_values + at
    tl.store(total, tl.load(total, mask=is_here, other=0.0) + f, mask=is_here)


@triton.jit(do_not_specialize=["n_neurons"])
def pull(back_ptr, slope_ptr, signal_ptr, readout_ptr, n_neurons, readout_stride, scale, IS_OUTER: tl.constexpr,
         BLOCK: tl.constexpr):  # fmt: skip
    """Times scale phi': dF/dz of a layer in the place of dF/dh. IS_OUTER: dF/dh is signal x readout, of one readout."""
    point = tl.program_id(0).to(tl.int64)
    neuron = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_here = neuron < n_neurons
    at = point * n_neurons + neuron
    if IS_OUTER:
        reached = tl.load(signal_ptr + point) * tl.load(
            readout_ptr + neuron.to(tl.int64) * readout_stride, mask=is_here, other=0.0
        )
    else:
        reached = tl.load(back_ptr + at, mask=is_here, other=0.0)
    slope = tl.load(slope_ptr + at, mask=is_here, other=0.0) * scale
    tl.store(back_ptr + at, reached * slope, mask=is_here)


@triton.jit
def quad_normals(row, block, step, counts_ptr):
    """Four columns of rng.normal(seed, stream, step) in each of these rows."""
    row = row + tl.load(counts_ptr + 5)
    stream, key_0 = tl.load(counts_ptr + 4).to(tl.uint32), tl.load(counts_ptr + 2).to(tl.uint32)
    key_1 = tl.load(counts_ptr + 3).to(tl.uint32)
    return four_normals(row.to(tl.uint32), block.to(tl.uint32), step.to(tl.uint32), stream, key_0, key_1)


@triton.jit(do_not_specialize=["n_params", "n_parts"])
def update(theta_ptr, drift_ptr, numbers_ptr, counts_ptr, marks_ptr, losses_ptr, parts_ptr, n_params, n_parts,
           N_COLUMNS: tl.constexpr, IS_FLAT: tl.constexpr, IS_NOISY: tl.constexpr, USES_NEXT: tl.constexpr,
           HAS_LOSS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """theta_j + rate_j drift_j - decay_j theta_j + noise_j xi; a thread has four columns of a row, as the noise comes.

    IS_FLAT: every parameter has numbers of its own, else every column. HAS_LOSS: the first program adds up the loss.
    """
    QUADS: tl.constexpr = (N_COLUMNS + 3) // 4
    done = tl.load(counts_ptr + 1) - 1
    step = tl.load(counts_ptr) + done
    quad = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, block = quad // QUADS, quad % QUADS
    xi = (0.0, 0.0, 0.0, 0.0)
    if IS_NOISY:
        xi = quad_normals(row, block, step, counts_ptr)
        if USES_NEXT:
            following = quad_normals(row, block, step + 1, counts_ptr)
            mean = ()
            for j in tl.static_range(4):
                mean = mean + (0.5 * (xi[j] + following[j]),)
            xi = mean
    n_numbers = n_params if IS_FLAT else N_COLUMNS
    is_bad = quad < 0
    for j in tl.static_range(4):
        column = 4 * block + j
        at = row * N_COLUMNS + column
        is_here = (column < N_COLUMNS) & (at < n_params)
        place = at if IS_FLAT else column
        theta = tl.load(theta_ptr + at, mask=is_here, other=0.0)
        rate = tl.load(numbers_ptr + place, mask=is_here, other=0.0)
        decay = tl.load(numbers_ptr + n_numbers + place, mask=is_here, other=0.0)
        change = rate * tl.load(drift_ptr + at, mask=is_here, other=0.0) - decay * theta
        if IS_NOISY:
            change += tl.load(numbers_ptr + 2 * n_numbers + place, mask=is_here, other=0.0) * xi[j]
        theta += change
        is_bad = is_bad | ~(tl.abs(theta) <= LARGEST)
        tl.store(theta_ptr + at, theta, mask=is_here)
    tl.store(marks_ptr + done + 0 * quad, 1 + (0 * quad).to(tl.int32), mask=is_bad)
    if HAS_LOSS:
        if tl.program_id(0) == 0:
            loss = tl.full((BLOCK,), 0.0, tl.float64)
            for first in range(0, n_parts, BLOCK):
                part = first + tl.arange(0, BLOCK)
                loss += tl.load(parts_ptr + part, mask=part < n_parts, other=0.0)
            tl.store(losses_ptr + done, tl.reduce(loss, 0, plus))
