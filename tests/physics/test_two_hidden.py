"""The joint law of two hidden layers: an exact solution, one hidden layer as a limit, and the xor of two xors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
import torch
from scipy.optimize import fsolve

from mft_engine.network.activations import Activation, get_activation
from mft_engine.questions.theory import solve_theory, theory_tables, why_no_theory, why_not_at_once
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.tasks import build_task
from mft_engine.tasks.task import NamedFunction
from mft_engine.theory.layered_theory import LayeredTheory, solve_two_hidden
from mft_engine.theory.particle_solver import solve_particles
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.two_hidden import Joint, Settled, TwoHiddenProblem, settle_both

Found = TypeVar("Found")

LINEAR = Activation(
    "linear", lambda z: z, torch.ones_like, lambda z: (z, torch.ones_like(z)), parity="odd", formula="z", kinks=()
)


def last(items: Iterator[float | Found]) -> Found:
    return [item for item in items if not isinstance(item, float)][-1]


def linear_problem(ratio: float) -> TwoHiddenProblem:
    """y = x on the points -1 and 1, both layers linear."""
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    return TwoHiddenProblem(x, x.clone(), weights, (LINEAR, LINEAR), 0.05, (0.05, 0.05, 0.05), ratio, torch.float64)


def linear_solution(problem: TwoHiddenProblem) -> tuple[float, float]:
    """rho of r = rho x, and E w^2: every law is normal.

    s = 1/(1/k - rho^2/(lambda_b T)), k = T E w^2 / lambda_2;   rho = 1 - rho s / lambda_b
    E w^2 = 1/(lambda_w / T - ratio rho^2 E b^2 / (lambda_2 T)),   E b^2 = rho^2 s / lambda_b^2 + T / lambda_b
    """
    temperature, (lambda_w, lambda_2, lambda_b) = problem.temperature, problem.penalties

    def missing(values: np.ndarray, target: float) -> list[float]:
        rho, square = values
        s = 1 / (lambda_2 / (temperature * square) - rho**2 / (lambda_b * temperature))
        readout = rho**2 * s / lambda_b**2 + temperature / lambda_b
        pull = problem.width_ratio * rho**2 * readout / (lambda_2 * temperature)
        return [target - rho - rho * s / lambda_b, 1 / (lambda_w / temperature - pull) - square]

    found = np.array([0.0, temperature / lambda_w])
    for target in np.linspace(0.005, 1.0, 200):  # the branch that grows out of the prior
        found = fsolve(missing, found, args=(target,), xtol=1e-12)
    assert np.abs(missing(found, 1.0)).max() < 1e-8 and found.min() > 0
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_linear_layers_settle_on_the_exact_solution_of_normal_laws(ratio: float) -> None:
    problem = linear_problem(ratio)
    rho, square = linear_solution(problem)
    settled = last(settle_both(problem, seed=1, n_particles=8192))
    # E w^2 of 8,192 particles that are nearly independent from turn to turn: its series says how far it scatters, and
    # the residual follows rho of the sampled dual, whose bias is of the order of one over the number of particles.
    error = settled.squares.std() / np.sqrt(len(settled.squares) / 4)
    assert abs(settled.squares.mean() - square) < 4 * error + 2e-3 * square
    found = float(problem.weights @ (settled.residual * problem.inputs[:, 0]))
    assert found == pytest.approx(rho, rel=0.02)


def small_problem(ratio: float) -> TwoHiddenProblem:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 3, dtype=torch.float64, generator=generator)
    y = (x[:, 0] * x[:, 1]).sign()[:, None]
    weights = torch.full((24,), 1 / 24, dtype=torch.float64)
    activations = get_activation("relu_tanh"), get_activation("tanh")
    return TwoHiddenProblem(x, y, weights, activations, 0.02, (0.02, 0.02, 0.005), ratio, torch.float64)


@pytest.mark.slow
def test_a_first_layer_that_outnumbers_the_second_stays_at_its_prior_and_leaves_one_hidden_layer() -> None:
    problem = small_problem(1e-6)
    found = last(solve_two_hidden(problem, seed=2, n_particles=1024, starts=("together",)))
    assert found.lower_kl == pytest.approx(0.0, abs=0.01)
    # 10^6 draws of the prior make K to a thousandth.
    w = torch.randn(1_000_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    features = problem.activations[0].phi(w @ problem.inputs.T)
    kernel = (features.T @ features) / len(w)
    alone = last(solve_particles(problem.upper(kernel), seed=5, n_particles=8000))
    assert isinstance(alone, ParticleTheory)
    assert abs(found.loss - alone.loss) < 3 * np.hypot(found.loss_error, alone.loss_error) + 0.01 * alone.loss


def test_q_is_the_derivative_of_the_second_layers_free_energy_in_k() -> None:
    # A particle of the first layer that weighs more moves K by (T / lambda_2) phi phi', and F_2 by -T phi' Q phi
    # N_1/N_2: with frozen second-layer particles under fixed r, T log Z_2 by the same draws of the prior at both K.
    problem = small_problem(1.0)
    joint = Joint.at_the_prior(problem, 200_000, 7)
    upper, rho = joint._upper_problem, 0.1 * problem.weights.sqrt()[:, None] * problem.targets
    law = upper.law(rho)
    weights = torch.softmax(law.log_tilt(joint.upper.u), 0).reshape(8, -1).log()
    weighted = replace(joint.upper, log_weights=weights - torch.logsumexp(weights, 1, keepdim=True))
    weighted = replace(weighted, log_z=torch.logsumexp(law.log_tilt(joint.upper.u).reshape(8, -1), 1))
    weighted = replace(weighted, log_z_back=weighted.log_z)
    form = problem.form(upper, weighted, rho)
    phi = problem.activations[0].phi(torch.tensor([[1.0, -0.5, 0.3]], dtype=torch.float64) @ problem.inputs.T)[0]
    change = (problem.temperature / problem.penalties[1]) * torch.outer(phi, phi)
    residual, step = upper.on_points(rho), 1e-3

    def log_z(part: float) -> float:
        moved = problem.upper(joint.kernel + part * change)
        return float(torch.logsumexp(moved.law(moved.visible(residual)).log_tilt(joint.upper.u), 0))

    slope = (log_z(step) - log_z(-step)) / (2 * step)
    # Price's theorem: d log Z / dK = A / 2, so that the slope along phi phi' is phi' Q phi at equal widths. The two
    # estimates share their draws; what is left is of the order of one over the root of 200,000, times a few.
    assert slope == pytest.approx(float(phi @ form @ phi), rel=0.05)


def test_a_law_of_two_layers_is_a_theory_that_is_sampled_and_predicts_its_own_points() -> None:
    problem = small_problem(1.0)
    found = last(solve_two_hidden(problem, seed=2, n_particles=1024, starts=("together",)))
    assert isinstance(found, LayeredTheory)
    targets, weights = problem.targets[:, 0].numpy(), problem.weights.numpy()
    f = found.prediction(problem.inputs.numpy())
    on_points = targets - found.residual()[:, 0]
    assert float(weights @ (f - on_points) ** 2) < 0.02 * found.target_power
    below, above = found.sample_layers(4000, seed=3)
    assert below.shape == (4000, 4) and above.shape == (4000, 25)
    assert np.array_equal(below, found.sample(4000, seed=3))
    error = (below[:, :3] ** 2).sum(1).std() / 4000**0.5
    # Particles share ancestors: four standard errors of half as many.
    assert abs((below[:, :3] ** 2).sum(1).mean() - found.mean_square_norm) < 4 * 1.4 * error
    assert (above[:, -1] ** 2).mean() == pytest.approx(found.mean_square_readout, rel=0.1)
    recipe = load_recipe("continuous-xor")
    part = NamedFunction("target", lambda x: np.sign(x[:, 0] * x[:, 1]))
    task = replace(build_task(recipe.task), functions=(part,))
    first, second = theory_tables(found, recipe, task, 4000)
    assert first.shape == (4000, 4) and second.shape == (4000, 2)
    # f = E[b phi_2], so that the overlaps with the target times b make <y, f>; twins count like one.
    made = second[:, 0] * second[:, 1]
    assert abs(made.mean() - found.alignment * found.target_power) < 4 * 1.4 * made.std() / 4000**0.5
    assert len(theory_tables(found, recipe, replace(task, functions=()), 10)) == 1
    told = found.to_dict()
    assert told["starts"]["together"]["loss"] > 0 and len(told["layers"]) == 2 and told["loss_error"] > 0
    assert found.drift_of_kernel < 5 * found.noise_of_kernel


def test_what_has_no_such_law_is_refused_and_what_takes_minutes_waits_to_be_asked() -> None:
    recipe = load_recipe("continuous-xor")
    assert why_no_theory(recipe) == "" and "mft-lab theory" in why_not_at_once(recipe)
    assert why_not_at_once(recipe.replace({"theory.n_particles": 2048})) == ""
    three = recipe.replace({"network.n_neurons": [32, 32, 32]})
    assert "one or two hidden layers" in why_no_theory(three) and why_not_at_once(three) == ""
    lazy = recipe.replace({"network.readout_exponent": 0.75})
    assert "readout exponent 1" in why_no_theory(lazy)


def xor(**changes: object) -> Recipe:
    return load_recipe("continuous-xor").replace({name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.slow
def test_the_xor_of_two_xors_has_one_law_from_both_starts_at_the_extrapolated_loss() -> None:
    found = solve_theory(xor())
    assert isinstance(found, LayeredTheory)
    losses = [loss for loss, _ in found.losses_by_start.values()]
    assert abs(losses[0] - losses[1]) < 5e-4
    # Simulated at N = 128, 256, 512 (each layer; seed 0): .0521, .0453, .0422, in 1/N and 1/N^2 .0392; the losses'
    # standard errors of .0003 to .0004 leave .0012.
    assert abs(found.loss - 0.0392) < 3 * np.hypot(found.loss_error, 0.0012)
    # |w|^2 of the first layer: 2.8 in simulation, within two per cent of 2.85.
    assert found.mean_square_norm == pytest.approx(2.85, rel=0.02)
    assert found.order_parameters["overlap_uv"] > 0


@pytest.mark.slow
def test_what_settles_does_not_depend_on_the_number_of_particles() -> None:
    problem = small_problem(1.0)
    few, many = (last(settle_both(problem, seed=seed, n_particles=n)) for seed, n in ((1, 1024), (2, 8192)))
    assert isinstance(few, Settled) and isinstance(many, Settled)
    losses = [float(problem.weights @ (s.halves[0] * s.halves[1])) for s in (few, many)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
