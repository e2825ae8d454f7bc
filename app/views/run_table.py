"""Stored runs as a table model, sorted and filtered here: Python's own sort beats a proxy that asks pair by pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QMimeData, QModelIndex, QPersistentModelIndex, Qt, QUrl, Signal
from PySide6.QtGui import QBrush, QColor

from app.theme import LIGHT, Theme
from app.widgets.words import UNKNOWN, written

if TYPE_CHECKING:
    from mft_engine.runs.index import RunRow

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_VERDICT_ROLES = {"consistent": "good", "close": "warning", "inconsistent": "bad"}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: of the row's part; title, tip: on the heading; text: what a cell says.
        is_number: to the right and, at the first click on its heading, the largest first.
        is_edited: by a person.
    """

    name: str
    title: str
    tip: str
    text: Callable[[RunRow], str]
    width: int = 70
    is_number: bool = False
    is_edited: bool = False


def _when(row: RunRow) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(row.changed)) if row.changed else UNKNOWN


def _whole(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


COLUMNS: tuple[Column, ...] = (
    Column("title", "Name", "A name of your own (F2), else the folder's", lambda r: r.title, 170, is_edited=True),
    Column("loss", "Loss", "E (y − f)² of the background at the end", lambda r: written(r.loss, 3), 66, True),
    Column("verdict", "Verdict", "Whether background and foreground have the same law",
           lambda r: r.verdict or UNKNOWN, 108),
    Column("scale", "λ", "Regularisation scale", lambda r: written(r.scale, 2), 88, True),
    Column("n_neurons", "N", "Neurons of every hidden layer",
           lambda r: "; ".join(f"{n:,}" for n in r.n_neurons) or UNKNOWN, 62, True),
    Column("seed", "Seed", "Seed of the initial cloud and of the noise", lambda r: _whole(r.seed), 54, True),
    Column("changed", "Changed", "When its files were written last", _when, 138, True),
    Column("tags", "Tags", "Short words of your own, with spaces between them", lambda r: " ".join(r.tags), 90,
           is_edited=True),
    Column("note", "Note", "Whatever you want to remember", lambda r: r.note, 150, is_edited=True),
    Column("recipe", "Recipe", "The recipe that it began with", lambda r: r.recipe, 120),
    Column("state", "State", "Complete: carried out up to the verdict. Watched: somebody's own training, by mft.watch",
           lambda r: r.state, 84),
    Column("step", "Steps", "Training steps done", lambda r: _whole(r.step), 66, True),
    Column("temperature", "T", "Temperature", lambda r: written(r.temperature, 2), 66, True),
    Column("p_value", "p", "Share of random exchanges with at least this distance", lambda r: written(r.p_value, 2),
           66, True),
)  # fmt: skip


class RunTable(QAbstractTableModel):
    """Told the rows; cells that a person changed are told by `edited`."""

    edited = Signal(object, str, str)  # row, name of the column, text

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._theme = LIGHT
        self._all: dict[Path, RunRow] = {}
        self._texts: dict[Path, str] = {}
        self._shown: list[RunRow] = []
        self._words: tuple[str, ...] = ()
        self._by, self._is_descending = "changed", True
        self._colours: Mapping[Path, str] = {}
        self.current: Path | None = None

    # What is shown

    def set_rows(self, rows: Iterable[RunRow]) -> None:
        """All rows that there are."""
        self._all = {row.folder: row for row in rows}
        self._texts = {folder: _haystack(row) for folder, row in self._all.items()}
        self._arrange()

    def put_row(self, row: RunRow) -> None:
        """One row, new or changed."""
        is_known = row.folder in self._all
        self._all[row.folder] = row
        self._texts[row.folder] = _haystack(row)
        place = self.place_of(row.folder)
        if is_known and place is not None:
            self._shown[place] = row  # it stays under the person's hand, whatever the order says
            self.dataChanged.emit(self.index(place, 0), self.index(place, len(COLUMNS) - 1))
        else:
            self._arrange()

    def drop_rows(self, folders: Sequence[Path]) -> None:
        """Rows that are gone."""
        for folder in folders:
            self._all.pop(folder, None)
            self._texts.pop(folder, None)
        self._arrange()

    def set_filter(self, text: str) -> None:
        """Show the rows that have every word of a text in them."""
        self._words = tuple(text.casefold().split())
        self._arrange()

    def set_colours(self, colours: Mapping[Path, str]) -> None:
        """The colours in which some runs are drawn beside the table."""
        self._colours = colours
        self._repaint()

    def set_current(self, folder: Path | None) -> None:
        """The run that is on the screen."""
        if folder != self.current:
            self.current = folder
            self._repaint()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self._repaint()

    # What is asked

    @property
    def n_all(self) -> int:
        """Rows, filtered ones included."""
        return len(self._all)

    def row(self, place: int) -> RunRow:
        """The run of a row of the table."""
        return self._shown[place]

    def known(self, folder: Path) -> RunRow | None:
        """The run of a folder."""
        return self._all.get(folder)

    def place_of(self, folder: Path) -> int | None:
        """Where a run stands; None where it is not shown."""
        return next((place for place, row in enumerate(self._shown) if row.folder == folder), None)

    # Qt's questions

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return COLUMNS[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return COLUMNS[section].tip
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(COLUMNS[section])
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self._shown[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(row)
        if role == Qt.ItemDataRole.EditRole:
            return column.text(row)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column.name == "title" and row.folder in self._colours:
            return QColor(self._colours[row.folder])
        if role == Qt.ItemDataRole.ForegroundRole:
            return self._ink(row, column)
        if role == Qt.ItemDataRole.FontRole and row.folder == self.current and column.name == "title":
            font = self.parent().font() if self.parent() is not None else None  # type: ignore[attr-defined]
            if font is not None:
                font.setBold(True)
            return font
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.EditRole:
            return False
        self.edited.emit(self._shown[index.row()], COLUMNS[index.column()].name, str(value))
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
        if index.isValid() and COLUMNS[index.column()].is_edited:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._by, self._is_descending = COLUMNS[column].name, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def mimeTypes(self) -> list[str]:
        return ["text/uri-list"]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:
        """Dragged out, a run is its folder."""
        folders = dict.fromkeys(self._shown[index.row()].folder for index in indexes)
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(folder)) for folder in folders])
        return mime

    # Details

    def _arrange(self) -> None:
        self.beginResetModel()
        if self._words:
            rows = [row for f, row in self._all.items() if all(word in self._texts[f] for word in self._words)]
        else:
            rows = list(self._all.values())
        # What is not known comes last, whichever way the others go.
        known = [row for row in rows if _key(row, self._by) is not None]
        unknown = [row for row in rows if _key(row, self._by) is None]
        known.sort(key=lambda row: _key(row, self._by), reverse=self._is_descending)
        self._shown = known + unknown
        self.endResetModel()

    def _repaint(self) -> None:
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, len(COLUMNS) - 1))

    def _ink(self, row: RunRow, column: Column) -> QBrush | None:
        if column.name == "verdict" and row.verdict in _VERDICT_ROLES:
            return QBrush(QColor(getattr(self._theme, _VERDICT_ROLES[row.verdict])))
        if column.name == "state" and row.state in ("damaged", "failed"):
            return QBrush(QColor(self._theme.bad))
        if column.text(row) == UNKNOWN:
            return QBrush(QColor(self._theme.muted))
        return None

    def _tip(self, row: RunRow, column: Column) -> str:
        if column.name == "state" and row.fault:
            return row.fault
        if column.name == "note" and row.note:
            return row.note
        shown = "\nOn the screen now" if row.folder == self.current else ""
        return f"{row.folder}{shown}"


def _alignment(column: Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _haystack(row: RunRow) -> str:
    words = (row.title, row.folder.name, row.recipe, row.task, row.verdict, row.state, row.note, *row.tags)
    return " ".join(str(word) for word in words if word).casefold()


def _key(row: RunRow, name: str) -> Any:
    value = getattr(row, name)
    if isinstance(value, str):
        return value.casefold() or None
    return None if value == () else value
