"""A small engine with known behaviour: the worker's double in tests of session, worker and window."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.engine.messages import (
    Compose,
    DataPreview,
    EngineReady,
    Export,
    Exported,
    FigurePreview,
    Reading,
    TaskCard,
    TheoryPicture,
)
from mft_engine.changes import Change
from mft_engine.compare.clouds import Comparison
from mft_engine.estimates import Estimate
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    Event,
    FieldsReady,
    ForegroundReady,
    IterationReady,
    Progress,
    ReferencesReady,
    Snapshot,
    TheoryAbsent,
    TheoryReady,
)
from mft_engine.experiment.outcome import Cloud, FieldPoints, Outcome, Population
from mft_engine.looks import Look, Seen
from mft_engine.questions.certificate import Certificate
from mft_engine.questions.drift import no_answer
from mft_engine.questions.kernel_spectrum import KernelSpectrum
from mft_engine.questions.kernel_study import DataKernels, KernelAgreement
from mft_engine.questions.loop import Iteration
from mft_engine.questions.references import ReferenceLines
from mft_engine.questions.widths import WidthRow
from mft_engine.recipe import Recipe, RecipeError, differences, plan_change
from mft_engine.sections import ScheduledChange
from mft_engine.tasks import build_task
from mft_engine.tasks.task import Task
from mft_engine.theory.bounds import SteinDiscrepancy
from mft_engine.theory.planar import PlanarTheory


def cloud(theta: np.ndarray) -> Cloud:
    """Neurons of the plane."""
    return Cloud(theta, ("w1", "w2", "a"))


class FakeDeviceError(RuntimeError):
    """Stands for a device that is not there."""


class FakeDiverged(ArithmeticError):
    """Stands for a run that went non-finite."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"Training diverged at step {step}; set training.step_size to 0.01")


@dataclass
class FakeState:
    step: int = 0
    time: float = 0.0
    is_settled: bool = False
    average_age: float = 0.0


class FakeHistory:
    """Stored clouds, one every 50 steps."""

    def __init__(self) -> None:
        self.stored: list[tuple[int, np.ndarray]] = []

    def clouds(self) -> tuple[np.ndarray, np.ndarray]:
        clouds = np.stack([theta for _, theta in self.stored]) if self.stored else np.zeros((0, 0, 0))
        return clouds, np.array([step for step, _ in self.stored], dtype=np.int64)


class FakeExperiment:
    """Neurons that move by exactly (scale, scale, 1) a step, so that a test can tell every state from its numbers.

    A recipe lasts `N_STEPS`, a tenth of a unit of time each; its average begins half way. Set `diverges_at` to make a
    step fail.
    """

    N_STEPS = 200

    # Slices of work that a comparison takes: so many that an edit is sure to come in between, where a test wants that.
    n_comparing = 1

    def __init__(self, recipe: Recipe, log: list[str]) -> None:
        if recipe.task.name == "unknown":
            raise RecipeError("task.name = 'unknown' is no known task")
        if recipe.engine.device.startswith("cuda"):
            raise FakeDeviceError("engine.device = 'cuda' is not on this machine.")
        self.recipe, self.log = recipe, log
        self.state = FakeState()
        self._device = "cpu"
        self.task: Task = build_task(recipe.task)
        self.initial_theta = np.full((recipe.network.n_neurons[0], 3), float(recipe.seed), np.float32)
        self.theta = self.initial_theta.copy()
        self.diverges_at = -1
        self.device_fails_at: int | None = None
        self.history = FakeHistory()
        self.has_foreground = False
        self.retuned_at = 0
        log.append(f"build {recipe.foreground.background} seed {recipe.seed}")

    @property
    def is_complete(self) -> bool:
        return self.state.step >= self.N_STEPS

    @property
    def progress(self) -> float:
        return min(1.0, self.state.step / self.N_STEPS)

    def advance(self, n_steps: int, *, beyond: bool = False) -> int:
        n = n_steps if beyond else min(n_steps, self.N_STEPS - self.state.step)
        if self.device_fails_at is not None and self.state.step + n >= self.device_fails_at:
            raise FakeDeviceError("cuda: out of memory")
        if 0 <= self.diverges_at <= self.state.step + n:
            raise FakeDiverged(self.diverges_at)
        time.sleep(2e-5 * n)
        scale = self.recipe.regularisation.scale
        self.theta = self.theta + np.float32(n) * np.array([scale, scale, 1.0], np.float32)
        first = self.state.step
        for step in range(first + 50 - first % 50, first + n + 1, 50):
            self.history.stored.append((step, self.theta[:5].copy()))
        self.state = self.state_at(first + n)
        return n

    def state_at(self, step: int) -> FakeState:
        """The burn-in ends half the recipe after the last change; a step is a tenth of a unit of time."""
        age = 0.1 * (step - self.retuned_at - self.N_STEPS // 2)
        return FakeState(step, 0.1 * step, age >= 0, max(0.0, age))

    def retune(self, recipe: Recipe) -> Change:
        change = plan_change(self.recipe, recipe)
        self.recipe, self.retuned_at, self.has_foreground = recipe, self.state.step, False
        self.state = self.state_at(self.state.step)
        self.log.append(f"retune {recipe.regularisation.scale:g}")
        return change

    def schedule_of(self, start: Recipe, old: Recipe, new: Recipe) -> Recipe:
        changed = {p: v for p, _, v in differences(old, new) if p.startswith("regularisation.")}
        if self.state.step == 0:
            return start.replace(changed)
        added = [ScheduledChange(step=self.state.step, path=p, value=v) for p, v in changed.items()]
        return start.model_copy(update={"schedule": (*start.schedule, *added)})

    def see(self, cloud: str, look: Look) -> Seen | None:
        return None

    def snapshot(self, look: Look | None = None) -> Snapshot:
        return Snapshot(
            step=self.state.step,
            time=self.state.time,
            clouds=(cloud(self.theta.copy()),),
            n_neurons=len(self.theta),
            loss=1.0 / (1 + self.state.step),
            step_size=0.01,
            eta_theta=1.4,
            order_parameters={"cos4": -0.5},
            average_age=self.state.average_age,
            is_complete=self.is_complete,
            kernel="fake",
        )

    def metrics(self) -> dict[str, np.ndarray]:
        steps = np.arange(50, self.state.step + 1, 50)
        if not len(steps):
            return {}
        return {
            "step": steps,
            "time": steps * 0.1,
            "loss": 1.0 / (1 + steps),
            "step_size": 0.01 + 0 * steps,
            "eta_theta": 1.4 + 0 * steps,
            "cos4": -0.5 + 0 * steps,
        }

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        for k in range(5):
            yield Progress("foreground", k / 5, "sampling")
        theta = np.zeros((self.recipe.foreground.n_neurons, 3), np.float32)
        self.has_foreground = True
        self.log.append(f"foreground at step {self.state.step}")
        yield ForegroundReady(clouds=(cloud(theta),), loss=0.5, method="dynamics", seconds=0.1)

    def initial_clouds(self) -> tuple[Cloud, ...]:
        return (cloud(self.initial_theta),)

    def refer(self) -> Iterator[ReferencesReady]:
        yield ReferencesReady(lines=ReferenceLines(gaussian_process_network_loss=0.6))

    def redraw(self) -> ForegroundReady | None:
        return None

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        for _ in range(self.n_comparing):
            yield Progress("compare", 0.5, "comparing")
        assert self.has_foreground, "the foreground went away while it was compared"
        is_right = self.recipe.foreground.background == "trained"
        yield ComparisonReady(comparisons=(fake_comparison(is_right),))

    def theory(self, should_stop: Callable[[], bool] | None = None) -> Iterator[Progress | TheoryReady | TheoryAbsent]:
        if self.recipe.network.readout_exponent != 1:
            yield TheoryAbsent(reason="No solver for this readout exponent.")
            return
        self.log.append(f"theory {self.recipe.regularisation.scale:g}")
        yield Progress("theory", 0.0, "solving")
        yield TheoryReady(theory=fake_theory(self.recipe.regularisation.scale))

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """Automatically to 1e-8 in five turns; with a damping of 0.01 or less a tenth a turn; above, away."""
        factor = 100.0 if damping is None else 10.0 if damping <= 0.01 else 1e-3
        gap = 1.0
        for k in range(n_iterations + 1):
            theta = np.full((16, 3), float(k), np.float32)
            yield IterationReady(iteration=fake_turn(k, gap, theta, excess=gap / 2, kl=gap / 4))
            yield Progress("iterate", k / n_iterations, "iterating")
            if gap < 1e-6:
                return
            if gap > 1e8:
                raise ArithmeticError(f"The loop ran away at turn {k}; choose a damping below {damping:g}")
            gap /= factor

    def certify(self) -> Iterator[Progress | CertificateReady]:
        yield Progress("certify", 0.0, "certifying")
        self.log.append(f"certify {self.recipe.regularisation.scale:g}")
        yield CertificateReady(certificate=fake_certificate())

    def ask(self) -> Iterator[Progress | Answered]:
        yield Answered("drift", no_answer("The fake background does not move."))

    def fields(self, n_pixels: int = 64, extent: float = 3.0) -> FieldsReady | None:
        image = np.zeros((n_pixels, n_pixels))
        return FieldsReady(extent=extent, target=image, background=image, foreground=None, residual=image)

    def data_kernel(self) -> Iterator[Progress | DataKernelsReady]:
        yield Progress("kernel", 0.5, "the spectrum")
        self.log.append(f"kernel at step {self.state.step}")
        yield DataKernelsReady(kernels=fake_kernels(self.has_foreground), step=self.state.step)

    def outcome(self) -> Outcome:
        points = FieldPoints(np.zeros((4, 2)), np.full(4, 0.25), np.zeros(4), "polar")
        background = Population((cloud(self.theta),), np.zeros(4), 1.0 / (1 + self.state.step), "trained")
        clouds, steps = self.history.clouds()
        return Outcome(self.recipe, points, self.initial_theta, background, self.metrics(), clouds, steps)


def fake_comparison(is_right: bool) -> Comparison:
    """A comparison that accepts or rejects."""
    null = np.linspace(0.5, 1.5, 99)
    distance = 1.0 if is_right else 80.0
    return Comparison(
        energy_distance=distance,
        null_mean=1.0,
        null_95=1.45,
        null=null,
        p_value=0.5 if is_right else 0.01,
        ratio=distance,
        verdict="consistent" if is_right else "inconsistent",
        energy_distance_weights=distance,
        null_mean_weights=1.0,
        null_95_weights=1.45,
        null_weights=null,
        p_value_weights=0.5,
        ratio_weights=distance,
        n_background=64,
        n_foreground=64,
        n_permutations=99,
        method="exact",
        function_alignment=0.99,
        background_loss=0.3,
        foreground_loss=0.31,
        expected_loss_difference=0.01,
    )


def fake_kernels(has_foreground: bool = True, has_maps: bool = True, p_value: float = 0.4) -> DataKernels:
    """Spectra that halve from one eigenvalue to the next; the target is the second function, 80 % of it."""
    index = np.arange(12)

    def spectrum(size: float) -> KernelSpectrum:
        eigenvalues = size * 0.5**index
        shares = np.where(index == 1, 0.8, 0.01)
        return KernelSpectrum(eigenvalues, 0.05 * eigenvalues, np.eye(12), shares, 0.4 * size, 3.0 * size)

    line = (np.arange(16) + 0.5) / 16 * 6 - 3
    x1, x2 = np.meshgrid(line, line)
    maps = np.stack([x1, x2, x1 * x2, x1 * 0 + 1, x1**2 - x2**2, x1**3])
    names = ("initial", "background", *(("foreground",) if has_foreground else ()))
    return DataKernels(
        initial=spectrum(2.0),
        background=spectrum(1.0),
        foreground=spectrum(1.1) if has_foreground else None,
        change=0.014,
        agreement=KernelAgreement(0.06, np.linspace(0.03, 0.09, 99), p_value) if has_foreground else None,
        background_maps=maps if has_maps else None,
        foreground_maps=maps if has_maps and has_foreground else None,
        extent=3.0,
        n_points=256,
        n_neurons=dict.fromkeys(names, 64),
    )


def fake_theory(scale: float) -> PlanarTheory:
    """A solution that a test can tell from others by its prior precision; nobody asks it for a density."""
    return PlanarTheory(
        loss=0.29,
        target_power=1.0,
        alignment=0.7,
        free_energy=0.3,
        gap=1e-9,
        kl=4.0,
        readout_free_kl=3.0,
        mean_norm=1.4,
        mean_square_norm=2.5,
        mean_square_readout=4.0,
        order_parameters={"cos4": -0.56},
        trace_covariance=1.0,
        seconds=0.01,
        n_iterations=12,
        activation="relu_tanh",
        temperature=0.02,
        lambda_w=scale,
        lambda_a=scale,
        solution=None,  # type: ignore[arg-type]
    )


def fake_turn(
    index: int, gap: float, theta: np.ndarray, *, excess: float | None = None, kl: float | None = None
) -> Iteration:
    """A turn of the loop whose fresh neurons lie one beside the old ones."""
    return Iteration(
        index=index,
        background=theta,
        foreground=theta + 1,
        prediction=np.zeros(4),
        gap=gap,
        free_energy=0.3 + gap / 2,
        excess=excess,
        distance=gap,
        kl=kl,
        damping=1.0,
    )


def fake_width(n_neurons: int, simulated: dict[str, Estimate], **laws: dict[str, float]) -> WidthRow:
    """One width of a study with the laws given."""
    spreads = {"background_spread": 0.1, "foreground_spread": 0.2, "measured_spread": 0.1, "acceptance": 0.6}
    return WidthRow(n_neurons=n_neurons, simulated=simulated, **laws, **spreads)  # type: ignore[arg-type]


def fake_certificate() -> Certificate:
    """A certificate with every part but the posterior."""
    return Certificate(
        kernel_change=0.014,
        kl_from_prior=3.98,
        residual_gap=0.002,
        free_energy=0.228,
        free_energy_excess=0.0019,
        lower=1.4e-5,
        upper=0.45,
        posterior=None,
        stein=SteinDiscrepancy(value=0.007, null_mean=0.008, null_95=0.0119, p_value=0.8),
    )


class FakeKeeper:
    """Remembers what it was given to keep: folder, step, and whether there were answers."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.kept: list[tuple[Path, int, bool]] = []
        self.is_closed = False
        self.fault = ""

    def keep(
        self, experiment: FakeExperiment, recipe: Recipe, folder: Path | None, *, has_answers: bool = False
    ) -> Future[Path]:
        written: Future[Path] = Future()
        if self.fault:
            written.set_exception(OSError(self.fault))
            return written
        place = folder or self.store / f"seed{recipe.seed}-{experiment.state.step}"
        self.kept.append((place, experiment.state.step, has_answers))
        written.set_result(place)
        return written

    def close(self) -> None:
        self.is_closed = True


@dataclass(frozen=True)
class FakeRestored:
    """A stored run that lives again."""

    experiment: FakeExperiment
    foreground: ForegroundReady | None = None
    comparison: ComparisonReady | None = None
    certificate: CertificateReady | None = None
    answers: tuple[Answered, ...] = ()
    faults: tuple[str, ...] = ()


class FakeEngine:
    """Makes fake experiments and remembers what was asked."""

    def __init__(self) -> None:
        self.ready = EngineReady(devices=("cpu",), n_threads=1, seconds=0.0)
        self.log: list[str] = []
        self.experiments: list[FakeExperiment] = []
        self.keepers: list[FakeKeeper] = []

    def experiment(self, recipe: Recipe) -> FakeExperiment:
        self.experiments.append(FakeExperiment(recipe, self.log))
        return self.experiments[-1]

    def keeper(self, store: Path) -> FakeKeeper:
        self.keepers.append(FakeKeeper(store))
        return self.keepers[-1]

    def restore(self, folder: Path, recipe: Recipe) -> FakeRestored:
        """A run that stands at the step that its folder is named for, with a verdict where it is complete."""
        experiment = self.experiment(recipe)
        experiment.advance(int(folder.name.rpartition("-")[2]), beyond=True)
        if not experiment.is_complete:
            return FakeRestored(experiment)
        answers = list(experiment.foreground())[-1], list(experiment.compare())[-1]
        assert isinstance(answers[0], ForegroundReady) and isinstance(answers[1], ComparisonReady)
        return FakeRestored(experiment, *answers, CertificateReady(certificate=fake_certificate()))

    def device_of(self, experiment: FakeExperiment) -> str:
        return experiment._device

    def is_device_trouble(self, error: BaseException, recipe: Recipe) -> bool:
        return isinstance(error, FakeDeviceError)

    def task_cards(self) -> Iterator[TaskCard]:
        image = np.outer(np.linspace(-1, 1, 24), np.linspace(-1, 1, 24))
        yield TaskCard("product", "Clover", "x1*x2", {}, image)
        yield TaskCard("ring", "Ring", "x1**2 + x2**2", {}, image)
        yield TaskCard("expression", "Own formula", "x1*x2", {"expression": "x1*x2"}, image)

    def data_preview(self, path: Path, reading: Reading) -> DataPreview:
        """Three columns where the file says anything at all."""
        if not path.is_file() or not path.read_bytes():
            return DataPreview(path, fault=f"{path.name} is empty" if path.is_file() else f"{path.name} is no file")
        found = Reading("comma", ".", True)
        rows = (("1", "2", "3"), ("4", "5", "-6"))
        return DataPreview(path, ("x1", "x2", "y"), 120, rows, reading=reading, found=found)

    def study_widths(self, recipe: Recipe, should_stop: Callable[[], bool]) -> Iterator[float | WidthRow]:
        """Three widths; the corrected law is half a standard error off, the uncorrected one five."""
        for k, n_neurons in enumerate((8, 64, 512)):
            yield k / 3
            names = ("loss", "cos4", "mean_norm", "mean_square_norm", "mean_square_readout")
            yield fake_width(
                n_neurons,
                {name: Estimate(1.0 + 1 / n_neurons, 0.01) for name in names},
                corrected={name: 1.005 + 1 / n_neurons for name in names},
                uncorrected={name: 0.95 + 1 / n_neurons for name in names},
                infinite=dict.fromkeys(names, 1.0),
            )

    def theory_picture(self, theory: PlanarTheory, experiment: FakeExperiment) -> TheoryPicture:
        line = np.linspace(-1, 1, 11)
        marginals = {name: (line, np.ones(11)) for name in ("w1", "w2", "a")}
        numbers: dict[str, Any] = {name: getattr(theory, name) for name in ("loss", "free_energy", "gap", "kl")}
        numbers |= {"scale": theory.lambda_w, "order_parameters": theory.order_parameters}
        return TheoryPicture(np.ones((16, 16)), 1.0, marginals, numbers)

    def compose(self, command: Compose, outcome: Outcome, wrong: Outcome | None) -> FigurePreview:
        """A white page; none where the twin with the wrong background is asked for and is not there."""
        if "wrong-background" in command.composition.panels and wrong is None:
            return FigurePreview(command.number, fault="This figure needs the twin run")
        self.log.append(f"compose {'+'.join(command.composition.panels)}")
        memory = io.BytesIO()
        Image.new("RGB", (200, 100), "white").save(memory, "PNG")
        return FigurePreview(command.number, memory.getvalue(), command.composition.width_mm / 2)

    def export(self, command: Export, outcome: Outcome, wrong: Outcome | None) -> Iterator[Event]:
        command.folder.mkdir(parents=True, exist_ok=True)
        path = command.folder / "background.png"
        path.write_bytes(b"figure")
        yield Exported((path,))
