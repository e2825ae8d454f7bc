"""What leaves the lab: both clouds as data, the run as an animation, and all of it from a run folder in one call."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mft_engine import films, palette
from mft_engine.experiment.outcome import Outcome
from mft_engine.experiment.storage import write_atomically, writing_to
from mft_engine.figures.file_formats import DATA_FORMATS, ExportError
from mft_engine.figures.pictures import axis_range

__all__ = ["ANIMATIONS", "DATA_FORMATS", "ExportError", "export_run", "save_animation", "save_data"]

ANIMATIONS = films.FORMS
# Pictures are drawn so many times larger and shrunk, for smooth points.
OVERSAMPLING = 3
MARGIN = 0.06


def _layers(outcome: Outcome) -> Iterator[tuple[str, tuple[str, ...], dict[str, np.ndarray]]]:
    """Ending of names ("" for the first hidden layer), columns, and the clouds by name, layer by layer."""
    populations = {"background": outcome.background, "foreground": outcome.foreground}
    for number, cloud in enumerate(outcome.background.clouds):
        ending = f"_layer{number + 1}" if number else ""
        yield ending, cloud.names, {name: p.clouds[number].theta for name, p in populations.items() if p is not None}


def save_data(
    outcome: Outcome, folder: str | Path, formats: Sequence[str] = ("npz",), name: str = "clouds"
) -> list[Path]:
    """Both clouds, bit for bit in NPZ and safetensors, in CSV with as many digits as distinguish all numbers.

    NPZ: `background` and, once sampled, `foreground`, (n_neurons, n_columns), and `columns`. CSV: one row a neuron,
    its cloud in the first column. Safetensors: the two arrays, the columns in the metadata. The second hidden layer's
    names end in `_layer2`, and so on; CSV has a file for each layer.

    Args:
        formats: of npz, csv, safetensors; name: of the files.

    Returns:
        the files, in the order of the formats.

    Raises:
        ExportError: an unknown format. RunError: a folder that cannot be written.
    """
    makers = {"npz": _npz, "csv": _csv, "safetensors": _safetensors}
    for form in formats:
        if form not in makers:
            raise ExportError(f"There is no data format {form!r}; there are {', '.join(makers)}")
    folder = _made(folder)
    files = []
    for form in formats:
        for ending, data in makers[form](outcome).items():
            files.append(folder / f"{name}{ending}.{form}")
            write_atomically(files[-1], data)
    return files


def _npz(outcome: Outcome) -> dict[str, bytes]:
    arrays: dict[str, np.ndarray] = {}
    for ending, names, clouds in _layers(outcome):
        arrays[f"columns{ending}"] = np.array(names)
        arrays |= {f"{name}{ending}": theta for name, theta in clouds.items()}
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]
    return {"": memory.getvalue()}


def _csv(outcome: Outcome) -> dict[str, bytes]:
    files = {}
    for ending, names, clouds in _layers(outcome):
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["cloud", *names])
        for name, theta in clouds.items():
            rows.writerows(
                [name, *(np.format_float_positional(v, unique=True, trim="0") for v in neuron)] for neuron in theta
            )
        files[ending] = text.getvalue().encode()
    return files


def _safetensors(outcome: Outcome) -> dict[str, bytes]:
    arrays: dict[str, np.ndarray] = {}
    metadata = {"recipe": outcome.recipe.to_toml()}
    for ending, names, clouds in _layers(outcome):
        metadata[f"columns{ending}"] = ",".join(names)
        arrays |= {f"{name}{ending}": np.ascontiguousarray(theta) for name, theta in clouds.items()}
    return {"": safetensors.numpy.save(arrays, metadata=metadata)}


# ---- animation ----------------------------------------------------------------------------------------------------


def save_animation(
    outcome: Outcome, folder: str | Path, form: str = "gif", *, n_pixels: int = 480, name: str = "background"
) -> list[Path]:
    """The background's neurons along the run, from the start over the stored snapshots, in the plane of w1 and w2.

    Args:
        form: gif or apng (both loop; an APNG keeps every colour and ends with .png), png (numbered frames in a
            folder), mp4 (needs an installed ffmpeg).
        n_pixels: side of a frame; name: of the file or the folder of frames.

    Returns:
        the files.

    Raises:
        ExportError: no snapshots, an unknown form, no ffmpeg, fewer than two inputs.
        RunError: a folder that cannot be written.
    """
    try:
        films.require_encoder(form)
    except films.FilmError as error:
        raise ExportError(str(error)) from None
    if outcome.points.inputs.shape[1] < 2:
        raise ExportError("An animation needs at least two input weights to draw")
    if not len(outcome.snapshots):
        raise ExportError("There is nothing to animate: the run has stored no snapshots yet")
    # Encoders of video want even sides.
    size = max(64, n_pixels + n_pixels % 2)
    folder = _made(folder)
    if form == "png":
        frames = _made(folder / f"{name}-frames")
        files = []
        for number, frame in enumerate(_frames(outcome, size)):
            files.append(frames / f"{number:04d}.png")
            write_atomically(files[-1], films.encoded_frame(frame))
        return files
    path = folder / (f"{name}-animated.png" if form == "apng" else f"{name}.{form}")
    try:
        write_atomically(path, films.encode(_frames(outcome, size), form, colours=_inks()))
    except films.FilmError as error:
        raise ExportError(str(error)) from None
    return [path]


def _frames(outcome: Outcome, size: int) -> Iterator[Image.Image]:
    shown = outcome.snapshots.shape[1]
    series = [outcome.initial_theta[:shown], *outcome.snapshots]
    steps = [0, *(int(step) for step in outcome.snapshot_steps)]
    # The last third decides the range: the start may be far wider than what forms.
    half = axis_range([cloud for cloud in series[-max(1, len(series) // 3) :]] + [outcome.background.theta])
    times = _times(outcome, steps)
    for theta, time in zip(series, times, strict=True):
        yield _frame(theta, half, size, f"t = {time:.2f}", outcome.recipe.name)


def _times(outcome: Outcome, steps: Sequence[int]) -> list[float]:
    """Time of each step, between the records where it falls there."""
    recorded = outcome.metrics.get("step", np.zeros(0))
    if not len(recorded):
        return [float(step) for step in steps]
    known = np.concatenate([[0.0], outcome.metrics["time"]])
    return [float(v) for v in np.interp(steps, np.concatenate([[0.0], recorded]), known)]


def _frame(theta: np.ndarray, half: float, size: int, left: str, right: str) -> Image.Image:
    """Anti-aliased points on white with a thin frame; the time above it."""
    large = size * OVERSAMPLING
    header = int(0.055 * large)
    margin = int(MARGIN * large)
    side = large - header - 2 * margin
    image = Image.new("RGB", (large, large), "white")
    draw = ImageDraw.Draw(image)
    origin = (large - side) // 2, header + margin
    inside = np.abs(theta[:, :2]).max(axis=1) <= half
    places = (theta[inside, :2] / half * (1, -1) + 1) * (side / 2) + origin
    radius = max(0.9 * OVERSAMPLING, 0.0022 * large)
    for x, y in places:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.BACKGROUND)
    box = (*origin, origin[0] + side, origin[1] + side)
    draw.rectangle(box, outline=palette.LINE, width=OVERSAMPLING)
    font = ImageFont.load_default(size=0.032 * large)
    draw.text((origin[0], origin[1] - 0.008 * large), left, fill=palette.TEXT, font=font, anchor="ls")
    draw.text((box[2], origin[1] - 0.008 * large), right, fill=palette.MUTED, font=font, anchor="rs")
    below = box[3] + 0.008 * large
    for words, x, anchor in (
        (f"{-half:g}", box[0], "la"),
        ("w1, w2", (box[0] + box[2]) / 2, "ma"),
        (f"{half:g}", box[2], "ra"),
    ):
        draw.text((x, below), words, fill=palette.MUTED, font=font, anchor=anchor)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def _inks() -> list[tuple[int, ...]]:
    """Every ink in steps towards white."""
    inks = [ImageColor.getrgb(ink) for ink in (palette.BACKGROUND, palette.TEXT, palette.MUTED, palette.LINE)]
    return [tuple(round(255 + (c - 255) * k / 15) for c in ink) for ink in inks for k in range(16)]


def _made(folder: str | Path) -> Path:
    folder = Path(folder)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


# ---- all of it ----------------------------------------------------------------------------------------------------


def export_run(
    run_folder: str | Path,
    out: str | Path,
    *,
    figures: Sequence[str] = (),
    wrong: str | Path | None = None,
    formats: Sequence[str] = ("pdf",),
    width_mm: float = 85.0,
    has_caption: bool = False,
    animations: Sequence[str] = (),
    data: Sequence[str] = (),
) -> list[Path]:
    """Figures, animations and data of a stored run.

    Args:
        figures: names of `figures.FIGURES`; "all" for every one that this run has the numbers for.
        wrong: the twin run with the wrong background. "three-pictures" then also writes each picture by itself.
        formats, width_mm, has_caption: as `figures.save`.
        animations: of gif, apng, png, mp4; data: of npz, csv, safetensors.

    Returns:
        the files.

    Raises:
        ExportError, figures.FigureError: a name or format that does not exist, or something not computed.
        RunError: no run there, or a folder that cannot be written.
    """
    from mft_engine import figures as drawing
    from mft_engine.runs.runs import load
    from mft_engine.runs.watched import is_watched

    if is_watched(run_folder):
        from mft_engine.figures.watched import export_watched

        if wrong is not None or animations:
            raise ExportError("A watched training has figures and data; it has no wrong background and no animation")
        return export_watched(
            run_folder, out, figures=figures, formats=formats, width_mm=width_mm, has_caption=has_caption, data=data
        )
    outcome = load(run_folder)
    twin = load(wrong) if wrong is not None else None
    options: dict[str, Any] = {"wrong": twin, "has_caption": has_caption}
    files: list[Path] = []
    for name in figures:
        if name == "all":
            files += _every_figure(outcome, out, formats, width_mm, options)
        elif name.replace("_", "-") == "three-pictures" and twin is not None:
            files += drawing.save_three_pictures(outcome, twin, out, formats, width_mm, has_caption=has_caption)
        else:
            files += drawing.save(name, outcome, out, formats, width_mm, **options)
    for animation in animations:
        files += save_animation(outcome, out, animation)
    if data:
        files += save_data(outcome, out, data)
    return files


def _every_figure(
    outcome: Outcome, out: str | Path, formats: Sequence[str], width_mm: float, options: dict[str, Any]
) -> list[Path]:
    from mft_engine import figures as drawing

    files: list[Path] = []
    for name in drawing.FIGURES:
        try:
            files += drawing.save(name, outcome, out, formats, width_mm, **options)
        except drawing.MissingError:
            continue
    return files
