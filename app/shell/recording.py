"""The cloud as a film while something happens: training, a drag of the slider, turns of the loop."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from PySide6.QtCore import QObject, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

from app.shell.pictures import pillow_of
from mft_engine import films

FRAMES_PER_SECOND = 12.0
MOST_FRAMES = 300
WIDEST = 800
LOOK_MILLISECONDS = 60
ENDINGS = {".gif": "gif", ".png": "apng", ".apng": "apng", ".mp4": "mp4", "": "png"}


class Recorder(QObject):
    """Takes pictures of a widget at a steady pace until it is stopped, then writes them in a thread of its own.

    A long recording keeps every other frame and goes on at half the pace: the film is never longer than some 25 s,
    and never needs more than a few hundred pictures.
    """

    written = Signal(object)  # path
    failed = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._widget: QWidget | None = None
        self._frames: list[QImage] = []
        self._interval = 1 / FRAMES_PER_SECOND
        self._at = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(round(1000 / FRAMES_PER_SECOND))
        self._timer.timeout.connect(self._take)
        self._look = QTimer(self)
        self._look.setInterval(LOOK_MILLISECONDS)
        self._look.timeout.connect(self._take_note)
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[Path] | None = None

    @property
    def is_recording(self) -> bool:
        """Whether pictures are being taken."""
        return self._widget is not None

    @property
    def n_frames(self) -> int:
        """Pictures taken so far."""
        return len(self._frames)

    def start(self, widget: QWidget) -> None:
        """Begin; what was recorded before is forgotten."""
        self._widget, self._frames = widget, []
        self._interval, self._at = 1 / FRAMES_PER_SECOND, 0.0
        self._timer.start()
        self._take()

    def stop(self) -> None:
        """No further picture."""
        self._widget = None
        self._timer.stop()

    def write(self, path: Path) -> None:
        """Write what was recorded as the file's ending says: GIF, animated PNG, MP4, or a folder of frames.

        `written` or `failed` tells the end.
        """
        form = ENDINGS.get(path.suffix.lower())
        if form is None:
            self.failed.emit(
                f"{path.name}: a film ends with .gif, .png or .mp4; without an ending it is a folder of frames"
            )
            return
        frames, self._frames = self._frames, []
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, "film")
        self._writing = self._writer.submit(_write, frames, path, form)
        self._look.start()

    def close(self) -> None:
        """The window closes: nothing more is recorded, and what is being written is waited for."""
        self.stop()
        self._look.stop()
        if self._writer is not None:
            self._writer.shutdown(wait=True)
            self._writer = None

    @Slot()
    def _take(self) -> None:
        now = time.monotonic()
        if self._widget is None or now - self._at < 0.9 * self._interval:
            return
        self._at = now
        image = self._widget.grab().toImage()
        if image.width() > WIDEST:
            image = image.scaledToWidth(WIDEST, Qt.TransformationMode.SmoothTransformation)
        self._frames.append(image.convertToFormat(QImage.Format.Format_RGB888))
        if len(self._frames) >= MOST_FRAMES:
            self._frames = self._frames[::2]
            self._interval *= 2

    @Slot()
    def _take_note(self) -> None:
        if self._writing is None or not self._writing.done():
            return
        self._look.stop()
        writing, self._writing = self._writing, None
        try:
            self.written.emit(writing.result())
        except (films.FilmError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.failed.emit(f"The film cannot be written: {reason}")


def _write(frames: list[QImage], path: Path, form: str) -> Path:
    size = frames[-1].size() if frames else QSize()
    pictures = [_picture(frame, size) for frame in frames]
    if form == "png":
        path.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            (path / f"{number:04d}.png").write_bytes(films.encoded_frame(picture))
        return path
    from mft_engine.experiment.storage import RunError, write_atomically  # long to load

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, films.encode(pictures, form, frames_per_second=FRAMES_PER_SECOND))
    except RunError as error:
        raise films.FilmError(str(error)) from None
    return path


def _picture(frame: QImage, size: QSize) -> Image.Image:
    """As Pillow has it; the window may have been resized meanwhile, and films have one size."""
    return pillow_of(frame if frame.size() == size else frame.scaled(size))
