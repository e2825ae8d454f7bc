"""The reference kernel: torch, any device, dtype and number of readouts; the oracle of the faster ones."""

from __future__ import annotations

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.device import host_device
from mft_engine.kernels.plan import BackgroundResult, FrozenResult, StepPlan
from mft_engine.network.activations import Activation
from mft_engine.network.scaling import drive, output_scale
from mft_engine.points.loss import LOSS

# Elements of one (neurons x points) block: small enough for a CPU's cache, and for its allocator to reuse the pages
# (twice as many cost a thousand page faults a step); enough to fill an accelerator.
BLOCK_ON_HOST = 2**16
BLOCK_ON_ACCELERATOR = 2**24
# phi and phi' of this many (neuron, point) pairs are kept between the two passes of a step, else computed twice.
KEPT_ELEMENTS = 2**22
# Neurons whose random words (several int64 each) are held at a time.
NOISE_ROWS = 2**18


_Features = tuple[Tensor, Tensor]


def _blocks(n_neurons: int, n_points: int, device: torch.device) -> list[slice]:
    elements = BLOCK_ON_HOST if device.type == host_device().type else BLOCK_ON_ACCELERATOR
    size = max(1, elements // max(1, n_points))
    return [slice(i, min(i + size, n_neurons)) for i in range(0, n_neurons, size)]


def predict(
    theta: Tensor,
    points: Tensor,
    readout_exponent: float,
    activation: Activation,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Network output at the points.

        f_c(x_mu) = N^-kappa sum_i a_ic phi(w_i . x_mu)

    Args:
        theta: (n_neurons, n_inputs + n_out).
        points: (n_points, n_inputs).
        readout_exponent: kappa.
        activation: phi.
        dtype: in which blocks of neurons are summed and of the result; theta's by default.

    Returns:
        (n_points,) with one readout, else (n_points, n_out). Memory O(block + n_points).
    """
    check_shapes(theta, points)
    total = _summed(theta, points, readout_exponent, activation, dtype or theta.dtype, None)
    return total.squeeze(1) if total.shape[1] == 1 else total


def _summed(
    theta: Tensor,
    points: Tensor,
    readout_exponent: float,
    activation: Activation,
    dtype: torch.dtype,
    kept: list[_Features] | None,
) -> Tensor:
    """f, (n_points, n_out); phi and phi' of each block go to `kept` where it is given."""
    n_neurons, n_inputs = theta.shape[0], points.shape[1]
    total = torch.zeros(points.shape[0], theta.shape[1] - n_inputs, dtype=dtype, device=theta.device)
    for block in _blocks(n_neurons, points.shape[0], theta.device):
        z = theta[block, :n_inputs] @ points.T
        if kept is None:
            value = activation.phi(z)
        else:
            features = activation.both(z)
            kept.append(features)
            value = features[0]
        total += value.T @ theta[block, n_inputs:]
    return total.mul_(output_scale(n_neurons, readout_exponent))


def _gradient_block(theta: Tensor, points: Tensor, signal: Tensor, features: _Features) -> Tensor:
    readout = theta[:, points.shape[1] :]
    value, slope = features
    if signal.shape[1] == 1:
        # The readout leaves the sum over points: one product with signal x points instead of one more array.
        weight_gradient = readout * (slope @ (signal * points))
    else:
        weight_gradient = ((readout @ signal.T) * slope) @ points
    return torch.cat([weight_gradient, value @ signal], dim=1)


def gradient(theta: Tensor, points: Tensor, signal: Tensor, activation: Activation) -> Tensor:
    """What the data add to each neuron's drift.

        sum_mu sum_c signal_mu,c grad_theta( a_c phi(w . x_mu) )

    With signal = weight x residual this is *minus* the gradient of the potential's data term; no factor of N.

    Args:
        theta: (n_neurons, n_inputs + n_out).
        points: (n_points, n_inputs).
        signal: (n_points,) or (n_points, n_out).
        activation: phi.

    Returns:
        (n_neurons, n_inputs + n_out). Memory O(block + n_neurons).
    """
    signal = signal.reshape(points.shape[0], -1)
    if theta.shape[1] - points.shape[1] != signal.shape[1]:
        raise ValueError(f"theta has {theta.shape[1] - points.shape[1]} readouts, the signal {signal.shape[1]} columns")
    result = torch.empty_like(theta)
    for block in _blocks(theta.shape[0], points.shape[0], theta.device):
        features = activation.both(theta[block, : points.shape[1]] @ points.T)
        result[block] = _gradient_block(theta[block], points, signal, features)
    return result


class _Noise:
    """xi of the plan's integrator, step after step; keeps xi_{k+1} for the next one."""

    def __init__(self, plan: StepPlan, theta: Tensor, first_step: int) -> None:
        self.plan = plan
        self.like = theta
        self.now = self._draw(first_step) if plan.is_noisy else None

    def _draw(self, step: int) -> Tensor:
        drawn = torch.empty_like(self.like)
        n_neurons, n_params = drawn.shape
        for start in range(0, n_neurons, NOISE_ROWS):
            stop = min(start + NOISE_ROWS, n_neurons)
            drawn[start:stop] = rng.normal(
                self.plan.seed,
                self.plan.stream,
                step,
                stop - start,
                n_params,
                device=drawn.device,
                dtype=drawn.dtype,
                first_row=self.plan.first_neuron + start,
            )
        return drawn

    def of(self, step: int) -> Tensor | None:
        """xi of that step, (n_neurons, n_params), or None without noise; to be asked once per step, in order."""
        if self.now is None:
            return None
        now, self.now = self.now, self._draw(step + 1)
        return (now + self.now) * 0.5 if self.plan.uses_next else now


def _update(theta: Tensor, drift: Tensor, xi: Tensor | None, plan: StepPlan) -> Tensor:
    updated = torch.empty_like(theta)
    for columns, rate, decay, noise in plan.groups():
        change = rate * drift[:, columns] - decay * theta[:, columns]
        if xi is not None:
            change += noise * xi[:, columns]
        updated[:, columns] = theta[:, columns] + change
    return updated


def check_shapes(theta: Tensor, points: Tensor) -> None:
    """Raise ValueError where theta leaves no column for a readout."""
    if theta.shape[1] <= points.shape[1]:
        raise ValueError(f"theta has {theta.shape[1]} columns: with {points.shape[1]} inputs that leaves no readout")


def check_arguments(theta: Tensor, points: Tensor, plan: StepPlan, n_steps: int) -> None:
    """Raise ValueError where shapes or the number of steps cannot be meant."""
    check_shapes(theta, points)
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    if theta.shape[1] != len(plan.rate):
        raise ValueError(f"theta has {theta.shape[1]} columns, the plan {len(plan.rate)}")


class ReferenceKernel:
    """The slow, general kernel (see `Kernel` for the methods)."""

    name = "reference"
    is_ready = True

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def warm_up(self, points: Tensor | None = None) -> None:
        """Nothing to compile."""

    def predict(
        self, theta: Tensor, points: Tensor, readout_exponent: float, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `predict`."""
        return predict(theta, points, readout_exponent, self.activation, dtype=dtype)

    def gradient(self, theta: Tensor, points: Tensor, signal: Tensor) -> Tensor:
        """See `gradient`."""
        return gradient(theta, points, signal, self.activation)

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
        """n_steps of the interacting cloud.

            s_mu = N^(kappa - 1) weight_mu (y_mu - f(x_mu)),   drift_i = sum_mu s_mu grad(a_i phi(w_i . x_mu))

        Args:
            theta: (n_neurons, n_inputs + n_out).
            points: (n_points, n_inputs).
            targets: (n_points,) or (n_points, n_out).
            weights: (n_points,), sum 1.
            plan: rates, noise, integrator; may differ at every call.
            first_step: number k of the first step, which picks the noise.
            n_steps: at least 1.
            prediction_sum: like targets, float64 where the device has it; f is summed in its dtype.

        Returns:
            `BackgroundResult`, all new tensors.
        """
        check_arguments(theta, points, plan, n_steps)
        dtype = prediction_sum.dtype
        factor = drive(theta.shape[0], plan.readout_exponent)
        weight_column = weights.to(dtype).reshape(-1, *(1,) * (targets.dim() - 1))
        wanted = targets.to(dtype)
        noise = _Noise(plan, theta, first_step)
        total = prediction_sum.clone()
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        for step in range(first_step, first_step + n_steps):
            kept: list[_Features] | None = [] if theta.shape[0] * len(points) <= KEPT_ELEMENTS else None
            prediction = _summed(theta, points, plan.readout_exponent, self.activation, dtype, kept)
            prediction = prediction.reshape(wanted.shape)
            total += prediction
            loss = (weight_column * LOSS.values(wanted, prediction)).sum()
            signal = (factor * weight_column * LOSS.signal(wanted, prediction)).to(theta.dtype)
            theta = self._moved(theta, points, signal, plan, step, noise, kept)
            losses.append(loss)
            finite.append(torch.isfinite(loss) & torch.isfinite(theta).all())
        return BackgroundResult(theta, total, torch.stack(losses), prediction, torch.stack(finite), first_step)

    def advance_frozen(
        self, theta: Tensor, points: Tensor, signal: Tensor, plan: StepPlan, first_step: int, n_steps: int
    ) -> FrozenResult:
        """n_steps of independent neurons, drift_i = sum_mu signal_mu grad(a_i phi(w_i . x_mu)).

        Args:
            theta: (n_neurons, n_inputs + n_out).
            points: (n_points, n_inputs).
            signal: (n_points,) or (n_points, n_out); weight x residual, with every factor already in it.
            plan: rates, noise, integrator; its readout_exponent is not used.
            first_step: number k of the first step, which picks the noise.
            n_steps: at least 1.

        Returns:
            `FrozenResult`, new tensors.
        """
        check_arguments(theta, points, plan, n_steps)
        noise = _Noise(plan, theta, first_step)
        signal = signal.to(theta.dtype)
        for step in range(first_step, first_step + n_steps):
            theta = self._moved(theta, points, signal, plan, step, noise, None)
        return FrozenResult(theta, torch.isfinite(theta).all())

    def _moved(
        self,
        theta: Tensor,
        points: Tensor,
        signal: Tensor,
        plan: StepPlan,
        step: int,
        noise: _Noise,
        kept: list[_Features] | None,
    ) -> Tensor:
        moved = torch.empty_like(theta)
        xi = noise.of(step)
        signal = signal.reshape(points.shape[0], -1)
        for i, block in enumerate(_blocks(theta.shape[0], points.shape[0], theta.device)):
            part = theta[block]
            features = kept[i] if kept is not None else self.activation.both(part[:, : points.shape[1]] @ points.T)
            drift = _gradient_block(part, points, signal, features)
            moved[block] = _update(part, drift, None if xi is None else xi[block], plan)
        return moved
