"""A stored run, or an uploaded cloud, as the background that a foreground reacts to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.figures.export import export_run
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.runs.runs import run_stored

SMALL = {"network.n_neurons": 512, "foreground.n_neurons": 512, "training.time": 12.0, "comparison.n_permutations": 199}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stored = run_stored(load_recipe("clover-warm").replace(SMALL), tmp_path_factory.mktemp("runs"))
    return Path(stored.summary["run_dir"])


def _with(background: str | Path) -> Recipe:
    return load_recipe("clover-warm").replace({**SMALL, "foreground.background": str(background)})


def test_the_background_of_a_stored_run_keeps_its_cloud_and_its_averaged_field(folder: Path) -> None:
    first = run_stored(_with("trained"), folder.parent)
    *_, finished = Experiment(_with(folder))
    assert np.array_equal(finished.outcome.background.theta, first.background.theta.numpy())
    np.testing.assert_allclose(finished.outcome.background.prediction, first.background.prediction.numpy())
    assert finished.summary["background"]["kind"] == "stored" and finished.summary["background"]["n_steps"] == 0
    assert finished.summary["comparison"]["verdict"] == "consistent"


def test_an_exported_cloud_is_a_background_too_with_its_present_function(folder: Path, tmp_path: Path) -> None:
    export_run(folder, tmp_path, figures=[], wrong=None, formats=["png"], width_mm=85.0, has_caption=False,
               animations=[], data=["npz"])  # fmt: skip
    (file,) = tmp_path.glob("*.npz")
    experiment = Experiment(_with(file))
    theta = np.load(file)["background"]
    assert experiment.is_complete and experiment.advance(10) == 0
    points = experiment.field_points
    phi = np.maximum(0, np.tanh(points.inputs @ theta[:, :2].T))
    np.testing.assert_allclose(
        experiment.background.mean_prediction().numpy(), phi @ theta[:, 2] / len(theta), atol=1e-4
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"other": np.zeros((3, 3))}, ["no array 'background'", "other"]),
        ({"background": np.zeros((3, 5))}, ["(3, 5)", "3 columns"]),
        ({"background": np.full((3, 3), np.nan)}, ["finite"]),
        (b"not a zip file", ["foreground.background", "cannot be read as an NPZ file"]),
        (None, ["trained", "lazy", "untrained", ".npz"]),
    ],
)
def test_a_background_that_cannot_be_used_is_refused_with_the_reason(content, words, tmp_path: Path) -> None:
    path = tmp_path / "cloud.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as error:
        Experiment(_with(path))
    for word in words:
        assert word in str(error.value)
