"""One recipe, run: train the background, sample the foreground, compare, solve the theory; told as events.

The window's worker and the command line drive the same object, so the same recipe on the same device gives the same
numbers in both.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from mft_engine import dynamics, kernels
from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.compare.fluctuations import Averaging
from mft_engine.device import describe_device, to_host
from mft_engine.dynamics import Diverged, Hyper, adam
from mft_engine.dynamics.adam import Adam
from mft_engine.dynamics.problem import LARGEST_STEP, resolving_step
from mft_engine.dynamics.state import RECORD_EVERY
from mft_engine.experiment.background import Background
from mft_engine.experiment.events import (
    CertificateReady,
    ComparisonReady,
    Event,
    FieldsReady,
    Finished,
    ForegroundReady,
    IterationReady,
    KernelReady,
    Progress,
    ReferencesReady,
    TheoryAbsent,
    TheoryReady,
)
from mft_engine.experiment.outcome import Outcome, Population
from mft_engine.experiment.summary import summarise
from mft_engine.field.field import MeanField
from mft_engine.field.walk import DRAWS, FrozenField, Walk, function_covariance_trace, move
from mft_engine.laws.particles import LawLost
from mft_engine.points.measure import weighted
from mft_engine.points.statistics import function_alignment
from mft_engine.questions.certificate import Certificate, certify
from mft_engine.questions.comparison import compare_with_field
from mft_engine.questions.data_kernel import kernel_change
from mft_engine.questions.drift import drift_of
from mft_engine.questions.equilibrium import Equilibrium, judge_equilibrium, no_answer
from mft_engine.questions.foreground import sample_exactly
from mft_engine.questions.fourier import fourier_summary
from mft_engine.questions.kernel_study import DataKernels, study_kernels
from mft_engine.questions.loop import iterate
from mft_engine.questions.posterior import Posterior
from mft_engine.questions.references import ReferenceLines, reference_lines
from mft_engine.questions.replay import replay
from mft_engine.questions.theory import Theory, improve_theory, solve_theory
from mft_engine.recipe import Change, Recipe, RecipeError
from mft_engine.rng import Stream
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.planar import PlanarTheory


class Experiment(Background):
    """A background that is being trained, and everything that is asked of it.

    Args:
        recipe: what to do.
        kernel: auto, fused or reference inner loops.

    Raises:
        RecipeError: a task, rule or device that cannot be built.
    """

    def __new__(cls, recipe: Recipe, **_: Any) -> Experiment:
        """The kind of experiment that the recipe needs: one class serves one hidden layer, another several."""
        if cls is Experiment and recipe.network.n_layers > 1:
            from mft_engine.experiment.layered import LayeredExperiment

            return super().__new__(LayeredExperiment)
        return super().__new__(cls)

    def __init__(self, recipe: Recipe, *, kernel: str = "auto") -> None:
        self.comparisons: tuple[Comparison, ...] = ()
        self.fresh: Population | None = None
        self.solution: Theory | None = None
        self.certificate: Certificate | None = None
        self.kernels: DataKernels | None = None
        self.references: ReferenceLines | None = None
        self._warm: Theory | None = None
        self._foreground_theta: Tensor | None = None
        self._sampler_health: dict[str, float] = {}
        self._felt: tuple[FrozenField, int] | None = None
        self._foreground_seconds = 0.0
        self._n_draws = 0
        super().__init__(recipe, kernel=kernel)
        if recipe.initial.law == "theory":  # solved already, to draw the neurons from
            self.solution = self._warm = self.initial_theory

    def retune(self, recipe: Recipe) -> Change:
        """Follow a recipe as the background does; answers that it makes stale are forgotten."""
        before = self.recipe.theory
        change = super().retune(recipe)
        if change is Change.RETUNE or recipe.theory != before:
            self.solution = self.references = None
        self.fresh = self.certificate = self.kernels = None
        self.comparisons = ()
        return change

    @property
    def comparison(self) -> Comparison | None:
        """Of the first hidden layer; None while there is none."""
        return self.comparisons[0] if self.comparisons else None

    def fields(self, n_pixels: int = 64, extent: float = 3.0) -> FieldsReady | None:
        """Target, background, foreground and residual on a square of the plane; None for other inputs."""
        if self.task.n_inputs != 2 or self.task.n_out > 1:
            return None
        line = (np.arange(n_pixels) + 0.5) / n_pixels * 2 * extent - extent
        x1, x2 = np.meshgrid(line, line)
        grid = np.stack([x1.ravel(), x2.ravel()], axis=1)
        shape = (n_pixels, n_pixels)
        inputs = self.setting.tensor(grid)
        target = np.asarray(self.task.target(grid), dtype=np.float64).reshape(shape)
        background = to_host(self.kernel.predict(self.state.theta, inputs, self.problem.readout_exponent)).reshape(
            shape
        )
        sampled = None
        if self._foreground_theta is not None and self.fresh is not None:
            exponent = self.setting.foreground_exponent(self.recipe)
            sampled = to_host(self.kernel.predict(self._foreground_theta, inputs, exponent)).reshape(shape)
        return FieldsReady(
            extent=extent, target=target, background=background, foreground=sampled, residual=target - background
        )

    # ---- the foreground -------------------------------------------------------------------------------------------

    def frozen_field(self) -> FrozenField:
        """The field that the foreground reacts to: point weight x residual x N^(kappa-1)."""
        points = self.field_points
        residual = self.setting.tensor(points.targets) - self.mean_prediction().to(self.setting.dtype)
        signal = weighted(self.setting.tensor(points.weights), residual) * self._drive
        return FrozenField(self.problem.field_inputs, signal)

    @property
    def _drive(self) -> float:
        """N^(kappa-1), by which a foreground neuron feels the residual."""
        return float(self.state.theta.shape[0] ** (self.setting.foreground_exponent(self.recipe) - 1.0))

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        """Sample the foreground in slices of about 10 ms; a second call draws fresh neurons."""
        section = self.recipe.foreground
        start = time.perf_counter()
        draw, self._sampler_health = self._n_draws, {}
        if section.method == "replay":
            theta = yield from self._replayed_foreground(draw)
        elif section.method != "dynamics":
            self._felt = (self.frozen_field(), draw)
            theta = self._draw_exactly(*self._felt)
        else:
            theta = yield from self._dynamical_foreground(draw)
        self._n_draws += 1
        self._foreground_theta = theta
        self._foreground_seconds = time.perf_counter() - start
        prediction, loss = self._function_of(theta)
        self.fresh = Population(self.clouds([theta]), prediction, loss, section.method)
        self.comparisons, self.kernels = (), None
        yield ForegroundReady(
            clouds=self.shown_clouds([theta]),
            loss=loss,
            method=section.method,
            seconds=self._foreground_seconds,
            accuracies=self.foreground_accuracies(),
        )

    def redraw(self) -> ForegroundReady | None:
        """The last exact foreground under the hyperparameters in force now: same frozen field, same random numbers.

        Takes some milliseconds, so that neurons follow a slider; it is a picture, not compared with anything. None
        where no foreground was drawn exactly yet.
        """
        if self._felt is None or self.recipe.foreground.method != "gibbs":
            return None
        start = time.perf_counter()
        theta = self._draw_exactly(*self._felt)
        _, loss = self._function_of(theta)
        seconds = time.perf_counter() - start
        return ForegroundReady(clouds=self.shown_clouds([theta]), loss=loss, method="gibbs", seconds=seconds)

    def _function_of(self, theta: Tensor) -> tuple[np.ndarray, float]:
        """The recombined function of foreground neurons on the field points, (n_points,), and its loss."""
        exponent, points = self.setting.foreground_exponent(self.recipe), self.field_points
        prediction = to_host(self.kernel.predict(theta, self.problem.field_inputs, exponent)).astype(np.float64)
        return prediction, float(np.sum(weighted(points.weights, (points.targets - prediction) ** 2)))

    def foreground_accuracies(self) -> dict[str, float]:
        """Share of right answers of the foreground's recombined function; empty where the output is no class."""
        if self._foreground_theta is None or not self.task.is_classification:
            return {}
        exponent = self.setting.foreground_exponent(self.recipe)
        return self.accuracies_of(self._foreground_theta, exponent)

    def _draw_exactly(self, field: FrozenField, draw: int) -> Tensor:
        n_background, activation = self.state.theta.shape[0], self.setting.activation
        sample, self._sampler_health = sample_exactly(
            self.recipe, activation, field, self.field_points, n_background, draw
        )
        return self.setting.tensor(sample)

    def _dynamical_foreground(self, draw: int) -> Generator[Progress, None, Tensor]:
        section, hyper = self.recipe.foreground, Hyper.of(self.recipe)
        text = f"sampling {section.n_neurons:,} foreground neurons"
        theta = self._initial_cloud(section.n_neurons, Stream.FOREGROUND_INITIAL, draw)
        field = self.frozen_field()
        if self.recipe.training.dynamics == "adam":
            n_steps = section.n_steps or self.state.step
            walk = adam.walk(theta, field, self.setting.activation, Adam.of(self.recipe), n_steps)
        else:
            walk = move(theta, field, self._walk(field, hyper, draw), self.kernel)
        for item in walk:
            if isinstance(item, float):
                yield Progress("foreground", item, text)
            else:
                theta = item
        return theta

    def _replayed_foreground(self, draw: int) -> Generator[Progress, None, Tensor]:
        theta = self._initial_cloud(self.recipe.foreground.n_neurons, Stream.FOREGROUND_INITIAL, draw)
        start, n_steps = self.setting.tensor(self.initial_theta), self.state.step
        plan_of = functools.partial(self._foreground_plan, draw)
        for item in replay(theta, start, self.problem, self._path, n_steps, plan_of, self._drive, self.kernel):
            if isinstance(item, float):
                yield Progress("foreground", item, f"replaying {n_steps:,} steps of the training")
            else:
                theta = item
        return theta

    def _foreground_plan(self, draw: int, hyper: Hyper, step_size: float) -> kernels.StepPlan:
        return dynamics.step_plan(
            hyper,
            step_size,
            self.task.n_inputs,
            seed=self.recipe.seed + draw * DRAWS,
            stream=Stream.FOREGROUND,
            readout_exponent=self.setting.foreground_exponent(self.recipe),
            n_out=self.task.n_out,
        )

    def _walk(self, frozen: FrozenField, hyper: Hyper, draw: int) -> Walk:
        """The foreground moves with the background's step for as long a time; an automatic step may be smaller.

        Independent neurons have no common stability limit, but each must resolve its own potential, which a wrong
        background makes steeper.
        """
        training, is_auto = self.recipe.training, self.recipe.training.step_size == "auto"
        field = MeanField(frozen.inputs, frozen.signal, self.setting.activation, hyper.lambda_w, hyper.lambda_a)

        def largest_step(theta: Tensor) -> float:
            return resolving_step(theta, field, hyper)

        start = self.state.step_size or (LARGEST_STEP if is_auto else float(training.step_size))
        return Walk(
            step_size=start,
            n_steps=self.recipe.foreground.n_steps or training.n_steps,
            time=training.time,
            largest_step=largest_step if is_auto else None,
            plan=functools.partial(self._foreground_plan, draw, hyper),
        )

    # ---- comparison and theory ------------------------------------------------------------------------------------

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Compare the present background cloud with the foreground, in slices of about 10 ms."""
        if self._foreground_theta is None or self.fresh is None:
            raise RecipeError("There is no foreground yet: resample it first")
        answers = compare_clouds(
            self.state.theta,
            self._foreground_theta,
            self.task.n_inputs,
            parity=self.setting.activation.parity,
            n_permutations=self.recipe.comparison.n_permutations,
            seed=self.recipe.seed,
            eta_theta=self.state.step_size * self.state.eigenvalue,
        )
        for answer in answers:
            if isinstance(answer, Comparison):
                yield Progress("compare", 0.999, "comparing the averages")
                self.comparisons = (self._with_averages(answer).with_functions(**self._functions()),)
                yield ComparisonReady(comparisons=self.comparisons)
            else:
                yield Progress("compare", answer, "comparing the clouds")

    def _with_averages(self, comparison: Comparison) -> Comparison:
        assert self._foreground_theta is not None
        state, recipe = self.state, self.recipe
        averaging = self._averaging()
        # The averaged f belongs to the network's own exponent; a neuron's output is told in units of its mean.
        scale = float(state.theta.shape[0] ** (self.problem.readout_exponent - 1.0))
        found = compare_with_field(
            recipe,
            self.setting.activation,
            state.theta,
            self._foreground_theta,
            self.frozen_field(),
            self.field_points,
            to_host(self.mean_prediction()).astype(np.float64) * scale,
            averaging,
        )
        if found is None:
            return comparison
        # Of gradient descent there is no law that the noise of one moment would tilt.
        has_noise = recipe.training.temperature > 0 and recipe.network.train_readout
        return comparison.with_averages(
            *found,
            eta_theta=state.step_size * state.eigenvalue,
            is_of_one_moment=has_noise and averaging.n_predictions <= 1,
        )

    def _averaging(self) -> Averaging:
        """How the field was averaged: along this run, along a stored one, or not at all."""
        recipe, state = self.recipe, self.state
        stored = self.setting.stored
        if stored is not None:
            is_kept = stored.prediction_on(self.field_points) is not None
            return Averaging(
                recipe.foreground.window * recipe.training.time if is_kept else 0.0, 1000 if is_kept else 1
            )
        if recipe.foreground.field == "end" or not state.n_predictions:
            return Averaging(0.0, 1)
        is_prior = recipe.training.preconditioner == "prior"
        # Raw steps relax a coordinate in time 1/lambda.
        window = state.average_age * (1.0 if is_prior else min(recipe.lambda_w, recipe.lambda_a))
        return Averaging(window, state.n_predictions, recipe.training.dynamics == "gibbs")

    def _functions(self) -> dict[str, Any]:
        assert self._foreground_theta is not None and self.fresh is not None
        points = self.field_points
        mean = to_host(self.mean_prediction())
        weights = self.setting.tensor(points.weights)
        trace = function_covariance_trace(
            self._foreground_theta, self.problem.field_inputs, weights, self.setting.activation
        )
        n = self._foreground_theta.shape[0]
        spread = trace * n ** (1.0 - 2.0 * self.setting.foreground_exponent(self.recipe))
        # The background's own networks scatter about their mean too, far less: neurons of one network repel.
        own = self.background_loss - float(np.sum(weighted(points.weights, (points.targets - mean) ** 2)))
        alignment = function_alignment(mean, self.fresh.prediction, points.weights)
        return {
            "function_alignment": alignment,
            "background_loss": self.background_loss,
            "foreground_loss": self.fresh.loss,
            "expected_loss_difference": spread - max(0.0, own),
        }

    def theory(self, should_stop: Callable[[], bool] | None = None) -> Iterator[Progress | TheoryReady | TheoryAbsent]:
        """Solve the infinite-width equation for the recipe in force, where there is one."""
        text = "solving the infinite-width equation"
        yield Progress("theory", 0.0, text)
        try:
            if self.solution is not None:
                yield TheoryReady(theory=self.solution, test_loss=self.theory_test_loss())
                return
            answers = improve_theory(self.recipe, task=self.task, warm=self._warm, should_stop=should_stop)
            found: Theory | None = None
            for item in answers:
                if isinstance(item, float):
                    yield Progress("theory", item, text)
                    continue
                found = item
                if isinstance(found, ParticleTheory) and found.shortfall:
                    continue
                self.solution = self._warm = found
                yield TheoryReady(theory=found, test_loss=self.theory_test_loss())
            if isinstance(found, ParticleTheory) and found.shortfall:
                self.solution = None
                yield TheoryAbsent(reason=found.shortfall)
        except (RecipeError, LawLost) as error:
            yield TheoryAbsent(reason=str(error))

    @property
    def _planar_solution(self) -> PlanarTheory | None:
        """The solution where it comes with a density, at the recipe's own readout exponent 1."""
        is_mapped = self.recipe.network.readout_exponent != 1.0
        return self.solution if isinstance(self.solution, PlanarTheory) and not is_mapped else None

    def theory_test_loss(self) -> float | None:
        """E (y - f)^2 of the infinitely wide network on what its training set leaves unseen; None for infinite data."""
        points = self.test_points
        if points is None or self.solution is None:
            return None
        if isinstance(self.solution, ParticleTheory):
            return self.solution.test_loss
        return points.loss(self.solution.prediction(to_host(points.inputs).astype(np.float64)))

    def refer(self) -> Iterator[ReferencesReady]:
        """What a network that learns no features would do on the same task."""
        if self.references is None:
            self.references = reference_lines(self.recipe, self.task)
        yield ReferencesReady(lines=self.references)

    def certify(self) -> Iterator[Progress | CertificateReady]:
        """How far the background's averaged residual is from the exact optimum (`theory` first, where there is one)."""
        yield Progress("certify", 0.0, "certifying the background")
        found = certify(
            self.recipe,
            self.field_points,
            to_host(self.mean_prediction()),
            to_host(self.state.theta),
            self._drive,
            self._planar_solution if self.task.is_gaussian else None,
        )
        initial, tensor = self.setting.tensor(self.initial_theta), self.setting.tensor
        inputs, weights = tensor(self.setting.field_measure.inputs), tensor(self.setting.field_measure.weights)
        change = kernel_change(initial, self.state.theta, inputs, weights, self.setting.activation)
        self.certificate = replace(
            found,
            kernel_change=change,
            posterior=self.posterior(),
            equilibrium=self._equilibrium(),
            drift=drift_of(self.recipe, self.kind, self.history, self.task.n_inputs),
        )
        yield CertificateReady(certificate=self.certificate)

    def _equilibrium(self) -> Equilibrium:
        """Whether the run has reached the exact law (`theory` first)."""
        if self.solution is None:
            return no_answer("There is no exact law to compare with (see theory).")
        if self.kind != "trained":
            return no_answer(f"The {self.kind} background is not meant to reach the law of the trained network.")
        losses = [row["loss"] for row in self.history.rows if row["is_averaged"]]
        return judge_equilibrium(losses, self.recipe.network.n_neurons[-1], self.solution)

    def posterior(self, variance_theory: float | None = None) -> Posterior | None:
        """Mean and variance of the function over the averaging window, beside theory where it is solved and applies."""
        exact = self.solution
        if variance_theory is None and exact is not None and self.kind == "trained":
            variance_theory = exact.trace_response / self.recipe.network.n_neurons[-1]
        return super().posterior(variance_theory)

    def data_kernel(self) -> Iterator[Progress | KernelReady]:
        """The data kernels of the initial cloud, the present background and the foreground where there is one."""
        foreground = self.fresh.theta if self.fresh else None
        answers = study_kernels(
            self.initial_theta,
            to_host(self.state.theta),
            foreground,
            self.field_points,
            self.setting.activation,
            seed=self.recipe.seed,
        )
        for answer in answers:
            if isinstance(answer, DataKernels):
                self.kernels = answer
                yield KernelReady(kernels=answer, step=self.state.step)
            else:
                yield Progress("kernel", answer, "the spectrum of the data kernel")

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """Let the foreground become the background, again and again, from the present background (`theory` first)."""
        prediction, theta = to_host(self.mean_prediction()), to_host(self.state.theta)
        for turn in iterate(
            self.recipe,
            self.field_points,
            prediction,
            theta,
            theory=self._planar_solution,
            damping=damping,
            n_iterations=n_iterations,
        ):
            yield IterationReady(iteration=turn)
            yield Progress("iterate", turn.index / n_iterations, f"iteration {turn.index}, gap {turn.gap:.1e}")

    # ---- the whole recipe -----------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """Everything computed so far."""
        now = self.clouds(self._tables(self.state.theta))
        background = Population(now, to_host(self.mean_prediction()), self.background_loss, self.kind)
        clouds, cloud_steps = self.history.clouds()
        outcome = Outcome(
            recipe=self.recipe,
            points=self.field_points,
            initial_theta=self.initial_theta,
            background=background,
            metrics=self.metrics(),
            snapshots=clouds,
            snapshot_steps=cloud_steps,
            foreground=self.fresh,
            comparisons=self.comparisons,
            theory=self.solution,
            certificate=self.certificate,
            kernels=self.kernels,
        )
        return replace(outcome, summary=summarise(outcome, self._run_facts()))

    def take_back(self, outcome: Outcome) -> None:
        """Answers of a stored outcome of the very state that this experiment is in: they need no computing again."""
        self.fresh, self.comparisons, self.certificate = outcome.foreground, outcome.comparisons, outcome.certificate
        if outcome.foreground is not None:
            self._foreground_theta = self.setting.tensor(outcome.foreground.theta)
            self._n_draws = max(self._n_draws, 1)

    def _run_facts(self) -> dict[str, Any]:
        state = self.state
        return {
            "device": describe_device(self.device),
            "kernel": self.kernel.name,
            "n_steps": state.step,
            "time": state.time,
            "step_size": state.step_size,
            "eta_theta": state.step_size * state.eigenvalue,
            "seconds": self.training_seconds,
            "foreground_seconds": self._foreground_seconds,
            "sampler": self._sampler_health,
            "average_age": state.average_age,
            "is_complete": self.is_complete,
            "order_parameters": self.window_orders(),
            "test_loss": self.measured_test_loss(),
            "theory_test_loss": self.theory_test_loss(),
            "generalisation": self._generalisation(),
            "background_accuracy": self.window_accuracies() if self.task.n_out > 1 else self.accuracies(),
            "foreground_accuracy": self.foreground_accuracies(),
            "references": self.references,
            "posterior": self.posterior(),
            "fourier": self._fourier(),
            "data": dict(self.task.data) or None,
        }

    def _generalisation(self) -> dict[str, float]:
        gap = self.gap_to_test()
        return {} if gap is None else {"test_minus_train": gap.mean, "test_minus_train_error": gap.standard_error}

    def _fourier(self) -> dict[str, Any] | None:
        """The clouds as waves, for additions modulo P."""
        if not self.task.modulus or self.task.points is None:
            return None
        clouds = {"initial": self.initial_theta, "background": to_host(self.state.theta)}
        if self.fresh is not None:
            clouds["foreground"] = self.fresh.theta
        scale = float(self.task.points.inputs.max())
        return fourier_summary(clouds, self.task.modulus, self.setting.activation.name, scale, self.recipe.seed)

    def __iter__(self) -> Iterator[Event]:
        """The recipe to its end: train, foreground, compare, theory, Finished."""
        slice_steps = RECORD_EVERY
        while not self.is_complete:
            start = time.perf_counter()
            self.advance(slice_steps)
            yield Progress("train", self.progress, f"training, t = {self.state.time:.2f}")
            if time.perf_counter() - start < 0.05:
                slice_steps = min(2 * slice_steps, 2000)
        yield self.snapshot()
        yield from self.foreground()
        yield from self.compare()
        yield from self.theory()
        yield from self.refer()
        yield from self.certify()
        yield from self.data_kernel()
        outcome = self.outcome()
        yield Finished(outcome=outcome, summary=outcome.summary)


__all__ = ["Diverged", "Experiment", "solve_theory"]
