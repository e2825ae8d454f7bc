"""The registry of tasks: a new task is one file and one line here."""

from __future__ import annotations

import difflib
from dataclasses import replace

import numpy as np

from mft_engine.sections import TaskSection
from mft_engine.tasks.compositional import build_continuous_xor
from mft_engine.tasks.dataset import build_dataset
from mft_engine.tasks.digits import build_digits
from mft_engine.tasks.directions import build_cubic_teacher, build_parity, build_staircase
from mft_engine.tasks.expression import Expression, ExpressionError, compile_expression
from mft_engine.tasks.modular import build_modular_addition
from mft_engine.tasks.planar import PLANAR_TARGETS, build_expression, build_named, build_petals
from mft_engine.tasks.plugins import Builder, enabled_plugins, load_plugins
from mft_engine.tasks.task import OwnPoints, Task, TaskError

REGISTRY: dict[str, Builder] = {
    **dict.fromkeys(PLANAR_TARGETS, build_named),
    "petals": build_petals,
    "expression": build_expression,
    "dataset": build_dataset,
    "parity": build_parity,
    "staircase": build_staircase,
    "cubic-teacher": build_cubic_teacher,
    "continuous-xor": build_continuous_xor,
    "digits": build_digits,
    "modular-addition": build_modular_addition,
}


def build_task(section: TaskSection, seed: int = 0) -> Task:
    """The task that a recipe names.

    Args:
        seed: the recipe's, for tasks that show another part of their data to each seed.

    Raises:
        TaskError: an unknown name (the nearest is given), a bad parameter, or a target that is not finite.
    """
    builder = REGISTRY.get(section.name)
    if builder is None:
        near = difflib.get_close_matches(section.name, REGISTRY, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(REGISTRY)}"
        raise TaskError(f"task.name = {section.name!r} is no known task{hint}")
    task = builder(section.name, section.parameters)
    _check_finite(task)
    return replace(task, points=task.split(seed)) if task.split is not None else task


def _check_finite(task: Task) -> None:
    if task.points is not None:  # looked at when they were read
        return
    steps = np.linspace(-4.0, 4.0, 17) + 0.01
    probe = np.zeros((17 * task.n_inputs + 289, task.n_inputs))
    for j in range(task.n_inputs):
        probe[17 * j : 17 * (j + 1), j] = steps
    if task.n_inputs >= 2:
        probe[-289:, :2] = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    values = np.asarray(task.target(probe), dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        place = ", ".join(f"x{j + 1} = {v:.3g}" for j, v in enumerate(probe[bad][0]) if v)
        raise TaskError(f"The target {task.formula} is not a finite number at {place or 'the origin'}")


_found, PLUGIN_FAULTS = load_plugins(REGISTRY, _check_finite, enabled_plugins())
REGISTRY.update(_found)

__all__ = [
    "PLUGIN_FAULTS",
    "REGISTRY",
    "Expression",
    "ExpressionError",
    "OwnPoints",
    "Task",
    "TaskError",
    "build_task",
    "compile_expression",
]
