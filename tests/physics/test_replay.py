"""Replay: fresh neurons in the residual of every step of the training are distributed like the trained ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.replay import distances, slope
from mft_engine.dynamics import Hyper
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.replay import replay
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.runs import checkpoint

FREE = load_recipe("sgd-clover-free").replace(
    {"engine.n_threads": 1, "network.n_neurons": 512, "foreground.n_neurons": 512}
)
REPLAY = FREE.replace({"foreground.method": "replay"})


def trained(recipe, n_steps: int | None = None) -> Experiment:
    experiment = Experiment(recipe)
    while not experiment.is_complete and (n_steps is None or experiment.state.step < n_steps):
        experiment.advance(1000 if n_steps is None else n_steps - experiment.state.step)
    return experiment


def replayed_from_its_own_start(experiment: Experiment) -> torch.Tensor:
    start = experiment.setting.tensor(experiment.background.initial_theta)

    def plan(hyper: Hyper, step_size: float):
        return experiment.sampler.plan(0, hyper, step_size)

    *_, theta = replay(
        start, start, experiment.problem, experiment.background.path, experiment.state.step, plan,
        experiment.state.theta.shape[0] ** (experiment.setting.foreground_exponent(experiment.recipe) - 1.0),
        experiment.setting.movers[0],
    )  # fmt: skip
    return theta


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.rule": "batch", "training.batch_size": 64},
        {"training.rule_rotates": True},
        {"training.n_points": 40, "training.batch_size": 8},
        {"network.readout_exponent": 0.75},
    ],
    ids=["rule", "batch", "turning", "points", "exponent"],
)
def test_without_noise_the_backgrounds_own_start_is_led_to_its_own_end(changes) -> None:
    # In float64 the two differ by the order of sums alone; after 60 stable steps that is far below 1e-9.
    experiment = trained(FREE.replace({"engine.dtype": "float64", "training.n_steps": 60, **changes}))
    torch.testing.assert_close(replayed_from_its_own_start(experiment), experiment.state.theta, rtol=0, atol=1e-9)


def test_changes_on_the_way_are_replayed_live_and_after_a_resumption(tmp_path) -> None:
    recipe = FREE.replace({"engine.dtype": "float64", "training.n_steps": 60})
    live = trained(recipe, 25)
    before = live.recipe
    live.retune(before.replace({"regularisation.scale": 0.05}))
    written = live.schedule_of(recipe, before, live.recipe)
    live.advance(20)
    end = replayed_from_its_own_start(live)
    torch.testing.assert_close(end, live.state.theta, rtol=0, atol=1e-9)
    unchanged = trained(recipe, 45).state.theta
    assert (live.state.theta - unchanged).abs().max() > 1e-3, "the change left no trace, so nothing was tested"
    resumed = Experiment(written)
    checkpoint.unpack(resumed, *checkpoint.pack(live))
    torch.testing.assert_close(replayed_from_its_own_start(resumed), end, rtol=0, atol=0)


def test_the_path_decides_where_the_last_field_does_not() -> None:
    # p of a right law is uniform: below .01 in one of 100. The frozen field's ratio is 2 to 3 at this width.
    experiment = trained(REPLAY.replace({"network.n_neurons": 2048, "foreground.n_neurons": 2048}))
    *_, ready = experiment.foreground()
    list(experiment.compare())
    assert ready.method == "replay" and experiment.comparison.verdict == "consistent"
    assert experiment.comparison.ratio < 2
    experiment.retune(experiment.recipe.replace({"foreground.method": "dynamics"}))
    list(experiment.foreground())
    list(experiment.compare())
    assert experiment.comparison.verdict == "inconsistent" and experiment.comparison.p_value < 0.01


def test_fresh_draws_and_fresh_noise_differ() -> None:
    experiment = trained(load_recipe("clover").replace(
        {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.n_steps": 30, "foreground.method": "replay"}
    ))  # fmt: skip
    first, second = (list(experiment.foreground())[-1].theta for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    own = replayed_from_its_own_start(experiment)
    # With Langevin noise of its own even the same start goes elsewhere, by the order of the noise.
    assert (own - experiment.state.theta).abs().max() > 0.1


def test_an_untrained_background_leaves_fresh_neurons_where_they_start() -> None:
    experiment = Experiment(REPLAY.replace({"foreground.background": "untrained"}))
    *_, ready = experiment.foreground()
    assert 0.9 < ready.theta.std() < 1.1  # N(0, 1): 512 x 3 numbers have the relative error 0.018


def test_what_has_no_path_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"gibbs.*has none"):
        load_recipe("clover").replace({"foreground.method": "replay", "training.dynamics": "gibbs"})


def test_minibatches_make_common_noise_that_replay_knows() -> None:
    # Measured at N = 1024, three seeds: replay .42-.92, frozen last field 3.7-6.7.
    recipe = REPLAY.replace({
        "training.rule": "batch", "training.batch_size": 256, "network.n_neurons": 1024, "foreground.n_neurons": 1024,
    })  # fmt: skip
    experiment = trained(recipe)
    list(experiment.foreground())
    list(experiment.compare())
    assert experiment.comparison.verdict == "consistent"


@pytest.mark.slow
def test_the_distance_of_the_replayed_cloud_falls_as_one_over_root_n() -> None:
    widths = (128, 256, 512, 1024, 2048, 4096)
    found = [[distances(FREE, width, seed) for seed in range(5)] for width in widths]
    value, error = slope(widths, np.array([[row["replay"] for row in rows] for rows in found]))
    assert -0.65 < value < -0.35 and error < 0.1
    frozen, _ = slope(widths, np.array([[row["frozen"] for row in rows] for rows in found]))
    assert frozen > value + 0.1, "the last field alone must do worse as the width grows"
