"""One recipe, run: train the background, sample the foreground, compare, solve the theory; told as events.

The window's worker and the command line drive the same object, so the same recipe on the same device gives the same
numbers in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mft_engine.changes import Change
from mft_engine.compare.clouds import Comparison
from mft_engine.device import to_host
from mft_engine.dynamics import Diverged, Problem, State
from mft_engine.experiment.background import Background
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
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
from mft_engine.experiment.facts import facts_of, maps
from mft_engine.experiment.foreground import CloudForeground
from mft_engine.experiment.history import History
from mft_engine.experiment.layered_foreground import foreground_of
from mft_engine.experiment.outcome import Cloud, Outcome, Population
from mft_engine.experiment.seeing import see
from mft_engine.experiment.setting import Setting
from mft_engine.experiment.summary import summarise
from mft_engine.laws.particles import LawLost
from mft_engine.looks import Look, Seen
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.certificate import Certificate, certify
from mft_engine.questions.data_kernel import kernel_change
from mft_engine.questions.kernel_study import MAX_NEURONS, DataKernels, study_kernels
from mft_engine.questions.loop import iterate
from mft_engine.questions.posterior import Posterior
from mft_engine.questions.references import ReferenceLines, reference_lines
from mft_engine.questions.replay import InForce
from mft_engine.questions.table import QUESTIONS, Answer
from mft_engine.questions.theory import improve_theory, theory_tables, why_not_at_once
from mft_engine.recipe import Recipe, RecipeError, plan_change
from mft_engine.slices import Pace
from mft_engine.tasks import Task
from mft_engine.theory.planar import PlanarTheory
from mft_engine.theory.theory import Theory, function_variance

# Time between two words about the training.
TOLD_SECONDS = 0.1


class Experiment:
    """A background that is being trained, and everything that is asked of it.

    Args:
        recipe: what to do.
        kernel: auto, fused or reference inner loops.
        solution: the recipe's exact law, where it is at hand and neurons are drawn from it.

    Attributes:
        background: the network; sampler: its foreground, sampled and compared.
        comparisons: one a hidden layer; none before there is a foreground. Other answers are None until they are there.

    Raises:
        RecipeError: a task, rule or device that cannot be built.
    """

    def __init__(self, recipe: Recipe, *, kernel: str = "auto", solution: Theory | None = None) -> None:
        self.background = Background(recipe, kernel=kernel, solution=solution)
        self.sampler = foreground_of(self.background)
        self.comparisons: tuple[Comparison, ...] = ()
        self.certificate: Certificate | None = None
        self.data_kernels: DataKernels | None = None
        self.references: ReferenceLines | None = None
        self.answers: dict[str, Answer] = {}
        self._answered_of: tuple[State | None, Theory | None] = (None, None)
        # Solved already where the neurons are drawn from it.
        self.solution: Theory | None = self.background.initial_theory
        self._warm = self.solution
        self._asked = self.background.recipe

    # ---- the background -------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """The recipe in force, its schedule applied up to now."""
        return self.background.recipe

    @property
    def setting(self) -> Setting:
        """Task, measures, device and inner loops."""
        return self.background.setting

    @property
    def problem(self) -> Problem:
        """What the dynamics knows."""
        return self.background.problem

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.background.task

    @property
    def kind(self) -> str:
        """Of the background: trained, lazy, untrained or stored."""
        return self.background.kind

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self.background.state

    @property
    def history(self) -> History:
        """Rows and clouds recorded along the run."""
        return self.background.history

    @property
    def path(self) -> Sequence[InForce]:
        """The recipes in force, from step 0 on."""
        return self.background.path

    @property
    def field_points(self) -> FieldPoints:
        """The points on which the frozen field lives, on the host."""
        return self.background.field_points

    @property
    def is_complete(self) -> bool:
        """Whether the recipe's last step has been done."""
        return self.background.is_complete

    @property
    def progress(self) -> float:
        """Fraction of the recipe's training that is done, 0 to 1."""
        return self.background.progress

    def advance(self, n_steps: int, *, beyond: bool = False) -> int:
        """Train by up to n_steps; stops exactly at the recipe's last step unless `beyond`.

        Returns:
            the number of steps done.

        Raises:
            Diverged: a non-finite number; the last good state is kept.
        """
        try:
            return self.background.advance(n_steps, beyond=beyond)
        finally:
            if self.background.recipe is not self._asked:  # by its schedule
                self._forget()

    def retune(self, recipe: Recipe) -> Change:
        """Follow a recipe that keeps the neurons; answers that it makes stale are forgotten.

        Raises:
            RecipeError: a change that needs a new experiment.
        """
        change = self.background.retune(recipe)
        self._forget()
        return change

    def _forget(self) -> None:
        before, self._asked = self._asked, self.background.recipe
        if plan_change(before, self._asked) is Change.RETUNE or before.theory != self._asked.theory:
            self.solution = self.references = None
        self.sampler.forget()
        self.certificate = self.data_kernels = None
        self.comparisons = ()
        self.answers = {}

    def schedule_of(self, start: Recipe, old: Recipe, new: Recipe) -> Recipe:
        """`start` with the hyperparameters that differ between `old` and `new` scheduled at the present step."""
        return self.background.schedule_of(start, old, new)

    def snapshot(self, look: Look | None = None) -> Snapshot:
        """The background as it stands, on the host, and what is counted of all neurons for a look."""
        return self.background.snapshot(look)

    def see(self, cloud: str, look: Look) -> Seen | None:
        """What is counted of all neurons of the initial, background or foreground cloud where that is large."""
        of = {"initial": self.background.initial_tables, "foreground": self.sampler.tables}
        return see(of.get(cloud, self.background.tables)(), look)

    def initial_clouds(self) -> tuple[Cloud, ...]:
        """The neurons at step 0, one cloud a hidden layer."""
        return self.background.initial_clouds()

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns recorded every 50 steps: step, time, loss, step_size, ..., test_loss where some data are unseen."""
        return self.background.history.metrics()

    @property
    def _cloud(self) -> CloudForeground | None:
        """The foreground where a neuron is a point of one cloud: networks of one hidden layer."""
        return self.sampler if isinstance(self.sampler, CloudForeground) else None

    @property
    def fresh(self) -> Population | None:
        """The foreground in hand."""
        return self.sampler.fresh

    @property
    def comparison(self) -> Comparison | None:
        """Of the first hidden layer; None while there is none."""
        return self.comparisons[0] if self.comparisons else None

    def fields(self, n_pixels: int = 64, extent: float = 3.0) -> FieldsReady | None:
        """Target, background, foreground and residual on a square of the plane; None for other inputs."""
        if self.task.n_inputs != 2 or self.task.n_out > 1:
            return None
        return maps(self.task, self.setting, self.background.predict, self.sampler.predict, n_pixels, extent)

    # ---- questions ------------------------------------------------------------------------------------------------

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        """Sample the foreground in slices of about 10 ms; a second call draws fresh neurons."""
        for event in self.sampler.sample():
            if isinstance(event, ForegroundReady):
                self.comparisons, self.data_kernels = (), None
            yield event

    def redraw(self) -> ForegroundReady | None:
        """The last exact foreground under the hyperparameters in force now; None where that takes too long."""
        return self.sampler.redraw()

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Compare the present background with the foreground, in slices of about 10 ms."""
        for event in self.sampler.compare():
            if isinstance(event, ComparisonReady):
                self.comparisons = event.comparisons
            yield event

    def theory(self, should_stop: Callable[[], bool] | None = None) -> Iterator[Progress | TheoryReady | TheoryAbsent]:
        """Solve the infinite-width equation for the recipe in force, where there is one."""
        text = "solving the infinite-width equation"
        yield Progress("theory", 0.0, text)
        try:
            if self.solution is not None:
                yield TheoryReady(theory=self.solution, test_loss=self.theory_test_loss())
                return
            if later := why_not_at_once(self.recipe):
                raise RecipeError(later)
            found: Theory | None = None
            for item in improve_theory(self.recipe, task=self.task, warm=self._warm, should_stop=should_stop):
                if isinstance(item, float):
                    yield Progress("theory", item, text)
                    continue
                found = item
                if found.shortfall:
                    continue
                self.solution = self._warm = found
                yield TheoryReady(theory=found, test_loss=self.theory_test_loss())
            if found is not None and found.shortfall:
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
        points = self.background.test_points
        if points is None or self.solution is None:
            return None
        if self.solution.test_loss is not None:
            return self.solution.test_loss
        return points.loss(self.solution.prediction(to_host(points.inputs).astype(np.float64)))

    def refer(self) -> Iterator[ReferencesReady]:
        """What a network that learns no features would do on the same task."""
        if self.references is None:
            self.references = reference_lines(self.recipe, self.task)
        yield ReferencesReady(lines=self.references)

    def certify(self) -> Iterator[Progress | CertificateReady]:
        """How far the background's averaged residual is from the exact optimum (`theory` first, where there is one)."""
        cloud = self._cloud
        if cloud is None:  # the convexity behind certificates holds for one hidden layer
            self.certificate = Certificate(posterior=self.posterior())
            yield CertificateReady(certificate=self.certificate)
            return
        yield Progress("certify", 0.0, "certifying the background")
        found = certify(
            self.recipe,
            self.field_points,
            to_host(self.background.mean_prediction()),
            to_host(self.state.theta),
            cloud.drive,
            self._planar_solution if self.task.is_gaussian else None,
        )
        initial, tensor = self.setting.tensor(self.background.initial_theta), self.setting.tensor
        inputs, weights = tensor(self.setting.field_measure.inputs), tensor(self.setting.field_measure.weights)
        change = kernel_change(initial, self.state.theta, inputs, weights, self.setting.activation)
        self.certificate = replace(found, kernel_change=change, posterior=self.posterior())
        yield CertificateReady(certificate=self.certificate)

    def ask(self) -> Iterator[Progress | Answered]:
        """The questions of the table, one after the other (`theory` first, where there is one).

        They are about the background alone: another foreground of the same state asks for nothing new.
        """
        state, solution = self._answered_of
        if state is not self.state or solution is not self.solution:
            self.answers, self._answered_of = {}, (self.state, self.solution)
        for name, question in QUESTIONS.items():
            if name in self.answers:
                yield Answered(name=name, answer=self.answers[name])
                continue
            for item in question.ask(self):
                if isinstance(item, float):
                    yield Progress("ask", item, name)
                else:
                    self.answers[name] = item
                    yield Answered(name=name, answer=item)

    def posterior(self, variance_theory: float | None = None) -> Posterior | None:
        """Mean and variance of the function over the averaging window, beside theory where it is solved and applies."""
        exact = self.solution
        is_trained = self.background.kind == "trained"
        if variance_theory is None and exact is not None and is_trained:
            variance_theory = function_variance(exact, self.recipe.network.n_neurons[-1])
        return self.background.posterior(variance_theory)

    def data_kernel(self) -> Iterator[Progress | DataKernelsReady]:
        """The data kernels of the initial cloud, the present background and the foreground where there is one.

        Of one hidden layer: with more, the first layer's law alone is not the network's kernel.
        """
        if self._cloud is None:
            return
        answers = study_kernels(
            self.background.initial_theta,
            to_host(self.state.theta),
            self.fresh.theta if self.fresh else None,
            self.field_points,
            self.setting.activation,
            seed=self.recipe.seed,
            law=theory_tables(self.solution, self.recipe, self.task, MAX_NEURONS)[0] if self.solution else None,
        )
        for answer in answers:
            if isinstance(answer, DataKernels):
                self.data_kernels = answer
                yield DataKernelsReady(kernels=answer, step=self.state.step)
            else:
                yield Progress("kernel", answer, "the spectrum of the data kernel")

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """Let the foreground become the background, again and again, from the present background (`theory` first).

        Raises:
            RecipeError: no law of a neuron is known.
        """
        if self._cloud is None:
            raise RecipeError("The self-consistency loop is for networks of one hidden layer")
        prediction, theta = to_host(self.background.mean_prediction()), to_host(self.state.theta)
        options: dict[str, Any] = {"damping": damping, "n_iterations": n_iterations, "theory": self._planar_solution}
        for turn in iterate(self.recipe, self.field_points, prediction, theta, **options):
            yield IterationReady(iteration=turn)
            yield Progress("iterate", turn.index / n_iterations, f"iteration {turn.index}, gap {turn.gap:.1e}")

    # ---- the whole recipe -----------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """Everything computed so far."""
        now = self.background.clouds(self.background.tables())
        background = Population(
            now, to_host(self.background.mean_prediction()), self.background.loss, self.background.kind
        )
        clouds, cloud_steps = self.history.clouds()
        outcome = Outcome(
            recipe=self.recipe,
            points=self.field_points,
            initial_theta=self.background.initial_theta,
            background=background,
            metrics=self.metrics(),
            snapshots=clouds,
            snapshot_steps=cloud_steps,
            foreground=self.fresh,
            comparisons=self.comparisons,
            theory=self.solution,
            certificate=self.certificate,
            data_kernels=self.data_kernels,
            answers=dict(self.answers),
        )
        return replace(outcome, summary=summarise(outcome, self._facts()))

    def resume(self, state: State, initial_theta: np.ndarray) -> None:
        """Continue from the state of a checkpoint of the same recipe."""
        self.background.resume(state, initial_theta)
        self._asked = self.background.recipe

    def take_back(self, outcome: Outcome) -> None:
        """Answers of a stored outcome of the very state that this experiment is in: they need no computing again."""
        self.sampler.take_back(outcome)
        self.comparisons, self.certificate = outcome.comparisons, outcome.certificate
        self.answers = dict(outcome.answers)

    def _facts(self) -> dict[str, Any]:
        return facts_of(self.background, self.sampler) | {
            "theory_test_loss": self.theory_test_loss(),
            "references": self.references,
            "posterior": self.posterior(),
        }

    def __iter__(self) -> Iterator[Event]:
        """The recipe to its end: train, foreground, compare, theory, Finished."""
        pace = Pace(TOLD_SECONDS)
        while not self.is_complete:
            pace.carry_out(self.advance)
            yield Progress("train", self.progress, f"training, t = {self.state.time:.2f}")
        yield self.snapshot()
        for ask in STAGES:
            yield from ask(self)
        outcome = self.outcome()
        yield Finished(outcome=outcome, summary=outcome.summary)


# What a recipe asks after its training, in order.
STAGES: tuple[Callable[[Experiment], Iterator[Event]], ...] = (
    Experiment.foreground,
    Experiment.compare,
    Experiment.theory,
    Experiment.refer,
    Experiment.certify,
    Experiment.ask,
    Experiment.data_kernel,
)

__all__ = ["STAGES", "Diverged", "Experiment"]
