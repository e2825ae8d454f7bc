"""Start and end of the program: the window is on the screen first, then the engine is loaded behind it."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Before anything imports torch: spinning OpenMP threads beside a window make small steps many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Many-threaded BLAS beside busy threads makes the small products of the theory many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from loguru import logger
from PySide6.QtCore import QLocale, QObject, QTimer, Signal, Slot
from PySide6.QtGui import QIcon, QImageWriter
from PySide6.QtWidgets import QApplication, QWidget

from app.theme import Mode
from mft_engine.cli.doctor import guard
from mft_engine.recipe import Recipe, RecipeError, load_recipe
from mft_engine.resources import resources_folder

USUAL_RECIPE = "clover"
SCREENSHOT_AFTER = 10.0
ENGINE_AFTER_MILLISECONDS = 60
SWITCH_INTERVAL = 0.001
LONGEST_SECONDS = 1_000_000


class _Voice(QObject):
    """Carries a sentence from whatever thread failed to the window's thread."""

    said = Signal(str)


def main(
    recipe_source: str | None = None,
    play: bool = False,
    screenshot: Path | None = None,
    quit_after: float | None = None,
    device: str | None = None,
    followed: Path | None = None,
) -> int:
    """Open the window and run until it is closed.

    Args:
        recipe_source: a recipe file, run folder or shipped recipe; None for the one of the last session.
        play: start training as soon as the engine is loaded.
        screenshot: write a picture of the whole window just before quitting (after 10 s where `quit_after` is None).
        quit_after: seconds after which the window closes by itself.
        device: overrides `engine.device`.
        followed: the folder of a watched training, which has a window of its own.

    Returns:
        the exit code: 0, 1 where the picture could not be written, 2 for a recipe or a time that cannot be used.
    """
    fault = guard()
    if fault is None and quit_after is not None and not 0 <= quit_after <= LONGEST_SECONDS:
        print(f"--quit-after {quit_after:g}: choose a number of seconds from 0 to {LONGEST_SECONDS:,}", file=sys.stderr)
        return 2
    if fault is not None:
        print(fault, file=sys.stderr)
        return 1
    # The engine's thread holds the interpreter for at most this long before the window gets its turn.
    sys.setswitchinterval(SWITCH_INTERVAL)
    if followed is not None:
        return _follow(followed, screenshot, quit_after)
    from pyqtgraph.util.garbage_collector import GarbageCollector

    from app.logs import ExceptionHook, LogBuffer, quiet_standard_error, watch_for_crashes
    from app.session import Session
    from app.settings import Settings
    from app.shell.interrupts import InterruptKeeper
    from app.stalls import StallWatch
    from app.theme import ThemeKeeper
    from app.window import MainWindow

    quiet_standard_error()
    log = LogBuffer()
    settings = Settings()
    try:
        source = recipe_source or last_run(settings.last_run)
        recipe = first_recipe(source, device, settings.recipe)
        origin = stored_run(source)
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 2
    application = _application()
    interrupts = InterruptKeeper(application.closeAllWindows, application)
    crashes = watch_for_crashes(settings.log_folder)
    themes = ThemeKeeper(_mode(settings.get("theme", "system")), application)
    themes.apply()
    session = Session(recipe, origin=origin, store=settings.runs_folder)
    voice = _Voice()
    hook = ExceptionHook(voice.said.emit)
    # In the engine's thread Python's collector could free a widget, which Qt does not survive: a timer does its work.
    collector = GarbageCollector()
    # What exists once the engine is loaded is never looked through again: a pause of 0.3 s less.
    session.engine_ready.connect(lambda ready: gc.freeze())
    # Loading is known to keep the interpreter; from then on the log names whatever stops the window.
    watch = StallWatch()
    session.engine_ready.connect(lambda ready: watch.start())
    window = MainWindow(session, settings, themes, log)
    voice.said.connect(window.show_defect)
    session.engine_ready.connect(lambda ready: session.play() if play else None)
    if not (play or recipe_source or screenshot or quit_after):
        session.engine_ready.connect(lambda ready: window.welcome())
    ending = _Ending(window, screenshot, quit_after)
    window.show()
    # The first picture of the window comes before the first line of the engine.
    QTimer.singleShot(ENGINE_AFTER_MILLISECONDS, session.start)
    code = application.exec()
    watch.stop()
    ending.stop()
    if ending.fault:
        print(ending.fault, file=sys.stderr)
        code = 1
    collector.timer.stop()
    gc.enable()
    is_over = session.close()
    interrupts.stop()
    hook.remove()
    log.close()
    if crashes is not None:
        sys.stderr.flush()
    if not is_over:
        # A library is being loaded in the engine's thread, which nothing can interrupt; everything is saved.
        logger.complete()
        os._exit(code)
    return code


def _follow(folder: Path, screenshot: Path | None, quit_after: float | None) -> int:
    """The window of a watched training, until it is closed; arguments and exit code as `main`."""
    from pyqtgraph.util.garbage_collector import GarbageCollector

    from app.settings import Settings
    from app.shell.interrupts import InterruptKeeper
    from app.theme import ThemeKeeper
    from app.watched.window import WatchedWindow

    application = _application()
    interrupts = InterruptKeeper(application.closeAllWindows, application)
    themes = ThemeKeeper(_mode(Settings().get("theme", "system")), application)
    themes.apply()
    collector = GarbageCollector()
    window = WatchedWindow(folder.absolute(), themes)
    ending = _Ending(window, screenshot, quit_after)
    window.show()
    code = application.exec()
    interrupts.stop()
    collector.timer.stop()
    gc.enable()
    if ending.fault:
        print(ending.fault, file=sys.stderr)
        return 1
    return code


def _application() -> QApplication:
    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    application.setApplicationName("MFT Lab")
    application.setApplicationDisplayName("MFT Lab")
    application.setDesktopFileName("mft-lab")
    application.setWindowIcon(QIcon(str(resources_folder() / "icons" / "mft-lab.svg")))
    # Numbers are written and read by one rule (`app.widgets.words`), whatever the country of the machine.
    QLocale.setDefault(QLocale(QLocale.Language.C))
    return application


def _mode(kept: str) -> Mode:
    return kept if kept in ("system", "light", "dark") else "system"  # type: ignore[return-value]


def first_recipe(source: str | None, device: str | None, last: Recipe | None) -> Recipe:
    """The recipe to begin with: the one asked for, else the last session's, else the clover.

    Raises:
        RecipeError: what was asked for cannot be used.
    """
    if source is not None:
        recipe = load_recipe(source)
    else:
        recipe = last or load_recipe(USUAL_RECIPE)
    return recipe.replace({"engine.device": device}) if device is not None else recipe


def last_run(folder: Path | None) -> str | None:
    """The run that was on the screen last, shown again where it stood; None where there is none that can be read."""
    if folder is not None:
        try:
            load_recipe(folder)
            return str(folder)
        except RecipeError as error:
            logger.warning("The last run cannot be shown again: {}", error)
    return None


def stored_run(source: str | None) -> Path | None:
    """The run folder that was asked for; None where it was a recipe, or nothing."""
    folder = Path(source) if source is not None else None
    return folder.resolve() if folder is not None and os.path.isdir(folder) else None


class _Ending(QObject):
    """Takes the picture and closes the window when its time has come."""

    def __init__(self, window: QWidget, screenshot: Path | None, quit_after: float | None) -> None:
        super().__init__(window)
        self._window, self._screenshot = window, screenshot
        self.fault = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._end)
        if quit_after is None and screenshot is not None:
            quit_after = SCREENSHOT_AFTER
        if quit_after is not None:
            self._timer.start(round(1000 * quit_after))

    @Slot()
    def _end(self) -> None:
        if self._screenshot is not None:
            self.fault = self._take_picture(self._screenshot)
        self._window.close()

    def _take_picture(self, path: Path) -> str:
        """Write the picture; returns why it cannot be written, in a sentence."""
        known = sorted(bytes(name.data()).decode() for name in QImageWriter.supportedImageFormats())
        if path.suffix[1:].lower() not in known:
            return f"The picture of the window cannot be written to {path}: its name must end with .png or .jpg"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"The picture of the window cannot be written to {path}: {error.strerror or error}"
        writer = QImageWriter(str(path))
        if not writer.write(self._window.grab().toImage()):
            return f"The picture of the window cannot be written to {path}: {writer.errorString()}"
        return ""

    def stop(self) -> None:
        """No ending by itself any more."""
        self._timer.stop()
