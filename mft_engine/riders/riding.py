"""Riders at work: what the layer sees and what comes back is given to them too, and the optimiser's rule moves them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mft_engine import rng
from mft_engine.riders.gradients import MISMATCH, MISMATCH_HALF, Accumulated
from mft_engine.riders.neurons import READOUT, Layer, Tensors, WatchError
from mft_engine.riders.twin import Twin
from mft_engine.rng import Stream

# Backward passes of which each is checked, and then one in so many: the check costs a second backward of the layer.
N_CHECKED = 3
CHECKED_EVERY = 100
# Of the layer's last inputs so many numbers are kept, to ask what neurons answer to them: 512 inputs of 512 numbers.
PROBE_SIZE = 1 << 18
PROBE_ROWS = 512


class Riders:
    """Fresh neurons beside the neurons of a layer; they feed nothing back.

    Args:
        layer: of the network; optimizer: the one that trains it.
        table: (n_riders, n_params) where the riders start.
        has_dropout: between the layer and its readout.
        seed: of the riders' own dropout.
        has_stepped: called after every step of the optimiser.

    Raises:
        WatchError: an optimiser that cannot be followed.
    """

    def __init__(
        self,
        layer: Layer,
        optimizer: Optimizer,
        table: Tensor,
        *,
        has_dropout: bool,
        seed: int,
        has_stepped: Callable[[], None],
    ) -> None:
        self._layer, self._has_dropout, self._seed, self._has_stepped = layer, has_dropout, seed, has_stepped
        self.real = layer.parameters()
        self.tensors: Tensors = layer.tensors(table)
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self._moving = [name for name, real in self.real.items() if real.requires_grad and id(real) in trained]
        self._sums = {name: Accumulated(self.real[name]) for name in self._moving}
        self._twin = Twin(optimizer, [(self.real[name], self.tensors[name]) for name in self._moving])
        self.n_steps = self._n_backward = 0
        self.probe: Tensor | None = None
        self.fault = ""
        self._inputs: Tensor | None = None
        self._handles: list[Any] = []
        self._attach(optimizer)

    def check(self) -> None:
        """Refuse to answer for riders that could not follow.

        Raises:
            WatchError: the training was found to be one that riders cannot follow.
        """
        self._check_factors()
        if self.fault:
            raise WatchError(self.fault)

    def close(self) -> None:
        """Remove the hooks; the riders stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._inputs = None

    def _attach(self, optimizer: Optimizer) -> None:
        hidden, readout = self._layer.incoming[0], self._layer.readout
        self._handles = [
            hidden.register_forward_hook(_Ear(hidden, self._on_inputs)),
            readout.register_forward_hook(_Ear(readout, self._on_readout)),
            optimizer.register_step_post_hook(self._on_step),
        ]
        for name in self._moving:
            real = cast(Any, self.real[name])
            self._handles.append(real.register_post_accumulate_grad_hook(lambda _, name=name: self._on_gradient(name)))

    def _on_inputs(self, inputs: Tensor, output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad:
            self._inputs = inputs.detach()

    def _on_readout(self, inputs: Tensor, output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad and self._inputs is not None:
            seen, features, self._inputs = self._inputs, inputs.detach(), None
            cast(Any, output).register_hook(lambda delta: self._on_delta(seen, features, delta.detach()))

    def _on_delta(self, inputs: Tensor, features: Tensor, delta: Tensor) -> None:
        if not self._handles:
            return
        dtype = self.tensors[READOUT].dtype
        inputs, delta = inputs.to(dtype), delta.to(dtype)
        is_checked = self._n_backward < N_CHECKED or self._n_backward % CHECKED_EVERY == 0
        self._n_backward += 1
        self.probe = self._some_of(inputs)
        with rng.own_torch_draws(self._seed, Stream.RIDERS_DROPOUT, self._n_backward, delta.device):
            found = self._layer.gradients(self.tensors, inputs, delta, self._moving)
            for name, gradient in found.items():
                self._sums[name].announce(gradient)
            if is_checked:
                self._expect(inputs, features.to(dtype), delta)

    def _some_of(self, inputs: Tensor) -> Tensor:
        """The first inputs, as many as `PROBE_SIZE` numbers hold; a view would keep the whole batch alive."""
        hidden = self._layer.incoming[0]
        rows = inputs
        if isinstance(hidden, nn.Linear):
            rows = inputs.reshape(-1, inputs.shape[-1])
        elif inputs.dim() < cast(Tensor, hidden.weight).dim():
            rows = inputs.unsqueeze(0)
        n = min(PROBE_ROWS, max(1, PROBE_SIZE // max(1, rows[:1].numel())))
        return rows[:n].clone()

    def _expect(self, inputs: Tensor, features: Tensor, delta: Tensor) -> None:
        tensors = cast(Tensors, self.real)
        if READOUT in self._moving:
            leaf = self.real[READOUT].detach().requires_grad_()
            with torch.enable_grad(), torch.autocast(delta.device.type, enabled=False):
                output = self._layer.readout_of({READOUT: leaf}, features)
            self._sums[READOUT].expect(torch.autograd.grad(output, leaf, delta)[0])
        # The network's own dropout cannot be drawn a second time.
        if not self._has_dropout:
            rest = [name for name in self._moving if name != READOUT]
            for name, gradient in (self._layer.gradients(tensors, inputs, delta, rest) if rest else {}).items():
                self._sums[name].expect(gradient)

    def _on_gradient(self, name: str) -> None:
        mine = self._sums[name]
        mine.add()
        mismatch = mine.mismatch()
        real = self.real[name]
        limit = MISMATCH_HALF if torch.is_autocast_enabled() else MISMATCH.get(real.dtype, MISMATCH_HALF)
        if mismatch is not None and mismatch > limit:
            where = "readout" if name == READOUT else "hidden layer"
            self._fail(
                f"The gradient of the {where}'s {'bias' if name.startswith('bias') else 'weight'} is not what its "
                f"inputs and error signals give (they differ by {mismatch:.2g} of it): is `activation` what lies "
                "between the two modules, are weights tied to another layer or used twice in a forward pass, or does a "
                "custom function or gradient hook lie in between?"
            )

    def _on_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.fault:
            return
        for name, mine in self._sums.items():
            gradient = mine.at_step()
            if gradient is None and self.real[name].grad is not None:
                self._fail(
                    "The layer is trained, but its error signals were not seen: its modules must be called as modules, "
                    "the hidden one before the readout, and the loss must be differentiated by backward()"
                )
                return
            self.tensors[name].grad = gradient
        self._twin.step(optimizer)
        self.n_steps += 1
        if self.n_steps <= N_CHECKED or self.n_steps % CHECKED_EVERY == 0:
            self._check_factors()
        if not self.fault:
            self._has_stepped()

    def _check_factors(self) -> None:
        if not self.fault and any(bool(mine.is_bent) for mine in self._sums.values()):
            self._fail(
                "Between backward and step the layer's gradient was changed by more than a common factor "
                "(clipping by value, noise, a mask): riders cannot follow that"
            )

    def _fail(self, sentence: str) -> None:
        # Somebody's long training must not die of being watched: it is told once, and every question answers with it.
        self.fault = sentence
        self.close()
        warnings.warn(f"mft.watch has stopped: {sentence}", stacklevel=2)


class _Ear:
    """A forward hook of one module: a copy of the model does not carry it, nor does a file."""

    def __init__(self, module: nn.Module, hear: Callable[[Tensor, Tensor], None]) -> None:
        self._module = module
        # A compiled model runs these two layers' hooks outside of its graphs.
        outside = cast(Callable[[Any], Callable[[Tensor, Tensor], None]], torch.compiler.disable)
        self._hear = outside(hear)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if inputs:
            self._hear(inputs[0], output)

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _deaf, ()


def _deaf() -> Callable[..., None]:
    return _hear_nothing


def _hear_nothing(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    return None
