"""All benchmarks in one run: kernels, comparison, theory, the whole program, the window; beside peers and errors.

The measurements themselves lie in `benchmarks/` (beside the packages in a checkout, inside the engine in a wheel);
every part there has `measure(*, quick) -> dict` and `markdown(document) -> str`.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from mft_engine.resources import installed_folder

PARTS = ("kernels", "comparison", "theory", "program", "window")
# What `--device` asks for instead.
ON_A_GPU = ("gpu",)


def benchmarks_folder() -> Path:
    """Where the benchmark modules are.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    return installed_folder("benchmarks", "kernels.py")


def load_part(part: str) -> ModuleType:
    """A benchmark module, imported once."""
    name = f"mft_benchmark_{part}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, benchmarks_folder() / f"{part}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up while it is being executed.
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def machine() -> dict[str, Any]:
    """What the numbers belong to: the processor as the system names it, its cores, memory, and how busy it was."""
    cpuinfo = Path("/proc/cpuinfo")
    model = platform.processor() or platform.machine()
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(psutil.getloadavg()[0], 2),
        "date": datetime.date.today().isoformat(),
    }


def measure(
    *, quick: bool = False, parts: tuple[str, ...] = PARTS, report: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run the parts, one after the other, in this process (program and window in processes of their own).

    Nothing else should run meanwhile: `machine.load` at the start and `load_after` tell whether that was so.

    Args:
        quick: small sizes and few repeats, some ten seconds; the figures are then good for nothing but a check.
        parts: of `PARTS`.
        report: told the name of each part before it begins.
    """
    document: dict[str, Any] = {"schema": "mft-lab/benchmark/1", "quick": quick, "machine": machine()}
    for part in parts:
        if report is not None:
            report(part)
        document[part] = load_part(part).measure(quick=quick)
    document["load_after"] = round(psutil.getloadavg()[0], 2)
    return document


def markdown(document: dict[str, Any]) -> str:
    """The machine, then every part's table under its heading."""
    here = document["machine"]
    head = (
        f"{here['date']}: {here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}, Python "
        f"{here['python']}; load {here['load']} before and {document['load_after']} after."
    )
    sections = [
        f"## {part.capitalize()}\n\n{load_part(part).markdown(document[part])}"
        for part in (*PARTS, *ON_A_GPU)
        if part in document
    ]
    return "\n\n".join([head, *sections])
