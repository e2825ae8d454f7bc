"""One network in two processes: the same as in one, with the field alone between them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from mft_engine import rng
from mft_engine.cli import sharded as command
from mft_engine.experiment.background import Background
from mft_engine.experiment.experiment import Experiment
from mft_engine.kernels import ReferenceKernel, StepPlan, choose
from mft_engine.kernels.sharded import ShardedKernel, Shards
from mft_engine.network.activations import get_activation
from mft_engine.points.statistics import order_parameters
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.runs import checkpoint
from mft_engine.runs.folder import Run
from mft_engine.runs.sharded import sharded


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of processes that consists of this one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def cloud(n_neurons: int, n_columns: int = 3) -> torch.Tensor:
    return rng.normal(1, rng.Stream.INITIAL, 0, n_neurons, n_columns, device="cpu")


def plan(n_columns: int = 3) -> StepPlan:
    numbers = (1e-2,) * n_columns
    return StepPlan(numbers, numbers, numbers, "leimkuhler-matthews", 5, int(rng.Stream.BACKGROUND), 0.8)


@pytest.mark.parametrize("kind", ["fused", "graphed", "reference"])
def test_the_second_half_of_a_cloud_draws_the_noise_of_its_own_neurons(kind: Any) -> None:
    kernel = choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=2, kind=kind)
    theta, points = cloud(300), cloud(32, 2)
    whole = kernel.advance_frozen(theta, points, points[:, 0], plan(), 3, 4).theta
    half = kernel.advance_frozen(theta[150:], points, points[:, 0], replace(plan(), first_neuron=150), 3, 4).theta
    # The same operations on the same numbers; only the place in a vector differs.
    torch.testing.assert_close(half, whole[150:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_out", [1, 3])
def test_steps_in_a_field_of_sums_are_the_steps_of_the_reference(alone: None, n_out: int) -> None:
    theta, points, targets = cloud(200, 2 + n_out), cloud(32, 2), cloud(32, n_out)
    targets = targets[:, 0] if n_out == 1 else targets
    weights, total = torch.full((32,), 1 / 32), torch.zeros(targets.shape, dtype=torch.float64)
    inner = ReferenceKernel(get_activation("tanh"))
    arguments = (theta, points, targets, weights, plan(2 + n_out), 7, 3, total)
    found, wanted = (
        ShardedKernel(inner, Shards(200)).advance_background(*arguments),
        inner.advance_background(*arguments),
    )
    # The signal is rounded to float32 at another place: 6e-8 of a drift of ten, times 1e-2, thrice.
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-6, atol=0)
    assert found.is_finite and found.first_step == 7
    broken = theta.clone()
    broken[3, 0] = torch.nan
    assert ShardedKernel(inner, Shards(200)).advance_background(broken, *arguments[1:]).nonfinite_step == 7


def test_a_step_tells_as_many_bytes_of_a_large_network_as_of_a_small_one(alone: None) -> None:
    points, weights, total = cloud(32, 2), torch.full((32,), 1 / 32), torch.zeros(32, dtype=torch.float64)
    told = []
    for n_neurons in (100, 10_000):
        shards = Shards(n_neurons)
        kernel = ShardedKernel(ReferenceKernel(get_activation("tanh")), shards)
        kernel.advance_background(cloud(n_neurons), points, points[:, 0], weights, plan(), 0, 4, total)
        told.append(shards.bytes_summed)
    # 32 numbers of f and one flag in each of four steps, and the last step's flag.
    assert told == [8 * (4 * 33 + 1)] * 2


@pytest.mark.parametrize(("n_inputs", "n_relevant"), [(2, 0), (5, 2), (5, 0)])
def test_order_parameters_from_sums_are_those_of_the_cloud(alone: None, n_inputs: int, n_relevant: int) -> None:
    theta = cloud(3000, n_inputs + 1)
    found = Shards(3000).order_parameters(theta, n_inputs, n_relevant)
    wanted = order_parameters(theta, n_inputs, n_relevant)
    assert found.keys() == wanted.keys()
    for name, (mean, error) in found.items():
        assert mean == pytest.approx(wanted[name].mean, abs=1e-6)
        assert error == pytest.approx(wanted[name].standard_error, rel=1e-3)


def test_a_network_that_cannot_be_spread_is_refused_in_a_sentence(alone: None) -> None:
    small = Recipe().replace({"training.n_steps": 10})
    for change, said in (
        ({"network.n_neurons": 100}, "too small for 1 processes"),
        ({"training.dynamics": "gibbs"}, "Langevin dynamics"),
        ({"network.n_neurons": [300, 300]}, "one hidden layer"),
    ):
        with pytest.raises(RecipeError, match=said), sharded(Background(small.replace(change))):
            pass


def test_two_processes_train_the_network_of_one_and_their_checkpoints_are_interchangeable(tmp_path: Path) -> None:
    recipe = Recipe().replace({"network.n_neurons": 8193, "training.n_steps": 60, "engine.n_threads": 1})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    single = Experiment(recipe)
    single.advance(30)
    middle = Run.create(tmp_path / "single", recipe)
    middle.save_checkpoint(*checkpoint.pack(single))
    single.advance(30)

    def train(*words: str) -> tuple[Path, str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        command = [*launch, "-m", "mft_engine.cli.sharded", str(tmp_path / "recipe.toml"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-2000:]
        folder, told = done.stdout.strip().splitlines()[-2:]
        return Path(folder), told

    # From the single run's checkpoint in the middle to the end, in two processes.
    folder, told = train("--resume", str(middle.folder))
    assert folder == middle.folder and re.match(r"2 processes, \d+ bytes a sum", told)
    together = Experiment(recipe)
    Run(folder).put_back(together)
    assert together.state.step == 60 and together.is_complete
    theta, wanted = (np.asarray(each.state.theta, dtype=np.float64) for each in (together, single))
    assert np.abs(theta - wanted).max() < 1e-5 * np.abs(wanted).max()
    mine, theirs = together.history.metrics(), single.history.metrics()
    for name in ("step", "time", "loss", "eta_theta", "cos4"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-6)
    # And one process goes on from what two have left.
    for each in (together, single):
        each.advance(20, beyond=True)
    theta, wanted = (np.asarray(each.state.theta, dtype=np.float64) for each in (together, single))
    assert np.abs(theta - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("option", ["--out", "--resume"])
def test_an_option_of_several_processes_that_is_given_twice_is_refused_by_name(monkeypatch, capsys, option) -> None:
    monkeypatch.setattr(sys, "argv", ["sharded", "clover", option, "one", f"{option}=two"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert f"{option} is given twice" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_of_a_million_neurons_stay_below_a_gibibyte_each(tmp_path: Path) -> None:
    recipe = Recipe().replace({"network.n_neurons": 2**20, "training.n_steps": 4, "engine.n_threads": 1})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    (tmp_path / "train.py").write_text(
        "import resource, sys\n"
        "from mft_engine.cli import sharded\n"
        f"sys.argv = ['', {str(tmp_path / 'recipe.toml')!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        "sharded.main()\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run([*launch, str(tmp_path / "train.py")], capture_output=True, text=True, timeout=280)
    # In units of 1,024 bytes, as Linux tells them.
    peaks = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak")]
    assert len(peaks) == 2 and max(peaks) < 2**20, done.stderr[-2000:]
    together, single = Experiment(recipe), Experiment(recipe)
    Run(next((tmp_path / "out").iterdir())).put_back(together)
    single.advance(4)
    theta, wanted = (np.asarray(each.state.theta, dtype=np.float64) for each in (together, single))
    assert np.abs(theta - wanted).max() < 1e-5 * np.abs(wanted).max()
