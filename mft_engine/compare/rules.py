"""By which rules numbers become a verdict, and when there is too little to say."""

from __future__ import annotations

import math
from typing import Literal

Verdict = Literal["consistent", "close", "inconsistent"]

P_VALUE_LIMIT = 0.01
# Two tests share the level: the distance of the clouds and the averages, half each.
AVERAGES_LEVEL = P_VALUE_LIMIT / 2
CLOSE_RATIO = 4.0
# Beyond eta Theta = 2 the cloud shrinks and stays finite; a step this near to it is no evidence for anything.
ETA_THETA_LIMIT = 1.8
# A p-value below this is told as a bound: chi-squared tails end where float64 does.
SMALLEST_TOLD = 1e-300


def smallest_p_value(n_background: int, n_foreground: int, n_permutations: int) -> float:
    """The least p-value that exchanges of so many neurons can give, however different the clouds are.

    The share of all exchanges that leave the clouds as they are (clouds of equal size may also change places), and not
    below 1/(1 + n_permutations).
    """
    n_exchanges = math.comb(n_background + n_foreground, n_background)
    return max(1 / (1 + n_permutations), (1 + (n_background == n_foreground)) / n_exchanges)


def why_no_verdict(n_background: int, n_foreground: int, n_permutations: int, level: float = P_VALUE_LIMIT) -> str:
    """The sentence that says why these sizes allow no verdict, and what would be enough; empty where they do.

    Args:
        level: at which the distance of the clouds is tested, half of the whole where averages stand beside it.
    """
    least = smallest_p_value(n_background, n_foreground, n_permutations)
    # A hair of rounding: 1/200 reaches the level 0.005.
    if least <= level * (1 + 1e-9):
        return ""
    needed = math.ceil(1 / level) - 1
    if smallest_p_value(n_background, n_foreground, needed) > level:
        enough = next(n for n in range(1, 100) if smallest_p_value(n, n, max(n_permutations, needed)) <= level)
        return (
            f"{n_background} background and {n_foreground} foreground neurons are too few for a verdict: whatever they "
            f"look like, the p-value cannot fall below {least:.2g}. {enough} on each side are the least that can say "
            "no."
        )
    return (
        f"{n_permutations} random exchanges are too few for a verdict: the distance of the clouds is tested at the "
        f"level {level:g}, and its p-value cannot fall below {least:.2g}. At least {needed} are needed "
        "(comparison.n_permutations)."
    )


# Measured: right clouds of 1,024 neurons lie 2 to 177 times the null's mean from the law in the field of their moment.
ONE_MOMENT = (
    "The field is that of one moment: its noise alone, which the law of a neuron amplifies, pulls right clouds apart, "
    "so that their distance is no evidence against the background. Compare in an averaged field: give the run's folder "
    'instead of its cloud, or set foreground.field = "averaged" and train on.'
)


def told_p(p_value: float, digits: int = 2) -> str:
    """A p-value as "p = 0.042", or "p < 1e-300" where float64 holds it no more: none is 0."""
    return f"p < {SMALLEST_TOLD:g}" if p_value < SMALLEST_TOLD else f"p = {p_value:.{digits}g}"


def verdict_clause(verdict: Verdict | None, p_value: float, ratio: float, why: str) -> str:
    """A verdict and the numbers that decide it; why there is none."""
    return why if verdict is None else f"{verdict} ({told_p(p_value)}, ratio {ratio:.2f})"


def judge(p_value: float, ratio: float, eta_theta: float | None = None) -> Verdict:
    """The verdict of a comparison.

    Args:
        p_value, ratio: as in `Comparison`.
        eta_theta: step size times the top eigenvalue of the tangent kernel; above 1.8 nothing is consistent.
    """
    is_stable = eta_theta is None or not eta_theta > ETA_THETA_LIMIT
    if p_value > P_VALUE_LIMIT and is_stable:
        return "consistent"
    return "close" if ratio < CLOSE_RATIO else "inconsistent"
