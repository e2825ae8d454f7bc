"""What a person says about a stored run: a name, tags, a note. Runs with any of these never go away by themselves."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mft_engine.experiment import storage
from mft_engine.ordinary_files import MAX_TEXT_BYTES, require_ordinary

MARKS = "marks.json"
LONGEST_NAME = 200
LONGEST_NOTE = 20_000


class Marks(BaseModel):
    """A person's words beside a run; they change nothing about its numbers.

    Attributes:
        name: shown instead of the folder's; tags: short words, each once; note: free text.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(default="", max_length=LONGEST_NAME)
    tags: tuple[str, ...] = ()
    note: str = Field(default="", max_length=LONGEST_NOTE)

    @property
    def is_empty(self) -> bool:
        """Whether nobody said anything."""
        return not (self.name or self.tags or self.note)


def read_marks(folder: Path) -> Marks:
    """The marks of a run; empty ones where there are none or the file is damaged."""
    try:
        require_ordinary(folder / MARKS, MAX_TEXT_BYTES)
        return Marks.model_validate_json((folder / MARKS).read_bytes())
    except (OSError, ValidationError):
        return Marks()


def write_marks(folder: Path, marks: Marks) -> None:
    """Keep the marks of a run; empty ones leave no file.

    Raises:
        RunError: the folder refuses.
    """
    if marks.is_empty:
        with storage.writing_to(folder / MARKS):
            (folder / MARKS).unlink(missing_ok=True)
        return
    document = marks.model_dump(mode="json")
    storage.write_atomically(folder / MARKS, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def tags_of(text: str) -> tuple[str, ...]:
    """The tags in what a person typed, divided by commas, semicolons, spaces or #; each once, in their order."""
    words = text.replace(",", " ").replace(";", " ").replace("#", " ").split()
    return tuple(dict.fromkeys(words))
