"""Text as a table: CSV in any dialect, and what `numpy.savetxt` writes.

numpy reads the numbers (exactly, which pandas' parser does not); which delimiter and decimal mark it is given is the
pair under which most cells of the first rows are numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mft_engine.tasks.tables import DELIMITERS, MAX_CELLS, MAX_INPUTS, Columns, Options, Table
from mft_engine.tasks.task import TaskError

# Cells of which each is kept as text, to find the one that is no number.
MAX_TEXT_CELLS = 5_000_000
N_SNIFFED = 60
# 1.234.567,8 as it is written where the comma is the decimal mark.
GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])")


@dataclass(frozen=True)
class _Dialect:
    delimiter: str
    decimal: str

    def cells(self, line: str) -> list[str]:
        if self.delimiter == " ":
            return line.split()
        if '"' in line:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter, strict=True))]
        return [cell.strip() for cell in line.split(self.delimiter)]

    def with_points(self, cell: str) -> str:
        """The same cell, or line, with decimal points, and without the points that group thousands."""
        if self.decimal == ".":
            return cell
        return GROUPED.sub(lambda found: found[0].replace(".", ""), cell).replace(",", ".")

    def is_number(self, cell: str) -> bool:
        if self.decimal == "," and "." in GROUPED.sub("", cell):
            return False
        try:
            float(self.with_points(cell))
        except ValueError:
            return False
        return "_" not in cell  # a number to Python alone


def read_text(path: Path, options: Options) -> Table:
    text, encoding = _decoded(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if lines and (declared := re.fullmatch(r"\s*sep=(.)\s*", lines[0][1], re.IGNORECASE)):
        lines = lines[1:]
        options = Options(options.delimiter or declared[1], options.decimal, options.header)
    comments = {number: line.strip().lstrip("#").strip() for number, line in lines if line.lstrip().startswith("#")}
    rows = [(number, line) for number, line in lines if number not in comments]
    if not rows:
        raise TaskError(f"{path.name} is empty" if not comments else f"{path.name} has no rows")
    try:
        dialect = _dialect([line for _, line in rows[:N_SNIFFED]], options)
        first = dialect.cells(rows[0][1])
        _check_widths(rows, len(first), dialect, path)
        before = [line for number, line in comments.items() if number < rows[0][0]]
        named = dialect.cells(before[-1]) if before else []
    except csv.Error as error:
        raise TaskError(f"{path.name} is not a table: {error}") from None
    kind = _header(first, named, len(rows), dialect, options)
    header = {"row": first, "counting row": first, "comment": named}.get(kind, [])
    if kind in ("row", "counting row"):
        rows = rows[1:]
    if len(first) > MAX_INPUTS + 1:
        raise TaskError(f"{path.name} has {len(first):,} columns; at most {MAX_INPUTS + 1:,} are read")
    if len(rows) * len(first) > MAX_CELLS:
        raise TaskError(f"{path.name} has {len(rows) * len(first):,} cells; at most {MAX_CELLS:,} are read")
    names = _names(header or [""] * len(first), path)
    if not rows:
        return Table({name: np.zeros(0) for name in names})
    values, classes = _values(rows, names, [bool(header) and not cell for cell in header or first], dialect, path)
    word = next((key for key, value in DELIMITERS.items() if value == dialect.delimiter), dialect.delimiter)
    facts: dict[str, Any] = {"delimiter": word, "decimal": dialect.decimal, "header": kind != "none"}
    notes = [_said(word, dialect.decimal, kind, first)]
    if encoding != "utf-8":
        facts["encoding"] = encoding
        notes.append(f"It is no UTF-8 and was read as {encoding}.")
    return _without_index(values, classes, header, facts, notes)


def _decoded(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    for encoding, mark in (("utf-32", b"\xff\xfe\x00\x00"), ("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff")):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                break
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        from charset_normalizer import from_bytes

        best = None if b"\0" in data else from_bytes(data).best()
        if best is None:
            place = f"byte {error.start + 1}"
            raise TaskError(f"{path.name} is not a text file in UTF-8 ({place}); save it as UTF-8") from None
        return str(best), best.encoding


def _dialect(lines: Sequence[str], options: Options) -> _Dialect:
    """The delimiter and decimal mark under which most cells below the first row are numbers."""
    best, score = _Dialect(options.delimiter or " ", options.decimal or "."), (False, -1.0, 0.0)
    refused: csv.Error | None = None
    for delimiter in [options.delimiter] if options.delimiter else DELIMITERS.values():
        for decimal in [options.decimal] if options.decimal else [".", ","]:
            dialect = _Dialect(delimiter, decimal)
            if delimiter == decimal:
                continue
            try:
                table = [dialect.cells(line) for line in lines]
            except csv.Error as error:
                refused = refused or error
                continue
            width = len(table[0])
            body = table[1:] or table
            cells = [cell for row in body for cell in row]
            is_number = [dialect.is_number(cell) for cell in cells]
            regular = sum(len(row) == width for row in body) / len(body)
            found = (width > 1, regular, sum(is_number) / max(1, len(cells)))
            if found > score:
                best, score = dialect, found
    if refused is not None and not score[0]:
        raise refused
    return best


def _check_widths(rows: Sequence[tuple[int, str]], width: int, dialect: _Dialect, path: Path) -> None:
    for number, line in rows:
        plain = dialect.delimiter != " " and '"' not in line
        n = line.count(dialect.delimiter) + 1 if plain else len(dialect.cells(line))
        if n != width:
            raise TaskError(f"{path.name}, line {number}: {n} cells where the first line has {width}")


def _header(first: Sequence[str], named: Sequence[str], n_rows: int, dialect: _Dialect, options: Options) -> str:
    """Where the columns' names stand: "row", "counting row", "comment" or "none"."""
    is_numeric = all(dialect.is_number(cell) for cell in first)
    given = [cell for cell in first if cell]
    counts = given == [str(k) for k in range(len(given))]
    if options.header is not None:
        return ("row" if not is_numeric or not counts else "counting row") if options.header else "none"
    if not is_numeric:
        has_index = not first[0] and all(dialect.is_number(cell) for cell in first[1:])
        # Words in the first row of a table of words alone would be a class, not a name; such a table is no use anyway.
        return "row" if n_rows > 1 or not has_index else "none"
    if n_rows > 1 and len(first) > 1 and counts:
        return "counting row"
    return "comment" if len(named) == len(first) and not all(dialect.is_number(cell) for cell in named) else "none"


def _said(delimiter: str, decimal: str, kind: str, first: Sequence[str]) -> str:
    """What was guessed of a text file, in a sentence."""
    where = {
        "row": "the first row names the columns",
        "counting row": f"the first row ({', '.join(first[:4])}{', ...' if len(first) > 4 else ''}) counts the columns "
        "and was taken as their names",
        "comment": "the comment before the data names the columns",
        "none": "the columns have no names",
    }[kind]
    return f"Cells are separated by {delimiter}s, the decimal mark is {decimal!r}, {where}."


def _names(header: Sequence[str], path: Path) -> list[str]:
    """Names of columns; one without gets its number, in a form that no other has."""
    given = [cell for cell in header if cell]
    twice = next((name for name in given if given.count(name) > 1), None) if len(given) <= MAX_INPUTS + 1 else None
    if twice is not None:
        raise TaskError(f"{path.name} has two columns named {twice!r}")
    taken, names = set(given), []
    for number, cell in enumerate(header, start=1):
        name = cell or str(number)
        if not cell and name in taken:
            name = f"column {number}"
        names.append(name)
        taken.add(name)
    return names


def _values(
    rows: Sequence[tuple[int, str]], names: Sequence[str], unnamed: Sequence[bool], dialect: _Dialect, path: Path
) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    lines = [line for _, line in rows]
    try:
        whole = np.loadtxt(
            [dialect.with_points(line) for line in lines],
            delimiter=None if dialect.delimiter == " " else dialect.delimiter,
            comments=None,
            quotechar='"',
            ndmin=2,
        )
        if np.isfinite(whole).all():
            return {name: np.ascontiguousarray(whole[:, j]) for j, name in enumerate(names)}, {}
    except ValueError:
        pass
    if len(rows) * len(names) > MAX_TEXT_CELLS:
        raise TaskError(
            f"{path.name} has cells that are no finite numbers, and more than {MAX_TEXT_CELLS:,} of them in all, too "
            "many to look for words in: make it numbers throughout"
        )
    text = [dialect.cells(line) for line in lines]
    columns: Columns = {}
    classes: dict[str, tuple[str, ...]] = {}
    for j, name in enumerate(names):
        cells = [row[j] for row in text]
        is_number = [dialect.is_number(cell) for cell in cells]
        if not any(is_number) and all(cells):
            words = tuple(sorted(set(cells)))
            code = {word: number for number, word in enumerate(words)}
            columns[name], classes[name] = np.array([code[cell] for cell in cells], dtype=np.float64), words
            continue
        if not any(cells) and unnamed[j]:
            columns[name] = np.full(len(cells), np.nan)
            continue
        columns[name] = np.array([_number(cell, ok, dialect, rows[i][0], name, path) for i, (cell, ok) in enumerate(
            zip(cells, is_number, strict=True))])  # fmt: skip
    return columns, classes


def _number(cell: str, is_number: bool, dialect: _Dialect, line: int, name: str, path: Path) -> float:
    if not is_number:
        what = f"{cell[:30]!r} is not a number" if cell else "the cell is empty"
        raise TaskError(f"{path.name}, line {line}, column {name!r}: {what}")
    value = float(dialect.with_points(cell))
    if not np.isfinite(value):
        raise TaskError(f"{path.name}, line {line}, column {name!r}: {cell[:30]} is not finite")
    return value


def _without_index(
    columns: Columns,
    classes: dict[str, tuple[str, ...]],
    header: Sequence[str],
    facts: dict[str, Any],
    notes: list[str],
) -> Table:
    """Leave out what a spreadsheet or pandas wrote beside the data: unnamed counting columns, unnamed empty ones."""
    names, left_out = list(columns), []
    for position, name in enumerate(names):
        column, is_unnamed = columns[name], bool(header) and not header[position]
        if np.isnan(column).all():
            left_out.append(name)
            notes.append(f"Column {name} has neither a name nor a cell and was left out.")
        elif position == 0 and len(names) > 2 and len(column) > 2 and _counts(column):
            if is_unnamed:
                left_out.append(name)
                notes.append("The first column has no name and counts the rows: an index, which was left out.")
            elif header:
                notes.append(f"The column {name!r} counts the rows: if it is an index, leave it out (task.inputs).")
    if left_out:
        facts["left_out"] = left_out
    kept = {name: column for name, column in columns.items() if name not in left_out}
    return Table(kept, classes=classes, facts=facts, notes=tuple(notes))


def _counts(column: np.ndarray) -> bool:
    """Whether it is 0, 1, 2, ... or 1, 2, 3, ..."""
    return column[0] in (0.0, 1.0) and bool(np.array_equal(column, column[0] + np.arange(len(column))))
