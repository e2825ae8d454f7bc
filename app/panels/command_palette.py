"""The command palette: any command by typing a part of its name."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Slot
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

ROW_MARGIN = 10  # the stylesheet's padding of an item


class CommandPalette(QDialog):
    """A line to type in and the commands that match, best first; Enter runs the chosen one."""

    def __init__(self, actions: Iterable[QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("command_palette")
        self.setAccessibleName("Command palette")
        self._actions = [action for action in actions if action.isEnabled()]
        self.entry = QLineEdit(self)
        self.entry.setPlaceholderText("Type a command …")
        self.entry.setAccessibleName("Command")
        self.list = QListWidget(self)
        self.list.setAccessibleName("Commands that match")
        self.entry.setToolTip("A part of a command's name; Enter runs the one that is marked")
        self.list.setToolTip("The arrow keys choose, Enter runs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addWidget(self.entry)
        layout.addWidget(self.list)
        self.resize(520, 360)
        self.entry.textChanged.connect(self.show_matches)
        self.entry.returnPressed.connect(self._run)
        self.list.itemClicked.connect(self._run)
        self.entry.installEventFilter(self)
        self.list.installEventFilter(self)
        self.show_matches("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Arrow keys in the line move in the list; Enter in the list runs."""
        if watched is self.entry and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            moves = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}
            if event.key() in moves and self.list.count():
                row = (self.list.currentRow() + moves[Qt.Key(event.key())]) % self.list.count()
                self.list.setCurrentRow(row)
                return True
        if watched is self.list and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run()
                return True
        return super().eventFilter(watched, event)

    @Slot(str)
    def show_matches(self, typed: str) -> None:
        """List the commands that contain the typed letters, those that begin with them first."""
        self.list.clear()
        words = typed.lower().split()
        for action in sorted(self._actions, key=lambda a: (_rank(a, typed.lower()), _text(a))):
            text = _text(action)
            if not all(word in f"{text} {action.toolTip()}".lower() for word in words):
                continue
            item = QListWidgetItem(self.list)
            item.setData(Qt.ItemDataRole.UserRole, self._actions.index(action))
            item.setData(Qt.ItemDataRole.AccessibleTextRole, text)
            line = QWidget()
            line.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            inside = QHBoxLayout(line)
            inside.setContentsMargins(6, 2, 6, 2)
            inside.addWidget(QLabel(text))
            inside.addStretch(1)
            keys = QLabel(action.shortcut().toString(QKeySequence.SequenceFormat.NativeText))
            keys.setProperty("role", "muted")
            inside.addWidget(keys)
            item.setSizeHint(line.sizeHint() + QSize(0, ROW_MARGIN))
            self.list.setItemWidget(item, line)
        self.list.setCurrentRow(0)

    @Slot()
    def _run(self) -> None:
        item = self.list.currentItem()
        self.accept()
        if item is not None:
            self._actions[item.data(Qt.ItemDataRole.UserRole)].trigger()


def _rank(action: QAction, typed: str) -> int:
    """0: begins with it, 1: contains it, 2: only its explanation does."""
    text = _text(action).lower()
    return 0 if text.startswith(typed) else 1 if typed in text else 2


def _text(action: QAction) -> str:
    return action.text().replace("&", "")
