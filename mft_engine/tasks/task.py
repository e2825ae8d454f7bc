"""What a task is: data only, no behaviour of its own beyond its target function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mft_engine.recipe import RecipeError


class TaskError(RecipeError):
    """A task that cannot be built; the message names the parameter and what is allowed."""


@dataclass(frozen=True)
class OwnPoints:
    """Data that a task brings along instead of a measure.

    Attributes:
        inputs (n_train, d), targets (n_train,) or (n_train, n_out): to learn from.
        test_inputs (n_test, d), test_targets (n_test,) or (n_test, n_out): held back; n_test may be 0.
        source: where they come from, for people.
        total_weight: of all n_train points together; 1 makes the loss a mean over them.
    """

    inputs: np.ndarray
    targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    source: str
    total_weight: float = 1.0


@dataclass(frozen=True)
class TorusGrid:
    """Inputs on two circles of radius sqrt 2, on a grid of n_angles x n_angles angles."""

    n_angles: int


@dataclass(frozen=True)
class NamedFunction:
    """A part of the target that has a name: (n_points, d) inputs to (n_points,) values of mean square 1."""

    name: str
    of: Callable[[Any], Any]


@dataclass(frozen=True)
class Task:
    """A function to learn and the measure of its inputs.

    Attributes:
        name, title: in the registry, and for people.
        formula: the target as a person would write it.
        n_inputs: d.
        target: (n_points, d) numpy array or torch tensor to (n_points,) of the same kind.
        inputs: "gaussian" x ~ N(0, I_d); "signs": every coordinate +1 or -1 with equal chances; or a grid on the torus.
        points: the task's own data, which then are its measure; `target` is only a picture of them elsewhere.
        n_relevant: the target depends on the first so many inputs alone (0: on all, or unknown).
        functions: what the target is composed of; neurons of upper layers are shown by their overlaps with them.
        is_classification: targets name classes, so that accuracies can be told (`accuracy.py` says how).
        picture: (n, n), signed, row 0 at the bottom: stands for the task where a map of the target would say little.
        n_out: readouts of a neuron; above 1 the target is (n_points, n_out), one column a class.
        split: seed -> the task's own data, where each seed shows another part of it.
        projections: name -> (n_inputs,) direction, in which a cloud of this task is worth looking at.
        modulus: P of an addition modulo P, else 0.
        images: -> (n, n_inputs) orders of the inputs that leave the target's whole table as it is.
        data: what was found out about a file of data (dialect, target, inputs, what was left out), for the summary.
    """

    name: str
    title: str
    formula: str
    n_inputs: int
    target: Callable[[Any], Any]
    inputs: Literal["gaussian", "signs"] | TorusGrid = "gaussian"
    points: OwnPoints | None = None
    n_relevant: int = 0
    functions: tuple[NamedFunction, ...] = ()
    is_classification: bool = False
    picture: np.ndarray | None = None
    n_out: int = 1
    split: Callable[[int], OwnPoints] | None = None
    projections: Mapping[str, np.ndarray] = field(default_factory=dict)
    modulus: int = 0
    images: Callable[[], np.ndarray] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_gaussian(self) -> bool:
        """Whether inputs are N(0, I_d), as the exact solvers need it."""
        return self.points is None and self.inputs == "gaussian"


def no_more(name: str, parameters: Any, allowed: tuple[str, ...]) -> None:
    """Refuse parameters that a task does not have.

    Raises:
        TaskError: names the first one and those that there are.
    """
    for parameter in parameters:
        if parameter not in allowed:
            known = f"it takes {', '.join(allowed)}" if allowed else "it takes no parameters"
            raise TaskError(f"task.{parameter}: the task {name!r} has no such parameter; {known}")


def whole(parameters: Any, name: str, default: int, low: int, high: int, what: str) -> int:
    """A whole-number parameter within limits.

    Raises:
        TaskError: another value; says what is allowed.
    """
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TaskError(f"task.{name} = {value!r}: {what} is a whole number from {low} to {high}")
    return value
