"""The file of data that a run learns from: a run keeps a copy, so that it needs no other file and never mixes two."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mft_engine.experiment.storage import RunError, writing_to
from mft_engine.ordinary_files import file_digest
from mft_engine.recipe import Recipe

DATA = "data"
# Beside the runs of a sweep, from where they are linked and not copied again.
SHARED = ".data"


def keep_data(folder: Path, recipe: Recipe) -> Recipe:
    """Copy the recipe's file of data into a run's folder, and let the recipe name the copy, relative to the folder.

    Raises:
        RunError: a folder that cannot be written.
    """
    source = Path(recipe.data_path).expanduser()
    if not recipe.data_path or not source.is_file():
        return recipe
    copy = folder / DATA / source.name
    with writing_to(copy):
        copy.parent.mkdir(exist_ok=True)
        if source.parent == folder.parent / SHARED:
            try:
                os.link(source, copy)
            except OSError:
                shutil.copyfile(source, copy)
        else:
            shutil.copyfile(source, copy)
    return recipe.replace({"task.path": f"{DATA}/{source.name}"})


def with_own_data(folder: Path, recipe: Recipe) -> Recipe:
    """The recipe of a stored run, whatever file it named when it was begun, with the copy that lies in the folder."""
    name = Path(recipe.data_path).name
    copy = folder.absolute() / DATA / name
    return recipe.replace({"task.path": str(copy)}) if name and copy.is_file() else recipe


def share_data(runs: Path, recipe: Recipe) -> Recipe:
    """Copy the recipe's file of data beside the runs of a sweep, and let the recipe name the copy.

    Raises:
        RunError: the file has changed since an earlier part of this sweep; or a folder that cannot be written.
    """
    source = Path(recipe.data_path).expanduser()
    if not recipe.data_path or not source.is_file():
        return recipe
    copy = runs / SHARED / source.name
    if copy.is_file() and file_digest(copy) != file_digest(source):
        raise RunError(
            f"{source} has changed since this sweep was begun: its points would be of two kinds. Put the old file back "
            f"(it is {copy}), or choose another folder (--out)"
        )
    if not copy.is_file():
        with writing_to(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    return recipe.replace({"task.path": str(copy)})


def refuse_changed_data(stored: Path, kept: Recipe, wanted: Recipe) -> None:
    """Say so where an unfinished run is of the wanted recipe, but of another content of its file of data.

    Raises:
        RunError: it is.
    """
    if not (wanted.data_path and kept.data_path) or kept.digest == wanted.digest:
        return
    if kept.replace({"task.path": wanted.data_path}).digest == wanted.digest:
        raise RunError(
            f"{wanted.data_path} has changed since {stored} was begun, so that run cannot go on with it. Put the old "
            f"file back (a copy is {kept.data_path}), name the run itself as the recipe, or start anew without --resume"
        )
