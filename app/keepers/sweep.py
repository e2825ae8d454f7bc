"""Sweeps in the window: fields are chosen, points come in, and a click on one opens its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

from app.keepers.pointing import Pointer
from app.panels.experiment import ExperimentPanel
from app.session import Session
from app.sweeping import Sweeping, SweepOrder
from app.views.sweep import SweepView
from mft_engine.recipe import Recipe, RecipeError

if TYPE_CHECKING:
    from mft_engine.studies.sweep_table import Sweep

# Ranges worth looking at, for fields of which a person knows no values yet.
USUAL_VALUES = {
    "regularisation.scale": "1e-4:0.1:log8",
    "training.temperature": "0.003:0.3:log8",
    "training.n_points": "32:4096:log8",
    "network.n_neurons": "64:4096:log7",
    "network.readout_exponent": "0.5:1:lin6",
    "task.train_fraction": "0.4:0.8:lin9",
}


class SweepKeeper(QObject):
    """Between the sweep's controls, the process that carries it out and the session that shows one of its runs."""

    def __init__(
        self,
        session: Session,
        sweeping: Sweeping,
        view: SweepView,
        panel: ExperimentPanel,
        open_path: Callable[[Path], None],
    ) -> None:
        super().__init__(view)
        self._session, self._sweeping, self._view, self._open_path = session, sweeping, view, open_path
        self._pointing_for = 0
        self.pointer = Pointer(panel)
        self.pointer.pointed.connect(self._pointed)
        self.pointer.given_up.connect(view.stop_pointing)
        view.set_suggestion(self._suggest)
        view.start_wanted.connect(self._start)
        view.cancel_wanted.connect(sweeping.cancel)
        view.resume_wanted.connect(self._resume)
        view.opened.connect(self.open)
        view.point_wanted.connect(self._point)
        view.run_picked.connect(self._open_run)
        sweeping.changed.connect(self._show)
        sweeping.progress.connect(view.show_progress)
        sweeping.running_changed.connect(view.show_running)
        sweeping.refused.connect(view.say_fault)
        sweeping.ended.connect(self._ended)
        view.show_stored([])

    def look(self, is_visible: bool) -> None:
        """Somebody looks at the tab, or does not any more."""
        if is_visible and self._session.is_engine_ready and not self._sweeping.is_running:
            self._view.show_stored(self._sweeping.stored())
        elif not is_visible:
            self._view.stop_pointing()

    # What a person does ------------------------------------------------------------------------------------------

    @Slot()
    def _start(self) -> None:
        view, recipe = self._view, self._session.recipe
        if not self._session.is_engine_ready:
            view.say_fault("The engine is still loading")
            return
        order = SweepOrder(
            recipe, view.axes, view.seeds.value(), view.n_workers, view.scheduler.text().strip(),
            both_ways=view.both_ways.isChecked(), refine=view.n_refined,
        )  # fmt: skip
        if self._sweeping.start(order):
            view.show_resumable(False)

    @Slot()
    def _resume(self) -> None:
        self._sweeping.resume(self._view.n_workers, self._view.scheduler.text().strip())

    @Slot(object)
    def open(self, folder: Path) -> None:
        if self._sweeping.open(folder) and self._sweeping.sweep is not None:
            self._view.show_axes({axis.path: _typed(axis.values) for axis in self._sweeping.sweep.axes})
            self._view.seeds.setValue(self._sweeping.n_seeds)
            self._view.both_ways.setChecked(self._sweeping.sweep.has_ways)

    @Slot(str)
    def _open_run(self, folder: str) -> None:
        path = Path(folder)
        if path == self._session.kept_folder:
            self._session.status.emit(f"{path.name} is on the screen already")
        else:
            self._open_path(path)

    @Slot(int)
    def _point(self, number: int) -> None:
        self._pointing_for = max(number, 0)
        self.pointer.wait(number >= 0)
        if number >= 0:
            self._session.status.emit("Click on a control of the Experiment dock (Esc gives up)")

    @Slot(str)
    def _pointed(self, path: str) -> None:
        if path == "seed":
            self._view.stop_pointing()
            self._view.say_fault("Seeds are not a field of their own: their number is below")
            return
        self._session.status.emit("")
        self._view.choose(self._pointing_for, path)

    def _suggest(self, path: str) -> str:
        """Values around the one in force."""
        if path in USUAL_VALUES:
            return USUAL_VALUES[path]
        try:
            value = self._session.recipe.get(path)
        except RecipeError:
            return ""
        value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        if isinstance(value, bool):
            return "true, false"
        if isinstance(value, (int, float)) and value > 0:
            return f"{value / 4:g}:{value * 4:g}:log5"
        return str(value) if isinstance(value, str) else ""

    # What comes back -----------------------------------------------------------------------------------------------

    @Slot(object, object)
    def _show(self, sweep: Sweep, recipe: Recipe) -> None:
        from mft_engine.studies.phase import is_logarithmic, panels_of, place_of, pooled_at, positions

        if len(sweep.axes) > 2:
            self._view.phase.clear()
            self._view.say("A phase diagram has one or two fields; the Runs tab lists all of these runs")
            return
        places = [place_of(sweep, row) for row in sweep.rows]
        first = sweep.axes[0]
        is_log = len(sweep.axes) == 1 and is_logarithmic(first)
        phase = self._view.phase
        phase.show_sweep(sweep, panels_of(sweep), places, positions(first), is_logarithmic=is_log)
        phase.show_pooled(pooled_at(sweep))

    @Slot(str, bool)
    def _ended(self, words: str, is_resumable: bool) -> None:
        if words and self._view.sentence.property("role") != "fault":
            self._view.say(words)
        self._view.show_resumable(is_resumable)
        self._view.show_stored(self._sweeping.stored())


def _typed(values: tuple[Any, ...]) -> str:
    """The values as a person could have typed them."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else _word(value) for value in values)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
