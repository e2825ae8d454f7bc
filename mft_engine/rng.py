"""Counter-based randomness: every number is a pure function of (seed, stream, step, row, column).

The generator is Philox4x32-10 with key (seed low, seed high) and counter (row, column // 4, step mod 2^32,
stream). Nothing is stored and nothing advances, so a run can be resumed, split or widened and every element
keeps its value.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

MULTIPLIER_0 = 0xD2511F53
MULTIPLIER_1 = 0xCD9E8D57
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
N_ROUNDS = 10
MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF

Word = int | Tensor


class Stream(IntEnum):
    """What a draw is for; streams never share a number. Runs rely on the values: only append."""

    INITIAL = 0
    BACKGROUND = 1
    FOREGROUND_INITIAL = 2
    FOREGROUND = 3
    BATCH = 4
    ROTATION = 5
    TRAINING_POINTS = 6
    PERMUTATION = 7
    GIBBS = 8
    SUBSAMPLE = 9
    THEORY = 10
    TEST_POINTS = 11
    TASK = 12
    # 13, 14, 17 and 19 had uses once; a number given twice would tie what should be independent.
    POWER_ITERATION = 15
    PROJECTION = 16
    FOREGROUND_GIBBS = 18
    RIDERS = 20
    RIDERS_DROPOUT = 21
    TRAINING_CURVE = 22
    TEMPERING = 30


# Added to the seed for every further draw from the same background.
DRAWS = 1 << 20


def seed_key(seed: int) -> tuple[int, int]:
    """The two 32-bit key words of a seed (taken mod 2^64)."""
    seed &= MASK_64
    return seed & MASK_32, seed >> 32


def philox(counter: tuple[Word, Word, Word, Word], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 of broadcastable 32-bit words held in int64.

    A 64-bit product wraps around in int64, and its two halves are still right once masked.

    Args:
        counter: four words in [0, 2^32), Python ints or int64 tensors of shapes that broadcast.
        key: two words in [0, 2^32).

    Returns:
        four int64 tensors of words in [0, 2^32).

    Source: Salmon et al. 2011, section 3.3.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(N_ROUNDS):
        p0 = c0 * MULTIPLIER_0
        p1 = c2 * MULTIPLIER_1
        c0, c1 = ((p1 >> 32) & MASK_32) ^ c1 ^ k0, p1 & MASK_32
        c2, c3 = ((p0 >> 32) & MASK_32) ^ c3 ^ k1, p0 & MASK_32
        k0 = (k0 + WEYL_0) & MASK_32
        k1 = (k1 + WEYL_1) & MASK_32
    return c0, c1, c2, c3  # type: ignore[return-value]


def _words(
    seed: int,
    stream: int,
    step: int | Tensor,
    n_rows: int,
    n_cols: int,
    device: torch.device | str,
    first_row: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four (n_rows, ceil(n_cols / 4)) word tensors."""
    n_blocks = -(-n_cols // 4)
    rows = torch.arange(first_row, first_row + n_rows, dtype=torch.int64, device=device).unsqueeze(1)
    blocks = torch.arange(n_blocks, dtype=torch.int64, device=device).unsqueeze(0)
    return philox((rows & MASK_32, blocks, step & MASK_32, int(stream) & MASK_32), seed_key(seed))


def normal(
    seed: int,
    stream: int,
    step: int | Tensor,
    n_rows: int,
    n_cols: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    first_row: int = 0,
) -> Tensor:
    """Standard normal numbers, element (i, j) a function of (seed, stream, step, i, j) alone.

        z_{2m}, z_{2m+1} = sqrt(-2 log u) (cos, sin)(pi v),  u in (0, 1], v in [-1, 1)      (Box-Muller)

    Always made in float32 and cast: a float64 draw is the same numbers, so kernels of either precision see
    the same noise. u and v have 24 bits each, so |z| is at most 5.77.

    Args:
        seed: any integer, taken mod 2^64.
        stream: what the draw is for (`Stream`).
        step: step number, taken mod 2^32; a 0-dim int64 tensor on `device` is welcome (graph capture).
        n_rows, n_cols: shape; a wider or taller draw contains the smaller one.
        device, dtype: of the result.
        first_row: row number of the first row of the result.

    Returns:
        (n_rows, n_cols).
    """
    w0, w1, w2, w3 = _words(seed, stream, step, n_rows, n_cols, device, first_row)
    columns: list[Tensor] = []
    for radius_word, angle_word in ((w0, w1), (w2, w3)):
        u = ((radius_word >> 8) + 1).to(torch.float32) * 2.0**-24
        angle = ((angle_word >> 8) - 2**23).to(torch.float32) * (math.pi * 2.0**-23)
        radius = (-2.0 * u.log()).sqrt()
        columns += [radius * angle.cos(), radius * angle.sin()]
    return torch.stack(columns, dim=-1).flatten(1)[:, :n_cols].to(dtype)


def uniform(
    seed: int,
    stream: int,
    step: int | Tensor,
    n_rows: int,
    n_cols: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    first_row: int = 0,
) -> Tensor:
    """Uniform numbers in (0, 1), element (i, j) a function of (seed, stream, step, i, j) alone.

        u = (k + 1/2) 2^-23,  k the upper 23 bits of a word

    Exact in float32, so that neither 0 nor 1 can appear. Normals and uniforms of one (stream, step) are made
    of the same words: never draw both.

    Args:
        seed, stream, step, n_rows, n_cols, device, dtype, first_row: as in `normal`.

    Returns:
        (n_rows, n_cols).
    """
    words = _words(seed, stream, step, n_rows, n_cols, device, first_row)
    u = [((word >> 9).to(torch.float32) + 0.5) * 2.0**-23 for word in words]
    return torch.stack(u, dim=-1).flatten(1)[:, :n_cols].to(dtype)


def host_generator(seed: int, stream: int, step: int = 0) -> np.random.Generator:
    """A numpy generator keyed by (seed, stream, step), for sampling on the host (permutations, data).

    Generators of different keys or steps never overlap: numpy's Philox counts in the counter's low words and
    the step sits in its highest. Draws depend on their order, unlike those of `normal`.

    Args:
        seed: any integer, taken mod 2^64.
        stream: what the draws are for (`Stream`).
        step: taken mod 2^64.

    Returns:
        a fresh `numpy.random.Generator` at its start.
    """
    key = np.array([seed & MASK_64, int(stream) & MASK_64], dtype=np.uint64)
    counter = np.array([0, 0, 0, step & MASK_64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@contextmanager
def own_torch_draws(seed: int, stream: int, step: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's generators are keyed by (seed, stream, step); afterwards they stand as if nothing had been drawn.

    For draws that only torch's modules can make themselves: `reset_parameters`, dropout.

    Args:
        seed, stream, step: as in `normal`.
        device: whose generator is drawn from, beside the host's.
    """
    key = host_generator(seed, stream, step).integers(2**62)
    accelerator = torch.accelerator.current_accelerator()
    has_own = accelerator is not None and device.type == accelerator.type
    with torch.random.fork_rng([device] if has_own else [], device_type=device.type):
        torch.default_generator.manual_seed(int(key))
        if has_own:
            torch.get_device_module(device).manual_seed(int(key))
        yield
