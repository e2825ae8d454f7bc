"""Whole experiments on a pretended device: nothing is left behind on the host, and the numbers are the CPU's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pretended import HERE, Count, Pretended, PretendedDevice, pretended_device

from mft_engine.device import record_graph, to_host
from mft_engine.dynamics import langevin
from mft_engine.experiment.experiment import STAGES, Experiment
from mft_engine.experiment.outcome import Outcome
from mft_engine.laws import tempered
from mft_engine.laws.frozen import FrozenLaw
from mft_engine.laws.particles import BLOCK_ROWS, TiltedLaw, moved, prior_particles
from mft_engine.network.activations import get_activation
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.recorded import Recorded
from mft_engine.resources import resources_folder
from mft_engine.runs import checkpoint
from mft_engine.slices import finished


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    with pretended_device(monkeypatch) as device:
        yield device
    assert not device.refused


# ---- the device itself ---------------------------------------------------------------------------------


def test_it_computes_counts_and_refuses_what_a_device_refuses(device: PretendedDevice) -> None:
    table = torch.arange(6.0, device=HERE).reshape(2, 3)
    assert isinstance(table, Pretended) and table.device == HERE and not device.count.n_trips
    before = device.so_far()
    table[1, 1:] *= 2.0
    table[:, 0] = torch.tensor(7.0)
    found = (table @ torch.ones(3, 1, device=HERE)).sum()
    assert float(found) == 7 + 1 + 2 + 7 + 8 + 10
    assert (device.count - before).n_trips == 1
    with pytest.raises(RuntimeError, match="same device"):
        table + torch.ones(3)
    for look in (lambda: table.numpy(), lambda: np.asarray(table)):
        with pytest.raises(TypeError, match="numpy"):
            look()
    assert table[table > 8].tolist() == [10.0]  # how many they are the host must wait for
    assert (device.count - before).n_trips == 3


def test_a_recording_is_replayed_without_python_and_as_one_launch(device: PretendedDevice) -> None:
    source, total, n_calls = torch.ones(4, device=HERE), torch.zeros((), device=HERE), []

    def work() -> None:
        n_calls.append(1)
        total.add_((source[1:] * float(len(n_calls))).sum())

    replay = record_graph(work, HERE)
    assert replay is not None
    n_recorded = len(n_calls)
    total.zero_()
    source.fill_(2.0)
    before = device.so_far()
    replay()
    replay()
    assert (device.count - before).n_launches == 2 and len(n_calls) == n_recorded
    # The number of the host is the one of the recording; the memory is read anew.
    assert float(total) == 2 * 3 * 2.0 * n_recorded


def test_a_recording_may_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_device(monkeypatch) as device:
        total = torch.zeros((), device=HERE)
        assert record_graph(lambda: total.fill_(float(total)), HERE) is None
        assert len(device.refused) == 1


# ---- whole experiments ---------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"engine.n_threads": 1, "comparison.n_permutations": 100}
CLOUD = {"network.n_neurons": [64], "foreground.n_neurons": 64}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamics": ("clover", CLOUD | {"training.time": 0.2}),
    "gibbs": ("clover", CLOUD | {"training.time": 0.2, "foreground.method": "gibbs", "foreground.n_neurons": 256}),
    "held-back": ("clover", CLOUD | {"training.time": 0.2, "training.n_points": 64, "foreground.method": "gibbs"}),
    "several-readouts": ("modular-addition", CLOUD | {"training.time": 0.2, "task.modulus": 5}),
    "adam": ("adam-clover", CLOUD | {"training.n_steps": 60, "foreground.n_steps": 10}),
    "batches": ("sgd-clover", CLOUD | {"training.n_steps": 60, "training.batch_size": 32, "foreground.n_steps": 10}),
    "turned": ("sgd-clover", CLOUD | {"training.n_steps": 60, "training.rule_rotates": True, "foreground.n_steps": 10}),
    "two-layers": (
        "continuous-xor",
        {"network.n_neurons": [24, 16], "foreground.n_neurons": 64, "training.time": 0.05},
    ),
}


def small(name: str, **changes: Any) -> Recipe:
    source, own = RUNS[name]
    return load_recipe(resources_folder() / "recipes" / f"{source}.toml").replace({**SMALL, **own, **changes})


def whole(recipe: Recipe, kernel: str) -> Outcome:
    experiment = Experiment(recipe, kernel=kernel)
    while not experiment.is_complete:
        experiment.advance(75)
    experiment.snapshot()
    # (laws by particles and replays take minutes)
    is_slow = recipe.task.name != "product" or recipe.training.dynamics != "langevin"
    for ask in STAGES:
        if not (is_slow and ask in (Experiment.theory, Experiment.ask)):
            for _ in ask(experiment):
                pass
    return experiment.outcome()


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a summary, by its path."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from numbers(part, f"{path}[{place}]")
    elif isinstance(value, float | int):
        yield path, float(value)


# What is measured in seconds, and what says where it ran.
NO_NUMBER = ("seconds", "steps_per_second")


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_recipe_gives_the_numbers_of_the_cpu(
    name: str, device: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same arithmetic in blocks of other sizes: some thousand roundings of 6e-8, which chaos may magnify."""
    is_layered = name == "two-layers"
    monkeypatch.setattr(tempered, "FEWEST_WALKERS", 64)
    wanted = whole(small(name, **{"engine.device": "cpu"}), "reference")
    found = whole(small(name, **{"engine.device": str(HERE)}), "graphed")
    pairs = dict(numbers(found.summary))
    told = dict(numbers(wanted.summary))
    assert set(pairs) == set(told)
    for path, value in told.items():
        # Which of 64 walkers have children a rounding decides: as far apart as two draws then.
        if not path.endswith(NO_NUMBER) and not (is_layered and not path.startswith(".background")):
            assert math.isclose(pairs[path], value, rel_tol=2e-3, abs_tol=1e-4) or math.isnan(value), path
    np.testing.assert_allclose(found.background.clouds[0].theta, wanted.background.clouds[0].theta, atol=1e-4)
    assert list(found.metrics) == list(wanted.metrics)


# ---- what a training costs the host ------------------------------------------------------------------------


# Noise of the first step of a call is drawn before its recording.
IN_STEPS = ("kernels/", "network/layered.py flat_normal")


def hundred_steps(recipe: Recipe, device: PretendedDevice) -> tuple[float, float, Count]:
    """Trips and launches in a hundred steps, those within the kernels' steps left out, when all is recorded."""
    experiment = Experiment(recipe.replace({"engine.device": str(HERE)}), kernel="graphed")
    experiment.advance(200)
    before = device.so_far()
    experiment.advance(400)
    count = device.count - before
    own = sum(n for place, n in count.launches.items() if not place.startswith(IN_STEPS))
    assert experiment.state.step == 600
    return count.n_trips / 4, own / 4, count


@pytest.mark.parametrize(
    ("name", "n_trips", "n_launches"),
    [
        ("dynamics", 3, 12),
        ("held-back", 5, 40),
        ("several-readouts", 5, 70),
        ("two-layers", 3, 130),
        ("adam", 2, 720),
        ("batches", 3, 900),
    ],
)
def test_a_hundred_steps_of_training_wait_three_times_and_queue_little(
    name: str, n_trips: float, n_launches: float, device: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two records and one look; clouds and samples of the function stay where they are until somebody asks."""
    monkeypatch.setattr(langevin, "LOOKS_EVERY", ((100, None),))
    changes: dict[str, Any] = {"training.time": 1e6, "training.n_steps": 10**6}
    trips, launches, count = hundred_steps(small(name, **changes), device)
    assert trips <= n_trips and launches <= n_launches, count.table()


@pytest.mark.parametrize("name", ["dynamics", "adam", "batches", "two-layers"])
def test_any_split_of_the_steps_gives_the_same_bits_there(name: str, device: PretendedDevice) -> None:
    """Also where looks, records and steps are recorded, and what they leave is written over."""
    recipe = small(name, **{"training.time": 1e6, "training.n_steps": 10**6, "engine.device": str(HERE)})
    ends = []
    for slices in ((130,), (1, 19, 43, 7, 60)):
        experiment = Experiment(recipe, kernel="graphed")
        for n_steps in slices:
            experiment.advance(n_steps)
        ends.append(experiment)
    assert ends[0].state.theta.tolist() == ends[1].state.theta.tolist()
    assert ends[0].state.loss_sum == ends[1].state.loss_sum
    assert ends[0].history.rows == ends[1].history.rows and len(ends[0].history.rows) == 2
    assert np.array_equal(ends[0].history.clouds()[0], ends[1].history.clouds()[0])


def test_what_a_recording_left_may_be_given_to_the_next_call(device: PretendedDevice) -> None:
    """It is written over by the replay, without a word to whoever remembers that it has seen this tensor."""
    twice = Recorded(lambda x: (2 * x,))
    x = torch.ones(3, device=HERE)
    for _ in range(4):
        (x,) = twice(x)
    assert x.tolist() == [16.0] * 3
    before = device.so_far()
    same = torch.ones(3, device=HERE)
    twice(same)
    twice(same)
    # Made, copied once, replayed twice; a tensor that is what it was lies there already.
    assert (device.count - before).n_launches == 4
    # What is handed through is a copy of what the recording reads: whoever writes there spoils nothing.
    through = Recorded(lambda x, y: (x * y, y))
    for _ in range(2):
        product, second = through(same, torch.full((3,), 2.0, device=HERE))
        assert product.tolist() == second.tolist() == [2.0] * 3
    same.mul_(5.0)
    assert twice(same)[0].tolist() == [10.0] * 3


def test_particles_of_many_blocks_move_together_there(device: PretendedDevice) -> None:
    """Blocks of rows for a processor's cache, one after the other, would keep a device waiting for the host."""
    rng = np.random.default_rng(1)
    inputs, drive = rng.standard_normal((8, 3)), rng.standard_normal((8, 1)) / 4
    counts, ends = [], []
    for where, n in (("cpu", 2048), (str(HERE), 2048), (str(HERE), 256)):
        there = [torch.as_tensor(part, dtype=torch.float32, device=where) for part in (inputs, drive)]
        law = TiltedLaw(there[0], get_activation("tanh"), there[1])
        drawn = prior_particles(3, 2, n, seed=3, device=torch.device(where), dtype=torch.float32)
        before = device.so_far()
        ends.append(moved(drawn, law, 2))
        counts.append((device.count - before).n_launches)
    assert ends[0].u.shape == (4 * BLOCK_ROWS, 3) and counts[1] <= counts[2] > 0
    # Two moves of twelve leaps: a hundred roundings of numbers of order one; who is at the edge of a choice may differ.
    apart = np.abs(to_host(ends[1].u) - ends[0].u.numpy()).max(axis=1)
    assert np.quantile(apart, 0.99) < 1e-4 and ends[1].acceptance == pytest.approx(ends[0].acceptance, abs=2e-3)


@pytest.mark.parametrize("name", ["held-back", "adam", "two-layers"])
def test_a_run_goes_on_from_its_checkpoint_with_the_same_bits_there(name: str, device: PretendedDevice) -> None:
    """What had been fetched for the checkpoint and what is made afterwards are one series."""
    recipe = small(name, **{"training.time": 1e6, "training.n_steps": 10**6, "engine.device": str(HERE)})
    whole_run, first, second = (Experiment(recipe, kernel="graphed") for _ in range(3))
    whole_run.advance(170)
    first.advance(110)
    checkpoint.unpack(second, *checkpoint.pack(first))
    second.advance(60)
    wanted, found = checkpoint.pack(whole_run), checkpoint.pack(second)
    assert found[1] == wanted[1] and found[0].keys() == wanted[0].keys()
    for part, array in wanted[0].items():
        np.testing.assert_array_equal(found[0][part], array, err_msg=part)


def test_chains_in_a_frozen_field_move_by_recordings_there(device: PretendedDevice) -> None:
    rng = np.random.default_rng(2)
    inputs, signal = rng.standard_normal((12, 3)), rng.standard_normal(12) / 60
    draws = []
    for where in ("cpu", str(HERE)):
        points, told = (torch.as_tensor(part, dtype=torch.float64, device=where) for part in (inputs, signal))
        law = FrozenLaw.from_field(points, told, "tanh", 0.05, 0.1, 0.1)
        before = device.so_far()
        draws.append(finished(law.draw(64, seed=1, n_steps=60)))
    # Three sends, a replay and what the recording is told in each of sixty moves; thirty tell their acceptance.
    cost = device.count - before
    assert cost.n_trips < 45 and cost.n_launches < 60 * 16 + 500, cost.table()
    np.testing.assert_allclose(draws[1].theta, draws[0].theta, rtol=1e-9, atol=1e-9)
    assert draws[1].health == pytest.approx(draws[0].health)


def test_a_rung_of_the_ladder_is_chosen_by_one_trip(device: PretendedDevice) -> None:
    tilt = torch.linspace(0.0, 300.0, 64)
    wanted, before = tempered._next_rung(tilt, 0.0), device.so_far()
    assert tempered._next_rung(tilt.to(HERE), 0.0) == wanted and 0 < wanted < 1
    assert (device.count - before).n_trips == 1
