"""Replica exchange: networks on a ladder of temperatures that exchange their weights, so that cold ones do not stick.

    energy of a network  U = N^(2 kappa - 1) E r^2 / 2 + sum_i (lambda_w |w_i|^2 + lambda_a a_i^2)/2
    neighbours i, j exchange with probability min(1, exp((1/T_i - 1/T_j)(U_i - U_j)))

Every rung keeps its own law exp(-U/T), and a network that has gone up and come down is independent of what it was. U
grows with N and so does the overlap that is missing: rungs of equal acceptance are O(N^-1/2) apart in log T, so wide
networks need many. The expected acceptance of a pair, erfc(sqrt(D)/2) with D = (1/T_i - 1/T_j)(U_j - U_i), follows
from the mean energies alone (energies of many neurons are Gaussian).

Source: Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996); the rate: Kofke, J. Chem. Phys. 117, 6911 (2002).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy.special import erfc, erfcinv
from torch import Tensor

from mft_engine import dynamics
from mft_engine.dynamics import Hyper, Problem
from mft_engine.dynamics.gibbs import N_SWEEPS, start_chain
from mft_engine.dynamics.state import RECORD_EVERY
from mft_engine.experiment.setting import Setting
from mft_engine.field.walk import DRAWS
from mft_engine.network.neuron import Neuron
from mft_engine.network.scaling import energy_scale
from mft_engine.network.two_layer import initial_cloud
from mft_engine.points.measure import weighted
from mft_engine.points.statistics import Estimate, averaged, order_parameters
from mft_engine.questions.theory import is_planar, solve_theory
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.rng import Stream, host_generator
from mft_engine.tasks import Task
from mft_engine.theory.finite_width import solve_finite_width
from mft_engine.theory.planar import PlanarTheory

TARGET_RATE = 0.3
# The square root of D at which neighbours exchange with TARGET_RATE.
TARGET_LENGTH = 2.0 * float(erfcinv(TARGET_RATE))
MOST_RUNGS = 256
HOTTEST = 1e3
HOTTEST_FACTOR = 10.0
MAX_RUNGS = 24
# A finite-width law takes a second or two, so long ladders are checked at some of their rungs.
FINITE_WIDTHS = 5
PILOT_RUNGS = 5
# Of the recipe's duration; mean energies are needed to some per cent only.
PILOT_SHARE = 0.15


class Replica(Protocol):
    """A network at a fixed temperature whose weights can be exchanged with those of another."""

    def advance(self, n_steps: int) -> None:
        """Move on at this temperature."""
        ...

    def energy(self) -> float:
        """U of the present weights."""
        ...

    def observe(self) -> dict[str, float]:
        """Observables of the present weights; the same names at every rung."""
        ...

    def exchange(self, other: Self) -> None:
        """Exchange the weights."""
        ...


class LangevinReplica:
    """A network that moves by Langevin dynamics; its noise goes with its weights.

    Args:
        theta: (n_neurons, n_inputs + n_out) where it starts.
        problem: with points that stay; its seed is the noise's.
        hyper: the rung's temperature and step.
    """

    def __init__(self, theta: Tensor, problem: Problem, hyper: Hyper) -> None:
        self.problem, self.hyper = problem, hyper
        self.state = dynamics.init(theta, problem)

    def advance(self, n_steps: int) -> None:
        """n_steps of the dynamics at this rung's temperature."""
        self.state, _ = dynamics.advance(self.state, self.problem, self.hyper, n_steps, beyond=True)

    def loss(self) -> float:
        """E r^2 of the network as it stands."""
        problem = self.problem
        residual = problem.targets - problem.kernel.predict(self.state.theta, problem.inputs, problem.readout_exponent)
        return float(weighted(problem.weights, residual.square()).sum(dtype=torch.float64))

    def energy(self) -> float:
        """U of the present weights."""
        squares = self.state.theta.square().sum(dim=0, dtype=torch.float64)
        n_inputs, hyper = self.problem.inputs.shape[1], self.hyper
        penalty = 0.5 * float(hyper.lambda_w * squares[:n_inputs].sum() + hyper.lambda_a * squares[n_inputs:].sum())
        n, kappa = self.state.theta.shape[0], self.problem.readout_exponent
        return 0.5 * energy_scale(n, kappa) * self.loss() + penalty

    def observe(self) -> dict[str, float]:
        """Loss and order parameters."""
        orders = self.problem.orders(self.state.theta)
        return {"loss": self.loss(), **{name: estimate.mean for name, estimate in orders.items()}}

    def exchange(self, other: LangevinReplica) -> None:
        """Weights and noise of the two change places; steps and step sizes belong to the rungs."""
        mine, theirs = self.state.theta, other.state.theta
        self.state, other.state = replace(self.state, theta=theirs), replace(other.state, theta=mine)
        seed = self.problem.seed
        self.problem = replace(self.problem, seed=other.problem.seed)
        other.problem = replace(other.problem, seed=seed)


class GibbsReplica:
    """A planar network that moves by exact sweeps: no step size.

    Args:
        problem: with points that stay; its seed is the chain's.
        hyper: the rung's temperature.
    """

    def __init__(self, problem: Problem, hyper: Hyper, n_neurons: int) -> None:
        self.chain = start_chain(problem, hyper, n_neurons)

    def advance(self, n_steps: int) -> None:
        """n_steps sweeps."""
        self.chain.sweep(n_steps)

    def energy(self) -> float:
        """U of the present weights."""
        return self.chain.energy()

    def observe(self) -> dict[str, float]:
        """Loss and order parameters."""
        orders = order_parameters(self.chain.theta, 2)
        return {"loss": self.chain.loss(), **{name: estimate.mean for name, estimate in orders.items()}}

    def exchange(self, other: GibbsReplica) -> None:
        """Weights of the two change places."""
        mine = self.chain.theta
        self.chain.place(other.chain.theta)
        other.chain.place(mine)


class Ladder:
    """Replicas at ascending temperatures that move and exchange in turn.

    Attributes:
        energies: (n_rungs, n_rounds) U before each attempt to exchange; observations: the same by name.
        n_tried, n_accepted: (n_rungs - 1,) exchanges of each pair of neighbours.
        n_round_trips: times that a network has gone from the coldest rung to the hottest and back.

    Args:
        replicas: coldest first.
        temperatures: ascending.
        seed: of the exchanges.
    """

    def __init__(self, replicas: Sequence[Replica], temperatures: Sequence[float] | np.ndarray, seed: int) -> None:
        self.replicas, self.temperatures, self.seed = list(replicas), np.asarray(temperatures, dtype=float), seed
        n = len(self.replicas)
        if n != len(self.temperatures) or n < 2 or not (np.diff(self.temperatures) > 0).all():
            raise ValueError("A ladder needs two rungs at least, at ascending temperatures")
        self.n_tried, self.n_accepted = np.zeros(n - 1, dtype=int), np.zeros(n - 1, dtype=int)
        self._network = list(range(n))
        self._n_rounds = 0
        self.forget()

    @property
    def energies(self) -> np.ndarray:
        """(n_rungs, n_rounds)."""
        return np.array(self._energies).T

    @property
    def observations(self) -> dict[str, np.ndarray]:
        """Name to (n_rungs, n_rounds)."""
        names = self._observations[0][0] if self._observations else {}
        return {name: np.array([[seen[name] for seen in row] for row in self._observations]).T for name in names}

    @property
    def n_rounds(self) -> int:
        """Rounds since the last `forget`."""
        return len(self._energies)

    def forget(self) -> None:
        """What was seen and counted so far was burn-in."""
        self._energies: list[np.ndarray] = []
        self._observations: list[list[dict[str, float]]] = []
        self.n_tried[:], self.n_accepted[:], self.n_round_trips = 0, 0, 0
        # None: has not been cold yet, so no trip of this network has begun.
        self._has_been_hot: list[bool | None] = [None] * len(self.replicas)
        self._has_been_hot[self._network[0]] = False

    def round(self, n_steps: int) -> None:
        """Every network moves n_steps, is looked at, and every second pair of neighbours tries to exchange."""
        for replica in self.replicas:
            replica.advance(n_steps)
        energies = np.array([replica.energy() for replica in self.replicas])
        self._energies.append(energies)
        self._observations.append([replica.observe() for replica in self.replicas])
        uniform = host_generator(self.seed, Stream.TEMPERING, self._n_rounds).random(len(self.replicas))
        for i in range(self._n_rounds % 2 if len(self.replicas) > 2 else 0, len(self.replicas) - 1, 2):
            log_ratio = (1 / self.temperatures[i] - 1 / self.temperatures[i + 1]) * (energies[i] - energies[i + 1])
            self.n_tried[i] += 1
            if log_ratio >= 0 or uniform[i] < math.exp(log_ratio):
                self.n_accepted[i] += 1
                self.replicas[i].exchange(self.replicas[i + 1])
                self._network[i], self._network[i + 1] = self._network[i + 1], self._network[i]
        self._n_rounds += 1
        self._follow()

    def _follow(self) -> None:
        cold, hot = self._network[0], self._network[-1]
        if self._has_been_hot[cold]:
            self.n_round_trips += 1
        self._has_been_hot[cold] = False
        if self._has_been_hot[hot] is False:
            self._has_been_hot[hot] = True


def lengths(temperatures: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """(n - 1,) sqrt(D) of each pair from mean energies; erfc(sqrt(D)/2) is the acceptance to expect.

    Between two rungs it adds up: sqrt(D) = sqrt(dU/dT) d log T, so the sum tells how many rungs a span needs.
    """
    distance = (1 / temperatures[:-1] - 1 / temperatures[1:]) * np.diff(energies)
    return np.sqrt(np.maximum(distance, 0.0))


def rungs_needed(temperatures: np.ndarray, energies: np.ndarray) -> int:
    """How many rungs over the same span exchange with TARGET_RATE everywhere."""
    return 1 + max(1, math.ceil(_span(temperatures, energies)[-1] / TARGET_LENGTH - 1e-9))


def _span(temperatures: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """(n,) length from the coldest rung, integral of sqrt(dU/dT) d log T with dU/dT constant between rungs."""
    capacity = np.maximum(np.diff(energies) / np.diff(temperatures), 1e-12)
    return np.concatenate([[0.0], np.cumsum(np.sqrt(capacity) * np.diff(np.log(temperatures)))])


def spaced(temperatures: np.ndarray, energies: np.ndarray, n_rungs: int) -> np.ndarray:
    """(n_rungs,) temperatures over the same span, neighbours equally far in `lengths`."""
    span = _span(temperatures, energies)
    found = np.exp(np.interp(np.linspace(0, span[-1], n_rungs), span, np.log(temperatures)))
    found[0], found[-1] = temperatures[0], temperatures[-1]
    return np.asarray(found)


@dataclass(frozen=True)
class Rung:
    """One temperature: means over the second part of the run, each with its standard error.

    Attributes:
        energy: U / N.
        loss: of each network; theory_loss at infinite width, finite_width_loss at this N (at FINITE_WIDTHS rungs), None
            where no law is known.
        observables: order parameters by name.
    """

    temperature: float
    energy: Estimate
    loss: Estimate
    theory_loss: float | None
    finite_width_loss: float | None
    observables: dict[str, Estimate]


@dataclass(frozen=True)
class Tempering:
    """What a ladder has shown.

    Attributes:
        rungs: coldest first.
        rates: accepted share of the exchanges of each pair; expected_rates: from mean energies.
        rungs_needed: for TARGET_RATE over the same span of temperatures.
        widest: the largest number of neurons for which MAX_RUNGS rungs would reach that rate.
        n_rounds: attempts averaged over; is_complete: False where it was stopped early.
    """

    recipe: Recipe
    n_neurons: int
    rungs: tuple[Rung, ...]
    rates: tuple[float, ...]
    expected_rates: tuple[float, ...]
    n_round_trips: int
    rungs_needed: int
    widest: int
    n_rounds: int
    steps_a_round: int
    seconds: float
    is_complete: bool

    @property
    def sentence(self) -> str:
        """How well the ladder mixes, in words."""
        worst = min(self.rates)
        if worst >= TARGET_RATE / 2:
            trips = f"{self.n_round_trips} round trips" if self.n_round_trips else "no round trip yet: run longer"
            return f"All neighbours exchange (at worst {worst:.2f}); {trips}."
        text = (
            f"The ladder is broken: neighbours exchange at worst with rate {worst:.2g}. Over these temperatures "
            f"{self.rungs_needed} rungs would reach {TARGET_RATE}"
        )
        if self.rungs_needed > MAX_RUNGS:
            text += f", or {MAX_RUNGS} rungs for at most {self.widest} neurons (energies grow with N)"
        return text + "."

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `mft-lab temper`; a number that is not known is None."""
        document = asdict(self)
        document["recipe"] = self.recipe.name
        return {"schema": "mft-lab/tempering/1", **document, "sentence": self.sentence}


def temper(
    recipe: Recipe,
    *,
    n_rungs: int | None = None,
    hottest: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[float | Tempering]:
    """Run a ladder from the recipe's temperature up; yields the fraction done, at last the `Tempering`.

    With `n_rungs` the ladder is geometric. Without, a short pilot measures the mean energies, and the rungs are placed
    so that all neighbours exchange with TARGET_RATE, or as evenly as MAX_RUNGS rungs can.

    Args:
        recipe: Langevin or Gibbs dynamics; `training.time` or `n_steps` is the length at the coldest rung, of which
            `foreground.window` is averaged.
        n_rungs: 2 at least.
        hottest: temperature of the last rung, HOTTEST_FACTOR times the recipe's if not given.
        should_stop: asked before every round; what was seen so far is then the result.

    Raises:
        RecipeError: a recipe without a law to sample, points that move, or temperatures that do not ascend.
    """
    coldest = recipe.training.temperature
    last = HOTTEST_FACTOR * coldest if hottest is None else hottest
    _check(recipe, n_rungs, last)
    start, setting = time.perf_counter(), Setting.of(recipe)
    ends, shown = (coldest, last), 0.0
    temperatures = np.geomspace(*ends, n_rungs or PILOT_RUNGS)
    if n_rungs is None:
        pilot = Ladder(_replicas(recipe, setting, temperatures), temperatures, recipe.seed)
        for fraction in _rounds(pilot, recipe, PILOT_SHARE, 0.6, should_stop):
            shown = fraction * PILOT_SHARE
            yield shown
        energies = pilot.energies.mean(axis=1)
        wanted = min(MAX_RUNGS, rungs_needed(temperatures, energies))
        temperatures = spaced(temperatures, energies, wanted)
    ladder = Ladder(_replicas(recipe, setting, temperatures), temperatures, recipe.seed)
    for fraction in _rounds(ladder, recipe, 1.0, recipe.foreground.window, should_stop):
        yield shown + (1 - shown) * fraction
    is_complete = should_stop is None or not should_stop()
    yield _result(recipe, setting, ladder, time.perf_counter() - start, is_complete)


def _check(recipe: Recipe, n_rungs: int | None, hottest: float) -> None:
    training = recipe.training
    if training.dynamics not in ("langevin", "gibbs") or training.temperature == 0:
        raise RecipeError(
            f'Tempering samples a law: training.dynamics = "{training.dynamics}" at temperature '
            f'{training.temperature:g} has none; choose "langevin" or "gibbs" and a temperature above 0'
        )
    if training.batch_size or training.rule_rotates:
        raise RecipeError("Tempering compares energies on the same points: no batches and no turning rule")
    if not recipe.network.train_readout:
        raise RecipeError("Tempering exchanges whole networks: it needs trained readouts")
    if recipe.network.n_layers > 1:
        raise RecipeError("Tempering is for networks of one hidden layer")
    if recipe.foreground.background != "trained":
        raise RecipeError('Tempering runs the recipe\'s own network: choose foreground.background = "trained"')
    if not math.isfinite(hottest) or hottest > HOTTEST:
        raise RecipeError(f"The hottest rung, {hottest:g}, must be a number up to {HOTTEST:g}")
    if hottest <= training.temperature:
        raise RecipeError(
            f"The hottest rung, {hottest:g}, must be above the recipe's training.temperature = {training.temperature:g}"
        )
    if n_rungs is not None and not 2 <= n_rungs <= MOST_RUNGS:
        raise RecipeError(f"A ladder of {n_rungs} rungs: it needs 2 at least, and more than {MOST_RUNGS} help nobody")


def _replicas(recipe: Recipe, setting: Setting, temperatures: np.ndarray) -> list[Replica]:
    replicas: list[Replica] = []
    for k, temperature in enumerate(temperatures):
        own = recipe.replace({"training.temperature": float(temperature), "seed": recipe.seed + k * DRAWS})
        problem = setting.problem(recipe)
        problem, n = replace(problem, seed=own.seed), recipe.network.n_neurons[0]
        if recipe.training.dynamics == "gibbs":
            replicas.append(GibbsReplica(problem, Hyper.of(own), n))
            continue
        cloud = initial_cloud(
            own,
            setting.task.n_inputs,
            n,
            n_out=setting.task.n_out,
            stream=Stream.INITIAL,
            device=setting.device,
            dtype=setting.dtype,
        )
        replicas.append(LangevinReplica(cloud.theta, problem, Hyper.of(own)))
    return replicas


def _rounds(
    ladder: Ladder, recipe: Recipe, share: float, window: float, should_stop: Callable[[], bool] | None
) -> Iterator[float]:
    """Rounds until `share` of the recipe's length, the averages over the last `window` of them; the fraction done."""
    done, is_settled = 0.0, False
    while done < 1 - 1e-9:
        if should_stop is not None and should_stop() and ladder.n_rounds:
            return
        ladder.round(_steps_a_round(recipe))
        done = min(1.0, _length_done(ladder, recipe) / share)
        if not is_settled and done >= 1 - window and done < 1 - 1e-9:
            ladder.forget()
            is_settled = True
        yield done


def _steps_a_round(recipe: Recipe) -> int:
    return 1 if recipe.training.dynamics == "gibbs" else RECORD_EVERY


def _length_done(ladder: Ladder, recipe: Recipe) -> float:
    """Of the recipe's own length, at the coldest rung."""
    training, coldest = recipe.training, ladder.replicas[0]
    if isinstance(coldest, LangevinReplica) and not training.n_steps:
        return coldest.state.time / training.time
    n_steps = training.n_steps or N_SWEEPS
    return ladder._n_rounds * _steps_a_round(recipe) / n_steps


def _planar_theory(recipe: Recipe, task: Task, warm: PlanarTheory | None) -> PlanarTheory:
    """The exact solution where it takes no time."""
    if not is_planar(recipe, task):
        raise RecipeError("The infinite-width solution of every temperature is for two inputs and one readout")
    found = solve_theory(recipe, warm=warm)
    assert isinstance(found, PlanarTheory)
    return found


def _result(recipe: Recipe, setting: Setting, ladder: Ladder, seconds: float, is_complete: bool) -> Tempering:
    n, temperatures, seen = recipe.network.n_neurons[0], ladder.temperatures, ladder.observations
    energies = ladder.energies
    theory: PlanarTheory | None = None
    points = setting.field_points
    solved = np.linspace(0, len(temperatures) - 1, min(len(temperatures), FINITE_WIDTHS)).round().astype(int)
    rungs = []
    for k, temperature in enumerate(temperatures):
        neuron = Neuron.of(recipe)._replace(temperature=float(temperature))
        finite = None
        try:
            theory = _planar_theory(recipe.replace({"training.temperature": float(temperature)}), setting.task, theory)
            if k in solved:
                finite = solve_finite_width(points.inputs, points.targets, points.weights, n, *neuron).loss
        except RecipeError:
            theory = None
        values = {name: averaged(series[k]) for name, series in seen.items()}
        loss = values.pop("loss")
        energy = averaged(energies[k] / n)
        rungs.append(Rung(float(temperature), energy, loss, None if theory is None else theory.loss, finite, values))
    means = energies.mean(axis=1)
    pairs = lengths(temperatures, means)
    span = float(_span(temperatures, means)[-1])
    return Tempering(
        recipe=recipe,
        n_neurons=n,
        rungs=tuple(rungs),
        rates=tuple(float(rate) for rate in ladder.n_accepted / np.maximum(1, ladder.n_tried)),
        expected_rates=tuple(float(rate) for rate in erfc(pairs / 2)),
        n_round_trips=ladder.n_round_trips,
        rungs_needed=rungs_needed(temperatures, means),
        widest=max(1, math.floor(n * ((MAX_RUNGS - 1) * TARGET_LENGTH / span) ** 2)),
        n_rounds=ladder.n_rounds,
        steps_a_round=_steps_a_round(recipe),
        seconds=seconds,
        is_complete=is_complete,
    )
