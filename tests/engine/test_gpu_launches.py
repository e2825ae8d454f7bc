"""What steps of matrix products give to a GPU: how many launches, how recorded, and what machine code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from interpreting import CPU, Problem, interpreted_module, layers, trusted
from pretended import HERE, pretended_device
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from mft_engine.cli.bench import load_part
from mft_engine.network.activations import ACTIVATIONS, get_activation

triton = pytest.importorskip("triton", reason="Triton, which compiles steps for GPUs, is not installed")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """`mft_engine.kernels.gpu.product_kernels` whose kernels Triton's interpreter runs."""
    yield from interpreted_module("product_kernels")


class Recorder(TorchDispatchMode):
    """Records as a device does: operations and launches with the memory that they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Callable[[], object]] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if not function.is_view:
            self.done.append(lambda: function(*arguments, **(named or {})))
        return function(*arguments, **(named or {}))

    def launching(self, kernel: Any) -> Any:
        """That kernel, whose launches are recorded whole."""
        recorder = self

        class Launching:
            def __getitem__(self, grid: Any) -> Any:
                def launch(*arguments: Any, **constants: Any) -> None:
                    with _disable_current_modes():
                        kernel[grid](*arguments, **constants)
                    recorder.done.append(lambda: kernel[grid](*arguments, **constants))

                return launch

        return Launching()


def test_a_recording_reads_all_that_differs_between_calls_from_memory(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other neurons, numbers, steps, seeds and parts of a cloud go through the same recording."""
    launched = interpreted.ProductBuffers.step.__globals__["steps"]
    recorders: list[Recorder] = []

    def record_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
        recorder = Recorder()
        with pytest.MonkeyPatch.context() as patch, recorder:
            for name in ("activate", "measure", "pull", "update"):
                patch.setattr(launched, name, recorder.launching(getattr(launched, name)))
            work()
        recorders.append(recorder)
        return lambda: [done() for done in recorder.done] and None

    network = layers("relu_tanh", "tanh")

    def kernels() -> list[Any]:
        made = interpreted.ProductKernel(get_activation("relu_tanh"), 3), interpreted.LayeredProductKernel(network, CPU)
        return [trusted(kernel, monkeypatch) for kernel in made]

    recorded = interpreted.ProductBuffers.record.__globals__["Repeated"].__init__.__globals__
    monkeypatch.setitem(recorded, "RECORDED", (2, 1))
    for i, problem in enumerate((Problem(5, 19, 3), Problem(3, network.n_neurons))):
        plans = problem.plan(), replace(problem.plan(noise=0.1), seed=3, stream=5, first_neuron=0 if i else 9)
        told = []
        for records in (False, True):
            kernel, theta = kernels()[i], problem.theta
            with monkeypatch.context() as patch:
                if records:
                    patch.setitem(recorded, "record_graph", record_graph)
                for k, plan in enumerate(plans):
                    found = problem.background(kernel, plan, 7 * k, 3, theta)
                    theta = found.theta
            told.append((found.theta, found.losses, found.prediction_sum))
        assert all(torch.equal(one, other) for one, other in zip(*told, strict=True))
    assert len(recorders) == 4 and len(recorders[0].done) == 2 * 9


class Counted:
    """In the place of a Triton kernel: counts its launches, and launches nothing."""

    def __init__(self, launches: Any, name: str) -> None:
        self.launches, self.name = launches, name

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments, **constants: self.launches.names.update([self.name])


@pytest.mark.parametrize(
    ("made_for", "problem", "bound"),
    [
        ("tanh_squared", Problem(22, 12, 11), 9),
        ("erf", Problem(17, 12, 1), 8),
        (("relu_tanh", "tanh"), Problem(3, (13, 21)), 13),
        (("relu_tanh", "tanh", "erf"), Problem(3, (13, 21, 9)), 18),
    ],
)
def test_a_step_of_products_is_a_dozen_launches(
    monkeypatch: pytest.MonkeyPatch, made_for: Any, problem: Problem, bound: int
) -> None:
    """And a call of any number of steps a few dozen more, none of which waits for the host."""
    from mft_engine.kernels.gpu import product_kernels, product_steps

    n_out = problem.targets[0].numel()
    is_cloud = isinstance(made_for, str)
    kernel = trusted(
        product_kernels.ProductKernel(get_activation(made_for), n_out)
        if is_cloud
        else product_kernels.LayeredProductKernel(layers(*made_for), CPU),
        monkeypatch,
    )
    launches = load_part("gpu_predictions").Launches()
    for name in ("activate", "measure", "pull", "update"):
        monkeypatch.setattr(product_steps, name, Counted(launches, name))

    def launched(n_steps: int) -> int:
        launches.names.clear()
        with launches:
            problem.background(kernel, problem.plan(), 0, n_steps)
        return launches.names.total()

    launched(1)  # makes the buffers
    few, many = launched(2), launched(12)
    assert many - few == 10 * bound and few - 2 * bound <= 30
    assert launches.names["update"] == 12 and not any("local_scalar" in name for name in launches.names)
    if is_cloud:
        problem.frozen(kernel, problem.plan(), 0, 1)
        launches.names.clear()
        with launches:
            problem.frozen(kernel, problem.plan(), 0, 5)
        assert launches.names.total() - 5 * (bound - 2) <= 20


@pytest.mark.parametrize("made_for", [("tanh_squared", 2), ("relu_tanh", 1), (("relu_tanh", "tanh"), 1)])
def test_on_a_pretended_device_a_call_waits_for_nothing_and_takes_nothing_from_the_host(
    monkeypatch: pytest.MonkeyPatch, made_for: tuple[Any, int]
) -> None:
    """Launches of Triton do nothing here; what is loaded, recorded and handed over is what a device would get."""
    from mft_engine.kernels.gpu import kernel as one_readout
    from mft_engine.kernels.gpu import product_kernels, product_steps, steps

    launches = load_part("gpu_predictions").Launches()
    for name in ("activate", "measure", "pull", "update"):
        monkeypatch.setattr(product_steps, name, Counted(launches, name))
    for name in ("background_step", "frozen_steps"):
        monkeypatch.setattr(steps, name, Counted(launches, name))
    (names, n_out), n_inputs = made_for, 5
    with pretended_device(monkeypatch) as device:
        if isinstance(names, tuple):
            kernel: Any = product_kernels.LayeredProductKernel(layers(*names), HERE)
            problem = Problem(3, kernel.network.n_neurons).to(str(HERE))
        else:
            phi = get_activation(names)
            kernel = product_kernels.ProductKernel(phi, n_out) if n_out > 1 else one_readout.TritonKernel(phi)
            problem = Problem(n_inputs, 12, n_out).to(str(HERE))
        monkeypatch.setattr(kernel, "_serves", lambda *given: True)
        problem.background(kernel, problem.plan(), 0, 1)  # looks at the points, and records
        before = device.so_far()
        found = problem.background(kernel, problem.plan(rate=2e-2), 1, 150)
        assert {found.theta.device, found.losses.device, found.prediction_sum.device} == {HERE}
        told = device.so_far() - before
        assert told.n_trips == 0 and told.n_sends <= 3, told
        # Two recordings of 64 steps, one of 16, one of 4 and two of 1, what is loaded and what is handed over; the one
        # of one launch begins and ends with recordings of its own.
        assert told.n_launches <= 60
        if not isinstance(names, tuple):
            assert problem.frozen(kernel, problem.plan(), 0, 3).device == HERE
            assert kernel.predict(problem.theta, problem.points, 0.8).device == HERE
        assert not device.refused


# ---------------------------------------------------------------------------------------------------- the machine code


def kind_of(names: tuple[str, ...], n_inputs: int, n_neurons: tuple[int, ...], n_out: int = 1, **more: Any) -> Any:
    from mft_engine.kernels.forms import FORMS
    from mft_engine.kernels.gpu.products import ProductKind

    given = {"is_flat": len(names) > 1, "is_frozen": False, "is_noisy": True, "uses_next": True} | more
    forms = tuple(FORMS[name] for name in names)
    return ProductKind(256, n_inputs, n_neurons, n_out, forms, readout_exponent=1.0, device=CPU, **given)


def assert_clean(kind: Any, capability: int) -> None:
    from mft_engine.kernels.gpu.compiled import compile_products

    codes = compile_products(kind, capability)
    assert {("activate", 1), ("pull", 1), ("update", 0)} <= set(codes)
    for name, code in codes.items():
        # Half of what the smallest of these devices lets every thread of a full multiprocessor have is 32.
        assert code.stack_bytes == 0 and code.n_registers <= 64, name


@pytest.mark.parametrize("capability", [80, 90])
def test_what_lies_between_products_compiles_without_spills(capability: int) -> None:
    if capability == 80:
        assert_clean(kind_of(("tanh_squared",), 22, (512,), 11), capability)
    else:
        assert_clean(kind_of(("relu_tanh", "sin"), 4, (256, 256)), capability)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_that_lies_between_products_compiles_without_spills_for_every_generation(
    name: str, capability: int
) -> None:
    assert_clean(kind_of((name,), 46, (512,), 23), capability)
    assert_clean(kind_of((name,), 64, (2**15,), is_noisy=False, uses_next=False), capability)
    assert_clean(kind_of((name,), 256, (300,), 256, is_frozen=True, uses_next=False), capability)
    assert_clean(kind_of(("tanh", name), 4, (256, 2048)), capability)
