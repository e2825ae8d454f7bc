"""The infinite-width law by particles against the planar solver, which knows the same law to many digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine.laws.particles import prior_particles
from mft_engine.network.activations import get_activation
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.particle_solver import solve_particles
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.particle_theory import TestPoints as Judges
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.sampled_dual import PointProblem, SampledDual

ACTIVATIONS = ("relu_tanh", "tanh", "erf")


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def disguised(number: int, n_readouts: int = 1) -> tuple[PlanarTheory, PointProblem]:
    """A random training set in the plane, solved there, and the same points turned into five inputs."""
    random = host_generator(number, Stream.SUBSAMPLE)
    n = int(random.integers(20, 60))
    x = random.standard_normal((n, 2))
    y = x[:, 0] * x[:, 1] + 0.3 * random.standard_normal(n) if number % 2 else np.sin(2 * x[:, 0]) + x[:, 1]
    temperature = float(np.exp(random.uniform(np.log(0.01), np.log(0.06))))
    lambda_w, lambda_a = temperature * random.uniform(0.5, 2.0), temperature * random.uniform(0.03, 0.3)
    name, weights = ACTIVATIONS[number % 3], np.full(n, 1.0 / n)
    # Twice as fine as usual: what the plane's own grid leaves out is as large as half an error of 4,000 particles.
    exact = solve_planar(
        None, name, temperature, lambda_w, lambda_a, points=(x, y, weights), resolution=2, most_features=240_000_000
    )
    turn = np.linalg.qr(random.standard_normal((5, 5)))[0]
    inputs = np.concatenate([x, np.zeros((n, 3))], axis=1) @ turn.T
    # The same target in several readouts, turned among them: one direction of the readouts learns, the others rest.
    across = np.linalg.qr(random.standard_normal((n_readouts, n_readouts)))[0][0]
    targets = y[:, None] * across
    return exact, PointProblem(
        tensor(inputs), tensor(targets), tensor(weights), get_activation(name), temperature, lambda_w, lambda_a
    )


def solved(problem: PointProblem, **options: object) -> ParticleTheory:
    return [item for item in solve_particles(problem, **options) if isinstance(item, ParticleTheory)][-1]  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "n_readouts"), [(0, 1), (3, 3)])
def test_a_planar_problem_turned_into_five_inputs_has_the_planar_law(number: int, n_readouts: int) -> None:
    exact, problem = disguised(number, n_readouts)
    found = solved(problem, seed=number, n_particles=4000)
    # Errors have seven degrees of freedom: 3.5 of them are passed by chance once in a hundred; the issue allows 2e-3.
    assert abs(found.loss - exact.loss) < min(3.5 * found.loss_error, 2e-3)
    assert abs(found.free_energy - exact.free_energy) < min(3.5 * found.free_energy_error, 2e-3)
    assert abs(found.gap) < 4 * found.gap_error + 1e-3
    assert found.readout_free_kl == pytest.approx(exact.readout_free_kl, abs=0.05)
    # The three inputs that the data never use keep the prior's length; so does a readout at rest.
    free = problem.temperature / problem.lambda_w
    assert abs(found.mean_square_norm - 3 * free - exact.mean_square_norm) < 4 * found.mean_square_norm_error
    at_rest = (n_readouts - 1) * problem.temperature / problem.lambda_a
    assert found.mean_square_readout == pytest.approx(exact.mean_square_readout + at_rest, rel=0.02)
    np.testing.assert_allclose(
        found.prediction(problem.inputs.numpy()), problem.targets.numpy() - found.residual(), atol=0.02
    )


def test_the_same_seed_gives_the_same_law_and_another_seed_another_sample() -> None:
    _, problem = disguised(0)
    first, again, other = (solved(problem, seed=seed, n_particles=512) for seed in (1, 1, 2))
    assert first.loss == again.loss and first.loss != other.loss
    np.testing.assert_array_equal(first.sample(50, seed=3), again.sample(50, seed=3))


def test_every_population_finds_the_narrow_wells_far_out_that_hold_a_part_of_the_law() -> None:
    exact, problem = disguised(5)
    found = solved(problem, seed=3, n_particles=4000)
    # Two wells at 6.4 lengths of the prior hold .060 of the neurons, some 30 of the 500 particles of each population;
    # the others, at 3.4 and nearer, reach beyond 5.2 in one neuron of a thousand. From the prior itself five
    # populations of 64 had found one of the two.
    is_far = (found.witnesses.u.norm(dim=1) > 5.2).reshape(8, -1)
    assert int((is_far.sum(1) > 3).sum()) >= 7
    assert abs(found.loss - exact.loss) < 1e-3


def test_two_threads_find_the_same_law_to_the_last_bit() -> None:
    _, problem = disguised(0)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(solved(problem, seed=0, n_particles=2048))
    finally:
        torch.set_num_threads(before)
    assert found[0].to_dict() | {"seconds": 0} == found[1].to_dict() | {"seconds": 0}
    np.testing.assert_array_equal(found[0].residual(), found[1].residual())


def test_samples_of_the_law_make_the_function_of_the_theory() -> None:
    _, problem = disguised(0)
    found = solved(problem, seed=0, n_particles=4000)
    n = 40_000
    theta = found.sample(n, seed=1)
    phi = problem.activation.phi(tensor(theta[:, :-1]) @ problem.inputs.T).numpy()
    each = theta[:, -1:] * phi
    # Twins among the samples (4,000 ancestors) count like 10 of one kind: their scatter, not that of n neurons.
    error = each.std(axis=0) / np.sqrt(2000)
    gap = each.mean(axis=0) - found.prediction(problem.inputs.numpy())[:, 0]
    assert np.abs(gap / error).max() < 4


def test_a_neighbouring_problem_starts_where_the_last_one_ended() -> None:
    _, problem = disguised(0)
    first = solved(problem, seed=0, n_particles=4000)
    hotter = PointProblem(
        problem.inputs, problem.targets, problem.weights, problem.activation, 1.2 * problem.temperature,
        problem.lambda_w, problem.lambda_a,
    )  # fmt: skip
    cold, warm = solved(hotter, seed=1, n_particles=4000), solved(hotter, seed=2, n_particles=4000, warm=first)
    assert abs(warm.loss - cold.loss) < 4 * np.hypot(warm.loss_error, cold.loss_error)
    assert abs(warm.free_energy - cold.free_energy) < 4 * np.hypot(warm.free_energy_error, cold.free_energy_error)


def test_the_test_loss_is_that_of_the_function_on_the_test_points() -> None:
    _, problem = disguised(0)
    judges = Judges(problem.inputs[:10], problem.targets[:10], torch.full((10,), 0.1, dtype=torch.float64))
    found = solved(problem, seed=0, n_particles=2000, test=judges)
    by_hand = float(((found.prediction(judges.inputs.numpy()) - judges.targets.numpy()) ** 2).mean())
    assert found.test_loss == pytest.approx(by_hand, abs=3 * found.test_loss_error)


def test_a_precision_out_of_reach_is_refused_with_the_number_of_particles_that_would_do() -> None:
    _, problem = disguised(0)
    found = solved(problem, seed=0, n_particles=512, precision=1e-9, seconds=0.0)
    assert "theory.n_particles = " in found.shortfall
    assert "was asked for" in found.shortfall


def test_the_curvature_of_the_sampled_dual_is_that_of_its_gradient() -> None:
    _, problem = disguised(3, n_readouts=2)
    device = problem.inputs.device
    problem = PointProblem(
        problem.inputs, problem.targets, problem.weights, problem.activation, problem.temperature, problem.lambda_w,
        problem.lambda_a, torch.float64,
    )  # fmt: skip
    particles = prior_particles(5, 2, 200, seed=0, device=device, dtype=torch.float64)
    rho = 0.05 * problem.visible_target
    dual = SampledDual(problem, particles, rho)
    v = tensor(host_generator(0, Stream.SUBSAMPLE).standard_normal(rho.shape))
    step = 1e-6
    up = SampledDual(problem, dual.pushed(v)(step), rho + step * v).gradient()
    down = SampledDual(problem, dual.pushed(v)(-step), rho - step * v).gradient()
    # Central difference: at step 1e-5 its error, of order step^2, was 1.3e-5; here it is 100 times smaller.
    torch.testing.assert_close(-(up - down) / (2 * step), dual.curvature_product(v), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_standard_errors_of_forty_planar_problems_are_honest() -> None:
    # 60 to 76 % within one and 90 % within two standard errors is what the lab promises. Errors with Student's
    # factor hold 68 and 94 %: of 40 problems at least 20 and 34 but for one case in a hundred.
    losses, energies = [], []
    for number in range(40):
        exact, problem = disguised(number)
        found = solved(problem, seed=number, n_particles=4000)
        losses.append(abs(found.loss - exact.loss) / found.loss_error)
        energies.append(abs(found.free_energy - exact.free_energy) / found.free_energy_error)
        assert abs(found.loss - exact.loss) < 2e-3
    for scores in (np.array(losses), np.array(energies)):
        assert (scores < 1).sum() >= 20 and (scores < 2).sum() >= 34
