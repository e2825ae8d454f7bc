"""The main window: docks, menus, toolbar and status bar put together; it decides nothing."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QSize, Qt, QTimer, Slot
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QMainWindow,
    QTabWidget,
    QToolButton,
    QWidget,
)

from app.actions import ACTIONS, build_actions, fill_menus
from app.docks import Docks, Ground
from app.engine.messages import Built, EngineReady
from app.keepers.brushing import BrushedViews, BrushKeeper
from app.keepers.clouds import CloudKeeper
from app.keepers.layouts import LayoutKeeper
from app.keepers.looking import LookKeeper
from app.keepers.loop import LoopKeeper
from app.keepers.progress import ProgressKeeper
from app.keepers.runs import RunsKeeper
from app.keepers.saved import Desk, SavedKeeper
from app.keepers.soon import Soon
from app.keepers.studies import StudiesKeeper
from app.keepers.sweep import SweepKeeper
from app.keepers.theory import TheoryKeeper
from app.keepers.view import ViewKeeper
from app.keepers.widths import WidthKeeper
from app.library import Library
from app.logs import LogBuffer
from app.panels.experiment import ExperimentPanel
from app.panels.history import HistoryPanel
from app.panels.log import LogPanel
from app.panels.neurons import NeuronsPanel
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.settings import Settings
from app.shell.commands import SPEEDS, Commands
from app.shell.dropping import DropFrame, dropped_path, let_drops_through
from app.shell.run_bar import RunBar
from app.shell.tour_stops import tour_of
from app.studying import Studying
from app.sweeping import Sweeping
from app.theme import Theme, ThemeKeeper
from app.views.cloud import CloudView
from app.views.fields import FieldsView
from app.views.fourier import FourierView
from app.views.kernel import KernelView
from app.views.loop import LoopView
from app.views.loss import LossView
from app.views.marginals import MarginalsView
from app.views.runs import RunsView
from app.views.sweep import SweepView
from app.views.width import WidthView
from app.widgets.help_button import HelpButton
from app.widgets.status_line import StatusLine
from mft_engine.recipe import Recipe

USUAL_SIZE = QSize(1440, 900)
LAYOUT_VERSION = 5
AUTOSAVE_MILLISECONDS = 800
AFTER_FIRST_PICTURE_MILLISECONDS = 30


class MainWindow(QMainWindow):
    """Cloud in the middle, experiment on the left, self-consistency on the right, plots and log below."""

    def __init__(self, session: Session, settings: Settings, themes: ThemeKeeper, log: LogBuffer) -> None:
        super().__init__()
        self.setObjectName("main_window")
        self.session, self.settings, self._themes = session, settings, themes
        self._has_icons = False
        theme = themes.theme
        self.cloud = CloudView(theme, self)
        self.status_line = StatusLine(self)
        self.setStatusBar(self.status_line)
        self.setCentralWidget(self.cloud)
        self.setDockOptions(
            QMainWindow.DockOption.AnimatedDocks
            | QMainWindow.DockOption.AllowTabbedDocks
            | QMainWindow.DockOption.AllowNestedDocks
        )
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        self.docks = Docks(self, session, Ground(theme, log))
        view = self.docks.view
        self.experiment, self.self_consistency = view(ExperimentPanel), view(SelfConsistencyPanel)
        self.log_panel = view(LogPanel)
        self.loss, self.marginals, self.fourier = view(LossView), view(MarginalsView), view(FourierView)
        self.loop, self.width_view = view(LoopView), view(WidthView)
        self.runs = view(RunsView)
        self.library = Library(lambda: settings.stores, session.undo_stack, self)
        self.sweep_view, self.sweeping = view(SweepView), Sweeping(settings.sweeps_folder, self)
        self.studying = Studying(self)
        self.commands = Commands(session, settings, themes, self.loop, self)
        self.actions_by_name: dict[str, QAction] = build_actions(self, self.commands)
        self._build_menus()
        self._toolbar = RunBar(self.actions_by_name, self.commands.set_speed, self)
        self.addToolBar(self._toolbar)
        self.speed = self._toolbar.speed
        self._make_keepers()
        self.drop_frame = DropFrame(theme, self)
        self.tour = tour_of(
            self, session, self.cloud, self.experiment, self.self_consistency, self.docks.bring_up,
            lambda: self._toolbar.widgetForAction(self.actions_by_name["resample"]),
        )  # fmt: skip
        self.setAcceptDrops(True)
        let_drops_through(self)
        self._connect()
        self._autosave = QTimer(self)
        self._autosave.setSingleShot(True)
        self._autosave.setInterval(AUTOSAVE_MILLISECONDS)
        self._autosave.timeout.connect(self._save_recipe)
        self.show_recipe(session.recipe)
        self.loss.set_duration(session.recipe.training.time)
        self.apply_theme(theme)
        self._restore()
        self._watched: QWidget | None = None
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._focus_moved)

    # Building ------------------------------------------------------------------------------------------------

    def _make_keepers(self) -> None:
        session, actions, soon, view = self.session, self.actions_by_name, Soon(self), self.docks.view
        self.clouds = CloudKeeper(
            session, self.cloud, self.loss, self.marginals, self.fourier, self.self_consistency, soon
        )
        TheoryKeeper(session, self.clouds, self.cloud, self.loss, self.marginals, self.self_consistency, soon)
        LookKeeper(session, self.clouds, self.cloud, self.marginals, self.fourier)
        LoopKeeper(session, self.loop, actions["iterate"], self.clouds.stage)
        WidthKeeper(session, self.width_view, actions["widths"])
        runs = RunsKeeper(
            session, self.library, self.runs, self.settings, self.commands.open_path, lambda: self._themes.theme
        )
        self.docks["runs"].visibilityChanged.connect(runs.look)
        sweep = SweepKeeper(session, self.sweeping, self.sweep_view, self.experiment, self.commands.open_path)
        self.docks["sweep"].visibilityChanged.connect(sweep.look)
        studies = StudiesKeeper(session, self.studying, self.settings.studies_folder, self)
        self.commands.sweep_opened.connect(sweep.open)
        self.sweep_view.studies_wanted.connect(studies.show)
        self.commands.studies_wanted.connect(studies.show)
        view(HistoryPanel).set_stack(session.undo_stack)
        brushed = BrushedViews(
            self.cloud, self.marginals, view(FieldsView), self.fourier, view(KernelView), view(NeuronsPanel)
        )
        self.brush = BrushKeeper(session, self.clouds, brushed)
        self.brush.picked.connect(self._show_neurons)
        self.docks["neurons"].visibilityChanged.connect(self.brush.refresh_soon)
        self.docks["fields"].visibilityChanged.connect(self.brush.refresh_soon)
        self.view_keeper = ViewKeeper(self.cloud, self.loss, self.brush, session.undo_stack)
        desk = Desk(
            lambda: self.saveState(LAYOUT_VERSION),
            lambda state: self.restoreState(state, LAYOUT_VERSION),
            lambda: self.docks.front,
            self.docks.bring_to_front,
            self.docks.bars,
            self.docks.tidy,
        )
        self.layouts = LayoutKeeper(self, list(self.docks), desk, self._put_back, session.undo_stack)
        self.saved = SavedKeeper(session, self.settings, self.view_keeper, (self.sweep_view, self.runs), desk)
        ProgressKeeper(session, self.library, self.status_line, self.self_consistency, actions["cancel"])

    @Slot()
    def _show_neurons(self) -> None:
        """The inspector comes up with the first neurons that are chosen."""
        if self.brush.numbers and self.docks["neurons"].isHidden():
            self.docks.bring_up("neurons")

    def welcome(self) -> None:
        """Offer the tour to somebody who starts for the first time."""
        if not self.settings.get("is_tour_offered", False):
            self.settings.set("is_tour_offered", True)
            self.tour.offer()

    def _build_menus(self) -> None:
        menus = fill_menus(self.menuBar(), self.actions_by_name)
        self._recent = menus["File"].addMenu("Open Recent")
        menus["File"].insertMenu(self.actions_by_name["save"], self._recent)
        self._recent.aboutToShow.connect(self._fill_recent)
        view = menus["View"]
        first = view.actions()[0]
        for dock in self.docks:
            view.insertAction(first, dock.toggleViewAction())
        view.insertSeparator(first)
        self._show_mode(self._themes.mode)

    def _connect(self) -> None:
        session = self.session
        session.running_changed.connect(self._show_running)
        session.engine_ready.connect(self._engine_ready)
        session.recipe_changed.connect(self._recipe_changed)
        session.run_kept.connect(self.settings.save_run)
        session.experiment_changed.connect(self._built)
        session.undo_stack.canUndoChanged.connect(self.actions_by_name["undo"].setEnabled)
        session.undo_stack.canRedoChanged.connect(self.actions_by_name["redo"].setEnabled)
        session.undo_stack.undoTextChanged.connect(self._show_undo_text)
        self.actions_by_name["undo"].setEnabled(False)
        self.actions_by_name["redo"].setEnabled(False)
        self._themes.theme_changed.connect(self.apply_theme)
        panel, commands = self.experiment, self.commands
        panel.edited.connect(session.edit)
        panel.settled.connect(session.edit_done)
        panel.refused.connect(self.status_line.say_fault)
        panel.task_chosen.connect(session.choose_task)
        panel.preset_chosen.connect(commands.open_preset)
        commands.live_wanted.connect(self.clouds.go_live)
        commands.dock_wanted.connect(self.docks.bring_up)
        commands.view_reset_wanted.connect(self.cloud.reset_view)
        commands.layout_wanted.connect(self.layouts.choose)
        commands.session_opened.connect(self.saved.open)
        commands.session_saved.connect(self.saved.save_to)
        commands.tour_wanted.connect(self.tour.start)
        for button in self.findChildren(HelpButton):
            button.asked.connect(commands.explain)
        commands.split_wanted.connect(self.view_keeper.switch_split)
        self.cloud.split_changed.connect(self.actions_by_name["split"].setChecked)
        commands.recording_changed.connect(self.actions_by_name["record"].setChecked)
        commands.speed_changed.connect(self._toolbar.show_speed)
        commands.mode_changed.connect(self._show_mode)
        for name in ("marginals", "fourier"):
            self.docks[name].visibilityChanged.connect(self._marginals_shown)

    # What is shown -------------------------------------------------------------------------------------------

    @Slot(object)
    def show_recipe(self, recipe: Recipe) -> None:
        """The recipe in force, in controls and title."""
        self.experiment.show_recipe(recipe, self.session.opened_recipe)
        self.setWindowTitle(f"{recipe.name} · seed {recipe.seed} - MFT Lab")

    @Slot(object)
    def apply_theme(self, theme: Theme) -> None:
        """Everything that draws by itself takes the theme."""
        for part in (self.cloud, self.docks, self.drop_frame, self.tour):
            part.apply_theme(theme)
        if self._has_icons:
            self._paint_icons()

    @Slot()
    def _paint_icons(self) -> None:
        theme, self._has_icons = self._themes.theme, True
        import qtawesome  # a tenth of a second with its fonts: after the window is on the screen

        for spec in ACTIONS:
            if spec.icon:
                icon = qtawesome.icon(spec.icon, color=theme.text, color_disabled=theme.muted)
                self.actions_by_name[spec.name].setIcon(icon)
        # Opens what has no room in a narrow window; Qt draws it in the colours of another theme.
        more = self._toolbar.findChild(QToolButton, "qt_toolbar_ext_button")
        assert more is not None
        more.setIcon(qtawesome.icon("mdi6.chevron-double-right", color=theme.text))
        self._show_running(self.session.is_running)

    @Slot(bool)
    def _show_running(self, is_running: bool) -> None:
        play = self.actions_by_name["play"]
        play.setChecked(is_running)
        play.setText("Pause" if is_running else "Play")
        if self._has_icons:
            import qtawesome

            colour = self._themes.theme.accent_text
            name = "mdi6.pause" if is_running else "mdi6.play"
            play.setIcon(qtawesome.icon(name, color=colour, color_disabled=colour))

    @Slot(object)
    def _engine_ready(self, ready: EngineReady) -> None:
        for spec in ACTIONS:
            if spec.needs == "engine":
                self.actions_by_name[spec.name].setEnabled(True)

    @Slot(str)
    def show_defect(self, sentence: str) -> None:
        """What nobody has caught: said in the status bar, with a report that can be copied."""
        self.session.failed.emit(sentence)
        self.commands.tell_defect(sentence, self.log_panel.whole)

    @Slot(str)
    def _show_undo_text(self, text: str) -> None:
        self.actions_by_name["undo"].setText(f"Undo {text}" if text else "Undo")

    @Slot(object)
    def _recipe_changed(self, recipe: Recipe) -> None:
        self.show_recipe(recipe)
        self._autosave.start()

    @Slot(object)
    def _built(self, event: Built) -> None:
        self.settings.save_run(event.folder)

    @Slot(str)
    def _show_mode(self, mode: str) -> None:
        for name in ("system", "light", "dark"):
            self.actions_by_name[f"theme_{name}"].setChecked(name == mode)

    @Slot(bool)
    def _marginals_shown(self, is_visible: bool) -> None:
        if is_visible:
            # The dock says that it is visible before its content is.
            QTimer.singleShot(0, self.clouds.refresh_marginals)

    @Slot()
    def _fill_recent(self) -> None:
        self._recent.clear()
        for text in self.settings.recent:
            action = self._recent.addAction(text)
            action.setData(text)
            action.triggered.connect(self._recent_picked)
        if not self.settings.recent:
            self._recent.addAction("No files yet").setEnabled(False)

    @Slot()
    def _recent_picked(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.commands.open_path(Path(action.data()))

    def showEvent(self, event: QShowEvent) -> None:
        """The icons come just after the first picture."""
        super().showEvent(event)
        if not self._has_icons:
            QTimer.singleShot(AFTER_FIRST_PICTURE_MILLISECONDS, self._paint_icons)

    # Keeping and leaving -------------------------------------------------------------------------------------

    def _restore(self) -> None:
        self.resize(USUAL_SIZE)
        available = QGuiApplication.primaryScreen().availableSize()
        self.resize(self.size().boundedTo(available))
        self.restoreGeometry(self.settings.geometry("geometry"))
        self.restoreState(self.settings.geometry("docks"), LAYOUT_VERSION)
        self.saved.restore_last()
        speed = self.settings.get("speed", 0)
        self.session.set_speed(speed if speed in SPEEDS else 0)
        self._toolbar.show_speed(self.session.steps_per_frame)

    def _put_back(self, layout: str) -> None:
        self.docks.put_back(layout)
        self._toolbar.show()

    @Slot()
    def _save_recipe(self) -> None:
        self.settings.save_recipe(self.session.recipe)
        self.saved.remember()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop the engine and keep recipe and layout; never asks, because nothing is lost."""
        self._autosave.stop()
        self._save_recipe()
        self.settings.save_geometry("geometry", self.saveGeometry())
        self.settings.save_geometry("docks", self.saveState(LAYOUT_VERSION))
        self.log_panel.stop()
        for dialog in self.findChildren(QDialog):
            dialog.close()
        self.hide()
        for dock in self.docks:
            dock.setVisible(dock.isVisible() and not dock.isFloating())  # one that floats is a window of its own
        self.commands.recorder.close()
        self.session.close()
        self.sweeping.close()
        self.studying.close()
        self.library.close()
        self.settings.save_run(self.session.kept_folder)
        super().closeEvent(event)

    # Dropping files ------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Whatever file hovers is told what would become of it."""
        path = dropped_path(event.mimeData())
        if path is not None:
            self.drop_frame.offer(path)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """It went away again."""
        self.drop_frame.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        self.drop_frame.hide()
        path = dropped_path(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.commands.open_path(path)

    @Slot(object, object)
    def _focus_moved(self, old: QWidget | None, new: QWidget | None) -> None:
        """Space plays and pauses, except while a button or a list that answers to it has the focus."""
        if self._watched is not None and old is self._watched:
            self._watched.removeEventFilter(self)
        self._watched = new if isinstance(new, (QAbstractButton, QComboBox)) else None
        if self._watched is not None:
            self._watched.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A focused button keeps the space bar for itself: it is not the window's shortcut then."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Space:
                event.accept()
                return True
        return super().eventFilter(watched, event)
