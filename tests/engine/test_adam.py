"""Adam with decoupled decay: the update against torch's own, splits, resumption, foregrounds, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mft_engine import dynamics
from mft_engine.applies import coupled
from mft_engine.dynamics import Diverged, adam
from mft_engine.dynamics.adam import Adam
from mft_engine.experiment.experiment import Experiment
from mft_engine.kernels import ReferenceKernel
from mft_engine.network.activations import get_activation
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.runs import checkpoint

SMALL = load_recipe("adam-clover").replace({
    "engine.n_threads": 1, "network.n_neurons": 64, "foreground.n_neurons": 64, "training.n_steps": 130,
    "comparison.n_permutations": 99, "regularisation.input_weight": 3.0,
})  # fmt: skip


def _problem(recipe: Recipe, n_out: int) -> dynamics.Problem:
    """The recipe's problem with a target of n_out columns."""
    problem = Experiment(recipe).problem
    x1, x2 = problem.inputs.unbind(1)
    columns = torch.stack([x1 * x2, torch.sin(2 * x1), x2.abs()], dim=1)[:, :n_out]
    kernel = ReferenceKernel(get_activation(recipe.network.activation))
    return replace(problem, targets=columns.squeeze(1) if n_out == 1 else columns, kernel=kernel)


@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [{}, {"network.train_readout": False}, {"network.readout_exponent": 0.6, "training.beta1": 0.5}],
    ids=["all weights", "frozen readouts", "another exponent and beta1"],
)
def test_the_steps_are_those_of_torch_adamw_on_the_per_neuron_gradient(changes, n_out) -> None:
    recipe = SMALL.replace({"engine.dtype": "float64", "network.activation": "tanh", **changes})
    problem, kappa = _problem(recipe, n_out), recipe.network.readout_exponent
    n = recipe.network.n_neurons[0]
    start = torch.randn(n, 2 + n_out, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w, a = start[:, :2].clone().requires_grad_(), start[:, 2:].clone().requires_grad_(recipe.network.train_readout)
    groups = [{"params": [w], "weight_decay": recipe.lambda_w}, {"params": [a], "weight_decay": recipe.lambda_a}]
    training = recipe.training
    oracle = torch.optim.AdamW(groups, lr=training.step_size, betas=(training.beta1, training.beta2), eps=adam.EPSILON)
    y = problem.targets.reshape(len(problem.inputs), n_out)
    losses = []
    for _ in range(60):
        f = n**-kappa * torch.tanh(problem.inputs @ w.T) @ a
        # The network's energy N^(2 kappa - 1) E r^2 / 2, whose gradient one neuron feels; without the penalty.
        loss = (problem.weights[:, None] * (y - f) ** 2).sum()
        oracle.zero_grad()
        (0.5 * n ** (2 * kappa - 1) * loss).backward()
        oracle.step()
        losses.append(loss.item())
    zeros = torch.zeros_like(problem.targets)
    state = replace(dynamics.init(start, problem), prediction_sum=zeros)
    state, info = adam.advance(state, problem, Adam.of(recipe), 60)
    torch.testing.assert_close(state.theta, torch.cat([w, a], dim=1).detach(), rtol=1e-12, atol=1e-12)
    assert info.records[0]["loss"] == pytest.approx(sum(losses[:50]) / 50, rel=1e-12)
    assert (state.theta[:, :2] - start[:, :2]).abs().max() > 0.1, "nothing has moved, so nothing was compared"
    assert torch.equal(state.theta[:, 2:], start[:, 2:]) is not recipe.network.train_readout


def test_the_fused_predictions_lead_to_the_same_place_as_the_reference() -> None:
    ends = []
    for kernel in ("auto", "reference"):
        experiment = Experiment(SMALL.replace({"training.n_steps": 20}), kernel=kernel)
        experiment.advance(20)
        ends.append(experiment.state.theta)
    # Float32 sums in another order differ by 1e-6 of f; a step of 0.02 divides it by |g| > 1e-3 or so, 20 steps.
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"training.rule": "batch", "training.batch_size": 32}, {"training.n_points": 30, "training.batch_size": 8}],
    ids=["rule", "fresh batches", "drawn points"],
)
def test_any_split_and_a_resumption_give_the_same_bits(changes) -> None:
    recipe = SMALL.replace(changes)
    whole, parts = Experiment(recipe), Experiment(recipe)
    whole.advance(130)
    for n in (1, 7, 50, 13):
        parts.advance(n)
    resumed = Experiment(recipe)
    arrays, numbers = checkpoint.pack(parts)
    checkpoint.unpack(resumed, arrays, numbers)
    for experiment in (parts, resumed):
        experiment.advance(1000)
        assert torch.equal(experiment.state.theta, whole.state.theta)
        assert torch.equal(experiment.state.moments, whole.state.moments)
        assert torch.equal(experiment.state.prediction_sum, whole.state.prediction_sum)
        assert experiment.state.step == 130 and experiment.is_complete
    forgetful = Experiment(recipe)
    del arrays["moments"]
    checkpoint.unpack(forgetful, arrays, numbers)
    forgetful.advance(1000)
    assert not torch.equal(forgetful.state.theta, whole.state.theta), "the moments leave no trace"


def test_a_change_of_step_size_and_decay_acts_at_once_and_time_goes_on() -> None:
    experiment = Experiment(SMALL)
    experiment.advance(50)
    experiment.retune(experiment.recipe.replace({"training.step_size": 0.01, "regularisation.scale": 0.4}))
    experiment.advance(10)
    assert experiment.state.time == pytest.approx(50 * 0.02 + 10 * 0.01)
    unchanged = Experiment(SMALL)
    unchanged.advance(60)
    assert (experiment.state.theta - unchanged.state.theta).abs().max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"training.rule": "batch", "training.batch_size": 64}], ids=["rule", "batch"])
def test_replay_leads_the_backgrounds_own_start_to_its_own_end(changes) -> None:
    recipe = SMALL.replace({"engine.dtype": "float64", "training.n_steps": 60, **changes})
    experiment = Experiment(recipe)
    experiment.advance(60)
    # Fresh neurons that start where the background did must follow it; sums in the same order, so far below 1e-9.
    experiment.sampler.fresh_neurons = lambda *_: experiment.setting.tensor(experiment.background.initial_theta)
    *_, ready = experiment.foreground()
    assert ready.method == "replay"
    torch.testing.assert_close(experiment.sampler.theta, experiment.state.theta, rtol=0, atol=1e-9)


def test_the_frozen_foreground_is_the_same_adam_in_a_field_that_does_not_move() -> None:
    recipe = SMALL.replace({"engine.dtype": "float64", "foreground.method": "dynamics", "foreground.n_steps": 25})
    experiment = Experiment(recipe)
    experiment.advance(40)
    start = experiment.setting.tensor(experiment.background.initial_theta)
    experiment.sampler.fresh_neurons = lambda *_: start
    list(experiment.foreground())
    field = experiment.sampler.frozen_field()
    theta = start.clone().requires_grad_()
    groups = [{"params": [theta], "weight_decay": 0.0}]
    oracle = torch.optim.AdamW(groups, lr=0.02, eps=adam.EPSILON)
    for _ in range(25):
        phi = torch.clamp(torch.tanh(theta[:, :2] @ field.inputs.T), min=0)
        oracle.zero_grad()
        (-(theta[:, 2] * (phi @ field.signal)).sum()).backward()
        with torch.no_grad():
            theta *= 1 - 0.02 * torch.tensor([recipe.lambda_w] * 2 + [recipe.lambda_a], dtype=torch.float64)
        oracle.step()
    torch.testing.assert_close(experiment.sampler.theta, theta.detach(), rtol=0, atol=1e-11)


def test_the_path_decides_for_adam_too() -> None:
    # Measured at N = 1024: replay ratio .2 to .5 in five seeds, the frozen last field 20 and more.
    experiment = Experiment(
        load_recipe("adam-clover").replace({"network.n_neurons": 1024, "foreground.n_neurons": 1024})
    )
    experiment.advance(1000)
    list(experiment.foreground())
    list(experiment.compare())
    assert experiment.comparison.verdict == "consistent"
    experiment.retune(experiment.recipe.replace({"foreground.method": "dynamics"}))
    list(experiment.foreground())
    list(experiment.compare())
    assert experiment.comparison.verdict == "inconsistent"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.temperature": 0.02}, "Adam has no temperature"),
        ({"training.step_size": "auto"}, "rule for plain gradient steps"),
        ({"initial.law": "prior"}, "with adam choose"),
        ({"training.beta1": 1.0}, "training.beta1"),
        ({"foreground.method": "gibbs"}, "temperature above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(changes, words) -> None:
    with pytest.raises(RecipeError, match=words):
        SMALL.replace(changes)


def test_a_step_that_is_too_large_ends_with_a_sentence_and_the_last_good_state() -> None:
    experiment = Experiment(SMALL.replace({"training.step_size": 1000.0, "regularisation.scale": 100.0}))
    with pytest.raises(Diverged, match=r"step_size to 1e\+02 \(it was 1e\+03\)"):
        experiment.advance(130)
    assert torch.isfinite(experiment.state.theta).all()


def test_the_windows_choice_of_adam_makes_a_valid_recipe_and_the_way_back_too() -> None:
    chosen = Recipe().replace(coupled(Recipe(), "training.dynamics", "adam"))
    assert chosen.training.dynamics == "adam" and chosen.training.temperature == 0
    back = chosen.replace(coupled(chosen, "training.dynamics", "langevin"))
    assert back.training.temperature > 0 and back.training.step_size == "auto"
    chosen.replace(coupled(chosen, "training.dynamics", "sgd"))


def test_modular_addition_learns_its_table_with_adam_and_goes_on_from_a_checkpoint() -> None:
    recipe = load_recipe("modular-addition").replace({
        "training.dynamics": "adam", "training.temperature": 0.0, "training.step_size": 0.005,
        "initial.law": "gaussian",
        "training.n_steps": 400, "regularisation.scale": 0.3, "network.n_neurons": 64, "foreground.n_neurons": 64,
        "foreground.method": "replay", "foreground.field": "end",
    })  # fmt: skip
    whole, part = Experiment(recipe), Experiment(recipe)
    whole.advance(1000)
    part.advance(170)
    resumed = Experiment(recipe)
    checkpoint.unpack(resumed, *checkpoint.pack(part))
    resumed.advance(1000)
    assert torch.equal(resumed.state.theta, whole.state.theta) and torch.equal(
        resumed.state.moments, whole.state.moments
    )
    assert whole.history.rows[-1]["train_accuracy"] > 0.95
    *_, ready = whole.foreground()
    assert ready.method == "replay" and ready.theta.shape == (64, 22 + 11)
    list(whole.compare())
    assert whole.comparison.verdict == "consistent"
