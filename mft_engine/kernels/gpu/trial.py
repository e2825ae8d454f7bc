"""Compiled steps are tried against the reference on a small network before they are trusted with one of the user's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from loguru import logger
from torch import Tensor

from mft_engine import rng
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, Kernel, Mover, StepPlan

# A trial step differs from the reference by roundings: numbers of order one, functions to 3e-7, some tens of them.
TOLERANCE = 2e-5
N_NEURONS, N_POINTS = 300, 48

Background = Callable[[Tensor, Tensor, Tensor, Tensor, StepPlan, int, int, Tensor], BackgroundResult]
Frozen = Callable[[Tensor, Tensor, Tensor, StepPlan, int, int], FrozenResult]


@dataclass
class Trials:
    """Which kinds of compiled steps have passed on which device.

    Args:
        of: what is tried, for the sentence that is logged where it fails.
    """

    of: str
    _passed: dict[Hashable, bool] = field(default_factory=dict)

    @property
    def is_begun(self) -> bool:
        """Whether anything has been tried."""
        return bool(self._passed)

    @property
    def is_passed(self) -> bool:
        """Whether nothing has failed so far."""
        return all(self._passed.values())

    def passed(self, key: Hashable, device: torch.device, failure: Callable[[], str | None]) -> bool:
        """Whether this kind passed; tried at the first time.

        Args:
            failure: makes the trial and says what went wrong, or None.
        """
        key = (key, device)
        if key not in self._passed:
            self._passed[key] = True
            reason = failure()
            self._passed[key] = reason is None
            if reason is not None:
                logger.warning(
                    "The compiled steps of {} are not used on {}: {}. The recorded steps serve instead; results are "
                    "right, training is slower.",
                    self.of,
                    device,
                    reason,
                )
        return self._passed[key]


@dataclass(frozen=True)
class Trial:
    """A small problem on the device: two noisy steps of a network, and of independent neurons.

    Attributes:
        theta: as the kernel takes it; points (n_points, n_inputs); targets (n_points,) or (n_points, n_out).
        weights: (n_points,); plan: of a step with noise.
    """

    theta: Tensor
    points: Tensor
    targets: Tensor
    weights: Tensor
    plan: StepPlan

    def failure(
        self, background: Background, reference: Kernel, frozen: Frozen | None = None, mover: Mover | None = None
    ) -> str | None:
        """How the compiled steps differ from the reference's, in words, or None.

        Args:
            background, frozen: the compiled ones; reference, mover: what they are compared with.
        """
        total = torch.zeros_like(self.targets, dtype=torch.float64)
        whole = (self.theta, self.points, self.targets, self.weights, self.plan, 5, 2, total)
        column = self.weights.reshape(-1, *(1,) * (self.targets.dim() - 1))
        alone = (self.theta, self.points, column * self.targets, self.plan, 5, 2)
        try:
            for _ in range(2):  # the second time from what was recorded
                found = background(*whole)
            still = None if frozen is None else frozen(*alone)
        except Exception as error:  # a compiler's or a driver's own kinds
            return f"{type(error).__name__}: {error}"
        wanted = reference.advance_background(*whole)
        pairs = {
            "neurons": (found.theta, wanted.theta),
            "outputs": (found.prediction, wanted.prediction),
            "losses": (found.losses, wanted.losses),
        }
        if still is not None and mover is not None:
            pairs["frozen neurons"] = (still.theta, mover.advance_frozen(*alone).theta)
        for name, (one, other) in pairs.items():
            miss = float((one - other).abs().max() / (1.0 + other.abs().max()))
            if not miss < TOLERANCE:
                return f"the {name} of a trial step differ from the reference by {miss:.1e}"
        return None


def numbers(step: int, n_rows: int, n_columns: int, device: torch.device) -> Tensor:
    """Normal numbers for a trial, (n_rows, n_columns)."""
    return rng.normal(0, rng.Stream.POWER_ITERATION, step, n_rows, n_columns, device=device)


def plan_of(n_numbers: int) -> StepPlan:
    """Steps that move every parameter, with noise."""
    same = (1e-2,) * n_numbers
    return StepPlan(same, same, same, "leimkuhler-matthews", 1, int(rng.Stream.POWER_ITERATION))
