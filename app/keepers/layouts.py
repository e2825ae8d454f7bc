"""How the docks are arranged: every change that a person makes is an entry of the history, and can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QByteArray, QEvent, QObject, Qt, QTimer, Slot
from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QAbstractButton, QApplication, QDockWidget, QMainWindow, QTabBar

from app.edits import ViewEdit
from app.keepers.saved import Desk

FLOAT_BUTTON = "qt_dockwidget_floatbutton"  # as Qt names it
HELD_MILLISECONDS = 60  # between two looks whether the button of a drag has been let go


@dataclass(frozen=True)
class Arrangement:
    """Where every dock is.

    Attributes:
        state: in Qt's bytes, sizes and tabs included; front: the tab in front at the bottom.
        places: title of a dock -> whether it is closed, whether it floats, its side, the docks that share its tabs.
        tabs: titles in the order of every bar.
    """

    state: bytes
    front: str
    places: dict[str, tuple[bool, bool, object, frozenset[str]]]
    tabs: frozenset[tuple[str, ...]]


class LayoutKeeper(QObject):
    """Tells what a person does to docks from what the program does: only the former is an entry of the history.

    Args:
        put_back: arranges the docks as a named layout has them.
    """

    def __init__(
        self,
        window: QMainWindow,
        docks: list[QDockWidget],
        desk: Desk,
        put_back: Callable[[str], None],
        stack: QUndoStack,
    ) -> None:
        super().__init__(window)
        self._window, self._docks, self._desk = window, docks, desk
        self._put_back, self._stack = put_back, stack
        self._known: Arrangement | None = None
        self._deed = ""  # what a person is doing, empty where it is the program
        self._before: Arrangement | None = None
        self._bars: list[QTabBar] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._settle)
        window.installEventFilter(self)
        for dock in docks:
            dock.installEventFilter(self)
            dock.toggleViewAction().triggered.connect(self._chosen)
            dock.visibilityChanged.connect(self._changed)
            dock.topLevelChanged.connect(self._moved)
            dock.dockLocationChanged.connect(self._moved)
            button = dock.findChild(QAbstractButton, FLOAT_BUTTON)
            if button is not None:
                button.clicked.connect(self._chosen)

    def choose(self, layout: str) -> None:
        """A named layout, as a person has chosen it."""
        self._begin(f"layout {layout.capitalize()}")
        self._put_back(layout)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The button that closes a dock closes it, where the program hides it; sizes change while the mouse is down."""
        if event.type() == QEvent.Type.Close and isinstance(watched, QDockWidget):
            self._begin(f"close {watched.windowTitle()}")
        elif event.type() in (QEvent.Type.MouseButtonRelease, QEvent.Type.Resize) and watched is self._window:
            self._timer.start(0)
        return False

    def _follow_bars(self) -> None:
        """Qt makes bars of tabs as it needs them."""
        bars = self._desk.bars()
        for bar in bars:
            if bar not in self._bars:
                bar.tabMoved.connect(self._tab_moved)
        self._bars = bars

    def _arrangement(self) -> Arrangement:
        return Arrangement(
            bytes(self._desk.save_layout().data()),
            self._desk.front(),
            {
                dock.windowTitle(): (
                    dock.isHidden(),
                    dock.isFloating(),
                    self._window.dockWidgetArea(dock),
                    frozenset(other.windowTitle() for other in self._window.tabifiedDockWidgets(dock)),
                )
                for dock in self._docks
            },
            frozenset(tuple(bar.tabText(k) for k in range(bar.count())) for bar in self._bars if bar.isVisible()),
        )

    def _begin(self, deed: str) -> None:
        if self._window.isVisible() and not self._deed:
            self._deed, self._before = deed, self._known
        self._timer.start(0)

    @Slot()
    def _chosen(self) -> None:
        """In the View menu, or by the button that makes a dock float: the change is made already."""
        self._begin("docks")

    @Slot()
    def _moved(self) -> None:
        """Dragged, or given a double click: the program moves docks while no button is down."""
        dock = self.sender()
        if isinstance(dock, QDockWidget) and self._is_held():
            self._begin(f"move {dock.windowTitle()}")
        self._timer.start(0)

    @Slot(int, int)
    def _tab_moved(self, start: int, end: int) -> None:
        if self._is_held():
            self._begin("move tabs")

    @Slot()
    def _changed(self) -> None:
        self._timer.start(0)

    @Slot()
    def _settle(self) -> None:
        """Docks are where they are going to be: what a person did is an entry now."""
        if not self._window.isVisible():
            return
        if self._is_held():
            self._timer.start(HELD_MILLISECONDS)
            return
        self._desk.tidy()
        self._follow_bars()
        before, deed, now = self._before, self._deed, self._arrangement()
        self._known, self._before, self._deed = now, None, ""
        if deed and before is not None and self._differ(before, now, deed):
            words = deed if deed.startswith("layout") else _words(before, now) or deed
            self._stack.push(ViewEdit(self._restore, before, now, words))

    @staticmethod
    def _differ(before: Arrangement, now: Arrangement, deed: str) -> bool:
        if (before.places, before.tabs) != (now.places, now.tabs):
            return True
        # A layout also says how large docks are and which is in front; a dock may move among its neighbours.
        return before.state != now.state and deed.startswith(("layout", "move"))

    def _restore(self, arrangement: Arrangement) -> None:
        self._desk.restore_layout(QByteArray(arrangement.state))
        self._desk.bring_to_front(arrangement.front)
        self._timer.start(0)

    @staticmethod
    def _is_held() -> bool:
        return bool(QApplication.mouseButtons() & Qt.MouseButton.LeftButton)


def _words(before: Arrangement, now: Arrangement) -> str:
    """What one dock did; empty where it was none, or several."""
    changed = [title for title, place in now.places.items() if place[:3] != before.places[title][:3]]
    if len(changed) != 1:
        return ""
    (was_hidden, was_floating, *_), (is_hidden, floats, *_) = before.places[changed[0]], now.places[changed[0]]
    if was_hidden != is_hidden:
        return f"{'close' if is_hidden else 'show'} {changed[0]}"
    if was_floating != floats:
        return f"{'float' if floats else 'dock'} {changed[0]}"
    return f"move {changed[0]}"
