"""Tables that people have, as columns of numbers with what was found out about them.

Nothing is guessed without a word: `Table.facts` and `Table.notes` say it, and `task.delimiter`, `task.decimal` and
`task.header` overrule it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAX_BYTES = 500_000_000
MAX_CELLS = 50_000_000
MAX_INPUTS = 1000
MAX_CLASSES = 64

DELIMITERS = {"tab": "\t", "semicolon": ";", "comma": ",", "bar": "|", "space": " "}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """What a person says of a file; None: guess.

    Attributes:
        delimiter: between cells; decimal: "." or ","; header: whether the first row names the columns.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class Table:
    """Columns of numbers of equal length, and what was found out about them.

    Attributes:
        columns: name -> (n_rows,) float64, read-only.
        groups: name of an array of several columns -> their names.
        classes: name of a column of words -> the words, in the order of its numbers 0, 1, 2, ...
        n_test: so many rows at the end are held back by the file itself.
        target: the column or group that its name makes the target; None where none does.
        facts: what was guessed, for the summary; notes: the same and what was left out, in sentences.
    """

    columns: Columns
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_test: int = 0
    target: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows of every column."""
        return len(next(iter(self.columns.values())))
