"""`mft.watch`: riders on a layer of somebody's own model, by hooks alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mft_engine import rng
from mft_engine.compare.clouds import Comparison, ComparisonError, compare
from mft_engine.compare.paths import compare_paths, verdict_of
from mft_engine.riders.given import Initial, Modules, check_options, given, layer_of
from mft_engine.riders.independence import Independence, distinct, independence_of
from mft_engine.riders.live import LiveFolder
from mft_engine.riders.neurons import Activation, Layer, Tensors, WatchError
from mft_engine.riders.outliers import Outliers, outliers_of
from mft_engine.riders.portrait import functions_of, portrait
from mft_engine.riders.record import Exchange, Record
from mft_engine.riders.riding import Riders
from mft_engine.rng import Stream
from mft_engine.runs.watched import WatchedRun, write_watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Loss = Callable[[], Any]

# Of the layer's neurons so many speak when a loss is asked with fewer of them.
SHARES = (2, 4, 8, 16)


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
        n_foreground: int,
        initial: Initial | None,
        seed: int,
        loss: Loss | None,
        live: LiveFolder | None,
    ) -> None:
        self.layer, self.seed = layer, seed
        self._optimizer, self._loss, self._live = optimizer, loss, live
        self._initial_background = layer.table(layer.parameters())
        if initial is not None:
            table = given(initial, n_foreground, self._initial_background)
        else:
            with rng.own_torch_draws(seed, Stream.RIDERS, 0, self._initial_background.device):
                table = layer.redrawn(n_foreground)
        self._initial_foreground = table
        self._riders = Riders(
            layer,
            optimizer,
            table,
            has_dropout=layer.activation.is_random,
            seed=seed,
            has_stepped=self._has_stepped,
        )
        self.record = Record(layer.n_neurons, n_foreground, table.shape[1])
        self._note(0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clouds' columns."""
        return self.layer.names

    @property
    def n_inputs(self) -> int:
        """Columns of the clouds before the readouts."""
        return self.layer.n_inputs

    @property
    def n_steps(self) -> int:
        """Steps of the optimiser since the watch began."""
        return self._riders.n_steps

    @property
    def background(self) -> Tensor:
        """(n_neurons, n_params): the network's own neurons as they are now."""
        return self.layer.table(self._riders.real)

    @property
    def foreground(self) -> Tensor:
        """(n_foreground, n_params): the riders as they are now."""
        self._riders.check()
        return self.layer.table(self._riders.tensors)

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
        clouds = self._initial_background, self._initial_foreground
        return compare(*clouds, self.n_inputs, names=self.names, seed=self.seed)

    def compare(self, *, n_permutations: int = 500, seed: int | None = None) -> Comparison:
        """Whether neurons and riders have one law, of where they are and of how far each has come.

        Neurons that are copies of others, which say nothing more about the law, are counted once.

        Args:
            n_permutations: of the null, 199 at least.
            seed: of the permutations; None: the watch's.

        Returns:
            `verdict`, `p_value_all`, `ratio`, `what_differs`; `way`: the comparison of how far each has come; and
            `resolution`: how many neurons that never left their start, how much longer weights or readouts 9 of 10
            comparisons like this one would find.

        Raises:
            WatchError: the training was found to be one that riders cannot follow.
            ComparisonError: neurons that are not finite.
        """
        riders, begun = self.foreground, self._initial_foreground
        seed = self.seed if seed is None else seed
        kept = distinct(self.background, self._initial_background)
        now, start = (self.background[kept], riders), (self._initial_background[kept], begun)
        return compare_paths(now, start, self.n_inputs, self.names, n_permutations=n_permutations, seed=seed)

    def outliers(self) -> Outliers:
        """Which neurons stand out: farther from the riders than riders are from one another."""
        return outliers_of(self.background, self.foreground)

    def independence(self) -> Independence:
        """Whether the neurons come in groups, which a comparison of laws cannot see."""
        return independence_of(self.background, self.foreground)

    @property
    def moved(self) -> tuple[float, float]:
        """How far neurons and riders went: root mean square change of a coordinate in standard deviations of the start.

        Small (below .1, say) is the lazy regime, in which every network is consistent: features have not moved.
        """
        pairs = ((self.background, self._initial_background), (self.foreground, self._initial_foreground))
        return _distance(*pairs[0]), _distance(*pairs[1])

    @property
    def kernel_change(self) -> tuple[float, float] | None:
        """How far the data kernels of neurons and of riders have turned since the start, at inputs that were seen.

        K(x, x') = mean_i phi_i(x) phi_i(x'), and the change 1 - <K, K'>/(|K| |K'|) is between 0 (features as they were)
        and 1. None before the first backward pass.
        """
        clouds = {
            "background": self.background,
            "foreground": self.foreground,
            "initial_background": self._initial_background,
            "initial_foreground": self._initial_foreground,
        }
        return functions_of(self.layer, clouds, self.probe).kernel_change

    @property
    def probe(self) -> Tensor | None:
        """Inputs of the layer that were seen last; None before the first backward pass."""
        return self._riders.probe

    @property
    def optimizer_words(self) -> str:
        """What trains the layer, in words."""
        rates = sorted({f"{float(group['lr']):.3g}" for group in self._optimizer.param_groups})
        return f"{type(self._optimizer).__name__}, learning rate {', '.join(rates)}"

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What `exchange` has found so far, in the order of the steps."""
        return tuple(self.record.exchanges)

    def exchange(self, loss: Loss) -> Exchange:
        """The model's loss as it is, with the riders as its layer, and with a half to a sixteenth of its neurons.

        Nothing is differentiated; every answer sees the same random numbers of torch, which stand afterwards as before.

        Args:
            loss: called without arguments, returns the model's loss as a number or a tensor of one.

        Returns:
            what was found; kept in `exchanges` and drawn as a curve.

        Raises:
            WatchError: the training was found to be one that riders cannot follow.
        """
        self._riders.check()
        n, n_riders = self.layer.n_neurons, len(self._initial_foreground)

        def ask() -> float:
            with torch.no_grad(), rng.own_torch_draws(self.seed, Stream.RIDERS, 1 + self.n_steps, self._device):
                return float(loss())

        network, riders = ask(), math.nan
        if n_riders >= n:
            with self._replaced(self.layer.tensors(self.foreground[:n])):
                riders = ask()
        thinned = {}
        for k in [n // share for share in SHARES if n >= share]:
            with self.thinned(k, self.seed):
                thinned[k] = ask()
        self.record.exchanges.append(Exchange(self.n_steps, network, riders, thinned))
        return self.record.exchanges[-1]

    def run(self, name: str = "watched layer") -> WatchedRun:
        """Everything that is known, as values without a model: what `save` keeps and `figure` draws."""
        if self.record.steps[-1] < self.n_steps:
            self._note(self.n_steps)
        return portrait(self, name)

    def save(self, folder: str | Path, name: str = "") -> Path:
        """Keep a run that `mft-lab` and the window open; may be called again and again.

        Args:
            folder: made where it is missing; of an earlier save it is replaced.
            name: what the run is called; the folder's name where it is empty.

        Returns:
            the folder.

        Raises:
            WatchError: the riders could not follow. RunError: a folder that cannot be written.
        """
        return write_watched(self.run(name or Path(folder).name), folder)

    def figure(self, name: str = "clouds", *, width_mm: float = 170.0) -> Figure:
        """A figure that a notebook shows.

        Args:
            name: "clouds": both in their principal components, and the verdict; "curves": along the training; "kernel".
        """
        from mft_engine.figures.watched import draw_watched

        return draw_watched(name, self.run(), width_mm=width_mm)

    def sentences(self, independence: Independence, outliers: Outliers) -> list[str]:
        """What stands beside the verdict, a sentence each."""
        moved, turned = self.moved, self.kernel_change
        kernel = [f"The data kernel has turned by {turned[0]:.2g} (riders' {turned[1]:.2g})."] if turned else []
        far = "hardly moved: the lazy regime, in which every network is consistent" if moved[0] < 0.1 else "moved"
        told = [
            f"Neurons have {far} ({moved[0]:.2g} standard deviations of their start; riders {moved[1]:.2g}).",
            *kernel,
            independence.sentence,
            outliers.sentence,
        ]
        return told + [f"At step {e.step}: {e.sentence}." for e in self.exchanges[-1:]]

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and what stands beside it."""
        found, start = self.compare(), self.initial_check
        n, n_riders = len(self._initial_background), len(self._initial_foreground)
        rows = {
            "neurons, riders, steps": f"{n}, {n_riders}, {self.n_steps}",
            "at the start": verdict_of(start),
            "now": f"<b>{found.verdict or 'no verdict'}</b>: {found!r}",
            "besides": "<br>".join(self.sentences(self.independence(), self.outliers())),
        }
        cells = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items())
        return f"<table>{cells}</table>"

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Inside, the layer's neurons are the riders: the mean-field prediction of the model.

        Raises:
            WatchError: another number of riders than of neurons.
        """
        riders, n = self.foreground, self.layer.n_neurons
        if len(riders) != n:
            raise WatchError(
                f"{len(riders)} riders cannot take the place of {n} neurons; watch with n_foreground = {n}"
            )
        with self._replaced(self.layer.tensors(riders)):
            yield

    @contextmanager
    def thinned(self, n_neurons: int, seed: int = 0) -> Iterator[None]:
        """Inside, only so many of the layer's neurons speak, drawn at random, each for n/n_neurons of them.

        Args:
            n_neurons: 1 to all.
            seed: of the draw.
        """
        n = self.layer.n_neurons
        if not 1 <= n_neurons <= n:
            raise WatchError(f"n_neurons = {n_neurons} is not between 1 and the layer's {n}")
        order = rng.host_generator(seed, Stream.SUBSAMPLE).permutation(n)
        table = self.background
        table[:, self.n_inputs :] *= n / n_neurons
        table[torch.from_numpy(order[n_neurons:]).to(table.device), self.n_inputs :] = 0.0
        with self._replaced(self.layer.tensors(table)):
            yield

    def close(self) -> None:
        """Remove the hooks; the clouds stay as they are, and the folder that is followed gets them."""
        self._riders.close()
        if self._live is not None and not self._riders.fault:
            self._live.write(self.run)

    def __repr__(self) -> str:
        return f"<{len(self._initial_foreground)} riders on {self.layer.n_neurons} neurons after {self.n_steps} steps>"

    @property
    def _device(self) -> torch.device:
        return self._initial_background.device

    def _has_stepped(self) -> None:
        # Riders that could not follow have said so with a warning; a training that runs away is its owner's.
        with suppress(WatchError, ComparisonError):
            if self.record.wants(self.n_steps):
                self._note(self.n_steps)
            if self._live is not None:
                self._live.maybe_write(self.run)

    def _note(self, step: int) -> None:
        self.record.add(step, self.background, self.foreground, self.moved)
        if self._loss is not None:
            self.exchange(self._loss)

    @contextmanager
    def _replaced(self, tensors: Tensors) -> Iterator[None]:
        real = self._riders.real
        own = {name: parameter.detach().clone() for name, parameter in real.items()}
        try:
            with torch.no_grad():
                for name, parameter in real.items():
                    parameter.copy_(tensors[name])
            yield
        finally:
            with torch.no_grad():
                for name, parameter in real.items():
                    parameter.copy_(own[name])


def watch(
    hidden: Modules | Sequence[Sequence[Any]],
    readout: nn.Module | None = None,
    *,
    optimizer: Optimizer,
    activation: Activation | None = None,
    n_foreground: int | None = None,
    initial: Initial | Sequence[Initial | None] | None = None,
    seed: int = 0,
    loss: Loss | None = None,
    folder: str | Path | None = None,
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
            (n, ...), None where there is no bias (gated: gate, its bias, up, its bias, v), or one table of them. Of
            several layers: a list of these, one a layer.
        seed: of the riders and of the permutations.
        loss: a function without arguments that returns the model's loss; asked at some two dozen steps of the training,
            with the network's neurons, with the riders and with a part of the neurons in place: `Watch.exchange`.
        folder: kept up to date while the training goes on, for `mft-lab gui --watch FOLDER`; at most a twentieth of the
            time is spent on it. Of several layers each has a folder in it, layer1, layer2, ...

    Returns:
        a `Watch`, or a tuple of them, one a layer.

    Raises:
        WatchError: a layer, an optimiser or an initial law that cannot be watched; the sentence names it.
    """
    if readout is None:
        if not isinstance(hidden, Sequence) or not all(isinstance(pair, Sequence) for pair in hidden):
            raise WatchError("Give a layer and its readout, or a list of (hidden, readout, activation)")
        options: dict[str, Any] = {"optimizer": optimizer, "n_foreground": n_foreground, "loss": loss}
        pairs = cast(Sequence[Sequence[Any]], hidden)
        laws = initial if isinstance(initial, Sequence) else [initial] * len(pairs)
        if len(laws) != len(pairs):
            raise WatchError(f"There are {len(laws)} initial laws for {len(pairs)} layers: give one a layer")
        found = []
        for number, (pair, law) in enumerate(zip(pairs, laws, strict=True)):
            options |= {"initial": law, "folder": None if folder is None else Path(folder) / f"layer{number + 1}"}
            between = pair[2] if len(pair) > 2 else activation
            found.append(watch(pair[0], pair[1], activation=between, seed=seed + number, **options))
        return tuple(found)
    if isinstance(initial, Sequence):
        raise WatchError("One layer has one initial law: give a function, not a list")
    if not isinstance(optimizer, Optimizer):
        raise WatchError(f"optimizer = {optimizer!r} is none: give the one that trains the model, made before")
    check_options(n_foreground, initial, seed, loss)
    layer = layer_of(hidden, readout, activation)
    n = layer.n_neurons if n_foreground is None else n_foreground
    live = LiveFolder(folder) if folder is not None else None
    return Watch(layer, optimizer, n, initial, seed, loss, live)


def _distance(now: Tensor, start: Tensor) -> float:
    spread = start.std(dim=0, correction=0)
    # A coordinate that did not vary at the start, as of a readout that begins at zero, has its own unit.
    change = (now - start) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return float(change.square().mean().sqrt())
