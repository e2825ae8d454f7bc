"""The background: a network that is being trained, with its running averages, its history and its schedule."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from mft_engine import dynamics, kernels
from mft_engine.awaited import named
from mft_engine.changes import Change, changes_on_the_way
from mft_engine.device import double_device, fetched, to_host
from mft_engine.dynamics import Hyper, Problem, State
from mft_engine.dynamics.layered import Layered
from mft_engine.dynamics.state import RECORD_EVERY, is_complete
from mft_engine.dynamics.table import DYNAMICS
from mft_engine.estimates import Estimate, averaged
from mft_engine.experiment.events import Snapshot
from mft_engine.experiment.generalisation import TestPoints, generalisation_gap
from mft_engine.experiment.history import N_STORED_NEURONS, History
from mft_engine.experiment.memory import needed_bytes, require_memory
from mft_engine.experiment.outcome import Cloud
from mft_engine.experiment.seeing import Counting
from mft_engine.experiment.setting import Setting, burn_in
from mft_engine.looks import Look, n_sent
from mft_engine.points.accuracy import share_right
from mft_engine.points.loss import mean_loss
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.posterior import FunctionSamples, Posterior
from mft_engine.questions.replay import InForce, in_force
from mft_engine.questions.surroundings import Watch, look
from mft_engine.questions.theory import sample_theory, solve_theory
from mft_engine.recipe import Recipe, RecipeError, differences, plan_change
from mft_engine.rng import Stream
from mft_engine.sections import ScheduledChange
from mft_engine.tasks import Task
from mft_engine.theory.theory import Theory


class Background:
    """One network on its way from the initial cloud to the recipe's end, and beyond where it is asked to.

    Args:
        recipe: what to do.
        kernel: auto, fused or reference inner loops.

    Raises:
        RecipeError: a task, rule or device that cannot be built. TooLargeError: a run that does not fit in memory.
    """

    def __init__(self, recipe: Recipe, *, kernel: str = "auto", solution: Theory | None = None) -> None:
        self.recipe, self._solution = recipe, solution
        self.setting = Setting.of(recipe, kernel)
        n_points, n_inputs = self.setting.measure.inputs.shape
        require_memory(needed_bytes(recipe, n_points, n_inputs, self.setting.task.n_out))
        self.problem: Problem = self.setting.problem(recipe)
        theta = self._initial_parameters()
        self.initial_theta, *self._initial_upper = (to_host(table) for table in self.tables_of(theta))
        self.watch = Watch() if isinstance(self.setting.network, Layered) else None
        self.state: State = dynamics.init(theta, self.problem)
        self.training_seconds = 0.0
        self.history = History(RECORD_EVERY)
        self.dynamics = DYNAMICS[recipe.training.dynamics]()
        self.function_samples = FunctionSamples(self.dynamics.sample_every, self.problem.field_inputs.shape[0])
        self._gap: tuple[int, Estimate] | None = None
        self._shares: tuple[int, dict[str, float]] | None = None
        self._schedule = list(recipe.schedule)
        self.path: list[InForce] = [(0, recipe)]
        self._apply_schedule()

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
            reached, info = self.dynamics.advance(self.state, self.problem, self.recipe, target - before, beyond=beyond)
            self._look_around(self.state, reached)
            self.state = reached
            # A record is due at the end of a slice at most, so the network is the record's.
            self.history.add_rows(self._tested(row) for row in info.records)
            if self.history.wants_cloud(self.state.step):
                self.history.add_cloud(self.state.step, self.tables()[0][:N_STORED_NEURONS])
            if self.state.is_settled and self.recipe.training.temperature > 0:
                function = partial(self._prediction_at, self.problem.field_inputs[:: self.function_samples.stride])
                self.function_samples.offer(self.state.step, self.state.average_time, function)
            self._apply_schedule()
            if self.state.step == before:
                break
        self.training_seconds += time.perf_counter() - start
        return self.state.step - first

    def _look_around(self, before: State, state: State) -> None:
        """A look at the surroundings of a neuron whenever a row is recorded."""
        network = self.setting.network
        if self.watch is None or not isinstance(network, Layered):
            return
        if state.n_predictions < before.n_predictions + state.step - before.step:
            self.watch.forget()  # the averages began anew
        if state.is_settled and state.step % RECORD_EVERY == 0:
            self.watch.add(look(self.problem, network, Hyper.of(self.recipe), state.theta))

    def posterior(self, variance_theory: float | None = None) -> Posterior | None:
        """Mean and variance of the function over the averaging window; None before there are samples enough."""
        state, points = self.state, self.field_points
        if not state.n_predictions:
            return None
        mean = to_host(state.prediction_sum / state.n_predictions)
        n_neurons = self.recipe.network.n_neurons[-1]
        return self.function_samples.estimate(
            state.average_time, mean, points.targets, points.weights, n_neurons, variance_theory
        )

    def retune(self, recipe: Recipe) -> Change:
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
            self.path.append((self.state.step, recipe))
            self.dynamics.forget()
            if self.watch:
                self.watch.forget()
        return change

    def schedule_of(self, start: Recipe, old: Recipe, new: Recipe) -> Recipe:
        """`start` with the hyperparameters that differ between `old` and `new` scheduled at the present step.

        Changes made at step 0 are part of the start itself. A second change of a value at the same step replaces the
        first (a drag leaves one entry a step).
        """
        changed = {path: value for path, _, value in differences(old, new) if changes_on_the_way(path)}
        if self.state.step == 0:
            return start.replace(changed)
        step = self.state.step
        kept = [c for c in start.schedule if not (c.step == step and c.path in changed)]
        added = [ScheduledChange(step=step, path=path, value=value) for path, value in changed.items()]
        return start.model_copy(update={"schedule": (*kept, *added)})

    def _next_stop(self) -> int:
        step = self.state.step
        every = self.dynamics.sample_every
        stop = step + every - step % every
        return min([stop, *(change.step for change in self._schedule if change.step > step)])

    def _apply_schedule(self) -> None:
        due = [change for change in self._schedule if change.step <= self.state.step]
        if due:
            self._schedule = [change for change in self._schedule if change.step > self.state.step]
            self.retune(self.recipe.replace({change.path: change.value for change in due}))

    def pack_surroundings(self) -> dict[str, np.ndarray]:
        """The averaged surroundings, for a checkpoint; nothing where there is one hidden layer."""
        return self.watch.pack() if self.watch else {}

    def unpack_surroundings(self, arrays: dict[str, np.ndarray]) -> None:
        """What `pack_surroundings` gave."""
        if self.watch:
            self.watch.unpack(arrays, self.device)

    def resume(self, state: State, initial_theta: np.ndarray) -> None:
        """Continue from the state of a checkpoint of the same recipe."""
        self.state = state
        self.dynamics.forget()
        self.initial_theta = initial_theta
        self.path = in_force(self.recipe, state.step)
        self._schedule = [change for change in self.recipe.schedule if change.step > state.step]
        self.recipe = self.recipe.replace(
            {change.path: change.value for change in self.recipe.schedule if change.step <= state.step}
        )
        self.problem = self.setting.problem(self.recipe)

    def _initial_parameters(self) -> Tensor:
        """What the state begins with."""
        setting = self.setting
        if setting.stored is not None:
            return setting.tensor(setting.stored.theta)
        if self.initial_theory is not None:
            n_neurons = self.recipe.network.n_neurons[0]
            return setting.tensor(sample_theory(self.initial_theory, self.recipe, n_neurons, Stream.INITIAL, 0))
        return setting.network.initial(self.recipe, stream=Stream.INITIAL, device=setting.device, dtype=setting.dtype)

    def tables(self) -> tuple[Tensor, ...]:
        """The neurons as tables, one a hidden layer."""
        return self.tables_of(self.state.theta)

    def tables_of(self, theta: Tensor) -> tuple[Tensor, ...]:
        """The same of any parameters of this network."""
        return self.setting.network.tables(theta, self.problem.inputs, self.problem.readout_exponent)

    def clouds(self, tables: Sequence[Tensor]) -> tuple[Cloud, ...]:
        """Tables of neurons, one a hidden layer, on the host."""
        return self._named(map(to_host, tables))

    def shown_clouds(self, tables: Sequence[Tensor]) -> tuple[Cloud, ...]:
        """The same in float32, for pictures: of large clouds the neurons that are sent one by one."""
        return self._named(fetched(_sent(tables)))

    def _named(self, tables: Iterable[np.ndarray]) -> tuple[Cloud, ...]:
        return tuple(Cloud(table, self.setting.network.columns(layer)) for layer, table in enumerate(tables, start=1))

    def initial_clouds(self) -> tuple[Cloud, ...]:
        """The neurons at step 0, one cloud a hidden layer."""
        return self._named((self.initial_theta, *self._initial_upper))

    def initial_tables(self) -> tuple[Tensor, ...]:
        """The neurons at step 0 on the device."""
        return tuple(map(self.setting.tensor, (self.initial_theta, *self._initial_upper)))

    @cached_property
    def initial_theory(self) -> Theory | None:
        """The exact law that neurons are drawn from at the start, where the recipe says so."""
        if self.recipe.initial.law != "theory":
            return None
        return self._solution or solve_theory(self.recipe, task=self.task)

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

    def snapshot(self, look: Look | None = None) -> Snapshot:
        """The background as it stands, on the host: of a large cloud some neurons, and what is counted of all."""
        state = self.state
        tables = self.tables()
        sent = _sent(tables)
        counting = Counting.of(tables, look) if look is not None and "background" in look.clouds else None
        awaited = self.problem.awaited_orders(state.theta)
        found = iter(fetched([*awaited.numbers, *sent, *(counting.tensors if counting else ())]))
        orders = awaited.read([float(number) for _ in awaited.numbers for number in next(found).flat])
        gap = self.gap_to_test()
        latest = self.history.rows[-1] if self.history.rows else {}
        loss = latest["loss"] if latest else self.present_loss()
        return Snapshot(
            step=state.step,
            time=state.time,
            clouds=self._named([next(found) for _ in sent]),
            n_neurons=tables[0].shape[0],
            sizes=tuple(table.shape[0] for table in tables),
            seen=counting.seen(found) if counting else None,
            loss=loss,
            step_size=state.step_size,
            eta_theta=state.step_size * state.eigenvalue,
            order_parameters={name: e.mean for name, e in orders.items()},
            order_errors={name: e.standard_error for name, e in orders.items()},
            average_age=state.average_age,
            is_complete=self.is_complete,
            kernel=self.kernel.name,
            test_loss=latest.get("test_loss") if latest else self.measured_test_loss(),
            test_minus_train=None if gap is None else gap.mean,
            test_minus_train_error=None if gap is None else gap.standard_error,
            accuracies=self._latest_accuracies(latest),
        )

    def present_loss(self) -> float:
        """E (y - f)^2 of the network as it stands, on the training measure."""
        prediction = self.kernel.predict(self.state.theta, self.problem.inputs, self.problem.readout_exponent)
        return mean_loss(self.problem.weights, self.problem.targets, prediction)

    @property
    def loss(self) -> float:
        """Mean over the averaging window of each network's own loss (the present one where there is no window)."""
        if self.recipe.foreground.field == "end" or not self.state.n_losses:
            return self.present_loss()
        return self.state.mean_loss

    def window_orders(self) -> dict[str, tuple[float, float]]:
        """Order parameters averaged over the window, each with its standard error."""
        rows = [row for row in self.history.rows if row["is_averaged"]]
        names = [name for name in (rows[0] if rows else {}) if name.startswith(("cos", "overlap"))]
        if len(rows) < 8 or self.recipe.foreground.field == "end":
            return {name: (e.mean, e.standard_error) for name, e in self.problem.orders(self.state.theta).items()}
        series = {name: averaged(np.array([row[name] for row in rows])) for name in names}
        return {name: (estimate.mean, estimate.standard_error) for name, estimate in series.items()}

    @cached_property
    def test_points(self) -> TestPoints | None:
        """What the network has not seen: infinite data or data held back; None where it is trained on all there is."""
        return TestPoints.of(self.recipe.training, self.setting, self.recipe.seed)

    def window_accuracies(self) -> dict[str, float | None]:
        """Share of right answers of each network, averaged over the window; its standard error beside it."""
        now = self.accuracies_of(self.state.theta, self.problem.readout_exponent)
        rows = [row for row in self.history.rows if row["is_averaged"]]
        if len(rows) < 8 or self.recipe.foreground.field == "end":
            return dict(now)
        found: dict[str, float | None] = {}
        for name in now:
            mean, error = averaged(np.array([row[name] for row in rows]))
            found |= {name: mean, f"{name}_error": error}
        return found

    def measured_test_loss(self) -> float | None:
        """E (y - f)^2 of the network as it stands, on infinite data or data held back, where it saw finite data."""
        points = self.test_points
        return points.loss(self.predict(points.inputs)) if points else None

    def _tested(self, row: dict[str, float]) -> dict[str, float]:
        points, unseen, found = self.test_points, None, dict[str, Tensor]()
        if points is not None:
            unseen = self._prediction_at(points.inputs)
            self.history.add_test(unseen, is_averaged=bool(row["is_averaged"]))
            found["test_loss"] = points.awaited_loss(unseen)
        if self.task.n_out > 1:  # of one readout the averaged function tells the class, not each network
            found |= self._shares_right(self._prediction_at(self.problem.field_inputs), unseen)
        return row | named(found)

    def predict(self, inputs: Tensor) -> np.ndarray:
        """f of the network as it stands at inputs (n, n_inputs), on the host."""
        return to_host(self._prediction_at(inputs))

    def _prediction_at(self, inputs: Tensor) -> Tensor:
        return self.kernel.predict(self.state.theta, inputs, self.problem.readout_exponent)

    def gap_to_test(self) -> Estimate | None:
        """Test loss minus training loss over the averaging window, with its error; None without test points."""
        points, rows = self.test_points, self.history.rows
        if points is None or not rows:
            return None
        if self._gap is None or self._gap[0] != len(rows):
            self._gap = (len(rows), generalisation_gap(rows, points.sampling_error(self.predict(points.inputs))))
        return self._gap[1]

    def _latest_accuracies(self, latest: dict[str, float]) -> dict[str, float]:
        recorded = {name: value for name, value in latest.items() if name.endswith("_accuracy")}
        if recorded or not self.task.is_classification:
            return recorded
        # Once a record: a frame has no time for it.
        if self._shares is None or self._shares[0] != len(self.history.rows):
            self._shares = (len(self.history.rows), self.accuracies())
        return self._shares[1]

    def accuracies(self) -> dict[str, float]:
        """train_accuracy and test_accuracy of the averaged function, where targets name classes; else nothing.

        One network at temperature T scatters about its average, a lazy one so much that it hides what was learnt.
        """
        mean = self.history.mean_test_prediction() if self.recipe.foreground.field == "averaged" else None
        unseen = None if mean is None else torch.as_tensor(mean, device=double_device(self.device))
        if unseen is None and self.test_points is not None:
            unseen = self._prediction_at(self.test_points.inputs)
        return named(self._shares_right(self.mean_prediction(), unseen))

    def accuracies_of(self, theta: Tensor, readout_exponent: float) -> dict[str, float]:
        """The same for one network."""
        predict, points = self.kernel.predict, self.test_points
        unseen = predict(theta, points.inputs, readout_exponent) if points else None
        return named(self._shares_right(predict(theta, self.problem.field_inputs, readout_exponent), unseen))

    def _shares_right(self, seen: Tensor, unseen: Tensor | None) -> dict[str, Tensor]:
        """Not waited for yet."""
        if not self.task.is_classification:
            return {}
        shares = {"train_accuracy": share_right(seen, self._field_targets)}
        if unseen is not None and self.test_points is not None:
            shares["test_accuracy"] = share_right(unseen, self.test_points.targets_there)
        return shares

    @cached_property
    def _field_targets(self) -> Tensor:
        return torch.as_tensor(self.field_points.targets, dtype=torch.float64, device=double_device(self.device))


def _sent(tables: Sequence[Tensor]) -> list[Tensor]:
    """The neurons that are sent one by one, in float32."""
    return [table[: n_sent(*table.shape)].float() for table in tables]
