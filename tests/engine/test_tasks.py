"""Tasks in many dimensions, their measures, the overlap with what counts, and tasks of other packages."""

from __future__ import annotations

import itertools
import math
from importlib import metadata

import numpy as np
import pytest
import torch

from mft_engine.experiment.experiment import Experiment
from mft_engine.points.measure import MeasureError, cube_rule, judging_measure, training_measure
from mft_engine.points.statistics import order_parameters
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.sections import TaskSection, TrainingSection
from mft_engine.tasks import REGISTRY, Task, build_task
from mft_engine.tasks.plugins import load_plugins


def task(name: str, **parameters) -> Task:
    return build_task(TaskSection.model_validate({"name": name, **parameters}))


def test_every_task_builds_without_parameters_and_takes_numpy_and_torch() -> None:
    for name in REGISTRY:
        built = task(name)
        x = np.sign(host_generator(0, Stream.TEST_POINTS).standard_normal((20, built.n_inputs)))
        values = built.target(x)
        same = built.target(torch.as_tensor(x, dtype=torch.float32))
        shape = (20,) if built.n_out == 1 else (20, built.n_out)
        assert values.shape == shape and same.dtype == torch.float32
        np.testing.assert_allclose(same.numpy(), values, rtol=1e-5, atol=1e-5)


def test_parity_is_the_product_of_its_signs() -> None:
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=5)))
    np.testing.assert_array_equal(task("parity", n_inputs=5, k=3).target(corners), corners[:, :3].prod(1))
    x = host_generator(1, Stream.TEST_POINTS).standard_normal((100, 5))
    gaussian = task("parity", n_inputs=5, k=2, inputs="gaussian")
    np.testing.assert_array_equal(gaussian.target(x), np.sign(x[:, 0] * x[:, 1]))
    assert gaussian.is_gaussian and not task("parity").is_gaussian


@pytest.mark.parametrize(("steps", "leap"), [(1, 1), (3, 1), (2, 2), (2, 3)])
def test_a_staircase_adds_its_leap_of_inputs_a_step_and_has_unit_power(steps: int, leap: int) -> None:
    corners = cube_rule(7, (1, 1), 0).inputs
    values = task("staircase", n_inputs=7, steps=steps, leap=leap).target(corners)
    terms = [corners[:, : (s + 1) * leap].prod(1) for s in range(steps)]
    np.testing.assert_allclose(values, sum(terms) / math.sqrt(steps))
    assert np.mean(values**2) == pytest.approx(1.0)


def test_the_cubic_teacher_has_unit_line_and_its_epsilon_of_cubic() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    x = np.column_stack([nodes, np.ones(20)])
    y = task("cubic-teacher", n_inputs=2, epsilon=-0.3).target(x)
    cubic = (nodes**3 - 3 * nodes) / math.sqrt(6)
    assert weights @ (y * nodes) == pytest.approx(1.0)
    assert weights @ (y * cubic) == pytest.approx(-0.3)
    assert weights @ y**2 == pytest.approx(1.09)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("parity", {"k": 0}, ["task.k = 0", "1 to 12"]),
        ("parity", {"k": 5, "n_inputs": 4}, ["task.n_inputs = 4", "5 to 1000"]),
        ("parity", {"k": 2.5}, ["task.k = 2.5", "whole number"]),
        ("parity", {"inputs": "uniform"}, ["'uniform'", "signs", "gaussian"]),
        ("parity", {"kk": 1}, ["task.kk", "n_inputs, k, inputs"]),
        ("staircase", {"leap": True}, ["task.leap = True"]),
        ("cubic-teacher", {"epsilon": math.nan}, ["task.epsilon = nan"]),
        ("cubic-teacher", {"epsilon": "big"}, ["task.epsilon = 'big'"]),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(name, parameters, words) -> None:
    with pytest.raises(RecipeError) as caught:
        task(name, **parameters)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_sign_inputs_are_the_whole_cube_where_it_is_small_and_fair_signs_elsewhere() -> None:
    small = judging_measure(TrainingSection(), task("parity", n_inputs=8), 0)
    assert len(np.unique(small.inputs, axis=0)) == 256 and small.weights.sum() == pytest.approx(1)
    for measure in (
        judging_measure(TrainingSection(), task("parity", n_inputs=30), 0),
        training_measure(TrainingSection(n_points=4000), task("parity", n_inputs=30), 0),
    ):
        assert set(np.unique(measure.inputs)) == {-1.0, 1.0}
        # A mean of n fair signs has the standard error n^-1/2; 5 of them over 30 columns.
        assert np.abs(measure.inputs.mean(0)).max() < 5 / len(measure.weights) ** 0.5


def test_batches_of_sign_tasks_are_signs_and_their_targets_are_right() -> None:
    recipe = load_recipe("parity").replace(
        {"network.n_neurons": 32, "training.batch_size": 64, "training.n_steps": 3, "engine.n_threads": 1}
    )
    experiment = Experiment(recipe)
    from mft_engine.dynamics.problem import points_at

    inputs, targets, weights = points_at(5, experiment.problem)
    assert inputs.shape == (64, 10) and set(inputs.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(targets, inputs[:, :4].prod(1))
    assert float(weights.sum()) == pytest.approx(1)
    assert experiment.advance(3) == 3


def test_the_overlap_is_the_share_of_what_counts_and_its_error_that_of_independent_neurons() -> None:
    normal = host_generator(2, Stream.TEST_POINTS).standard_normal((4000, 6))
    estimate = order_parameters(normal, 5, 2)["overlap"]
    assert abs(estimate.mean - 2 / 5) < 4 * estimate.standard_error < 0.1
    ensemble = [order_parameters(normal[k * 200 : (k + 1) * 200], 5, 2)["overlap"] for k in range(20)]
    spread = np.std([e.mean for e in ensemble], ddof=1)
    # The deviation of 20 values is known to 16 %; three of them.
    assert np.mean([e.standard_error for e in ensemble]) == pytest.approx(spread, rel=0.5)
    aligned = normal.copy()
    aligned[:, 2:5] = 0
    assert order_parameters(aligned, 5, 2)["overlap"].mean == 1.0
    assert order_parameters(normal, 5) == {}


class _Entry:
    def __init__(self, name: str, loaded) -> None:
        self.name, self.value, self._loaded = name, f"somewhere:{name}", loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_a_plug_in_loads_and_a_broken_one_is_reported_and_left_out(monkeypatch) -> None:
    def good(name, parameters):
        if parameters:
            raise KeyError("no parameters, please")
        return Task(name, "Theirs", "x1", 2, lambda x: x[:, 0])

    def check(built: Task) -> None:
        if built.name == "infinite":
            raise ValueError("the target is not finite")

    entries = [
        _Entry("theirs", good), _Entry("infinite", good), _Entry("product", good), _Entry("gone", ImportError("no x")),
        _Entry("number", 3), _Entry("wrong", lambda name, parameters: "a task"),
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries if group == "mft_lab.tasks" else [])
    found, faults = load_plugins(REGISTRY, check, {entry.name for entry in entries})
    assert list(found) == ["theirs"] and found["theirs"]("theirs", {}).title == "Theirs"
    assert len(faults) == 5
    for name, words in {"infinite": "not finite", "product": "already", "gone": "no x", "number": "not a function",
                        "wrong": "str, not a Task"}.items():  # fmt: skip
        assert any(repr(name) in fault and words in fault for fault in faults), faults
    with pytest.raises(RecipeError, match=r"theirs.*failed.*no parameters"):
        found["theirs"]("theirs", {"a": 1})


def test_more_training_points_than_there_are_is_one_sentence() -> None:
    with pytest.raises(MeasureError, match=r"xor-blobs\.csv has 400"):
        training_measure(TrainingSection(n_points=401), task("dataset"), 0)
