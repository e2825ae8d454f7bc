"""What has been computed on a device and not been fetched yet: numbers that are read together, arrays kept for later.

A trip to a device costs as much as some steps of a small network, and the host waits for all that was asked before. So
numbers that several parts of the program want at the same moment are fetched by one trip, and arrays that only a
checkpoint or an answer reads stay where they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import host_device, to_host

Found = TypeVar("Found")


@dataclass(frozen=True)
class Awaited(Generic[Found]):
    """Numbers on a device, and what they say.

    Attributes:
        numbers: of any shapes and types; float64 has room for all but large integers.
        read: what it is, from all of them in one list.
    """

    numbers: tuple[Tensor, ...]
    read: Callable[[list[float]], Found]

    def now(self) -> Found:
        """By a trip of its own. Waits for the device."""
        (found,) = together(self)
        return found


def together(*awaited: Awaited[Any]) -> list[Any]:
    """What several of them say, by one trip to the device that they are all on. Waits for it."""
    numbers = [number.detach().reshape(-1) for each in awaited for number in each.numbers]
    told: list[float] = torch.cat(numbers).tolist() if numbers else []
    found, first = [], 0
    for each in awaited:
        after = first + sum(number.numel() for number in each.numbers)
        found.append(each.read(told[first:after]))
        first = after
    return found


def named(numbers: dict[str, Tensor]) -> dict[str, float]:
    """Single numbers by their names, by one trip. Waits for the device."""
    told = Awaited(tuple(numbers.values()), list).now()
    return dict(zip(numbers, told, strict=True))


class Kept:
    """Arrays of one shape in a row, each on the device that made it until somebody wants to see them."""

    def __init__(self, arrays: Iterable[np.ndarray] = ()) -> None:
        self._arrays: list[np.ndarray | Tensor] = list(arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def append(self, array: Tensor) -> None:
        """One more: a tensor whose memory is nobody else's."""
        self._arrays.append(array.numpy() if array.device == host_device() else array)

    def thin(self, places: Sequence[int]) -> None:
        """Keep only those at these places."""
        self._arrays = [self._arrays[i] for i in places]

    def on_host(self) -> list[np.ndarray]:
        """All of them; those still on a device come by one trip."""
        far = [(i, array) for i, array in enumerate(self._arrays) if isinstance(array, Tensor)]
        if far:
            fetched = to_host(torch.stack([array for _, array in far]))
            for (i, _), array in zip(far, fetched, strict=True):
                self._arrays[i] = array
        return [array for array in self._arrays if isinstance(array, np.ndarray)]
