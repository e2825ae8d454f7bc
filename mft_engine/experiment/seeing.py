"""Counting all neurons of a cloud where they live: images, histograms, ends and moments leave the device.

Nothing here waits for a number before all of them are fetched at once. Counts are sums of integers, so the order of
their additions does not matter: the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import fetched, widest
from mft_engine.looks import N_ASKED, N_PHASES, TAIL, Coordinate, Ends, Look, Moments, Seen, Span, WavesSeen

if TYPE_CHECKING:
    from collections.abc import Iterable

# Neurons whose moments or waves are taken at a time: double precision of all would need many times their memory.
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
        if look.modulus:
            self.tensors += _waves(table, look.modulus)
        if look.marked:
            # Of another network, which has fewer, when a look comes late: any neuron will do.
            last = self._n_neurons - 1
            numbers = torch.tensor([min(number, last) for number in look.marked], device=table.device)
            self.tensors.append(table.index_select(0, numbers).float())

    def seen(self, arrays: Iterable[np.ndarray]) -> Seen:
        """The counts, given the fetched tensors."""
        look, left = self._look, iter(arrays)
        ends = {of: Ends(*map(float, next(left))) for of in self._coordinates}
        plane, image, moments, waves, marked = look.plane, None, None, None, None
        if plane and plane.spans:
            image = next(left).reshape(plane.spans[1].n_bins, plane.spans[0].n_bins)
            image = image.astype(np.min_scalar_type(int(image.max())))
        histograms = tuple((ends[line.of], next(left) if line.span else None) for line in look.lines)
        if look.has_moments:
            moments = Moments(next(left), next(left))
        if look.modulus:
            waves = WavesSeen(next(left), next(left), float(next(left)))
        if look.marked:
            marked = next(left)
        both = (ends[plane.x], ends[plane.y]) if plane else None
        return Seen(look, self._n_neurons, image, both, histograms, moments, waves, marked)


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
    farthest = int(TAIL * finite.shape[0]) + 1
    lowest, highest = finite.topk(farthest, largest=False), finite.topk(farthest)
    return torch.stack([lowest.values[-1], highest.values[-1]])


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


def _waves(table: Tensor, modulus: int) -> list[Tensor]:
    """Neurons at each frequency, phases of the strongest, how far phases agree: `questions.waves` of all neurons."""
    n_frequencies = (modulus - 1) // 2
    parts = map(_series(modulus), torch.split(table, BLOCK))
    best, strength, phases = (torch.cat(part) for part in zip(*parts, strict=True))
    counts = torch.zeros(n_frequencies, dtype=torch.int32, device=table.device)
    counts.index_add_(0, best, torch.ones_like(best, dtype=torch.int32))
    sums = torch.stack([phases[:, :2].sum(dim=1), phases[:, 2]], dim=1)
    agreement = (strength * (sums[:, 1] - sums[:, 0]).cos()).sum() / strength.sum()
    strongest = sums[strength.topk(min(N_PHASES, len(strength))).indices]
    return [counts, torch.atan2(strongest.sin(), strongest.cos()).float(), agreement]


def _series(modulus: int) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """The frequency of each of some neurons, its strength there and the three phases."""

    def of(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = rows.to(widest(rows.device)).reshape(-1, 3, modulus)
        series = torch.fft.rfft(parts, dim=2)[:, :, 1 : (modulus - 1) // 2 + 1]
        best = (series[:, :2].abs() ** 2).sum(dim=1).argmax(dim=1)
        chosen = series.gather(2, best[:, None, None].expand(-1, 3, 1))[:, :, 0]
        return best, chosen.abs().prod(dim=1), chosen.angle()

    return of
