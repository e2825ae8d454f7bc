"""What a page of figures is, and how wide journals want one; without the library that draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Name -> width in mm, as the journals' instructions say.
JOURNALS: Mapping[str, float] = {
    "Nature, one column": 89.0,
    "Nature, two columns": 183.0,
    "PNAS, one column": 87.0,
    "PNAS, two columns": 178.0,
    "Physical Review, one column": 86.0,
    "Physical Review, two columns": 178.0,
    "IEEE, one column": 88.9,
    "IEEE, two columns": 181.9,
    "NeurIPS and ICLR, text": 139.7,
    "ICML, one column": 82.6,
    "ICML, two columns": 171.5,
}
MM_PER_INCH = 25.4
MIN_WIDTH_MM, MAX_WIDTH_MM = 60.0, 400.0
MIN_PANEL_MM = 40.0
LETTERS = "abcdefghijklmnop"


@dataclass(frozen=True)
class Composition:
    """Which figures stand where on one page.

    Attributes:
        panels: names of figures, row by row; n_columns: panels in a row.
        width_mm: of the page; gap_mm: between panels.
        has_letters: a, b, c ... at the panels' corners; has_caption: one caption line below all of them.
    """

    panels: tuple[str, ...]
    n_columns: int = 2
    width_mm: float = 183.0
    gap_mm: float = 3.0
    has_letters: bool = True
    has_caption: bool = False

    @property
    def columns(self) -> int:
        """Panels in a full row."""
        return max(1, min(self.n_columns, len(self.panels)))

    @property
    def panel_mm(self) -> float:
        """Width of one panel."""
        return (self.width_mm - self.gap_mm * (self.columns - 1)) / self.columns

    @property
    def fault(self) -> str:
        """Why this cannot be laid out, in a sentence; empty where it can."""
        if not self.panels:
            return "A figure needs at least one panel: choose one"
        if len(self.panels) > len(LETTERS):
            return f"A figure of {len(self.panels)} panels: there can be {len(LETTERS)}"
        if not MIN_WIDTH_MM <= self.width_mm <= MAX_WIDTH_MM:
            return f"A figure of {self.width_mm:g} mm: its width can be {MIN_WIDTH_MM:g} to {MAX_WIDTH_MM:g} mm"
        if self.panel_mm < MIN_PANEL_MM:
            return (
                f"{self.columns} panels in {self.width_mm:g} mm are {self.panel_mm:.0f} mm wide each: choose fewer "
                f"columns or more width, so that each has {MIN_PANEL_MM:g} mm"
            )
        return ""
