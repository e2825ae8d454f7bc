"""A session as a value: recipe, run, view and layout of a window, written to a file and read back.

A file that is damaged, or written by another version, costs what cannot be read of it: every part stands alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mft_engine.recipe import Recipe, RecipeError, recipe_from_dict

SUFFIX = ".mftsession"
SCHEMA = "mft-lab/session/1"
LARGEST_BYTES = 4_000_000

Number = Annotated[float, Field(allow_inf_nan=False)]
Span = tuple[Number, Number]


class SavedSessionError(ValueError):
    """A session file that cannot be used; the message names it and says why."""


def _table_or_nothing(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


class ViewState(BaseModel):
    """How the clouds are looked at.

    Attributes:
        x, y, colour: keys of the pickers; overlays: which chips are on; span: the axis range where a person took it.
        chosen: numbers of the neurons that were chosen, by cloud.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    x: str = "w1"
    y: str = "w2"
    colour: str = "plain"
    overlays: dict[str, bool] = {}
    span: tuple[Span, Span] | None = None
    is_split: bool = False
    is_loss_logarithmic: bool = False
    chosen: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = {}


class SweepState(BaseModel):
    """What the sweep's controls show: fields and values as they were typed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    axes: dict[str, str] = {}
    n_seeds: int = Field(default=3, ge=1, le=1000)
    n_workers: int = Field(default=0, ge=0, le=256)
    both_ways: bool = False
    n_refined: int = Field(default=0, ge=0, le=1000)
    scheduler: str = ""


class SavedSession(BaseModel):
    """Everything of a window.

    Attributes:
        recipe: in the controls; opened: what "reset" goes back to; run: the folder on the screen.
        layout: Qt's own bytes of the docks, as hexadecimal digits; front: the tab in front.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    recipe: Annotated[dict[str, Any], BeforeValidator(_table_or_nothing)] = {}
    opened: Annotated[dict[str, Any], BeforeValidator(_table_or_nothing)] = {}
    run: str | None = None
    view: ViewState | None = None
    sweep: SweepState = SweepState()
    runs_filter: str = ""
    layout: str = ""
    front: str = ""

    @property
    def run_folder(self) -> Path | None:
        """The run's folder, where it is still there."""
        folder = Path(self.run) if self.run else None
        return folder if folder is not None and os.path.isfile(folder / "recipe.toml") else None


def recipe_of(tree: dict[str, Any]) -> Recipe | None:
    """A recipe that was saved; None where it is not one any more."""
    if not tree:
        return None
    try:
        return recipe_from_dict(tree)
    except RecipeError:
        return None


def session_from(values: object) -> SavedSession:
    """A session from plain values; parts that cannot be used are as usual."""
    if not isinstance(values, dict):
        return SavedSession()
    known = {name: value for name, value in values.items() if name in SavedSession.model_fields}
    while True:
        try:
            return SavedSession.model_validate(known)
        except ValidationError as error:
            for fault in error.errors():
                known.pop(str(fault["loc"][0]), None)


def write_session(path: Path, saved: SavedSession) -> None:
    """Write a session file, whole or not at all.

    Raises:
        SavedSessionError: the file system refuses.
    """
    text = json.dumps({"schema": SCHEMA, **saved.model_dump(mode="json")}, indent=1, ensure_ascii=False) + "\n"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise SavedSessionError(f"The session cannot be written to {path}: {error.strerror or error}") from None


def read_session(path: Path) -> SavedSession:
    """A session file.

    Raises:
        SavedSessionError: not there, or no session.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is no ordinary file")  # reading from a pipe would wait for ever
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is far too large for a session")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise ValueError(f"it does not say {SCHEMA}")
    except OSError as error:
        raise SavedSessionError(f"The session {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise SavedSessionError(f"{path.name} is no session of MFT Lab: {error}") from None
    return session_from(values)
