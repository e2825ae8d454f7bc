"""`mft.watch`: riders on a layer of somebody's own model, by hooks alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mft_engine import rng
from mft_engine.compare.clouds import Comparison, compare
from mft_engine.riders.gradients import MISMATCH, MISMATCH_HALF, Accumulated
from mft_engine.riders.independence import Independence, independence_of
from mft_engine.riders.neurons import READOUT, Activation, Layer, Tensors, WatchError, is_random
from mft_engine.riders.twin import Twin
from mft_engine.rng import Stream

Initial = Callable[[int], Any]
Modules = nn.Module | Sequence[nn.Module]

# Backward passes of which each is checked, and then one in so many: the check costs a second backward of the layer.
N_CHECKED = 3
CHECKED_EVERY = 100


class Watch:
    """Riders on one hidden layer; made by `watch`.

    At every backward pass the riders get the layer's inputs h and the error signal delta = dL/d(output of the readout)
    of the network's own neurons, and at every step of the optimiser they move by its rule with a state of their own:

        grad v = sum delta act(w.h + b),   grad w = sum (delta.v) act'(w.h + b) h

    They feed nothing back. At infinite width this is dynamical mean field: the network's neurons then are independent
    draws of the riders' law.

    Source: docs/watching.md.
    """

    def __init__(
        self,
        layer: Layer,
        optimizer: Optimizer,
        activation: Activation,
        n_foreground: int,
        initial: Initial | None,
        seed: int,
    ) -> None:
        self._layer, self._optimizer, self._seed = layer, optimizer, seed
        self._has_dropout = is_random(activation)
        self._activation = activation
        self._real = layer.parameters()
        self._initial_background = layer.table(self._real)
        if initial is not None:
            table = _given(initial, n_foreground, self._initial_background)
        else:
            with rng.own_torch_draws(seed, Stream.RIDERS, 0, self._initial_background.device):
                table = layer.redrawn(n_foreground)
        self._initial_foreground = table
        self._riders: Tensors = layer.tensors(table)
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self._moving = [name for name, real in self._real.items() if real.requires_grad and id(real) in trained]
        self._sums = {name: Accumulated(self._real[name]) for name in self._moving}
        self._twin = Twin(optimizer, [(self._real[name], self._riders[name]) for name in self._moving])
        self._inputs: Tensor | None = None
        self._features: Tensor | None = None
        self._n_backward = self._n_steps = 0
        self._broken = ""
        self._handles: list[Any] = []
        self._attach()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clouds' columns."""
        return self._layer.names

    @property
    def n_inputs(self) -> int:
        """Columns of the clouds before the readouts."""
        return self._layer.n_inputs

    @property
    def n_steps(self) -> int:
        """Steps of the optimiser since the watch began."""
        return self._n_steps

    @property
    def background(self) -> Tensor:
        """(n_neurons, n_params): the network's own neurons as they are now."""
        return self._layer.table(self._real)

    @property
    def foreground(self) -> Tensor:
        """(n_foreground, n_params): the riders as they are now."""
        self._check()
        return self._layer.table(self._riders)

    @property
    def initial_background(self) -> Tensor:
        """(n_neurons, n_params): the network's neurons when the watch began."""
        return self._initial_background

    @property
    def initial_foreground(self) -> Tensor:
        """(n_foreground, n_params): the riders when the watch began."""
        return self._initial_foreground

    @property
    def initial_check(self) -> Comparison:
        """Both clouds as they began; not consistent: the layer was not drawn from the law of `initial`."""
        return compare(self._initial_background, self._initial_foreground, self.n_inputs, seed=self._seed)

    def compare(self, *, n_permutations: int = 500, seed: int | None = None) -> Comparison:
        """Whether the network's neurons and the riders have one law, now.

        Args:
            n_permutations: of the null.
            seed: of the permutations; None: the watch's.

        Raises:
            WatchError: the training was found to be one that riders cannot follow.
        """
        seed = self._seed if seed is None else seed
        return compare(self.background, self.foreground, self.n_inputs, n_permutations=n_permutations, seed=seed)

    def independence(self) -> Independence:
        """Whether the neurons come in groups, which a comparison of laws cannot see."""
        return independence_of(self.background, self.foreground)

    @property
    def moved(self) -> tuple[float, float]:
        """How far neurons and riders went: root mean square change of a coordinate in standard deviations of the start.

        Small (below .1, say) is the lazy regime, in which every network is consistent: features have not moved.
        """
        pairs = ((self.background, self._initial_background), (self.foreground, self._initial_foreground))
        changes = [((now - start) / start.std(dim=0).clamp_min(1e-30)).square().mean().sqrt() for now, start in pairs]
        return float(changes[0]), float(changes[1])

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and what stands beside it."""
        found, start, moved = self.compare(), self.initial_check, self.moved
        rows = {
            "neurons, riders, steps": f"{found.n_background}, {found.n_foreground}, {self._n_steps}",
            "at the start": f"{start.verdict or start.why} (p = {start.p_value_all:.2g})",
            "now": f"<b>{found.verdict or found.why}</b> (p = {found.p_value_all:.2g}, ratio {found.ratio:.2f})",
            "moved": f"neurons {moved[0]:.2g}, riders {moved[1]:.2g} standard deviations of the start",
            "independence": self.independence().sentence,
        }
        cells = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items())
        return f"<table>{cells}</table>"

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Inside, the layer's neurons are the riders: the mean-field prediction of the model.

        Raises:
            WatchError: another number of riders than of neurons.
        """
        self._check()
        n = len(self._riders["weight0"])
        if n != self._layer.n_neurons:
            raise WatchError(
                f"{n} riders cannot take the place of {self._layer.n_neurons} neurons; watch with n_foreground = "
                f"{self._layer.n_neurons}"
            )
        with self._replaced(self._riders):
            yield

    @contextmanager
    def thinned(self, n_neurons: int, seed: int = 0) -> Iterator[None]:
        """Inside, only so many of the layer's neurons speak, drawn at random, each for n/n_neurons of them.

        Args:
            n_neurons: 1 to all.
            seed: of the draw.
        """
        n = self._layer.n_neurons
        if not 1 <= n_neurons <= n:
            raise WatchError(f"n_neurons = {n_neurons} is not between 1 and the layer's {n}")
        order = rng.host_generator(seed, Stream.SUBSAMPLE).permutation(n)
        table = self.background
        table[:, self.n_inputs :] *= n / n_neurons
        table[torch.from_numpy(order[n_neurons:]).to(table.device), self.n_inputs :] = 0.0
        with self._replaced(self._layer.tensors(table)):
            yield

    def close(self) -> None:
        """Remove the hooks; the clouds stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._inputs = self._features = None

    def __repr__(self) -> str:
        n = len(self._riders["weight0"])
        return f"<{n} riders on {self._layer.n_neurons} neurons after {self._n_steps} steps>"

    @contextmanager
    def _replaced(self, tensors: Tensors) -> Iterator[None]:
        own = {name: real.detach().clone() for name, real in self._real.items()}
        try:
            with torch.no_grad():
                for name, real in self._real.items():
                    real.copy_(tensors[name])
            yield
        finally:
            with torch.no_grad():
                for name, real in self._real.items():
                    real.copy_(own[name])

    def _attach(self) -> None:
        # A compiled model runs these two layers' hooks outside of its graphs.
        outside = cast(Callable[[Any], Any], torch.compiler.disable)
        seen, read = outside(self._on_inputs), outside(self._on_readout)
        self._handles = [
            self._layer.incoming[0].register_forward_hook(seen),
            self._layer.readout.register_forward_hook(read),
            self._optimizer.register_step_post_hook(self._on_step),
        ]
        for name in self._moving:
            real = cast(Any, self._real[name])
            self._handles.append(real.register_post_accumulate_grad_hook(lambda _, name=name: self._on_gradient(name)))

    def _on_inputs(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad:
            self._inputs = inputs[0].detach()

    def _on_readout(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad and self._inputs is not None:
            seen, features, self._inputs = self._inputs, inputs[0].detach(), None
            cast(Any, output).register_hook(lambda delta: self._on_delta(seen, features, delta.detach()))

    def _on_delta(self, inputs: Tensor, features: Tensor, delta: Tensor) -> None:
        if not self._handles:
            return
        dtype = self._riders[READOUT].dtype
        inputs, delta = inputs.to(dtype), delta.to(dtype)
        is_checked = self._n_backward < N_CHECKED or self._n_backward % CHECKED_EVERY == 0
        self._n_backward += 1
        device = delta.device
        with rng.own_torch_draws(self._seed, Stream.RIDERS_DROPOUT, self._n_backward, device):
            found = self._layer.gradients(self._riders, inputs, delta, self._moving)
            for name, gradient in found.items():
                self._sums[name].announce(gradient)
            if is_checked:
                self._expect(inputs, features.to(dtype), delta)

    def _expect(self, inputs: Tensor, features: Tensor, delta: Tensor) -> None:
        tensors = cast(Tensors, self._real)
        if READOUT in self._moving:
            leaf = self._real[READOUT].detach().requires_grad_()
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
        real = self._real[name]
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
        if self._broken:
            return
        for name, mine in self._sums.items():
            gradient = mine.at_step()
            if gradient is None and self._real[name].grad is not None:
                self._fail(
                    "The layer is trained, but its error signals were not seen: its modules must be called as modules, "
                    "the hidden one before the readout, and the loss must be differentiated by backward()"
                )
                return
            self._riders[name].grad = gradient
        self._twin.step(optimizer)
        self._n_steps += 1
        if self._n_steps <= N_CHECKED or self._n_steps % CHECKED_EVERY == 0:
            self._check_factors()

    def _check_factors(self) -> None:
        if not self._broken and any(bool(mine.is_bent) for mine in self._sums.values()):
            self._fail(
                "Between backward and step the layer's gradient was changed by more than a common factor "
                "(clipping by value, noise, a mask): riders cannot follow that"
            )

    def _check(self) -> None:
        self._check_factors()
        if self._broken:
            raise WatchError(self._broken)

    def _fail(self, sentence: str) -> None:
        # Somebody's long training must not die of being watched: it is told once, and every question answers with it.
        self._broken = sentence
        self.close()
        warnings.warn(f"mft.watch has stopped: {sentence}", stacklevel=2)


def watch(
    hidden: Modules | Sequence[Sequence[Any]],
    readout: nn.Module | None = None,
    *,
    optimizer: Optimizer,
    activation: Activation | None = None,
    n_foreground: int | None = None,
    initial: Initial | None = None,
    seed: int = 0,
) -> Any:
    """Let fresh neurons ride along in a training, to compare the layer's own neurons with.

    Call it before the first step; the training loop stays as it is, and so do, bit for bit, the model's outputs,
    gradients, weights and random numbers.

    Args:
        hidden: the layer's module (linear or convolution), or (gate, up) of a gated layer; or several layers at once,
            [(hidden, readout, activation), ...].
        readout: the module that reads the neurons.
        optimizer: the one that trains the model.
        activation: the module or function between them, dropout included; of a gated layer, the gate's.
        n_foreground: riders; None: as many as neurons.
        initial: None: drawn by the modules' own `reset_parameters`; else a function of n that returns (w, b, v), shapes
            (n, ...), None where there is no bias (gated: gate, its bias, up, its bias, v), or one table of them.
        seed: of the riders and of the permutations.

    Returns:
        a `Watch`, or a tuple of them, one a layer.

    Raises:
        WatchError: a layer, an optimiser or an initial law that cannot be watched; the sentence names it.
    """
    if readout is None:
        if not isinstance(hidden, Sequence) or not all(isinstance(pair, Sequence) for pair in hidden):
            raise WatchError("Give a layer and its readout, or a list of (hidden, readout, activation)")
        options: dict[str, Any] = {"optimizer": optimizer, "n_foreground": n_foreground, "initial": initial}
        return tuple(
            watch(pair[0], pair[1], activation=pair[2] if len(pair) > 2 else activation, seed=seed + number, **options)
            for number, pair in enumerate(cast(Sequence[Sequence[Any]], hidden))
        )
    if activation is None:
        raise WatchError("Say what lies between the layer and its readout: activation=model[1], or torch.relu")
    incoming = (hidden,) if isinstance(hidden, nn.Module) else tuple(cast(Sequence[nn.Module], hidden))
    if len(incoming) not in (1, 2):
        raise WatchError(f"A layer has one incoming module, or two (gate, up); {len(incoming)} were given")
    layer = Layer(incoming, readout, activation)
    n = layer.n_neurons if n_foreground is None else n_foreground
    if n < 1:
        raise WatchError(f"n_foreground = {n} is no number of riders; one is the least")
    return Watch(layer, optimizer, activation, n, initial, seed)


def _given(initial: Initial, n: int, like: Tensor) -> Tensor:
    values = initial(n)
    parts = [values] if isinstance(values, Tensor) else [part for part in values if part is not None]
    if any(len(part) != n for part in parts):
        raise WatchError(f"`initial` was asked for {n} neurons and gave {[len(part) for part in parts]}")
    table = torch.cat([torch.as_tensor(part).detach().reshape(n, -1).to(like) for part in parts], dim=1)
    if table.shape[1] != like.shape[1]:
        raise WatchError(f"`initial` gave {table.shape[1]} numbers a neuron; the layer's neurons have {like.shape[1]}")
    return table
