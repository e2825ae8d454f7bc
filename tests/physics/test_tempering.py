"""Replica exchange: exact laws at every rung, rates as predicted, ladders that reach their rate, honest failure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import erfc

from mft_engine import cli
from mft_engine.dynamics import Hyper
from mft_engine.estimates import averaged
from mft_engine.experiment.experiment import Experiment
from mft_engine.figures.ladder import save_ladder
from mft_engine.kernels import reference
from mft_engine.network.activations import get_activation
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.studies.ladder import TARGET_LENGTH, TARGET_RATE, Ladder, LangevinReplica, lengths, rungs_needed, spaced
from mft_engine.studies.tempering import MAX_RUNGS, temper
from mft_engine.theory.finite_width import solve_finite_width

SMALL = load_recipe("clover").replace({"engine.n_threads": 1, "network.n_neurons": 32, "training.rule_size": [6, 24]})
# Few points make the finite-width law of a rung quick where it is not what is tested.
FEW_POINTS = {"training.rule_size": [3, 12]}


@dataclass
class Walker:
    """A point on the line in an energy, by Metropolis steps at its own temperature."""

    x: float
    temperature: float
    landscape: object
    generator: np.random.Generator

    def advance(self, n_steps: int) -> None:
        kicks, logs = self.generator.standard_normal(n_steps), np.log(self.generator.random(n_steps))
        for kick, log in zip(kicks, logs, strict=True):
            there = self.x + 0.4 * kick
            if log < (self.landscape(self.x) - self.landscape(there)) / self.temperature:
                self.x = there

    def energy(self) -> float:
        return self.landscape(self.x)

    def observe(self) -> dict[str, float]:
        return {"right": float(self.x > 0), "square": self.x**2}

    def exchange(self, other: Walker) -> None:
        self.x, other.x = other.x, self.x


def _two_wells(x: float) -> float:
    return 6.0 * (x * x - 1.0) ** 2 - 0.3 * x


def _ladder_of_walkers(temperatures: np.ndarray, start: float) -> Ladder:
    walkers = [Walker(start, t, _two_wells, host_generator(5, Stream.THEORY, k)) for k, t in enumerate(temperatures)]
    return Ladder(walkers, temperatures, seed=1)


def test_two_wells_are_occupied_as_the_boltzmann_law_says_where_a_lone_cold_chain_sticks() -> None:
    # Barrier 6/T = 12 at the coldest rung: alone it never leaves the wrong well.
    temperatures = np.geomspace(0.5, 5.0, 5)
    ladder = _ladder_of_walkers(temperatures, start=-1.0)
    for _ in range(6000):
        ladder.round(8)
    grid = np.linspace(-3, 3, 20_001)
    for k, temperature in enumerate(temperatures):
        law = np.exp(-np.array([_two_wells(x) for x in grid]) / temperature)
        law /= law.sum()
        for name, values in (("right", grid > 0), ("square", grid**2)):
            mean, error = averaged(ladder.observations[name][k, 200:])
            assert abs(mean - float(law @ values)) < 4 * error
            assert error < 0.05
    assert ladder.n_round_trips > 50
    alone = Walker(-1.0, 0.5, _two_wells, host_generator(6, Stream.THEORY))
    alone.advance(2000)
    assert alone.x < 0


@dataclass
class Gaussian:
    """U = |x|^2/2 in many dimensions, drawn afresh at every step: rates have no memory to blur them."""

    x: np.ndarray
    temperature: float
    generator: np.random.Generator

    def advance(self, n_steps: int) -> None:
        self.x = math.sqrt(self.temperature) * self.generator.standard_normal(len(self.x))

    def energy(self) -> float:
        return 0.5 * float(self.x @ self.x)

    def observe(self) -> dict[str, float]:
        return {"first": float(self.x[0])}

    def exchange(self, other: Gaussian) -> None:
        self.x, other.x = other.x, self.x


@pytest.mark.parametrize("dimension", [60, 400])
def test_rates_follow_from_mean_energies_and_spacing_reaches_the_target(dimension: int) -> None:
    # U = dimension T/2: constant heat capacity, so equal rates are geometric and D = (dimension/2)(1 - a)(1/a - 1).
    ends = np.array([0.02, 0.2])
    energies = dimension * ends / 2
    n = rungs_needed(ends, energies)
    assert n == 1 + math.ceil(math.sqrt(dimension / 2) * math.log(10) / TARGET_LENGTH)
    temperatures = spaced(ends, energies, n)
    np.testing.assert_allclose(temperatures, np.geomspace(*ends, n), rtol=1e-12)
    ladder = Ladder(
        [Gaussian(np.zeros(dimension), t, host_generator(2, Stream.THEORY, k)) for k, t in enumerate(temperatures)],
        temperatures,
        seed=3,
    )
    n_rounds = 1500
    for _ in range(n_rounds):
        ladder.round(1)
    rates = ladder.n_accepted / ladder.n_tried
    expected = erfc(lengths(temperatures, dimension * temperatures / 2) / 2)
    # A binomial share of n_rounds/2 tries; the Gaussian formula errs by O(1/dimension).
    assert np.all(np.abs(rates - expected) < 4 * np.sqrt(0.25 / (n_rounds / 2)) + 1 / dimension)
    assert np.mean(rates) > TARGET_RATE - 0.02
    measured = rungs_needed(temperatures, ladder.energies.mean(axis=1))
    assert abs(measured - n) <= 1


def test_round_trips_are_counted_from_cold_to_hot_and_back() -> None:
    class Still:
        def advance(self, n_steps: int) -> None: ...

        def energy(self) -> float:
            return 0.0

        def observe(self) -> dict[str, float]:
            return {}

        def exchange(self, other: Still) -> None: ...

    # Equal energies: every exchange is accepted. Two rungs swap every round: cold-hot-cold takes two rounds.
    two = Ladder([Still(), Still()], [1.0, 2.0], seed=0)
    trips = []
    for _ in range(6):
        two.round(1)
        trips.append(two.n_round_trips)
    assert trips == [0, 1, 2, 3, 4, 5]
    # Three rungs, pairs in turn: network 0 goes 1, 2, 2, 1, 0: at the cold end again after five rounds.
    three = Ladder([Still(), Still(), Still()], [1.0, 2.0, 3.0], seed=0)
    assert [(three.round(1), three.n_round_trips)[1] for _ in range(6)] == [0, 0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="ascending"):
        Ladder([Still(), Still()], [2.0, 1.0], seed=0)


@dataclass(frozen=True)
class ReadoutsAlone(Hyper):
    """Input weights that stay: the network is then linear in what moves."""

    def rate_per_step(self, n_inputs: int, n_out: int = 1) -> tuple[float, ...]:
        return (0.0,) * n_inputs + (1.0 / self.lambda_a,) * n_out


def test_langevin_networks_with_fixed_features_sample_the_ridge_posterior_at_every_rung() -> None:
    """U is quadratic in the readouts: mean A^-1 Phi' W y, covariance T A^-1, A = lambda_a I + Phi' W Phi/N; <U> too.

    The means must agree over all rungs; the variances grow with T; U - U_min has mean N T/2.
    """
    n, temperatures = 4, np.array([0.02, 0.04, 0.08])
    recipe = SMALL.replace({"training.rule_size": [4, 8], "network.n_neurons": n, "training.step_size": 0.1})
    problem = Experiment(recipe).problem
    w = 0.15 * host_generator(4, Stream.THEORY).standard_normal((n, 2))
    theta = torch.as_tensor(np.column_stack([w, np.zeros(n)]), dtype=torch.float32)
    replicas = []
    for k, temperature in enumerate(temperatures):
        hyper = ReadoutsAlone(0.02, 0.001, float(temperature), 0.1, "leimkuhler-matthews", True, True)
        own = type(problem)(**{**vars(problem), "seed": 100 + k})
        replicas.append(LangevinReplica(theta, own, hyper))
    ladder = Ladder(replicas, temperatures, seed=2)
    readouts = []
    for _ in range(2600):
        ladder.round(10)
        readouts.append([replica.state.theta[:, 2].double().numpy().copy() for replica in replicas])
    a = np.array(readouts)[100:]
    x, m, y = (part.double().numpy() for part in (problem.inputs, problem.weights, problem.targets))
    phi = get_activation("relu_tanh").phi(torch.as_tensor(x @ w.T)).numpy()
    stiffness = 0.001 * np.eye(n) + phi.T @ (m[:, None] * phi) / n
    mean = np.linalg.solve(stiffness, phi.T @ (m * y))
    least = 0.5 * (n * float(m @ (y - phi @ mean / n) ** 2) + 0.001 * float(mean @ mean))
    least += 0.5 * 0.02 * float((w**2).sum())
    for k, temperature in enumerate(temperatures):
        assert torch.equal(replicas[k].state.theta[:, :2], theta[:, :2])
        spread = temperature * np.diag(np.linalg.inv(stiffness))
        for i in range(n):
            for series, exact in ((a[:, k, i], mean[i]), ((a[:, k, i] - mean[i]) ** 2, spread[i])):
                found, error = averaged(series)
                assert abs(found - exact) < 4.5 * error  # 24 numbers are checked at once
                assert error < 0.2 * max(math.sqrt(spread[i]), exact)
        energy, error = averaged(ladder.energies[k, 100:])
        assert abs(energy - least - n * temperature / 2) < 4.5 * error
    assert ladder.n_accepted.min() > 100, "without exchanges nothing was tested"


@pytest.mark.parametrize("dynamics", ["gibbs", "langevin"])
def test_every_rung_of_a_clover_keeps_the_law_of_its_own_temperature(dynamics: str) -> None:
    """Against the finite-width law, to 1/N^2 (at N = 32 loss to .0005, cos4 to .001; docs/physics.md section 10)."""
    changes = {"training.dynamics": dynamics, "training.time": 30.0, "training.n_steps": 1200 * (dynamics == "gibbs")}
    *_, found = temper(SMALL.replace(changes), n_rungs=3, hottest=0.03)
    assert found.is_complete and len(found.rungs) == 3
    points = Experiment(SMALL).field_points
    for rung in found.rungs:
        law = solve_finite_width(
            points.inputs, points.targets, points.weights, 32, "relu_tanh", rung.temperature, SMALL.lambda_w,
            SMALL.lambda_a,
        )  # fmt: skip
        assert rung.finite_width_loss == pytest.approx(law.loss)
        assert abs(rung.loss.mean - law.loss) < 4 * rung.loss.standard_error + 0.0005
        cos4 = rung.observables["cos4"]
        assert abs(cos4.mean - law.order_parameters["cos4"]) < 4 * cos4.standard_error + 0.002
        assert rung.loss.standard_error < 0.006 and cos4.standard_error < 0.02
    assert rung.theory_loss < rung.finite_width_loss
    assert min(found.rates) > 0.1 and max(abs(np.subtract(found.rates, found.expected_rates))) < 0.15


def test_an_automatic_ladder_reaches_its_rate_and_says_what_a_wide_network_would_need() -> None:
    recipe = SMALL.replace(
        {"training.dynamics": "gibbs", "network.n_neurons": 16, "training.n_steps": 400, **FEW_POINTS}
    )
    *_, found = temper(recipe, hottest=0.08)
    assert len(found.rungs) == pytest.approx(found.rungs_needed, abs=1)
    # 270 rounds, half of them tries of a pair; energies have a memory of a few sweeps: an error of about .06.
    # A rung more than needed brings neighbours nearer: TARGET_RATE belongs to TARGET_LENGTH between them.
    between = TARGET_LENGTH * (found.rungs_needed - 1) / (len(found.rungs) - 1)
    assert min(found.rates) > 0.1 and np.mean(found.rates) == pytest.approx(erfc(between / 2), abs=0.12)
    wide = recipe.replace({"network.n_neurons": 512, "training.n_steps": 60})
    *_, broken = temper(wide, n_rungs=2, hottest=0.08)
    assert broken.rates == (0.0,) and "ladder is broken" in broken.sentence
    # Rungs grow like the root of N: 16 -> 512 is a factor of 5.7.
    assert 4.5 < (broken.rungs_needed - 1) / (found.rungs_needed - 1) < 7.5
    assert broken.rungs_needed > MAX_RUNGS
    assert f"at most {broken.widest} neurons" in broken.sentence and broken.widest < 512


def test_an_exchange_takes_the_noise_along_and_leaves_steps_and_temperatures() -> None:
    recipe = SMALL.replace({"training.step_size": 0.001})
    problem = Experiment(recipe).problem
    thetas = [torch.full((32, 3), value) for value in (0.1, 0.2)]
    first, second = (
        LangevinReplica(theta, type(problem)(**{**vars(problem), "seed": seed}), Hyper.of(recipe))
        for theta, seed in zip(thetas, (7, 8), strict=True)
    )
    low, high = first.energy(), second.energy()
    first.exchange(second)
    assert torch.equal(first.state.theta, thetas[1]) and torch.equal(second.state.theta, thetas[0])
    assert (first.problem.seed, second.problem.seed) == (8, 7)
    assert (first.energy(), second.energy()) == (high, low)


def test_the_energy_of_several_readouts_is_what_the_dynamics_descends() -> None:
    """The gradient of U is what each neuron feels: U from the replica against autograd of loss and penalty."""
    recipe = load_recipe("modular-addition").replace({"network.n_neurons": 12, "engine.dtype": "float64"})
    experiment = Experiment(recipe)
    replica = LangevinReplica(experiment.state.theta, experiment.problem, Hyper.of(recipe))
    theta = experiment.state.theta.clone().requires_grad_()
    problem, d = experiment.problem, experiment.problem.inputs.shape[1]
    f = experiment.setting.activation.phi(problem.inputs @ theta[:, :d].T) @ theta[:, d:] / 12
    data = 0.5 * 12 * (problem.weights[:, None] * (problem.targets - f) ** 2).sum()
    energy = (
        data + 0.5 * recipe.lambda_w * (theta[:, :d] ** 2).sum() + 0.5 * recipe.lambda_a * (theta[:, d:] ** 2).sum()
    )
    energy.backward()
    assert replica.energy() == pytest.approx(energy.item(), rel=1e-12)
    signal = problem.weights[:, None] * (problem.targets - f.detach())
    felt = -reference.gradient(experiment.state.theta, problem.inputs, signal, experiment.setting.activation)
    penalties = [recipe.lambda_w] * d + [recipe.lambda_a] * problem.n_out
    felt += torch.tensor(penalties, dtype=torch.float64) * experiment.state.theta
    torch.testing.assert_close(theta.grad, felt, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"training.rule": "batch", "training.batch_size": 32}, {}, "same points"),
        ({"network.train_readout": False}, {}, "trained readouts"),
        ({}, {"hottest": 0.01}, "must be above"),
        ({}, {"n_rungs": 1}, "2 at least"),
        ({"foreground.background": "lazy"}, {}, "own network"),
        ({"network.n_neurons": [8, 8]}, {}, "one hidden layer"),
    ],
)
def test_what_cannot_be_tempered_is_refused_in_a_sentence(changes, options, words) -> None:
    with pytest.raises(RecipeError, match=words):
        next(temper(SMALL.replace(changes), **options))
    with pytest.raises(RecipeError, match="samples a law"):
        next(temper(load_recipe("adam-clover")))


def test_a_stop_keeps_what_was_seen() -> None:
    rounds = []

    def stop() -> bool:
        return len(rounds) >= 30

    for item in temper(
        SMALL.replace({"training.dynamics": "gibbs", **FEW_POINTS}), n_rungs=2, hottest=0.03, should_stop=stop
    ):
        rounds.append(item)
    assert not item.is_complete and item.n_rounds == 30 and len(item.rungs) == 2


def test_the_command_prints_one_document_and_writes_the_figure(capsys, tmp_path) -> None:
    changes = ("network.n_neurons=16", "training.dynamics=gibbs", "training.n_steps=60", "training.rule_size=[3,12]")
    arguments = ["temper", "clover", *(part for change in changes for part in ("--set", change))]
    arguments += ["--rungs", "3", "--hottest", "0.03", "--out", str(tmp_path), "--json"]
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "mft-lab/tempering/1" and document["recipe"] == "clover"
    assert len(document["rungs"]) == 3 and len(document["rates"]) == 2 and document["sentence"]
    assert {path.name for path in tmp_path.iterdir()} == {"ladder.pdf", "ladder.png", "tempering.json"}
    with pytest.raises(SystemExit) as end:
        cli.main(["temper", "sgd-clover"])
    assert end.value.code == 2 and "samples a law" in capsys.readouterr().err


def test_a_task_without_theory_has_a_figure_too(tmp_path) -> None:
    recipe = load_recipe("parity").replace(
        {"engine.n_threads": 1, "network.n_neurons": 16, "training.n_steps": 200, "training.step_size": 0.001}
    )
    *_, found = temper(recipe, n_rungs=2, hottest=2 * recipe.training.temperature)
    assert found.rungs[0].theory_loss is None and found.rungs[0].finite_width_loss is None
    assert all(path.stat().st_size > 1000 for path in save_ladder(found, tmp_path))
