"""A second optimiser of the user's own class, with a state of its own, that moves the riders."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from mft_engine.riders.neurons import WatchError

# Rules that treat every number alike and by itself: a rider's update then depends on nothing but its own gradients.
ELEMENTWISE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Rprop", "ASGD",
)  # fmt: skip


class Twin:
    """The optimiser's rule on other tensors.

    Args:
        optimizer: the user's.
        pairs: (a parameter of the network, the riders' tensor that corresponds to it).

    Raises:
        WatchError: an optimiser whose rule is not neuron by neuron, or that has already made steps.
    """

    def __init__(self, optimizer: Optimizer, pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
        rule = type(optimizer)
        if rule.__name__ not in ELEMENTWISE or not rule.__module__.startswith("torch.optim"):
            raise WatchError(
                f"{rule.__name__} does not move every weight by its own gradient alone, as riders must; "
                f"these optimisers can be followed: {', '.join(ELEMENTWISE)}"
            )
        if any(_has_moved(optimizer.state.get(real, {})) for real, _ in pairs):
            raise WatchError("The optimiser has already made steps: begin to watch before the first one")
        self._places: list[int] = []
        groups = []
        for place, group in enumerate(optimizer.param_groups):
            members = [rider for real, rider in pairs if any(real is parameter for parameter in group["params"])]
            if members:
                groups.append({**_options(group), "params": members})
                self._places.append(place)
        if not groups:
            raise WatchError("The optimiser moves none of the layer's parameters, so there is no training to watch")
        # Some rules begin their state from an argument of their own, which groups do not tell (Adagrad's first sum).
        known = inspect.signature(rule).parameters
        options = {name: value for name, value in optimizer.defaults.items() if name in known and name != "params"}
        self._twin = rule(groups, **options)  # type: ignore[arg-type]

    def step(self, optimizer: Optimizer) -> None:
        """One step, with the hyperparameters that the user's optimiser has at this moment."""
        for mine, place in zip(self._twin.param_groups, self._places, strict=True):
            mine.update(_options(optimizer.param_groups[place]))
        # Fused optimisers are told by the gradient scaler to do nothing when a gradient has overflowed.
        if hasattr(optimizer, "found_inf"):
            self._twin.found_inf = optimizer.found_inf  # type: ignore[attr-defined]
            self._twin.grad_scale = None  # type: ignore[attr-defined]
        self._twin.step()


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


def _has_moved(state: dict[str, Any]) -> bool:
    # Some rules set up their state, with a count of zero, before the first step.
    return float(state.get("step", 0)) > 0 or state.get("momentum_buffer") is not None
