"""Any plot of the window as it is on the screen, in its palette: into the clipboard, or a file."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QMarginsF, QPoint, QSizeF
from PySide6.QtGui import QImage, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QWidget

from mft_engine.pages import MM_PER_INCH

if TYPE_CHECKING:
    from PIL import Image

# Pixels on paper for every one on the screen.
SHARPNESS = 3
DOTS_PER_MILLIMETRE = 96 / MM_PER_INCH
KINDS = {"png": "PNG", "tiff": "TIFF", "pdf": "PDF", "svg": "SVG", "eps": "EPS"}
POINTS_PER_INCH = 72


class PictureError(ValueError):
    """A picture that cannot be written; the message says why."""


def image_of(widget: QWidget) -> QImage:
    """The widget at three times the screen's sharpness."""
    image = QImage(widget.size() * SHARPNESS, QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(SHARPNESS)
    dots = round(1000 * DOTS_PER_MILLIMETRE * SHARPNESS)
    image.setDotsPerMeterX(dots)
    image.setDotsPerMeterY(dots)
    image.fill(widget.palette().window().color())
    painter = QPainter(image)
    QWidget.render(widget, painter, QPoint(0, 0))  # a plot has a render of its own, of its scene alone
    painter.end()
    return image


def save_picture(widget: QWidget, path: Path) -> Path:
    """Write a widget as PNG, TIFF, PDF, SVG or EPS (of pixels), by the file's ending; PNG where it has none.

    Returns:
        the file.

    Raises:
        PictureError: another ending, or a place that cannot be written.
    """
    path = path if path.suffix else path.with_suffix(".png")
    kind = {"tif": "tiff"}.get(path.suffix[1:].lower(), path.suffix[1:].lower())
    if kind not in KINDS:
        raise PictureError(f"{path.name}: a picture ends with {', '.join('.' + name for name in KINDS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()  # Qt only says that it failed; the system says why
    except OSError as error:
        raise PictureError(f"The picture cannot be written to {path}: {error.strerror or error}") from None
    if kind in ("png", "tiff", "eps"):
        is_written = _write_pixels(image_of(widget), path, kind)
    else:
        is_written = _draw(widget, path, kind)
    if not is_written:
        raise PictureError(f"The picture cannot be written to {path}")
    return path


def pillow_of(image: QImage) -> Image.Image:
    """The same pixels for Pillow, without transparency."""
    from PIL import Image as Pillow

    flat = image.convertToFormat(QImage.Format.Format_RGB888)
    size = flat.width(), flat.height()
    return Pillow.frombytes("RGB", size, bytes(flat.constBits()), "raw", "RGB", flat.bytesPerLine())


def _write_pixels(image: QImage, path: Path, kind: str) -> bool:
    dots = round(MM_PER_INCH * DOTS_PER_MILLIMETRE * SHARPNESS)
    try:
        picture = pillow_of(image)
        if kind == "eps":
            path.write_bytes(_eps(picture, dots))
        else:
            picture.save(path, KINDS[kind], dpi=(dots, dots))
    except OSError:
        return False
    return True


def _eps(picture: Image.Image, dots: int) -> bytes:
    """PostScript as large as on the screen: Pillow alone takes every pixel for a point."""
    memory = io.BytesIO()
    picture.save(memory, "EPS")
    width, height = (side * POINTS_PER_INCH / dots for side in picture.size)
    data = memory.getvalue()
    box = b"%%%%BoundingBox: 0 0 %d %d" % (math.ceil(width), math.ceil(height))
    data = data.replace(b"%%%%BoundingBox: 0 0 %d %d" % picture.size, box, 1)
    return data.replace(b"%d %d scale" % picture.size, b"%.3f %.3f scale" % (width, height), 1)


def _draw(widget: QWidget, path: Path, kind: str) -> bool:
    if kind == "svg":
        device: QSvgGenerator | QPdfWriter = QSvgGenerator()
        assert isinstance(device, QSvgGenerator)
        device.setFileName(str(path))
        device.setSize(widget.size())
        device.setViewBox(widget.rect())
        device.setTitle("MFT Lab")
    else:
        device = QPdfWriter(str(path))
        size = QSizeF(widget.width() / DOTS_PER_MILLIMETRE, widget.height() / DOTS_PER_MILLIMETRE)
        device.setPageSize(QPageSize(size, QPageSize.Unit.Millimeter, "", QPageSize.SizeMatchPolicy.ExactMatch))
        device.setPageMargins(QMarginsF(0, 0, 0, 0))
        device.setTitle("MFT Lab")
    painter = QPainter()
    if not painter.begin(device):
        return False
    if kind == "pdf":
        scale = device.logicalDpiX() / 96
        painter.scale(scale, scale)
    painter.fillRect(widget.rect(), widget.palette().window())
    QWidget.render(widget, painter, QPoint(0, 0))  # a plot has a render of its own, of its scene alone
    return bool(painter.end())
