"""Widgets that lie over their parent: where it is."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget


def parent_of(widget: QWidget) -> QWidget:
    """The parent of a widget that is never without one."""
    parent = widget.parentWidget()
    assert parent is not None
    return parent
