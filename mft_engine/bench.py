"""All benchmarks in one run: kernels, comparison, theory and the whole program, each beside its peers and errors.

The measurements themselves lie in `benchmarks/` (beside the packages in a checkout, inside the engine in a wheel); every
module there has `measure(quick) -> dict` and `markdown(document) -> str`.
"""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

PARTS = ("kernels", "comparison", "theory", "program")


def benchmarks_folder() -> Path:
    """Where the benchmark modules are.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_benchmarks", package.parent / "benchmarks"):
        if (folder / "kernels.py").is_file():
            return folder
    raise FileNotFoundError("MFT Lab's benchmarks are missing from this installation; reinstall the package mft-lab.")


def _load(part: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mft_benchmark_{part}", benchmarks_folder() / f"{part}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Run every part, one after the other, in this process (the whole program in processes of its own)."""
    parts = {part: _load(part).measure(quick=quick) for part in PARTS}
    return {"schema": "mft-lab/benchmark/1", "quick": quick, "python": platform.python_version(), **parts}


def markdown(document: dict[str, Any]) -> str:
    """Every part's table under its heading."""
    return "\n\n".join(f"## {part.capitalize()}\n\n{_load(part).markdown(document[part])}" for part in PARTS)
