"""The colours that window and exported figures share; no plotting library is imported.

Blue and orange stay apart for every common kind of colour blindness and in grey.
"""

from __future__ import annotations

BACKGROUND = "#0072b2"
FOREGROUND = "#e66100"
INITIAL = "#8b929c"
THEORY = "#007a5a"
TEXT = "#1a1e24"
MUTED = "#5a6370"
LINE = "#9aa2ad"
GRID = "#e3e6ea"

# cmap names: signed functions (blue, white, red) and densities.
DIVERGING = "crameri:vik"
DENSITY = ("#ffffff", "#cfe9de", "#7cc4a6", "#2f9c77", "#007a5a")
