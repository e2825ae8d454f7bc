"""Any plot of the window as it is on the screen, in its palette: into the clipboard, or a file."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMarginsF, QPoint, QSizeF
from PySide6.QtGui import QImage, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QWidget

# Pixels on paper for every one on the screen.
SHARPNESS = 3
DOTS_PER_MILLIMETRE = 96 / 25.4
KINDS = {"png": "PNG", "tiff": "TIFF", "pdf": "PDF", "svg": "SVG"}


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
    widget.render(painter, QPoint(0, 0))
    painter.end()
    return image


def save_picture(widget: QWidget, path: Path) -> Path:
    """Write a widget as PNG, TIFF, PDF or SVG, by the file's ending; PNG where it has none.

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
    if kind in ("png", "tiff"):
        is_written = _write_pixels(image_of(widget), path, kind)
    else:
        is_written = _draw(widget, path, kind)
    if not is_written:
        raise PictureError(f"The picture cannot be written to {path}")
    return path


def _write_pixels(image: QImage, path: Path, kind: str) -> bool:
    from PIL import Image

    flat = image.convertToFormat(QImage.Format.Format_RGB888)
    size, stride = (flat.width(), flat.height()), flat.bytesPerLine()
    dots = round(25.4 * DOTS_PER_MILLIMETRE * SHARPNESS)
    try:
        picture = Image.frombytes("RGB", size, bytes(flat.constBits()), "raw", "RGB", stride)
        picture.save(path, KINDS[kind], dpi=(dots, dots))
    except OSError:
        return False
    return True


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
    widget.render(painter, QPoint(0, 0))
    return bool(painter.end())
