"""Named numbers in columns: what the panels are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.theme import Theme
from app.widgets.words import UNKNOWN


class NumberTable(QWidget):
    """Rows of a name and one number per column; every row says in its tooltip what it means and in which unit."""

    def __init__(
        self, columns: Sequence[str], parent: QWidget | None = None, *, spacing: int = 12, has_long_names: bool = False
    ) -> None:
        """
        Args:
            columns: headings of the number columns; all empty for no heading.
            spacing: between columns, device-independent pixels.
            has_long_names: whether names of rows take several lines where there is no room.
        """
        super().__init__(parent)
        self._has_long_names = has_long_names
        self._columns = tuple(columns)
        self._rows: dict[str, tuple[QLabel, tuple[QLabel, ...]]] = {}
        self._headings: list[QLabel] = []
        self._faded: set[int] = set()
        self._theme: Theme | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(spacing)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(0, 1)
        if any(columns):
            for k, heading in enumerate(columns):
                label = QLabel(heading, self)
                label.setAlignment(Qt.AlignmentFlag.AlignRight)
                self._grid.addWidget(label, 0, k + 1)
                self._headings.append(label)

    def set_columns(self, columns: Sequence[str]) -> None:
        """Other headings for the columns that have one."""
        self._columns = tuple(columns)
        for label, heading in zip(self._headings, columns, strict=True):
            label.setText(heading)

    def add_row(self, key: str, name: str, meaning: str) -> None:
        """A row without numbers yet.

        Args:
            key: what `set_row` calls it.
            name: what the person reads.
            meaning: definition and unit, for the tooltip.
        """
        title = QLabel(name, self)
        title.setWordWrap(self._has_long_names)
        title.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        values = tuple(QLabel(UNKNOWN, self) for _ in self._columns)
        row = len(self._rows) + 1
        self._grid.addWidget(title, row, 0)
        for k, label in enumerate(values):
            label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._grid.addWidget(label, row, k + 1)
        for label in (title, *values):
            label.setToolTip(meaning)
        self._rows[key] = (title, values)
        self._colour()

    def set_row(self, key: str, *texts: str) -> None:
        """The numbers of a row, already written out."""
        title, values = self._rows[key]
        for k, (label, text) in enumerate(zip(values, texts, strict=True)):
            if label.text() != text:
                label.setText(text)
                column = f", {self._columns[k]}" if self._columns[k] else ""
                plain = re.sub("<[^>]*>", " ", text)
                label.setAccessibleName(f"{title.text()}{column}: {plain}")

    def show_row(self, key: str, is_shown: bool) -> None:
        """Shows or hides a row."""
        title, values = self._rows[key]
        for label in (title, *values):
            label.setVisible(is_shown)

    def show_column(self, column: int, is_shown: bool) -> None:
        """Shows or hides a column of numbers with its heading."""
        for label in (*self._headings[column : column + 1], *(values[column] for _, values in self._rows.values())):
            label.setVisible(is_shown)

    def text(self, key: str, column: int = 0) -> str:
        """The number shown in a row."""
        return self._rows[key][1][column].text()

    def keys(self) -> tuple[str, ...]:
        """The rows there are, in order."""
        return tuple(self._rows)

    def reset(self) -> None:
        """Takes all numbers away."""
        for key in self._rows:
            self.set_row(key, *[UNKNOWN] * len(self._columns))

    def remove_rows(self) -> None:
        """Takes the rows themselves away."""
        for title, values in self._rows.values():
            for label in (title, *values):
                self._grid.removeWidget(label)
                label.hide()
                label.deleteLater()
        self._rows = {}

    def set_faded(self, is_faded: bool, column: int | None = None) -> None:
        """Greys the numbers (of one column, or all) while they do not belong to the present recipe."""
        columns = set(range(len(self._columns))) if column is None else {column}
        faded = self._faded | columns if is_faded else self._faded - columns
        if self._faded != faded:
            self._faded = faded
            self._colour()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self._colour()

    def _colour(self) -> None:
        if self._theme is None:
            return
        for heading in self._headings:
            heading.setStyleSheet(f"color: {self._theme.muted};")
        for title, values in self._rows.values():
            title.setStyleSheet(f"color: {self._theme.muted};")
            for k, label in enumerate(values):
                label.setStyleSheet(f"color: {self._theme.muted if k in self._faded else self._theme.text};")
