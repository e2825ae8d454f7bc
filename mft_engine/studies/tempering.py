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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import erfc

from mft_engine.dynamics import Hyper
from mft_engine.dynamics.gibbs import N_SWEEPS
from mft_engine.dynamics.state import RECORD_EVERY
from mft_engine.estimates import Estimate, averaged
from mft_engine.experiment.setting import Setting
from mft_engine.network.neuron import Neuron
from mft_engine.network.two_layer import initial_cloud
from mft_engine.questions.theory import is_planar, solve_theory
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.rng import DRAWS, Stream
from mft_engine.studies.ladder import (
    TARGET_LENGTH,
    TARGET_RATE,
    GibbsReplica,
    Ladder,
    LangevinReplica,
    Replica,
    lengths,
    rungs_needed,
    spaced,
    span_of,
)
from mft_engine.tasks import Task
from mft_engine.theory.finite_width import solve_finite_width
from mft_engine.theory.planar import PlanarTheory

MOST_RUNGS = 256
HOTTEST = 1e3
HOTTEST_FACTOR = 10.0
MAX_RUNGS = 24
# A finite-width law takes a second or two, so long ladders are checked at some of their rungs.
FINITE_WIDTHS = 5
PILOT_RUNGS = 5
# Of the recipe's duration; mean energies are needed to some per cent only.
PILOT_SHARE = 0.15


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
    span = float(span_of(temperatures, means)[-1])
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
