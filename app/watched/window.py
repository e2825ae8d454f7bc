"""A window for a watched training: it has no recipe, so there is nothing to turn; what there is to see is all here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QSize, Qt, QThread, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QCloseEvent, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QDockWidget, QFileDialog, QLabel, QMainWindow, QTabWidget, QWidget

from app.panels.help_pages import NUMBERS, HelpPages
from app.theme import Theme, ThemeKeeper
from app.views.cloud import CloudView
from app.views.marginals import MarginalsView
from app.watched.curves import CurvesView, Line
from app.watched.findings import FindingsPanel
from app.watched.reader import DOCUMENT, RunReader, age_in_words
from app.widgets.help_button import HelpButton

if TYPE_CHECKING:
    from mft_engine.runs.watched import WatchedRun

WATCHING = "watching"
STANDING_OUT = "Neurons that stand where hardly a rider goes, ringed; N and Shift+N walk through them"
USUAL_SIZE = QSize(1440, 900)
LOOK_MILLISECONDS = 1000
CLOUD_NAMES = {"initial": "at the start", "background": "neurons", "foreground": "riders"}
# Of the columns, those whose histograms are shown.
MARGINALS = ("weights PC 1", "weights PC 2", "function PC 1", "|v|")
_NETWORK, _RIDERS = "background_cloud", "foreground_cloud"


class WatchedWindow(QMainWindow):
    """Clouds in the middle, findings on the right, curves below; follows the folder while somebody writes it.

    Args:
        folder: that `watch.save` or `mft.watch(..., folder=...)` writes; it need not be there yet.
    """

    _look = Signal()
    _export = Signal(object)

    def __init__(self, folder: Path, themes: ThemeKeeper, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("watched_window")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.folder = folder
        self.run: WatchedRun | None = None
        self._said = ""
        theme = themes.theme
        self.cloud = CloudView(theme, self)
        self.cloud.header.show_clouds_alone(CLOUD_NAMES)
        self.cloud.header.chips["standing out"].setToolTip(STANDING_OUT)
        self.cloud.empty.set_text("No neurons yet", f"They appear with the first file in {folder}.")
        self.setCentralWidget(self.cloud)
        self.findings = FindingsPanel(theme, self)
        step = "step of the optimiser"
        self.moved = CurvesView(
            step, "moved (spreads)", "No steps yet", "How far neurons and riders have gone.", theme, self
        )
        self.distance = CurvesView(
            step, "distance / chance", "No steps yet", "How far the clouds are apart; 1 is chance.", theme, self,
            level=1.0,
        )  # fmt: skip
        self.losses = CurvesView(
            step, "loss", "No losses were asked for",
            "With mft.watch(..., loss=...) or watch.exchange(loss) the model's loss is asked with riders, and with "
            "fewer neurons, in the layer's place.", theme, self,
        )  # fmt: skip
        self.kernel = CurvesView(
            "k", "k-th eigenvalue", "No data kernel yet",
            "K(x, x′) = mean φ(x) φ(x′) is taken at inputs that the layer has seen: after the first backward pass.",
            theme, self,
        )  # fmt: skip
        self.marginals = MarginalsView(theme, self)
        self.marginals.chips["theory"].hide()
        for name, tip in (("background", "The network's own neurons"), ("foreground", "Fresh neurons beside them")):
            self.marginals.chips[name].set_name(CLOUD_NAMES[name], tip)
        self.tabs = QTabWidget(self)
        for title, view in (
            ("Moved", self.moved),
            ("Distance", self.distance),
            ("Losses", self.losses),
            ("Kernel", self.kernel),
            ("Marginals", self.marginals),
        ):
            view.setProperty("role", "page")
            view.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
            self.tabs.addTab(view, title)
        self._add_dock("Neurons and riders", self.findings, Qt.DockWidgetArea.RightDockWidgetArea)
        below = self._add_dock("Along the training", self.tabs, Qt.DockWidgetArea.BottomDockWidgetArea)
        for button in self.findChildren(HelpButton):
            button.asked.connect(self.explain)
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        self.status = QLabel(self)
        self.status.setAccessibleName("Status")
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().setContentsMargins(10, 0, 8, 2)
        self.statusBar().addWidget(self.status, 1)
        self._build_menu()
        self.setWindowTitle(f"{folder.name} · watched - MFT Lab")
        self.resize(USUAL_SIZE.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self.resizeDocks([below], [260], Qt.Orientation.Vertical)
        themes.theme_changed.connect(self.apply_theme)
        self._reader, self._thread = RunReader(folder), QThread(self)
        self._reader.moveToThread(self._thread)
        self._look.connect(self._reader.look)
        self._export.connect(self._reader.export)
        self._reader.read.connect(self.show_run)
        self._reader.told.connect(self._say)
        self._reader.exported.connect(self._exported)
        self._reader.refused.connect(self._say)
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MILLISECONDS)
        self._timer.timeout.connect(self._look)
        self._timer.timeout.connect(self._tell)
        self._thread.start()
        self._timer.start()
        self._look.emit()

    @Slot(object)
    def show_run(self, run: WatchedRun) -> None:
        """Show a training as it was kept last."""
        self.run = run
        columns, tables = run.tables()
        names = [column.name for column in columns]
        self.cloud.set_columns(names, has_weights=False, meanings=[column.meaning for column in columns])
        self.cloud.show_initial(tables["initial_background"])
        self.cloud.show_background(tables["background"], len(tables["background"]))
        self.cloud.show_foreground(tables["foreground"])
        self.cloud.marked.show(run.standing_out)
        places = [names.index(name) for name in MARGINALS if name in names]
        self.marginals.set_columns([names[place] for place in places], has_weights=False)
        self.marginals.show_clouds(tables["background"][:, places], tables["foreground"][:, places])
        self.findings.show_run(run)
        self._show_curves(run)
        self.setWindowTitle(f"{run.name} · {run.about['n_steps']:,} steps · watched - MFT Lab")
        self._said = ""
        self._tell()

    @Slot(object)
    def apply_theme(self, theme: Theme) -> None:
        """Everything that draws by itself takes the theme."""
        views = (self.cloud, self.findings, self.moved, self.distance, self.losses, self.kernel, self.marginals)
        for view in views:
            view.apply_theme(theme)

    @Slot()
    def ask_where_to_export(self) -> None:
        """Ask for a folder, and write every figure and the clouds into it."""
        place = QFileDialog.getExistingDirectory(self, "Export figures and data to", str(self.folder.parent))
        if place:
            self.export_to(Path(place))

    @Slot(str)
    def explain(self, heading: str = "") -> None:
        """The help pages, at what is said about some numbers where a heading is named."""
        pages = self.findChild(HelpPages) or HelpPages(self)
        pages.show()
        pages.raise_()
        pages.show_page(NUMBERS if heading else WATCHING, heading)

    def export_to(self, place: Path) -> None:
        """Write every figure and the clouds into a folder; the status bar tells when it is done."""
        self._say("Writing figures and data")
        self._export.emit(place)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Nothing is asked and nothing is lost: the files are the training's."""
        self._timer.stop()
        self._thread.quit()
        self._thread.wait()
        super().closeEvent(event)

    @Slot(object)
    def _exported(self, files: tuple[Path, ...]) -> None:
        self._say(f"{len(files)} files are in {files[0].parent}" if files else "There was nothing to write")

    @Slot(str)
    def _say(self, sentence: str) -> None:
        self._said = sentence
        self.status.setText(sentence)

    @Slot()
    def _tell(self) -> None:
        """Where the training stands, unless something else was said since it was read."""
        if self.run is not None and not self._said:
            age = age_in_words(self.folder / DOCUMENT)
            self.status.setText(f"{self.run.about['layer']}, step {self.run.about['n_steps']:,}, written {age}")

    def _show_curves(self, run: WatchedRun) -> None:
        curves, spectra = run.curves, run.spectra
        steps = curves.get("step", np.zeros(0))
        if len(steps):
            self.moved.show_lines(
                [
                    Line("neurons", _NETWORK, "The network's own neurons", steps, curves["moved_background"]),
                    Line("riders", _RIDERS, "Fresh neurons beside them", steps, curves["moved_foreground"]),
                ]
            )
            tip = "Energy distance of neurons and riders over what chance gives"
            self.distance.show_lines([Line("neurons and riders", "accent", tip, steps, curves["ratio"])])
        asked = run.exchanges
        if asked:
            lines = [
                Line("network", _NETWORK, "The model as it is", asked["step"], asked["network"]),
                Line("riders", _RIDERS, "The riders as the layer: the mean-field prediction", asked["step"],
                     asked["riders"]),
            ]  # fmt: skip
            for number, k in enumerate(sorted((int(name) for name in asked if name.isdigit()), reverse=True)):
                tip = f"{k:,} of the layer's neurons speak for all"
                lines.append(Line(f"{k:,} neurons", "muted", tip, asked["step"], asked[str(k)], 1 - 0.2 * number))
            self.losses.show_lines(lines)
        if spectra:
            kinds = (
                ("initial_background", "at the start", "initial_cloud", "The network before its first step"),
                ("background", "network", _NETWORK, "The network now"),
                ("foreground", "riders", _RIDERS, "The riders now"),
            )
            self.kernel.show_lines(
                [
                    Line(name, role, tip, np.arange(1.0, len(spectra[key]) + 1), _above(spectra[key]), has_dots=True)
                    for key, name, role, tip in kinds
                ]
            )

    def _add_dock(self, title: str, content: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(title)
        dock.setWidget(content)
        self.addDockWidget(area, dock)
        return dock

    def _build_menu(self) -> None:
        menu = self.menuBar().addMenu("File")
        for text, key, handler in (
            ("Export Figures and Data…", "Ctrl+E", self.ask_where_to_export),
            ("Close", "Ctrl+W", self.close),
        ):
            action = QAction(text, self)
            action.setShortcut(QKeySequence(key))
            action.triggered.connect(handler)
            menu.addAction(action)
        view = self.menuBar().addMenu("View")
        reset = QAction("Reset Cloud View", self)
        reset.setShortcut(QKeySequence("Ctrl+0"))
        reset.triggered.connect(self.cloud.reset_view)
        view.addAction(reset)
        helping = QAction("Watching Your Own Network", self)
        helping.setShortcut(QKeySequence("F1"))
        helping.triggered.connect(lambda: self.explain())
        self.menuBar().addMenu("Help").addAction(helping)


def _above(values: np.ndarray) -> np.ndarray:
    """Eigenvalues within eight decades; below that they are rounding."""
    return np.where(values > 1e-8 * float(values.max(initial=0.0)), values, np.nan)
