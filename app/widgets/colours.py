"""The colour tables of the plots: RGBA lookup tables and the shared brushes that scatter plots draw with."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from cmap import Colormap
from PySide6.QtGui import QBrush, QColor

from mft_engine.palette import DIVERGING

if TYPE_CHECKING:
    from app.theme import Theme

N_COLOURS = 256

_SIGNED_ON_LIGHT = ("#08366b", "#1f78b9", "#a3a7ae", "#d9651f", "#7d2503")
_SIGNED_ON_DARK = ("#a9dcff", "#3f9be0", "#666c76", "#e87f36", "#ffd0a3")


@lru_cache(maxsize=16)
def _table(name: str, start: float = 0.0, stop: float = 1.0) -> np.ndarray:
    rgba = Colormap(name)(np.linspace(start, stop, N_COLOURS))
    table = np.round(np.asarray(rgba) * 255).astype(np.ubyte)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=4)
def _blend(*colours: str) -> np.ndarray:
    table = np.round(np.asarray(Colormap(list(colours))(np.linspace(0, 1, N_COLOURS))) * 255).astype(np.ubyte)
    table.setflags(write=False)
    return table


def diverging_map() -> np.ndarray:
    """The (256, 4) table for signed functions, blue to red through white; the same on a dark page as in the figures."""
    return _table(DIVERGING, 0.03, 0.97)


def diverging_points(theme: Theme) -> np.ndarray:
    """The (256, 4) table for signed values of points, blue to orange: zero is a grey that stands out from the page."""
    return _blend(*(_SIGNED_ON_DARK if theme.is_dark else _SIGNED_ON_LIGHT))


def sequential_points(theme: Theme) -> np.ndarray:
    """The (256, 4) table for positive values of points, without the end that would vanish into the page."""
    return _table("crameri:batlow", 0.3, 1.0) if theme.is_dark else _table("crameri:batlow", 0.0, 0.8)


def cyclic_points(theme: Theme) -> np.ndarray:
    """The (256, 4) table for angles: its ends meet."""
    return _table("crameri:romaO")


def fade(colour: str, lowest: int = 0, highest: int = 255, power: float = 1.0) -> np.ndarray:
    """A (256, 4) table from transparent to one colour; entry 0 is fully transparent.

    Args:
        colour: hex string.
        lowest, highest: opacity of entries 1 and 255, out of 255.
        power: below 1 opacity rises early, so faint densities stay visible.
    """
    base = QColor(colour)
    table = np.empty((N_COLOURS, 4), np.ubyte)
    table[:, :3] = base.red(), base.green(), base.blue()
    ramp = np.linspace(0.0, 1.0, N_COLOURS) ** power
    table[:, 3] = np.round(lowest + (highest - lowest) * ramp)
    table[0, 3] = 0
    return table


def brushes(table: np.ndarray, opacity: float = 1.0) -> list[QBrush]:
    """One brush per colour of a table; shared by all points, so that the symbol atlas holds at most 256 symbols."""
    return [QBrush(QColor(int(r), int(g), int(b), round(int(a) * opacity))) for r, g, b, a in table]


def with_opacity(colour: str, opacity: float) -> QColor:
    """A colour with its opacity (0..1) replaced."""
    result = QColor(colour)
    result.setAlphaF(opacity)
    return result


def mixed(first: str, second: str, share: float) -> QColor:
    """The colour that is `share` of the second and the rest of the first."""
    a, b = QColor(first), QColor(second)
    keep = 1.0 - share
    return QColor(
        round(a.red() * keep + b.red() * share),
        round(a.green() * keep + b.green() * share),
        round(a.blue() * keep + b.blue() * share),
    )


def colour_index(values: np.ndarray, limit: float, *, is_signed: bool) -> np.ndarray:
    """Entry of a colour table for each value; signed tables map [-limit, limit], others [0, limit].

    Args:
        values: (n,).
        limit: positive; values beyond it take the end colours.

    Returns:
        (n,) uint8.
    """
    scaled = values / limit if limit > 0 else np.zeros_like(values)
    if is_signed:
        scaled = 0.5 * (scaled + 1.0)
    return (np.clip(np.nan_to_num(scaled), 0.0, 1.0) * (N_COLOURS - 1) + 0.5).astype(np.ubyte)


_SEVERAL_ON_LIGHT = ("#0072b2", "#d55e00", "#007a5a", "#b0478a", "#8a6d00", "#3a9bd6", "#6b4fbb", "#5a6370")
_SEVERAL_ON_DARK = ("#56b4e9", "#ff8533", "#3fd3a4", "#e59cc3", "#f0d442", "#2f86c8", "#b3a2ff", "#9ca5b0")


def several(theme: Theme) -> tuple[str, ...]:
    """Eight colours for curves that are told apart by nothing else, after Okabe and Ito: safe for the colour-blind."""
    return _SEVERAL_ON_DARK if theme.is_dark else _SEVERAL_ON_LIGHT
