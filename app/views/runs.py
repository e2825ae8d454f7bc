"""The runs view: every stored run in a table, and beside it the loss curves of those that are picked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QItemSelection, QItemSelectionModel, QObject, QPoint, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QDropEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app.theme import LIGHT, Theme
from app.views.plot_style import SparseLogAxis, line_pen, quiet_plot, style_plot
from app.views.run_clouds import RunClouds
from app.views.run_table import COLUMNS, RunTable
from app.widgets.colours import several
from app.widgets.empty_state import EmptyState

if TYPE_CHECKING:
    from app.library import Curve, StoredPlane
    from mft_engine.runs.index import RunRow

SOON_MILLISECONDS = 120
_NO_CURVES = ("No run picked", "Click runs in the table to lay their loss curves over each other.")
_NO_LOSSES = ("No losses are kept", "Of a watched training they are, where they are asked: mft.watch(..., loss=...).")
# What stands on a button where the menu's words are too long for a narrow window.
_SHORT = {"folder": "Folder…", "refresh": "↻"}
_NO_RUNS = ("No stored runs yet", "Everything trained in this window is kept by itself and appears here.")


class RunsView(QWidget):
    """Told what to show by `show_*`; says what a person wants by its signals."""

    opened = Signal(object)  # folder
    renamed = Signal(object, str, str)  # row, "title", "tags" or "note", text
    thrown_away = Signal(object)  # folders
    compare_wanted = Signal(object, object)  # two rows
    curves_wanted = Signal(object)  # folders
    planes_wanted = Signal(object)  # folders
    dropped = Signal(object)  # folders that were dragged in
    refresh_wanted = Signal()
    folder_wanted = Signal()

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._curves: dict[Path, Curve] = {}
        self._planes: dict[Path, StoredPlane] = {}
        self._asked: set[Path] = set()
        self._asked_planes: set[Path] = set()
        self._is_complete = False
        self.search = QLineEdit(self)
        self.search.setPlaceholderText("Filter: words of name, recipe, tag, verdict, note")
        self.search.setAccessibleName("Filter the runs")
        self.search.setToolTip("Runs that have every word in them, as you type (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.count = QLabel(self)
        self.count.setProperty("role", "muted")
        self.count.setAccessibleName("How many runs")
        self.model = RunTable(self)
        self.table = self._make_table()
        self.actions_by_name = self._make_actions()
        self.buttons = {name: self._button(name) for name in ("open", "compare", "trash", "folder", "refresh")}
        self.plot = pg.PlotWidget(self, enableMenu=False, axisItems={"left": SparseLogAxis("left")})
        self.plot.setAccessibleName("Loss curves of the picked runs")
        quiet_plot(self.plot.getPlotItem())
        self.plot.getPlotItem().layout.setContentsMargins(4, 4, 10, 2)
        self.plot.getPlotItem().setLogMode(y=True)
        self.plot.setLabel("bottom", "time t (of watched trainings: step)")
        self.plot.setLabel("left", "loss")
        self.plot.setMinimumWidth(150)
        self.clouds = RunClouds(theme, self)
        self.overlay = QStackedWidget(self)
        for plot in (self.plot, self.clouds):
            self.overlay.addWidget(plot)
        self.as_clouds = QPushButton("Clouds", self)
        self.as_clouds.setCheckable(True)
        self.as_clouds.setToolTip("Lay the clouds of the picked runs over each other, instead of their loss curves")
        self.no_curves = EmptyState(*_NO_CURVES, self.plot, covers=True)
        self.no_runs = EmptyState(*_NO_RUNS, self.table.viewport())
        self._lay_out()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MILLISECONDS)
        self._soon.timeout.connect(self._ask_for_curves)
        self.search.textChanged.connect(self._filter)
        self.as_clouds.toggled.connect(self._switch_overlay)
        self.table.viewport().installEventFilter(self)
        self.model.edited.connect(self.renamed)
        self.model.modelAboutToBeReset.connect(self._remember)
        self.model.modelReset.connect(self._pick_again)
        self.table.doubleClicked.connect(self._double_clicked)
        self.table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._picked: list[Path] = []
        self._is_restoring = False
        self.setMinimumSize(320, 130)
        self.apply_theme(theme)
        self._follow_selection()

    def _make_table(self) -> QTableView:
        table = QTableView(self)
        table.setModel(self.model)
        table.setAccessibleName("Stored runs")
        table.setToolTip(
            "Double click or Enter shows a run as it was; pick several to lay their curves over each other"
        )
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        table.setDragEnabled(True)
        table.setDragDropMode(QAbstractItemView.DragDropMode.DragDrop)
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._show_menu)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
        # Rows of one height each: asking every cell for its own would take seconds.
        table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = table.horizontalHeader()
        header.setSectionsMovable(True)
        header.setHighlightSections(False)
        for place, column in enumerate(COLUMNS):
            table.setColumnWidth(place, column.width)
        names = [column.name for column in COLUMNS]
        header.setSortIndicator(names.index("changed"), Qt.SortOrder.DescendingOrder)
        table.setSortingEnabled(True)
        return table

    def _make_actions(self) -> dict[str, QAction]:
        table = (
            ("open", "Open", "Show this run as it was; Play goes on from there", "Return", self._open),
            ("compare", "Compare", "Lay two picked runs beside each other: recipes, clouds, verdict", "Ctrl+Return",
             self._compare),
            ("trash", "Trash", "Move the picked runs to the trash, where they stay for 30 days; undo takes them back",
             "Del", self._throw_away),
            ("folder", "Add Folder…", "List the runs of another folder too", "", self.folder_wanted.emit),
            ("refresh", "Refresh", "Look again what is stored", "F5", self.refresh_wanted.emit),
            ("rename", "Rename", "Give this run a name of your own", "F2", lambda: self._edit("title")),
            ("tag", "Tags…", "Short words to find it by", "", lambda: self._edit("tags")),
            ("note", "Note…", "Whatever you want to remember about it", "", lambda: self._edit("note")),
        )  # fmt: skip
        found = {}
        for name, text, tip, keys, act in table:
            action = QAction(text, self)
            action.setToolTip(tip + (f" ({keys})" if keys else ""))
            action.triggered.connect(act)
            if keys and name != "rename":  # the table itself answers F2
                action.setShortcut(QKeySequence(keys))
                action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
                self.table.addAction(action)
            found[name] = action
        find = QAction(self)
        find.setShortcut(QKeySequence("Ctrl+F"))
        find.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        find.triggered.connect(self.search.setFocus)
        self.addAction(find)
        return found

    def _button(self, name: str) -> QPushButton:
        action = self.actions_by_name[name]
        button = QPushButton(_SHORT.get(name, action.text()), self)
        button.setAccessibleName(action.text().rstrip("…"))
        button.setToolTip(action.toolTip())
        button.clicked.connect(action.trigger)
        action.changed.connect(lambda: button.setEnabled(action.isEnabled()))
        return button

    def _lay_out(self) -> None:
        header = QHBoxLayout()
        header.setContentsMargins(8, 4, 8, 4)
        header.setSpacing(5)
        self.search.setMinimumWidth(120)
        header.addWidget(self.search, 1)
        header.addWidget(self.count)
        for button in (self.as_clouds, *self.buttons.values()):
            header.addWidget(button)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self.table)
        self.splitter.addWidget(self.overlay)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([620, 380])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(header)
        layout.addWidget(self.splitter, 1)

    # What is shown

    def show_rows(self, rows: Sequence[RunRow], is_complete: bool) -> None:
        """The runs known so far, and whether these are all."""
        self._is_complete = is_complete
        self.model.set_rows(rows)
        self._say_count()

    def put_row(self, row: RunRow) -> None:
        """One run, new or changed."""
        self.model.put_row(row)
        self._say_count()

    def drop_rows(self, folders: Sequence[Path]) -> None:
        """Runs that are gone."""
        self.model.drop_rows(folders)
        self._say_count()

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """The loss curves that were asked for."""
        self._curves |= {curve.folder: curve for curve in curves}
        self._asked -= {curve.folder for curve in curves}
        self._draw_curves()

    def show_planes(self, planes: Sequence[StoredPlane]) -> None:
        """The clouds that were asked for."""
        self._planes |= {plane.folder: plane for plane in planes}
        self._asked_planes -= {plane.folder for plane in planes}
        self._draw_curves()

    def forget_curve(self, folder: Path) -> None:
        """A run went on: its curve and its cloud are read again."""
        self._curves.pop(folder, None)
        self._planes.pop(folder, None)
        self._soon.start()

    def show_current(self, folder: Path | None) -> None:
        """The run on the screen, in bold."""
        self.model.set_current(folder)

    @property
    def picked(self) -> list[RunRow]:
        """The selected runs, from above to below."""
        places = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self.model.row(place) for place in places]

    def pick(self, folders: Sequence[Path]) -> None:
        """Select some runs."""
        selection = QItemSelection()
        for folder in folders:
            place = self.model.place_of(folder)
            if place is not None:
                selection.select(self.model.index(place, 0), self.model.index(place, len(COLUMNS) - 1))
        self.table.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.plot.setBackground(theme.panel)
        style_plot(self.plot.getPlotItem(), theme, small=True)
        self.no_curves.apply_theme(theme)
        self.clouds.apply_theme(theme)
        self.no_runs.apply_theme(theme)
        self.model.apply_theme(theme)
        self._draw_curves()

    # What a person does

    @Slot()
    def _open(self) -> None:
        picked = self.picked
        if len(picked) == 1:
            self.opened.emit(picked[0].folder)

    @Slot(object)
    def _double_clicked(self, index: object) -> None:
        self._open()

    @Slot()
    def _compare(self) -> None:
        picked = self.picked
        if len(picked) == 2:
            self.compare_wanted.emit(*picked)

    @Slot()
    def _throw_away(self) -> None:
        folders = [row.folder for row in self.picked]
        if folders:
            self.thrown_away.emit(folders)

    def _edit(self, name: str) -> None:
        picked = self.table.selectionModel().selectedRows()
        if picked:
            column = next(place for place, column in enumerate(COLUMNS) if column.name == name)
            index = self.model.index(picked[0].row(), column)
            self.table.scrollTo(index)
            self.table.edit(index)

    @Slot(QPoint)
    def _show_menu(self, place: QPoint) -> None:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for name in ("open", "compare", "rename", "tag", "note", "trash"):
            menu.addAction(self.actions_by_name[name])
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.table.viewport().mapToGlobal(place))

    @Slot(str)
    def _filter(self, text: str) -> None:
        self.model.set_filter(text)
        self._say_count()

    # Selection and curves

    @Slot()
    def _remember(self) -> None:
        self._is_restoring = True
        self._picked = [row.folder for row in self.picked]

    @Slot()
    def _pick_again(self) -> None:
        self.pick(self._picked)
        self._is_restoring = False
        self._follow_selection()

    @Slot()
    def _selection_changed(self) -> None:
        if not self._is_restoring:
            self._follow_selection()

    def _follow_selection(self) -> None:
        picked = self.picked
        actions = self.actions_by_name
        actions["open"].setEnabled(len(picked) == 1)
        actions["compare"].setEnabled(len(picked) == 2)
        for name in ("trash", "rename", "tag", "note"):
            actions[name].setEnabled(bool(picked))
        for name in ("open", "compare", "trash"):
            self.buttons[name].setEnabled(actions[name].isEnabled())
        self._draw_curves()
        self._soon.start()

    @Slot()
    def _ask_for_curves(self) -> None:
        wanted = [row.folder for row in self.picked[: len(several(self._theme))]]
        missing = [folder for folder in wanted if folder not in self._curves and folder not in self._asked]
        if missing:
            self._asked |= set(missing)
            self.curves_wanted.emit(missing)
        unknown = [folder for folder in wanted if folder not in self._planes and folder not in self._asked_planes]
        if unknown and self.as_clouds.isChecked():
            self._asked_planes |= set(unknown)
            self.planes_wanted.emit(unknown)

    @Slot(bool)
    def _switch_overlay(self, is_clouds: bool) -> None:
        self.overlay.setCurrentWidget(self.clouds if is_clouds else self.plot)
        self.as_clouds.setText("Curves" if is_clouds else "Clouds")
        self._draw_curves()
        self._soon.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Folders of runs that are dragged onto the table are listed from then on; its own runs stay where they are."""
        if not isinstance(event, QDropEvent):  # entering and moving are kinds of it
            return super().eventFilter(watched, event)
        folders = self._dragged_in(event)
        if folders:
            event.acceptProposedAction()
            if event.type() == QEvent.Type.Drop:
                self.dropped.emit(folders)
        else:
            event.ignore()
        return True

    def _dragged_in(self, event: QDropEvent) -> list[Path]:
        if event.source() is self.table:
            return []
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        return [path for path in paths if path.is_dir()]

    def _draw_curves(self) -> None:
        colours = several(self._theme)
        drawn = {row.folder: colour for row, colour in zip(self.picked, colours, strict=False)}
        self.plot.clear()
        shown = []
        for folder, colour in drawn.items():
            curve = self._curves.get(folder)
            if curve is not None and len(curve.times):
                losses = np.where(curve.losses > 0, curve.losses, np.nan)
                line = self.plot.plot(curve.times, losses, pen=line_pen(colour, 1.6), connect="finite")
                line.setDownsampling(auto=True, method="peak")
                shown.append(folder)
        is_known = bool(drawn) and all(folder in self._curves for folder in drawn)
        self.no_curves.set_text(*(_NO_LOSSES if is_known else _NO_CURVES))
        if self.as_clouds.isChecked():
            self.clouds.show_planes(self._planes, drawn)
        self.no_curves.setVisible(not shown)
        if shown:
            self.plot.autoRange(padding=0.04)
            self.plot.setXRange(0, max(self._curves[folder].times[-1] for folder in shown), padding=0.03)
        self.model.set_colours(drawn)

    def _say_count(self) -> None:
        n, n_all = self.model.rowCount(), self.model.n_all
        noun = "run" if n_all == 1 else "runs"
        self.count.setText(f"{n_all:,} {noun}" if n == n_all else f"{n:,} of {n_all:,} {noun}")
        self.no_runs.setVisible(n_all == 0 and self._is_complete)
