"""Runs that version 0.1 stored open, tell what they know and go on: two finished ones and one that was interrupted.

`version_0_1.zip` was written by version 0.1.0 itself: clover (32 neurons, 60 steps), continuous-xor (16 and 16 neurons,
40 steps), and ring (32 neurons), stopped on its way to 20,000 steps.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mft_engine.cli import main
from mft_engine.experiment.background import Background
from mft_engine.recipe import load_recipe
from mft_engine.runs.folder import Run
from mft_engine.runs.restore import restore
from mft_engine.runs.runs import list_runs, run_stored

FINISHED = {"clover": (60, [32]), "continuous-xor": (40, [16, 16])}
# What version 0.1.0 found where nothing stopped the ring, and how such losses scatter over twelve seeds.
RING_LOSS, RING_SCATTER = 0.29199647564758463, 0.0052


@pytest.fixture
def store(tmp_path: Path) -> Path:
    shutil.unpack_archive(Path(__file__).with_name("version_0_1.zip"), tmp_path)
    return tmp_path


def test_all_are_listed_without_a_fault(store: Path) -> None:
    rows = {row["recipe"]: row for row in list_runs(store)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "clover": "complete", "continuous-xor": "complete", "ring": "interrupted"
    }  # fmt: skip
    assert not any(row["fault"] for row in rows.values())


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_opens_as_it_was(store: Path, name: str) -> None:
    restored = restore(store / f"{name}-seed0")
    n_steps, sizes = FINISHED[name]
    assert not restored.faults and restored.experiment.state.step == n_steps
    outcome = Run(store / f"{name}-seed0").outcome
    assert restored.experiment.outcome().background.loss == pytest.approx(outcome.background.loss, rel=1e-6)
    assert [len(cloud.theta) for cloud in restored.experiment.outcome().background.clouds] == sizes
    # Of several layers version 0.1 lost the foreground.
    assert (restored.foreground is not None) == (len(sizes) == 1)


@pytest.mark.parametrize("name", FINISHED)
def test_the_command_tells_of_a_finished_run_what_was_stored(store: Path, name: str, capsys) -> None:
    folder = store / f"{name}-seed0"
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(folder), "--out", str(folder), "--resume"])
    told = capsys.readouterr().out
    assert not exit_.value.code and "energy distance" in told and "stored in" in told


def test_the_interrupted_run_goes_on_from_its_neurons_with_the_noise_of_their_next_steps(store: Path) -> None:
    """As the reference steps do, whose arithmetic is that of version 0.1; long runs differ by their roundings."""
    fused = restore(store / "ring-seed0").experiment.background
    reference = Background(fused.recipe, kernel="reference")
    reference.resume(fused.state, fused.initial_theta)
    before = fused.state.theta
    for background in (fused, reference):
        background.advance(20)
    moved = (fused.state.theta - before).abs().max()
    # Float32 weights of order 1 round to 1e-7, twenty times, and drift apart a little; noise alone moves them by .1.
    assert (fused.state.theta - reference.state.theta).abs().max() < 1e-4 and moved > 0.01


def test_the_interrupted_run_goes_on_to_a_loss_that_it_could_have_had(store: Path) -> None:
    stored = Run(store / "ring-seed0")
    assert not stored.is_complete and stored.recipe.name == load_recipe("ring").name
    done = run_stored(stored.recipe, stored.folder, resume=True)
    assert done.folder == stored.folder and done.summary["background"]["n_steps"] == 20_000
    # Compiled steps round otherwise since, so that another network of the same law is met at the end.
    assert abs(done.summary["background"]["loss"] - RING_LOSS) < 4 * 2**0.5 * RING_SCATTER
