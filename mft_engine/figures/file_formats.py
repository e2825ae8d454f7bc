"""A figure as the bytes of a file, for every format; the same figure is the same file, for none has a date in it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from mft_engine.figures.sheet import DPI
from mft_engine.figures.svg_fonts import embed_fonts

# What journals ask of pictures of dots that have lines and letters.
DPI_OF_PRINT = 600
DATA_FORMATS = ("npz", "csv", "safetensors")


class ExportError(ValueError):
    """An export that is not possible; the message says what is missing or allowed."""


def _saved(figure: Figure, form: str, dpi: int, metadata: dict[str, None] | None) -> bytes:
    memory = io.BytesIO()
    figure.savefig(memory, format=form, dpi=dpi, metadata=metadata)
    return memory.getvalue()


def _tiff(figure: Figure) -> bytes:
    """Without the transparency that presses cannot print, packed without loss."""
    memory = io.BytesIO()
    with Image.open(io.BytesIO(_saved(figure, "png", DPI_OF_PRINT, {}))) as picture:
        picture.convert("RGB").save(memory, "TIFF", compression="tiff_lzw", dpi=(DPI_OF_PRINT, DPI_OF_PRINT))
    return memory.getvalue()


def _eps(figure: Figure) -> bytes:
    """PostScript knows no transparency: what shines through is drawn in the colour that it has on white, and nothing
    is made pixels, which would cover what is below them."""
    before: list[tuple[Artist, dict[str, object]]] = []
    for artist in figure.findobj(lambda found: found.get_alpha() not in (None, 1.0) or bool(found.get_rasterized())):
        alpha, colours = artist.get_alpha(), _colours(artist)
        before.append((artist, {**colours, "alpha": alpha, "rasterized": artist.get_rasterized()}))
        solid = {name: _on_white(colour, alpha) for name, colour in colours.items()} if alpha is not None else {}
        artist.set(**solid, alpha=None, rasterized=False)
    try:
        data = _saved(figure, "eps", DPI, None)
    finally:
        for artist, values in before:
            artist.set(**values)
    return re.sub(rb"%%CreationDate: .*\n", b"", data)


def _colours(artist: Artist) -> dict[str, object]:
    """The colours of an artist, by the names under which they are set."""
    if isinstance(artist, Line2D):
        names = ["color", "markerfacecolor", "markeredgecolor"]
    elif isinstance(artist, Patch | Collection):
        names = ["facecolor", "edgecolor"]
    else:
        names = []
    return {name: getattr(artist, f"get_{name}")() for name in names}


def _on_white(colour: object, alpha: object) -> object:
    if isinstance(colour, np.ndarray) and colour.ndim == 2:
        return [_on_white(tuple(row[:3]), alpha) for row in colour]
    share = float(alpha) if isinstance(alpha, (int, float)) else 1.0
    red, green, blue = to_rgba(colour)[:3]  # type: ignore[arg-type]
    return tuple(1 - share * (1 - part) for part in (red, green, blue))


MAKERS: dict[str, Callable[[Figure], bytes]] = {
    "pdf": lambda figure: _saved(figure, "pdf", DPI, {"CreationDate": None}),
    "svg": lambda figure: embed_fonts(_saved(figure, "svg", DPI, {"Date": None})),
    "png": lambda figure: _saved(figure, "png", DPI, {}),
    "eps": _eps,
    "tiff": _tiff,
}
