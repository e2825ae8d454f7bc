"""Figures and data, one file after the other, in the engine's thread; the first export imports matplotlib here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine.messages import Export, Exported
from mft_engine.experiment.events import Event, Progress

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Outcome

THREE = "three-pictures"


def write_files(command: Export, outcome: Outcome, wrong: Outcome | None) -> Iterator[Event]:
    """Write everything that was asked for, a `Progress` before each file, `Exported` at the end.

    The three pictures are four files a format: all in one (twice as wide) and each by itself.

    Raises:
        FigureError, RunError: what cannot be drawn yet, or a folder that cannot be written; both say why.
    """
    yield Progress("export", 0.0, "loading the figure library")
    from mft_engine import figures

    wanted: list[tuple[str, float]] = []
    for name in command.figures:
        if name == THREE:
            wanted += [(THREE, 2 * command.width_mm), ("background", command.width_mm)]
            wanted += [("foreground", command.width_mm), ("wrong-background", command.width_mm)]
        elif (name, command.width_mm) not in wanted:
            wanted.append((name, command.width_mm))
    parts = [(name, width, form) for name, width in dict.fromkeys(wanted) for form in command.figure_formats]
    n_parts = len(parts) + len(command.animations) + len(command.data_formats)
    paths: list[Path] = []
    for done, (name, width, form) in enumerate(parts):
        yield Progress("export", done / n_parts, f"writing {name}.{form}")
        paths += figures.save(
            name, outcome, command.folder, [form], width, wrong=wrong, has_caption=command.has_captions
        )
    from mft_engine.figures.export import save_animation, save_data

    for done, form in enumerate(command.animations, start=len(parts)):
        yield Progress("export", done / n_parts, f"drawing the run as {form}")
        paths += save_animation(outcome, command.folder, form)
    if command.data_formats:
        yield Progress("export", 1 - len(command.data_formats) / n_parts, "writing the data")
        paths += save_data(outcome, command.folder, command.data_formats)
    yield Exported(tuple(paths))
