"""One test over the table of actions, and the palette that is made from it."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget

from app.actions import ACTIONS, BREAKS_AFTER, MENUS, SECOND_SHORTCUTS, TOOLBAR_BREAKS_AFTER, ActionSpec
from app.panels.command_palette import CommandPalette
from app.shell.commands import Commands


@pytest.mark.parametrize("spec", ACTIONS, ids=lambda spec: spec.name)
def test_every_action_has_a_menu_a_text_a_sentence_a_valid_shortcut_and_a_handler(spec: ActionSpec) -> None:
    assert spec.menu in MENUS
    assert spec.text and spec.tip and spec.text != spec.tip
    assert callable(getattr(Commands, spec.handler))
    assert not spec.shortcut or not QKeySequence(spec.shortcut).isEmpty()
    assert spec.icon or not spec.place, "what is on the toolbar has an icon"
    assert spec.needs in ("", "engine", "job")


def test_names_and_shortcuts_are_unique() -> None:
    names = [spec.name for spec in ACTIONS]
    shortcuts = [spec.shortcut for spec in ACTIONS if spec.shortcut] + list(SECOND_SHORTCUTS.values())
    assert len(set(names)) == len(names)
    assert len(set(shortcuts)) == len(shortcuts)
    assert {*BREAKS_AFTER, *TOOLBAR_BREAKS_AFTER, *SECOND_SHORTCUTS} <= set(names)


def test_typing_a_part_of_a_name_and_enter_runs_the_command(qtbot: Any) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    ran: list[str] = []
    actions = []
    for text in ("Reset", "Resample Foreground", "Export"):
        action = QAction(text, owner)
        action.triggered.connect(lambda _=False, text=text: ran.append(text))
        actions.append(action)
    disabled = QAction("Resample nothing", owner)
    disabled.setEnabled(False)
    palette = CommandPalette([*actions, disabled], owner)
    palette.open()
    qtbot.keyClicks(palette.entry, "res")
    assert palette.list.count() == 2
    qtbot.keyClick(palette.entry, Qt.Key.Key_Up)
    qtbot.keyClick(palette.entry, Qt.Key.Key_Down)
    qtbot.keyClicks(palette.entry, "amp")
    qtbot.keyClick(palette.entry, Qt.Key.Key_Return)
    assert ran == ["Resample Foreground"]
    assert not palette.isVisible()
