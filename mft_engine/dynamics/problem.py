"""What does not change while a background is trained: its network, its points and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.awaited import Awaited
from mft_engine.device import can_record_graphs, one_thread
from mft_engine.dynamics.divergence import loss_limit
from mft_engine.dynamics.hyper import Hyper, plan_of, resolving_step
from mft_engine.dynamics.network import Network
from mft_engine.estimates import Estimate
from mft_engine.kernels import Kernel, StepPlan
from mft_engine.points.loss import LOSS, mean_loss
from mft_engine.points.measure import rotation, weighted
from mft_engine.recorded import Recorded
from mft_engine.rng import Stream


@dataclass(frozen=True)
class Problem:
    """What does not change while a background is trained.

    Attributes:
        network: how its parameters make a function.
        inputs (n_points, n_inputs), targets (n_points,) or (n_points, n_out), weights (n_points,): the
            training measure.
        field_inputs (n_field, n_inputs): where the running average of f lives; the training inputs unless they move.
        target: the task's function, for points that move.
        batch_size: 0 for the whole measure; fresh draws of N(0, I), or of the training points where `is_finite_data`.
        rotates: the rule is turned by a random angle at every step.
        burn_in: time after a change of hyperparameters before the average (re)starts.
        end_time, end_step: the recipe's last step; end_step 0 means that the time decides.
        kernel: the inner loop.
        input_map: what makes inputs of N(0, I) draws, for batches; None where they are the inputs.
    """

    network: Network
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    field_inputs: Tensor
    target: Callable[[Tensor], Tensor]
    readout_exponent: float
    seed: int
    batch_size: int
    is_finite_data: bool
    rotates: bool
    burn_in: float
    end_time: float
    end_step: int
    kernel: Kernel
    input_map: Callable[[Tensor], Tensor] | None = None

    @property
    def n_out(self) -> int:
        """Readouts of a neuron."""
        return self.targets.shape[1] if self.targets.dim() == 2 else 1

    @property
    def moving(self) -> dict[str, Any]:
        """What makes the points of a step."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "is_finite_data": self.is_finite_data,
            "target": self.target,
            "input_map": self.input_map,
        }

    @property
    def moves(self) -> bool:
        """Whether the points differ from step to step."""
        return self.rotates or self.batch_size > 0

    def eigenvalue(self, theta: Tensor, hyper: Hyper) -> float:
        """Theta, the top eigenvalue of the tangent kernel: a step is stable below 2/Theta."""
        rates = self.network.rates(hyper)
        with one_thread():  # of an automatic step: the run's bits follow it
            return float(self.network.eigenvalue(theta, self.inputs, self.weights, rates, self.readout_exponent))

    def resolving_step(self, theta: Tensor, hyper: Hyper) -> float:
        """The largest step that resolves the potential of single neurons in the field that they make now."""
        with one_thread():
            prediction = self.kernel.predict(theta, self.inputs, self.readout_exponent)
            told = LOSS.signal(self.targets, prediction)
            felt = self.network.felt(theta, self.inputs, self.weights, told, hyper, self.readout_exponent)
            return min(resolving_step(neurons, field, hyper) for neurons, field in felt)

    def loss(self, theta: Tensor) -> float:
        """E (y - f)^2 on the training measure."""
        prediction = self.kernel.predict(theta, self.inputs, self.readout_exponent)
        return mean_loss(self.weights, self.targets, prediction)

    @property
    def target_power(self) -> float:
        """E y^2 on the training measure."""
        return float(weighted(self.weights, self.targets**2).sum(dtype=torch.float64))

    def largest_loss(self, theta: Tensor, hyper: Hyper) -> float:
        """The loss beyond which a run that begins here has run away."""
        fluctuation = self.network.fluctuation(theta, self.inputs, self.weights, hyper, self.readout_exponent)
        return loss_limit(self.target_power, self.loss(theta), fluctuation)

    def plan(self, hyper: Hyper, step_size: float) -> StepPlan:
        """The numbers of one update of the background."""
        return plan_of(
            hyper,
            step_size,
            self.network.rates(hyper),
            self.network.penalties(hyper),
            seed=self.seed,
            stream=Stream.BACKGROUND,
            readout_exponent=self.readout_exponent,
        )

    def orders(self, theta: Tensor) -> dict[str, Estimate]:
        """Order parameters of the network."""
        return self.awaited_orders(theta).now()

    def awaited_orders(self, theta: Tensor) -> Awaited[dict[str, Estimate]]:
        """The same, not waited for yet."""
        return self.network.orders(theta, self.inputs, self.readout_exponent)


def points_at(step: int, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and weights of one step: a fresh batch, drawn training points, or the rule, turned or not.

    On a device that records, those of the next step may be written over them.
    """
    if not problem.moves:
        return problem.inputs, problem.targets, problem.weights
    parts = problem.inputs, problem.targets, problem.weights
    if not can_record_graphs(problem.inputs.device):
        return _fresh_points(*parts, step, **problem.moving)
    number = torch.tensor(step).to(problem.inputs.device, non_blocking=True)
    inputs, targets, weights = _FRESH_POINTS(*parts, number, **problem.moving)
    return inputs, targets, weights


def _fresh_points(
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    step: int | Tensor,
    *,
    seed: int,
    batch_size: int,
    is_finite_data: bool,
    target: Callable[[Tensor], Tensor],
    input_map: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    n_points, device, dtype = inputs.shape[0], inputs.device, inputs.dtype
    if batch_size and is_finite_data:
        uniform = rng.uniform(seed, Stream.BATCH, step, batch_size, 1, device=device, dtype=dtype)
        chosen = (uniform[:, 0] * n_points).long().clamp(max=n_points - 1)
        return inputs[chosen], targets[chosen], weights[chosen] * (n_points / batch_size)
    if batch_size:
        drawn = rng.normal(seed, Stream.BATCH, step, batch_size, inputs.shape[1], device=device, dtype=dtype)
        drawn = drawn if input_map is None else input_map(drawn)
        return drawn, target(drawn), torch.full_like(drawn[:, 0], 1.0 / batch_size)
    turned = inputs @ rotation(seed, step, device, dtype)
    return turned, target(turned), weights


_FRESH_POINTS = Recorded(_fresh_points)
