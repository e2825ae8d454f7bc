"""The letters that an SVG uses, put into the file, so that its text looks the same where DejaVu Sans is missing."""

from __future__ import annotations

import base64
import io
import re
from typing import Literal

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib.font_manager import FontProperties, findfont

FAMILY = "DejaVu Sans"
Style = Literal["normal", "oblique"]

_TEXT = re.compile(r"<(text|tspan)\b([^>]*)>([^<]*)")
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}


def embed_fonts(svg: bytes) -> bytes:
    """The same SVG with the used letters of its fonts as @font-face rules; text stays text.

    Browsers and most viewers use them; an editor that does not falls back to an installed font.

    Args:
        svg: as matplotlib writes it with svg.fonttype none.
    """
    document = svg.decode("utf-8")
    used: dict[tuple[Style, str], set[str]] = {}
    for _, attributes, words in _TEXT.findall(document):
        for entity, letter in _ENTITIES.items():
            words = words.replace(entity, letter)
        style: Style = "oblique" if re.search(r"\b(italic|oblique)\b", attributes) else "normal"
        weight = "bold" if re.search(r"\b(bold|700)\b", attributes) else "normal"
        used.setdefault((style, weight), set()).update(words)
    rules = [
        f"@font-face{{font-family:'{FAMILY}';font-style:{style};font-weight:{weight};"
        f"src:url(data:font/woff;base64,{_subset(letters, style, weight)}) format('woff')}}"
        for (style, weight), letters in sorted(used.items())
        if letters - {"\n", " "}
    ]
    defs = '<defs>\n  <style type="text/css">' + "\n".join(rules)
    return document.replace('<defs>\n  <style type="text/css">', defs, 1).encode("utf-8")


def _subset(letters: set[str], style: Style, weight: str) -> str:
    path = findfont(FontProperties(family=FAMILY, style=style, weight=weight), fallback_to_default=False)
    options = Options()
    options.layout_features = ["kern"]
    options.hinting = False
    options.drop_tables += ["FFTM"]
    # A date of today would make the same figure another file.
    font = TTFont(path, recalcTimestamp=False)
    subsetter = Subsetter(options)
    subsetter.populate(text="".join(sorted(letters)))
    subsetter.subset(font)
    font.flavor = "woff"
    memory = io.BytesIO()
    font.save(memory)
    return base64.b64encode(memory.getvalue()).decode("ascii")
