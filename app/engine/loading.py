"""Bringing the engine into the worker's thread: the only place of the window that imports torch.

The window is on the screen before any of this runs. Everything that the worker needs of the engine goes through the
protocols of `app.engine.contract`, so that tests can put a small fake in its place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from app.engine.contract import Engine, Experiment, Keeper, Restored
from app.engine.exporting import preview, write_files
from app.engine.messages import (
    Compose,
    DataPreview,
    EngineReady,
    Export,
    FigurePreview,
    Reading,
    TaskCard,
    TheoryPicture,
)
from mft_engine.experiment.events import Event
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.sections import EngineSection, TaskSection

if TYPE_CHECKING:
    from mft_engine.experiment.experiment import Experiment as RealExperiment
    from mft_engine.experiment.outcome import Outcome
    from mft_engine.questions.widths import WidthRow
    from mft_engine.theory.theory import Theory

_READ_LIMIT = 1_500_000_000  # bytes; a CUDA build's libraries go far beyond what a cold start should read
_PETALS = (2, 3, 4, 5, 6)
_CARD_EXTENT = 2.6
_CARD_PIXELS = 72
_THEORY_PIXELS = 160
_MARGINAL_POINTS = 121
_THEORY_NEURONS = 4000
_PREVIEW_ROWS = 5


def read_libraries_once() -> None:
    """Read torch's shared libraries from the disk, so that importing them holds the interpreter for less long.

    Loading a library that is not in the page cache keeps every Python thread waiting, the window's too; reading it as a
    file does not.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return
    left = _READ_LIMIT
    for path in sorted((Path(spec.origin).parent / "lib").glob("*.so*"), key=lambda p: p.stat().st_size):
        left -= path.stat().st_size
        if left < 0:
            return
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def load_engine(section: EngineSection) -> Engine:
    """Import torch and the engine; called in the worker's thread."""
    started = time.perf_counter()
    read_libraries_once()
    return TorchEngine(section, started)


def _table_of_sums(modulus: int) -> np.ndarray:
    """The table of additions modulo P as a wave of its right answers, (_CARD_PIXELS, _CARD_PIXELS)."""
    n = np.arange(_CARD_PIXELS) * modulus // _CARD_PIXELS
    answer = (n[:, None] + n[None, :]) % modulus
    return np.asarray(np.cos(2 * np.pi * answer / modulus), dtype=np.float32)


def _found(facts: dict[str, Any]) -> Reading | None:
    """How a text was read; None for files that are none."""
    if "delimiter" not in facts:
        return None
    return Reading(facts["delimiter"], facts["decimal"], facts["header"])


class TorchEngine:
    """The real engine."""

    def __init__(self, section: EngineSection, started: float) -> None:
        from mft_engine import device
        from mft_engine.experiment import experiment

        self._device, self._experiment = device, experiment
        n_threads = device.set_threads(section)
        self.ready = EngineReady(
            devices=tuple(device.available_devices()), n_threads=n_threads, seconds=time.perf_counter() - started
        )

    def experiment(self, recipe: Recipe) -> Experiment:
        """A new experiment on the recipe's device."""
        return self._experiment.Experiment(recipe)

    def keeper(self, store: Path) -> Keeper:
        """What writes runs to a store, in a thread of its own."""
        from mft_engine.runs.keeping import Keeper as RealKeeper

        return cast("Keeper", RealKeeper(store))

    def restore(self, folder: Path, recipe: Recipe) -> Restored:
        """The experiment of a run folder where it stood, with its answers."""
        from mft_engine.runs.restore import restore

        return restore(folder, recipe)

    def device_of(self, experiment: Experiment) -> str:
        """The device in force, in words."""
        return self._device.describe_device(cast("RealExperiment", experiment).background.device)

    def is_device_trouble(self, error: BaseException, recipe: Recipe) -> bool:
        """A missing device always; out of memory and driver errors where the recipe may run elsewhere than the CPU."""
        if isinstance(error, self._device.DeviceError):
            return True
        if recipe.engine.device == "cpu" or self.ready.devices == ("cpu",):
            return False
        return self._device.is_trouble(error)

    def task_cards(self) -> Iterator[TaskCard]:
        """One card for every task, several for the petals; thumbnails are the targets themselves."""
        from mft_engine.tasks import REGISTRY

        for name in REGISTRY:
            if name == "petals":
                for k in _PETALS:
                    yield self._card(name, {"k": k})
            else:
                yield self._card(name, {})

    def data_preview(self, path: Path, reading: Reading) -> DataPreview:
        """What is in a file of numbers, read as it is asked for; a fault in it is a sentence."""
        from mft_engine.tasks.dataset import options_of
        from mft_engine.tasks.files import read_table

        try:
            table = read_table(path, options_of(asdict(reading)))
        except RecipeError as error:
            return DataPreview(path, fault=str(error), reading=reading)
        shown = [
            [table.classes[name][int(v)] if name in table.classes else f"{v:.6g}" for v in column[:_PREVIEW_ROWS]]
            for name, column in table.columns.items()
        ]
        rows = tuple(zip(*shown, strict=True))
        chosen = table.target if table.target is not None else next(reversed(table.columns))
        return DataPreview(
            path, tuple(table.columns), table.n_rows, rows, target=chosen, groups=table.groups,
            worded=tuple(table.classes), n_test=table.n_test, notes=table.notes,
            reading=reading, found=_found(table.facts),
        )  # fmt: skip

    def _card(self, name: str, parameters: dict[str, Any]) -> TaskCard:
        from mft_engine.tasks import build_task

        shown = {"expression": "x1*x2 + 0.3*sin(3*x1)"} if name == "expression" else parameters
        task = build_task(TaskSection.model_validate({"name": name, **shown}))
        has_own = task.points is not None
        if task.picture is not None:
            side = max(1, _CARD_PIXELS // len(task.picture))
            image = np.kron(task.picture, np.ones((side, side))).astype(np.float32)
            return TaskCard(name, task.title, task.formula, shown, image, brings_points=has_own)
        if task.n_out > 1:
            return TaskCard(task.name, task.title, task.formula, shown, _table_of_sums(task.modulus), True)
        axis = (np.arange(_CARD_PIXELS) + 0.5) / _CARD_PIXELS * 2 * _CARD_EXTENT - _CARD_EXTENT
        x1, x2 = np.meshgrid(axis, axis)
        # Of more than two inputs the others stand at 1, so that a product of all of them shows.
        points = np.ones((x1.size, task.n_inputs))
        points[:, 0] = x1.ravel()
        if task.n_inputs > 1:
            points[:, 1] = x2.ravel()
        image = np.asarray(task.target(points), dtype=np.float32).reshape(_CARD_PIXELS, _CARD_PIXELS)
        return TaskCard(name, task.title, task.formula, shown, image, brings_points=has_own)

    def study_widths(self, recipe: Recipe, should_stop: Callable[[], bool]) -> Iterator[float | WidthRow]:
        """Fractions done, and a `WidthRow` for every width; ends early where it shall stop."""
        from mft_engine.laws.stopped import SolveStopped
        from mft_engine.questions.widths import study_widths

        with contextlib.suppress(SolveStopped):
            yield from study_widths(recipe, should_stop=should_stop)

    def theory_picture(self, theory: Theory, experiment: Experiment) -> TheoryPicture:
        """Density of w as an image, the three marginals, neurons and the numbers of an infinite-width solution."""
        from mft_engine.network.scaling import drive
        from mft_engine.questions.theory import theory_tables

        own = cast("RealExperiment", experiment)
        numbers, law = theory.to_dict(), theory.density
        samples = tuple(
            table.astype(np.float32) for table in theory_tables(theory, own.recipe, own.task, _THEORY_NEURONS)
        )
        if law is None:  # known by samples: no density to draw
            return TheoryPicture(image=None, extent=1.0, marginals={}, numbers=numbers, samples=samples)
        extent = float(law.radius)
        w = np.linspace(-extent, extent, _MARGINAL_POINTS)
        reach = 5.0 * float(np.sqrt(theory.mean_square_readout))
        a = np.linspace(-reach, reach, _MARGINAL_POINTS)
        # Readouts of a network at another exponent are smaller or larger than those of its mean-field twin.
        size = drive(own.recipe.network.n_neurons[-1], own.recipe.network.readout_exponent)
        return TheoryPicture(
            image=law.density_image(extent, _THEORY_PIXELS),
            extent=extent,
            marginals={
                "w1": (w, law.marginal_weight(w, axis=0)),
                "w2": (w, law.marginal_weight(w, axis=1)),
                "a": (size * a, law.marginal_readout(a) / size),
            },
            numbers=numbers,
            samples=samples,
        )

    def compose(self, command: Compose, outcome: Outcome, wrong: Outcome | None) -> FigurePreview:
        """A page of figures as it would be written."""
        return preview(command, outcome, wrong)

    def export(self, command: Export, outcome: Outcome, wrong: Outcome | None) -> Iterator[Event]:
        """Write files; ends with `Exported`."""
        return write_files(command, outcome, wrong)
