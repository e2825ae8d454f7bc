"""Riders for a training that nobody watched: through its checkpoints they come where riders came that were there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mft_engine as mft
from mft_engine.runs.watched import read_watched

X = torch.randn(96, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def rule(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 1e-2)


def trained(every: int, n_steps: int = 40) -> tuple[nn.Sequential, list[tuple[int, dict[str, Tensor]]], Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 1)).double()
    optimizer = rule(model.parameters())
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
    kept = [(0, copy.deepcopy(model.state_dict()))]
    for step in range(1, n_steps + 1):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        if step % every == 0:
            kept.append((step, copy.deepcopy(model.state_dict())))
    return model, kept, watch


def loss_of(model: nn.Module) -> Tensor:
    return (model(X)[:, 0] - X[:, 0] * X[:, 1]).square().mean()


def afterwards(model: nn.Sequential, kept: list[tuple[int, dict[str, Tensor]]], **options: Any) -> Any:
    options = {"optimizer": rule, **options}
    return mft.watch_checkpoints(
        model, model[0], model[2], activation=model[1], checkpoints=kept, loss=lambda: loss_of(model), **options
    )


def test_through_every_step_riders_come_where_riders_came_that_were_there() -> None:
    model, kept, watch = trained(1)
    end = copy.deepcopy(model.state_dict())
    found = afterwards(model, kept)
    # The same gradients at the same steps; what differs is the order of sums.
    assert torch.allclose(found.foreground, watch.foreground, rtol=0, atol=1e-10)
    assert found.error < 1e-10 and found.compare().verdict == watch.compare().verdict
    assert all(torch.equal(end[name], value) for name, value in model.state_dict().items())


def test_fewer_checkpoints_are_less_exact_and_say_so() -> None:
    errors = []
    for every in (2, 8):
        model, kept, _ = trained(every)
        found = afterwards(model, kept)
        assert f"{100 * found.error:.2g} % of their way" in found.sentence
        errors.append(found.error)
    assert 0 < errors[0] < errors[1] and errors[0] < 0.2


def test_one_checkpoint_is_a_frozen_field(tmp_path: Any) -> None:
    model, kept, _ = trained(40)
    found = afterwards(model, kept[-1:])
    assert found.error is None and "frozen field" in found.sentence and found.n_steps == 40
    run = read_watched(found.save(tmp_path / "later"))
    assert run.about["sentences"] == [found.sentence] and run.spectra and run.now is not None


def test_noisy_riders_in_no_field_have_the_spread_of_their_decay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    rate, decay, temperature, n = 0.05, 1.0, 0.3, 400
    found = mft.watch_checkpoints(
        model,
        model[0],
        model[2],
        activation=model[1],
        checkpoints=[(200, model.state_dict())],
        loss=lambda: 0.0 * model(torch.ones(4, 1, dtype=torch.float64)).sum(),
        optimizer=lambda p: torch.optim.SGD(p, rate, weight_decay=decay),
        temperature=temperature,
        n_foreground=n,
    )
    # x -> (1 - rate decay) x + sqrt(2 rate T) z has the variance (T/decay) / (1 - rate decay/2); 200 steps are ten
    # times its memory. The variance of 1,200 normal numbers has a relative error of sqrt(2/1200) = 4 %: four of them.
    expected = temperature / decay / (1 - rate * decay / 2)
    assert float(found.foreground.var()) == pytest.approx(expected, rel=0.16)


def test_the_frozen_field_of_sampled_networks_is_the_mean_over_checkpoints() -> None:
    model, kept, _ = trained(10)
    start = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def way(*checkpoints: tuple[int, dict[str, Tensor]]) -> Tensor:
        rule = {"optimizer": lambda p: torch.optim.SGD(p, 1e-6), "temperature": 1e-30}
        found = afterwards(model, list(checkpoints), n_foreground=8, initial=lambda n: start, **rule)
        assert ("one checkpoint" if len(checkpoints) < 3 else "mean field of 2 checkpoints") in found.sentence
        return (found.foreground - start) / found.n_steps

    first, second = kept[-2][1], kept[-1][1]
    ways = way((1, first)), way((0, kept[0][1]), (1, second))
    # Gradients are so small a step that two are one twice as long: the second order is 1e-6 of the first.
    assert torch.allclose(way((0, kept[0][1]), (1, first), (2, second)), (ways[0] + ways[1]) / 2, rtol=1e-4, atol=1e-11)
    assert not torch.allclose(ways[0], ways[1], rtol=1e-2, atol=1e-11)


def test_in_the_field_of_one_moment_noise_is_no_evidence() -> None:
    model, kept, _ = trained(40)
    options = {"temperature": 0.05, "optimizer": lambda p: torch.optim.SGD(p, 0.1)}
    alone = afterwards(model, kept[-1:], initial=lambda n: 9 * torch.ones(n, 4), **options).compare()
    assert alone.verdict is None and "give several checkpoints" in alone.why
    more = afterwards(model, [*kept, (80, kept[-1][1])], initial=lambda n: 9 * torch.ones(n, 4), **options).compare()
    assert more.verdict == "inconsistent"


def test_what_cannot_be_done_afterwards_is_a_sentence() -> None:
    model, kept, _ = trained(40)
    with pytest.raises(mft.WatchError, match="growing steps"):
        afterwards(model, kept[::-1])
    with pytest.raises(mft.WatchError, match="without momentum"):
        afterwards(model, kept, temperature=0.1)
    with pytest.raises(mft.WatchError, match="LBFGS does not move"):
        afterwards(model, kept, optimizer=lambda p: torch.optim.LBFGS(p))
    with pytest.raises(mft.WatchError, match="used 2 times"):
        mft.watch_checkpoints(model, model[0], model[2], activation=model[1], checkpoints=kept, optimizer=rule,
                              loss=lambda: loss_of(model) + loss_of(model))  # fmt: skip


def test_a_rejection_between_checkpoints_that_are_too_far_apart_is_no_verdict() -> None:
    model, kept, _ = trained(40)
    found = afterwards(model, kept, initial=lambda n: torch.zeros(n, 4, dtype=torch.float64))
    assert found.error is not None and found.error > 0.3
    told = found.compare()
    assert told.p_value_all <= 0.01 and told.verdict is None and "Give more checkpoints" in told.why


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no checkpoints": ({"checkpoints": []}, "growing steps"),
    "a number": ({"checkpoints": 5}, "growing steps"),
    "another model": ({"checkpoints": [(0, {})]}, "checkpoint of step 0 is none of this model"),
    "loss": ({"loss": 3}, "loss = 3 cannot be called"),
    "a loss that is no tensor": ({"loss": lambda: 3.0}, "as a tensor of one number"),
    "an optimiser that was made": ({"optimizer": rule([torch.zeros(1, requires_grad=True)])}, "from a list of tensors"),
    "initial": ({"initial": 3}, "initial = 3 cannot be called"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_training_is_refused(case: str) -> None:
    options, words = REFUSED[case]
    model, kept, _ = trained(40, 1)
    options = {"checkpoints": kept, "loss": lambda: loss_of(model), "optimizer": rule, **options}
    with pytest.raises(mft.WatchError, match=words) as told:
        mft.watch_checkpoints(model, model[0], model[2], activation=model[1], **options)
    assert "\n" not in str(told.value)
