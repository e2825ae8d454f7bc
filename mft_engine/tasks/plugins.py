"""Tasks of other packages: entry points of the group `mft_lab.tasks`, each a builder (name, parameters) -> Task.

Installed is not enabled: the code of a plug-in runs only where the environment variable MFT_LAB_PLUGINS names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib import metadata
from typing import Any

from mft_engine.tasks.task import Task, TaskError

GROUP = "mft_lab.tasks"
ENABLED = "MFT_LAB_PLUGINS"

Builder = Callable[[str, Mapping[str, Any]], Task]


def enabled_plugins() -> frozenset[str]:
    """The names in MFT_LAB_PLUGINS, which are separated by commas."""
    return frozenset(name.strip() for name in os.environ.get(ENABLED, "").split(",") if name.strip())


def waiting_plugins() -> tuple[str, ...]:
    """A sentence for each plug-in that is installed and not enabled; none of their code is run."""
    enabled = enabled_plugins()
    return tuple(
        f"The task plug-in {entry.name!r} ({entry.value}) is installed and not enabled: set {ENABLED}={entry.name}"
        for entry in metadata.entry_points(group=GROUP)
        if entry.name not in enabled
    )


def load_plugins(
    taken: Mapping[str, Any], check: Callable[[Task], None], enabled: Collection[str]
) -> tuple[dict[str, Builder], tuple[str, ...]]:
    """The enabled plug-ins that load and build their task without parameters, and a sentence for each that does not.

    Args:
        taken: names that are taken already; a plug-in cannot replace them.
        check: raises for a task that cannot be used.
        enabled: names of the plug-ins that may run; no other is imported.
    """
    found: dict[str, Builder] = {}
    faults: list[str] = []
    entries = [entry for entry in metadata.entry_points(group=GROUP) if entry.name in enabled] if enabled else []
    for name in sorted(set(enabled) - {entry.name for entry in entries}):
        faults.append(f"{ENABLED} names {name!r}: no installed package brings a task plug-in of that name")
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
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
