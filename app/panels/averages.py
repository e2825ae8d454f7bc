"""What the averages of a neuron say of the two clouds, most different first, and what they would have noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from app.panels.number_table import NumberTable
from app.theme import Theme
from app.widgets.titled import TitledSection
from app.widgets.words import unbroken, written

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison

_MEANING = (
    "Average over the background's neurons, what its own field makes of it, and their difference in standard errors of "
    "a self-consistent background"
)
# Averages listed, the most different first.
_N_ROWS = 4
_SHARE, _LONGER = "of the background's neurons, found in 9 of 10 draws", "of all neurons alike, found in 9 of 10 draws"
_NOTICED = (
    ("prior_share", "untrained neurons", f"Share of neurons drawn from the prior, {_SHARE}"),
    ("weight_scale", "longer input weights", f"Relative lengthening of w {_LONGER}"),
    ("readout_scale", "larger readouts", f"Relative enlargement of a {_LONGER}"),
    ("turn", "neurons turned by up to", "Angle in radians: each neuron turned by a uniform angle between 0 and this"),
    ("temperature", "higher temperature", "Relative rise of the temperature of the neurons, found in 9 of 10 draws"),
    ("other_share", "another network's neurons", f"Share from another network of the same law, {_SHARE}"),
)


class AveragesSection(TitledSection):
    """The averages that differ most, the smallest alternatives found in 9 of 10 draws, and the bound on the KL."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("What averages notice", parent)
        self.numbers = NumberTable(("background", "expected", "errors"), self, spacing=8, has_long_names=True)
        self.noticed = NumberTable(("found from",), self)
        for key, name, meaning in _NOTICED:
            self.noticed.add_row(key, name, meaning)
        self.noticed.add_row(
            "kl",
            "laws apart by at most, nats",
            "Kullback-Leibler divergence a neuron of laws that differ along these averages: below in 95 of 100 draws",
        )
        self.column.addWidget(self.numbers)
        self.column.addWidget(self.noticed)
        self.show_comparison(None)

    def show_comparison(self, comparison: Comparison | None) -> None:
        """The averages of a comparison; hidden where it has none."""
        test = comparison.averages if comparison is not None else None
        self.setVisible(test is not None)
        self.numbers.remove_rows()
        if comparison is None or test is None:
            return
        for one in sorted(test.statistics, key=lambda s: -abs(s.z))[:_N_ROWS]:
            self.numbers.add_row(one.name, unbroken(one.words[:1].upper() + one.words[1:]), _MEANING)
            self.numbers.set_row(one.name, written(one.value, 3), written(one.expected, 3), written(one.z, 2))
        for key, _, _ in _NOTICED:
            size = getattr(comparison.resolution, key, None)
            self.noticed.show_row(key, size is not None)
            if size is not None:
                self.noticed.set_row(key, f"{size:.2g} rad" if key == "turn" else f"{100 * size:.2g} %")
        self.noticed.set_row("kl", written(test.kl_upper, 2))

    def set_faded(self, is_faded: bool) -> None:
        """Greys the numbers while they belong to other parameters."""
        self.numbers.set_faded(is_faded)
        self.noticed.set_faded(is_faded)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        super().apply_theme(theme)
        self.numbers.apply_theme(theme)
        self.noticed.apply_theme(theme)
