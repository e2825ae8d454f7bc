"""The stored runs in the window: listed where somebody looks, opened, named, thrown away and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.library import Library, RunsCompared
from app.session import Session
from app.settings import Settings
from app.theme import Theme
from app.views.compare_runs import CompareDialog
from app.views.runs import RunsView

if TYPE_CHECKING:
    from mft_engine.runs.index import RunRow

# A run that keeps itself is written every eight seconds: its row follows at the next quiet moment.
FOLLOW_MILLISECONDS = 400


class RunsKeeper(QObject):
    """Between the table of runs, the library that reads them and the session that shows one."""

    def __init__(
        self,
        session: Session,
        library: Library,
        view: RunsView,
        settings: Settings,
        open_path: Callable[[Path], None],
        theme: Callable[[], Theme],
    ) -> None:
        super().__init__(view)
        self._session, self._library, self._view = session, library, view
        self._settings, self._open_path, self._theme = settings, open_path, theme
        self._has_listed = False
        self._follow = QTimer(self)
        self._follow.setSingleShot(True)
        self._follow.setInterval(FOLLOW_MILLISECONDS)
        self._follow.timeout.connect(self.refresh)
        view.opened.connect(self._open)
        view.renamed.connect(self._rename)
        view.thrown_away.connect(self._throw_away)
        view.compare_wanted.connect(self._compare)
        view.curves_wanted.connect(library.read_curves)
        view.planes_wanted.connect(library.read_planes)
        view.dropped.connect(self._dragged_in)
        view.refresh_wanted.connect(self.refresh)
        view.folder_wanted.connect(self._add_folder)
        library.rows_ready.connect(view.show_rows)
        library.row_changed.connect(view.put_row)
        library.rows_gone.connect(view.drop_rows)
        library.curves_ready.connect(view.show_curves)
        library.planes_ready.connect(view.show_planes)
        library.compared.connect(self._show_comparison)
        library.failed.connect(session.failed)
        library.said.connect(session.status)
        session.experiment_changed.connect(self._built)
        session.run_kept.connect(self._kept)
        session.engine_ready.connect(self._engine_ready)

    def look(self, is_visible: bool) -> None:
        """Somebody looks at the table, or does not any more."""
        if is_visible and not self._has_listed and self._session.is_engine_ready:
            self.refresh()

    @Slot()
    def refresh(self) -> None:
        """List what is stored."""
        self._has_listed = True
        self._library.refresh()

    def add_folder(self, folder: Path) -> None:
        """List the runs of another folder too, from now on."""
        known = [text for text in self._settings.get("run_folders", []) if isinstance(text, str)]
        self._settings.set("run_folders", [*(text for text in known if text != str(folder)), str(folder)])
        self.refresh()

    @Slot()
    def _engine_ready(self) -> None:
        if not self._view.visibleRegion().isEmpty():
            self.refresh()

    @Slot(object)
    def _built(self, event: object) -> None:
        self._view.show_current(self._session.kept_folder)

    @Slot(object)
    def _kept(self, folder: Path) -> None:
        self._view.show_current(folder)
        if self._has_listed:
            self._view.forget_curve(folder)
            self._follow.start()

    @Slot(object)
    def _open(self, folder: Path) -> None:
        if folder == self._session.kept_folder:
            self._session.status.emit(f"{folder.name} is on the screen already")
            return
        self._open_path(folder)

    @Slot(object, str, str)
    def _rename(self, row: RunRow, name: str, text: str) -> None:
        if name == "tags":
            from mft_engine.runs.marks import tags_of

            self._library.mark([row], f"tag {row.title}", tags=tags_of(text))
        elif name == "note":
            self._library.mark([row], f"note on {row.title}", note=text)
        else:
            text = text.strip()
            self._library.mark([row], f"rename {row.title}", name="" if text == row.folder.name else text[:200])

    @Slot(object)
    def _throw_away(self, folders: list[Path]) -> None:
        shown = self._session.kept_folder
        if shown in folders:
            self._session.failed.emit(f"{shown.name} is on the screen: open another run or recipe, then trash it")
        self._library.throw_away([folder for folder in folders if folder != shown])

    @Slot(object, object)
    def _compare(self, first: RunRow, second: RunRow) -> None:
        self._library.compare(first, second)

    @Slot(object)
    def _show_comparison(self, answer: RunsCompared) -> None:
        window = self._view.window()
        dialog = CompareDialog(answer, self._theme(), window)
        dialog.finished.connect(dialog.deleteLater)
        dialog.show()

    @Slot(object)
    def _dragged_in(self, folders: list[Path]) -> None:
        """Runs are listed with their neighbours; a folder of runs, with what is in it."""
        for folder in folders:
            self.add_folder((folder.parent if (folder / "recipe.toml").is_file() else folder).resolve())

    @Slot()
    def _add_folder(self) -> None:
        owner: QWidget = self._view.window()
        path = QFileDialog.getExistingDirectory(owner, "List the runs in", str(self._settings.runs_folder.parent))
        if path:
            self.add_folder(Path(path).resolve())
