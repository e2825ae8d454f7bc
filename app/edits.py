"""Changes of the recipe, the view and the docks as entries of the undo stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtGui import QUndoCommand

from mft_engine.recipe import Recipe


class Edit(QUndoCommand):
    """One change of the recipe; the moves of one drag become one.

    Args:
        use: takes the recipe that is in force from now on.
        key: of the drag; edits of the same key merge.
    """

    def __init__(
        self, use: Callable[[Recipe], None], before: Recipe, after: Recipe, text: str, key: tuple[str, int]
    ) -> None:
        super().__init__(text)
        self._use, self.before, self.after, self.key = use, before, after, key

    def id(self) -> int:
        """All edits may merge."""
        return 1

    def mergeWith(self, other: QUndoCommand) -> bool:
        """Take the other's end where it is of the same drag."""
        if not isinstance(other, Edit) or other.key != self.key:
            return False
        self.after = other.after
        self.setObsolete(self.before == self.after)
        return True

    def redo(self) -> None:
        """Make the change."""
        self._use(self.after)

    def undo(self) -> None:
        """Take it back."""
        self._use(self.before)


class ViewEdit(QUndoCommand):
    """One change of how things are looked at, or of where docks are; it was made before it came into the history.

    Args:
        use: makes everything look like a state, of whatever kind before and after are.
    """

    def __init__(self, use: Callable[[Any], None], before: Any, after: Any, text: str) -> None:
        super().__init__(text)
        self._use, self._before, self._after = use, before, after
        self._is_first = True

    def redo(self) -> None:
        """Make the change again."""
        if not self._is_first:
            self._use(self._after)
        self._is_first = False

    def undo(self) -> None:
        """Take it back."""
        self._use(self._before)
