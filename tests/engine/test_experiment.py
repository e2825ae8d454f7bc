"""The experiment: the same numbers however it is driven, and neurons that stay when a slider moves."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from mft_engine.dynamics import Diverged
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    Finished,
    ForegroundReady,
    ReferencesReady,
    Snapshot,
    TheoryReady,
)
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions.table import QUESTIONS
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.runs.checkpoint import pack, unpack
from mft_engine.slices import Pace

SMALL = {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.time": 0.6, "comparison.n_permutations": 99}


def small(name: str = "clover", **changes: object) -> Recipe:
    return load_recipe(name).replace({**SMALL, **{k.replace("__", "."): v for k, v in changes.items()}})


def trained(recipe: Recipe, slices: int = 1000) -> Experiment:
    experiment = Experiment(recipe, kernel="reference")
    while not experiment.is_complete:
        experiment.advance(slices)
    return experiment


def test_the_whole_recipe_is_told_in_order() -> None:
    events = [e for e in Experiment(small(), kernel="reference") if type(e).__name__ != "Progress"]
    assert [type(e) for e in events] == [
        Snapshot, ForegroundReady, ComparisonReady, TheoryReady, ReferencesReady, CertificateReady,
        *[Answered] * len(QUESTIONS), DataKernelsReady, Finished,
    ]  # fmt: skip
    summary = events[-1].summary
    assert summary["schema"] == "mft-lab/summary/1"
    assert summary["background"]["kind"] == "trained" and summary["foreground"]["n_neurons"] == 64
    assert summary["comparison"]["verdict"] in ("consistent", "close", "inconsistent")
    kernels = events[-2].kernels
    assert summary["kernel"]["foreground"]["eigenvalues"] == kernels.foreground.eigenvalues[:10].tolist()
    assert summary["kernel"]["change"] == pytest.approx(summary["feature_learning"]["kernel_change"], rel=1e-4)
    assert 0 < summary["kernel"]["p_value"] <= 1 and kernels.background_maps is not None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training__rule_rotates": True},
        {"training__rule": "batch", "training__batch_size": 64},
        {"training__n_points": 50},
        {"training__n_points": 50, "training__batch_size": 16},
        {"training__integrator": "euler", "training__step_size": 0.003},
        {"training__dynamics": "gibbs"},
    ],
)
def test_any_split_of_the_steps_gives_the_same_bits(changes: dict[str, object]) -> None:
    recipe = small(training__n_steps=137, **changes)
    whole, parts = trained(recipe), Experiment(recipe, kernel="reference")
    for n in (1, 2, 49, 1, 30, 7, 1000):
        parts.advance(n)
    assert parts.is_complete and parts.state.step == whole.state.step == 137
    assert torch.equal(parts.state.theta, whole.state.theta)
    assert torch.equal(parts.state.prediction_sum, whole.state.prediction_sum)
    assert parts.state.time == whole.state.time and parts.background.loss == whole.background.loss
    assert parts.history.rows == whole.history.rows


def test_the_clocks_slices_leave_no_trace_in_the_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = []
    for seconds in (1e-9, 10.0):
        monkeypatch.setattr("mft_engine.field.walk.Pace", functools.partial(Pace, seconds))
        experiment = trained(small())
        list(experiment.foreground())
        clouds.append(experiment.fresh.theta)
    assert np.array_equal(*clouds)


def test_training_stops_exactly_at_the_recipes_last_step_and_goes_on_beyond_it_on_demand() -> None:
    experiment = trained(small(training__n_steps=120))
    assert experiment.advance(50) == 0
    assert experiment.advance(50, beyond=True) == 50 and experiment.state.step == 170


def test_another_seed_gives_other_neurons_and_the_same_seed_the_same() -> None:
    first, again, other = trained(small()), trained(small()), trained(small(seed=1))
    assert torch.equal(first.state.theta, again.state.theta)
    assert not torch.allclose(first.state.theta, other.state.theta, atol=0.1)


def test_a_second_foreground_is_a_fresh_draw() -> None:
    experiment = trained(small())
    list(experiment.foreground())
    first = experiment.fresh.theta
    list(experiment.foreground())
    assert not np.allclose(first, experiment.fresh.theta, atol=0.1)


def test_an_exact_foreground_beyond_the_plane_reports_how_its_chains_fared() -> None:
    recipe = small(task__name="expression", task__expression="x1*x2*x3", training__rule="sobol",
                   training__rule_size=[16, 16], foreground__method="gibbs", theory__n_particles=512)  # fmt: skip
    foreground = list(Experiment(recipe, kernel="reference"))[-1].summary["foreground"]
    assert 0.2 < foreground["acceptance"] < 0.95
    assert foreground["effective_sample_size"] >= 64 and abs(foreground["drift"]) <= 4


def test_an_exact_foreground_is_redrawn_in_the_same_field_under_new_hyperparameters() -> None:
    experiment = trained(small(foreground__method="gibbs"))
    assert experiment.redraw() is None
    list(experiment.foreground())
    shown = experiment.fresh.theta
    np.testing.assert_allclose(experiment.redraw().theta, shown, rtol=1e-6)
    experiment.advance(50, beyond=True)
    experiment.retune(experiment.recipe.replace({"regularisation.scale": 0.1}))
    redrawn = experiment.redraw().theta
    # A hundred times the regularisation pulls the readouts in; the same random numbers keep the order of the neurons.
    assert np.abs(redrawn[:, 2]).mean() < 0.3 * np.abs(shown[:, 2]).mean()
    assert experiment.comparison is None and experiment.fresh is None


def test_a_new_regularisation_keeps_the_neurons_and_restarts_the_averages() -> None:
    experiment = trained(small())
    before = experiment.state.theta.clone()
    experiment.retune(experiment.recipe.replace({"regularisation.scale": 0.01}))
    assert torch.equal(experiment.state.theta, before)
    assert experiment.state.n_predictions == 0 and experiment.state.average_age == 0
    experiment.advance(5, beyond=True)
    assert experiment.state.n_predictions == 5
    assert not torch.equal(experiment.state.theta, before)


def test_a_change_that_needs_a_new_run_is_refused() -> None:
    experiment = trained(small())
    with pytest.raises(RecipeError, match="new run"):
        experiment.retune(experiment.recipe.replace({"network.activation": "tanh"}))


def test_a_scheduled_change_replays_a_drag_bit_for_bit() -> None:
    recipe = small(training__n_steps=200)
    dragged = Experiment(recipe, kernel="reference")
    dragged.advance(73)
    changed = recipe.replace({"regularisation.scale": 0.004, "training.temperature": 0.03})
    written = dragged.schedule_of(recipe, recipe, changed)
    dragged.retune(changed)
    dragged.advance(1000)
    assert [(c.step, c.path, c.value) for c in written.schedule] == [
        (73, "regularisation.scale", 0.004),
        (73, "training.temperature", 0.03),
    ]
    replayed = trained(written, slices=1000)
    assert torch.equal(replayed.state.theta, dragged.state.theta)


@pytest.mark.parametrize("changes", [{}, {"training__rule_rotates": True}, {"training__dynamics": "gibbs"}])
def test_a_restored_checkpoint_goes_on_bit_for_bit(changes: dict[str, object]) -> None:
    recipe = small(training__n_steps=180, **changes)
    recipe = recipe.model_copy(
        update={"schedule": recipe.schedule + trained(recipe).schedule_of(recipe, recipe, recipe.replace(
            {"regularisation.scale": 0.002})).schedule}
    )  # fmt: skip
    whole, broken = trained(recipe), Experiment(recipe, kernel="reference")
    broken.advance(91)
    arrays, numbers = pack(broken)
    restored = Experiment(recipe, kernel="reference")
    unpack(restored, arrays, numbers)
    restored.advance(1000)
    assert torch.equal(restored.state.theta, whole.state.theta)
    assert restored.history.rows == whole.history.rows
    assert restored.background.loss == whole.background.loss


def test_doubling_the_neurons_leaves_the_loss_curve_in_place() -> None:
    """At temperature 0 from N(0, 1): the two curves differ by the finite-width noise of f, Tr C/N at the start.

    Tr C = Var(a phi) < 0.5 there, so loss differs by about 2 |r| sqrt(0.5/N) + 0.5/N: 0.06 at N = 1024 with |r| = 1;
    a drift that scaled with N (or its inverse) would leave the curves a factor two apart in time.
    """
    curves = []
    for n in (1024, 2048):
        recipe = load_recipe("sgd-clover-free").replace({"network.n_neurons": n, "training.n_steps": 300})
        curves.append(trained(recipe).metrics()["loss"])
    assert np.abs(curves[0] - curves[1]).max() < 0.06
    assert curves[0][-1] < 0.85 * curves[0][0]


def test_the_untrained_background_is_the_initial_cloud() -> None:
    experiment = Experiment(small(foreground__background="untrained"), kernel="reference")
    finished = list(experiment)[-1]
    assert np.array_equal(finished.outcome.background.theta, finished.outcome.initial_theta)
    assert finished.summary["background"]["kind"] == "untrained" and finished.summary["background"]["n_steps"] == 0


def test_the_lazy_background_has_exponent_one_half_and_its_foreground_one() -> None:
    experiment = Experiment(small(foreground__background="lazy"), kernel="reference")
    assert experiment.problem.readout_exponent == 0.5
    finished = list(experiment)[-1]
    assert finished.summary["background"]["kind"] == "lazy"
    # A foreground of exponent one averages its readouts; with exponent one half it would be 8 times as large.
    foreground = finished.outcome.foreground
    phi = np.maximum(0, np.tanh(finished.outcome.points.inputs @ foreground.theta[:, :2].T))
    np.testing.assert_allclose(foreground.prediction, phi @ foreground.theta[:, 2] / 64, atol=1e-4)


def test_a_run_that_diverges_says_at_which_step_and_what_to_do_and_keeps_the_last_state() -> None:
    experiment = Experiment(
        load_recipe("sgd-clover-free").replace({"network.n_neurons": 32, "training.step_size": 900.0,
                                                "regularisation.scale": 1.0}), kernel="reference")  # fmt: skip
    with pytest.raises(Diverged, match=r"diverged at step \d+.*training\.step_size to .*auto"):
        for _ in range(100):
            experiment.advance(10)
    assert torch.isfinite(experiment.state.theta).all()


def test_a_step_beyond_the_stable_range_is_reported_and_never_consistent() -> None:
    recipe = small(network__n_neurons=512, training__step_size=0.008, training__n_steps=400)
    finished = list(Experiment(recipe, kernel="reference"))[-1]
    background = finished.summary["background"]
    assert background["eta_theta"] > 1.5
    assert "largest safe step size" in background["warning"]


def test_an_odd_activation_sees_nothing_of_an_even_target() -> None:
    """E[y phi(w.x)] = 0 for every neuron, to rounding of a rule with antipodal pairs."""
    experiment = Experiment(small("odd-blind"), kernel="reference")
    weights, y = experiment.problem.weights, experiment.problem.targets
    overlap = torch.tanh(experiment.state.theta[:, :2] @ experiment.problem.inputs.T) @ (weights * y)
    assert overlap.abs().max() < 1e-6


@pytest.mark.parametrize("activation", ["relu", "quadratic", "sin", "hardtanh", "clip01", "erf", "tanh_squared"])
def test_every_activation_runs_to_the_end_with_or_without_a_theory(activation: str) -> None:
    finished = list(Experiment(small(network__activation=activation, training__n_steps=60), kernel="reference"))[-1]
    assert finished.summary["comparison"]["verdict"] in ("consistent", "close", "inconsistent")
    assert (finished.summary["theory"] is None) == (activation == "quadratic")


def test_snapshots_share_no_memory_with_the_engine() -> None:
    experiment = Experiment(small(), kernel="reference")
    snapshot = experiment.snapshot()
    before = snapshot.theta.copy()
    experiment.state.theta.add_(1.0)
    assert np.array_equal(snapshot.theta, before)


def test_a_snapshot_carries_every_neuron_of_a_small_cloud_and_the_first_of_a_large_one() -> None:
    small_one, large = (Experiment(load_recipe("clover").replace({"network.n_neurons": n})) for n in (30_000, 30_001))
    assert small_one.snapshot().theta.shape == (30_000, 3) and small_one.snapshot().theta.dtype == np.float32
    first = large.snapshot()
    assert first.theta.shape == (2048, 3) and first.n_neurons == 30_001 and first.sizes == (30_001,)
    assert np.array_equal(first.theta, large.state.theta[:2048].numpy())
