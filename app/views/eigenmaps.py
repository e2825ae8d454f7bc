"""Eigenfunctions of the data kernel as heat maps: background above, foreground below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolTip, QWidget

from app.theme import LIGHT, Theme
from app.widgets.colours import colour_index, diverging_map, mixed
from app.widgets.words import written

if TYPE_CHECKING:
    from mft_engine.questions.kernel_spectrum import KernelSpectrum
    from mft_engine.questions.kernel_study import DataKernels

_NAMES = ("background", "foreground")
_GAP, _TITLE_GAP, _SIDE_LABEL, _SMALLEST = 12.0, 4.0, 18.0, 24.0


class EigenMaps(QWidget):
    """The leading eigenfunctions on the input plane, each with its eigenvalue and its share of the target.

    Every map has a colour scale of its own, symmetric about zero: eigenfunctions have no scale but norm one.
    """

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._kernels: DataKernels | None = None
        self._images: dict[str, list[QImage]] = {}
        self.places: dict[tuple[str, int], QRectF] = {}
        self.setMouseTracking(True)
        self.setMinimumSize(130, 100)
        self.setAccessibleName("Eigenfunctions of the data kernel as heat maps")

    def sizeHint(self) -> QSize:
        return QSize(420, 180)

    @property
    def n_shown(self) -> int:
        """Columns that there is room for."""
        return len({k for _, k in self.places})

    def show_kernels(self, kernels: DataKernels | None) -> None:
        """Draws the maps of both clouds; None, or kernels without maps, draws nothing."""
        self._kernels = kernels
        self._images = {}
        self.places = {}
        table = diverging_map()
        for name in _NAMES:
            maps = getattr(kernels, f"{name}_maps", None)
            if maps is None:
                continue
            images = []
            for values in maps:
                # The corners of the square hold next to no data and often the largest values.
                limit = float(np.nanquantile(np.abs(values), 0.95)) if np.isfinite(values).any() else 1.0
                rows = np.ascontiguousarray(table[colour_index(values[::-1], limit, is_signed=True)])
                height, width = values.shape
                images.append(QImage(rows.data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy())
            self._images[name] = images
        self.update()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._theme.panel))
        if self._kernels is None or "background" not in self._images:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.85)
        painter.setFont(small)
        metrics = QFontMetricsF(small)
        self._lay_out(metrics)
        edge = mixed(self._theme.panel, self._theme.text, 0.35)
        for (name, k), place in self.places.items():
            spectrum = self._kernels.spectra.get(name)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            if spectrum is None or name not in self._images:
                painter.setPen(QPen(edge, 1, Qt.PenStyle.DashLine))
                painter.drawRect(place)
                continue
            painter.drawImage(place, self._images[name][k])
            painter.setPen(QPen(edge, 1))
            painter.drawRect(place)
            painter.setPen(QColor(self._theme.text))
            title = QRectF(place.center().x() - 60, place.top() - metrics.height() - 1, 120, metrics.height())
            painter.drawText(title, Qt.AlignmentFlag.AlignCenter, _title(spectrum, k))
        for name in _NAMES:
            row = self.places[name, 0]
            painter.save()
            painter.translate(QPointF(row.left() - 6, row.center().y()))
            painter.rotate(-90)
            painter.setPen(QColor(getattr(self._theme, f"{name}_cloud")))
            painter.drawText(QRectF(-60, -metrics.height(), 120, metrics.height()), Qt.AlignmentFlag.AlignCenter, name)
            painter.restore()

    def _lay_out(self, metrics: QFontMetricsF) -> None:
        """Two rows of equal squares, as many columns as fit beside each other with their titles."""
        line = metrics.height() + 2
        side = max((self.height() - 2 * line - 16) / 2, _SMALLEST)
        title = metrics.horizontalAdvance("0.0000 · 00 %")
        n_maps = len(self._images["background"])
        pitch = max(side, title) + _GAP
        n_columns = int(np.clip((self.width() - _SIDE_LABEL) / pitch, 1, n_maps))
        if n_columns < min(4, n_maps):
            # Smaller maps rather than fewer than four, as long as the titles fit.
            n_columns = int(np.clip((self.width() - _SIDE_LABEL) / (title + _TITLE_GAP), 1, min(4, n_maps)))
        pitch = (self.width() - _SIDE_LABEL) / n_columns
        side = max(min(side, pitch - _TITLE_GAP), _SMALLEST)
        pitch = min(pitch, max(side, title) + 2.5 * _GAP)
        left = _SIDE_LABEL + (self.width() - _SIDE_LABEL - n_columns * pitch) / 2
        top = max((self.height() - 2 * (side + line) - 16) / 2, 0.0)
        self.places = {
            (name, k): QRectF(left + k * pitch + (pitch - side) / 2, top + line + row * (side + line + 8), side, side)
            for row, name in enumerate(_NAMES)
            for k in range(n_columns)
        }

    # Values under the mouse

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        text = self.words_at(event.position())
        if text:
            QToolTip.showText(event.globalPosition().toPoint(), text, self)
        else:
            QToolTip.hideText()

    def words_at(self, position: QPointF) -> str:
        """What is under a point of the widget: cloud, number, eigenvalue with error, share, value; empty outside."""
        for (name, k), place in self.places.items():
            maps = getattr(self._kernels, f"{name}_maps", None)
            if maps is None or self._kernels is None or not place.contains(position):
                continue
            spectrum, extent, n = self._kernels.spectra[name], self._kernels.extent, len(maps[k])
            across = (position.x() - place.left()) / place.width()
            up = (place.bottom() - position.y()) / place.height()
            value = maps[k][min(int(up * n), n - 1), min(int(across * n), n - 1)]
            return (
                f"{name}, eigenfunction {k + 1}\n"
                f"eigenvalue {written(spectrum.eigenvalues[k])} ± {written(spectrum.errors[k], 2)}\n"
                f"{share_words(spectrum.target_shares[k])} of the target's power\n"
                f"at x = ({(2 * across - 1) * extent:.2f}, {(2 * up - 1) * extent:.2f}): {value:.3f}"
            ).replace("-", "−")
        return ""


def share_words(share: float) -> str:
    """A part of the whole in per cent, short."""
    percent = 100 * share
    return "0 %" if percent < 0.05 else f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def _title(spectrum: KernelSpectrum, k: int) -> str:
    eigenvalue = f"{spectrum.eigenvalues[k]:#.2g}".replace("e-0", "e−")
    return f"{eigenvalue} · {share_words(spectrum.target_shares[k])}"
