"""What the window remembers between two starts. A broken file never blocks start-up: it is laid aside."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from loguru import logger
from platformdirs import user_data_path, user_log_path, user_state_path
from PySide6.QtCore import QByteArray, QSettings

from app.saved import SavedSession, session_from
from mft_engine.ordinary_files import MAX_TEXT_BYTES, require_ordinary
from mft_engine.recipe import Recipe, RecipeError, recipe_from_dict

N_RECENT = 10


class Settings:
    """A JSON file for values and the recipe last used, an INI file for the geometry."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_state_path("mft-lab", appauthor=False)
        self.log_folder = (folder / "log") if folder else user_log_path("mft-lab", appauthor=False)
        self.runs_folder = (folder or user_data_path("mft-lab")) / "runs" / "window"
        self.sweeps_folder = self.runs_folder.parent.parent / "sweeps"
        self.studies_folder = self.sweeps_folder.with_name("studies")
        self._path = self.folder / "window.json"
        self._values: dict[str, Any] = self._read()
        self._geometry = QSettings(str(self.folder / "geometry.ini"), QSettings.Format.IniFormat)

    def _read(self) -> dict[str, Any]:
        try:
            require_ordinary(self._path, MAX_TEXT_BYTES)
            values = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(values, dict):
                return values
            raise ValueError("not a table of values")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("The settings in {} cannot be read ({}); starting with the usual ones", self._path, error)
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".broken.json"))
            return {}

    def get(self, name: str, default: Any) -> Any:
        """A remembered value of the default's own type, else the default."""
        value = self._values.get(name, default)
        return value if isinstance(value, type(default)) else default

    def set(self, name: str, value: Any) -> None:
        """Remember a value, at once and atomically."""
        if self._values.get(name) != value:
            self._values[name] = value
            self._write()

    @property
    def recent(self) -> list[str]:
        """Files opened last, the newest first."""
        return [text for text in self.get("recent", []) if isinstance(text, str)][:N_RECENT]

    @property
    def stores(self) -> list[Path]:
        """Folders whose runs are listed: the window's, the command line's, those of sweeps, and a person's own."""
        own = [Path(text) for text in self.get("run_folders", []) if isinstance(text, str)]
        try:
            swept = sorted(path / "runs" for path in self.sweeps_folder.iterdir() if os.path.isdir(path / "runs"))
        except OSError:
            swept = []
        return [self.runs_folder, self.runs_folder.parent, *swept, *own]

    def add_recent(self, path: Path) -> None:
        """Put a file at the head of the list."""
        text = str(path)
        self.set("recent", [text, *(other for other in self.recent if other != text)][:N_RECENT])

    @property
    def recipe(self) -> Recipe | None:
        """The recipe that was in the window last; None where there is none or it is not a recipe any more."""
        tree = self._values.get("recipe")
        if not isinstance(tree, dict):
            return None
        try:
            return recipe_from_dict(tree)
        except RecipeError as error:
            logger.warning("The recipe of the last session cannot be used: {}", error)
            return None

    @property
    def last_run(self) -> Path | None:
        """The folder of the run that was on the screen last; None where it is gone."""
        text = self.get("run", "")
        folder = Path(text) if text else None
        return folder if folder is not None and os.path.isfile(folder / "recipe.toml") else None

    @property
    def session(self) -> SavedSession:
        """How the window looked last; as usual where nothing was kept or it cannot be read."""
        return session_from(self._values.get("session"))

    def save_run(self, folder: Path | None) -> None:
        """Keep for the next start which run is on the screen."""
        self.set("run", str(folder) if folder is not None else "")

    def save_recipe(self, recipe: Recipe) -> None:
        """Keep the recipe for the next start."""
        self.set("recipe", recipe.model_dump(mode="json"))

    def geometry(self, name: str) -> QByteArray:
        """A stored geometry or dock layout; empty where there is none."""
        value = self._geometry.value(name)
        return value if isinstance(value, QByteArray) else QByteArray()

    def save_geometry(self, name: str, value: QByteArray) -> None:
        """Keep a geometry or dock layout."""
        self._geometry.setValue(name, value)

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(self._values, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            logger.warning("The settings cannot be written to {}: {}", self._path, error)
