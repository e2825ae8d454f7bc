"""Tasks of other packages: entry points of the group `mft_lab.tasks`, each a builder (name, parameters) -> Task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from mft_engine.tasks.task import Task, TaskError

GROUP = "mft_lab.tasks"

Builder = Callable[[str, Mapping[str, Any]], Task]


def load_plugins(taken: Mapping[str, Any], check: Callable[[Task], None]) -> tuple[dict[str, Builder], tuple[str, ...]]:
    """The plug-ins that load and build their task without parameters, and a sentence for each that does not.

    Args:
        taken: names that are taken already; a plug-in cannot replace them.
        check: raises for a task that cannot be used.
    """
    found: dict[str, Builder] = {}
    faults: list[str] = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        who = f"The task plug-in {entry.name!r} ({entry.value})"
        if entry.name in taken or entry.name in found:
            faults.append(f"{who} is left out: there is a task of that name already")
            continue
        try:
            builder = _guarded(entry.load(), who)
            task = builder(entry.name, {})
            if not isinstance(task, Task):
                raise TypeError(f"its builder returns {type(task).__name__}, not a Task")
            check(task)
        except Exception as error:  # whatever other people's code raises, this program starts
            faults.append(f"{who} is left out: {error or type(error).__name__}")
            continue
        found[entry.name] = builder
    return found, tuple(faults)


def _guarded(builder: Builder, who: str) -> Builder:
    """The builder with every fault of it as a sentence."""
    if not callable(builder):
        raise TypeError("it is not a function (name, parameters) -> Task")

    def build(name: str, parameters: Mapping[str, Any]) -> Task:
        try:
            return builder(name, parameters)
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"{who} failed: {error or type(error).__name__}") from error

    return build
