"""When a training has failed though every number is finite, and what to do about it."""

from __future__ import annotations

import math

# A loss that is so many times what a network has that knows nothing belongs to a run that is running away: no
# transient and no batch of shipped dynamics comes near, and one that does is wrong long before.
EXPLOSION = 100.0
# step_size x Theta of the automatic step in prior units; it is stable below 2.
AUTO_STEP = 1.4
# By which a step that nothing is known of is cut.
CUT = 10.0
# Below it a step size is no advice: a person cannot wait for so many steps.
SMALLEST_STEP = 1e-12


class Diverged(ArithmeticError):
    """A run that has run away; the last good state is kept.

    Args:
        step: at which, or before which, it happened.
        step_size: in force.
        stable: the largest stable step size of the last good state; infinite where it is not known.
        is_automatic: the program chose the step size itself; can_be_automatic: it could.
        loss: of the network, where that is what ran away; None for a number that is not finite.

    Attributes:
        suggestion: a step size that may do.
    """

    def __init__(
        self,
        step: int,
        step_size: float,
        stable: float = math.inf,
        *,
        is_automatic: bool = False,
        can_be_automatic: bool = True,
        loss: float | None = None,
    ) -> None:
        self.step = step
        self.suggestion = stable if stable < step_size else step_size / CUT
        what = "a weight is no longer a finite number"
        if loss is not None:
            what = f"its loss, {loss:.3g}, is more than {EXPLOSION:.0f} times that of a network which knows nothing"
        if is_automatic:
            remedy = f"to {self.suggestion:.2g} or smaller (the automatic one was {step_size:.3g})"
        else:
            automatic = ' or "auto"' if can_be_automatic else ""
            remedy = f"to {self.suggestion:.2g}{automatic} (it was {step_size:.3g})"
        advice = f"Set training.step_size {remedy}."
        if self.suggestion < SMALLEST_STEP:
            advice = (
                "Its weights are so large that no step size one could wait for is stable: raise regularisation.scale, "
                'lower training.temperature, or set initial.law to "gaussian".'
            )
        super().__init__(f"Training diverged at step {step}: {what}. The last good state is kept. {advice}")


def loss_limit(target_power: float, present_loss: float, fluctuation: float) -> float:
    """The loss beyond which a run has run away, EXPLOSION (E y^2 + loss at the start + E f^2 under the prior).

    Args:
        target_power: E y^2, the loss of the function zero.
        present_loss: at the start, or where hyperparameters changed.
        fluctuation: E f^2 of a network drawn from the prior: what temperature alone may do.
    """
    return EXPLOSION * (target_power + present_loss + fluctuation)


def stable_step(eigenvalue: float) -> float:
    """1.4/Theta; infinite where Theta is not known."""
    return AUTO_STEP / eigenvalue if eigenvalue > 0 and math.isfinite(eigenvalue) else math.inf
