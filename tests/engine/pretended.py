"""A GPU that is none: tensors that say they live on one, computed truly on the CPU, and counted.

Inside `pretended_device()` the program finds one device of NVIDIA's. Operations that mix devices raise as there, numpy
cannot look in, and work is recorded as a graph is: once, and replayed into the same memory without any Python.

Counted are *launches* (operations that are no mere views; a replay is one), *trips* (the host waits for a number or a
copy) and *sends* (the host copies something there), with the place in the engine that made each.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HERE = torch.device("cuda:0")

# Operations after which the host waits; those whose result has a size that depends on the data, and those of linear
# algebra that look whether they have gone well.
_WAITING = {
    "_local_scalar_dense", "is_nonzero", "item", "nonzero", "masked_select", "equal", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "bincount", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd",
    "linalg_lstsq", "histogram", "histc", "linalg_eig",
}  # fmt: skip
_FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias", "lift_fresh",
    "_unsafe_view", "_reshape_alias", "set_", "is_same_size", "resize_", "view", "_linalg_check_errors",
}  # fmt: skip
_RESHAPING = ("squeeze_", "unsqueeze_", "transpose_", "t_")
# A CPU tensor may be an index of one on the device.
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Pretended(torch.Tensor):
    """A tensor that says it is on the device; `inner` is the memory it pretends to have there."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=HERE,
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.inner})"

    def tolist(self) -> Any:
        """By way of the host."""
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> np.ndarray:
        """Never."""
        raise TypeError(f"can't convert {HERE} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:  # type: ignore[override]
        return self.numpy()

    def data_ptr(self) -> int:
        """Of the memory."""
        return self.inner.data_ptr()

    # What follows asks for the driver before it dispatches.
    def item(self) -> Any:
        """The number."""
        return torch.ops.aten._local_scalar_dense(self.reshape(()))

    def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:  # type: ignore[override]
        """As ever."""
        return torch.ops.aten.copy_(self, source, non_blocking)

    def __invert__(self) -> Tensor:
        return torch.ops.aten.bitwise_not(self)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.item())

    def __getitem__(self, index: Any) -> Tensor:  # type: ignore[override]
        view, tensors = _taken(self, index)
        return torch.ops.aten.index(view, tensors) if tensors else view

    def __setitem__(self, index: Any, value: Any) -> None:  # type: ignore[override]
        view, tensors = _taken(self, index)
        if tensors:
            told = value if isinstance(value, Tensor) else torch.full((), value, dtype=self.dtype, device=self.device)
            torch.ops.aten.index_put_(view, tensors, told)
        elif isinstance(value, Tensor):
            view.copy_(value)
        else:
            view.fill_(value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of the pretended device, outside of it or in another thread")


@dataclass
class Count:
    """What happened, each by the place that asked for it."""

    launches: Counter[str] = field(default_factory=Counter)
    trips: Counter[str] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)

    @property
    def n_launches(self) -> int:
        """Operations and replays."""
        return self.launches.total()

    @property
    def n_trips(self) -> int:
        """Times that the host waited."""
        return self.trips.total()

    @property
    def n_sends(self) -> int:
        """Copies from the host."""
        return self.sends.total()

    def __sub__(self, other: Count) -> Count:
        return Count(self.launches - other.launches, self.trips - other.trips, self.sends - other.sends)

    def table(self, n_lines: int = 20) -> str:
        """The places that cost most, for people."""
        lines = [f"{self.n_launches} launches, {self.n_trips} trips, {self.n_sends} sends"]
        for name, counter in (("launch", self.launches), ("trip", self.trips), ("send", self.sends)):
            lines += [f"{n:8d} {name} {place}" for place, n in counter.most_common(n_lines)]
        return "\n".join(lines)


class PretendedDevice(TorchDispatchMode):
    """Runs every operation, and keeps count.

    Attributes:
        count: since the beginning; refused: what a recording could not take, for a test to find empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count, self.refused = Count(), list[str]()
        self._tape: list[Callable[[], None]] | None = None

    def so_far(self) -> Count:
        """A copy of the count."""
        now = self.count
        return Count(now.launches.copy(), now.trips.copy(), now.sends.copy())

    def begin_recording(self) -> None:
        """From here on operations belong to a graph."""
        self._tape = []

    def end_recording(self) -> list[Callable[[], None]]:
        """The operations of the graph."""
        tape, self._tape = self._tape, None
        return tape or []

    def waited(self, what: str) -> None:
        """The host waits."""
        if self._tape is not None:
            self.refused.append(f"{what} at {_place()}")
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")
        self.count.trips[f"{_place()} {what}"] += 1

    def launched(self, what: str) -> None:
        """One launch."""
        if self._tape is None:
            self.count.launches[_place()] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        tensors = [*_tensors(args), *_tensors(kwargs)]
        pretended = [t for t in tensors if isinstance(t, Pretended)]
        wanted = kwargs.get("device")
        to_device = wanted is not None and torch.device(wanted).type == HERE.type
        if not pretended and not to_device:
            return func(*args, **kwargs)
        for t in tensors:
            if not isinstance(t, Pretended) and t.dim() and name not in (*_INDEXING, "copy_", "_to_copy"):
                raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got {HERE} and cpu")
        is_out = self._weigh(func, name, args, kwargs, tensors, pretended)
        if "device" in kwargs and to_device:
            kwargs["device"] = torch.device("cpu")
        owners = {id(t.inner): t for t in pretended}
        plain_args, plain_kwargs = _mapped(_plain, args), _mapped(_plain, kwargs)
        found = func(*plain_args, **plain_kwargs)
        if self._tape is not None and not func.is_view and name not in ("detach", "alias", *_RESHAPING):
            self._tape.append(_again(func, plain_args, plain_kwargs, found))
        if is_out:
            return found

        def claimed(leaf: Tensor) -> Tensor:
            return owners[id(leaf)] if id(leaf) in owners else Pretended(leaf)

        return _mapped(claimed, found)

    def _weigh(
        self, func: Any, name: str, args: Any, kwargs: Any, tensors: list[Tensor], pretended: list[Pretended]
    ) -> bool:
        """Count it; whether its result belongs to the host."""
        wanted = kwargs.get("device")
        if name == "_to_copy":
            source, is_here = tensors[0], isinstance(tensors[0], Pretended)
            goes_home = is_here and wanted is not None and torch.device(wanted).type == "cpu"
            if goes_home:
                self.waited("copied to the host")
            elif not is_here:
                self._sent(source)
            elif kwargs.get("dtype") not in (None, source.dtype) or kwargs.get("memory_format") is not None:
                self.launched(name)
            return goes_home
        if name == "copy_" and not isinstance(args[0], Pretended):
            self.waited("copied to the host")
            return True
        if name == "copy_" and not isinstance(args[1], Pretended):
            self._sent(args[1])
            return False
        masks = list(_tensors(args[1:2])) if name in _INDEXING else []
        has_mask = any(mask.dtype == torch.bool for mask in masks)
        is_filled = name != "index" and len(masks) == 1 and has_mask and args[2].numel() == 1
        if name in _WAITING or (has_mask and not is_filled):
            self.waited(name)
        if name == "repeat_interleave" and kwargs.get("output_size") is None and len(tensors) > 0:
            self.waited(name)
        if name in _INDEXING and any(not isinstance(mask, Pretended) for mask in masks):
            self._sent(masks[0])
        if not (func.is_view or name in _FREE or name in _RESHAPING):
            self.launched(name)
        return name in ("_local_scalar_dense", "is_nonzero", "equal", "item")

    def _sent(self, source: Tensor) -> None:
        if self._tape is not None:
            self.refused.append(f"a copy from the host at {_place()}")
            raise RuntimeError("CUDA error: a copy from pageable memory cannot be captured")
        self.count.sends[_place()] += 1
        self.count.launches[_place()] += 1


def _tensors(value: Any) -> Iterator[Tensor]:
    """All that are in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same nest with every tensor replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)([_mapped(function, part) for part in value])
    if isinstance(value, dict):
        return {name: _mapped(function, part) for name, part in value.items()}
    return value


def _plain(tensor: Tensor) -> Tensor:
    return tensor.inner if isinstance(tensor, Pretended) else tensor


def _alias(tensor: Tensor) -> Tensor:
    """The same memory in the shape that it has now."""
    return tensor.detach()


def _taken(tensor: Tensor, index: Any) -> tuple[Tensor, list[Tensor | None]]:
    """The view that whole numbers, slices, None and ... make, and what is left for an indexing by tensors."""
    aten, parts = torch.ops.aten, index if isinstance(index, tuple) else (index,)
    used = sum(part.dim() if isinstance(part, Tensor) and part.dtype == torch.bool else 1 for part in parts
               if part is not None and part is not Ellipsis)  # fmt: skip
    view, axis, tensors = tensor, 0, list[Tensor | None]()
    for part in parts:
        if isinstance(part, list | np.ndarray):
            part = torch.as_tensor(part)
        if part is Ellipsis:
            axis += tensor.dim() - used
        elif part is None:
            view, axis = aten.unsqueeze(view, axis), axis + 1
        elif isinstance(part, slice):
            if part != slice(None):
                view = aten.slice(view, axis, part.start, part.stop, 1 if part.step is None else part.step)
            axis += 1
        elif isinstance(part, Tensor):
            tensors += [None] * (axis - len(tensors)) + [part]
            axis += part.dim() if part.dtype == torch.bool else 1
        else:
            view = aten.select(view, axis, int(part))
    return view, tensors


def _again(func: Any, args: Any, kwargs: Any, found: Any) -> Callable[[], None]:
    """The operation once more, into the memory of its first result: what a replay does."""
    kept = [tensor.detach() for tensor in _tensors(found)]
    args, kwargs = _mapped(_alias, args), _mapped(_alias, kwargs)

    def work() -> None:
        for old, new in zip(kept, _tensors(func(*args, **kwargs)), strict=True):
            old.copy_(new)

    return work


def _place() -> str:
    """The innermost function of the engine on the stack."""
    frame = sys._getframe(1)
    fallback = "?"
    while frame is not None:
        name = frame.f_code.co_filename
        if "/mft_engine/" in name and not name.endswith(("/mft_engine/device.py", "/mft_engine/rng.py")):
            return f"{name.split('/mft_engine/')[1]} {frame.f_code.co_qualname}"
        if fallback == "?" and "/tests/" in name and "pretended" not in name:
            fallback = f"{Path(name).name} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return fallback


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None: ...
    def wait_stream(self, _: Any) -> None: ...
    def synchronize(self) -> None: ...


@contextmanager
def pretended_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    """Inside, the program finds one GPU, in this thread."""
    device = PretendedDevice()

    class Graph:
        """What was recorded."""

        def __init__(self) -> None:
            self.tape: list[Callable[[], None]] = []

        def replay(self) -> None:
            """All of it, as one launch."""
            device.launched("replay")
            with torch.utils._python_dispatch._disable_current_modes():
                for work in self.tape:
                    work()

    @contextmanager
    def graph(recorded: Graph, **_: Any) -> Iterator[None]:
        device.begin_recording()
        try:
            yield
        finally:
            recorded.tape = device.end_recording()

    for name, value in {
        "is_available": lambda: True, "device_count": lambda: 1, "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "pretended", "Stream": _Stream, "current_stream": lambda *_: _Stream(),
        "stream": lambda _: nullcontext(), "CUDAGraph": Graph, "graph": graph, "device": lambda _: nullcontext(),
        "synchronize": lambda *_: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    as_tensor = torch.as_tensor

    def as_tensor_there(data: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """Asks for the driver too."""
        found = as_tensor(data, dtype=dtype) if not isinstance(data, Pretended) else data.to(dtype or data.dtype)
        return found if device is None else found.to(device)

    nonzero = torch.nonzero

    def nonzero_there(input: Tensor, **options: Any) -> Any:
        """Asks for the driver as well."""
        return torch.ops.aten.nonzero(input) if isinstance(input, Pretended) else nonzero(input, **options)

    monkeypatch.setattr(torch, "as_tensor", as_tensor_there)
    monkeypatch.setattr(torch, "nonzero", nonzero_there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: HERE)
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
