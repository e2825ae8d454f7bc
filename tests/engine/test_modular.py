"""Modular addition: its data, several readouts a neuron through the whole engine, and the analysis in waves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from mft_engine.dynamics import Hyper
from mft_engine.experiment.experiment import Experiment
from mft_engine.field.field import MeanField, stiffness
from mft_engine.field.walk import function_covariance_trace
from mft_engine.figures import MissingError, draw, save
from mft_engine.kernels import reference
from mft_engine.network.activations import get_activation
from mft_engine.network.two_layer import column_names
from mft_engine.points.accuracy import accuracy
from mft_engine.points.measure import judging_measure, targets_on, training_measure
from mft_engine.questions.fourier import (
    compare_frequencies,
    describe,
    distance_irrelevance,
    gradient_symmetricity,
    logits,
)
from mft_engine.questions.waves import phase_agreement, waves
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.sections import TaskSection, TrainingSection
from mft_engine.studies.sweep import parse_axis, plan_sweep
from mft_engine.tasks import TaskError, build_task

TINY = {
    "task.modulus": 5,
    "network.n_neurons": 48,
    "foreground.n_neurons": 40,
    "training.time": 0.6,
    "comparison.n_permutations": 99,
    "engine.device": "cpu",
    "theory.n_particles": 512,
}


def task(seed: int = 0, **parameters: object):
    return build_task(TaskSection.model_validate({"name": "modular-addition", **parameters}), seed)


def random_cloud(n: int, modulus: int, seed: int = 0) -> np.ndarray:
    return host_generator(seed, Stream.INITIAL).standard_normal((n, 3 * modulus))


def wave_cloud(n: int, modulus: int, frequency: int, seed: int = 0) -> np.ndarray:
    """The known solution: one frequency, the phase of the answer the sum of the other two."""
    first, second = host_generator(seed, Stream.INITIAL).uniform(-np.pi, np.pi, (2, n, 1))
    turn = 2 * np.pi * frequency * np.arange(modulus)[None, :] / modulus
    return np.concatenate([np.cos(turn + u) for u in (first, second, first + second)], axis=1)


# ---- the data -------------------------------------------------------------------------------------------------------


def test_training_and_test_pairs_make_the_whole_table_once() -> None:
    built = task(modulus=7, train_fraction=0.6)
    own = built.points
    assert own is not None and len(own.targets) == round(0.6 * 49)
    inputs = np.concatenate([own.inputs, own.test_inputs])
    targets = np.concatenate([own.targets, own.test_targets])
    n, m = inputs[:, :7].argmax(1), inputs[:, 7:].argmax(1)
    assert len({*zip(n.tolist(), m.tolist(), strict=True)}) == 49
    np.testing.assert_allclose(inputs.sum(1), 1.4)
    np.testing.assert_array_equal(targets.argmax(1), (n + m) % 7)
    np.testing.assert_allclose(targets.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose((targets**2).sum(1), 7 - 1)
    np.testing.assert_allclose(built.target(inputs), targets, atol=1e-12)


def test_the_split_follows_the_seed_also_in_a_sweep() -> None:
    first, again, other = (task(seed).points.inputs for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    recipe = load_recipe("modular-addition").replace(TINY)
    points = plan_sweep(recipe, [parse_axis("task.train_fraction=0.4,0.8", recipe)], 2)
    shown = [Experiment(point.recipe).problem.inputs for point in points]
    assert [len(inputs) for inputs in shown] == [10, 10, 20, 20]
    assert not torch.equal(shown[0], shown[1]) and not torch.equal(shown[2], shown[3])


def test_every_training_pair_weighs_one_over_the_whole_table() -> None:
    built = task(modulus=5, train_fraction=0.4)
    measure = training_measure(TrainingSection(), built, seed=0)
    np.testing.assert_allclose(measure.weights, np.full(10, 1 / 25))
    held_back = judging_measure(TrainingSection(), built, seed=0)
    assert held_back.weights.sum() == pytest.approx(1) and targets_on(held_back, built).shape == (15, 5)


@pytest.mark.parametrize(
    ("parameters", "word"),
    [({"modulus": 4}, "modulus"), ({"train_fraction": 0}, "train_fraction"), ({"prime": 7}, "prime")],
)
def test_a_bad_parameter_is_named(parameters: dict[str, object], word: str) -> None:
    with pytest.raises(TaskError, match=word):
        task(**parameters)


def test_directions_of_one_frequency_are_orthonormal_and_see_their_own_number() -> None:
    planes = task(modulus=7).projections
    matrix = np.stack(list(planes.values()))
    assert len(planes) == 12
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(12), atol=1e-12)
    assert not planes["cos 2π·2 n/7"][7:].any() and not planes["sin 2π·3 m/7"][:7].any()


# ---- several readouts -----------------------------------------------------------------------------------------------


@pytest.fixture
def problem():
    """Experiment, its float64 neurons, and the training measure."""
    recipe = load_recipe("modular-addition").replace({**TINY, "engine.dtype": "float64"})
    return Experiment(recipe)


def test_autograd_confirms_the_drift_of_every_parameter(problem) -> None:
    theta = problem.state.theta.clone().requires_grad_()
    part = problem.problem
    n, d, scale = theta.shape[0], part.inputs.shape[1], problem.task.n_out
    assert theta.dtype == torch.float64 and theta.shape[1] == d + scale
    # phi written out, so that the activation's own derivative is tested too.
    prediction = torch.tanh(theta[:, :d] @ part.inputs.T).square().T @ theta[:, d:] / n
    residual = part.targets - prediction
    energy = 0.5 * (part.weights[:, None] * residual**2).sum()
    (slope,) = torch.autograd.grad(n * energy, theta)
    signal = part.weights[:, None] * residual.detach()
    found = reference.gradient(theta.detach(), part.inputs, signal, get_activation("tanh_squared"))
    # phi = (2 sigmoid(2z) - 1)^2 has the absolute error of a rounding of 1, 2e-16, times readouts and sums of order 1.
    torch.testing.assert_close(found, -slope, rtol=1e-10, atol=1e-12)


def test_autograd_confirms_the_potential_of_a_neuron(problem) -> None:
    part = problem.problem
    signal = part.weights[:, None] * part.targets
    field = MeanField(part.inputs, signal, get_activation("tanh_squared"), 0.3, 0.7)
    theta = problem.state.theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(field.potential(theta).sum(), theta)
    torch.testing.assert_close(field.gradient(theta.detach()), slope, rtol=1e-10, atol=1e-12)


def test_the_stability_limit_is_the_top_eigenvalue_of_the_whole_tangent_kernel(problem) -> None:
    part, theta = problem.problem, problem.state.theta
    rates = Hyper.of(problem.recipe).rate_per_step(part.inputs.shape[1], part.n_out)
    assert len(rates) == theta.shape[1]

    def outputs(neurons: torch.Tensor) -> torch.Tensor:
        w, a = neurons[:, : part.inputs.shape[1]], neurons[:, part.inputs.shape[1] :]
        f = torch.tanh(w @ part.inputs.T).square().T @ a
        return (part.weights.sqrt()[:, None] * f).reshape(-1) / len(neurons)

    jacobian = torch.autograd.functional.jacobian(outputs, theta).reshape(-1, theta.numel())
    scaled = jacobian * torch.tensor(rates, dtype=torch.float64).repeat(len(theta))
    wanted = torch.linalg.eigvalsh(len(theta) * scaled @ jacobian.T)[-1]
    found = stiffness(theta, part.inputs, part.weights, part.network.activations[0], rates)
    # 40 power iterations approach from below; the gap of this kernel leaves less than a per cent.
    assert 0.98 * wanted < found <= wanted * (1 + 1e-12)


def test_weights_that_do_not_sum_to_one_count_in_the_stability_limit(problem) -> None:
    part = problem.problem
    rates = Hyper.of(problem.recipe).rate_per_step(part.inputs.shape[1], part.n_out)
    args = (part.network.activations[0], rates)
    half = stiffness(problem.state.theta, part.inputs, 0.5 * part.weights, *args)
    whole = stiffness(problem.state.theta, part.inputs, part.weights, *args)
    torch.testing.assert_close(half, 0.5 * whole)


def test_the_scatter_of_the_function_sums_over_the_readouts() -> None:
    theta = torch.from_numpy(random_cloud(300, 5))
    inputs = torch.from_numpy(task(modulus=5).points.inputs)
    weights = torch.full((len(inputs),), 0.02, dtype=torch.float64)
    h = torch.tanh(theta[:, :10] @ inputs.T).square()[:, :, None] * theta[:, None, 10:]
    wanted = float((weights[:, None] * h.var(dim=0)).sum())
    assert function_covariance_trace(theta, inputs, weights, get_activation("tanh_squared")) == pytest.approx(wanted)


def test_a_run_with_several_readouts_goes_through_to_its_summary() -> None:
    events = list(Experiment(load_recipe("modular-addition").replace(TINY)))
    summary, outcome = events[-1].summary, events[-1].outcome
    assert outcome.background.theta.shape == (48, 15) and outcome.foreground.theta.shape == (40, 15)
    assert outcome.background.prediction.shape == outcome.points.targets.shape == (18, 5)
    for part in ("background", "foreground"):
        assert 0 <= summary[part]["test_accuracy"] <= 1 and 0 <= summary[part]["train_accuracy"] <= 1
    found = summary["feature_learning"]["fourier"]
    assert sum(found["background"]["frequencies"]) == 48 and sum(found["foreground"]["frequencies"]) == 40
    assert 0 < found["frequency_test"]["p_value"] <= 1
    assert summary["theory"]["method"] == "particles" and summary["certificate"]["stein"] is not None
    assert summary["theory"]["train_accuracy"] == 1.0 and sum(summary["theory"]["fourier"]["frequencies"]) == 2000


@pytest.mark.parametrize("method", ["gibbs", "replay"])
def test_other_foregrounds_have_several_readouts_too(method: str) -> None:
    recipe = load_recipe("modular-addition").replace({**TINY, "foreground.method": method})
    experiment = Experiment(recipe)
    experiment.advance(60)
    *_, ready = experiment.foreground()
    assert ready.theta.shape == (40, 15) and set(ready.accuracies) == {"train_accuracy", "test_accuracy"}


def test_a_split_training_equals_a_whole_one_bit_for_bit() -> None:
    recipe = load_recipe("modular-addition").replace(TINY)
    whole, parts = Experiment(recipe), Experiment(recipe)
    whole.advance(75)
    for n in (1, 30, 44):
        parts.advance(n)
    assert torch.equal(whole.state.theta, parts.state.theta)
    assert torch.equal(whole.state.prediction_sum, parts.state.prediction_sum)


def test_accuracy_counts_largest_outputs() -> None:
    targets = np.eye(3)[[0, 1, 2, 1]]
    prediction = np.array([[0.2, 0.1, 0.0], [0.5, 0.6, 0.1], [0.9, 0.0, 0.8], [0.0, -0.1, -0.2]])
    assert accuracy(prediction, targets) == 0.5


def test_columns_of_several_readouts_are_numbered() -> None:
    assert column_names(4, 3) == ("w1", "w2", "w3", "w4", "a1", "a2", "a3")


def test_the_figure_of_waves_is_drawn_for_this_task_alone(tmp_path) -> None:
    outcome = list(Experiment(load_recipe("modular-addition").replace(TINY)))[-1].outcome
    for width in (85.0, 170.0):
        (file,) = save("fourier", outcome, tmp_path / str(width), ("svg",), width, has_caption=True)
        words = file.read_text()
        assert f'width="{width / 25.4 * 72:.4f}'[:10] in words and "dominant frequency" in words
    other = replace(outcome, recipe=load_recipe("parity"))
    with pytest.raises(MissingError, match="modular-addition"):
        draw("fourier", other)


# ---- waves ----------------------------------------------------------------------------------------------------------


def test_the_known_solution_is_pure_and_its_phases_add() -> None:
    found = waves(wave_cloud(200, 11, 3), 11)
    assert (found.frequency == 3).all()
    np.testing.assert_allclose(found.concentration, 1, atol=1e-12)
    np.testing.assert_allclose(found.mismatch, 0, atol=1e-9)
    assert phase_agreement(found)[0] == pytest.approx(1)


def test_random_neurons_have_no_relation_between_their_phases() -> None:
    agreement, error = phase_agreement(waves(random_cloud(4000, 11), 11))
    # cos of a uniform angle: 4000 weighted neurons give an error near sqrt(1/2 (1 + spread^2)/4000), below 0.02.
    assert 0.005 < error < 0.03 and abs(agreement) < 4 * error


def test_a_wave_cloud_answers_the_whole_table_and_is_a_clock() -> None:
    theta = wave_cloud(4000, 7, 2)
    outputs = logits(theta, 7, "quadratic", 1.0)
    n = np.arange(7)
    np.testing.assert_array_equal(outputs.argmax(2), (n[:, None] + n[None, :]) % 7)
    found = describe(theta, 7, "quadratic", 1.0)
    assert found["pure_share"] == 1 and found["frequencies"] == [0, 4000, 0]


def test_an_output_that_depends_on_the_distance_alone_is_a_pizza() -> None:
    n = np.arange(7)
    distance = np.cos(2 * np.pi * (n[:, None] - n[None, :]) / 7)
    right = np.zeros((7, 7, 7))
    right[n[:, None], n[None, :], (n[:, None] + n[None, :]) % 7] = distance
    assert distance_irrelevance(right) == pytest.approx(0, abs=1e-12)
    scattered = host_generator(0, Stream.TASK).standard_normal((7, 7, 7))
    assert distance_irrelevance(scattered) > 0.7


def test_gradients_are_alike_where_the_two_numbers_are_treated_alike() -> None:
    theta = random_cloud(50, 7)
    theta[:, 7:14] = theta[:, :7]
    assert gradient_symmetricity(theta, 7, "tanh_squared", 0.7) == pytest.approx(1)
    assert abs(gradient_symmetricity(random_cloud(50, 7), 7, "tanh_squared", 0.7)) < 0.5


def test_the_frequency_test_has_its_level_and_finds_a_difference() -> None:
    generator = host_generator(1, Stream.TEST_POINTS)
    p_values = []
    for trial in range(60):
        first, second = generator.integers(1, 6, (2, 400))
        test = compare_frequencies(first, second, 5, trial)
        p_values.append(test.p_value)
        # Large counts: Pearson's statistic of a table of 2 by 5 has 4 degrees of freedom.
        assert test.p_value == pytest.approx(chi2.sf(test.statistic, 4), abs=0.06)
    # Uniform p-values: 60 of them have a mean of 1/2 with an error of 0.29/sqrt(60) = 0.037.
    assert abs(np.mean(p_values) - 0.5) < 4 * 0.037
    other = np.where(generator.random(400) < 0.3, 1, generator.integers(1, 6, 400))
    assert compare_frequencies(generator.integers(1, 6, 400), other, 5, 0).p_value < 0.01
