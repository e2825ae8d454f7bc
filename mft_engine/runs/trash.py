"""Runs that were thrown away: they lie in the trash beside the others for some weeks, and come back on undo."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from mft_engine.experiment import storage
from mft_engine.experiment.storage import RunError
from mft_engine.runs.lock import working_alone
from mft_engine.runs.owner import is_in_other_hands

TRASH = ".trash"
KEPT_DAYS = 30


def throw_away(folder: Path) -> Path:
    """Move a run to the trash of its store.

    Returns:
        where it lies now, for `take_back`.

    Raises:
        RunError: the store refuses, or somebody is at work on the run.
    """
    if is_in_other_hands(folder):
        raise RunError(f"{folder.name} is kept by another window: close it or open another run there first.")
    bin_ = folder.parent / TRASH
    with working_alone(folder), storage.writing_to(folder):
        bin_.mkdir(exist_ok=True)
        place = bin_ / folder.name
        number = 1
        while place.exists():
            number += 1
            place = bin_ / f"{folder.name}-{number}"
        folder.rename(place)
        os.utime(place)  # its days in the trash begin now
    return place


def take_back(place: Path, folder: Path) -> None:
    """Move a run out of the trash to where it was.

    Raises:
        RunError: it is gone, or another run has its place.
    """
    if not place.exists():
        raise RunError(f"{folder.name} is not in the trash any more: it lay there for more than {KEPT_DAYS} days.")
    if folder.exists():
        raise RunError(f"{folder} is there again: another run has its place.")
    with storage.writing_to(folder):
        place.rename(folder)


def empty(store: Path, days: float = KEPT_DAYS) -> int:
    """Remove for good what has been in a store's trash for longer than some days; returns how many runs that were."""
    limit, n_removed = time.time() - 86_400 * days, 0
    try:
        places = list((store / TRASH).iterdir())
    except OSError:
        return 0
    for place in places:
        try:
            is_old = place.stat().st_mtime < limit
        except OSError:
            continue
        if is_old:
            shutil.rmtree(place, ignore_errors=True)
            n_removed += 1
    return n_removed
