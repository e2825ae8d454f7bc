"""Test loss minus training loss, written into the loss plot."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QLabel, QWidget

from app.theme import Theme
from app.widgets.words import signed


class GapLabel(QLabel):
    """Told the gap and its standard error; hidden while there is none."""

    def __init__(self, plot: QWidget) -> None:
        super().__init__(plot)
        self._plot = plot
        self.setToolTip(
            "Test loss minus training loss, averaged over the window of the run, ± its standard error: fluctuations "
            "along the run and the choice of the data held back. Other training sets differ by more."
        )
        self.hide()

    def show_gap(self, gap: float | None, error: float | None) -> None:
        """The gap and its standard error (nan or None: not known yet); no gap takes the label away."""
        self.setVisible(gap is not None)
        if gap is not None:
            has_error = error is not None and np.isfinite(error)
            self.setText(f"test − train {signed(gap, error if has_error else None)}")
            self.place()

    def place(self) -> None:
        """Left of the middle: curves begin high at the left edge, and labels of levels and marks stand on the right."""
        self.adjustSize()
        self.move(round(0.4 * self._plot.width() - 0.5 * self.width()), 2)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self.setStyleSheet(f"color: {theme.text}; background: {theme.panel}; padding: 1px 6px;")
