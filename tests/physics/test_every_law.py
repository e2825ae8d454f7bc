"""Claims about every law that neurons are drawn from, and every infinite-width solution: one protocol, kept by each."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch
from planar_targets import TARGETS, polar_rule
from scipy.stats import ks_2samp

from mft_engine.laws.frozen import FrozenLaw
from mft_engine.laws.law import Law
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import get_activation
from mft_engine.slices import finished
from mft_engine.theory.finite_particles import FollowedLaw
from mft_engine.theory.finite_width import solve_finite_width
from mft_engine.theory.particle_solver import solve_particles
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.sampled_dual import PointProblem
from mft_engine.theory.theory import NUMBERS, Theory

NEURON = ("relu_tanh", 0.05, 0.05, 0.01)
POINTS, WEIGHTS = polar_rule(6, 24)
TARGET = TARGETS["product"](POINTS)
N_NEURONS = 256


def planar_theory() -> PlanarTheory:
    return solve_planar(None, *NEURON, points=(POINTS, TARGET, WEIGHTS))


def point_problem() -> PointProblem:
    points, targets, weights = (torch.as_tensor(part) for part in (POINTS, TARGET[:, None], WEIGHTS))
    return PointProblem(points, targets, weights, get_activation(NEURON[0]), *NEURON[1:], torch.float64)


def on_a_grid(residual: np.ndarray) -> Law:
    return PlanarLaw.from_field(POINTS, WEIGHTS * residual, *NEURON)


def by_chains(residual: np.ndarray) -> Law:
    return FrozenLaw.from_field(torch.as_tensor(POINTS), torch.as_tensor(WEIGHTS * residual), *NEURON)


def finite_on_a_grid(residual: np.ndarray) -> Law:
    return solve_finite_width(POINTS, TARGET, WEIGHTS, N_NEURONS, *NEURON, residual=residual).law


def finite_by_particles(residual: np.ndarray) -> Law:
    return FollowedLaw(point_problem(), torch.as_tensor(residual[:, None]), N_NEURONS)


# Twice the law of the same field, once exact on a grid.
LAWS = {
    "grid": (on_a_grid, on_a_grid),
    "chains": (by_chains, on_a_grid),
    "finite width on a grid": (finite_on_a_grid, finite_on_a_grid),
    "finite width by particles": (finite_by_particles, finite_on_a_grid),
}


@pytest.fixture(scope="module")
def residual() -> np.ndarray:
    return planar_theory().residual(POINTS)


def summaries(theta: np.ndarray) -> dict[str, np.ndarray]:
    angle = np.arctan2(theta[:, 1], theta[:, 0])
    return {"length": np.hypot(theta[:, 0], theta[:, 1]), "readout": theta[:, 2], "turn": np.cos(2 * angle)}


@pytest.mark.parametrize("name", LAWS)
def test_draws_are_pure_follow_the_law_and_differ_by_their_number(name: str, residual: np.ndarray) -> None:
    make, exact = LAWS[name]
    law, n = make(residual), 1500
    first, again, other = (finished(law.draw(n, seed=3, number=number)).theta for number in (0, 0, 1))
    assert first.shape == (n, 3) and first.dtype == np.float64
    assert np.array_equal(first, again) and not np.isclose(first, other).any(axis=1).any()
    reference = summaries(finished(exact(residual).draw(40_000, seed=4, number=0)).theta)
    for what, values in summaries(np.concatenate([first, other])).items():
        # Three comparisons of four laws: one in a hundred such tests would fail by chance. Particles share ancestors.
        assert ks_2samp(values, reference[what]).pvalue > 1e-3, what


@pytest.mark.parametrize("make", [PlanarLaw, FrozenLaw, FollowedLaw])
def test_a_law_takes_what_the_protocol_says(make: type) -> None:
    wanted = inspect.signature(Law.draw).parameters
    theirs = inspect.signature(make.draw).parameters
    assert list(wanted) == list(theirs)[: len(wanted)]
    assert all(p.default is not inspect.Parameter.empty for p in list(theirs.values())[len(wanted) :])


SOLVERS: dict[str, Callable[[], Theory]] = {
    "planar": planar_theory,
    "particles": lambda: [
        item for item in solve_particles(point_problem(), seed=0, n_particles=2000) if isinstance(item, ParticleTheory)
    ][-1],
}


@pytest.fixture(scope="module", params=SOLVERS)
def solution(request: pytest.FixtureRequest) -> Theory:
    return SOLVERS[request.param]()


def test_every_solution_says_the_same_of_the_same_problem(solution: Theory) -> None:
    exact, error = planar_theory(), solution.loss_error
    # Three standard errors of particles, and what 192 angles leave of the grid's own.
    assert abs(solution.loss - exact.loss) <= 3 * error + 1e-5
    assert abs(solution.free_energy - exact.free_energy) <= 3 * error + 1e-5
    assert abs(solution.alignment - exact.alignment) < 0.01
    f = solution.prediction(POINTS).reshape(-1)
    assert float(WEIGHTS @ (TARGET - f) ** 2) == pytest.approx(exact.loss, abs=3 * error + 1e-3)
    assert solution.n_out == 1 and solution.shortfall == ""
    assert solution.trace_response == pytest.approx(exact.trace_response, rel=0.05)


def test_every_solution_is_told_in_the_same_numbers_and_sampled_alike(solution: Theory) -> None:
    told, law = solution.to_dict(), planar_theory().law
    assert {*NUMBERS, "order_parameters", "method", "dual", "layers", "loss_error"} <= set(told)
    assert all(told[name] is not None for name in NUMBERS)
    sample = solution.sample(2000, seed=5)
    assert np.array_equal(sample, solution.sample(2000, seed=5))
    reference = summaries(finished(law.draw(40_000, seed=4, number=0)).theta)
    for what, values in summaries(sample).items():
        assert ks_2samp(values, reference[what]).pvalue > 1e-3, what
