"""The inspector of the chosen neurons: how many, what they do together, and each one's numbers and function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.panels.number_table import NumberTable
from app.theme import LIGHT, Theme
from app.widgets.activation_inset import ActivationInset, Phi
from app.widgets.empty_state import EmptyState
from app.widgets.titled import TitledSection
from app.widgets.words import UNKNOWN, written

CLOUDS = ("background", "foreground")
MOST_ROWS = 200
MOST_COLUMNS = 3  # the last ones of a neuron: in a dock beside the cloud no more are seen whole
_NOTHING = (
    "No neurons chosen",
    "Hold Shift and draw a line around neurons in the cloud, or along the axis of a histogram in Marginals.",
)
_ROWS = (
    (
        "n",
        "neurons",
        "How many are chosen; of a cloud drawn as an image among those that are here one by one",
    ),
    ("share", "share of the cloud", "Their part of all neurons"),
    (
        "power",
        "share of the function",
        "E[f_chosen f]/E[f²] over Gaussian inputs in the plane; parts add up to 1",
    ),
    ("norm", "mean |w|", "Mean length of their input weights"),
    ("readout", "mean a", "Mean of their readouts"),
)


@dataclass(frozen=True)
class Share:
    """What some neurons of a cloud are together.

    Attributes:
        n: their number; share: of the cloud; norm, readout: means of |w| and a.
        n_here: neurons that could be chosen, where the cloud has more than are shown one by one; else 0.
        power: E[f_chosen f]/E[f^2], None where there is no plane of inputs.
    """

    n: int
    share: float
    norm: float
    readout: float
    power: float | None
    n_here: int = 0


class NeuronsPanel(QWidget):
    """Told by `show_neurons`; says which neuron is looked at, and that none shall be chosen any more."""

    pointed = Signal(str, int)
    cleared = Signal()

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._theme = theme
        self._shown: tuple[tuple[str, int], ...] = ()
        self._values: list[tuple[np.ndarray, str]] = []
        self._phi: Phi | None = None
        self.section = TitledSection("Chosen neurons", self)
        self.numbers = NumberTable(CLOUDS, self.section)
        for row in _ROWS:
            self.numbers.add_row(*row)
        self.section.column.addWidget(self.numbers)
        self.table = QTableWidget(self)
        self.table.setAccessibleName("Chosen neurons")
        self.table.setToolTip("A click, or the arrow keys, points at the neuron in the cloud and draws its function")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setStyleSheet("QTableView::item { padding: 1px 4px; }")
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(self.table.fontMetrics().height() + 6)
        self.table.horizontalHeader().setHighlightSections(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.note = QLabel(self)
        self.note.setProperty("role", "muted")
        self.note.setWordWrap(True)
        self.inset = ActivationInset(self)
        self.inset.setFixedHeight(96)
        self.clear_button = QPushButton("Choose None", self)
        self.clear_button.setToolTip("Show all neurons alike again (Shift and a click in the cloud)")
        below = QHBoxLayout()
        below.addWidget(self.note, 1)
        below.addWidget(self.clear_button)
        self.page = QWidget(self)
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(12, 4, 12, 10)
        layout.addWidget(self.section)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.inset)
        layout.addLayout(below)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.page)
        self.empty = EmptyState(*_NOTHING, self, covers=True)
        self.table.currentCellChanged.connect(lambda row, *_: self._looked_at(row))
        self.clear_button.clicked.connect(self.cleared)
        self.setMinimumHeight(160)
        self.apply_theme(theme)
        self.show_neurons({}, (), None)

    def show_neurons(
        self,
        chosen: Mapping[str, tuple[np.ndarray, np.ndarray, Share]],
        columns: Sequence[str],
        phi: Phi | None,
    ) -> None:
        """The chosen neurons as they are now.

        Args:
            chosen: cloud -> numbers (n,), neurons (n, n_params), and what they are together.
            columns: names of the neurons' columns; phi: the activation, where the columns are w1 .. wd, a.
        """
        self._phi = phi
        self.empty.setVisible(not chosen)
        self.page.setVisible(bool(chosen))
        for key, *_ in _ROWS:
            self.numbers.set_row(
                key, *(_written(chosen[name][2], key) if name in chosen else UNKNOWN for name in CLOUDS)
            )
        rows = [
            (name, int(number), theta)
            for name, (numbers, thetas, _) in chosen.items()
            for number, theta in zip(numbers[:MOST_ROWS], thetas[:MOST_ROWS], strict=True)
        ][:MOST_ROWS]
        n_all = sum(len(numbers) for numbers, *_ in chosen.values())
        self.note.setText(f"The first {MOST_ROWS} of {n_all:,}" if n_all > len(rows) else "")
        self._fill(rows, columns)

    def _fill(self, rows: Sequence[tuple[str, int, np.ndarray]], columns: Sequence[str]) -> None:
        names = ["neuron", *columns[-MOST_COLUMNS:]]
        shown = tuple((name, number) for name, number, _ in rows)
        self._values = [(theta, name) for name, _, theta in rows]
        if shown != self._shown or self.table.columnCount() != len(names):
            self.table.blockSignals(True)
            self.table.setCurrentCell(-1, -1)
            self.table.setColumnCount(len(names))
            self.table.setHorizontalHeaderLabels(names)
            self.table.setRowCount(len(rows))
            self._shown = shown
            for row in range(len(rows)):
                for column in range(len(names)):
                    cell = QTableWidgetItem()
                    cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    self.table.setItem(row, column, cell)
            self.table.blockSignals(False)
        for row, (name, number, theta) in enumerate(rows):
            texts = [
                f"{'b' if name == 'background' else 'f'} {number:,}",
                *(_short(float(v)) for v in theta[-MOST_COLUMNS:]),
            ]
            for column, text in enumerate(texts[: len(names)]):
                item = self.table.item(row, column)
                if item is not None and item.text() != text:
                    item.setText(text)
        self._draw_function(self.table.currentRow())

    @Slot(int)
    def _looked_at(self, row: int) -> None:
        self._draw_function(row)
        if 0 <= row < len(self._shown):
            self.pointed.emit(*self._shown[row])

    def _draw_function(self, row: int) -> None:
        """The function of the neuron that is looked at; of the first one while none is."""
        is_drawn = bool(self._values) and self._phi is not None
        self.inset.setVisible(is_drawn)
        if is_drawn and self._phi is not None:
            theta, name = self._values[row if 0 <= row < len(self._values) else 0]
            norm = float(np.sqrt((theta[:-1].astype(float) ** 2).sum()))
            self.inset.show_neuron(self._phi, norm, float(theta[-1]), getattr(self._theme, f"{name}_cloud"))

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        for part in (self.section, self.numbers, self.inset, self.empty):
            part.apply_theme(theme)
        self._draw_function(self.table.currentRow())


def _short(value: float) -> str:
    """As wide as a column of the table has room for: a thousandth is the least that is told."""
    return written(value) if abs(value) >= 1 else f"{value:.3f}".replace("-", "−")


def _written(share: Share, key: str) -> str:
    if key == "n":
        return f"{share.n:,} of {share.n_here:,}" if share.n_here else f"{share.n:,}"
    if key == "share":
        return f"{100 * share.share:.1f} %"
    if key == "power":
        return UNKNOWN if share.power is None else f"{100 * share.power:.1f} %".replace("-", "−")
    return written(share.norm if key == "norm" else share.readout)
