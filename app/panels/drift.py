"""Does the run still move? The gauge that needs no law, and the statistics it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from app.panels.number_table import NumberTable
from app.theme import Theme
from app.widgets.titled import TitledSection
from app.widgets.words import written

if TYPE_CHECKING:
    from mft_engine.questions.drift import Drift

_MEANING = (
    "Mean over the second half of the averaging window minus that over the first, in standard errors. Averages over "
    "neurons scatter no more than independent ones, whatever their memory; the loss's error is that of eight batches"
)
# Statistics listed, the most moved first.
_N_ROWS = 4


class DriftSection(TitledSection):
    """First half, second half and their difference of what moves most; hidden while nothing is known."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("Steady or drifting", parent)
        self.numbers = NumberTable(("first half", "second half", "errors"), self, spacing=8)
        self.column.addWidget(self.numbers)
        self.note = self.add_note()
        self._theme: Theme | None = None
        self._drift: Drift | None = None
        self.show_drift(None)

    def show_drift(self, drift: Drift | None) -> None:
        """The answer of the run that was certified; None where there is none (any more)."""
        self._drift = drift
        self.setVisible(drift is not None)
        self.numbers.remove_rows()
        for one in drift.statistics[:_N_ROWS] if drift is not None else ():
            self.numbers.add_row(one.name, one.words, _MEANING)
            self.numbers.set_row(one.name, written(one.first, 3), written(one.second, 3), written(one.z, 2))
        self.numbers.setVisible(drift is not None and bool(drift.statistics))
        self.note.setText(drift.why if drift is not None else "")
        self.note.setVisible(drift is not None)
        self._tint()

    def set_faded(self, is_faded: bool) -> None:
        """Greys the numbers while they belong to other parameters."""
        self.numbers.set_faded(is_faded)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        super().apply_theme(theme)
        self.numbers.apply_theme(theme)
        self._tint()

    def _tint(self) -> None:
        if self._theme is not None:
            is_bad = self._drift is not None and self._drift.verdict == "drifting"
            self.note.setStyleSheet(f"color: {self._theme.warning if is_bad else self._theme.muted};")
