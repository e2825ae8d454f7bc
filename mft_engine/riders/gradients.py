"""What the riders' gradients are multiplied by between backward and step, read off the network's own .grad."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The network's gradient agrees with the one that inputs, activation and error signals give to rounding, which in half
# precision is some per cent; a wrong activation or a second use of the weights is wrong by its own size.
MISMATCH = {torch.float64: 1e-4, torch.float32: 1e-2}
MISMATCH_HALF = 0.1


class Accumulated:
    """The sum that stands in a rider's .grad, kept in step with whatever happens to the network's.

    Clearing, scaling, unscaling and clipping multiply the network's .grad by one number, c. It is read off the largest
    element, without waiting for the device.

    Args:
        real: a parameter of the network.
    """

    def __init__(self, real: nn.Parameter) -> None:
        self.real = real
        self.total: Tensor | None = None
        self._place: Tensor | None = None
        self._value: Tensor | None = None
        self._norm: Tensor | None = None
        self._pending: tuple[Tensor, Tensor | None] | None = None
        self._expected: tuple[Tensor, Tensor | None] | None = None
        self.is_bent = torch.zeros((), dtype=torch.bool, device=real.device)

    def announce(self, contribution: Tensor) -> None:
        """What this backward pass will add, if it adds to the network's .grad at all."""
        self._pending = (contribution, self._kept())

    def expect(self, gradient: Tensor) -> None:
        """What this backward pass must add to the network's own .grad."""
        self._expected = (gradient, None if self.real.grad is None else self.real.grad.clone())

    def add(self) -> None:
        """The network's .grad has been added to: so is the riders'."""
        if self._pending is None or self.real.grad is None:
            return
        (contribution, kept), self._pending = self._pending, None
        self.total = contribution if kept is None else kept + contribution
        gradient = self.real.grad.detach().reshape(-1)
        self._place = gradient.abs().argmax().reshape(1)
        self._value = gradient.index_select(0, self._place)
        self._norm = torch.linalg.vector_norm(gradient)

    def mismatch(self) -> float | None:
        """How far the last addition to the network's .grad is from what was expected, relative; None if not asked."""
        if self._expected is None or self.real.grad is None:
            return None
        (expected, before), self._expected = self._expected, None
        added = self.real.grad.detach() - before if before is not None else self.real.grad.detach()
        size = torch.maximum(torch.linalg.vector_norm(expected), torch.linalg.vector_norm(added))
        # Accumulated onto something far larger, the difference is nothing but rounding.
        if before is not None:
            size = torch.maximum(size, 1e-3 * torch.linalg.vector_norm(before))
        return float(torch.linalg.vector_norm(added - expected) / size.clamp_min(1e-30))

    def at_step(self) -> Tensor | None:
        """The riders' gradient for the optimiser's step; None where the network has none either."""
        gradient = self.real.grad
        if gradient is None or self.total is None:
            return None
        kept = self._kept()
        assert kept is not None and self._norm is not None
        norm, old = torch.linalg.vector_norm(gradient.detach()), self._norm
        factor = self._factor().squeeze()
        self.is_bent |= (norm - factor.abs() * old).abs() > 1e-3 * factor.abs() * old
        return kept

    def _kept(self) -> Tensor | None:
        if self.real.grad is None or self.total is None:
            return None
        factor = self._factor()
        # After an overflow the old sum may be infinite, and zero times it is not zero.
        return torch.where(factor == 0, torch.zeros_like(self.total), self.total * factor)

    def _factor(self) -> Tensor:
        assert self.real.grad is not None and self._place is not None and self._value is not None
        now = self.real.grad.detach().reshape(-1).index_select(0, self._place)
        # A gradient that is zero throughout tells nothing; a readout that starts at zero makes one.
        return torch.where(self._value == 0, torch.ones_like(now), now / self._value)
