"""How this program is started once more, in a process of its own."""

from __future__ import annotations

import sys


def own_command(*words: str) -> tuple[str, list[str]]:
    """The program and its arguments that carry out `mft-lab WORDS`.

    Of a built program (docs/bundle.md) it is the program itself: no interpreter could be asked for a module.
    """
    module = [] if getattr(sys, "frozen", False) else ["-m", "mft_engine.cli"]
    return sys.executable, [*module, *words]
