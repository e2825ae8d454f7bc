"""Compiled steps for GPUs, without one: their logic interpreted, their code looked at, and what serves elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from interpreting import Steps, interpreted_module
from pretended import HERE, pretended_device

from mft_engine import kernels, rng
from mft_engine.kernels import GraphedKernel, ReferenceKernel, StepPlan, choose
from mft_engine.network.activations import ACTIVATIONS, get_activation

triton = pytest.importorskip("triton", reason="Triton, which compiles steps for GPUs, is not installed")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """`mft_engine.kernels.gpu.kernel` whose kernels Triton's interpreter runs."""
    yield from interpreted_module("kernel")


class Setting(Steps):
    """A small problem in which a program has few neurons and few slots, because the interpreter is slow."""

    def __init__(self, n_inputs: int = 2, *, is_paired: bool = True, n_neurons: int = 19, n_points: int = 32) -> None:
        def draw(step: int, rows: int, columns: int) -> torch.Tensor:
            return rng.normal(11, rng.Stream.TASK, step, rows, columns, device="cpu")

        half = draw(0, n_points // 2, n_inputs)
        points = torch.cat([half, -half if is_paired else half + 0.1])
        self.points = points[torch.argsort(draw(1, n_points, 1)[:, 0])]
        self.targets = draw(2, n_points, 1)[:, 0]
        weights = draw(3, n_points, 1)[:, 0].abs()
        self.weights = weights / weights.sum()
        self.theta = draw(4, n_neurons, n_inputs + 1)
        self.total = torch.zeros(n_points, dtype=torch.float64)
        self.n_numbers = n_inputs + 1


def trusted(module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kernel that leaves out the trial, which compares 300 neurons."""
    kernel = module.TritonKernel(get_activation(name))
    monkeypatch.setattr(kernel, "_serves", lambda *points: True)
    return kernel


# ----------------------------------------------------------------------------------------------- the logic, interpreted


@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_interpreted_steps_are_the_reference_steps_to_float32_rounding(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, is_paired: bool
) -> None:
    setting = Setting(is_paired=is_paired)
    fast, slow = trusted(interpreted, name, monkeypatch), ReferenceKernel(get_activation(name))
    plan = setting.plan("leimkuhler-matthews" if is_paired else "euler")
    found, wanted = setting.background(fast, plan, 2**32 - 1, 2), setting.background(slow, plan, 2**32 - 1, 2)
    # As for the compiled CPU loops: |theta| < 5 rounds to 2.4e-7, twice; drift and noise add less.
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    # Terms of f err by 3e-7 of |a b| (up to 100 for z^2), integers by 2^-40.
    scale = 1.0 + float(wanted.prediction.abs().max())
    torch.testing.assert_close(found.prediction, wanted.prediction, rtol=0, atol=5e-7 * scale)
    torch.testing.assert_close(found.prediction_sum, wanted.prediction_sum, rtol=0, atol=1e-6 * scale)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=2e-6, atol=0)
    assert found.is_finite and found.first_step == 2**32 - 1
    moved, unmoved = setting.frozen(fast, plan, 3, 2), setting.frozen(slow, plan, 3, 2)
    torch.testing.assert_close(moved, unmoved, rtol=0, atol=1e-6)
    f, g = fast.predict(setting.theta, setting.points, 0.8), slow.predict(setting.theta, setting.points, 0.8)
    torch.testing.assert_close(f, g, rtol=0, atol=5e-7 * scale)


@pytest.mark.parametrize(("name", "n_inputs"), [("relu_tanh", 1), ("sin", 5), ("relu_tanh", 16)])
def test_interpreted_steps_take_up_to_16_inputs(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, n_inputs: int
) -> None:
    setting = Setting(n_inputs, n_neurons=7)
    fast, slow = trusted(interpreted, name, monkeypatch), ReferenceKernel(get_activation(name))
    found, wanted = (setting.background(kernel, setting.plan(), 5, 2) for kernel in (fast, slow))
    # With 16 inputs |w.x| reaches 20 and the drift of a weight 5: twice the roundings of the plane.
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=2e-6)
    torch.testing.assert_close(found.prediction, wanted.prediction, rtol=0, atol=2e-6)
    still, unmoved = (setting.frozen(kernel, setting.plan("euler"), 5, 2) for kernel in (fast, slow))
    torch.testing.assert_close(still, unmoved, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["relu_tanh", "erf"])
def test_interpreted_steps_on_many_points_are_shared_by_the_threads_of_a_neuron(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A small cloud on 512 slots and more: four neurons a program, each walked through by 32 threads."""
    setting = Setting(6, is_paired=False, n_neurons=5, n_points=530)
    fast, slow = trusted(interpreted, name, monkeypatch), ReferenceKernel(get_activation(name))
    found, wanted = (setting.background(kernel, setting.plan(), 5, 2) for kernel in (fast, slow))
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=2e-6)
    torch.testing.assert_close(found.prediction, wanted.prediction, rtol=0, atol=2e-6)
    (kind,) = fast._buffers
    assert fast._buffers[kind].tiles.lanes == 32 and fast._buffers[kind].n_programs == 2


def test_interpreted_steps_give_the_same_bits_for_any_split(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting()
    kernel, plan = trusted(interpreted, "relu_tanh", monkeypatch), setting.plan()
    whole, frozen = setting.background(kernel, plan, 5, 4), setting.frozen(kernel, plan, 5, 4)
    theta, still, losses, step = setting.theta, setting.theta, [], 5
    for n_steps in (1, 3):
        part = setting.background(kernel, plan, step, n_steps, theta)
        still = setting.frozen(kernel, plan, step, n_steps, still)
        setting.total, theta, step = part.prediction_sum, part.theta, step + n_steps
        losses.append(part.losses)
    assert torch.equal(theta, whole.theta) and torch.equal(still, frozen)
    assert torch.equal(setting.total, whole.prediction_sum) and torch.equal(part.prediction, whole.prediction)
    assert torch.equal(torch.cat(losses), whole.losses)


def test_interpreted_steps_longer_than_the_buffer_of_losses_are_the_same(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(n_neurons=3)
    whole = setting.background(trusted(interpreted, "tanh", monkeypatch), setting.plan(), 0, 3)
    monkeypatch.setattr(interpreted, "MAX_STEPS", 2)
    cut = setting.background(trusted(interpreted, "tanh", monkeypatch), setting.plan(), 0, 3)
    assert torch.equal(cut.theta, whole.theta) and torch.equal(cut.losses, whole.losses) and len(cut.losses) == 3


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_sum_beyond_the_integers_is_told_as_a_step_that_is_not_finite(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(n_neurons=3)
    kernel = trusted(interpreted, "relu", monkeypatch)
    for bad in (math.nan, math.inf, 1e9):  # the last is finite and far beyond what f may be, 2^22
        theta = setting.theta.clone()
        theta[1, 2] = bad
        assert setting.background(kernel, setting.plan(), 40, 2, theta).nonfinite_step == 40
    assert setting.background(kernel, setting.plan(), 40, 2).is_finite
    # A readout that leaves the finite numbers in the second step.
    theta = setting.theta.clone()
    theta[0, :2], theta[0, 2] = 0.0, 1.0
    plan = StepPlan((0.0,) * 3, (0.0, 0.0, -1e20), (0.0,) * 3, "euler", 0, 0)
    assert setting.background(kernel, plan, 40, 3, theta).nonfinite_step == 41


def test_a_part_of_a_cloud_draws_the_noise_of_its_own_neurons(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting()
    kernel, plan = trusted(interpreted, "tanh", monkeypatch), setting.plan()
    whole = setting.frozen(kernel, plan, 0, 1)
    part = setting.frozen(kernel, StepPlan(**{**vars(plan), "first_neuron": 11}), 0, 1, setting.theta[11:])
    assert torch.equal(part, whole[11:])


def test_points_that_are_others_at_every_step_are_not_fetched_from_the_device(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(n_neurons=3)
    kernel, slow = trusted(interpreted, "relu_tanh", monkeypatch), ReferenceKernel(get_activation("relu_tanh"))
    plan = StepPlan(**{**vars(setting.plan()), "has_fresh_points": True})
    looked: list[int] = []
    arrange = interpreted.arrange
    monkeypatch.setattr(interpreted, "arrange", lambda points: looked.append(len(points)) or arrange(points))
    found, wanted = setting.background(kernel, plan, 0, 1), setting.background(slow, plan, 0, 1)
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    assert not looked
    for _ in range(2):  # the same points again are looked at once
        setting.background(kernel, setting.plan(), 0, 1)
    assert looked == [32]


def test_a_trial_compares_with_the_reference_and_a_kernel_that_differs_is_not_used(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreted.trial, "N_NEURONS", 17)
    monkeypatch.setattr(interpreted.trial, "N_POINTS", 16)
    setting, said = Setting(n_neurons=5), []
    monkeypatch.setattr(interpreted.trial.logger, "warning", lambda text, *values: said.append(text.format(*values)))
    wanted = setting.background(ReferenceKernel(get_activation("tanh")), setting.plan(), 0, 1)
    good = interpreted.TritonKernel(get_activation("tanh"))
    assert not good.is_ready
    good.warm_up(setting.points)
    assert good.is_ready and good.name == "triton" and not said

    def broken(self: Any, n_steps: int) -> None:
        self.state.mul_(1.01)

    monkeypatch.setattr(interpreted.Buffers, "run", broken)
    bad = interpreted.TritonKernel(get_activation("tanh"))
    found = setting.background(bad, setting.plan(), 0, 1)
    assert bad.name == "graphed" and len(said) == 1 and "differ from the reference" in said[0]
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)

    def refuses(self: Any, n_steps: int) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(interpreted.Buffers, "run", refuses)
    none = interpreted.TritonKernel(get_activation("tanh"))
    torch.testing.assert_close(setting.background(none, setting.plan(), 0, 1).theta, wanted.theta, rtol=0, atol=1e-6)
    assert "no such instruction" in said[1]
    torch.testing.assert_close(none.predict(setting.theta, setting.points, 0.8), wanted.prediction.float())


# ---------------------------------------------------------------------------------------------------- the machine code


def kind_of(name: str, n_neurons: int = 2048, n_inputs: int = 2, *, is_paired: bool = True, n_slots: int = 128) -> Any:
    from mft_engine.kernels import forms
    from mft_engine.kernels.gpu.buffers import Kind

    base, is_one_sided = forms.FORMS[name]
    mode, parity = forms.mode_of(is_one_sided, is_paired), forms.PARITY[get_activation(name).parity]
    return Kind(n_neurons, n_inputs, n_slots, base, mode, True, True, 1.0, parity, torch.device("cpu"))


def assert_clean(kind: Any, capability: int, *, with_frozen: bool = True) -> None:
    """A whole step contains the partial ones: no spill, no meeting of threads in the loops over neurons and slots.

    Outside of these a number or two may wait in memory: once a step, they cost nothing (sm_80, five inputs, frozen).
    """
    from mft_engine.kernels.gpu.compiled import compile_frozen, compile_step

    codes = {2: compile_step(kind, capability)}
    if with_frozen:
        codes[1] = compile_frozen(kind, capability)
    for n_passes, code in codes.items():
        assert code.stack_bytes <= 16 and code.n_registers <= 255
        assert not any(loop.n_spills for loop in code.loops if loop.is_innermost)
        # The outer loops, over steps and groups of slots, may have some; an inner one for each pass has none.
        assert sum(loop.n_meetings == 0 for loop in code.loops) >= n_passes


@pytest.mark.parametrize(
    ("name", "n_neurons", "n_inputs", "is_paired", "capability"),
    [
        ("relu_tanh", 2048, 2, True, 80),
        ("relu_tanh", 2**20, 2, True, 89),
        ("erf", 2**14, 5, False, 90),
    ],
)
def test_steps_compile_without_spills(
    name: str, n_neurons: int, n_inputs: int, is_paired: bool, capability: int
) -> None:
    assert_clean(kind_of(name, n_neurons, n_inputs, is_paired=is_paired), capability, with_frozen=n_inputs == 5)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_step_compiles_without_spills_for_every_generation(name: str, capability: int) -> None:
    for n_neurons in (2**11, 2**14, 2**17, 2**20):
        assert_clean(kind_of(name, n_neurons), capability)
    for n_inputs, is_paired in ((1, False), (5, True), (16, False)):
        assert_clean(kind_of(name, 2**14, n_inputs, is_paired=is_paired), capability)
    assert_clean(kind_of(name, 2**9, 16, is_paired=False, n_slots=1024), capability)


def test_a_million_neurons_are_predicted_to_take_less_than_the_goal_on_an_h100() -> None:
    """From instructions: two exponentials and two reciprocals for a neuron and pair of points, at most forty in all."""
    from mft_engine.cli.bench import load_part

    part, goals = load_part("gpu_predictions"), load_part("gpu").GOALS_US
    found = part.predict(2**20, part.GPUS[0])
    assert 20 < found["instructions_a_pair"] <= 40 and found["registers"] <= 128
    # The least that four special instructions a pair allow, at the clock that is assumed: 140 microseconds.
    assert 130 < found["floor_us"] <= found["predicted_us"] < goals[2**20]
    document = {
        "is_measured": False,
        "torch": "2",
        "triton": "3",
        "predictions": [
            {"gpu": "H", "rows": [found], "recipes": [part.predict_recipe("modular-addition", part.GPUS[0])]}
        ],
    }
    text = load_part("gpu").markdown(document)
    assert text.startswith("PREDICTED, not measured") and f"{found['predicted_us']:.1f} | 280" in text
    assert "85 x 22, 512, 11 | products | 9 |" in text


def test_recipes_of_layers_and_readouts_are_predicted_to_take_a_few_launches_and_less_than_the_goal() -> None:
    from mft_engine.cli.bench import load_part

    part = load_part("gpu_predictions")
    found = {name: part.predict_recipe(name, part.GPUS[0]) for name in ("continuous-xor", "modular-addition")}
    # 10,000 steps a second; 12 s for the whole command, of whose 15,844 steps training gets a sixth.
    assert found["modular-addition"]["predicted_us"] < 100 and 15_844e-6 * found["continuous-xor"]["predicted_us"] < 2
    assert found["modular-addition"]["launches"] == 9 and found["continuous-xor"]["launches"] == 13


@pytest.mark.slow
def test_the_benchmark_runs_on_a_pretended_device_and_a_part_that_fails_leaves_the_others_their_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton finds no driver there, so that trials fail and recorded steps serve."""
    from mft_engine.cli.bench import load_part

    part = load_part("gpu")
    for name in ("TRAINED_STEPS", "KERNEL_STEPS", "MOST_STEPS"):
        monkeypatch.setattr(part, name, 2)

    def milliseconds(call: Any, device: torch.device) -> float:
        call()
        return 1.0

    def refuses(case: Any) -> None:
        raise RuntimeError("no such compiler")

    monkeypatch.setattr(part, "_milliseconds", milliseconds)
    monkeypatch.setattr(part, "_floor", lambda n_neurons, device: 1.0)
    monkeypatch.setattr(part, "has_jax", lambda device: False)
    for name in ("compiled_pytorch", "plain_pytorch"):  # autograd wants a driver
        monkeypatch.setattr(load_part("kernels"), name, refuses)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with pretended_device(monkeypatch) as device:
        document = part.measure_on(HERE, quick=True)
        assert not device.refused
        monkeypatch.setattr(part, "BUDGET", 0.0)
        late = part.measure_on(HERE, quick=True)
    paths = document["sizes"][0]["paths"]
    assert "no such compiler" in paths["torch.compile"]["failure"]
    for name in ("compiled steps", "graphed", "reference"):
        assert paths[name]["median_us"] > 0 and paths[name]["error"] < 1e-4
    assert paths["compiled steps"]["kernel"] == "graphed"
    assert all(row["training_us"] > 0 and row["frozen_us"] > 0 for row in document["recipes"])
    assert all(row["same_bits_twice"] and row["same_bits_split"] for row in document["checks"].values())
    text = part.markdown(document | {"torch": "2"})
    assert "no such compiler" in text and "continuous-xor" in text
    assert late["sizes"][0]["failure"] == "no time left" and "no time left" in part.markdown(late | {"torch": "2"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be measured")
def test_bench_on_a_gpu_that_is_not_there_says_so_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from mft_engine.cli import main

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["mft-lab", "bench", "--device", "cuda"])
        main()
    told = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and "is not on this machine; it has cpu" in told and len(told.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------- choosing


def test_a_gpu_gets_compiled_steps_where_triton_is_there_and_recorded_ones_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def chosen(**change: Any) -> Any:
        arguments: dict[str, Any] = {"device": "cuda", "dtype": torch.float32, "n_inputs": 2, "n_out": 1} | change
        return choose("relu_tanh", **arguments)

    assert type(chosen()).__name__ == "TritonKernel" and type(chosen(kind="fused")).__name__ == "TritonKernel"
    assert type(chosen(n_inputs=16)).__name__ == "TritonKernel"
    for change in ({"n_inputs": 17}, {"n_out": 2}):
        assert type(chosen(**change)).__name__ == "ProductKernel"
        assert type(chosen(**change, kind="graphed")) is GraphedKernel
        assert type(chosen(**change, dtype=torch.float64)) is GraphedKernel
    for change in ({"dtype": torch.float64}, {"kind": "graphed"}):
        assert type(chosen(**change)) is GraphedKernel
    assert type(chosen(kind="reference")) is ReferenceKernel
    assert choose("relu_tanh", device="mps", dtype=torch.float32, n_inputs=2).name == "reference"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert type(chosen()) is GraphedKernel and type(chosen(n_out=2)) is GraphedKernel
    monkeypatch.undo()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    assert type(chosen()) is GraphedKernel
    with pytest.raises(ValueError, match=r"triton is not installed \(pip install"):
        chosen(kind="fused")


def test_nothing_of_triton_is_imported_where_no_gpu_asks_for_it() -> None:
    import subprocess

    code = "import sys, mft_engine.kernels as k, torch; k.choose('tanh', device='cpu', dtype=torch.float32, n_inputs=2)"
    code += "; assert not any(name.split('.')[0] == 'triton' for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and there is none")
@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_steps_on_a_gpu_are_the_reference_steps_and_the_same_bits_for_any_split(name: str, is_paired: bool) -> None:
    setting = Setting(is_paired=is_paired, n_neurons=5000, n_points=256)
    for part in ("points", "targets", "weights", "theta", "total"):
        setattr(setting, part, getattr(setting, part).to("cuda"))
    fast = choose(name, device="cuda", dtype=torch.float32, n_inputs=2)
    slow, plan = ReferenceKernel(get_activation(name)), setting.plan()
    found, wanted = setting.background(fast, plan, 5, 90), setting.background(slow, plan, 5, 90)
    assert fast.name == "triton", "the trial has failed"
    # Ninety steps of rounding 3e-7, adding like a random walk or, at worst, all alike; kinks amplify a little.
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-4, atol=1e-6)
    part = setting.background(fast, plan, 5, 31)
    setting.total = part.prediction_sum
    rest = setting.background(fast, plan, 36, 59, part.theta)
    assert torch.equal(rest.theta, found.theta) and torch.equal(rest.prediction_sum, found.prediction_sum)
    setting.total = torch.zeros_like(setting.total)
    assert torch.equal(setting.background(fast, plan, 5, 90).theta, found.theta)
