"""What a sweep runs: fields of a recipe with the values that they take, times seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mft_engine.recipe import Recipe, RecipeError, toml_value
from mft_engine.tasks import build_task

MAX_POINTS = 100_000
LARGEST_END = 1e18
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Axis:
    """A field of the recipe and the values that it takes, in order."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        values: in the order of the axes; recipe: with these values and the point's seed.
        way: "up" or "down" where a network is pulled along the first axis, else empty.
        after: the number of the point whose neurons go on here; None for a beginning of its own.
    """

    values: tuple[Any, ...]
    recipe: Recipe
    way: str = ""
    after: int | None = None


def parse_axis(text: str, recipe: Recipe) -> Axis:
    """`path=START:STOP:logN`, `path=START:STOP:linN` or `path=a,b,c`.

    Values of whole-number fields are rounded to whole numbers, others to six digits, and each is kept once.

    Raises:
        RecipeError: another form, an unknown field, or a range that is none; the message says what is allowed.
    """
    path, separator, values = (part.strip() for part in text.partition("="))
    if not separator or not path or not values:
        raise RecipeError(f"--param {text!r}: {_FORMS}")
    if path == "seed":
        raise RecipeError(f"--param {text!r}: seeds are not a parameter; give their number with --seeds")
    present = None if path.startswith("task.") else recipe.get(path)
    parts = values.split(":")
    found = _ranged(text, parts, _is_whole(present)) if len(parts) == 3 else _listed(values)
    found = [tuple(value) if isinstance(value, list) else value for value in found]
    if not found or not all(_is_plain(value) for value in found):
        raise RecipeError(f"--param {_shortened(text)}: {_FORMS}; each value is a number, a text or a list of them")
    return Axis(path, tuple(dict.fromkeys(found)))


_FORMS = (
    "write path=START:STOP:logN, path=START:STOP:linN or path=a,b,c, for example regularisation.scale=1e-4:1e-1:log8"
)


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return bool(parts) and all(isinstance(part, (bool, int, float, str)) for part in parts)


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."


def _is_whole(value: Any) -> bool:
    numbers = value if isinstance(value, tuple) else (value,)
    return all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)


def _ranged(text: str, parts: Sequence[str], is_whole: bool) -> list[Any]:
    kind, count = parts[2][:3], parts[2][3:]
    try:
        start, stop, n = float(parts[0]), float(parts[1]), int(count)
    except ValueError:
        raise RecipeError(f"--param {text!r}: {_FORMS}") from None
    if kind not in ("log", "lin") or not 1 <= n <= MAX_POINTS or not np.isfinite([start, stop]).all():
        raise RecipeError(f"--param {text!r}: {_FORMS}; N from 1 to {MAX_POINTS}, START and STOP finite")
    if kind == "log" and (start <= 0 or stop <= 0):
        raise RecipeError(f"--param {text!r}: a logarithmic range needs START and STOP above 0")
    if max(abs(start), abs(stop)) > LARGEST_END:
        raise RecipeError(f"--param {text!r}: START and STOP lie between -{LARGEST_END:g} and {LARGEST_END:g}")
    values = np.geomspace(start, stop, n) if kind == "log" else np.linspace(start, stop, n)
    return [round(float(value)) if is_whole else float(f"{value:.6g}") for value in values]


def _listed(values: str) -> list[Any]:
    together = toml_value(f"[{values}]")
    if isinstance(together, list):
        return together
    return [toml_value(value.strip()) for value in values.split(",") if value.strip()]


def plan_sweep(recipe: Recipe, axes: Sequence[Axis], n_seeds: int, *, both_ways: bool = False) -> list[Point]:
    """Every point of the grid, seeds innermost; each recipe is validated before anything is computed.

    Args:
        both_ways: chains instead of single points: for every seed, up the first axis' values and down again.

    Raises:
        RecipeError: a field twice, a value that is not allowed, or too many points.
    """
    paths = [axis.path for axis in axes]
    if len(set(paths)) < len(paths):
        raise RecipeError(f"--param: {max(paths, key=paths.count)!r} is given twice")
    n_points = n_seeds * int(np.prod([len(axis.values) for axis in axes], dtype=float)) * (2 if both_ways else 1)
    if n_points > MAX_POINTS:
        raise RecipeError(f"The sweep has {n_points:,} points; at most {MAX_POINTS:,} are allowed")
    points, tasks = [], set()
    for values in itertools.product(*(axis.values for axis in axes)):
        changed = recipe.replace({**dict(zip(paths, values, strict=True)), "engine.n_threads": 1})
        section = changed.task.model_dump_json()
        if section not in tasks:
            build_task(changed.task)
            tasks.add(section)
        points += [Point(values, changed.replace({"seed": recipe.seed + k})) for k in range(n_seeds)]
    return chains(points, n_seeds) if both_ways else points


def chains(points: Sequence[Point], n_seeds: int) -> list[Point]:
    """The same points as chains: step by step through the first axis' values, every chain up and down again.

    The chains of all seeds and other values go side by side, so that every worker has something to do.
    """
    width = len(points) // len({point.values[0] for point in points})
    rungs = [list(points[start : start + width]) for start in range(0, len(points), width)]
    rungs.sort(key=lambda rung: rung[0].values[0])
    found: list[Point] = []
    for way, on_the_way in ((UP, rungs), (DOWN, rungs[::-1])):
        for rung in on_the_way:
            for point in rung:
                found.append(replace(point, way=way, after=len(found) - width if len(found) >= width else None))
    return found
