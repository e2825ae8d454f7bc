"""Kernels written for GPUs, run by Triton's interpreter on the CPU, program after program."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from mft_engine import kernels

PACKAGE = "mft_engine.kernels.gpu"


def _set_aside() -> dict[str, ModuleType]:
    kernels.__dict__.pop("gpu", None)
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(PACKAGE)}


def interpreted_module(name: str) -> Iterator[ModuleType]:
    """A module of `mft_engine.kernels.gpu` whose kernels are interpreted; the body of a fixture.

    Args:
        name: of the module, without its package.
    """
    from triton import knobs
    from triton.runtime.interpreter import InterpretedFunction

    compiled = _set_aside()
    with knobs.runtime.scope():
        knobs.runtime.interpret = True
        module = importlib.import_module(f"{PACKAGE}.{name}")
    # Whoever imports the package from here on gets the compiled one.
    _set_aside()
    sys.modules.update(compiled)
    if PACKAGE in compiled:
        kernels.__dict__["gpu"] = compiled[PACKAGE]
    with pytest.MonkeyPatch.context() as patch:
        # The language is patched once by the kernel's own call; doing so again in every function it calls takes most
        # of the time.
        patch.setattr(InterpretedFunction, "__call__", lambda self, *a, **k: self.rewrite()(*a, **k))
        yield module
