"""The kinds of runs that the engine's tests interrupt are the ones that are killed here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
