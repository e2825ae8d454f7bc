"""What journeys are walked with: a window on the real engine, mouse and keys, and pictures of what is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QImage
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QMenu,
    QScrollArea,
    QTabBar,
    QToolBar,
    QWidget,
)

from app.logs import LogBuffer
from app.session import Session
from app.settings import Settings
from app.theme import Mode, ThemeKeeper
from app.widgets.controls import ChoiceControl, LogControl, NumberControl
from app.window import MainWindow
from mft_engine.recipe import Recipe, load_recipe

LEFT = Qt.MouseButton.LeftButton
LONG = 120_000
SMALL = {
    "network.n_neurons": 256,
    "foreground.n_neurons": 256,
    "comparison.n_permutations": 199,
    "training.time": 12.0,
    "engine.n_threads": 1,
}


def pixel(plot: Any, x: float, y: float) -> QPoint:
    return plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))


def draw_around(
    qtbot: Any, plot: Any, low: float, high: float, held: Qt.KeyboardModifier = Qt.KeyboardModifier.ShiftModifier
) -> None:
    """A square line around the quarter of the plane where both coordinates lie between two values."""
    corners = [pixel(plot, x, y) for x, y in ((low, low), (high, low), (high, high), (low, high), (low, low))]
    viewport = plot.viewport()
    qtbot.mousePress(viewport, LEFT, held, corners[0])
    for corner in corners[1:]:
        qtbot.mouseMove(viewport, corner)
    qtbot.mouseRelease(viewport, LEFT, held, corners[-1])


@dataclass(frozen=True)
class Look:
    """How large a window is, and in which colours."""

    mode: Mode
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.mode}-{self.width}x{self.height}"


LOOKS = [Look(mode, *size) for size in ((1280, 720), (1920, 1080)) for mode in ("light", "dark")]  # type: ignore[arg-type]


class Journey:
    """One person at one window after the other, all on the same folder of settings and runs.

    Args:
        folder: settings and runs; pictures: where the screenshots go, named after the journey and the look.
    """

    def __init__(self, qtbot: Any, look: Look, folder: Path, pictures: Path) -> None:
        self.qtbot, self.look, self.folder, self.pictures = qtbot, look, folder, pictures
        self.themes = ThemeKeeper(look.mode, QApplication.instance())
        self.themes.apply()
        self.faults: list[str] = []
        self._open: list[tuple[MainWindow, LogBuffer]] = []

    # Coming and going ----------------------------------------------------------------------------------------

    def start(self, recipe: Recipe | None = None, origin: Path | None = None) -> MainWindow:
        """The program starts: with a recipe, with a stored run, or as it was left."""
        settings = Settings(self.folder / "state")
        if recipe is None:
            origin = origin or settings.last_run
            recipe = load_recipe(origin) if origin is not None else settings.recipe or load_recipe("clover")
        session, log = Session(recipe, origin=origin, store=settings.runs_folder), LogBuffer()
        session.failed.connect(self.faults.append)
        window = MainWindow(session, settings, self.themes, log)
        self._open.append((window, log))
        window.resize(self.look.width, self.look.height)
        window.show()
        self._come_to_front()
        with self.qtbot.waitSignal(session.snapshot_ready, timeout=LONG):
            session.start()
        return window

    def end(self) -> None:
        """Every window is closed."""
        for window, log in self._open:
            window.close()
            log.close()
            window.deleteLater()
        self._open.clear()
        self.themes.deleteLater()
        QApplication.processEvents()

    @property
    def window(self) -> MainWindow:
        """The window that was opened last."""
        return self._open[-1][0]

    @property
    def session(self) -> Session:
        """Its session."""
        return self.window.session

    # Mouse and keys ------------------------------------------------------------------------------------------

    def click(self, widget: QWidget, place: QPoint | None = None) -> None:
        """A click on what can be seen, in its middle unless told where."""
        assert widget.isVisible() and widget.isEnabled(), f"{widget} cannot be clicked"
        self.qtbot.mouseClick(widget, LEFT, pos=place or widget.rect().center())

    def press(self, name: str) -> None:
        """A button of the toolbar."""
        bar = self.window.findChild(QToolBar, "toolbar")
        self.click(bar.widgetForAction(self.window.actions_by_name[name]))

    def key(self, key: Qt.Key, held: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """A key of the window, as a shortcut."""
        self._come_to_front()
        self.window.setFocus()
        self.qtbot.keyClick(self.window, key, held)

    def pick_from_menu(self, name: str) -> None:
        """An entry of the menu bar."""
        action, bar = self.window.actions_by_name[name], self.window.menuBar()
        menu = next(menu for menu in bar.findChildren(QMenu) if action in menu.actions())
        self.qtbot.mouseClick(bar, LEFT, pos=bar.actionGeometry(menu.menuAction()).center())
        self.qtbot.waitUntil(menu.isVisible)
        self.qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(action).center())

    def look_at(self, name: str) -> None:
        """The tab of a dock is clicked."""
        title = self.window.docks[name].windowTitle()
        for bar in self.window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            for number in range(bar.count()):
                if bar.isVisible() and bar.tabText(number) == title:
                    self.qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(number).center())
                    self.qtbot.waitUntil(lambda: not self.window.docks[name].visibleRegion().isEmpty())
                    return
        raise AssertionError(f"there is no tab {title}")

    def choose(self, box: QComboBox, text: str) -> None:
        """An entry of a list: opened by the mouse, found by typing, taken by Enter."""
        self._bring_into_sight(box)
        self.click(box)
        view = box.view()
        self.qtbot.waitUntil(view.isVisible)
        self.qtbot.keyClicks(view, text)
        assert view.currentIndex().data().startswith(text), f"no entry begins with {text}"
        self.qtbot.keyClick(view, Qt.Key.Key_Return)
        self.qtbot.waitUntil(lambda: not view.isVisible())

    def choose_value(self, path: str, text: str) -> None:
        """A choice of the experiment dock."""
        control = self.window.experiment.reveal(path).control
        assert isinstance(control, ChoiceControl)
        self.choose(control.box, text)

    def type(self, entry: QLineEdit, text: str) -> None:
        """A field is filled anew and Enter pressed."""
        self._bring_into_sight(entry)
        self.click(entry)
        entry.selectAll()
        self.qtbot.keyClicks(entry, text)
        self.qtbot.keyClick(entry, Qt.Key.Key_Return)

    def type_value(self, path: str, text: str) -> None:
        """A number of the experiment dock."""
        control = self.window.experiment.reveal(path).control
        assert isinstance(control, NumberControl)
        self.type(control.entry, text)

    def drag_slider(self, path: str, *steps: int) -> None:
        """The handle of a logarithmic slider is taken and moved by so many pixels at a time."""
        control = self.window.experiment.reveal(path).control
        assert isinstance(control, LogControl)
        slider = control.log_slider.slider
        x, y = round(8 + slider.value() / 1000 * (slider.width() - 16)), slider.height() // 2
        self.qtbot.mousePress(slider, LEFT, pos=QPoint(x, y))
        for step in steps:
            x += step
            self.qtbot.mouseMove(slider, QPoint(x, y))
            self.qtbot.wait(20)
        self.qtbot.mouseRelease(slider, LEFT, pos=QPoint(x, y))

    def name_file(self, path: Path) -> None:
        """The next dialog for a file or folder gets this path pasted, and Enter."""

        def answer() -> None:
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QFileDialog):
                QTimer.singleShot(20, answer)
                return
            entry = dialog.findChild(QLineEdit, "fileNameEdit")
            entry.setFocus()
            entry.selectAll()
            QApplication.clipboard().setText(str(path))  # typing would be completed on the way
            self.qtbot.keyClick(entry, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
            self.qtbot.keyClick(entry, Qt.Key.Key_Return)

        QTimer.singleShot(0, answer)

    def wait_for(self, what: str, act: Callable[[], Any], timeout: int = LONG, **checks: Any) -> Any:
        """Do something, and wait until the session has said a thing; returns what it said."""
        with self.qtbot.waitSignal(getattr(self.session, what), timeout=timeout, **checks) as said:
            act()
        return said.args[0]

    def _come_to_front(self) -> None:
        """Keys reach the active window only, and the list of a choice may have been that."""
        self.window.activateWindow()
        self.qtbot.waitUntil(self.window.isActiveWindow)

    def rest(self, timeout: int = LONG) -> None:
        """Until the engine has nothing to do: what follows a verdict has been answered, and is kept."""
        worker = self.session._worker

        def is_idle() -> bool:
            return not (self.session.jobs or worker._jobs or worker._is_certificate_due or worker._is_theory_due)

        self.qtbot.waitUntil(is_idle, timeout=timeout)
        self.qtbot.wait(100)  # what it said last is drawn

    def _bring_into_sight(self, widget: QWidget) -> None:
        parent = widget.parentWidget()
        while parent is not None:
            if isinstance(parent, QScrollArea):
                parent.ensureWidgetVisible(widget)
            parent = parent.parentWidget()
        QApplication.processEvents()

    # Pictures ------------------------------------------------------------------------------------------------

    def picture(self, name: str, widget: QWidget | None = None) -> QImage:
        """A screenshot of the window (or of another), kept as a file; one colour alone would be no picture."""
        shown = widget or self.window
        self.qtbot.wait(150)  # icons, axes and tables settle
        image = shown.grab().toImage()
        if widget is None:
            assert (image.width(), image.height()) == (self.look.width, self.look.height)
        pixels = np.frombuffer(image.convertToFormat(QImage.Format.Format_RGB32).constBits(), np.uint32)
        assert len(np.unique(pixels[::7])) > 200, f"{name} shows next to nothing"
        self.pictures.mkdir(parents=True, exist_ok=True)
        assert image.save(str(self.pictures / f"{name}-{self.look}.png"))
        return image
