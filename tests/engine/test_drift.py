"""Claims about the drift gauge: young runs are noticed, stationary series pass at the stated level."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.drift import LARGEST_SHARE, Drift, judge_drift
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs.runs import load, run_stored


def stationary(seed: int, n_records: int, memory: float, n_neurons: int = 500) -> tuple[list[dict], np.ndarray]:
    """Records and clouds of independent neurons that forget themselves after `memory` records."""
    generator = host_generator(seed, Stream.TEST_POINTS)
    keep = np.exp(-1 / memory)
    theta, loss, rows, clouds = generator.normal(size=(n_neurons, 3)), generator.normal(), [], []
    for step in range(n_records):
        theta = keep * theta + np.sqrt(1 - keep**2) * generator.normal(size=theta.shape)
        loss = np.exp(-1) * loss + generator.normal()
        angle = np.arctan2(theta[:, 1], theta[:, 0])
        rows.append(
            {"step": float(step), "is_averaged": 1.0, "loss": 1 + 0.01 * loss, "cos4": np.cos(4 * angle).mean()}
        )
        clouds.append(theta)
    return rows, np.array(clouds, dtype=np.float32)


def test_no_memory_makes_halves_scatter_more_than_the_bound_says():
    x = np.geomspace(1e-3, 1e3, 10_000)
    share = 2 * (2 * (x - 1 + np.exp(-x)) - (1 - np.exp(-x)) ** 2) / x**2
    assert 0.99 * LARGEST_SHARE < share.max() <= LARGEST_SHARE


@pytest.mark.parametrize("memory", [1.0, 20.0, 200.0])
def test_stationary_runs_of_any_memory_are_steady(memory):
    """At 1 % each, 3 or more of 40 have probability .0075 at most; the bound is wider than the scatter besides."""
    steps = np.arange(60)
    found = [judge_drift(*stationary(seed, 60, memory), steps, 2, 500) for seed in range(40)]
    assert sum(one.verdict == "drifting" for one in found) <= 2
    assert all(one.verdict is not None and len(one.statistics) == 5 for one in found)


def test_a_drift_is_noticed_told_and_survives_storage():
    rows, clouds = stationary(0, 60, 5.0)
    found = judge_drift(rows, clouds * np.linspace(1.4, 1.0, 60)[:, None, None], np.arange(60), 2, 500)
    assert found.verdict == "drifting" and found.why.startswith("Still drifting: mean") and "falls" in found.why
    assert found.p_value < 0.01 and found.largest > 3
    assert Drift.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_short_window_says_nothing():
    rows, clouds = stationary(0, 5, 5.0)
    found = judge_drift(rows, clouds, np.arange(5), 2, 500)
    assert found.verdict is None and "too short" in found.why and found.largest is None


def test_a_clover_stopped_young_is_noticed_and_one_that_had_time_is_steady(tmp_path):
    """At t = 1.5 all of 20 seeds drift at N = 2,048 (docs/verdict.md); here one, and one four times as old."""
    young = run_stored(load_recipe("clover").replace({"training.time": 1.5, "foreground.method": "gibbs"}), tmp_path)
    assert young.summary["drift"]["verdict"] == "drifting"
    assert load(young.folder).answers["drift"].to_dict() == young.summary["drift"]
    old = Experiment(load_recipe("clover").replace({"network.n_neurons": 256, "training.time": 12.0}))
    while not old.is_complete:
        old.advance(1000)
    list(old.ask())
    assert old.answers["drift"].verdict == "steady" and "Steady" in old.answers["drift"].why


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"training.temperature": 0.0, "initial.law": "gaussian"}, "noise"),
     ({"foreground.field": "end"}, "averaged"), ({"foreground.background": "untrained"}, "move")],
)  # fmt: skip
def test_where_there_is_no_drift_to_measure_the_reason_is_said(changes, word):
    recipe = load_recipe("clover").replace({"network.n_neurons": 64, "training.n_steps": 100, **changes})
    experiment = Experiment(recipe)
    experiment.advance(100)
    list(experiment.ask())
    assert experiment.answers["drift"].verdict is None and word in experiment.answers["drift"].why
