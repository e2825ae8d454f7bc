"""Riders on somebody's own training: they are the network's neurons, and the network does not notice them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mft_engine as mft

OPTIMISERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, 1e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-3),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
}


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def linear() -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    return model, model[0], model[2], model[1], (16, 3)


def gated() -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    model = Gated()
    return model, (model.gate, model.up), model.down, nn.functional.silu, (4, 5, 3)


def convolution() -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.Conv2d(6, 2, 3))
    return model, model[0], model[2], model[1], (4, 1, 8, 8)


def pointwise() -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    model = nn.Sequential(nn.Conv1d(2, 6, 1, bias=False), nn.GELU(), nn.Conv1d(6, 2, 1))
    return model, model[0], model[2], model[1], (4, 2, 8)


def flattened() -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(96, 3))
    return model, model[0], model[2], model[1], (4, 1, 6, 6)


LAYERS = {f.__name__: f for f in (linear, gated, convolution, pointwise, flattened)}


def train(model: nn.Module, optimizer: Any, shape: tuple[int, ...], n_steps: int, *, accumulate: int = 1) -> None:
    inputs = torch.Generator().manual_seed(5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9995)
    for _ in range(n_steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            x = torch.randn(shape, generator=inputs, dtype=torch.float64)
            y = model(x)
            loss = ((y - torch.sin(2 * x.mean())) ** 2).mean() / accumulate
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        scheduler.step()


def made(kind: str) -> tuple[nn.Module, Any, nn.Module, Any, tuple[int, ...]]:
    torch.manual_seed(1)
    model, hidden, readout, activation, shape = LAYERS[kind]()
    model.double()
    return model, hidden, readout, activation, shape


def stay_together(kind: str, rule: str, n_steps: int) -> None:
    model, hidden, readout, activation, shape = made(kind)
    optimizer = OPTIMISERS[rule](model.parameters())
    first = mft.watch(hidden, readout, optimizer=optimizer, activation=activation)
    rows = first.background
    first.close()
    watch = mft.watch(hidden, readout, optimizer=optimizer, activation=activation, initial=lambda n: rows)
    train(model, optimizer, shape, n_steps, accumulate=1 if kind != "pointwise" else 3)
    assert watch.n_steps == n_steps
    assert (watch.background - rows).abs().max() > 1e-3
    # Same gradients by construction: only the rounding of sums of another order differs, amplified by 1,000 steps.
    difference = (watch.foreground - watch.background).norm() / watch.background.norm()
    assert difference < 1e-10


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", OPTIMISERS)
def test_riders_that_start_as_the_neurons_stay_the_neurons(kind: str, rule: str) -> None:
    stay_together(kind, rule, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", OPTIMISERS)
def test_riders_stay_the_neurons_for_a_thousand_steps(kind: str, rule: str) -> None:
    stay_together(kind, rule, 1000)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_watched_model_is_the_unwatched_one_bit_for_bit(kind: str) -> None:
    ends, draws = [], []
    for is_watched in (False, True):
        model, hidden, readout, activation, shape = made(kind)
        optimizer = OPTIMISERS["Adam"](model.parameters())
        keys = list(model.state_dict())
        if is_watched:
            mft.watch(hidden, readout, optimizer=optimizer, activation=activation, n_foreground=5)
        train(model, optimizer, shape, 50)
        assert list(model.state_dict()) == keys
        ends.append(copy.deepcopy(model.state_dict()))
        draws.append(torch.rand(4))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert torch.equal(draws[0], draws[1])


def clouds_of(n: int, n_steps: int = 600, **options: Any) -> Any:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, n), nn.Tanh(), nn.Linear(n, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], **options)
    for _ in range(n_steps):
        x = torch.randn(128, 2)
        loss = ((model(x)[:, 0] - x[:, 0] * x[:, 1]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, watch


def test_an_ordinary_layer_is_consistent_with_its_riders() -> None:
    _, watch = clouds_of(128)
    assert watch.initial_check.verdict == "consistent"
    found = watch.compare()
    assert found.verdict == "consistent" and found.p_value_all > 0.01
    assert watch.names == ("w1", "w2", "b", "v1") and watch.foreground.shape == (128, 4)


def test_tied_pairs_keep_the_law_and_are_told_to_be_dependent() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 256), nn.Tanh(), nn.Linear(256, 1))
    with torch.no_grad():
        for parameter, cut in ((model[0].weight, 0), (model[0].bias, 0), (model[2].weight, 1)):
            first, second = parameter.chunk(2, dim=cut)
            second.copy_(first)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
    for _ in range(50):
        x = torch.randn(128, 2)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean().backward()
        optimizer.step()
    found = watch.compare()
    assert found.verdict == "consistent" and found.n_background == 128
    assert "128 are copies of others" in watch.independence().sentence
    assert watch.independence().p_value < 0.01 and "not independent" in watch.independence().sentence


def test_a_notebook_shows_verdict_start_and_independence() -> None:
    _, watch = clouds_of(64, 50)
    assert 0 < watch.moved[0] < 1 and watch.independence().p_value > 0.01
    shown = watch._repr_html_()
    assert "consistent" in shown and "no groups" in shown and "64, 64, 50" in shown


def test_a_doubled_initial_scale_is_noticed() -> None:
    def doubled(n: int) -> tuple[Tensor, Tensor, Tensor]:
        unit = torch.rand(n, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return 2 * unit[:, :2] / math.sqrt(2), 2 * unit[:, 2] / math.sqrt(2), 2 * unit[:, 3:] / math.sqrt(128)

    _, watch = clouds_of(128, 100, initial=doubled)
    assert watch.initial_check.verdict != "consistent" and watch.compare().verdict != "consistent"


def test_exchange_puts_the_riders_in_place_and_takes_them_out() -> None:
    model, watch = clouds_of(64, 20)
    before, x = copy.deepcopy(model.state_dict()), torch.randn(8, 2)
    riders = watch.foreground
    with watch.exchanged():
        assert torch.equal(watch.background, riders)
    with torch.no_grad(), watch.thinned(64):
        assert torch.allclose(model(x), nn.functional.linear(torch.tanh(model[0](x)), model[2].weight, model[2].bias))
    with watch.thinned(16):
        assert int((watch.background[:, 3] != 0).sum()) == 16
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_several_layers_are_watched_at_once() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    with pytest.raises(mft.WatchError, match="activation"):
        mft.watch([(model[0], model[2])], optimizer=optimizer)
    lower, _ = mft.watch([(model[0], model[2], torch.relu), (nn.Linear(2, 3), nn.Linear(3, 1), torch.relu)][:1] * 2,
                         optimizer=optimizer)  # fmt: skip
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(8, 2)).square().mean().backward()
        optimizer.step()
    assert lower.n_steps == 5 and lower.foreground.shape == (32, 2 + 1 + 16)


def test_dropout_between_is_the_riders_own() -> None:
    torch.manual_seed(0)
    between = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(nn.Linear(2, 64), between, nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=between)
    for _ in range(100):
        x = torch.randn(64, 2)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0]).square().mean().backward()
        optimizer.step()
    assert watch.n_steps == 100 and watch.compare().verdict == "consistent"


def _refusals() -> dict[str, tuple[Callable[[], Any], str]]:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    tied = nn.Linear(4, 4)
    tied.weight = a.weight
    sgd = torch.optim.SGD([*a.parameters(), *b.parameters()], 0.1)
    weighted = nn.Sequential(nn.PReLU())
    return {
        "tied": (lambda: mft.watch(a, tied, optimizer=sgd, activation=torch.relu), "tied"),
        "same": (lambda: mft.watch(a, a, optimizer=sgd, activation=torch.relu), "twice"),
        "module": (lambda: mft.watch(nn.LSTM(2, 4), b, optimizer=sgd, activation=torch.relu), "LSTM cannot be watched"),
        "sizes": (lambda: mft.watch(nn.Linear(2, 3), b, optimizer=sgd, activation=torch.relu), "reads 4 features"),
        "optimiser": (
            lambda: mft.watch(a, b, optimizer=torch.optim.LBFGS(a.parameters()), activation=torch.relu),
            "LBFGS does not move every weight",
        ),
        "others": (
            lambda: mft.watch(nn.Linear(4, 4), nn.Linear(4, 4), optimizer=sgd, activation=torch.relu),
            "moves none",
        ),
        "activation": (lambda: mft.watch(a, b, optimizer=sgd, activation=weighted), "numbers of its own"),
        "no optimiser": (lambda: mft.watch(a, b, optimizer=None, activation=torch.relu), "optimizer = None is none"),  # type: ignore[arg-type]
        "riders": (
            lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, n_foreground=2.5),  # type: ignore[arg-type]
            "n_foreground = 2.5 is no number",
        ),
        "seed": (lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, seed=-1), "seed = -1 is no seed"),
        "loss": (
            lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, loss=3),  # type: ignore[arg-type]
            "loss = 3 cannot be called",
        ),
        "a number": (
            lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, initial=lambda n: 3),
            "asked for 4 neurons and gave",
        ),
        "words": (
            lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, initial=lambda n: "normal"),
            "gave str where tensors",
        ),
        "infinite": (
            lambda: mft.watch(
                a, b, optimizer=sgd, activation=torch.relu, initial=lambda n: torch.full((n, 9), torch.inf)
            ),
            "not finite",
        ),
        "initial": (
            lambda: mft.watch(a, b, optimizer=sgd, activation=torch.relu, initial=lambda n: torch.zeros(n, 3)),
            "3 numbers a neuron",
        ),
    }


@pytest.mark.parametrize("case", _refusals())
def test_what_cannot_be_watched_is_refused_in_a_sentence(case: str) -> None:
    ask, words = _refusals()[case]
    with pytest.raises(mft.WatchError, match=words):
        ask()


def _broken(loss: Callable[[nn.Sequential, Tensor], Tensor], between: Callable[[nn.Module], None] | None = None) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=torch.tanh)
    for _ in range(2):
        optimizer.zero_grad()
        loss(model, torch.randn(8, 2)).backward()
        if between is not None:
            between(model)
        optimizer.step()
    return watch


def test_a_readout_used_twice_is_told_and_the_training_goes_on() -> None:
    with pytest.warns(UserWarning, match="used twice in a forward pass"):
        watch = _broken(lambda model, x: model(model(x)).square().mean())
    with pytest.raises(mft.WatchError, match="used twice"):
        watch.compare()


def test_a_wrong_activation_is_told() -> None:
    with pytest.warns(UserWarning, match="is `activation` what lies between"):
        _broken(lambda model, x: model[2](torch.relu(model[0](x))).square().mean())


def test_gradients_clipped_by_value_are_told() -> None:
    def clip(model: nn.Module) -> None:
        nn.utils.clip_grad_value_(model.parameters(), 1e-4)

    with pytest.warns(UserWarning, match="more than a common factor"):
        _broken(lambda model, x: model(x).square().mean(), clip)


def test_a_readout_that_bypasses_its_module_is_told() -> None:
    with pytest.warns(UserWarning, match="not seen"):
        _broken(lambda model, x: (torch.tanh(model[0](x)) @ model[2].weight.T).square().mean())
