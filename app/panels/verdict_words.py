"""The sentences in which the window states a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.panels.gauges import BAD_ABOVE
from app.widgets.words import written, written_p

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
    p = written_p(comparison.p_value, comparison.n_permutations)
    if comparison.verdict is None:
        return comparison.why
    # No line break inside the statement.
    p = (f"p {p}" if p.startswith("≤") else f"p = {p}").replace(" ", "\u00a0")
    neurons = f"the {comparison.n_foreground:,} foreground neurons"
    if comparison.verdict == "consistent" and comparison.is_of_one_moment:
        return (
            "The averages of the background are what its own field makes of a neuron. That field is of one moment, "
            "whose noise pulls the clouds apart: their distance is no evidence here."
        )
    if comparison.verdict == "consistent":
        noticed = comparison.resolution.words if comparison.resolution is not None else ""
        would = f" The averages would have noticed {noticed}." if noticed else ""
        return f"{_capital(neurons)} cannot be told from the background ({p}).{would}"
    if comparison.p_value > 0.01 and comparison.p_value_all <= 0.01:
        # The clouds look alike, and their averages do not.
        told = comparison.averages.largest_difference if comparison.averages is not None else ""
        return f"{_capital(neurons)} look like the background ({p}), but the averages say no. {told}".rstrip()
    times = f"{written(comparison.ratio, 2)} times what chance gives"
    if comparison.verdict == "close":
        if comparison.p_value > 0.01:
            is_too_large = eta_theta is not None and eta_theta > BAD_ABOVE
            reason = "the step size is too large" if is_too_large else "the step size is in doubt"
            return f"{_capital(neurons)} look like the background ({p}), but {reason}: no verdict of consistency."
        words = f"differ from the background, but little: {times} ({p}). Look at the step size first."
        return f"{_capital(neurons)} {words}"
    return f"{_capital(neurons)} do not look like the background: a distance {times} ({p})."


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
