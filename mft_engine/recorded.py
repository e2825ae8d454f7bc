"""Work on tensors as one launch: recorded the first time that its shapes are met, replayed from then on.

A look at a network is some hundred small operations, each of which the host queues in several microseconds; a step of a
small network takes as long as one of them. Where the device cannot record, the work is simply done.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mft_engine.device import can_record_graphs, record_graph

# Recordings that a piece of work keeps, each with the memory of its operations.
MAX_KEPT = 4

Work = Callable[..., tuple[Tensor, ...]]


class Recorded:
    """A function of tensors that depends on nothing else and waits for nothing.

    Args:
        work: (*tensors, **settings) -> tensors, new ones or those that it was given, no views of these; settings are
            part of what is recorded.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        # Memory of a recording belongs to one thread.
        self._own = threading.local()

    def __call__(self, *tensors: Any, **settings: Any) -> tuple[Tensor, ...]:
        """What the work finds; on a device that records, the next call with such tensors writes over it.

        That may be given to the next call. Where nothing is recorded the work is told whatever stands for a tensor.
        """
        if not can_record_graphs(tensors[0].device):
            return self._work(*tensors, **settings)
        kept: OrderedDict[Any, _Recording] = self._own.__dict__.setdefault("kept", OrderedDict())
        shapes = tuple((tuple(t.shape), t.dtype, t.device) for t in tensors)
        # Values are compared, objects are known by themselves: a recording holds on to its own.
        plain = (int, float, str, tuple)
        kind = (shapes, tuple((k, v if isinstance(v, plain) else id(v)) for k, v in settings.items()))
        if kind not in kept:
            kept[kind] = _Recording(self._work, tensors, settings)
            while len(kept) > MAX_KEPT:
                kept.popitem(last=False)
        kept.move_to_end(kind)
        return kept[kind].again(tensors)


class _Recording:
    def __init__(self, work: Work, tensors: tuple[Tensor, ...], settings: dict[str, Any]) -> None:
        self._work, self._settings = work, settings
        self._buffers = [tensor.clone() for tensor in tensors]
        self._seen = [(weakref.ref(tensor), tensor._version) for tensor in tensors]
        self._found: tuple[Tensor, ...] = ()
        self._replay = record_graph(self._once, tensors[0].device)
        if self._replay is not None and not self._is_faithful():
            self._replay = None

    def _once(self) -> None:
        found = self._work(*self._buffers, **self._settings)
        # What is handed through belongs to nobody outside: it is where the next call is put.
        self._found = tuple(each.clone() if any(each is own for own in self._buffers) else each for each in found)

    def _is_faithful(self) -> bool:
        """Whether a replay finds what the work does."""
        assert self._replay is not None
        recorded, wanted = self._found, self._work(*self._buffers, **self._settings)
        for number in recorded:
            number.zero_()
        self._replay()
        pairs = zip(recorded, wanted, strict=True)
        return all(torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True) for one, other in pairs)

    def again(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """With these tensors; one that is what it was at the last call lies there already."""
        for place, (tensor, buffer) in enumerate(zip(tensors, self._buffers, strict=True)):
            known, version = self._seen[place]
            if known() is not tensor or version != tensor._version:
                buffer.copy_(tensor)
                self._seen[place] = (weakref.ref(tensor), tensor._version)
        if self._replay is None:
            self._once()
        else:
            self._replay()
        # A replay writes without a word: as other objects they are not taken for what they were.
        return tuple(number.detach() for number in self._found)
