"""Every dynamics of a background, by its name in recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from mft_engine.dynamics.adam import AdamW
from mft_engine.dynamics.gibbs import Gibbs
from mft_engine.dynamics.hyper import Hyper
from mft_engine.dynamics.langevin import Langevin
from mft_engine.dynamics.problem import Problem
from mft_engine.dynamics.state import Info, State
from mft_engine.field.field import MeanField
from mft_engine.kernels import Mover, StepPlan
from mft_engine.recipe import Recipe


class Dynamics(Protocol):
    """How a background moves, and fresh neurons in its frozen field.

    Attributes:
        sample_every: steps between two samples of f that may be counted as apart.
    """

    @property
    def sample_every(self) -> int:
        """Steps between two samples of the function."""
        ...

    def advance(
        self, state: State, problem: Problem, recipe: Recipe, n_steps: int, *, beyond: bool = False
    ) -> tuple[State, Info]:
        """Up to n_steps steps; equals that many single steps, bit for bit, for any split.

        Args:
            recipe: in force; beyond: go on past its last step instead of stopping there.

        Raises:
            Diverged: a non-finite number, or a loss beyond all bounds; nothing of `state` has been written.
        """
        ...

    def forget(self) -> None:
        """What is kept besides the state belongs to another recipe or state."""
        ...

    def walk(
        self,
        theta: Tensor,
        field: MeanField,
        recipe: Recipe,
        state: State,
        mover: Mover,
        plan: Callable[[Hyper, float], StepPlan],
    ) -> Iterator[float | Tensor]:
        """Fresh neurons in a field that stays, for as long as the background moved.

        Args:
            theta: (n_neurons, n_params) at the start; state: of the background.
            mover: the inner loop; plan: hyperparameters and step size -> the numbers of one update.

        Yields:
            the fraction done about every 8 ms (large clouds: every step), at last the (n_neurons, n_params) cloud.

        Raises:
            ArithmeticError: a neuron that is no longer finite.
        """
        ...


DYNAMICS: dict[str, Callable[[], Dynamics]] = {
    "langevin": Langevin,
    "gibbs": Gibbs,
    "sgd": Langevin,
    "adam": AdamW,
}
