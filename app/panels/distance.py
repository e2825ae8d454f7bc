"""How far apart the clouds are, against chance: the picture and the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from app.panels.comparison_rows import DISTANCE_ROWS
from app.panels.null_band import NullBand
from app.panels.number_table import NumberTable
from app.panels.verdict_words import ROLES
from app.theme import Theme
from app.widgets.titled import TitledSection
from app.widgets.words import UNKNOWN, written, written_p, written_tail

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison

# What a neuron is compared by: with its readout and without; a layer of several has other coordinates.
WHOLE_NEURONS = ("(w, a)", "w alone")
FIRST_LAYER = ("(w, v)", "w alone")
UPPER_LAYER = ("(φ, b)", "φ alone")


class DistanceSection(TitledSection):
    """Null band, distance, p-values and an upper bound."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__("Distance between the clouds", parent)
        self.band = NullBand(theme, self)
        self.numbers = NumberTable(WHOLE_NEURONS, self)
        for key, name, meaning in DISTANCE_ROWS:
            self.numbers.add_row(key, name, meaning)
        self.column.addWidget(self.band)
        self.column.addWidget(self.numbers)
        self.method = self.add_note()

    def show_comparison(self, comparison: Comparison) -> None:
        """The numbers of a comparison."""
        role = ROLES[comparison.verdict or "none"]
        self.band.show_null(comparison.null, comparison.null_95, comparison.energy_distance, role)
        for key, full, weights in (
            ("distance", comparison.energy_distance, comparison.energy_distance_weights),
            ("null_mean", comparison.null_mean, comparison.null_mean_weights),
            ("null_95", comparison.null_95, comparison.null_95_weights),
            ("ratio", comparison.ratio, comparison.ratio_weights),
        ):
            self.numbers.set_row(key, written(full), written(weights))
        n = comparison.n_permutations
        self.numbers.set_row("p_value", *(written_p(p, n) for p in (comparison.p_value, comparison.p_value_weights)))
        self.numbers.set_row("p_value_all", written_tail(comparison.p_value_all), "")
        self.numbers.show_row("p_value_all", comparison.averages is not None or comparison.way is not None)
        way = comparison.way
        self.numbers.set_row("p_value_way", UNKNOWN if way is None else written_p(way.p_value, n), "")
        self.numbers.show_row("p_value_way", way is not None)
        self.numbers.set_row("upper", written(comparison.distance_upper), "")
        self.method.setText(
            f"{comparison.n_background:,} background against {comparison.n_foreground:,} foreground neurons, "
            f"{comparison.n_permutations:,} random exchanges."
        )
        self.method.setVisible(True)
