"""Numbers as people read them: one rule for every label, card, axis and table."""

from __future__ import annotations

UNKNOWN = "–"


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
    is_floor = p_value <= 1.0001 / (1 + n_permutations)
    return f"{'≤ ' if is_floor else ''}{written(p_value, 2)}"


def written_error(value: float, error: float | None) -> str:
    """A number and below it, smaller, its standard error in the same decimals (rich text)."""
    if value != value:
        return UNKNOWN
    if error is None or error != error or error <= 0:
        return f"{value:.3f}".replace("-", "−")
    decimals = 4 if error < 0.002 else 3 if error < 0.02 else 2
    number = f"{value:.{decimals}f}".replace("-", "−")
    return f"{number}<br><small>± {error:.{decimals}f}</small>"
