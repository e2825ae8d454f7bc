"""Numbers for people: one rule for reading what they type, and it reads what the window writes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QTextLayout
from PySide6.QtWidgets import QApplication

from app.widgets.controls import NumberControl
from app.widgets.log_slider import LogSlider
from app.widgets.points_control import PointsControl
from app.widgets.words import (
    UNKNOWN,
    p_clause,
    read_number,
    read_whole_number,
    unbroken,
    written,
    written_error,
    written_p,
    written_tail,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12,5", 12.5), ("0,001", 0.001), (",5", 0.5), ("12.5", 12.5), ("1e-3", 1e-3), ("1,5e-3", 1.5e-3),
        ("1,000", 1000.0), ("2,048", 2048.0), ("1,234,567.5", 1234567.5), ("1.234,5", 1234.5), ("1.000", 1.0),
        ("12 500", 12500.0), ("1\u202f000", 1000.0), ("−0,5", -0.5), ("1.2 × 10⁻⁵", 1.2e-5), ("-1,000", -1000.0),
    ],
)  # fmt: skip
def test_a_comma_between_groups_of_three_separates_and_any_other_is_decimal(text: str, value: float) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "12,34,567", "1,000,5", "ten", "inf", "nan", "1_000", "1.2.3", "0x10", "--1"]
)
def test_what_is_no_number_by_the_rule_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        read_number(text)
    with pytest.raises(ValueError, match="is not a whole number"):
        read_whole_number(text)


@pytest.mark.parametrize("value", [0.0123, 2048.0, 123456.0, 1.23e-7, -0.5, 1.2e9, 99999.0])
def test_what_the_window_writes_it_reads_again(value: float) -> None:
    assert read_number(written(value, 5)) == pytest.approx(value, rel=1e-4)
    assert read_whole_number(f"{round(abs(value)) + 1:,}") == round(abs(value)) + 1


def type_in(qtbot: Any, control: Any, text: str) -> None:
    control.entry.setFocus()
    control.entry.selectAll()
    qtbot.keyClicks(control.entry, text)
    qtbot.keyClick(control.entry, Qt.Key.Key_Return)


def test_every_field_follows_the_rule(qtbot: Any) -> None:
    whole, decimal, slider, points = NumberControl(True), NumberControl(False), LogSlider(1e-4, 1.0), PointsControl()
    said: dict[str, list[Any]] = {"whole": [], "decimal": [], "slider": [], "points": []}
    refused: list[str] = []
    for name, control in (("whole", whole), ("decimal", decimal), ("points", points)):
        qtbot.addWidget(control)
        control.show_value(7)
        control.edited.connect(said[name].append)
        control.refused.connect(refused.append)
    qtbot.addWidget(slider)
    slider.set_value(0.5)
    slider.changed.connect(said["slider"].append)
    slider.refused.connect(refused.append)
    for control in (whole, decimal, slider, points):
        control.show()
        type_in(qtbot, control, "12,5")
    assert said == {"whole": [], "decimal": [12.5], "slider": [12.5], "points": []}
    assert len(refused) == 2 and whole.entry.text() == "7" and "'12,5' is not a whole number" in refused[0]
    for control in (whole, decimal, slider, points):
        type_in(qtbot, control, "1,000")
    assert said == {"whole": [1000], "decimal": [12.5, 1000.0], "slider": [12.5, 1000.0], "points": [1000]}


def test_no_line_breaks_inside_a_formula(qapp: QApplication) -> None:
    words = unbroken("Mean tilt |g|²/(2 λ T)")
    assert words.replace("\u2060", "").replace("\u00a0", " ") == "Mean tilt |g|²/(2 λ T)"
    layout = QTextLayout(words)
    layout.beginLayout()
    ends = []
    while (line := layout.createLine()).isValid():
        line.setLineWidth(1)
        ends.append(words[line.textStart() : line.textStart() + line.textLength()].strip())
    layout.endLayout()
    assert [end.replace("\u2060", "").replace("\u00a0", " ") for end in ends] == ["Mean", "tilt", "|g|²/(2 λ T)"]


def test_numbers_are_written_for_people() -> None:
    assert written(0.00203) == "0.00203"
    assert written(164.2) == "164"
    assert written(-0.5) == "−0.500"
    assert written(3e-9, 2) == "3.0 × 10⁻⁹"
    assert written(0.0) == "0"
    assert (written(math.inf), written(-math.inf)) == ("∞", "−∞")
    assert written(math.nan) == written(None) == UNKNOWN
    assert written(123456.0) == "1.23 × 10⁵"
    assert written_p(1 / 501, 500) == "≤ 0.0020"
    assert written_p(2 / 501, 500) == "0.0040"
    # Below what float64 holds it is a bound: no p-value is 0.
    assert p_clause(written_p(1 / 501, 500)) == "p ≤ 0.0020" and p_clause(written_tail(0.25)) == "p = 0.25"
    assert p_clause(written_tail(0.0)) == p_clause(written_p(0.0, 500)) == "p < 1 × 10⁻³⁰⁰"
    assert written_error(-0.5621, 0.0123).startswith("−0.562<br>")
    assert "± 0.012" in written_error(-0.5621, 0.0123)
