"""The right side: is the layer what independent neurons in its place would be, and what stands beside that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.panels.null_band import NullBand
from app.panels.number_table import NumberTable
from app.panels.verdict_card import VerdictCard
from app.panels.verdict_words import HEADLINES, ROLES
from app.theme import LIGHT, Theme
from app.widgets.column import Column
from app.widgets.titled import TitledSection
from app.widgets.words import UNKNOWN, p_clause, written, written_p

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.runs.watched import WatchedRun

_ROWS = (
    ("distance", "energy distance", "2 E|X−Y| − E|X−X′| − E|Y−Y′| of neurons and riders, in pooled spreads"),
    ("null_mean", "by chance: mean", "Mean distance after exchanging neurons and riders at random"),
    ("null_95", "by chance: 95 %", "95 % of the random exchanges give less than this"),
    ("ratio", "ratio to chance", "Distance divided by its mean under random exchange"),
    ("p_value", "p-value", "Share of random exchanges that give at least this distance; consistent above 0.01"),
)
_NO_VERDICT = "Nothing has been compared yet."
_START = "Riders that were not drawn from the layer's own initial law make every later verdict meaningless."


class FindingsPanel(Column):
    """Verdict first, then why; told what to show by `show_run`."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Neurons and riders")
        self._theme = theme
        page = QWidget(self)
        page.setProperty("role", "page")
        column = QVBoxLayout(page)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(10)
        self.card = VerdictCard(theme, page)
        column.addWidget(self.card)
        self.distance = TitledSection("Distance between neurons and riders", page)
        self.band = NullBand(theme, self.distance)
        self.numbers = NumberTable(("now", "way", "start"), self.distance)
        for row in _ROWS:
            self.numbers.add_row(*row)
        self.distance.column.addWidget(self.band)
        self.distance.column.addWidget(self.numbers)
        self.distance.add_note(
            "now: where the neurons are; way: how far each has come; start: where they began. Neurons and riders are "
            "consistent where neither now nor way says no."
        )
        self.start = self.distance.add_note()
        self.besides = TitledSection("Besides", page)
        self.sentences = self.besides.add_note("Sentences appear with the first verdict.")
        self.layer = TitledSection("What is watched", page)
        self.about = self.layer.add_note("Nothing yet.")
        for section in (self.distance, self.besides, self.layer):
            column.addWidget(section)
        for label in (self.start, self.sentences, self.about):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addStretch(1)
        self.setWidget(page)
        self.card.show_state("none", "No verdict yet", _NO_VERDICT)
        self.apply_theme(theme)

    def show_run(self, run: WatchedRun) -> None:
        """What a watched training has found."""
        about, now = run.about, run.now
        state = now.verdict if now is not None and now.verdict is not None else "none"
        self.card.show_state(state, HEADLINES[state], verdict_sentence(now))
        if now is not None:
            test = now.decisive
            self.band.show_null(test.null, test.null_95, test.energy_distance, ROLES[state])
        self._fill(*((now, now.way) if now is not None else (None, None)), run.start)
        start = run.start
        is_wrong = start is not None and start.verdict not in ("consistent", None)
        self.start.setText(f"At the start the two clouds differ. {_START}" if is_wrong else "")
        self.start.setVisible(is_wrong)
        self.sentences.setText("\n\n".join(about["sentences"]))
        rows = [
            str(about["layer"]),
            f"trained by {about['optimizer']}",
            f"{about['n_neurons']:,} neurons, {about['n_foreground']:,} riders, {about['n_steps']:,} steps",
        ]
        if about["stopped"]:
            rows.append(f"The watch has stopped: {about['stopped']}")
        self.about.setText("\n".join(rows))

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        for part in (self.card, self.band, self.numbers, self.distance, self.besides, self.layer):
            part.apply_theme(theme)

    def _fill(self, *tests: Comparison | None) -> None:
        texts = [_numbers(comparison) for comparison in tests]
        for key, *_ in _ROWS:
            self.numbers.set_row(key, *(text[key] for text in texts))


def verdict_sentence(found: Comparison | None) -> str:
    """One sentence that says what was found, with the number that decides it."""
    if found is None:
        return _NO_VERDICT
    if found.verdict is None:
        return found.why
    n = found.n_background
    p = written_p(found.p_value_all, found.n_permutations // (1 if found.way is None else 2))
    p = p_clause(p).replace(" ", "\u00a0")
    if found.verdict == "consistent":
        words = found.resolution.words if found.resolution is not None else ""
        would = f" This comparison would have noticed {words}." if words else ""
        return f"The {n:,} neurons cannot be told from independent ones in their place ({p}).{would}"
    return (
        f"The {n:,} neurons are not what independent ones in their place become: a distance "
        f"{written(found.decisive.ratio, 2)} times what chance gives ({p})."
    )


def _numbers(comparison: Comparison | None) -> dict[str, str]:
    if comparison is None:
        return {key: UNKNOWN for key, *_ in _ROWS}
    return {
        "distance": written(comparison.energy_distance),
        "null_mean": written(comparison.null_mean),
        "null_95": written(comparison.null_95),
        "ratio": written(comparison.ratio, 2),
        "p_value": written_p(comparison.p_value, comparison.n_permutations),
    }
