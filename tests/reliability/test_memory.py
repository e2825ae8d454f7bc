"""Memory: what does not fit is said before it is asked for, and what grows with the data is done in blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from mft_engine.cli import main
from mft_engine.experiment import memory
from mft_engine.experiment.memory import TooLargeError, needed_bytes
from mft_engine.laws import planar
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs.runs import list_runs
from mft_engine.theory.bounds import cloud_score

XOR = load_recipe("continuous-xor")


def test_what_a_run_holds_is_counted():
    # 4 bytes a number: 4 copies of 2 x 1,000 x (2 + 1) neurons' weights; 8 bytes, 4 copies of 500 points.
    wide = load_recipe("clover").replace({"network.n_neurons": 1000, "foreground.n_neurons": 1000})
    assert needed_bytes(wide, 500, 2, 1) == 4 * 4 * 2 * 1000 * 3 + 8 * 4 * 500 * 3
    deep = XOR.replace({"network.n_neurons": [300, 200], "foreground.n_neurons": 10, "engine.dtype": "float64"})
    weights, fresh, features = 300 * 4 + 200 * 300 + 200, 10 * 5, 500 * 1000
    assert needed_bytes(deep, 1000, 4, 1) == 8 * (4 * (weights + fresh) + 3 * features) + 8 * 4 * 1000 * 5


@pytest.mark.parametrize(
    "words",
    [["clover", "--set", "network.n_neurons=4000000"],
     ["continuous-xor", "--set", "network.n_neurons=[4096,4096]"],
     ["continuous-xor", "--set", "network.n_neurons=[4096,4096,4096]"]],
    ids=["wide", "deep and wide", "three layers"],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_refused_in_a_sentence_before_anything_is_computed(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000_000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
    with pytest.raises(SystemExit) as stopped:
        main(["run", *words, "--out", str(tmp_path)])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and "GB are needed and 0.1 GB are free" in said and "fewer neurons or points" in said
    assert all(row["state"] == "failed" for row in list_runs(tmp_path))


def test_what_fits_is_let_through(monkeypatch):
    memory.require_memory(1000)
    with pytest.raises(TooLargeError):
        memory.require_memory(10**18)


def test_a_field_of_many_points_is_the_same_block_by_block(monkeypatch):
    generator = host_generator(0, Stream.TEST_POINTS)
    points, signal = generator.standard_normal((2500, 2)), generator.standard_normal(2500) / 2500
    arguments = ("relu_tanh", 0.05, 0.1, 0.1)
    whole = planar.PlanarLaw.from_field(points, signal, *arguments, n_radii=40, n_angles=60).field
    monkeypatch.setattr(planar, "MAX_KEPT_BYTES", 0)
    blocks = planar.PlanarLaw.from_field(points, signal, *arguments, n_radii=40, n_angles=60).field
    # Single precision adds 2,500 numbers of size 1 / 2,500 in another order: 2,500 roundings of 6e-8 at the most.
    np.testing.assert_allclose(blocks, whole, atol=2500 * 6e-8 * np.abs(signal).max() * np.abs(points).max() * 9)


def test_the_score_of_a_cloud_is_the_same_in_small_blocks(monkeypatch):
    from mft_engine.theory import bounds

    generator = host_generator(1, Stream.TEST_POINTS)
    theta, points = generator.standard_normal((60, 3)), generator.standard_normal((40, 2))
    arguments = (theta, points, np.sin(points[:, 0]), "tanh", 0.05, 0.1, 0.1)
    whole = cloud_score(*arguments)
    monkeypatch.setattr(bounds, "MAX_BLOCK", 400)
    np.testing.assert_allclose(cloud_score(*arguments), whole, rtol=1e-12, atol=1e-12)


PROGRAM = """
import resource, sys
from mft_engine.recipe import recipe_from_dict, load_recipe
from mft_engine.experiment.experiment import Experiment
tree = load_recipe("clover").model_dump(mode="json")
tree["task"] = {"name": "dataset", "path": sys.argv[1]}
tree["network"]["n_neurons"] = tree["foreground"]["n_neurons"] = int(sys.argv[2])
tree["training"].update(n_steps=3)
tree["comparison"]["n_permutations"] = 99
tree["engine"].update(device="cpu", n_threads=1)
for event in Experiment(recipe_from_dict(tree)):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, event.summary["comparison"]["energy_distance"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("n_rows", "n_neurons", "most"), [(100_000, 8, 1500)])
def test_the_memory_of_large_data_stays_small_to_the_last_answer(n_rows, n_neurons, most, tmp_path: Path):
    """Megabytes of the whole program; it was 10,000 for the first of them."""
    x = host_generator(2, Stream.TEST_POINTS).standard_normal((n_rows, 2))
    np.savez(tmp_path / "rows.npz", x=x, y=x[:, 0] * x[:, 1])
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "rows.npz"), str(n_neurons)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) < most
