"""The inner loop of networks with several hidden layers: matrix products on any device, no autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import host_device, one_thread
from mft_engine.kernels.plan import BackgroundResult, StepPlan
from mft_engine.network.layered import LayeredNetwork, flat_normal
from mft_engine.network.scaling import drive
from mft_engine.points.loss import LOSS
from mft_engine.rng import seed_key

Noise = Callable[[int, int, int, int], Tensor]

# Points x parameters from which several threads pay for products that meet a hundred times a step.
WORK_FOR_SEVERAL = 2**28


class LayeredKernel:
    """Like the kernels of two-layer networks, for flat parameters (n_parameters,).

    The plan has one rate, decay and noise for each of W_1 .. W_L and the readouts.
    """

    name = "layered"
    is_ready = True

    def __init__(self, network: LayeredNetwork, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network
        self._noise = _noise_source(network.n_parameters, device, dtype)

    def warm_up(self, points: Tensor | None = None) -> None:
        """Nothing that is worth compiling ahead."""

    def predict(self, theta: Tensor, points: Tensor, readout_exponent: float) -> Tensor:
        """f at the points, (n_points,)."""
        return self.network.forward(self.network.split(theta), points, readout_exponent).prediction

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
        """n_steps of the whole network; arguments and result as for `Kernel.advance_background`."""
        network, exponent = self.network, plan.readout_exponent
        factor = weights * drive(network.n_neurons[-1], exponent)
        shrink, noise_scale, rate = (
            spread_over_layers(torch.tensor([values], dtype=theta.dtype).to(theta.device), network.sizes)[0]
            for values in ([1.0 - decay for decay in plan.decay], plan.noise, plan.rate)
        )
        total = prediction_sum.clone()
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        now = self._noise(plan.seed, plan.stream, first_step, len(theta)) if plan.is_noisy else None
        is_small = theta.device.type == host_device().type and len(points) * len(theta) < WORK_FOR_SEVERAL
        with one_thread() if is_small else nullcontext():
            for step in range(first_step, first_step + n_steps):
                parts = network.split(theta)
                found = network.forward(parts, points, exponent)
                told = LOSS.signal(targets, found.prediction)
                drift = network.drift(parts, points, found, factor * told)
                theta = (theta * shrink).addcmul_(rate, drift)
                if now is not None:
                    following = self._noise(plan.seed, plan.stream, step + 1, len(theta))
                    theta = theta.addcmul_(noise_scale, (now + following).mul_(0.5) if plan.uses_next else now)
                    now = following
                total += found.prediction
                wide = LOSS.values(targets.to(total.dtype), found.prediction.to(total.dtype))
                losses.append((weights.to(total.dtype) * wide).sum())
                finite.append(torch.isfinite(losses[-1]) & torch.isfinite(theta.sum()))
        return BackgroundResult(theta, total, torch.stack(losses), found.prediction, torch.stack(finite), first_step)


def spread_over_layers(numbers: Tensor, sizes: Sequence[int]) -> Tensor:
    """Numbers of each layer's weights and of the readouts, (n, L + 1), at every parameter: (n, n_parameters)."""
    return torch.cat([numbers[:, i : i + 1].expand(-1, size) for i, size in enumerate(sizes)], dim=1)


def _noise_source(n: int, device: torch.device, dtype: torch.dtype) -> Noise:
    """Standard normal numbers of a step: compiled where the parameters live on the host in float32."""
    if torch.device(device).type != host_device().type or dtype != torch.float32:
        return lambda seed, stream, step, n: flat_normal(seed, stream, step, n, device, dtype)
    from mft_engine.kernels.noise import fill_normal

    n_rows = -(-n // 4)
    words, out = np.empty((4, n_rows), np.uint64), np.empty((4, n_rows), np.float32)

    def compiled(seed: int, stream: int, step: int, n: int) -> Tensor:
        key_0, key_1 = seed_key(seed)
        counter = np.uint64(step & 0xFFFFFFFF)
        fill_normal(np.uint64(key_0), np.uint64(key_1), np.uint64(stream), counter, 0, n_rows, words, out)
        return torch.from_numpy(out.T.reshape(-1)[:n].copy())

    return compiled
