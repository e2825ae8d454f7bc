"""How often a training waits for a number from the device: once for many steps, never within them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mft_engine.dynamics import langevin
from mft_engine.dynamics.hyper import Hyper
from mft_engine.experiment.background import Background
from mft_engine.kernels import BackgroundResult
from mft_engine.recipe import Recipe

# What makes the host wait until the device has come so far.
WAITING = ("item", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__", "cpu")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The calls that would wait, in order."""
    called: list[str] = []

    def counting(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return original(self, *args, **kwargs)

        return call

    for name in WAITING:
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    yield called


@pytest.mark.parametrize("change", [{}, {"training.batch_size": 32}, {"training.rule_rotates": True}])
def test_steps_between_two_looks_wait_once_for_their_losses_and_their_record(
    waits: list[str], change: dict[str, Any]
) -> None:
    recipe = Recipe().replace({"network.n_neurons": 64, "training.n_steps": 1000, "training.step_size": 1e-3, **change})
    background, hyper = Background(recipe, kernel="reference"), Hyper.of(recipe)
    state, _ = langevin.advance(background.state, background.problem, hyper, 450)
    assert langevin.LOOKS_EVERY[1] == (100, 2000) and state.step == 450
    waits.clear()
    # From step 450 to 500, where no look is due: one record.
    state, info = langevin.advance(state, background.problem, hyper, 50)
    assert len(info.records) == 1 and state.step == 500
    assert waits == ["tolist"]
    # As many for 400 more: eight chunks, and looks at 500, 600, 700 and 800.
    waits.clear()
    langevin.advance(state, background.problem, hyper, 400)
    assert waits.count("tolist") == 8 and len(waits) <= 8 + 4 * 2


def test_losses_and_the_first_bad_step_are_told_in_one_trip(waits: list[str]) -> None:
    losses, finite = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64), torch.tensor([True, False, False])
    none = torch.zeros(1)
    assert BackgroundResult(none, none, losses, none, finite, 40).told() == ([3.0, 2.0, 1.0], 41)
    assert BackgroundResult(none, none, losses, none, finite | True, 40).told()[1] is None
    assert waits == ["tolist", "tolist"]
