"""One network over several processes: each keeps some of the neurons, and what they tell each other is the field.

A step needs of the other neurons only f at the points: n_points x n_out numbers (and one that tells whether all
neurons are finite) go round, whatever the number of neurons. Noise is a function of the neuron's number, so that a
network takes the same steps in any number of processes, to the rounding of f.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from mft_engine.estimates import Estimate
from mft_engine.kernels.plan import BackgroundResult, CloudKernel, FrozenResult, StepPlan
from mft_engine.kernels.reference import check_arguments
from mft_engine.points.loss import LOSS
from mft_engine.points.statistics import ORDERS

# Kernels sum blocks of neurons in float32 and blocks in float64 or integers: where no block is cut, the sums of a
# network in several processes are those of one.
BLOCK = 256


class PartKernel(CloudKernel, Protocol):
    """A kernel that tells f in a wider type than its neurons have."""

    def predict(
        self, theta: Tensor, points: Tensor, readout_exponent: float, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """f at the points, in `dtype`, or theta's own."""
        ...


class Shards:
    """The part of this process, and sums over all of them.

    Args:
        n_neurons: of the whole network; every process gets as many blocks of them.

    Attributes:
        first, last: the rows of the whole network that are here.
        n_sums, bytes_summed: how often numbers went round, and how many of this process's own bytes.
    """

    def __init__(self, n_neurons: int) -> None:
        rank, size = dist.get_rank(), dist.get_world_size()
        self.n_neurons, self.n_processes, self.rank = n_neurons, size, rank
        n_blocks = -(-n_neurons // BLOCK)
        bounds = [min(n_neurons, BLOCK * (n_blocks * i // size)) for i in range(size + 1)]
        self._sizes = [b - a for a, b in itertools.pairwise(bounds)]
        self.first, self.last = bounds[rank], bounds[rank + 1]
        self.n_sums = self.bytes_summed = 0

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over processes, in their dtype; the same bits in all of them."""
        total = numbers.clone()
        dist.all_reduce(total)
        self.n_sums += 1
        self.bytes_summed += total.numel() * total.element_size()
        return total

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of something that has one for each neuron."""
        return rows[self.first : self.last].clone()

    def thinned(self, theta: Tensor, n_wanted: int) -> Tensor:
        """Every k-th neuron of the whole network, k as large as leaves n_wanted; the same in all processes."""
        stride = max(1, self.n_neurons // n_wanted)
        return self._together(theta[-self.first % stride :: stride], stride)

    def whole(self, theta: Tensor) -> Tensor:
        """All neurons, in every process."""
        return self._together(theta, 1)

    def _together(self, rows: Tensor, stride: int) -> Tensor:
        ends = [sum(self._sizes[: i + 1]) for i in range(self.n_processes)]
        counts = [-(-end // stride) - -(-(end - size) // stride) for end, size in zip(ends, self._sizes, strict=True)]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def order_parameters(self, theta: Tensor, n_inputs: int, n_relevant: int) -> dict[str, Estimate]:
        """`points.statistics.order_parameters` of the whole network, from sums alone."""
        n, cloud = self.n_neurons, theta.double()
        if n_inputs == 2:
            angle = torch.atan2(cloud[:, 1], cloud[:, 0])
            waves = torch.stack([(k * angle).cos() for k in ORDERS])
            first, second = self.sum(torch.stack([waves.sum(dim=1), waves.square().sum(dim=1)])).tolist()
            return {
                f"cos{k}": Estimate(a / n, (max(0.0, b / n - (a / n) ** 2) / max(1, n - 1)) ** 0.5)
                for k, a, b in zip(ORDERS, first, second, strict=True)
            }
        if not 0 < n_relevant < n_inputs:
            return {}
        squares = cloud[:, :n_inputs] ** 2 * (cloud[:, n_inputs:] ** 2).sum(1, keepdim=True)
        inside, total = squares[:, :n_relevant].sum(1), squares.sum(1)
        parts = [inside.sum(), total.sum(), inside @ inside, inside @ total, total @ total]
        i, t, ii, it, tt = self.sum(torch.stack(parts)).tolist()
        ratio = i / t
        variance = max(0.0, ii - 2 * ratio * it + ratio**2 * tt) / max(1, n - 1)
        return {"overlap": Estimate(ratio, variance**0.5 / (t / n) / n**0.5)}


class ShardedKernel:
    """A kernel for the neurons of this process, in the field of the neurons of all.

    Every process calls the same methods in the same order; theta is its own part, everything else belongs to the whole
    network and is the same in all of them.
    """

    def __init__(self, kernel: PartKernel, shards: Shards) -> None:
        self._kernel, self.shards = kernel, shards

    @property
    def name(self) -> str:
        """The kernel in use."""
        return self._kernel.name

    @property
    def is_ready(self) -> bool:
        """Whether a call would run at once, with nothing to compile."""
        return self._kernel.is_ready

    def warm_up(self, points: Tensor | None = None) -> None:
        """Compile what such points need."""
        self._kernel.warm_up(points)

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
        """n_steps of the whole network; as in `ReferenceKernel.advance_background`."""
        check_arguments(theta, points, plan, n_steps)
        own = replace(plan, first_neuron=self.shards.first)
        dtype, size = prediction_sum.dtype, float(self.shards.n_neurons)
        wanted, total = targets.to(dtype), prediction_sum.clone()
        column = weights.to(dtype).reshape(-1, *(1,) * (targets.dim() - 1))
        losses: list[Tensor] = []
        fine: list[Tensor] = []
        is_fine = torch.isfinite(theta).all()
        for step in range(first_step, first_step + n_steps):
            prediction, n_fine = self._field(theta, points, plan.readout_exponent, is_fine, dtype)
            # Whether the neurons are finite after a step is told with the field of the next one.
            fine.append(n_fine)
            total += prediction
            losses.append((column * LOSS.values(wanted, prediction)).sum())
            signal = size ** (plan.readout_exponent - 1.0) * column * LOSS.signal(wanted, prediction)
            theta = self._kernel.advance_frozen(theta, points, signal, own, step, 1).theta
            is_fine = torch.isfinite(theta).all()
        fine.append(self.shards.sum(is_fine.to(dtype)))
        loss = torch.stack(losses)
        finite = torch.isfinite(loss) & (torch.stack(fine[1:]) == self.shards.n_processes)
        return BackgroundResult(theta, total, loss, prediction, finite, first_step)

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons, which need nothing of the others."""
        own = replace(plan, first_neuron=self.shards.first)
        found = self._kernel.advance_frozen(theta, points, signal, own, first_step, n_steps)
        n_fine = self.shards.sum(found.finite.to(torch.float64))
        return FrozenResult(found.theta, n_fine == self.shards.n_processes)

    def predict(self, theta: Tensor, points: Tensor, readout_exponent: float) -> Tensor:
        """f of the whole network at the points, in theta's dtype."""
        fine = torch.ones((), dtype=torch.bool, device=theta.device)
        return self._field(theta, points, readout_exponent, fine, torch.float64)[0].to(theta.dtype)

    def _field(
        self, theta: Tensor, points: Tensor, exponent: float, is_fine: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """f of the whole network, and how many processes have finite neurons."""
        part = self._kernel.predict(theta, points, exponent, dtype=dtype)
        share = (theta.shape[0] / self.shards.n_neurons) ** exponent
        numbers = self.shards.sum(torch.cat([(share * part).reshape(-1), is_fine.to(dtype).reshape(1)]))
        return numbers[:-1].reshape(part.shape), numbers[-1]
