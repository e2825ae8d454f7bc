"""Counting all neurons of a cloud where they live: images, histograms, ends and moments leave the device.

Nothing here waits for a number before all of them are fetched at once. Counts are sums of integers, so the order of
their additions does not matter: the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import fetched, widest
from mft_engine.looks import N_ASKED, TAIL, Coordinate, Ends, Look, Moments, Seen, Span

if TYPE_CHECKING:
    from collections.abc import Iterable

# Neurons whose moments are taken at a time: double precision of all would need several times the cloud's memory.
BLOCK = 65_536


def see(tables: Sequence[Tensor], look: Look) -> Seen | None:
    """Count the neurons of the layer that is looked at, and fetch what was counted; None where its table is not large.

    Args:
        tables: (n_neurons, n_columns) of every hidden layer; of another network than the look's they are not counted.
    """
    counting = Counting.of(tables, look)
    return None if counting is None else counting.seen(fetched(counting.tensors))


class Counting:
    """Counts under way on a device.

    Attributes:
        tensors: to be fetched, and given to `seen` in this order.
    """

    @classmethod
    def of(cls, tables: Sequence[Tensor], look: Look) -> Counting | None:
        """Of the layer that is looked at, where there is something to count."""
        return cls(tables[look.layer], look) if look.is_of([table.shape for table in tables]) else None

    def __init__(self, table: Tensor, look: Look) -> None:
        self._look, self._n_neurons = look, table.shape[0]
        plane = look.plane
        self._coordinates = tuple(
            dict.fromkeys([*([plane.x, plane.y] if plane else []), *(line.of for line in look.lines)])
        )
        wide = widest(table.device)
        along = {of: of.of(table, look.n_out, torch, wide) for of in self._coordinates}
        step = max(1, self._n_neurons // N_ASKED)
        self.tensors = [_ends(values[::step]) for values in along.values()]
        if plane and plane.spans:
            self.tensors.append(_counts([along[plane.x], along[plane.y]], plane.spans))
        self.tensors += [_counts([along[line.of]], [line.span]) for line in look.lines if line.span]
        if look.has_moments:
            self.tensors += _moments(table, look.n_out)
        if look.marked:
            numbers = torch.tensor(look.marked, device=table.device)
            self.tensors.append(table.index_select(0, numbers).float())

    def seen(self, arrays: Sequence[np.ndarray]) -> Seen:
        """The counts, given the fetched tensors."""
        look, left = self._look, iter(arrays)
        ends = {of: Ends(*map(float, next(left))) for of in self._coordinates}
        plane, image, moments, marked = look.plane, None, None, None
        if plane and plane.spans:
            image = next(left).reshape(plane.spans[1].n_bins, plane.spans[0].n_bins)
            image = image.astype(np.min_scalar_type(int(image.max())))
        histograms = tuple((ends[line.of], next(left) if line.span else None) for line in look.lines)
        if look.has_moments:
            moments = Moments(next(left), next(left))
        if look.marked:
            marked = next(left)
        both = (ends[plane.x], ends[plane.y]) if plane else None
        return Seen(look, self._n_neurons, image, both, histograms, moments, marked)


def _counts(values: Sequence[Tensor], spans: Sequence[Span]) -> Tensor:
    """(n_cells,) int32 neurons in each cell; of two coordinates those of the first lie side by side."""
    n_cells, cell, inside = 1, None, None
    for along, span in zip(values, spans, strict=True):
        places = span.places(along)
        is_inside = span.is_inside(places)
        step = places.to(torch.int32)
        cell = step if cell is None else cell + n_cells * step
        inside = is_inside if inside is None else inside & is_inside
        n_cells *= span.n_bins
    assert cell is not None and inside is not None
    one = torch.ones((), dtype=torch.int32, device=cell.device).expand(cell.shape)
    bins = torch.zeros(n_cells + 1, dtype=torch.int32, device=cell.device)
    # The last bin is for all that lie outside: to leave them out would wait for their number.
    return bins.index_add_(0, torch.where(inside, cell, n_cells), one)[:-1]


def _ends(values: Tensor) -> Tensor:
    """(2,) float32 between which all but a few lie."""
    finite = values.nan_to_num(0.0, 0.0, 0.0)
    n = finite.shape[0]
    cut = int(TAIL * n)
    return torch.stack([finite.kthvalue(cut + 1).values, finite.kthvalue(n - cut).values])


def _moments(table: Tensor, n_out: int) -> list[Tensor]:
    """Mean and covariance of weights and readout, in double precision where the device has it."""
    readout, wide = Coordinate("readout"), widest(table.device)

    def joined(rows: Tensor) -> Tensor:
        return torch.cat([rows[:, : rows.shape[1] - n_out], readout.of(rows, n_out, torch, wide)[:, None]], 1).to(wide)

    def total(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts)).sum(dim=0) / table.shape[0]

    blocks = torch.split(table, BLOCK)
    mean = total(joined(rows).sum(dim=0) for rows in blocks)
    centred = (joined(rows) - mean for rows in blocks)
    return [mean, total(part.T @ part for part in centred)]
