"""What a kernel is told and what it returns; the same for every kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from mft_engine.awaited import Awaited

Integrator = Literal["leimkuhler-matthews", "euler"]


@dataclass(frozen=True)
class StepPlan:
    """The numbers of one update, the drift being what the data contribute.

        theta_j <- theta_j + rate_j drift_j - decay_j theta_j + noise_j xi
        xi = (xi_k + xi_{k+1})/2 (Leimkuhler-Matthews) or xi_k (Euler), xi_k = rng.normal(seed, stream, k)

    A coordinate is frozen by zeros in all three tuples.

    Args:
        rate: per column of theta; step_size/lambda_j (preconditioner "prior") or step_size ("none").
        decay: per column; rate_j lambda_j.
        noise: per column; sqrt(2 rate_j T). With zeros everywhere no random number is made.
        integrator: which of the two sums of noise.
        seed, stream: of the noise (`mft_engine.rng`).
        readout_exponent: kappa of f = N^-kappa sum a phi(w.x).
        first_neuron: number of theta's first row in the noise, for a part of a larger cloud.
        has_fresh_points: the points are others at every step, so that a kernel should not spend time on knowing them.
    """

    rate: tuple[float, ...]
    decay: tuple[float, ...]
    noise: tuple[float, ...]
    integrator: Integrator
    seed: int
    stream: int
    readout_exponent: float = 1.0
    first_neuron: int = 0
    has_fresh_points: bool = False

    def __post_init__(self) -> None:
        if not len(self.rate) == len(self.decay) == len(self.noise):
            raise ValueError(
                f"rate, decay and noise need one number per column of theta, got "
                f"{len(self.rate)}, {len(self.decay)} and {len(self.noise)}"
            )
        if self.integrator not in ("leimkuhler-matthews", "euler"):
            raise ValueError(f"integrator {self.integrator!r} is not leimkuhler-matthews or euler")
        for values in (self.rate, self.decay, self.noise):
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"rate, decay and noise must be finite, got {values}")

    @property
    def is_noisy(self) -> bool:
        """Whether any column gets noise."""
        return any(self.noise)

    @property
    def uses_next(self) -> bool:
        """Whether the noise of a step takes numbers of the next one, too."""
        return self.is_noisy and self.integrator == "leimkuhler-matthews"

    def groups(self) -> Iterator[tuple[slice, float, float, float]]:
        """Neighbouring columns with equal (rate, decay, noise), so that few tensor operations serve all."""
        start = 0
        settings = list(zip(self.rate, self.decay, self.noise, strict=True))
        for j in range(1, len(settings) + 1):
            if j == len(settings) or settings[j] != settings[start]:
                yield slice(start, j), *settings[start]
                start = j


def check_sizes(name: str, theta: Tensor, points: Tensor, **per_point: Tensor) -> None:
    """Raise ValueError where a compiled kernel, which checks no bounds, could not bear these tensors.

    Args:
        name: of the kernel, for the message.
        per_point: (n_points,) each.
    """
    if theta.dtype != torch.float32:
        raise ValueError(f"the {name} kernel computes in float32, not in {theta.dtype}")
    if theta.shape[1] != points.shape[1] + 1:
        raise ValueError(
            f"the {name} kernel has one readout: {points.shape[1]} inputs need {points.shape[1] + 1} columns of "
            f"theta, not {theta.shape[1]}"
        )
    for what, tensor in per_point.items():
        if tensor.shape != points.shape[:1]:
            raise ValueError(f"{what} has shape {tuple(tensor.shape)}, expected ({points.shape[0]},)")


@dataclass(frozen=True)
class BackgroundResult:
    """What `advance_background` returns; nothing here has been waited for on an asynchronous device.

    Args:
        theta: (n_neurons, n_params), after the last step.
        prediction_sum: the given sum plus f before each of the steps, in its dtype.
        losses: (n_steps,), sum_mu weight (y - f)^2 before each step; the dtype of prediction_sum.
        prediction: f before the last step (not of `theta`).
        finite: (n_steps,) bool, whether the loss before and theta after each step are finite.
        first_step: number of the first step taken.
    """

    theta: Tensor
    prediction_sum: Tensor
    losses: Tensor
    prediction: Tensor
    finite: Tensor
    first_step: int

    def told(self) -> tuple[list[float], int | None]:
        """The losses, and the number of the first step that was not finite, by one trip to the device. Waits for it."""
        return self.awaited.now()

    @property
    def awaited(self) -> Awaited[tuple[list[float], int | None]]:
        """The same, not waited for yet."""
        return Awaited((self.losses, self.finite), self._read)

    def _read(self, told: list[float]) -> tuple[list[float], int | None]:
        n = len(self.losses)
        return told[:n], _first_false(told[n:], self.first_step)

    @property
    def nonfinite_step(self) -> int | None:
        """Number of the first step that was not finite, or None. Waits for the device."""
        return _first_false(self.finite.tolist(), self.first_step)

    @property
    def is_finite(self) -> bool:
        """Whether every step was finite. Waits for the device."""
        return self.nonfinite_step is None


@dataclass(frozen=True)
class FrozenResult:
    """What `advance_frozen` returns.

    Args:
        theta: (n_neurons, n_params), after the last step.
        finite: () bool, whether theta is finite after the last step. A non-finite neuron stays so.
    """

    theta: Tensor
    finite: Tensor

    @property
    def is_finite(self) -> bool:
        """Whether theta is finite. Waits for the device."""
        return bool(self.finite.item())


def _first_false(flags: Sequence[float], offset: int) -> int | None:
    return next((offset + k for k, is_finite in enumerate(flags) if not is_finite), None)


class Kernel(Protocol):
    """The inner loops of a background. Every method is pure: arguments are never written.

    Shapes: theta is the network's own (`dynamics.network`), points (n_points, n_inputs), weights (n_points,); targets
    and predictions (n_points,) or, with several readouts, (n_points, n_out).
    """

    @property
    def name(self) -> str:
        """What the summary calls it."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether a call would run at once, with nothing to compile."""
        ...

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile what calls with such points need (None: a symmetric rule)."""
        ...

    def advance_background(
        self,
        theta: Tensor,
        points: Tensor,
        targets: Tensor,
        weights: Tensor,
        plan: StepPlan,
        first_step: int,
        n_steps: int,
        prediction_sum: Tensor,
    ) -> BackgroundResult:
        """n_steps of the interacting cloud; any split of n_steps gives the same bits."""
        ...

    def predict(self, theta: Tensor, points: Tensor, readout_exponent: float) -> Tensor:
        """f(x_mu) = N^-kappa sum_i a_i phi(w_i . x_mu), in theta's dtype."""
        ...


class Mover(Protocol):
    """The inner loop of neurons that feel a frozen field and not each other; pure as well."""

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons, drift_i = sum_mu signal_mu grad(a_i phi(w_i . x_mu))."""
        ...


class CloudKernel(Kernel, Mover, Protocol):
    """Both, for networks of one hidden layer; bound to one activation.

    theta is (n_neurons, n_inputs + n_out), signal (n_points,) or (n_points, n_out).
    """
