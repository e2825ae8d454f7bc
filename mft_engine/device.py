"""Where tensors live: the only file that names a device."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mft_engine.recipe import RecipeError
from mft_engine.sections import EngineSection
from mft_engine.slices import finished

Found = TypeVar("Found")

# What compilers call NVIDIA's devices.
NVIDIA = "cuda"


class DeviceError(RecipeError):
    """A device that was asked for and is not there; the message names what is."""


# What drivers and torch call their troubles, which are of no type of their own.
_TROUBLE = ("out of memory", "cuda", "cudnn", "cublas", "nccl", "mps", "device")


def is_trouble(error: BaseException) -> bool:
    """Whether a device is at fault: one that is missing, lost, or out of memory."""
    if isinstance(error, DeviceError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TROUBLE)


def available_devices() -> list[str]:
    """Names that `engine.device` accepts on this machine, the preferred one first."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(wanted: str) -> torch.device:
    """The torch device for `engine.device`: cuda, then mps, then cpu for "auto".

    Raises:
        DeviceError: a device that this machine does not have.
    """
    names = available_devices()
    if wanted == "auto":
        return torch.device(names[0])
    if wanted == "cuda" and any(name.startswith("cuda") for name in names):
        return torch.device("cuda")
    if wanted not in names:
        raise DeviceError(
            f"engine.device = {wanted!r} is not on this machine; it has {', '.join(names)}. "
            'Choose one of these or "auto".'
        )
    return torch.device(wanted)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The torch dtype for `engine.dtype`.

    Raises:
        DeviceError: double precision on a device that has none.
    """
    if name == "float64" and device.type == "mps":
        raise DeviceError('engine.dtype = "float64" does not exist on mps; use "float32" or the cpu')
    return {"float32": torch.float32, "float64": torch.float64}[name]


def double_device(device: torch.device) -> torch.device:
    """Where double precision is reckoned for what lives on a device: there, or on the CPU where it has none."""
    return host_device() if device.type == "mps" else device


def host_device() -> torch.device:
    """The CPU."""
    return torch.device("cpu")


def set_threads(section: EngineSection) -> int:
    """Set the number of CPU threads (0: one less than the cores, at least 1) and return it."""
    wanted = section.n_threads or max(1, (os.cpu_count() or 2) - 1)
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
    return wanted


def n_threads() -> int:
    """CPU threads that compiled loops may use: what `set_threads` set."""
    return torch.get_num_threads()


@contextmanager
def team_of_threads() -> Iterator[ThreadPoolExecutor]:
    """`n_threads()` threads, each of which takes one for its own products.

    Teams within a team take several times as long and add up in another order.
    """
    n = n_threads()
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as team:
            yield team
    finally:
        torch.set_num_threads(n)  # in some libraries what one thread sets holds for all


def in_team(
    work: Callable[[int], Generator[None, None, Found]], n_blocks: int, device: torch.device
) -> Generator[None, None, list[Found]]:
    """What the work on each block finds, in slices; the blocks of the host are shared out among its threads.

    Args:
        work: number of a block -> its work, which reads what no other block writes, and has random numbers of its own,
            so that the result is the same for any number of threads.
    """
    found: list[Found] = []
    if n_threads() > 1 and device == host_device() and n_blocks > 1:
        with team_of_threads() as team:
            for each in team.map(lambda number: finished(work(number)), range(n_blocks)):
                found.append(each)
                yield
        return found
    for number in range(n_blocks):
        found.append((yield from work(number)))
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, sums on the CPU are taken in one order, whatever `engine.n_threads` says."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(*works: Callable[[], Found]) -> list[Found]:
    """What several functions find that have nothing to do with each other: as many at once as there are threads.

    Each has one thread for its products, so that it finds the same whether others run beside it or not. Where processes
    talk to each other they must all do so in one order: one after the other then.
    """
    n_helpers = min(n_threads(), len(works)) - 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        n_helpers = 0
    with one_thread():
        if n_helpers == 0:
            return [work() for work in works]
        others = [_helpers(n_helpers).submit(work) for work in works[1:]]
        try:
            return [works[0](), *(other.result() for other in others)]
        finally:
            wait(others)


@cache
def _helpers(n: int) -> ThreadPoolExecutor:
    """Threads that stay: libraries of matrix products keep memory for every thread that ever called them."""
    return ThreadPoolExecutor(n, thread_name_prefix="mft-beside", initializer=torch.set_num_threads, initargs=(1,))


def can_record_graphs(device: torch.device) -> bool:
    """Whether this device can record work once and replay it."""
    return device.type == "cuda"


def has_step_compiler(device: torch.device) -> bool:
    """Whether our own step kernels can be compiled for this device, given the compiler."""
    return device.type == NVIDIA and torch.version.hip is None


def device_of_process(wanted: str) -> str:
    """`engine.device` of one of several processes on a machine: each gets a GPU of its own where there are some."""
    if wanted not in ("auto", "cuda") or not torch.cuda.is_available():
        return wanted
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def backend_between_processes(device: torch.device) -> str:
    """How processes tell each other tensors on such a device, and Python's own objects."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def current(device: torch.device) -> AbstractContextManager[object]:
    """Inside, launches that name no device go to this one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def record_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None] | None:
    """A function that replays `work` on the device as one launch; None where that device, or its driver, cannot.

    `work` runs a few times; it must read and write the same tensors every time, and wait for no number. What it
    changed is the caller's to put back.
    """
    if not can_record_graphs(device):
        return None
    # Libraries allocate at their first call, which a recording may not.
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may allocate and look meanwhile (a window's, those of processes that talk to each other).
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except RuntimeError:
        # Something in `work` cannot be recorded by this driver; step by step it ran just now.
        return None
    return graph.replay


def to_host(tensor: Tensor) -> np.ndarray:
    """A numpy copy that shares no memory with the tensor."""
    return np.array(tensor.detach().to("cpu").numpy(), copy=True)


def fetched(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Numpy copies of several tensors of one device, brought over together: the device is waited for once."""
    parts = [tensor.detach().contiguous() for tensor in tensors]
    if all(part.device == host_device() for part in parts):
        return [to_host(part) for part in parts]
    whole = to_host(torch.cat([part.reshape(-1).view(torch.uint8) for part in parts]))
    ends = np.cumsum([part.numel() * part.element_size() for part in parts])
    return [
        np.frombuffer(piece.tobytes(), _numpy_type(part)).reshape(part.shape).copy()
        for piece, part in zip(np.split(whole, ends[:-1]), parts, strict=True)
    ]


def _numpy_type(tensor: Tensor) -> np.dtype[Any]:
    return torch.empty(0, dtype=tensor.dtype).numpy().dtype


def widest(device: torch.device) -> torch.dtype:
    """The floating type in which single results are rounded last on a device."""
    return torch.float32 if double_device(device) != device else torch.float64


def describe_device(device: torch.device) -> str:
    """A device for people: its name and what it is."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
