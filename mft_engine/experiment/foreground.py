"""The foreground of a network: fresh neurons, how they are sampled, and how they compare with the background's."""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from mft_engine import dynamics, kernels
from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.compare.fluctuations import Averaging
from mft_engine.compare.memory import Path
from mft_engine.compare.paths import compare_followed
from mft_engine.device import to_host
from mft_engine.dynamics import Hyper
from mft_engine.dynamics.two_layer import TwoLayer
from mft_engine.experiment.background import Background
from mft_engine.experiment.events import ComparisonReady, ForegroundReady, Progress
from mft_engine.experiment.outcome import Outcome, Population
from mft_engine.field.field import MeanField
from mft_engine.field.walk import function_covariance_trace
from mft_engine.network.scaling import drive, output_variance_scale
from mft_engine.points.loss import LOSS, mean_loss
from mft_engine.points.measure import weighted
from mft_engine.points.statistics import function_alignment
from mft_engine.questions.comparison import compare_with_field, has_gibbs_law, is_of_one_moment
from mft_engine.questions.foreground import law_of
from mft_engine.questions.replay import replay
from mft_engine.questions.theory import sample_theory
from mft_engine.recipe import RecipeError
from mft_engine.rng import DRAWS, Stream
from mft_engine.slices import finished, relayed


class Foreground(Protocol):
    """Of one hidden layer (`CloudForeground`) or of several (`LayeredForeground`).

    Attributes:
        fresh: the neurons in hand; None before they are sampled, and after a change.
        seconds: that the last draw took; health: of chains, where they drew.
    """

    fresh: Population | None
    seconds: float
    health: dict[str, float]

    def sample(self) -> Iterator[Progress | ForegroundReady]:
        """Sample in slices of about 10 ms; a second call draws fresh neurons."""
        ...

    def redraw(self) -> ForegroundReady | None:
        """The last draw under the hyperparameters in force now, where that takes milliseconds."""
        ...

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Compare the present background with the neurons in hand, layer by layer, in slices of about 10 ms.

        Raises:
            RecipeError: there are none.
        """
        ...

    def predict(self, inputs: Tensor) -> Tensor | None:
        """The recombined function at inputs (n, n_inputs); None where there is none."""
        ...

    def tables(self) -> tuple[Tensor, ...]:
        """The neurons of every hidden layer that were told last; empty where there are none."""
        ...

    def accuracies(self) -> dict[str, float]:
        """Share of right answers of that function; empty where the output is no class."""
        ...

    def forget(self) -> None:
        """The neurons in hand no longer belong to the recipe in force."""
        ...

    def take_back(self, outcome: Outcome) -> None:
        """Neurons of a stored outcome of the very state that the background is in."""
        ...


class CloudForeground:
    """The foreground of one hidden layer: a cloud in the frozen field of the background.

    Args:
        background: whose field is felt; network: its own.
    """

    def __init__(self, background: Background, network: TwoLayer) -> None:
        self.fresh: Population | None = None
        self.seconds = 0.0
        self.health: dict[str, float] = {}
        self._background, self._network = background, network
        (self._mover,) = background.setting.movers
        # Stays where a change makes `fresh` stale, as a picture.
        self._theta: Tensor | None = None
        self._told: Tensor | None = None
        # Where the neurons in hand began, if they were followed and no law says what they become.
        self._start: Tensor | None = None
        self._felt: tuple[MeanField, int] | None = None
        self._n_draws = 0

    @property
    def theta(self) -> Tensor | None:
        """(n_neurons, n_params), the last draw."""
        return self._theta

    @property
    def exponent(self) -> float:
        """kappa with which the neurons are recombined."""
        return self._background.setting.foreground_exponent(self._background.recipe)

    @property
    def drive(self) -> float:
        """N^(kappa-1), by which a foreground neuron feels the residual."""
        return drive(self._background.state.theta.shape[0], self.exponent)

    def frozen_field(self) -> MeanField:
        """The field that the foreground reacts to: point weight x residual x N^(kappa-1)."""
        background, setting = self._background, self._background.setting
        points = background.field_points
        told = LOSS.signal(setting.tensor(points.targets), background.mean_prediction().to(setting.dtype))
        signal = weighted(setting.tensor(points.weights), told) * self.drive
        recipe, activation = background.recipe, self._network.activation
        return MeanField(background.problem.field_inputs, signal, activation, recipe.lambda_w, recipe.lambda_a)

    # ---- sampling -------------------------------------------------------------------------------------------------

    def sample(self) -> Iterator[Progress | ForegroundReady]:
        """By the method of the recipe."""
        background, method = self._background, self._background.recipe.foreground.method
        start = time.perf_counter()
        draw, self.health, self._start = self._n_draws, {}, None
        if method == "replay":
            theta = yield from self._replayed(draw)
        elif method != "dynamics":
            self._felt = (self.frozen_field(), draw)
            theta = yield from self._drawn_exactly(*self._felt)
        else:
            theta = yield from self._moved(draw)
        self._n_draws += 1
        self._theta = theta
        self.seconds = time.perf_counter() - start
        prediction, loss = self._function_of(theta)
        self.fresh = Population(background.clouds([theta]), prediction, loss, method)
        yield self._ready(theta, loss, method, self.seconds, self.accuracies())

    def _ready(
        self, theta: Tensor, loss: float, method: str, seconds: float, accuracies: dict[str, float]
    ) -> ForegroundReady:
        """The neurons as they are told: they are the ones that are looked at from now on."""
        self._told, network, problem = theta, self._network, self._background.problem
        orders = network.orders(theta, problem.inputs, self.exponent).now()
        clouds, sizes = self._background.shown_clouds([theta]), (theta.shape[0],)
        return ForegroundReady(clouds, loss, method, seconds, accuracies, sizes=sizes, orders=orders)

    def tables(self) -> tuple[Tensor, ...]:
        """Also those that only followed a slider."""
        return () if self._told is None else (self._told,)

    def redraw(self) -> ForegroundReady | None:
        """The last exact foreground under the hyperparameters in force now: same frozen field, same random numbers.

        Takes some milliseconds, so that neurons follow a slider; it is a picture, not compared with anything. None
        where no foreground was drawn exactly yet.
        """
        if self._felt is None or self._background.recipe.foreground.method != "gibbs":
            return None
        start = time.perf_counter()
        theta = finished(self._drawn_exactly(*self._felt))
        _, loss = self._function_of(theta)
        return self._ready(theta, loss, "gibbs", time.perf_counter() - start, {})

    def fresh_neurons(self, draw: int) -> Tensor:
        """Where the foreground of a draw starts, (n_neurons, n_params)."""
        background, setting = self._background, self._background.setting
        n_neurons, stream = background.recipe.foreground.n_neurons, Stream.FOREGROUND_INITIAL
        if background.initial_theory is not None:
            return setting.tensor(sample_theory(background.initial_theory, background.recipe, n_neurons, stream, draw))
        return self._network.neurons(
            background.recipe, n_neurons, stream=stream, draw=draw, device=setting.device, dtype=setting.dtype
        )

    def _moved(self, draw: int) -> Generator[Progress, None, Tensor]:
        recipe = self._background.recipe
        text = f"sampling {recipe.foreground.n_neurons:,} foreground neurons"
        walk = self._background.dynamics.walk(
            self.fresh_neurons(draw),
            self.frozen_field(),
            recipe,
            self._background.state,
            self._mover,
            functools.partial(self.plan, draw),
        )
        return (yield from _told(walk, text))

    def _replayed(self, draw: int) -> Generator[Progress, None, Tensor]:
        background = self._background
        theta, n_steps = self.fresh_neurons(draw), background.state.step
        self._start = None if has_gibbs_law(background.recipe) else theta.clone()
        start = background.setting.tensor(background.initial_theta)
        plan_of = functools.partial(self.plan, draw)
        path = background.path
        walk = replay(theta, start, background.problem, path, n_steps, plan_of, self.drive, self._mover)
        return (yield from _told(walk, f"replaying {n_steps:,} steps of the training"))

    def plan(self, draw: int, hyper: Hyper, step_size: float) -> kernels.StepPlan:
        """The numbers of one update of the fresh neurons, with noise of their own."""
        return dynamics.step_plan(
            hyper,
            step_size,
            self._network.n_inputs,
            seed=self._background.recipe.seed + draw * DRAWS,
            stream=Stream.FOREGROUND,
            readout_exponent=self.exponent,
            n_out=self._network.n_out,
        )

    def _drawn_exactly(self, field: MeanField, draw: int) -> Generator[Progress, None, Tensor]:
        background, n_neurons = self._background, self._background.recipe.foreground.n_neurons
        law = law_of(background.recipe, field, background.field_points, background.state.theta.shape[0])
        text = f"drawing {n_neurons:,} foreground neurons"
        drawing = law.draw(n_neurons, seed=background.recipe.seed, number=draw)
        sample = yield from relayed(drawing, lambda done: Progress("foreground", done, text))
        self.health = sample.health
        return background.setting.tensor(sample.theta)

    # ---- its function ---------------------------------------------------------------------------------------------

    def predict(self, inputs: Tensor) -> Tensor | None:
        """f(x) = n^-kappa sum_i a_i phi(w_i . x) of the last draw."""
        if self._theta is None or self.fresh is None:
            return None
        return self._background.kernel.predict(self._theta, inputs, self.exponent)

    def _function_of(self, theta: Tensor) -> tuple[np.ndarray, float]:
        """The recombined function of neurons on the field points, (n_points,), and its loss."""
        background, points = self._background, self._background.field_points
        found = background.kernel.predict(theta, background.problem.field_inputs, self.exponent)
        prediction = to_host(found).astype(np.float64)
        return prediction, mean_loss(points.weights, points.targets, prediction)

    def accuracies(self) -> dict[str, float]:
        """Of the recombined function."""
        if self._theta is None or not self._background.task.is_classification:
            return {}
        return self._background.accuracies_of(self._theta, self.exponent)

    # ---- comparison -----------------------------------------------------------------------------------------------

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """The two clouds, their averages, and the two functions."""
        background, state = self._background, self._background.state
        if self._theta is None or self.fresh is None:
            raise RecipeError("There is no foreground yet: resample it first")
        options: dict[str, Any] = {
            "parity": self._network.activation.parity,
            "n_permutations": background.recipe.comparison.n_permutations,
            "seed": background.recipe.seed,
            "eta_theta": state.step_size * state.eigenvalue,
        }
        now, n_inputs = (state.theta, self._theta), self._network.n_inputs
        if self._start is not None:
            starts = (background.setting.tensor(background.initial_theta), self._start)
            answers = compare_followed(now, starts, n_inputs, **options)
        else:
            answers = compare_clouds(*now, n_inputs, **options)
        for answer in answers:
            if isinstance(answer, Comparison):
                yield Progress("compare", 0.999, "comparing the averages")
                found = answer if self._start is not None else self._with_averages(answer, self._theta)
                found = found.with_functions(**self._functions(self._theta, self.fresh))
                yield ComparisonReady(comparisons=(found,))
            else:
                yield Progress("compare", answer, "comparing the clouds")

    def _with_averages(self, comparison: Comparison, theta: Tensor) -> Comparison:
        background, state, recipe = self._background, self._background.state, self._background.recipe
        averaging = self.averaging()
        # The averaged f belongs to the network's own exponent; a neuron's output is told in units of its mean.
        scale = drive(state.theta.shape[0], background.problem.readout_exponent)
        found = compare_with_field(
            recipe,
            state.theta,
            theta,
            self.frozen_field(),
            background.field_points,
            to_host(background.mean_prediction()).astype(np.float64) * scale,
            averaging,
        )
        if found is None:
            return comparison
        return comparison.with_averages(
            *found,
            eta_theta=state.step_size * state.eigenvalue,
            is_of_one_moment=is_of_one_moment(recipe, background.kind, averaging),
        )

    def averaging(self) -> Averaging:
        """How the field was averaged: along this run, along a stored one, or not at all."""
        recipe, state = self._background.recipe, self._background.state
        stored = self._background.setting.stored
        if stored is not None:
            is_kept = stored.prediction_on(self._background.field_points) is not None
            return Averaging(
                recipe.foreground.window * recipe.training.time if is_kept else 0.0, 1000 if is_kept else 1
            )
        if recipe.foreground.field == "end" or not state.n_predictions:
            return Averaging(0.0, 1)
        is_prior = recipe.training.preconditioner == "prior"
        # Raw steps relax a coordinate in time 1/lambda.
        window = state.average_age * (1.0 if is_prior else min(recipe.lambda_w, recipe.lambda_a))
        is_exact = recipe.training.dynamics == "gibbs"
        return Averaging(window, state.n_predictions, is_exact, None if is_exact else self._path())

    def _path(self) -> Path:
        """The clouds along the averaging window."""
        history = self._background.history
        steps, times = (np.array([row[name] for row in history.rows]) for name in ("step", "time"))
        return Path.of(*history.clouds(), steps, times, self._background.state.average_age)

    def _functions(self, theta: Tensor, fresh: Population) -> dict[str, Any]:
        background, points = self._background, self._background.field_points
        mean, loss = to_host(background.mean_prediction()), background.loss
        weights = background.setting.tensor(points.weights)
        trace = function_covariance_trace(theta, background.problem.field_inputs, weights, self._network.activation)
        spread = trace * output_variance_scale(theta.shape[0], self.exponent)
        # The background's own networks scatter about their mean too, far less: neurons of one network repel.
        own = loss - mean_loss(points.weights, points.targets, mean)
        return {
            "function_alignment": function_alignment(mean, fresh.prediction, points.weights),
            "background_loss": loss,
            "foreground_loss": fresh.loss,
            "expected_loss_difference": spread - max(0.0, own),
        }

    def forget(self) -> None:
        """The picture stays."""
        self.fresh = None

    def take_back(self, outcome: Outcome) -> None:
        """Draws go on with the next random numbers."""
        self.fresh = outcome.foreground
        self._start = None
        if outcome.foreground is not None:
            self._theta = self._told = self._background.setting.tensor(outcome.foreground.theta)
            self._n_draws = max(self._n_draws, 1)


def _told(walk: Iterator[float | Tensor], text: str) -> Generator[Progress, None, Tensor]:
    """The cloud at the end of a walk; fractions done are told on the way."""
    for item in walk:
        if isinstance(item, Tensor):
            return item
        yield Progress("foreground", item, text)
    raise AssertionError("a walk ends with a cloud")
