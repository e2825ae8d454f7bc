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
import torch
from torch import Tensor

from mft_engine import dynamics, kernels
from mft_engine.certificate import Certificate, certify
from mft_engine.compare import Comparison, compare_clouds
from mft_engine.data_kernel import kernel_change
from mft_engine.device import describe_device, to_host
from mft_engine.dynamics import Diverged, Hyper, Info, State, gibbs
from mft_engine.dynamics.langevin import LARGEST_STEP, RECORD_EVERY, is_complete, resolving_step
from mft_engine.events import (
    CertificateReady,
    ComparisonReady,
    Event,
    FieldsReady,
    Finished,
    ForegroundReady,
    IterationReady,
    Progress,
    ReferencesReady,
    Snapshot,
    TheoryAbsent,
    TheoryReady,
)
from mft_engine.field import MeanField
from mft_engine.foreground import DRAWS, FrozenField, Walk, function_covariance_trace, move, sample_exactly
from mft_engine.history import N_STORED_NEURONS, History
from mft_engine.infinite_width import solve_theory
from mft_engine.measure import judging_measure, targets_on
from mft_engine.network import initial_cloud
from mft_engine.outcome import Cloud, FieldPoints, Outcome
from mft_engine.recipe import Change, Recipe, RecipeError, ScheduledChange, differences, plan_change
from mft_engine.references import ReferenceLines, reference_lines
from mft_engine.replay import InForce, in_force, replay
from mft_engine.rng import Stream
from mft_engine.self_consistency import iterate
from mft_engine.setting import Setting, burn_in
from mft_engine.statistics import averaged, function_alignment, order_parameters
from mft_engine.summary import summarise
from mft_engine.tasks import Task
from mft_engine.theory import PlanarTheory
from mft_engine.theory.gibbs import GibbsBackground

# Neurons are exchangeable: so many make the density image of any larger cloud, and fit into a frame.
N_SHOWN = 2**17


class Experiment:
    """A background that is being trained, and what is asked of it.

    Args:
        recipe: what to do.
        kernel: auto, fused or reference inner loops.

    Raises:
        RecipeError: a task, rule or device that cannot be built.
    """

    def __init__(self, recipe: Recipe, *, kernel: str = "auto") -> None:
        self.recipe = recipe
        self.setting = Setting.of(recipe, kernel)
        self.problem = self.setting.problem(recipe)
        stored = self.setting.stored
        theta = (
            self._initial_cloud(recipe.network.n_neurons[0], Stream.INITIAL)
            if stored is None
            else self.setting.tensor(stored.theta)
        )
        self.initial_theta = to_host(theta)
        self.state: State = dynamics.init(theta, self.problem)
        self._chain: GibbsBackground | None = None
        self.training_seconds = 0.0
        self.comparison: Comparison | None = None
        self.foreground_cloud: Cloud | None = None
        self.solution: PlanarTheory | None = None
        self.certificate: Certificate | None = None
        self.references: ReferenceLines | None = None
        self._warm: PlanarTheory | None = None
        self._foreground_theta: Tensor | None = None
        self._foreground_seconds = 0.0
        self._n_draws = 0
        self.history = History(RECORD_EVERY)
        self._schedule = list(recipe.schedule)
        self._path: list[InForce] = [(0, recipe)]
        self._apply_schedule()

    # ---- the background -------------------------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.setting.task

    @property
    def kernel(self) -> kernels.Kernel:
        """The inner loop in use."""
        return self.setting.kernel

    @property
    def device(self) -> torch.device:
        """Where the neurons live."""
        return self.setting.device

    @property
    def kind(self) -> str:
        """Of the background: trained, lazy, untrained or stored."""
        return self.setting.kind

    @property
    def is_trained_here(self) -> bool:
        """Whether this experiment trains its background: the untrained and the stored one stay as they are."""
        return self.kind in ("trained", "lazy")

    @property
    def is_complete(self) -> bool:
        """Whether the recipe's last step has been done (at once for the untrained background)."""
        return not self.is_trained_here or is_complete(self.state, self.problem)

    @property
    def progress(self) -> float:
        """Fraction of the recipe's training that is done, 0 to 1."""
        if not self.is_trained_here:
            return 1.0
        if self.problem.end_step:
            return min(1.0, self.state.step / self.problem.end_step)
        return min(1.0, self.state.time / self.problem.end_time)

    def advance(self, n_steps: int, *, beyond: bool = False) -> int:
        """Train by up to n_steps; stops exactly at the recipe's last step unless `beyond`.

        Returns:
            the number of steps done.

        Raises:
            Diverged: a non-finite number; the last good state is kept.
        """
        if not self.is_trained_here:
            return 0
        start = time.perf_counter()
        first = self.state.step
        while self.state.step < first + n_steps and (beyond or not self.is_complete):
            target = min(first + n_steps, self._next_stop())
            before = self.state.step
            self.state, info = self._steps(target - before, beyond)
            self.history.add_rows(info.records)
            if self.history.wants_cloud(self.state.step):
                self.history.add_cloud(self.state.step, to_host(self.state.theta[:N_STORED_NEURONS]))
            self._apply_schedule()
            if self.state.step == before:
                break
        self.training_seconds += time.perf_counter() - start
        return self.state.step - first

    def _steps(self, n_steps: int, beyond: bool) -> tuple[State, Info]:
        hyper = Hyper.of(self.recipe)
        if self.recipe.training.dynamics != "gibbs":
            return dynamics.advance(self.state, self.problem, hyper, n_steps, beyond=beyond)
        if self._chain is None:
            self._chain = gibbs.start_chain(self.problem, hyper, self.state.theta.shape[0])
            gibbs.replay(self._chain, self.state.step - self.state.change_step)
        return gibbs.advance(self.state, self.problem, self._chain, n_steps, beyond=beyond)

    def retune(self, recipe: Recipe) -> None:
        """Follow a recipe that differs in hyperparameters or in what is asked of the foreground; the neurons stay.

        The running averages start again; `schedule_of` writes the change down so that the run can be repeated.

        Raises:
            RecipeError: a change that needs a new experiment.
        """
        change = plan_change(self.recipe, recipe)
        if change is Change.REBUILD:
            raise RecipeError("This change needs a new run: build a new Experiment for it")
        self.recipe = recipe
        self.problem = replace(
            self.problem,
            end_time=recipe.training.time,
            end_step=recipe.training.n_steps,
            burn_in=burn_in(recipe),
        )
        if change is Change.RETUNE:
            self.state = dynamics.restart_averages(self.state, self.problem)
            self._path.append((self.state.step, recipe))
            self.solution = self.references = self._chain = None
        self.foreground_cloud = self.comparison = self.certificate = None

    def schedule_of(self, start: Recipe, old: Recipe, new: Recipe) -> Recipe:
        """`start` with the hyperparameters that differ between `old` and `new` scheduled at the present step.

        Changes made at step 0 are part of the start itself. A second change of a value at the same step replaces the
        first (a drag leaves one entry a step).
        """
        changed = {path: value for path, _, value in differences(old, new) if path.startswith(_RETUNABLE)}
        if self.state.step == 0:
            return start.replace(changed)
        step = self.state.step
        kept = [c for c in start.schedule if not (c.step == step and c.path in changed)]
        added = [ScheduledChange(step=step, path=path, value=value) for path, value in changed.items()]
        return start.model_copy(update={"schedule": (*kept, *added)})

    def _next_stop(self) -> int:
        step = self.state.step
        stop = step + RECORD_EVERY - step % RECORD_EVERY
        return min([stop, *(change.step for change in self._schedule if change.step > step)])

    def _apply_schedule(self) -> None:
        due = [change for change in self._schedule if change.step <= self.state.step]
        if due:
            self._schedule = [change for change in self._schedule if change.step > self.state.step]
            self.retune(self.recipe.replace({change.path: change.value for change in due}))

    def resume(self, state: State, initial_theta: np.ndarray) -> None:
        """Continue from the state of a checkpoint of the same recipe."""
        self.state, self._chain = state, None
        self.initial_theta = initial_theta
        self._path = in_force(self.recipe, state.step)
        self._schedule = [change for change in self.recipe.schedule if change.step > state.step]
        self.recipe = self.recipe.replace(
            {change.path: change.value for change in self.recipe.schedule if change.step <= state.step}
        )
        self.problem = self.setting.problem(self.recipe)

    def _initial_cloud(self, n_neurons: int, stream: Stream, draw: int = 0) -> Tensor:
        setting = self.setting
        cloud = initial_cloud(
            self.recipe,
            setting.task.n_inputs,
            n_neurons,
            stream=stream,
            draw=draw,
            device=setting.device,
            dtype=setting.dtype,
        )
        return cloud.theta

    # ---- what it shows --------------------------------------------------------------------------------------------

    @property
    def field_points(self) -> FieldPoints:
        """The points on which the frozen field lives, on the host."""
        return self.setting.field_points

    def mean_prediction(self) -> Tensor:
        """f on the field points: the running average, or the present one where there is none yet."""
        if self.setting.stored is not None:
            kept = self.setting.stored.prediction_on(self.field_points)
            if kept is not None:
                return torch.as_tensor(kept, dtype=torch.float64, device=self.device)
        if self.recipe.foreground.field == "end" or not self.state.n_predictions:
            return self.kernel.predict(
                self.state.theta, self.problem.field_inputs, self.problem.readout_exponent
            ).double()
        return self.state.prediction_sum / self.state.n_predictions

    def snapshot(self, n_shown: int = N_SHOWN) -> Snapshot:
        """The background as it stands, on the host."""
        state = self.state
        loss = self.history.rows[-1]["loss"] if self.history.rows else self._present_loss()
        orders = order_parameters(state.theta, self.task.n_inputs, self.task.n_relevant)
        return Snapshot(
            step=state.step,
            time=state.time,
            theta=to_host(state.theta[:n_shown]).astype(np.float32),
            n_neurons=state.theta.shape[0],
            loss=loss,
            step_size=state.step_size,
            eta_theta=state.step_size * state.eigenvalue,
            order_parameters={name: estimate.mean for name, estimate in orders.items()},
            average_age=state.average_age,
            is_complete=self.is_complete,
            prediction=to_host(self.mean_prediction()),
            kernel=self.kernel.name,
        )

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns recorded every 50 steps: step, time, loss, step_size, eta_theta, cos4, ..."""
        return self.history.metrics()

    def fields(self, n_pixels: int = 64, extent: float = 3.0) -> FieldsReady | None:
        """Target, background, foreground and residual on a square of the plane; None for other inputs."""
        if self.task.n_inputs != 2:
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
        if self._foreground_theta is not None and self.foreground_cloud is not None:
            exponent = self.setting.foreground_exponent(self.recipe)
            sampled = to_host(self.kernel.predict(self._foreground_theta, inputs, exponent)).reshape(shape)
        return FieldsReady(
            extent=extent, target=target, background=background, foreground=sampled, residual=target - background
        )

    def _present_loss(self) -> float:
        prediction = self.kernel.predict(self.state.theta, self.problem.inputs, self.problem.readout_exponent)
        return float((self.problem.weights * (self.problem.targets - prediction) ** 2).sum())

    # ---- the foreground -------------------------------------------------------------------------------------------

    def frozen_field(self) -> FrozenField:
        """The field that the foreground reacts to: point weight x residual x N^(kappa-1)."""
        points = self.field_points
        residual = self.setting.tensor(points.targets) - self.mean_prediction().to(self.setting.dtype)
        n_neurons = self.state.theta.shape[0]
        factor = n_neurons ** (self.setting.foreground_exponent(self.recipe) - 1.0)
        return FrozenField(self.problem.field_inputs, self.setting.tensor(points.weights) * residual * factor)

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        """Sample the foreground in slices of about 10 ms; a second call draws fresh neurons."""
        section = self.recipe.foreground
        start = time.perf_counter()
        draw = self._n_draws
        if section.method == "replay":
            theta = yield from self._replayed_foreground(draw)
        elif section.method != "dynamics":
            n_background, activation = self.state.theta.shape[0], self.setting.activation
            sample = sample_exactly(
                self.recipe, activation, self.frozen_field(), self.field_points, n_background, draw
            )
            theta = self.setting.tensor(sample)
        else:
            theta = yield from self._dynamical_foreground(draw)
        self._n_draws += 1
        self._foreground_theta = theta
        self._foreground_seconds = time.perf_counter() - start
        exponent = self.setting.foreground_exponent(self.recipe)
        prediction = to_host(self.kernel.predict(theta, self.problem.field_inputs, exponent)).astype(np.float64)
        points = self.field_points
        loss = float(np.sum(points.weights * (points.targets - prediction) ** 2))
        self.foreground_cloud = Cloud(to_host(theta), prediction, loss, section.method)
        self.comparison = None
        yield ForegroundReady(
            theta=self.foreground_cloud.theta.astype(np.float32),
            loss=loss,
            method=section.method,
            seconds=self._foreground_seconds,
        )

    def _dynamical_foreground(self, draw: int) -> Generator[Progress, None, Tensor]:
        section, hyper = self.recipe.foreground, Hyper.of(self.recipe)
        text = f"sampling {section.n_neurons:,} foreground neurons"
        theta = self._initial_cloud(section.n_neurons, Stream.FOREGROUND_INITIAL, draw)
        for item in move(theta, self.frozen_field(), self._walk(hyper, draw), self.kernel):
            if isinstance(item, float):
                yield Progress("foreground", item, text)
            else:
                theta = item
        return theta

    def _replayed_foreground(self, draw: int) -> Generator[Progress, None, Tensor]:
        setting, n_neurons = self.setting, self.state.theta.shape[0]
        theta = self._initial_cloud(self.recipe.foreground.n_neurons, Stream.FOREGROUND_INITIAL, draw)
        factor = n_neurons ** (setting.foreground_exponent(self.recipe) - 1.0)
        start, n_steps = setting.tensor(self.initial_theta), self.state.step
        plan_of = functools.partial(self._foreground_plan, draw)
        for item in replay(theta, start, self.problem, self._path, n_steps, plan_of, factor, self.kernel):
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
        )

    def _walk(self, hyper: Hyper, draw: int) -> Walk:
        """The foreground moves with the background's step for as long a time; an automatic step may be smaller.

        Independent neurons have no common stability limit, but each must resolve its own potential, which a wrong
        background makes steeper.
        """
        training, is_auto = self.recipe.training, self.recipe.training.step_size == "auto"
        frozen = self.frozen_field()
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
        if self._foreground_theta is None or self.foreground_cloud is None:
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
                self.comparison = answer.with_functions(**self._functions())
                yield ComparisonReady(comparison=self.comparison)
            else:
                yield Progress("compare", answer, "comparing the clouds")

    def _functions(self) -> dict[str, Any]:
        assert self._foreground_theta is not None and self.foreground_cloud is not None
        points = self.field_points
        mean = to_host(self.mean_prediction())
        weights = self.setting.tensor(points.weights)
        trace = function_covariance_trace(
            self._foreground_theta, self.problem.field_inputs, weights, self.setting.activation
        )
        n = self._foreground_theta.shape[0]
        spread = trace * n ** (1.0 - 2.0 * self.setting.foreground_exponent(self.recipe))
        # The background's own networks scatter about their mean too, far less: neurons of one network repel.
        own = self.background_loss - float(np.sum(points.weights * (points.targets - mean) ** 2))
        alignment = function_alignment(mean, self.foreground_cloud.prediction, points.weights)
        return {
            "function_alignment": alignment,
            "background_loss": self.background_loss,
            "foreground_loss": self.foreground_cloud.loss,
            "expected_loss_difference": spread - max(0.0, own),
        }

    @property
    def background_loss(self) -> float:
        """Mean over the averaging window of each network's own loss (the present one where there is no window)."""
        if self.recipe.foreground.field == "end" or not self.state.n_losses:
            return self._present_loss()
        return self.state.mean_loss

    def theory(
        self, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Progress | ReferencesReady | TheoryReady | TheoryAbsent]:
        """Solve the infinite-width equation for the recipe in force, where there is one; then the lazy references."""
        yield Progress("theory", 0.0, "solving the infinite-width equation")
        try:
            if self.solution is None:
                self.solution = solve_theory(self.recipe, task=self.task, warm=self._warm, should_stop=should_stop)
                self._warm = self.solution
            yield TheoryReady(theory=self.solution)
        except RecipeError as error:
            yield TheoryAbsent(reason=str(error))
        if self.references is None:
            self.references = reference_lines(self.recipe, self.task)
        yield ReferencesReady(lines=self.references)

    def certify(self) -> Iterator[Progress | CertificateReady]:
        """How far the background's averaged residual is from the exact optimum (`theory` first, where there is one)."""
        yield Progress("certify", 0.0, "certifying the background")
        factor = self.state.theta.shape[0] ** (self.setting.foreground_exponent(self.recipe) - 1.0)
        found = certify(
            self.recipe,
            self.field_points,
            to_host(self.mean_prediction()),
            to_host(self.state.theta),
            factor,
            self.solution if self.task.is_gaussian else None,
        )
        initial, tensor = self.setting.tensor(self.initial_theta), self.setting.tensor
        inputs, weights = tensor(self.setting.field_measure.inputs), tensor(self.setting.field_measure.weights)
        change = kernel_change(initial, self.state.theta, inputs, weights, self.setting.activation)
        self.certificate = replace(found, kernel_change=change)
        yield CertificateReady(certificate=self.certificate)

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """Let the foreground become the background, again and again, from the present background (`theory` first)."""
        prediction, theta = to_host(self.mean_prediction()), to_host(self.state.theta)
        for turn in iterate(
            self.recipe,
            self.field_points,
            prediction,
            theta,
            theory=self.solution,
            damping=damping,
            n_iterations=n_iterations,
        ):
            yield IterationReady(iteration=turn)
            yield Progress("iterate", turn.index / n_iterations, f"iteration {turn.index}, gap {turn.gap:.1e}")

    # ---- the whole recipe -----------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """Everything computed so far."""
        background = Cloud(to_host(self.state.theta), to_host(self.mean_prediction()), self.background_loss, self.kind)
        clouds, cloud_steps = self.history.clouds()
        outcome = Outcome(
            recipe=self.recipe,
            points=self.field_points,
            initial_theta=self.initial_theta,
            background=background,
            metrics=self.metrics(),
            snapshots=clouds,
            snapshot_steps=cloud_steps,
            foreground=self.foreground_cloud,
            comparison=self.comparison,
            theory=self.solution,
            certificate=self.certificate,
        )
        return replace(outcome, summary=summarise(outcome, self._run_facts()))

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
            "average_age": state.average_age,
            "is_complete": self.is_complete,
            "order_parameters": self._window_orders(),
            "test_loss": self._test_loss(),
            "references": self.references,
        }

    def _window_orders(self) -> dict[str, tuple[float, float]]:
        rows = [row for row in self.history.rows if row["is_averaged"]]
        names = [name for name in (rows[0] if rows else {}) if name.startswith(("cos", "overlap"))]
        if len(rows) < 8 or self.recipe.foreground.field == "end":
            estimates = order_parameters(self.state.theta, self.task.n_inputs, self.task.n_relevant)
            return {name: (e.mean, e.standard_error) for name, e in estimates.items()}
        series = {name: averaged(np.array([row[name] for row in rows])) for name in names}
        return {name: (estimate.mean, estimate.standard_error) for name, estimate in series.items()}

    def _test_loss(self) -> float | None:
        """E (y - f)^2 on infinite data or on data held back, where training saw finite data."""
        own = self.task.points
        if not (len(own.test_targets) if own else self.recipe.training.n_points):
            return None
        measure = judging_measure(self.recipe.training, self.task, self.recipe.seed)
        prediction = self.kernel.predict(
            self.state.theta, self.setting.tensor(measure.inputs), self.problem.readout_exponent
        )
        residual = targets_on(measure, self.task) - to_host(prediction)
        return float(np.sum(measure.weights * residual**2))

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
        yield from self.certify()
        outcome = self.outcome()
        yield Finished(outcome=outcome, summary=outcome.summary)


_RETUNABLE = ("regularisation.", "training.temperature", "training.step_size")


__all__ = ["Diverged", "Experiment", "solve_theory"]
