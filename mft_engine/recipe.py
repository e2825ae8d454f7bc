"""The recipe: one small frozen value that says everything about an experiment.

Two equal recipes on the same device give the same numbers. A recipe is written as TOML; every value has a dotted path
(`regularisation.scale`) that the command line, the window's controls and `Recipe.replace` share.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError, model_validator

from mft_engine.changes import CHANGES, Change, changes_on_the_way
from mft_engine.ordinary_files import file_digest, require_ordinary
from mft_engine.resources import resources_folder
from mft_engine.sections import (
    SMALLEST,
    ComparisonSection,
    EngineSection,
    ForegroundSection,
    InitialSection,
    NetworkSection,
    RegularisationSection,
    ScheduledChange,
    Section,
    TaskSection,
    TheorySection,
    TrainingSection,
)

SCHEMA_VERSION = 1
MAX_DEPTH = 16
MAX_SHOWN = 60
MAX_RECIPE_BYTES = 10_000_000


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the field, the value and what is allowed."""


class Recipe(Section):
    """One experiment: task, network, regularisation, training, foreground, comparison, engine."""

    schema_version: Literal[1] = 1
    name: str = "clover"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    task: TaskSection = TaskSection()
    network: NetworkSection = NetworkSection()
    initial: InitialSection = InitialSection()
    regularisation: RegularisationSection = RegularisationSection()
    training: TrainingSection = TrainingSection()
    foreground: ForegroundSection = ForegroundSection()
    comparison: ComparisonSection = ComparisonSection()
    theory: TheorySection = TheorySection()
    engine: EngineSection = EngineSection()
    schedule: tuple[ScheduledChange, ...] = ()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Recipe:
        training = self.training
        for name, value in (("input_weight", self.lambda_w), ("readout", self.lambda_a)):
            if value < SMALLEST:
                raise ValueError(
                    f"regularisation.scale x regularisation.{name} = {value:.3g} is below {SMALLEST:g}: it holds no "
                    "weight within the range of the machine's numbers; choose a larger one"
                )
        if 0 < training.temperature < SMALLEST:
            raise ValueError(
                f"training.temperature = {training.temperature:g} is below {SMALLEST:g}, which nothing can tell from "
                "0: choose a higher one, or 0"
            )
        if training.dynamics == "langevin" and training.temperature == 0 and self.initial.law != "gaussian":
            raise ValueError(
                "training.temperature = 0 leaves no prior to start from: choose a temperature above 0, or "
                'initial.law = "gaussian"'
            )
        if training.dynamics == "sgd" and training.temperature != 0:
            raise ValueError(
                f"training.temperature = {training.temperature:g}: plain gradient descent has no temperature; "
                'set it to 0, or choose training.dynamics = "langevin"'
            )
        if training.dynamics == "sgd" and self.initial.law != "gaussian":
            raise ValueError(f'initial.law = "{self.initial.law}" needs a temperature; with sgd choose "gaussian"')
        if training.dynamics == "adam" and training.temperature != 0:
            raise ValueError(
                f"training.temperature = {training.temperature:g}: Adam has no temperature; set it to 0, or choose "
                'training.dynamics = "langevin"'
            )
        if training.dynamics == "adam" and training.step_size == "auto":
            raise ValueError(
                'training.step_size = "auto" is a rule for plain gradient steps; Adam moves every weight by about the '
                "step size whatever its gradient: give a number, for example 0.01"
            )
        if training.dynamics == "adam" and self.initial.law != "gaussian":
            raise ValueError(f'initial.law = "{self.initial.law}" needs a temperature; with adam choose "gaussian"')
        if self.foreground.method in ("gibbs", "finite-width") and training.temperature == 0:
            raise ValueError(
                f'foreground.method = "{self.foreground.method}" needs a temperature above 0; '
                'choose "dynamics" or "replay"'
            )
        if self.foreground.method == "replay" and training.dynamics == "gibbs":
            raise ValueError(
                'foreground.method = "replay" follows the path of a training; training.dynamics = "gibbs" has none: '
                'choose foreground.method = "dynamics"'
            )
        if training.dynamics == "gibbs" and not (
            training.temperature > 0 and self.network.train_readout and self.network.readout_exponent == 1.0
        ):
            raise ValueError(
                'training.dynamics = "gibbs" samples the mean-field equilibrium: it needs a temperature above 0, '
                "trained readouts and network.readout_exponent = 1"
            )
        if training.dynamics == "gibbs" and (training.batch_size or training.rule_rotates):
            raise ValueError('training.dynamics = "gibbs" needs points that stay: no batches and no turning rule')
        if training.dynamics == "gibbs" and self.foreground.background == "lazy":
            raise ValueError('foreground.background = "lazy" is trained: choose training.dynamics = "langevin"')
        if training.rule == "batch" and training.batch_size == 0:
            raise ValueError('training.rule = "batch" needs training.batch_size above 0, for example 256')
        if self.network.n_layers > 1:
            self._layers_are_supported()
        for change in self.schedule:
            if not changes_on_the_way(change.path):
                able = sorted(filter(changes_on_the_way, CHANGES))
                raise ValueError(f"schedule: {change.path!r} cannot change during a run; {able} can")
        return self

    def _layers_are_supported(self) -> None:
        training, method, remedy = self.training, self.foreground.method, "choose one hidden layer, or"
        for is_wrong, what, instead in (
            (training.dynamics not in ("langevin", "sgd"), f'training.dynamics = "{training.dynamics}"', '"langevin"'),
            (training.batch_size > 0 or training.rule_rotates, "points that change during the run", "a fixed rule"),
            (not self.network.train_readout, "network.train_readout = false", "true"),
            (self.initial.law == "theory", 'initial.law = "theory"', '"prior"'),
            (method not in ("dynamics", "gibbs"), f'foreground.method = "{method}"', '"dynamics"'),
        ):
            if is_wrong:
                raise ValueError(f"{what} is for networks of one hidden layer: {remedy} {instead}")

    @property
    def lambda_w(self) -> float:
        """Regularisation of one input weight, lambda_w = scale x input_weight."""
        return self.regularisation.scale * self.regularisation.input_weight

    @property
    def lambda_hidden(self) -> float:
        """Regularisation of one weight between hidden layers, scale x hidden_weight."""
        return self.regularisation.scale * self.regularisation.hidden_weight

    @property
    def lambda_a(self) -> float:
        """Regularisation of one readout, lambda_a = scale x readout."""
        return self.regularisation.scale * self.regularisation.readout

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """A recipe with the values at some dotted paths replaced, all together, then validated.

        Args:
            changes: dotted path to value, for example `{"regularisation.scale": 0.02}`.

        Raises:
            RecipeError: an unknown path (the nearest is named) or a value that is not allowed.
        """
        tree = self.model_dump(mode="json")
        for path, value in changes.items():
            if path.startswith("task.") and path != "task.name":
                tree["task"][path.removeprefix("task.")] = value
                continue
            if path == "network.n_neurons" and isinstance(value, int) and not isinstance(value, bool):
                value = [value] * self.network.n_layers  # one number is for every hidden layer
            parts = path.split(".")
            node: Any = tree
            for part in parts[:-1]:
                node = node.get(part) if isinstance(node, dict) else None
            if not isinstance(node, dict) or parts[-1] not in node:
                raise RecipeError(_unknown_path(path))
            node[parts[-1]] = value
        return recipe_from_dict(tree)

    def get(self, path: str) -> Any:
        """The value at a dotted path."""
        node: Any = self
        for part in path.split("."):
            extra = getattr(node, "model_extra", None) or {}
            if part not in extra and not hasattr(node, part):
                raise RecipeError(_unknown_path(path))
            node = extra[part] if part in extra else getattr(node, part)
        return node

    @property
    def data_path(self) -> str:
        """The file of data that the task is made of; empty where it is made of none."""
        path = self.task.parameters.get("path", "")
        return path if isinstance(path, str) else ""

    @property
    def digest(self) -> str:
        """A short fingerprint of all that the numbers depend on (not the name or description).

        Of a file of data its content counts, wherever it lies.
        """
        tree = self.model_dump(mode="json", exclude={"name", "description"})
        if self.theory == TheorySection():  # runs from before it existed keep their fingerprint
            del tree["theory"]
        _put_content_for_path(tree)
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def background_digest(self) -> str:
        """A fingerprint of what the trained background depends on: recipes that share it share the network."""
        tree = self.model_dump(mode="json", exclude={"name", "description", "comparison", "foreground", "theory"})
        tree["background"] = self.foreground.background
        tree["window"] = self.foreground.window
        _put_content_for_path(tree)
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """The recipe as TOML text, readable by `load_recipe`."""
        tree = self.model_dump(mode="json")
        if not tree["schedule"]:
            del tree["schedule"]
        return tomli_w.dumps(tree)


def plan_change(old: Recipe, new: Recipe) -> Change:
    """What turns an experiment that runs `old` into one that runs `new`.

    Regularisation, temperature and step size are RETUNE: the neurons stay. Whatever is not named here is REBUILD.
    """
    return max((CHANGES.get(path, Change.REBUILD) for path, _, _ in differences(old, new)), default=Change.NOTHING)


def differences(old: Recipe, new: Recipe) -> list[tuple[str, Any, Any]]:
    """The paths at which two recipes differ, with the old and the new value."""
    before, after = dict(_leaves(old.model_dump(mode="json"))), dict(_leaves(new.model_dump(mode="json")))
    paths = list(before) + [path for path in after if path not in before]
    return [(p, before.get(p), after.get(p)) for p in paths if before.get(p) != after.get(p)]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def all_paths() -> list[str]:
    """Every dotted path of a recipe, the task's own parameters apart."""
    return [path for path, _ in _leaves(Recipe().model_dump(mode="json"))]


def _unknown_path(path: str) -> str:
    near = difflib.get_close_matches(path, all_paths(), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"The recipe has no field {path!r}{hint}"


def recipe_from_dict(tree: Mapping[str, Any]) -> Recipe:
    """A validated recipe from plain nested values.

    Raises:
        RecipeError: one sentence per fault, each with the field, the value and what is allowed.
    """
    tree = _migrate(dict(tree))
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError("; ".join(_sentence(fault) for fault in error.errors())) from None


def _migrate(tree: dict[str, Any]) -> dict[str, Any]:
    version = tree.setdefault("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or version < 1 or version > SCHEMA_VERSION:
        raise RecipeError(
            f"schema_version = {version!r} is not known to this MFT Lab (it reads up to {SCHEMA_VERSION}); "
            "update the program, or correct the number"
        )
    return tree


def _sentence(fault: Any) -> str:
    where = ".".join(
        str(part) for part in fault["loc"] if not str(part).startswith(("literal", "constrained", "function-"))
    )
    where = where.removesuffix(".float").removesuffix(".str")
    if fault["type"] == "extra_forbidden":
        return _unknown_path(where)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error" and not where:
        return message
    value = fault.get("input")
    shown = _shown(value) if isinstance(value, (int, float, str, bool, list, tuple)) else type(value).__name__
    return f"{where} = {shown}: {message[:1].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number that Python does not write out
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text):,} characters)"


def read_toml(text: str, origin: str) -> dict[str, Any]:
    """Plain nested values from TOML text.

    Args:
        origin: what the text is, for the message.

    Raises:
        RecipeError: text that is not TOML, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not valid TOML: {error}") from None
    except RecursionError:
        raise RecipeError(_too_deep(origin)) from None
    except ValueError:
        raise RecipeError(f"{origin} has a number of more digits than any number here needs") from None
    level: list[Any] = [tree]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
    if level:
        raise RecipeError(_too_deep(origin))
    return tree


def _too_deep(origin: str) -> str:
    return f"{origin} is nested more than {MAX_DEPTH} levels deep; a recipe has sections with fields, and no more"


def toml_value(text: str) -> Any:
    """A value as typed on a command line: TOML where it parses as TOML, else the text itself; .5 is 0.5.

    Raises:
        RecipeError: TOML that is nested too deeply, or a number of thousands of digits.
    """
    if re.fullmatch(r"[+-]?\.\d+(e[+-]?\d+)?", text.strip()):
        text = text.replace(".", "0.", 1)
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (RecursionError, ValueError):
        pass  # said below
    return read_toml(f"value = {text}", f"The value {_shown(text)}")["value"]


def _put_content_for_path(tree: dict[str, Any]) -> None:
    """In the values of a recipe, replace the name of a file of data by what is in it."""
    task = tree.get("task", {})
    path = task.get("path")
    content = file_digest(path) if isinstance(path, str) and path else None
    if content is not None:
        tree["task"] = {**task, "path": content}


def parse_recipe(text: str, origin: str = "recipe", *, folder: Path | None = None) -> Recipe:
    """A recipe from TOML text.

    Args:
        folder: of the file that it came from; a relative `task.path` is relative to it.

    Raises:
        RecipeError: text that is not TOML, or not a recipe.
    """
    tree = read_toml(text, origin)
    section = tree.get("task")
    if folder is not None and isinstance(section, dict):
        path = section.get("path")
        if isinstance(path, str) and path and not path.startswith("~"):
            tree["task"] = {**section, "path": str(folder.absolute() / path)}
    return recipe_from_dict(tree)


def shipped_recipes() -> dict[str, Path]:
    """Name to file of every recipe that comes with MFT Lab, in alphabetical order."""
    return {path.stem: path for path in sorted((resources_folder() / "recipes").glob("*.toml"))}


def load_recipe(source: str | Path) -> Recipe:
    """A recipe by the name of a shipped one, a TOML file, or a run folder.

    Raises:
        RecipeError: nothing of that name, or a file that is not a recipe.
    """
    path = Path(source)
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        # Whatever else is wrong with it, a name that the file system cannot have is no file and no recipe.
        if isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise RecipeError(f"There is no recipe {_shown(str(source))}: no file can have that name") from None
    if os.path.exists(path / "recipe.toml"):
        path = path / "recipe.toml"
    elif not path.suffix or not os.path.exists(path):
        shipped = shipped_recipes()
        if str(source) in shipped:
            path = shipped[str(source)]
        elif not os.path.isfile(path):
            near = difflib.get_close_matches(str(source), shipped, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the shipped ones are {', '.join(shipped)}"
            raise RecipeError(f"There is no recipe file or shipped recipe {_shown(str(source))}{hint}")
    try:
        require_ordinary(path, MAX_RECIPE_BYTES)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or error
        raise RecipeError(f"{path} cannot be read as a recipe: {words}") from None
    return parse_recipe(text, origin=str(path), folder=path.parent)
