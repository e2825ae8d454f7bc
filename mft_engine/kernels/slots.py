"""Points arranged for the fused kernel: antipodal pairs found, columns contiguous, lengths padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOT_GROUP = 16


@dataclass(frozen=True)
class Slots:
    """Where each point went.

    Args:
        x: (max(n_inputs, 2), n_slots) float32, a column per slot, zeros in the padding.
        plus: (n_slots,) number of the point at x, -1 in the padding.
        minus: (n_slots,) number of the point at -x, -1 where there is none.
        is_paired: whether any slot holds two points.
    """

    x: NDArray[np.float32]
    plus: NDArray[np.int64]
    minus: NDArray[np.int64]
    is_paired: bool


def antipodes(points: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """The point at -x for each point x, if every point has one to itself, else None.

    The origin is its own antipode. Equality is exact: a rule made as (x, -x) qualifies.

    Args:
        points: (n_points, n_inputs).

    Returns:
        (n_points,) or None; an involution.
    """
    first = points[:, 0]
    if len(points) < 2 or first.min() != -first.max():
        return None
    # Adding zero turns -0 into +0, so that equal points have equal sort keys.
    here, there = points + np.float32(0.0), np.float32(0.0) - points
    order_here, order_there = np.lexsort(here.T), np.lexsort(there.T)
    if not np.array_equal(here[order_here], there[order_there]):
        return None
    partner = np.empty(len(points), dtype=np.int64)
    partner[order_here] = order_there
    return partner


def arrange(points: NDArray[np.float32]) -> Slots:
    """Slots of these points: pairs if all points pair up, else one point a slot.

    Args:
        points: (n_points, n_inputs) float32.
    """
    n_points, n_inputs = points.shape
    partner = antipodes(points)
    numbers = np.arange(n_points)
    if partner is None:
        chosen, opposite = numbers, np.full(n_points, -1)
    else:
        chosen = numbers[numbers <= partner]
        opposite = np.where(partner[chosen] == chosen, -1, partner[chosen])
    n_slots = -(-max(len(chosen), 1) // SLOT_GROUP) * SLOT_GROUP
    x = np.zeros((max(n_inputs, 2), n_slots), dtype=np.float32)
    x[:n_inputs, : len(chosen)] = points[chosen].T
    plus, minus = np.full(n_slots, -1, dtype=np.int64), np.full(n_slots, -1, dtype=np.int64)
    plus[: len(chosen)] = chosen
    minus[: len(chosen)] = opposite
    return Slots(x, plus, minus, partner is not None)
