"""Is a trained network at equilibrium? Only the exact law can tell: both clouds may be equally young.

    loss_N = loss* + Tr C (I + C/T)^-1 / N,   excess = mean loss over the averaging window - loss_N

loss* is the infinite-width law's, C = Cov(a phi) under it; the second term is the fluctuation of a network of N neurons
about its mean. Of two hidden layers C is not known: what the run's own function fluctuates along the window stands for
it, so that the loss of its mean function is compared. What is left out is of the same order 1/N, so that half of the
fluctuation counts as an error of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mft_engine.estimates import averaged
from mft_engine.questions.drift import Recorded
from mft_engine.questions.posterior import Posterior
from mft_engine.recipe import Recipe
from mft_engine.theory.theory import Theory, function_variance

FEWEST_RECORDS = 8
LEFT_OUT = 0.5
# Beyond so many errors a network is not at equilibrium; within them it is, where they are a small part of the loss.
ERRORS = 4.0
TELLING = 0.1


@dataclass(frozen=True)
class Equilibrium:
    """The answer.

    Attributes:
        excess, excess_error: of the run's loss over that of a network of its width at equilibrium, and its standard
            error; None where there is no answer.
        verdict: "at equilibrium", "not at equilibrium" or None; why: a sentence.
    """

    excess: float | None
    excess_error: float | None
    verdict: str | None
    why: str

    @property
    def remark(self) -> str:
        """The answer, where there is one."""
        return self.why if self.verdict else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the summary."""
        return asdict(self)


def no_answer(why: str) -> Equilibrium:
    """Where nothing can be said."""
    return Equilibrium(None, None, None, why)


def equilibrium_of(
    recipe: Recipe, kind: str, history: Recorded, theory: Theory | None, posterior: Posterior | None
) -> Equilibrium:
    """Whether a run has reached the exact law.

    Args:
        kind: of the background; history: what was recorded of it; theory: of the recipe, where it is solved.
        posterior: how its function fluctuated along the window.
    """
    if theory is None:
        return no_answer("There is no exact law to compare with (see theory).")
    if kind != "trained":
        return no_answer(f"The {kind} background is not meant to reach the law of the trained network.")
    losses = [row["loss"] for row in history.rows if row["is_averaged"]]
    return judge_equilibrium(losses, recipe.network.n_neurons[-1], theory, posterior.variance if posterior else None)


def judge_equilibrium(
    losses: Sequence[float], n_neurons: int, theory: Theory, variance: float | None = None
) -> Equilibrium:
    """Compare the losses of a run with that of the exact law.

    Args:
        losses: recorded in the averaging window, equally spaced.
        n_neurons: N, of the last hidden layer; theory: of the recipe.
        variance: of the run's function along the window, in mean square; used where the theory does not know it.
    """
    by_law = function_variance(theory, n_neurons)
    fluctuation = variance if by_law is None else by_law
    if len(losses) < FEWEST_RECORDS or fluctuation is None:
        return no_answer("The averaging window is too short to be compared with the exact law.")
    mean, series_error = averaged(np.array(losses))
    # At another readout exponent the theory is that of the mean-field network with the same f.
    expected = theory.loss + fluctuation
    excess = mean - expected
    error = math.hypot(series_error, theory.loss_error, LEFT_OUT * fluctuation)
    law = f"the exact law has loss {theory.loss:.4f}, {expected:.4f} at {n_neurons:,} neurons"
    if theory.test_accuracy is not None:
        law += f", and test accuracy {theory.test_accuracy:.2f}"
    if not math.isfinite(error):
        return no_answer(f"The loss drifts too much within the averaging window to be compared; {law}.")
    number = f"excess {excess:.2g}, {abs(excess) / error:.0f} standard errors"
    if abs(excess) > ERRORS * error:
        return Equilibrium(excess, error, "not at equilibrium", f"Not at equilibrium: {number}; {law}.")
    if error > TELLING * expected:
        return Equilibrium(excess, error, None, f"Too uncertain to tell: excess {excess:.2g} ± {error:.2g}; {law}.")
    return Equilibrium(excess, error, "at equilibrium", f"At equilibrium: {number}; {law}.")
