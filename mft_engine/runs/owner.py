"""Which window keeps a run: two must not write the same files, and none may throw away what another one shows."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from mft_engine.experiment import storage
from mft_engine.ordinary_files import require_ordinary

OWNER = "owner"  # the process that a run is kept by; of one that was killed nothing is left but this file


def take(folder: Path) -> None:
    """This process keeps the run from now on."""
    storage.write_atomically(folder / OWNER, str(os.getpid()).encode())


def let_go(folder: Path) -> None:
    """Nobody keeps the run any more."""
    (folder / OWNER).unlink(missing_ok=True)


def is_in_other_hands(folder: Path) -> bool:
    """Whether another process that is alive keeps this run."""
    try:
        require_ordinary(folder / OWNER, 100)
        owner = int((folder / OWNER).read_text(encoding="ascii"))
        return owner != os.getpid() and psutil.pid_exists(owner)
    except (OSError, ValueError, OverflowError):
        return False
