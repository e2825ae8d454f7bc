"""Quadratic forms of a matrix of distances that is never held: exactly by tiles, or along directions.

The O(n^2) work is cut into tiles and told as a generator, so that a window can show its progress and stop it.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.rng import Stream

N_DIRECTIONS = 48
GOLDEN = (5**0.5 - 1) / 2
# Points at which two distributions on a line are compared; more change the distance by less than 0.1 %.
N_QUANTILES = 1024
# 2 x 512 x 640 x 640 multiply-adds are about 10 ms of one core, and the tile (1.6 MB) stays in its cache.
TILE = 640
# Labels shuffled or binned in one slice of work, some ms.
SLICE_ELEMENTS = 1_000_000


def quadratic_forms(points: Tensor, cuts: tuple[int, ...], labels: Tensor) -> Generator[float, None, Tensor]:
    """h' D h for every row h of labels and the distances over the first c columns, for each c in cuts.

    D is never held: a tile of it is made, used for all labels and dropped; the tiles below the diagonal are
    counted through their mirror images.

    Args:
        points: (n, n_columns); cuts: increasing column counts; labels: (n_labels, n).

    Yields:
        the fraction of the tiles done, after each.

    Returns:
        (n_tiles, n_cuts, n_labels), to be summed over the tiles in float64 (which some devices lack).
    """
    n = len(points)
    tiles = [(i, j) for i in range(0, n, TILE) for j in range(i, n, TILE)]
    sums = labels.new_zeros(len(tiles), len(cuts), len(labels))
    for done, (i, j) in enumerate(tiles):
        rows, columns = points[i : i + TILE], points[j : j + TILE]
        left, right = labels[:, i : i + TILE], labels[:, j : j + TILE]
        weight = 1.0 if i == j else 2.0
        square = torch.zeros(len(rows), len(columns), dtype=points.dtype, device=points.device)
        for column in range(points.shape[1]):
            difference = rows[:, column, None] - columns[None, :, column]
            square.addcmul_(difference, difference)
            if column + 1 in cuts:
                sums[done, cuts.index(column + 1)] = ((left @ square.sqrt()) * right).sum(dim=1) * weight
        yield (done + 1) / len(tiles)
    return sums


def directions(seed: int, n_columns: int) -> np.ndarray:
    """(N_DIRECTIONS, n_columns) unit vectors that cover the sphere of directions evenly, turned at random.

    Equal angles in the plane, a Fibonacci lattice on the half-sphere in space (both integrate |u.x| to about a per
    cent, where independent directions err by tens), orthonormal groups above.
    """
    generator = rng.host_generator(seed, Stream.PROJECTION, n_columns)
    middles = (np.arange(N_DIRECTIONS) + 0.5) / N_DIRECTIONS
    if n_columns == 2:
        even = np.stack([np.cos(np.pi * middles), np.sin(np.pi * middles)], axis=1)
    elif n_columns == 3:
        around = 2 * np.pi * GOLDEN * np.arange(N_DIRECTIONS)
        radius = np.sqrt(1 - middles**2)
        even = np.stack([radius * np.cos(around), radius * np.sin(around), middles], axis=1)
    else:
        n_groups = -(-N_DIRECTIONS // n_columns)
        groups = np.linalg.qr(generator.standard_normal((n_groups, n_columns, n_columns)))[0]
        even = groups.reshape(-1, n_columns)[:N_DIRECTIONS]
    turn = np.linalg.qr(generator.standard_normal((n_columns, n_columns)))[0]
    return (even @ turn).astype(np.float32)


def line(points: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """What `sliced_forms` needs of a cloud seen along one direction: its quantile bins and their distances.

        |x| = E_u |u.x| / c_d,   c_d = Gamma(d/2) / (sqrt(pi) Gamma((d + 1)/2)),   u uniform on the sphere

    Args:
        points: (n, d); direction: (d,) a unit vector.

    Returns:
        (n,) bin of each point; (n_bins - 1,) distances between the middles of neighbouring bins, over c_d.
    """
    n, d = points.shape
    n_bins = min(n, N_QUANTILES)
    place, order = torch.sort(points @ direction)
    ranked = torch.arange(n, device=points.device) * n_bins // n
    bins = torch.empty_like(ranked).scatter_(0, order, ranked)
    starts = torch.arange(n_bins + 1, device=points.device) * n // n_bins
    middles = place[(starts[:-1] + starts[1:]) // 2]
    factor = math.sqrt(math.pi) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    return bins.to(torch.int32), (middles[1:] - middles[:-1]) * factor


def sliced_forms(lines: list[list[tuple[Tensor, Tensor]]], labels: Tensor) -> Generator[float, None, Tensor]:
    """h' D h for every row h of labels (of sum zero), estimated from distances along lines.

        h' D_u h = -2 integral H(t)^2 dt,   H(t) = sum of h over the points with u.x <= t

    On a line the energy distance is twice Cramer's, here with H at the edges of quantile bins (in a small
    cloud every point is its own bin: then it is exact). The same lines serve all labels, so that this is a
    permutation test of the sliced statistic itself.

    Args:
        lines: for every direction, for every cut, what `line` gives; labels: (n_labels, n).

    Yields:
        the fraction done, after every few ms.

    Returns:
        (n_directions, n_cuts, n_labels), to be summed over the directions in float64.
    """
    n_labels, n = labels.shape
    n_rows = max(1, SLICE_ELEMENTS // n_labels)
    binned = [[labels.new_zeros(len(gaps) + 1, n_labels) for _, gaps in bundle] for bundle in lines]
    for first in range(0, n, n_rows):
        columns = labels[:, first : first + n_rows].T.contiguous()
        for number, bundle in enumerate(lines):
            for (bins, _), counts in zip(bundle, binned[number], strict=True):
                counts.index_add_(0, bins[first : first + n_rows], columns)
            yield (first + n_rows * (number + 1) / len(lines)) / (n + n_rows)
    sums = []
    for bundle, counts_of_bundle in zip(lines, binned, strict=True):
        forms = [
            gaps @ counts.cumsum(dim=0)[:-1].square_()
            for (_, gaps), counts in zip(bundle, counts_of_bundle, strict=True)
        ]
        sums.append(torch.stack(forms) * (-2.0 / len(lines)))
        yield 0.999
    return torch.stack(sums)
