"""The finite-width law by particles against the planar solver's, on planar points turned into five inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_theory_particles import disguised, solved

from mft_engine.questions.widths import study_widths
from mft_engine.recipe import RecipeError, load_recipe, shipped_recipes
from mft_engine.rng import Stream, host_generator
from mft_engine.studies.widths import WideRow, is_for_plane, study_any_widths
from mft_engine.theory.finite_particles import (
    FiniteParticles,
    follow_finite_width,
    sample_corrected,
    solve_finite_particles,
)
from mft_engine.theory.finite_width import FiniteWidthTheory, solve_finite_width
from mft_engine.theory.planar import PlanarTheory
from mft_engine.theory.sampled_dual import PointProblem
from mft_engine.theory.training_points import PointSolution


def plane(exact: PlanarTheory, problem: PointProblem, n: int, **options: np.ndarray) -> FiniteWidthTheory:
    """The planar solver's answer on the points that `disguised` turned."""
    solution = exact.solution
    assert isinstance(solution, PointSolution)
    targets = solution.dual.target / np.sqrt(solution.weights)
    settings = problem.activation.name, problem.temperature, problem.lambda_w, problem.lambda_a
    return solve_finite_width(
        solution.points, targets, solution.weights, n, *settings, n_angles=solution.n_angles, **options
    )


@pytest.mark.parametrize("number", [2, 4])
def test_the_change_from_infinite_to_finite_width_is_the_planar_one(number: int) -> None:
    exact, problem = disguised(number)
    wide = solved(problem, seed=number, n_particles=2000)
    for n in (24, 200):
        expected = plane(exact, problem, n)
        *_, found = solve_finite_particles(wide, n)
        assert isinstance(found, FiniteParticles)
        for name in ("loss", "mean_square_norm", "mean_square_readout"):
            change = getattr(found, name) - getattr(wide, name)
            wanted = getattr(expected, name) - getattr(exact, name)
            # The same particles carry both: their noise in the difference is that of its own size, some percent.
            assert change == pytest.approx(wanted, rel=0.15, abs=2e-4), (n, name)
        assert found.trace_response == pytest.approx(expected.trace_response, rel=0.05)
        np.testing.assert_allclose(
            found.prediction(problem.inputs.numpy())[:, 0],
            (problem.targets.numpy() - expected.residual[:, None])[:, 0],
            atol=0.05 * float(problem.targets.abs().max()),
        )


def test_in_a_given_mean_residual_neurons_have_the_planar_law_of_that_width() -> None:
    exact, problem = disguised(2)
    n = 16
    residual = plane(exact, problem, n).residual
    expected = plane(exact, problem, n, residual=residual)
    mean = torch.as_tensor(residual[:, None])
    *_, found = follow_finite_width(problem, mean, n, seed=0)
    assert not isinstance(found, float)
    theta = sample_corrected(problem, *found, 8000, 1)
    free = 3 * problem.temperature / problem.lambda_w
    for values, wanted in (
        ((theta[:, :5] ** 2).sum(1) - free, expected.mean_square_norm),
        (theta[:, 5] ** 2, expected.mean_square_readout),
    ):
        # 4,000 ancestors: twins count like one
        assert abs(values.mean() - wanted) < 5 * values.std() / np.sqrt(2000)


def test_too_many_points_and_no_neurons_are_refused_with_the_number() -> None:
    _, problem = disguised(0)
    wide = solved(problem, seed=0, n_particles=512)
    with pytest.raises(ValueError, match="at least 1 neuron"):
        list(solve_finite_particles(wide, 0))
    n = 5000
    inputs = torch.as_tensor(host_generator(0, Stream.SUBSAMPLE).standard_normal((n, 5)))
    many = PointProblem(
        inputs, inputs[:, :1], torch.full((n,), 1 / n, dtype=torch.float64), problem.activation, 1, 1, 1
    )
    with pytest.raises(ValueError, match="at most 4,096 points; this problem has 5,000"):
        list(follow_finite_width(many, inputs[:, :1], 10, seed=0))


def test_widths_beyond_the_plane_are_predicted_and_simulated() -> None:
    recipe = load_recipe("modular-addition").replace({
        "task.modulus": 5, "theory.n_particles": 1024, "engine.device": "cpu", "engine.n_threads": 1,
        "training.time": 2.0, "training.temperature": 0.02, "regularisation.scale": 0.005,
    })  # fmt: skip
    (row,) = [item for item in study_any_widths(recipe, [48]) if isinstance(item, WideRow)]
    error = np.hypot(row.simulated["loss"].standard_error, row.corrected["loss_error"])
    rise = row.corrected["loss"] - row.infinite["loss"]
    assert rise > 0
    # What is left out is of order 1/N^2: a quarter of the correction is allowed for it.
    assert abs(row.simulated["loss"].mean - row.corrected["loss"]) < 4 * error + 0.25 * rise
    assert set(row.corrected) >= {"test_accuracy", "mean_square_norm"}


def test_widths_of_two_hidden_layers_are_refused_before_their_law_is_solved() -> None:
    with pytest.raises(RecipeError, match="one hidden layer"):
        next(study_any_widths(load_recipe("continuous-xor"), [64]))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_widths_of_every_shipped_recipe_begin_or_are_refused_in_a_sentence(name: str) -> None:
    recipe = load_recipe(name)
    study = study_widths if is_for_plane(recipe) else study_any_widths
    try:
        assert isinstance(next(study(recipe, (8,))), float)
    except RecipeError as error:
        assert str(error).endswith(".") and len(str(error)) > 20
