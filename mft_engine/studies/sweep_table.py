"""A sweep on disk: what it is of, and a table with a row a finished point, replaced whole whenever points finish."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from mft_engine.experiment import storage
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import Recipe, parse_recipe
from mft_engine.studies.grid import Axis, Point

TABLE = "table.csv"
POOLED = "pooled.csv"
ORDER = "sweep.json"
FAILURE = "failure"
WAY = "way"
# Columns that are text whatever they look like.
_TEXTS = ("digest", WAY, FAILURE, "verdict", "sentence")

Row = dict[str, Any]
Listener = Callable[[Row], None]


@dataclass(frozen=True)
class Sweep:
    """A finished (or interrupted) sweep.

    Attributes:
        axes: what was swept.
        rows: one a finished point, in the order of the grid: seed, the swept paths, the summary's leaves, failure.
        n_points: of the whole grid.
        folder: where table and runs are.
        has_ways: networks were pulled up and down the first axis; rows say which way in `way`.
        pooled: one a point with several seeds, what they say together: the swept paths, verdict, sentence ...
    """

    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]
    n_points: int
    folder: Path
    has_ways: bool = False
    pooled: tuple[Row, ...] = ()

    @property
    def n_failed(self) -> int:
        """Points that ended in a sentence instead of numbers."""
        return sum(bool(row.get(FAILURE)) for row in self.rows)


class Table:
    """The rows that are there, and the file that has them."""

    def __init__(
        self, folder: Path, axes: tuple[Axis, ...], points: Sequence[Point], told: Listener | None = None
    ) -> None:
        self.folder, self.axes, self.points, self._told = folder, axes, points, told
        self.rows: dict[int, Row] = {}

    def add(self, number: int, row: Row) -> None:
        """The row of a point, with what identifies it in front."""
        head = self._of(self.points[number])
        self.rows[number] = {**head, **row, "digest": self._digest(self.points[number], row)}
        if self._told is not None:
            self._told(self.rows[number])

    def take_finished(self) -> None:
        """The rows of an earlier table that belong to this grid and did not fail."""
        numbers = {self._key(point): number for number, point in enumerate(self.points)}
        rows = rows_left(self.folder)
        for row in rows:
            head = tuple(str(row.get(name)) for name in self._head())
            number = numbers.get(head if row.get(WAY) else str(row.get("digest")))
            if number is not None and not row.get(FAILURE):
                self.add(number, {name: row[name] for name in row if name not in self._head()})

    def _head(self) -> list[str]:
        return ["seed", *(axis.path for axis in self.axes), *([WAY] if any(p.way for p in self.points) else [])]

    def _of(self, point: Point) -> Row:
        """What identifies a point in the table."""
        values = [_cell(value) for value in point.values]
        return dict(zip(self._head(), [point.recipe.seed, *values, *([point.way] if point.way else [])], strict=True))

    def _key(self, point: Point) -> str | tuple[str, ...]:
        """By the digest of its recipe; that of a link of a chain, which has its way in it, is not known beforehand."""
        return tuple(map(str, self._of(point).values())) if point.way else point.recipe.digest

    def _digest(self, point: Point, row: Row) -> str:
        return str(row.get("digest") or "") if point.way else point.recipe.digest

    def save(self) -> None:
        """Replace the file by one with the rows of now."""
        names = dict.fromkeys([*self._head(), *(name for row in self.rows.values() for name in row)])
        names.pop(FAILURE, None)
        memory = io.StringIO()
        writer = csv.DictWriter(memory, [*names, FAILURE], restval="", lineterminator="\n")
        writer.writeheader()
        for number in sorted(self.rows):
            writer.writerow({name: "" if value is None else value for name, value in self.rows[number].items()})
        storage.write_atomically(self.folder / TABLE, memory.getvalue().encode())

    def describe(self) -> str:
        """How far it is, in words."""
        n_failed = self.sweep().n_failed
        return f"{len(self.rows)} of {len(self.points)} points" + (f", {n_failed} failed" if n_failed else "")

    def sweep(self) -> Sweep:
        """What is there."""
        rows = tuple(self.rows[number] for number in sorted(self.rows))
        return Sweep(self.axes, rows, len(self.points), self.folder, any(point.way for point in self.points))


def save_order(
    folder: Path, recipe: Recipe, axes: Sequence[Axis], n_seeds: int, *, both_ways: bool = False, n_refined: int = 0
) -> None:
    """What this sweep is of, for whoever opens its folder.

    Args:
        n_refined: values that may still be added where the curve bends.
    """
    swept = [{"path": axis.path, "values": list(axis.values)} for axis in axes]
    document = {
        "schema": "mft-lab/sweep-order/1",
        "recipe": recipe.to_toml(),
        "axes": swept,
        "n_seeds": n_seeds,
        "both_ways": both_ways,
        "n_refined": n_refined,
    }
    storage.write_atomically(folder / ORDER, storage.json_bytes(document))


@dataclass(frozen=True)
class StoredSweep:
    """A sweep's folder: what it is of, what is there, and how many values may still be added."""

    recipe: Recipe
    n_seeds: int
    sweep: Sweep
    n_refined: int = 0


class _Axis(BaseModel):
    path: str
    values: list[Any] = Field(min_length=1)


class _Order(BaseModel):
    recipe: str
    axes: list[_Axis] = Field(min_length=1)
    n_seeds: int = Field(ge=1)
    both_ways: bool = False
    n_refined: int = Field(default=0, ge=0)


def open_sweep(folder: str | Path) -> StoredSweep:
    """A stored sweep, finished or not.

    Raises:
        RunError: no sweep there, or one whose files are damaged. RecipeError: a recipe that is none any more.
    """
    place = Path(folder)
    with storage.reading_from(place / ORDER, "mft-lab sweep --resume makes it again"):
        text = (place / ORDER).read_text(encoding="utf-8")
        try:
            order = _Order.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(str(error)) from None
    recipe = parse_recipe(order.recipe, origin=str(place / ORDER))
    axes = tuple(Axis(axis.path, tuple(_frozen(value) for value in axis.values)) for axis in order.axes)
    rows, pooled = (
        tuple(row for row in found if all(axis.path in row for axis in axes))
        for found in (read_table(place), _read_pooled(place))
    )
    n_points = order.n_seeds * int(np.prod([len(axis.values) for axis in axes])) * (2 if order.both_ways else 1)
    sweep = Sweep(axes, rows, n_points, place, order.both_ways, pooled)
    return StoredSweep(recipe, order.n_seeds, sweep, order.n_refined)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _cell(value: Any) -> Any:
    return str(list(value)) if isinstance(value, tuple) else value


def read_table(folder: str | Path) -> list[Row]:
    """The rows of a stored sweep; numbers as numbers, empty cells as None.

    Raises:
        RunError: no table there, or one that is damaged.
    """
    return _read(Path(folder) / TABLE, ("seed", "digest"))


def _read_pooled(folder: Path) -> list[Row]:
    """What the seeds of each point say together; nothing where it was not worked out, or cannot be read."""
    try:
        return _read(folder / POOLED, ("verdict", "sentence")) if (folder / POOLED).exists() else []
    except RunError:
        return []


def _read(path: Path, needed: Sequence[str]) -> list[Row]:
    with storage.reading_from(path, "the runs are kept: --resume makes it again"):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        if needed[0] not in (reader.fieldnames or ()):
            raise ValueError(f"no column named {needed[0]}")
        if any(None in row or None in row.values() or not row.keys() >= set(needed) for row in rows):
            raise ValueError("rows of another length than their header")
    return [{name: (text or None) if name in _TEXTS else _value(text) for name, text in row.items()} for row in rows]


def rows_left(folder: Path) -> list[Row]:
    """The rows of an earlier sweep; none where its table cannot be read, for its runs are there all the same."""
    try:
        return read_table(folder) if (folder / TABLE).exists() else []
    except RunError:
        return []


def _value(text: str | None) -> Any:
    """What was written as this text: only what a number is written as is one ("402e535387068602" is none)."""
    if not text:
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text
