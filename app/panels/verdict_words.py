"""The sentences in which the window states a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.panels.gauges import BAD_ABOVE
from app.widgets.words import p_clause, written, written_p, written_tail
from mft_engine.compare.rules import AVERAGES_LEVEL, P_VALUE_LIMIT

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison

HEADLINES = {"none": "No verdict", "consistent": "Consistent", "close": "Close", "inconsistent": "Inconsistent"}
ROLES = {"none": "muted", "consistent": "good", "close": "warning", "inconsistent": "bad"}


def verdict_sentence(comparison: Comparison, eta_theta: float | None) -> str:
    """One sentence that says what was found, with the number that decides it.

    Args:
        comparison: the comparison of background and foreground.
        eta_theta: step size x Theta of the run, where known.
    """
    if comparison.verdict is None:
        return comparison.why
    p = written_p_all(comparison)
    neurons = f"the {comparison.n_foreground:,} foreground neurons"
    if comparison.verdict == "consistent" and comparison.is_of_one_moment:
        return (
            f"The averages of the background are what its own field makes of a neuron ({p}). That field is of one "
            "moment, whose noise pulls the clouds apart: their distance is no evidence here."
        )
    if comparison.verdict == "consistent":
        noticed = comparison.resolution.words if comparison.resolution is not None else ""
        test = "averages" if comparison.way is None else "two tests"
        would = f" The {test} would have noticed {noticed}." if noticed else ""
        if noticed and comparison.averages is not None:
            would += f" Along them the laws are at most {written(comparison.averages.kl_upper, 2)} nats a neuron apart."
        return f"{_capital(neurons)} cannot be told from the background ({p}).{would}"
    told = f" {comparison.what_differs}".rstrip()
    way = comparison.way
    if way is not None and comparison.p_value_all <= P_VALUE_LIMIT and comparison.decisive is way:
        times = f"{written(way.ratio, 2)} times what chance gives"
        return f"{_capital(neurons)} have not come as far from their start as the background's: {times} ({p}).{told}"
    if comparison.is_by_averages and comparison.p_value_all <= P_VALUE_LIMIT:
        if comparison.p_value > AVERAGES_LEVEL:
            return f"{_capital(neurons)} look like the background at first, but the averages say no ({p}).{told}"
        return f"{_capital(neurons)} do not look like the background, nor do the averages agree ({p}).{told}"
    times = f"{written(comparison.ratio, 2)} times what chance gives"
    if comparison.verdict == "close":
        if comparison.p_value_all > P_VALUE_LIMIT:
            is_too_large = eta_theta is not None and eta_theta > BAD_ABOVE
            reason = "the step size is too large" if is_too_large else "the step size is in doubt"
            return f"{_capital(neurons)} look like the background ({p}), but {reason}: no verdict of consistency."
        words = f"differ from the background, but little: {times} ({p}). Look at the step size first."
        return f"{_capital(neurons)} {words}{told}"
    return f"{_capital(neurons)} do not look like the background: a distance {times} ({p}).{told}"


def written_p_all(comparison: Comparison) -> str:
    """The p-value that decides, "p = 0.42" or "p ≤ 0.002" where no exchange reached the distance; no line breaks."""
    n = comparison.n_permutations
    if comparison.averages is None and comparison.way is None:
        p = written_p(comparison.p_value_all, n)
    elif comparison.is_by_averages:
        p = written_tail(comparison.p_value_all)
    else:  # twice a distance's own, whose least is 1/(1 + n)
        p = written_p(comparison.p_value_all, (n - 1) // 2)
    return p_clause(p).replace(" ", "\u00a0")


def loss_sentence(comparison: Comparison) -> str:
    """Whether the foreground network's extra loss is what theory expects of independent neurons."""
    expected = comparison.expected_loss_difference
    difference = comparison.foreground_loss - comparison.background_loss
    if difference != difference:
        return ""
    if comparison.verdict == "inconsistent":
        return "Different clouds make different functions: their losses need not agree."
    if expected is None or expected <= 0:
        return "Independent neurons make a noisier function: a larger foreground loss is normal at equal clouds."
    return (
        "Independent neurons make a noisier function: at equal clouds theory expects the foreground's loss "
        f"to be larger by about {written(expected, 2)}; here it is {written(difference, 2)}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
