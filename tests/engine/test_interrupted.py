"""Claims about every kind of experiment: interrupted anywhere and resumed it ends with the bits of one that was not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mft_engine.experiment.history import History
from mft_engine.experiment.storage import checkpoint_bytes, read_checkpoint, write_atomically
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs.runs import Run, load, run_stored

TINY = {
    "foreground.n_neurons": 24,
    "comparison.n_permutations": 99,
    "training.n_steps": 200,
    "engine.device": "cpu",
    "engine.n_threads": 1,
    "theory.n_particles": 512,
}
WIDTHS = {"network.n_neurons": 24}
# The law of two hidden layers takes minutes.
UNASKED = {"theory.n_particles": 0}

KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "langevin": ("clover", WIDTHS),
    "fixed step": ("clover", WIDTHS | {"training.step_size": 0.001}),
    "turning rule": ("clover", WIDTHS | {"training.rule_rotates": True}),
    "minibatches": ("clover", WIDTHS | {"training.rule": "batch", "training.batch_size": 64}),
    "training points": ("clover", WIDTHS | {"training.n_points": 40}),
    "gibbs": ("clover", WIDTHS | {"training.dynamics": "gibbs", "foreground.method": "gibbs"}),
    "finite width": ("clover", WIDTHS | {"foreground.method": "finite-width"}),
    "lazy background": ("clover-wrong", WIDTHS),
    "gradient descent": ("sgd-clover-free", WIDTHS),
    "replay": ("sgd-clover-replay", WIDTHS),
    "adam": ("adam-clover", WIDTHS),
    "adam, several readouts": ("grokking", {"network.n_neurons": 24, "task.modulus": 5, "foreground.n_steps": 60}),
    "several readouts": ("modular-addition", {"network.n_neurons": 24, "task.modulus": 5}),
    "directions": ("staircase", WIDTHS),
    "digits": ("digits", WIDTHS),
    "two hidden layers": ("continuous-xor", UNASKED | {"network.n_neurons": [12, 16]}),
    "two hidden layers, moved": (
        "continuous-xor",
        UNASKED | {"network.n_neurons": [12, 16], "foreground.method": "dynamics"},
    ),
    "two hidden layers, lazy": (
        "continuous-xor",
        UNASKED | {"network.n_neurons": [12, 16], "foreground.background": "lazy"},
    ),
    "three hidden layers": ("continuous-xor", {"network.n_neurons": [8, 8, 8], "network.activation": "tanh"}),
}
# What differs between two runs of the same recipe.
CLOCKS = {"seconds", "steps_per_second", "run_dir"}


def recipe_of(kind: str) -> Recipe:
    name, changes = KINDS[kind]
    return load_recipe(name).replace({**TINY, **changes})


def interrupted(recipe: Recipe, parent, part: str, fraction: float) -> Run:
    """A run that was stopped as by Ctrl-C, at the first report of a part that is at least as far as `fraction`."""

    def stop(told: str, done: float, text: str) -> None:
        if told == part and done >= fraction:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stored(recipe, parent, report=stop)
    (folder,) = parent.iterdir()
    return Run(folder)


def numbers(document):
    """A summary without what only the clock decides."""
    if isinstance(document, dict):
        return {key: numbers(value) for key, value in document.items() if key not in CLOCKS}
    return [numbers(item) for item in document] if isinstance(document, list) else document


def assert_equal(found: Run, expected: Run) -> None:
    assert json.dumps(numbers(found.summary)) == json.dumps(numbers(expected.summary))
    one, other = load(found.folder), load(expected.folder)
    assert one.summary["faults"] == other.summary["faults"] == []
    for mine, theirs in ((one.background, other.background), (one.foreground, other.foreground)):
        assert [c.names for c in mine.clouds] == [c.names for c in theirs.clouds]
        for cloud, like in zip(mine.clouds, theirs.clouds, strict=True):
            np.testing.assert_array_equal(cloud.theta, like.theta)
        np.testing.assert_array_equal(mine.prediction, theirs.prediction)
    for name, column in one.metrics.items():
        np.testing.assert_array_equal(column, other.metrics[name])
    for name, tensor in found.read_checkpoint()[0].items():
        np.testing.assert_array_equal(tensor, expected.read_checkpoint()[0][name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_interrupted_in_training_ends_with_the_bits_of_one_that_was_not(kind, tmp_path):
    recipe = recipe_of(kind)
    whole = run_stored(recipe, tmp_path / "whole")
    stopped = interrupted(recipe, tmp_path / "stopped", "train", 0.4)
    assert stopped.state == "interrupted" and len(stopped.outcome.background.clouds) == recipe.network.n_layers
    assert_equal(run_stored(recipe, tmp_path / "stopped", resume=True), whole)


@pytest.mark.parametrize("kind", ["langevin", "several readouts", "two hidden layers"])
def test_a_run_interrupted_in_its_foreground_ends_with_the_bits_of_one_that_was_not(kind, tmp_path):
    recipe = recipe_of(kind)
    whole = run_stored(recipe, tmp_path / "whole")
    interrupted(recipe, tmp_path / "stopped", "foreground", 0.3)
    assert_equal(run_stored(recipe, tmp_path / "stopped", resume=True), whole)


def test_a_number_of_a_checkpoint_comes_back_with_no_dimension(tmp_path):
    arrays = {
        "number": np.array(5),
        "row": np.arange(3),
        "empty": np.zeros((0, 2)),
        "turned": np.arange(6).reshape(2, 3).T,
    }
    write_atomically(tmp_path / "checkpoint", checkpoint_bytes(arrays, {}))
    found, _ = read_checkpoint(tmp_path / "checkpoint", "")
    assert {name: array.shape for name, array in found.items()} == {n: a.shape for n, a in arrays.items()}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_checkpoint_of_version_0_1_whose_numbers_had_a_dimension_still_resumes(tmp_path, monkeypatch):
    """Up to version 0.1 numbers were stored as arrays of one entry."""
    recipe = recipe_of("two hidden layers")
    whole = run_stored(recipe, tmp_path / "whole")
    stopped = interrupted(recipe, tmp_path / "stopped", "train", 0.6)
    arrays, values = stopped.read_checkpoint()
    old = {name: np.atleast_1d(array) for name, array in arrays.items()}
    assert any(array.ndim == 0 for array in arrays.values())
    stopped.save_checkpoint(old, values)
    assert_equal(run_stored(recipe, tmp_path / "stopped", resume=True), whole)


def test_every_layer_of_a_stored_run_is_what_the_live_one_had(tmp_path):
    from mft_engine.experiment.experiment import Experiment

    recipe = recipe_of("two hidden layers")
    *_, last = Experiment(recipe)
    live, stored = last.outcome, load(run_stored(recipe, tmp_path).folder)
    assert len(live.background.clouds) == len(stored.foreground.clouds) == len(stored.comparisons) == 2
    for mine, theirs in ((stored.background, live.background), (stored.foreground, live.foreground)):
        for cloud, like in zip(mine.clouds, theirs.clouds, strict=True):
            assert cloud.names == like.names
            np.testing.assert_array_equal(cloud.theta, like.theta)
    for found, like in zip(stored.comparisons, live.comparisons, strict=True):
        assert found.to_dict() == like.to_dict()
        np.testing.assert_array_equal(found.null, like.null)
    assert stored.background.clouds[0].names[-1] == "v" and stored.background.clouds[1].names[-1] == "b"
    assert all(math.isfinite(c.p_value) for c in stored.comparisons)


def test_what_went_on_names_its_numbers_in_the_order_of_what_never_stopped():
    """Files keep arrays by name: overlap_uv came before overlap_v in the summary of a run that had been interrupted."""
    row = {"step": 1.0, "overlap_u": 0.1, "overlap_v": 0.2, "overlap_uv": 0.3}
    history = History(10)
    history.add_rows([row])
    arrays, values = history.pack()
    again = History(10)
    again.unpack(dict(sorted(arrays.items())), json.loads(json.dumps(values)))
    assert list(again.rows[0].items()) == list(row.items())
