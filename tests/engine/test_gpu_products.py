"""Steps of matrix products for GPUs, without one: many readouts or inputs, and several hidden layers."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from interpreting import interpreted_module

from mft_engine import rng
from mft_engine.cli.bench import load_part
from mft_engine.kernels import GraphedKernel, LayeredKernel, ReferenceKernel, StepPlan, choose, choose_layered
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.network.layered import LayeredNetwork, flat_normal

triton = pytest.importorskip("triton", reason="Triton, which compiles steps for GPUs, is not installed")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """`mft_engine.kernels.gpu.product_kernels` whose kernels Triton's interpreter runs."""
    yield from interpreted_module("product_kernels")


def normal(step: int, rows: int, columns: int) -> torch.Tensor:
    return rng.normal(11, rng.Stream.TASK, step, rows, columns, device="cpu")


class Problem:
    """Sizes that are no multiples of anything; n_neurons is one number for a cloud, several for layers."""

    def __init__(self, n_inputs: int, n_neurons: int | tuple[int, ...], n_out: int = 1, *, n_points: int = 23) -> None:
        self.points = normal(0, n_points, n_inputs) * min(1.0, 2.0 / n_inputs**0.5)
        self.targets = normal(1, n_points, n_out) if n_out > 1 else normal(1, n_points, 1)[:, 0]
        weights = normal(2, n_points, 1)[:, 0].abs()
        self.weights = weights / weights.sum()
        if isinstance(n_neurons, int):
            self.theta, self.n_numbers = normal(3, n_neurons, n_inputs + n_out), n_inputs + n_out
        else:
            n_params = sum(a * b for a, b in zip(n_neurons, (n_inputs, *n_neurons[:-1]), strict=True)) + n_neurons[-1]
            self.theta, self.n_numbers = normal(3, n_params, 1)[:, 0], len(n_neurons) + 1
        self.total = torch.zeros(self.targets.shape, dtype=torch.float64)

    def to(self, device: str) -> Problem:
        for part in ("points", "targets", "weights", "theta", "total"):
            setattr(self, part, getattr(self, part).to(device))
        return self

    def plan(self, integrator: Any = "leimkuhler-matthews", noise: float = 1e-2, **more: Any) -> StepPlan:
        columns = range(self.n_numbers)
        return StepPlan(
            tuple(1e-2 * (1 + 0.1 * j) for j in columns),
            tuple(1e-3 * (1 + 0.2 * j) for j in columns),
            tuple(noise * (1 + 0.3 * j) for j in columns),
            integrator,
            2**40 + 9,
            int(rng.Stream.BACKGROUND),
            0.8,
            **more,
        )

    def background(self, kernel: Any, plan: StepPlan, first_step: int, n_steps: int, theta: Any = None) -> Any:
        theta = self.theta if theta is None else theta
        return kernel.advance_background(
            theta, self.points, self.targets, self.weights, plan, first_step, n_steps, self.total
        )

    def frozen(self, kernel: Any, plan: StepPlan, first_step: int, n_steps: int, theta: Any = None) -> torch.Tensor:
        theta = self.theta if theta is None else theta
        signal = self.weights.reshape(-1, *(1,) * (self.targets.dim() - 1)) * self.targets
        found: torch.Tensor = kernel.advance_frozen(theta, self.points, signal, plan, first_step, n_steps).theta
        return found


def layers(*names: str, n_inputs: int = 3) -> LayeredNetwork:
    return LayeredNetwork(n_inputs, (13, 21, 9)[: len(names)], tuple(get_activation(name) for name in names))


def trusted(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """That kernel, without the trial, which compares 300 neurons."""
    monkeypatch.setattr(kernel, "_serves", lambda points: True)
    return kernel


def assert_same(found: Any, wanted: Any, tolerance: float) -> None:
    """Roundings of float32: relative to the largest neuron, and to the largest f, of which terms cancel."""
    size = 1.0 + float(wanted.theta.abs().max())
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=tolerance * size)
    scale = 1.0 + float(wanted.prediction_sum.abs().max())
    for name in ("prediction", "prediction_sum"):
        one, other = getattr(found, name).double(), getattr(wanted, name).double()
        torch.testing.assert_close(one, other, rtol=0, atol=2 * tolerance * scale)
    # The loss is a mean of squares of y - f.
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-5, atol=tolerance * scale**2)
    assert torch.equal(found.finite, wanted.finite) and found.first_step == wanted.first_step


# ----------------------------------------------------------------------------------------------- the logic, interpreted


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_interpreted_products_of_several_readouts_are_the_reference_steps(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, integrator: str
) -> None:
    problem, phi = Problem(5, 19, 3), get_activation(name)
    fast, slow = trusted(interpreted.ProductKernel(phi, 3), monkeypatch), ReferenceKernel(phi)
    plan = problem.plan(integrator)
    # A step rounds each neuron to 1.2e-7 of it, its drift (sums of 23 and 19 terms) to about as much; twice.
    assert_same(problem.background(fast, plan, 2**32 - 1, 2), problem.background(slow, plan, 2**32 - 1, 2), 1e-6)
    if integrator == "euler":
        return
    still, unmoved = problem.frozen(fast, plan, 3, 2), problem.frozen(slow, plan, 3, 2)
    torch.testing.assert_close(still, unmoved, rtol=0, atol=1e-6 * (1.0 + float(unmoved.abs().max())))


@pytest.mark.parametrize(
    ("n_inputs", "n_neurons", "n_out", "n_points"), [(18, 7, 1, 23), (2, 1030, 2, 3), (3, 9, 4, 97)]
)
def test_interpreted_products_take_any_shape(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, n_inputs: int, n_neurons: int, n_out: int, n_points: int
) -> None:
    """One readout of many inputs; more neurons than a program takes; more values than one program measures."""
    problem, phi = Problem(n_inputs, n_neurons, n_out, n_points=n_points), get_activation("relu_tanh")
    fast, slow = trusted(interpreted.ProductKernel(phi, n_out), monkeypatch), ReferenceKernel(phi)
    # A thousand neurons of order one make N^-0.8 sums of order ten.
    assert_same(problem.background(fast, problem.plan(), 5, 2), problem.background(slow, problem.plan(), 5, 2), 2e-6)
    still, unmoved = (
        problem.frozen(fast, problem.plan("euler"), 5, 2),
        problem.frozen(slow, problem.plan("euler"), 5, 2),
    )
    torch.testing.assert_close(still, unmoved, rtol=0, atol=5e-6)
    quiet = problem.plan(noise=0.0)
    assert_same(problem.background(fast, quiet, 5, 1), problem.background(slow, quiet, 5, 1), 2e-6)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_interpreted_layers_are_the_layered_steps(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, integrator: str
) -> None:
    network = layers("relu_tanh", name) if integrator == "euler" else layers(name, "tanh", "erf")
    problem = Problem(3, network.n_neurons)
    fast = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    slow, plan = LayeredKernel(network, CPU, torch.float32), problem.plan(integrator)
    assert_same(problem.background(fast, plan, 2**32 - 1, 2), problem.background(slow, plan, 2**32 - 1, 2), 2e-6)


def test_no_parameter_of_an_odd_number_of_them_is_left_behind(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """513 of them: fours of a whole program, and one more."""
    network = LayeredNetwork(1, (1, 256), (get_activation("tanh"), get_activation("erf")))
    problem = Problem(1, network.n_neurons, n_points=3)
    assert len(problem.theta) == 513
    fast = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    found, wanted = (
        problem.background(kernel, problem.plan(), 0, 1)
        for kernel in (fast, LayeredKernel(network, CPU, torch.float32))
    )
    assert_same(found, wanted, 1e-6)


def test_the_noise_of_a_launch_is_that_of_the_program(interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters at zero, moved by noise alone, are the noise: rows of any length, parts of a cloud, flat layers."""
    problem = Problem(5, 19, 2)
    zeros = (0.0,) * 7
    plan = StepPlan(zeros, zeros, (1.0,) * 7, "euler", 2**50 + 3, int(rng.Stream.FOREGROUND), 1.0, 11)
    kernel = trusted(interpreted.ProductKernel(get_activation("tanh"), 2), monkeypatch)
    wanted = rng.normal(2**50 + 3, rng.Stream.FOREGROUND, 2**33 + 7, 19, 7, device="cpu", first_row=11)
    # Normal numbers below 5.8 from polynomials: equal to about 1e-6.
    found = problem.frozen(kernel, plan, 2**33 + 7, 1, torch.zeros(19, 7))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
    network = layers("tanh", "erf")
    flat = Problem(3, network.n_neurons)
    plan = StepPlan(zeros[:3], zeros[:3], (1.0,) * 3, "leimkuhler-matthews", 8, int(rng.Stream.BACKGROUND))
    layered = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    moved = flat.background(layered, plan, 6, 1, torch.zeros_like(flat.theta)).theta
    one, two = (flat_normal(8, rng.Stream.BACKGROUND, k, len(moved), CPU, torch.float32) for k in (6, 7))
    torch.testing.assert_close(moved, 0.5 * (one + two), rtol=0, atol=2e-6)


def test_interpreted_products_give_the_same_bits_for_any_split(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = layers("relu_tanh", "tanh")
    cloud = trusted(interpreted.ProductKernel(get_activation("relu_tanh"), 3), monkeypatch)
    deep = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    for kernel, problem in ((cloud, Problem(5, 19, 3)), (deep, Problem(3, network.n_neurons))):
        plan = problem.plan()
        whole = problem.background(kernel, plan, 5, 4)
        part = problem.background(kernel, plan, 5, 1)
        problem.total = part.prediction_sum
        rest = problem.background(kernel, plan, 6, 3, part.theta)
        assert torch.equal(rest.theta, whole.theta) and torch.equal(rest.prediction, whole.prediction)
        assert torch.equal(rest.prediction_sum, whole.prediction_sum)
        assert torch.equal(torch.cat([part.losses, rest.losses]), whole.losses)
    problem, plan = Problem(5, 19, 3), Problem(5, 19, 3).plan()
    still = problem.frozen(cloud, plan, 5, 4)
    assert torch.equal(problem.frozen(cloud, plan, 6, 3, problem.frozen(cloud, plan, 5, 1)), still)


def test_interpreted_products_longer_than_the_buffer_of_losses_are_the_same(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(2, 3, 2)
    kernel = trusted(interpreted.ProductKernel(get_activation("tanh"), 2), monkeypatch)
    whole, still = problem.background(kernel, problem.plan(), 0, 3), problem.frozen(kernel, problem.plan(), 0, 3)
    monkeypatch.setattr(interpreted, "MAX_STEPS", 2)
    cut = problem.background(kernel, problem.plan(), 0, 3)
    assert torch.equal(cut.theta, whole.theta) and torch.equal(cut.losses, whole.losses) and len(cut.losses) == 3
    assert torch.equal(cut.prediction_sum, whole.prediction_sum)
    assert torch.equal(problem.frozen(kernel, problem.plan(), 0, 3), still)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_step_of_products_that_is_not_finite_is_told_by_its_number(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = layers("relu_tanh", "tanh")
    cloud = trusted(interpreted.ProductKernel(get_activation("relu"), 2), monkeypatch)
    deep = trusted(interpreted.LayeredProductKernel(network, CPU), monkeypatch)
    for kernel, problem in ((cloud, Problem(5, 7, 2)), (deep, Problem(3, network.n_neurons))):
        assert problem.background(kernel, problem.plan(), 40, 2).is_finite
        for bad in (float("nan"), float("inf")):
            theta = problem.theta.clone()
            theta.view(-1)[-3] = bad
            assert problem.background(kernel, problem.plan(), 40, 2, theta).nonfinite_step == 40
    # A readout, of a neuron that nobody hears, leaves the finite numbers in the second step.
    problem, theta = Problem(2, 3, 2), torch.zeros(3, 4)
    theta[0, 2] = 1.0
    plan = StepPlan((0.0,) * 4, (0.0, 0.0, -1e20, 0.0), (0.0,) * 4, "euler", 0, 0)
    assert problem.background(cloud, plan, 40, 3, theta).nonfinite_step == 41


def test_products_that_differ_from_the_reference_or_do_not_compile_are_not_used(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreted.trial, "N_NEURONS", 9)
    monkeypatch.setattr(interpreted.trial, "N_POINTS", 6)
    said: list[str] = []
    monkeypatch.setattr(interpreted.trial.logger, "warning", lambda text, *values: said.append(text.format(*values)))
    phi, network = get_activation("tanh"), layers("relu_tanh", "tanh")

    def kernels() -> list[tuple[Any, Any, Problem]]:
        deep = interpreted.LayeredProductKernel(network, CPU)
        return [
            (interpreted.ProductKernel(phi, 3), ReferenceKernel(phi), Problem(5, 7, 3)),
            (deep, LayeredKernel(network, CPU, torch.float32), Problem(3, network.n_neurons)),
        ]

    for kernel, _, problem in kernels():
        assert not kernel.is_ready
        kernel.warm_up(problem.points)
        assert kernel.is_ready and kernel.name.endswith("triton products") and not said
    run = interpreted.ProductBuffers.run
    with monkeypatch.context() as patch:
        patch.setattr(interpreted.ProductBuffers, "run", lambda self, n: (run(self, n), self.theta.mul_(1.001)))
        for kernel, slow, problem in kernels():
            found, wanted = (problem.background(one, problem.plan(), 0, 1) for one in (kernel, slow))
            assert kernel.name.endswith("graphed") and "differ from the reference" in said.pop()
            torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)

    def refuses(self: Any, n_steps: int) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(interpreted.ProductBuffers, "run", refuses)
    for kernel, slow, problem in kernels():
        found, wanted = (problem.background(one, problem.plan(), 0, 1) for one in (kernel, slow))
        assert "no such instruction" in said.pop()
        torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    assert isinstance(kernels()[0][0]._fallback, GraphedKernel)


def test_features_that_would_not_fit_go_through_the_recorded_steps_in_blocks(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, phi = Problem(2, 40, 2), get_activation("tanh")
    kernel = trusted(interpreted.ProductKernel(phi, 2), monkeypatch)
    monkeypatch.setattr(interpreted, "MOST_FEATURES", 23 * 39)
    monkeypatch.setattr(kernel, "_background", lambda *given: pytest.fail("too large for it"))
    monkeypatch.setattr(kernel, "_frozen", lambda *given: pytest.fail("too large for it"))
    wanted = problem.background(ReferenceKernel(phi), problem.plan(), 0, 2)
    torch.testing.assert_close(problem.background(kernel, problem.plan(), 0, 2).theta, wanted.theta, rtol=0, atol=1e-6)
    assert problem.frozen(kernel, problem.plan(), 0, 1).shape == (40, 4)


# ------------------------------------------------------------------------------------------------- what is launched


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


# ------------------------------------------------------------------------------------------------------ on a device

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and there is none")


def assert_device_agrees(kernel: Any, slow: Any, problem: Problem, tolerance: float) -> None:
    """Ninety steps against the reference; the same bits twice and for a split."""
    found, wanted = (problem.background(one, problem.plan(), 5, 90) for one in (kernel, slow))
    assert kernel.name.endswith("triton products"), "the trial has failed"
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-4, atol=1e-5)
    assert torch.equal(problem.background(kernel, problem.plan(), 5, 90).theta, found.theta)
    part = problem.background(kernel, problem.plan(), 5, 31)
    problem.total = part.prediction_sum
    rest = problem.background(kernel, problem.plan(), 36, 59, part.theta)
    assert torch.equal(rest.theta, found.theta) and torch.equal(rest.prediction_sum, found.prediction_sum)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize(("name", "n_inputs", "n_out"), [("tanh_squared", 22, 11), ("relu_tanh", 33, 1), ("erf", 5, 2)])
def test_products_on_a_gpu_are_the_reference_steps_and_the_same_bits_for_any_split(
    name: str, n_inputs: int, n_out: int
) -> None:
    problem = Problem(n_inputs, 513, n_out, n_points=257).to("cuda")
    kernel = choose(name, device="cuda", dtype=torch.float32, n_inputs=n_inputs, n_out=n_out)
    slow = ReferenceKernel(get_activation(name))
    # Ninety steps of rounding 3e-7 of numbers below ten, like a random walk or, at worst, all alike.
    assert_device_agrees(kernel, slow, problem, 3e-4)
    still, unmoved = (problem.frozen(one, problem.plan(), 5, 90) for one in (kernel, slow))
    torch.testing.assert_close(still, unmoved, rtol=0, atol=3e-4)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("names", [("relu_tanh", "tanh"), ("tanh", "sin", "erf")])
def test_layers_on_a_gpu_are_the_layered_steps_and_the_same_bits_for_any_split(names: tuple[str, ...]) -> None:
    network = LayeredNetwork(4, (257, 129, 65)[: len(names)], tuple(get_activation(name) for name in names))
    device, problem = torch.device("cuda"), Problem(4, network.n_neurons, n_points=257).to("cuda")
    kernel = choose_layered(network, device, torch.float32, 257)
    assert_device_agrees(kernel, LayeredKernel(network, device, torch.float32), problem, 3e-4)
