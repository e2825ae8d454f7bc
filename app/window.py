"""The main window: docks, menus, toolbar and status bar put together; it decides nothing."""

from __future__ import annotations

from itertools import pairwise
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
    QDockWidget,
    QLabel,
    QMainWindow,
    QTabWidget,
    QToolBar,
    QToolButton,
    QWidget,
)

from app.actions import ACTIONS, build_actions, fill_menus, fill_toolbar
from app.commands import SPEEDS, Commands
from app.dropping import DropFrame, dropped_path, let_drops_through
from app.logs import LogBuffer
from app.messages import LOOP_TOLERANCE, EngineReady
from app.panels.experiment import ExperimentPanel
from app.panels.log import LogPanel
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.settings import Settings
from app.theme import Theme, ThemeKeeper
from app.views.cloud import CloudView
from app.views.fields import FieldsView
from app.views.fourier import FourierView
from app.views.kernel import KernelView
from app.views.loop import LoopView
from app.views.loss import LossView
from app.views.marginals import MarginalsView
from app.views.width import WidthView
from app.widgets.status_line import StatusLine
from app.wiring import Wiring
from mft_engine.recipe import Recipe, RecipeError, load_recipe, shipped_recipes

USUAL_SIZE = QSize(1440, 900)
LAYOUT_VERSION = 4
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
        self.loss, self.fields, self.marginals = LossView(theme), FieldsView(theme), MarginalsView(theme)
        self.kernel_view = KernelView(theme)
        self.fourier = FourierView(theme)
        self.loop, self.width_view = LoopView(LOOP_TOLERANCE, theme), WidthView(theme)
        self.self_consistency = SelfConsistencyPanel(theme)
        self.experiment = ExperimentPanel(_descriptions())
        self.log_panel = LogPanel(log)
        self.status_line = StatusLine(self)
        self.setStatusBar(self.status_line)
        self.setCentralWidget(self.cloud)
        self.docks: dict[str, QDockWidget] = {}
        self._build_docks()
        self.commands = Commands(session, settings, themes, self)
        self.actions_by_name: dict[str, QAction] = build_actions(self, self.commands)
        self._build_menus()
        self._build_toolbar()
        self.wiring = Wiring(session, self)
        self.drop_frame = DropFrame(theme, self)
        self.setAcceptDrops(True)
        let_drops_through(self)
        self._connect()
        self._autosave = QTimer(self)
        self._autosave.setSingleShot(True)
        self._autosave.setInterval(AUTOSAVE_MILLISECONDS)
        self._autosave.timeout.connect(self._save_recipe)
        self.wiring.show_recipe(session.recipe)
        self.apply_theme(theme)
        self._restore()
        self._watched: QWidget | None = None
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._focus_moved)

    # Building ------------------------------------------------------------------------------------------------

    def _build_docks(self) -> None:
        self.setDockOptions(
            QMainWindow.DockOption.AnimatedDocks
            | QMainWindow.DockOption.AllowTabbedDocks
            | QMainWindow.DockOption.AllowNestedDocks
        )
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        left, right, bottom = (
            Qt.DockWidgetArea.LeftDockWidgetArea,
            Qt.DockWidgetArea.RightDockWidgetArea,
            Qt.DockWidgetArea.BottomDockWidgetArea,
        )
        for name, title, widget, area in (
            ("experiment", "Experiment", self.experiment, left),
            ("self_consistency", "Self-consistency", self.self_consistency, right),
            ("loss", "Loss", self.loss, bottom),
            ("fields", "Fields", self.fields, bottom),
            ("kernel", "Kernel", self.kernel_view, bottom),
            ("marginals", "Marginals", self.marginals, bottom),
            ("fourier", "Fourier", self.fourier, bottom),
            ("loop", "Loop", self.loop, bottom),
            ("width", "Width", self.width_view, bottom),
            ("log", "Log", self.log_panel, bottom),
        ):
            dock = QDockWidget(title, self)
            dock.setObjectName(f"dock_{name}")
            dock.setWidget(widget)
            if area is bottom:
                # Their tabs already say what they are; View closes and opens them.
                dock.setTitleBarWidget(QWidget(dock))
            self.docks[name] = dock
            self.addDockWidget(area, dock)
        self.setCorner(Qt.Corner.BottomLeftCorner, left)
        self.setCorner(Qt.Corner.BottomRightCorner, right)
        self._arrange()

    def _arrange(self) -> None:
        names = ("loss", "fields", "kernel", "marginals", "fourier", "loop", "width", "log")
        bottom = [self.docks[name] for name in names]
        for first, second in pairwise(bottom):
            self.tabifyDockWidget(first, second)
        for dock in self.docks.values():
            dock.setFloating(False)
            dock.show()
        self.docks["loss"].raise_()
        self.resizeDocks(
            [self.docks["experiment"], self.docks["self_consistency"]], [330, 320], Qt.Orientation.Horizontal
        )
        self.resizeDocks([self.docks["loss"]], [235], Qt.Orientation.Vertical)

    def _build_menus(self) -> None:
        menus = fill_menus(self.menuBar(), self.actions_by_name)
        self._recent = menus["File"].addMenu("Open Recent")
        menus["File"].insertMenu(self.actions_by_name["save"], self._recent)
        self._recent.aboutToShow.connect(self._fill_recent)
        view = menus["View"]
        first = view.actions()[0]
        for dock in self.docks.values():
            view.insertAction(first, dock.toggleViewAction())
        view.insertSeparator(first)
        mode = self._themes.mode
        for name in ("system", "light", "dark"):
            self.actions_by_name[f"theme_{name}"].setChecked(name == mode)

    def _build_toolbar(self) -> None:
        bar = QToolBar("Run", self)
        bar.setObjectName("toolbar")
        bar.setMovable(False)
        bar.setIconSize(QSize(18, 18))
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        fill_toolbar(bar, self.actions_by_name)
        short = {"export_three": "Three Pictures", "resample": "Resample Foreground", "export": "Export"}
        for name, text in short.items():
            self.actions_by_name[name].setIconText(text)
        play = bar.widgetForAction(self.actions_by_name["play"])
        assert isinstance(play, QToolButton)
        play.setProperty("role", "play")
        play.setMinimumWidth(84)
        space = QWidget(bar)
        space.setSizePolicy(space.sizePolicy().Policy.Expanding, space.sizePolicy().Policy.Preferred)
        bar.addWidget(space)
        label = QLabel("Steps per frame ", bar)
        label.setProperty("role", "muted")
        bar.addWidget(label)
        self.speed = QComboBox(bar)
        self.speed.setAccessibleName("Steps per frame")
        self.speed.setToolTip("How many training steps pass between two drawn frames ([ slower, ] faster)")
        for steps in SPEEDS:
            self.speed.addItem(f"{steps:,}" if steps else "as many as fit", steps)
        self.speed.activated.connect(self._speed_picked)
        bar.addWidget(self.speed)
        self.addToolBar(bar)
        self._toolbar = bar

    def _connect(self) -> None:
        session = self.session
        session.running_changed.connect(self._show_running)
        session.engine_ready.connect(self._engine_ready)
        session.recipe_changed.connect(self._recipe_changed)
        session.undo_stack.canUndoChanged.connect(self.actions_by_name["undo"].setEnabled)
        session.undo_stack.canRedoChanged.connect(self.actions_by_name["redo"].setEnabled)
        session.undo_stack.undoTextChanged.connect(self._show_undo_text)
        self.actions_by_name["undo"].setEnabled(False)
        self.actions_by_name["redo"].setEnabled(False)
        self._themes.theme_changed.connect(self.apply_theme)
        for name in ("marginals", "fourier"):
            self.docks[name].visibilityChanged.connect(self._marginals_shown)

    # What is shown -------------------------------------------------------------------------------------------

    def show_title(self, recipe: Recipe) -> None:
        """The recipe's name and seed in the title bar."""
        self.setWindowTitle(f"{recipe.name} · seed {recipe.seed} - MFT Lab")

    def show_speed(self, steps_per_frame: int) -> None:
        """The speed in force."""
        self.speed.setCurrentIndex(self.speed.findData(steps_per_frame))

    @Slot(object)
    def apply_theme(self, theme: Theme) -> None:
        """Everything that draws by itself takes the theme."""
        for view in (
            self.cloud,
            self.loss,
            self.fields,
            self.kernel_view,
            self.marginals,
            self.fourier,
            self.loop,
            self.width_view,
            self.self_consistency,
            self.experiment,
            self.log_panel,
            self.drop_frame,
        ):
            view.apply_theme(theme)
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
    def _show_undo_text(self, text: str) -> None:
        self.actions_by_name["undo"].setText(f"Undo {text}" if text else "Undo")

    @Slot(object)
    def _recipe_changed(self, recipe: Recipe) -> None:
        self._autosave.start()

    @Slot(bool)
    def _marginals_shown(self, is_visible: bool) -> None:
        if is_visible:
            # The dock says that it is visible before its content is.
            QTimer.singleShot(0, self.wiring.refresh_marginals)

    @Slot(int)
    def _speed_picked(self, index: int) -> None:
        self.commands.set_speed(self.speed.itemData(index))

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
        speed = self.settings.get("speed", 0)
        self.session.set_speed(speed if speed in SPEEDS else 0)
        self.show_speed(self.session.steps_per_frame)

    def restore_usual_layout(self) -> None:
        """All docks back where they were at first."""
        for name, dock in self.docks.items():
            area = {
                "experiment": Qt.DockWidgetArea.LeftDockWidgetArea,
                "self_consistency": Qt.DockWidgetArea.RightDockWidgetArea,
            }.get(name, Qt.DockWidgetArea.BottomDockWidgetArea)
            self.addDockWidget(area, dock)
        self._toolbar.show()
        self._arrange()

    @Slot()
    def _save_recipe(self) -> None:
        self.settings.save_recipe(self.session.recipe)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop the engine and keep recipe and layout; never asks, because nothing is lost."""
        self._autosave.stop()
        self._save_recipe()
        self.settings.save_geometry("geometry", self.saveGeometry())
        self.settings.save_geometry("docks", self.saveState(LAYOUT_VERSION))
        self.log_panel.stop()
        self.hide()
        self.session.close()
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


def _descriptions() -> dict[str, str]:
    found = {}
    for name in shipped_recipes():
        try:
            found[name] = load_recipe(name).description
        except RecipeError as error:
            found[name] = str(error)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "clover", item[0])))
