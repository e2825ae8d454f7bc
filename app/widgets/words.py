"""Numbers as people read them: one rule for every label, card, axis and table."""

from __future__ import annotations

import math
import re

import numpy as np

from mft_engine.compare.rules import SMALLEST_TOLD

UNKNOWN = "–"
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_EUROPEAN = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+|[+-]?\d*,\d*([eE][+-]?\d+)?")
_POWER = re.compile(r"(?:×|\*|x)10(?:\^)?([+-]?\d+)$")
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def read_number(text: str) -> float:
    """The number that a person typed, by the rule that numbers are written with.

    Commas between groups of three digits are separators, as in 2,048; any other single comma is a decimal one, as in
    12,5 or 0,001. Spaces do not matter, and 1.2 × 10⁻⁵ is read as it is written.

    Raises:
        ValueError: it is no finite number; the message is a sentence.
    """
    plain = re.sub(r"\s", "", text).translate(_RAISED)
    plain = _POWER.sub(r"e\1", plain)
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    elif _EUROPEAN.fullmatch(plain):
        plain = plain.replace(".", "").replace(",", ".")
    try:
        value = float(plain) if "_" not in plain else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()!r} is not a number; write for example 0.001 or 1e-3")
    return value


def read_whole_number(text: str) -> int:
    """The whole number that a person typed, 2,048 or 2048 or 1e4.

    Raises:
        ValueError: it is no whole number; the message is a sentence.
    """
    try:
        value = read_number(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError(f"{text.strip()!r} is not a whole number; write for example 2,048")
    return int(value)


def written(value: float | None, digits: int = 3) -> str:
    """A number for people: a few significant digits, a true minus, powers of ten where zeros would pile up."""
    if value is None or value != value:
        return UNKNOWN
    if value in (0, float("inf"), float("-inf")):
        return "0" if value == 0 else "∞" if value > 0 else "−∞"
    size = abs(value)
    if size < 1e-3 or size >= 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} × 10{power}".replace("-", "−")
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    text = f"{value:#.{digits}g}".rstrip(".")
    return text.replace("-", "−")


def written_p(p_value: float, n_permutations: int) -> str:
    """A p-value; the smallest one that so many permutations can give is only an upper bound."""
    is_floor = SMALLEST_TOLD <= p_value <= 1.0001 / (1 + n_permutations)
    return f"{'≤ ' if is_floor else ''}{written_tail(p_value)}"


def written_tail(p_value: float) -> str:
    """A p-value of a law's tail; where float64 holds it no more, a bound: none is 0."""
    return f"< {written(SMALLEST_TOLD, 1)}" if p_value < SMALLEST_TOLD else written(p_value, 2)


def p_clause(number: str) -> str:
    """A written p-value as "p = 0.42", or with the sign that it brings along."""
    return f"p {number}" if number[0] in "≤<" else f"p = {number}"


def written_error(value: float, error: float | None) -> str:
    """A number and below it, smaller, its standard error in the same decimals (rich text)."""
    if value != value:
        return UNKNOWN
    if error is None or error != error or error <= 0:
        return f"{value:.3f}".replace("-", "−")
    steps = (2e-5, 2e-4, 0.002, 0.02)
    decimals = 6 - sum(error >= step for step in steps)
    number = f"{value:.{decimals}f}".replace("-", "−")
    return f"{number}<br><small>± {error:.{decimals}f}</small>"


def unbroken(text: str) -> str:
    """The same words, with formulas among them that no line may break: |g|²/(2 λ T)."""
    joined = re.sub(r"(?<=\S)(?=[/|·(])|(?<=[/|·²])(?=\S)", "\u2060", text)
    return re.sub(r"\([^()]*\)", lambda found: found[0].replace(" ", "\u00a0"), joined)


def percent(share: float | None, error: float | None = None) -> str:
    """A share, and below it, smaller, its standard error where it has one (rich text)."""
    number = UNKNOWN if share is None else f"{100 * share:.1f} %"
    return f"{number}<br><small>± {100 * error:.1f}</small>" if error else number


def four_digits(value: float) -> str:
    """A loss: four decimals where they say enough."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 100 else written(value, 4)


def signed(value: float, error: float | None) -> str:
    """A difference with as many decimals as its error has; a true minus."""
    decimals = 4 if error is None or error <= 0 else int(np.clip(1 - np.floor(np.log10(error)), 2, 6))
    text = f"{value:.{decimals}f}" + ("" if error is None else f" ± {error:.{decimals}f}")
    return text.replace("-", "−")
