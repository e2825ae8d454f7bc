"""Figures and data, one file after the other, in the engine's thread; the first export imports matplotlib here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine.messages import Compose, Export, Exported, FigurePreview
from mft_engine.experiment.events import Event, Progress
from mft_engine.pages import MM_PER_INCH

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Outcome

THREE = "three-pictures"
PREVIEW_DPI = 150


def preview(command: Compose, outcome: Outcome, wrong: Outcome | None) -> FigurePreview:
    """A page of figures as it would be written, in the screen's resolution."""
    from mft_engine import figures

    try:
        figure = figures.draw_composition(command.composition, outcome, wrong=wrong)
    except figures.FigureError as error:
        return FigurePreview(command.number, fault=str(error))
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=PREVIEW_DPI)
    return FigurePreview(command.number, memory.getvalue(), float(figure.get_figheight()) * MM_PER_INCH)


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
    composition = command.composition
    n_parts = len(parts) + (composition is not None) + len(command.animations) + len(command.data_formats)
    paths: list[Path] = []
    for done, (name, width, form) in enumerate(parts):
        yield Progress("export", done / n_parts, f"writing {name}.{form}")
        paths += figures.save(
            name, outcome, command.folder, [form], width, wrong=wrong, has_caption=command.has_captions
        )
    if composition is not None:
        yield Progress("export", len(parts) / n_parts, "writing the page of figures")
        forms = command.figure_formats
        paths += figures.save_composition(composition, outcome, command.folder, forms, wrong=wrong)
    from mft_engine.figures.export import save_animation, save_data

    for done, form in enumerate(command.animations, start=len(parts) + (composition is not None)):
        yield Progress("export", done / n_parts, f"drawing the run as {form}")
        paths += save_animation(outcome, command.folder, form)
    if command.data_formats:
        yield Progress("export", 1 - len(command.data_formats) / n_parts, "writing the data")
        paths += save_data(outcome, command.folder, command.data_formats)
    yield Exported(tuple(paths))
