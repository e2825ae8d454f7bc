"""What a task is: data only, no behaviour of its own beyond its target function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mft_engine.recipe import RecipeError


class TaskError(RecipeError):
    """A task that cannot be built; the message names the parameter and what is allowed."""


@dataclass(frozen=True)
class Task:
    """A function to learn and the measure of its inputs.

    Attributes:
        name, title: in the registry, and for people.
        formula: the target as a person would write it.
        n_inputs: d; inputs are x ~ N(0, I_d).
        target: (n_points, d) numpy array or torch tensor to (n_points,) of the same kind.
    """

    name: str
    title: str
    formula: str
    n_inputs: int
    target: Callable[[Any], Any]
