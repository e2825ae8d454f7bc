"""What the actions do: one method for every row of the table in `actions.py`."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QMainWindow, QMessageBox

from app.actions import ACTIONS
from app.engine.messages import DataPreview, Export
from app.panels.command_palette import CommandPalette
from app.panels.composer import ComposerDialog
from app.panels.data_dialog import DataDialog
from app.panels.defect import DefectDialog
from app.panels.export_dialog import ExportDialog
from app.panels.help_pages import NUMBERS, HelpPages
from app.saved import SUFFIX
from app.session import Session
from app.settings import Settings
from app.shell.copying import command_line, python_lines
from app.shell.dropping import DATA_SUFFIXES, is_data_file, is_run, is_sweep, is_watched, what_it_becomes
from app.shell.picture_commands import PictureCommands, documents
from app.theme import Mode, ThemeKeeper
from app.views.loop import LoopView
from app.watched.window import WatchedWindow
from mft_engine.recipe import RecipeError, load_recipe, shipped_recipes

PACKAGES = ("mft-lab", "torch", "numpy", "numba", "PySide6-Essentials", "pyqtgraph")
SPEEDS = (1, 3, 10, 30, 100, 300, 1000, 0)  # steps per frame; 0: as many as fit


class Commands(PictureCommands):
    """Everything a menu, button or shortcut can start."""

    live_wanted = Signal()
    dock_wanted = Signal(str)
    view_reset_wanted = Signal()
    layout_wanted = Signal(str)
    split_wanted = Signal()
    tour_wanted = Signal()
    studies_wanted = Signal()
    sweep_opened = Signal(object)  # folder
    session_opened = Signal(object)  # path
    session_saved = Signal(object)
    speed_changed = Signal(int)
    mode_changed = Signal(str)

    def __init__(
        self, session: Session, settings: Settings, themes: ThemeKeeper, loop: LoopView, owner: QMainWindow
    ) -> None:
        """
        Args:
            loop: whose choices the self-consistency loop is turned with.
            owner: the window that dialogs belong to, that closes at "quit", and whose actions the palette lists.
        """
        super().__init__(session, settings, owner)
        self._themes, self._loop = themes, loop
        self.watched: list[WatchedWindow] = []
        session.data_ready.connect(self.ask_for_columns)

    # File ----------------------------------------------------------------------------------------------------

    @Slot()
    def open_recipe(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._owner, "Open recipe", self._last_folder, "Recipes (*.toml)")
        if path:
            self.open_path(Path(path))

    @Slot()
    def open_run(self) -> None:
        path = QFileDialog.getExistingDirectory(self._owner, "Open run", self._last_folder)
        if path:
            self.open_path(Path(path))

    @Slot()
    def open_data(self) -> None:
        pattern = " ".join(f"*{suffix}" for suffix in DATA_SUFFIXES)
        path, _ = QFileDialog.getOpenFileName(
            self._owner, "Open data", self._last_folder, f"Tables of numbers ({pattern});;All files (*)"
        )
        if path:
            self._session.look_at_data(Path(path).resolve())

    @Slot(object)
    def ask_for_columns(self, preview: DataPreview) -> None:
        """A file has been read: ask what is to be learnt from it, then make it the task."""
        for dialog in self._owner.findChildren(DataDialog):
            if dialog.isVisible() and dialog.preview.path == preview.path:
                dialog.show_preview(preview)  # read again as the person said
                return
        dialog = DataDialog(preview, self._owner)
        dialog.accepted.connect(lambda: self._learn_from(dialog))
        dialog.finished.connect(dialog.deleteLater)
        dialog.read_again.connect(self._session.look_at_data)
        dialog.open()

    def _learn_from(self, dialog: DataDialog) -> None:
        if self._session.choose_task("dataset", dialog.parameters()):
            self._settings.add_recent(dialog.preview.path)
            self._session.status.emit(f"Learning from {dialog.preview.path.name}")

    def open_path(self, path: Path) -> None:
        """Open a recipe, a run folder or a file of data; what cannot be opened is said and changes nothing."""
        if is_data_file(path):
            self._settings.set("folder", str(path.resolve().parent))
            self._session.look_at_data(path.resolve())
            return
        if path.suffix.lower() == SUFFIX and not os.path.isdir(path):
            self._settings.set("folder", str(path.resolve().parent))
            self.session_opened.emit(path)
            return
        if is_watched(path):
            self._open_watched(path.resolve())
            return
        if is_sweep(path) and not is_run(path):
            self.dock_wanted.emit("sweep")
            self.sweep_opened.emit(path.resolve())
            self._settings.add_recent(path.resolve())
            return
        if not what_it_becomes(path)[0] and os.path.exists(path):
            self._session.failed.emit(what_it_becomes(path)[1])
            return
        try:
            recipe = load_recipe(path)
        except RecipeError as error:
            self._session.failed.emit(str(error))
            return
        if is_run(path):
            self._session.pause()
            self._session.open_run(path.resolve(), recipe)
        else:
            self._session.open_recipe(recipe)
            self._session.status.emit(f"Opened {path}")
        self._settings.add_recent(path.resolve())
        self._settings.set("folder", str(path.resolve().parent))

    def _open_watched(self, folder: Path) -> None:
        window = WatchedWindow(folder, self._themes)
        self.pictures.attach(window)
        self.watched.append(window)
        window.destroyed.connect(lambda: self.watched.remove(window))
        window.show()
        self._settings.add_recent(folder)
        self._settings.set("folder", str(folder.parent))

    @Slot(str)
    def open_preset(self, name: str) -> None:
        """Open a shipped recipe (or go back to the one opened, for a name that is not shipped)."""
        try:
            recipe = load_recipe(name) if name in shipped_recipes() else self._session.opened_recipe
        except RecipeError as error:
            self._session.failed.emit(str(error))
            return
        self._session.open_recipe(recipe)

    @Slot()
    def save_recipe(self) -> None:
        start = str(Path(self._last_folder) / f"{self._session.recipe.name}.toml")
        path, _ = QFileDialog.getSaveFileName(self._owner, "Save recipe", start, "Recipes (*.toml)")
        if path:
            self.save_to(Path(path))

    def save_to(self, path: Path) -> None:
        """Write the recipe that repeats the run."""
        path = path if path.suffix else path.with_suffix(".toml")
        try:
            path.write_text(self._session.repeating_recipe.to_toml(), encoding="utf-8")
        except OSError as error:
            self._session.failed.emit(f"The recipe cannot be written to {path}: {error.strerror or error}")
            return
        self._settings.add_recent(path.resolve())
        self._session.status.emit(f"Saved {path}")

    @Slot()
    def open_session(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._owner, "Open session", self._last_folder, f"Sessions (*{SUFFIX})")
        if path:
            self.open_path(Path(path))

    @Slot()
    def save_session(self) -> None:
        start = str(Path(self._last_folder) / f"{self._session.recipe.name}{SUFFIX}")
        path, _ = QFileDialog.getSaveFileName(self._owner, "Save session", start, f"Sessions (*{SUFFIX})")
        if path:
            chosen = Path(path)
            self.session_saved.emit(chosen if chosen.suffix else chosen.with_suffix(SUFFIX))

    @Slot()
    def copy_recipe(self) -> None:
        self._copy(self._session.repeating_recipe.to_toml(), "The recipe is in the clipboard")

    @Slot()
    def copy_command(self) -> None:
        self._copy(command_line(self._session.repeating_recipe), "The command line is in the clipboard")

    @Slot()
    def copy_python(self) -> None:
        self._copy(python_lines(self._session.repeating_recipe), "The Python lines are in the clipboard")

    @Slot()
    def export_three(self) -> None:
        folder = QFileDialog.getExistingDirectory(self._owner, "Export the three pictures to", self._export_folder)
        if folder:
            self._settings.set("export_folder", folder)
            self._session.export(Export(folder=Path(folder), figure_formats=("png", "svg", "pdf")))

    @Slot()
    def export(self) -> None:
        dialog = ExportDialog(Path(self._export_folder), self._owner)
        if dialog.exec():
            command = dialog.command()
            self._settings.set("export_folder", str(command.folder))
            self._session.export(command)
        dialog.deleteLater()

    @Slot()
    def compose(self) -> None:
        dialog = ComposerDialog(Path(self._export_folder), self._owner)
        dialog.wanted.connect(self._session.compose)
        self._session.figure_drawn.connect(dialog.show_preview)
        if dialog.exec():
            command = dialog.command()
            self._settings.set("export_folder", str(command.folder))
            self._session.export(command)
        dialog.deleteLater()

    @Slot()
    def quit(self) -> None:
        self._owner.close()

    # Edit ----------------------------------------------------------------------------------------------------

    @Slot()
    def undo(self) -> None:
        self._session.undo_stack.undo()

    @Slot()
    def redo(self) -> None:
        self._session.undo_stack.redo()

    # Run -----------------------------------------------------------------------------------------------------

    @Slot()
    def toggle(self) -> None:
        self._session.toggle()

    @Slot()
    def step(self) -> None:
        self.live_wanted.emit()
        self._session.step()

    @Slot()
    def reset(self) -> None:
        self._session.reset()

    @Slot()
    def new_seed(self) -> None:
        self._session.new_seed()

    @Slot()
    def resample(self) -> None:
        self._session.resample()

    @Slot()
    def iterate(self) -> None:
        self.live_wanted.emit()
        self.dock_wanted.emit("loop")
        self._session.iterate(self._loop.damping, self._loop.n_turns)

    @Slot()
    def study_widths(self) -> None:
        self.dock_wanted.emit("width")
        self._session.study_widths()

    @Slot()
    def show_studies(self) -> None:
        self.studies_wanted.emit()

    @Slot()
    def cancel(self) -> None:
        self._session.cancel()

    @Slot()
    def slower(self) -> None:
        self._change_speed(-1)

    @Slot()
    def faster(self) -> None:
        self._change_speed(1)

    def _change_speed(self, direction: int) -> None:
        place = SPEEDS.index(self._session.steps_per_frame) if self._session.steps_per_frame in SPEEDS else 0
        self.set_speed(SPEEDS[min(len(SPEEDS) - 1, max(0, place + direction))])

    def set_speed(self, steps_per_frame: int) -> None:
        """Steps per frame, remembered for the next start."""
        self._session.set_speed(steps_per_frame)
        self._settings.set("speed", steps_per_frame)
        self.speed_changed.emit(steps_per_frame)

    # View ----------------------------------------------------------------------------------------------------

    @Slot()
    def reset_view(self) -> None:
        self.view_reset_wanted.emit()

    @Slot()
    def reset_layout(self) -> None:
        self.layout_wanted.emit("explore")

    @Slot()
    def layout_explore(self) -> None:
        self.layout_wanted.emit("explore")

    @Slot()
    def layout_compare(self) -> None:
        self.layout_wanted.emit("compare")

    @Slot()
    def layout_sweep(self) -> None:
        self.layout_wanted.emit("sweep")

    @Slot()
    def switch_split(self) -> None:
        self.split_wanted.emit()

    @Slot()
    def theme_system(self) -> None:
        self._set_theme("system")

    @Slot()
    def theme_light(self) -> None:
        self._set_theme("light")

    @Slot()
    def theme_dark(self) -> None:
        self._set_theme("dark")

    def _set_theme(self, mode: Mode) -> None:
        self._themes.set_mode(mode)
        self._settings.set("theme", mode)
        self.mode_changed.emit(mode)

    # Help ----------------------------------------------------------------------------------------------------

    @Slot()
    def show_help(self) -> None:
        self.explain("")

    def explain(self, heading: str) -> None:
        """The help pages, at what is said about some numbers where a heading is named."""
        pages = self._owner.findChild(HelpPages)
        if pages is None:
            pages = HelpPages(self._owner)
        pages.show()
        pages.raise_()
        if heading:
            pages.show_page(NUMBERS, heading)

    @Slot()
    def show_tour(self) -> None:
        self.tour_wanted.emit()

    @Slot()
    def show_palette(self) -> None:
        palette = CommandPalette(self._owner.actions(), self._owner)
        centre = self._owner.geometry().center()
        palette.move(centre.x() - palette.width() // 2, self._owner.geometry().top() + 90)
        palette.finished.connect(palette.deleteLater)
        palette.open()
        palette.entry.setFocus()

    @Slot()
    def show_shortcuts(self) -> None:
        rows = "".join(
            f"<tr><td style='padding:2px 18px 2px 0'><b>{spec.shortcut}</b></td><td>{spec.text.rstrip('…')}</td></tr>"
            for spec in ACTIONS
            if spec.shortcut
        )
        mouse = "Wheel zooms a plot, drag moves it, double click fits it again; Shift and drag chooses neurons."
        self._tell("Keyboard shortcuts", f"<table>{rows}</table><p>{mouse}</p>")

    @Slot()
    def show_about(self) -> None:
        lines = "<br>".join(f"{name} {_version(name)}" for name in PACKAGES)
        self._tell(
            "About MFT Lab",
            "<b>MFT Lab</b><br>The mean-field theory of neural networks, live: a wide network as a gas of neurons, "
            "and the question whether a fresh neuron in its field ends up distributed like it."
            f"<p>Python {platform.python_version()}<br>{lines}</p><p>MIT licence</p>",
        )

    def tell_defect(self, sentence: str, log: Callable[[], str]) -> None:
        """The program itself is at fault: one dialog, however many faults there are while it is open."""
        if not self._owner.isVisible():
            return
        open_one = self._owner.findChild(DefectDialog)
        if open_one is not None:
            open_one.add(sentence)
            return

        def report() -> str:
            versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
            about = f"MFT Lab: {sentence}\nPython {platform.python_version()}, {platform.platform()}\n{versions}"
            return f"{about}\n\n--- recipe ---\n{self._session.recipe.to_toml()}\n--- log ---\n{log()}\n"

        dialog = DefectDialog(sentence, report, self._owner)
        dialog.log_wanted.connect(lambda: self.dock_wanted.emit("log"))
        dialog.show()

    def _tell(self, title: str, text: str) -> None:
        box = QMessageBox(self._owner)
        box.setWindowTitle(title)
        box.setText(text)
        box.finished.connect(box.deleteLater)
        box.open()

    # Details -------------------------------------------------------------------------------------------------

    def _copy(self, text: str, sentence: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._session.status.emit(sentence)

    @property
    def _last_folder(self) -> str:
        return self._settings.get("folder", "") or documents()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
