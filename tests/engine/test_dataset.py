"""Data of one's own: what is read, how it is split and standardised, and a sentence for every broken file."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.points.measure import judging_measure, training_measure
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.sections import TaskSection, TrainingSection
from mft_engine.tasks import Task, build_task

TABLE = "a,b,y\n1,2,3\n4,5,6\n7,9,9\n"


def dataset(path: Path, **parameters) -> Task:
    return build_task(TaskSection.model_validate({"name": "dataset", "path": str(path), **parameters}))


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace(",", "  "),
        "\ufeff" + TABLE,
        TABLE.replace("\n", "\r\n"),
        "\n" + TABLE + "\n\n",
        '"a","b","y"\n"1",2,3\n4,5,6\n7,9,9',
        TABLE.split("\n", 1)[1],
    ],
    ids=["comma", "semicolon", "tab", "spaces", "bom", "crlf", "blank lines", "quotes", "no header"],
)
def test_every_usual_way_to_write_a_table_gives_the_same_numbers(tmp_path, text) -> None:
    points = dataset(written(tmp_path, text), standardise=False).points
    np.testing.assert_array_equal(points.inputs, [[1, 2], [4, 5], [7, 9]])
    np.testing.assert_array_equal(points.targets, [3, 6, 9])


def test_columns_are_chosen_by_name_or_number(tmp_path) -> None:
    path = written(tmp_path, TABLE)
    points = dataset(path, target="a", inputs=["y", "b"], standardise=False).points
    np.testing.assert_array_equal(points.inputs[0], [3, 2])
    np.testing.assert_array_equal(points.targets, [1, 4, 7])
    same = dataset(path, target=1, inputs=[3, 2], standardise=False).points
    np.testing.assert_array_equal(same.inputs, points.inputs)


def test_an_npz_gives_its_arrays(tmp_path) -> None:
    path = tmp_path / "t.npz"
    x, y = np.arange(12.0).reshape(4, 3), np.array([1, -1, 1, -1])
    np.savez(path, x=x, y=y)
    points = dataset(path, standardise=False).points
    np.testing.assert_array_equal(points.inputs, x)
    np.testing.assert_array_equal(points.targets, y)
    np.testing.assert_array_equal(dataset(path, target="x2", inputs=["y"], standardise=False).points.targets, x[:, 1])


def test_standardised_means_by_the_training_part_alone(tmp_path) -> None:
    rows = "\n".join(f"{k},{k * k},{3 * k + 1}" for k in range(100))
    points = dataset(written(tmp_path, rows), train_fraction=0.8).points
    assert points.inputs.shape == (80, 2) and points.test_inputs.shape == (20, 2)
    np.testing.assert_allclose(points.inputs.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(points.inputs.std(0), 1)
    np.testing.assert_allclose([points.targets.mean(), points.targets.std()], [0, 1], atol=1e-12)
    # The same linear map for both parts: the target is the first input here.
    np.testing.assert_allclose(points.test_targets, points.test_inputs[:, 0])
    other = dataset(written(tmp_path, rows), train_fraction=0.8, split=1).points
    assert not np.array_equal(other.inputs, points.inputs)


def test_training_takes_so_many_points_and_the_test_those_held_back(tmp_path) -> None:
    rows = "\n".join(f"{k},{(-1) ** k},{k % 7}" for k in range(50))
    task = dataset(written(tmp_path, rows), train_fraction=0.6)
    some = training_measure(TrainingSection(n_points=10), task, 3)
    assert some.inputs.shape == (10, 2) and some.weights.sum() == pytest.approx(1)
    training = {tuple(row) for row in task.points.inputs}
    assert {tuple(row) for row in some.inputs} <= training
    held_back = judging_measure(TrainingSection(), task, 3)
    assert len(held_back.weights) == 20 and held_back.targets is task.points.test_targets


def test_equal_inputs_keep_their_different_targets(tmp_path) -> None:
    experiment = Experiment(load_recipe("clover").replace({
        "task.name": "dataset", "task.path": str(written(tmp_path, "0,1,1\n0,1,3\n1,0,2\n1,1,5")),
        "task.standardise": False, "network.n_neurons": 8, "engine.n_threads": 1,
    }))  # fmt: skip
    np.testing.assert_array_equal(experiment.field_points.targets, [1, 3, 2, 5])


def test_the_sample_runs_to_its_end_and_reports_both_losses(tmp_path) -> None:
    recipe = load_recipe("clover").replace({
        "task.name": "dataset", "task.train_fraction": 0.5, "network.n_neurons": 64, "foreground.n_neurons": 64,
        "training.n_steps": 60, "comparison.n_permutations": 99, "engine.n_threads": 1,
    })  # fmt: skip
    *_, finished = Experiment(recipe)
    background = finished.summary["background"]
    assert background["test_loss"] is not None and background["test_loss"] != background["loss"]
    # The exact solver takes the same 200 points: the blobs are nearly separable, so it learns most of them.
    assert finished.summary["theory"]["loss"] < 0.5 * 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["t.csv is empty"]),
        ("\n\n", ["t.csv is empty"]),
        ("a,b\n", ["no rows"]),
        ("a\n1\n2\n", ["1 column"]),
        ("a,b,y\n1,2\n", ["line 2", "2 cells", "3"]),
        ("a,b,y\n1,2,3\n1,x,3\n", ["line 3", "'b'", "'x' is not a number"]),
        ("a,b,y\n1,,3\n", ["line 2", "'b'", "empty"]),
        ("a,b,y\n1,nan,3\n", ["line 2", "'b'", "not finite"]),
        ("a,b,y\n1,1e999,3\n", ["line 2", "'b'", "not finite"]),
        ("a,a,y\n1,2,3\n", ["two columns named 'a'"]),
        ('a,b,y\n"1,2,3\n', ["not a table"]),
        (b"a,b\n\x00\xff,1", ["UTF-8", "byte 6"]),
        ("a,b,y\n1,2,3\n1,4,5\n", ["'a'", "same in all", "standardise = false"]),
        (b"PK\x03\x04 this is no archive", ["NPZ"]),
    ],
)
def test_a_broken_file_is_answered_with_the_place_of_its_fault(tmp_path, text, words) -> None:
    with pytest.raises(RecipeError) as caught:
        dataset(written(tmp_path, text))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_archives_that_run_code_or_grow_are_refused(tmp_path) -> None:
    evil = tmp_path / "evil.npz"
    np.savez(evil, x=np.array([os.system], dtype=object), y=np.zeros(1))
    with pytest.raises(RecipeError, match="plain arrays"):
        dataset(evil)
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(60):
            member.write(b"\0" * 10_000_000)
    with pytest.raises(RecipeError, match="unpacks to 600 MB"):
        dataset(bomb)
    uneven = tmp_path / "uneven.npz"
    np.savez(uneven, x=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(RecipeError, match="differ in their number of rows"):
        dataset(uneven)
    complex_ = tmp_path / "complex.npz"
    np.savez(complex_, x=np.zeros((3, 2), complex), y=np.zeros(3))
    with pytest.raises(RecipeError, match="real numbers"):
        dataset(complex_)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"path": "/nowhere/t.csv"}, ["/nowhere/t.csv", "no such file"]),
        ({"path": "/"}, ["no such file"]),
        ({"path": "a\0b"}, ["path"]),
        ({"path": 3}, ["task.path = 3", "text"]),
        ({"target": "z"}, ["task.target = 'z'", "height, width, class"]),
        ({"target": 9}, ["task.target = 9", "1 to 3"]),
        ({"inputs": []}, ["task.inputs = []"]),
        ({"inputs": ["width", "width"]}, ["different columns"]),
        ({"inputs": ["class"]}, ["target already"]),
        ({"train_fraction": 0}, ["task.train_fraction = 0"]),
        ({"standardise": "yes"}, ["task.standardise = 'yes'"]),
        ({"colour": 1}, ["task.colour", "path"]),
    ],
)
def test_bad_parameters_are_named(parameters, words) -> None:
    with pytest.raises(RecipeError) as caught:
        build_task(TaskSection.model_validate({"name": "dataset", **parameters}))
    assert all(word in str(caught.value) for word in words), str(caught.value)
