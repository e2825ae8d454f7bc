"""What can be watched, line by line: riders that start as the neurons stay the neurons, or a sentence says why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mft_engine as mft
from mft_engine.riders.twin import ELEMENTWISE
from mft_engine.riders.watch import Watch

Parts = tuple[nn.Module, Any, nn.Module, Any]

# As many calls as torch.optim has classes that move weights; those that need options of their own to move at all.
OPTIONS: dict[str, dict[str, Any]] = {"SGD": {"lr": 0.05}, "Adadelta": {"lr": 1.0}}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "amsgrad": ("Adam", {"amsgrad": True, "lr": 1e-3}),
    "fused": ("AdamW", {"fused": True, "lr": 1e-3}),
    "one by one": ("Adam", {"foreach": False, "maximize": True, "lr": 1e-3}),
    "capturable": ("NAdam", {"lr": torch.tensor(1e-3), "decoupled_weight_decay": True, "weight_decay": 0.1}),
    "centered": ("RMSprop", {"centered": True, "momentum": 0.9, "lr": 1e-3}),
    "decayed rate": ("Adagrad", {"lr_decay": 0.01, "initial_accumulator_value": 0.1}),
    "damped": ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.1}),
}
RULES = sorted(
    name
    for name, rule in vars(torch.optim).items()
    if isinstance(rule, type) and issubclass(rule, torch.optim.Optimizer) and rule is not torch.optim.Optimizer
)


def plain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def riders_as_neurons(parts: Parts, optimizer: torch.optim.Optimizer) -> Watch:
    """A watch whose riders are the network's own neurons."""
    _, hidden, readout, activation = parts
    rows = mft.watch(hidden, readout, optimizer=optimizer, activation=activation)
    rows.close()
    start = rows.background
    return mft.watch(hidden, readout, optimizer=optimizer, activation=activation, initial=lambda n: start)


def assert_together(watch: Watch, n_steps: int, tolerance: float = 1e-10) -> None:
    assert watch.n_steps == n_steps
    assert (watch.background - watch.initial_background).abs().max() > 1e-4
    # Same gradients by construction: only the rounding of sums of another order differs.
    assert (watch.foreground - watch.background).norm() < tolerance * watch.background.norm()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, shape: tuple[int, ...], n_steps: int = 30) -> None:
    draws = torch.Generator().manual_seed(5)
    for _ in range(n_steps):
        x = torch.randn(shape, generator=draws, dtype=torch.float64)
        optimizer.zero_grad()
        (model(x) - torch.sin(2 * x.mean())).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", [*RULES, *VARIANTS])
def test_every_optimiser_of_torch_is_followed_or_refused_by_name(name: str) -> None:
    rule, options = VARIANTS.get(name, (name, OPTIONS.get(name, {})))
    model = plain()
    trained = [model[0].weight, model[2].weight] if rule == "Muon" else model.parameters()
    optimizer = getattr(torch.optim, rule)(trained, **options)
    if rule not in ELEMENTWISE:
        with pytest.raises(mft.WatchError, match=f"{rule} does not move every weight by its own gradient alone"):
            mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
        return
    watch = riders_as_neurons((model, model[0], model[2], model[1]), optimizer)
    train(model, optimizer, (16, 3))
    assert_together(watch, 30)


class Block(nn.Module):
    """A transformer's block: attention and an MLP in a residual stream, LayerNorm before, dropout behind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.again, self.end = nn.LayerNorm(6), nn.LayerNorm(6), nn.Linear(6, 1)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.up, self.down, self.dropout = nn.Linear(6, 16), nn.Linear(16, 6), nn.Dropout(0.2)

    def forward(self, stream: Tensor) -> Tensor:
        seen = self.norm(stream)
        stream = stream + self.attention(seen, seen, seen, need_weights=False)[0]
        stream = stream + self.dropout(self.down(nn.functional.gelu(self.up(self.again(stream)))))
        return self.end(stream.mean(1))[:, 0]


def decayed(model: nn.Module) -> torch.optim.Optimizer:
    """Weights decay, biases and norms do not, as is customary."""
    wide = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW([{"params": wide, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0, "lr": 5e-3}],
                             1e-3)  # fmt: skip


def test_the_mlp_of_a_transformer_block_with_everything_that_trainings_do() -> None:
    torch.manual_seed(0)
    model = Block().double()
    optimizer = decayed(model)
    watch = riders_as_neurons((model, model.up, model.down, nn.functional.gelu), optimizer)
    warming = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=50)
    for _ in range(50):
        for _ in range(3):
            x = torch.randn(8, 5, 6, dtype=torch.float64)
            ((model(x) - torch.sin(2 * x.mean())).square().mean() / 3).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        warming.step()
    assert_together(watch, 50)


def test_torchs_own_encoder_layer_is_watched_through_its_modules() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 16, dropout=0.0, batch_first=True, norm_first=True).double()
    optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
    watch = riders_as_neurons((layer, layer.linear1, layer.linear2, nn.Sequential(nn.ReLU(), layer.dropout)), optimizer)
    assert watch.layer.activation.is_random
    for _ in range(20):
        x = torch.randn(4, 5, 6, dtype=torch.float64)
        optimizer.zero_grad()
        (layer(x) - x.roll(1, 1)).square().mean().backward()
        optimizer.step()
    assert_together(watch, 20)


def test_every_layer_of_a_deep_net_is_watched_at_once() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 10),
        nn.Tanh(),
        nn.Linear(10, 8),
        nn.ReLU(),
        nn.LayerNorm(8),
        nn.Linear(8, 6),
        nn.SiLU(),
        nn.Linear(6, 1),
    ).double()
    pairs = [(model[0], model[2], model[1]), (model[5], model[7], model[6])]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    rows = [mft.watch(*pair[:2], activation=pair[2], optimizer=optimizer).initial_background for pair in pairs]
    watches = mft.watch(pairs, optimizer=optimizer, initial=[lambda n: rows[0], lambda n: rows[1]])
    train(model, optimizer, (16, 3))
    for watch in watches:
        assert_together(watch, 30)
    with pytest.raises(mft.WatchError, match="1 initial laws for 2 layers"):
        mft.watch(pairs, optimizer=optimizer, initial=[lambda n: rows[0]])


def mixed(device: str, dtype: torch.dtype) -> tuple[Watch, int]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 32), nn.GELU(), nn.Linear(32, 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watch = riders_as_neurons((model, model[0], model[2], model[1]), optimizer)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**8, growth_interval=7)
    n_steps = 0
    for number in range(30):
        x = torch.randn(64, 3, device=device)
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype):
            loss = (model(x)[:, 0] - x[:, 0]).float().square().mean()
        # Once the loss overflows: the scaler leaves that step out and halves its factor.
        scaler.scale(loss * (torch.inf if number == 4 else 1.0)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        before = model[0].weight.detach().clone()
        scaler.step(optimizer)
        scaler.update()
        n_steps += int(not torch.equal(before, model[0].weight))
    return watch, n_steps


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_with_a_gradient_scaler_and_an_overflow(dtype: torch.dtype) -> None:
    watch, n_steps = mixed("cpu", dtype)
    assert n_steps == 29
    # The riders' products are not rounded to half precision, the network's are: 2^-9 of each gradient, and Adam's first
    # steps know only its sign, so that elements near zero differ by whole steps.
    assert_together(watch, 29, 0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and there is none")
def test_riders_live_where_the_layer_lives() -> None:
    watch, n_steps = mixed("cuda", torch.float16)
    assert n_steps == 29 and watch.foreground.is_cuda and watch.compare().verdict == "consistent"
    assert_together(watch, 29, 0.05)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_is_watched(backend: str) -> None:
    model = plain()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch = riders_as_neurons((model, model[0], model[2], model[1]), optimizer)
    with warnings.catch_warnings():
        # Torch says of itself that hooks on tensors are not always compiled.
        warnings.simplefilter("ignore")
        train(torch.compile(model, backend=backend), optimizer, (16, 3))
    assert_together(watch, 30)


class StraightThrough(torch.autograd.Function):
    """A step function that tells its gradient as if it were the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class HidesDelta(torch.autograd.Function):
    """A layer and its readout in one function: nobody sees the error signal of the readout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(x, w, v)
        return torch.tanh(x @ w.T) @ v.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, w, v = ctx.saved_tensors
        phi = torch.tanh(x @ w.T)
        inner = (grads[0] @ v) * (1 - phi**2)
        return inner @ w, inner.T @ x, grads[0].T @ phi


def _hidden(model: nn.Sequential, x: Tensor) -> Tensor:
    return HidesDelta.apply(x, model[0].weight, model[2].weight)


def _elsewhere(model: nn.Sequential, x: Tensor) -> Tensor:
    return model(x) + x @ model[0].weight.sum(0)[:, None]


TOLD: dict[str, tuple[Callable[[nn.Sequential, Tensor], Tensor], str]] = {
    "a function that hides delta": (_hidden, "error signals were not seen"),
    "a weight used elsewhere too": (_elsewhere, "weights tied to another layer"),
    "another activation": (lambda model, x: model[2](torch.sin(model[0](x))), "is `activation` what lies between"),
    "a readout used twice": (lambda model, x: model(x) + model[2](model[1](model[0](-x))), "used twice"),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_shows_on_the_way_stops_the_watch_and_not_the_training(case: str) -> None:
    forward, words = TOLD[case]
    model = plain()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
    before = model[0].weight.detach().clone()
    with pytest.warns(UserWarning, match=words) as told:
        for _ in range(3):
            optimizer.zero_grad()
            forward(model, torch.randn(8, 3, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
    assert len(told) == 1 and not torch.equal(before, model[0].weight)
    with pytest.raises(mft.WatchError, match=words):
        watch.compare()


def test_a_straight_through_function_is_followed_as_it_is() -> None:
    model = plain()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    parts: Parts = (model, model[0], model[2], StraightThrough.apply)
    watch = riders_as_neurons(parts, optimizer)
    stepwise = nn.Sequential()
    stepwise.forward = lambda x: model[2](StraightThrough.apply(model[0](x)))  # type: ignore[method-assign]
    train(stepwise, optimizer, (16, 3))
    assert_together(watch, 30)
