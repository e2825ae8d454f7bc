"""The whole window as a session: captured, kept for the next start, written to files and opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loguru import logger
from PySide6.QtCore import QByteArray, QObject, Slot
from PySide6.QtWidgets import QTabBar

from app.keepers.view import ViewKeeper
from app.saved import SavedSession, SavedSessionError, SweepState, ViewState, read_session, recipe_of, write_session
from app.session import Session
from app.settings import Settings
from app.views.runs import RunsView
from app.views.sweep import SweepView
from mft_engine.recipe import RecipeError, load_recipe


@dataclass(frozen=True)
class Desk:
    """What the window can tell and be told of its docks: their layout in Qt's bytes, the tab in front, bars of tabs."""

    save_layout: Callable[[], QByteArray]
    restore_layout: Callable[[QByteArray], bool]
    front: Callable[[], str]
    bring_to_front: Callable[[str], None]
    bars: Callable[[], list[QTabBar]]
    tidy: Callable[[], None]


class SavedKeeper(QObject):
    """Puts a session together from its parts, and takes it apart again."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        view: ViewKeeper,
        tabs: tuple[SweepView, RunsView],
        desk: Desk,
    ) -> None:
        super().__init__(view)
        self._session, self._settings, self._view, self._desk = session, settings, view, desk
        self._sweep, self._runs = tabs
        self._coming: ViewState | None = None
        session.experiment_changed.connect(self._built)

    def capture(self) -> SavedSession:
        """The window as it is."""
        folder = self._session.kept_folder
        return SavedSession(
            recipe=self._session.recipe.model_dump(mode="json"),
            opened=self._session.opened_recipe.model_dump(mode="json"),
            run=str(folder) if folder is not None else None,
            view=self._view.state,
            sweep=SweepState(
                axes=self._sweep.axes,
                n_seeds=self._sweep.seeds.value(),
                n_workers=self._sweep.workers.value(),
                both_ways=self._sweep.both_ways.isChecked(),
                n_refined=self._sweep.refine.value(),
                scheduler=self._sweep.scheduler.text(),
            ),
            runs_filter=self._runs.search.text(),
            layout=bytes(self._desk.save_layout().data()).hex(),
            front=self._desk.front(),
        )

    def remember(self) -> None:
        """Keep how the window looks for the next start (recipe and run are kept by themselves)."""
        self._settings.set("session", self.capture().model_dump(mode="json", exclude={"recipe", "opened", "layout"}))

    def restore_last(self) -> None:
        """Look as at the end of the last session; another task has other axes."""
        saved, last = self._settings.session, self._settings.recipe
        if last is None or last.task != self._session.recipe.task:
            saved = saved.model_copy(update={"view": None})
        self.restore_look(saved)

    def restore_look(self, saved: SavedSession) -> None:
        """Look like a session: view, tabs, controls of the sweep, filter; and once something is built, its axes."""
        if saved.view is not None:
            self._coming = saved.view
            self._view.restore(saved.view)
        self._sweep.show_axes(saved.sweep.axes)
        self._sweep.seeds.setValue(saved.sweep.n_seeds)
        self._sweep.workers.setValue(saved.sweep.n_workers)
        self._sweep.scheduler.setText(saved.sweep.scheduler)
        self._sweep.both_ways.setChecked(saved.sweep.both_ways)
        self._sweep.refine.setValue(saved.sweep.n_refined)
        self._runs.search.setText(saved.runs_filter)
        if saved.layout:
            try:
                self._desk.restore_layout(QByteArray(bytes.fromhex(saved.layout)))
            except ValueError:
                logger.warning("The layout of the session cannot be read; the present one stays")
        if saved.front:
            self._desk.bring_to_front(saved.front)

    def save_to(self, path: Path) -> None:
        """Write the window to a session file."""
        try:
            write_session(path, self.capture())
        except SavedSessionError as error:
            self._session.failed.emit(str(error))
            return
        self._settings.add_recent(path.resolve())
        self._session.status.emit(f"Saved the session to {path}")

    def open(self, path: Path) -> None:
        """Open a session file; what cannot be opened is said and changes nothing."""
        try:
            saved = read_session(path)
            folder = saved.run_folder
            stored = load_recipe(folder) if folder is not None else None
        except (SavedSessionError, RecipeError) as error:
            self._session.failed.emit(str(error))
            return
        recipe = recipe_of(saved.recipe)
        if folder is not None and stored is not None:
            self._session.pause()
            if folder != self._session.kept_folder:
                self._session.open_run(folder, stored)
        elif recipe is not None:
            self._session.open_recipe(recipe, recipe_of(saved.opened))
        else:
            self._session.failed.emit(f"{path.name} has neither a run that is still there nor a recipe")
            return
        self.restore_look(saved)
        self._settings.add_recent(path.resolve())
        self._session.status.emit(f"Opened the session {path.name}")

    @Slot(object)
    def _built(self, event: object) -> None:
        if self._coming is not None:
            view, self._coming = self._coming, None
            self._view.restore_soon(view)
