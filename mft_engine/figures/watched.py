"""Figures of a watched training: clouds in principal components, curves along the training, the data kernel."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import safetensors.numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mft_engine import palette
from mft_engine.compare.paths import verdict_of
from mft_engine.experiment.storage import write_atomically, writing_to
from mft_engine.figures import FORMATS, MAX_WIDTH_MM, MIN_WIDTH_MM, write_figure
from mft_engine.figures.file_formats import DATA_FORMATS, ExportError
from mft_engine.figures.sheet import FigureError, MissingError, Sheet, bare, dot, few_ticks, name_above, style
from mft_engine.runs.watched import WatchedRun, read_watched

LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM, GAP_MM = 10.0, 2.5, 5.5, 9.0, 13.0
WORDS_MM = 8.0
# Of each cloud so many neurons are drawn.
MOST_POINTS = 5000


def draw_watched(name: str, run: WatchedRun, *, width_mm: float = 170.0, has_caption: bool = False) -> Figure:
    """One figure of a watched training, exactly `width_mm` wide.

    Args:
        name: a key of WATCHED_FIGURES.
        has_caption: the layer, its optimiser and the sentences under the figure.

    Raises:
        FigureError: an unknown name, a width out of range, or something that is not known of this run.
    """
    maker = WATCHED_FIGURES.get(name)
    if maker is None:
        raise FigureError(f"There is no figure {name!r} of a watched training; there are {', '.join(WATCHED_FIGURES)}")
    if not MIN_WIDTH_MM <= width_mm <= MAX_WIDTH_MM:
        raise FigureError(f"A figure of {width_mm:g} mm: its width can be {MIN_WIDTH_MM:g} to {MAX_WIDTH_MM:g} mm")
    about = run.about
    told = f"{run.name}: {about['layer']}, {about['optimizer']}, {about['n_steps']} steps. "
    with matplotlib.rc_context(style(width_mm)):
        return maker(run, width_mm, told + " ".join(about["sentences"]) if has_caption else "")


def export_watched(
    folder: str | Path,
    out: str | Path,
    *,
    figures: Sequence[str] = (),
    formats: Sequence[str] = ("pdf",),
    width_mm: float = 85.0,
    has_caption: bool = False,
    data: Sequence[str] = (),
) -> list[Path]:
    """Figures and data of a watched training; arguments as `export_run`.

    Raises:
        ExportError, FigureError: a name or format that does not exist, or something that is not known of this run.
        RunError: no run there, or a folder that cannot be written.
    """
    run, out = read_watched(folder), Path(out)
    for form in formats:
        if form not in FORMATS:
            raise FigureError(f"There is no figure format {form!r}; there are {', '.join(FORMATS)}")
    files: list[Path] = []
    for asked in figures:
        for name in WATCHED_FIGURES if asked == "all" else (asked,):
            try:
                figure = draw_watched(name, run, width_mm=width_mm, has_caption=has_caption)
            except MissingError:
                if asked != "all":
                    raise
                continue
            files += [write_figure(figure, out / f"{name}.{form}") for form in formats]
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    for form in data:
        if form not in DATA_FORMATS:
            raise ExportError(f"There is no data format {form!r}; there are {', '.join(DATA_FORMATS)}")
        files.append(out / f"clouds.{form}")
        write_atomically(files[-1], _DATA[form](run))
    return files


def _clouds(run: WatchedRun, width_mm: float, words: str) -> Figure:
    """Neurons and riders in the plane of the first two components of weights, and of activation functions."""
    columns, tables = run.tables()
    names = [column.name for column in columns]
    pairs = [(f"{kind} PC 1", f"{kind} PC 2") for kind in ("weights", "function")]
    planes = [plane for plane in pairs if set(plane) <= set(names)]
    if not planes:
        planes = [("|w|", "|v|")]
    side = (width_mm - LEFT_MM - RIGHT_MM - GAP_MM * (len(planes) - 1)) / len(planes)
    side = min(side, 90.0)
    sheet = Sheet(width_mm, TOP_MM + side + BOTTOM_MM + WORDS_MM, words)
    for number, (x, y) in enumerate(planes):
        axes = sheet.axes(LEFT_MM + number * (side + GAP_MM), TOP_MM, side, side)
        for name, colour in (("background", palette.BACKGROUND), ("foreground", palette.FOREGROUND)):
            shown = tables[name][:MOST_POINTS]
            axes.plot(
                shown[:, names.index(x)],
                shown[:, names.index(y)],
                linestyle="none",
                marker="o",
                markersize=1.6,
                markeredgewidth=0,
                alpha=0.8,
                color=colour,
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        few_ticks(axes.xaxis, axes.yaxis)
        if number == 0:
            name_above(axes, _handles(run))
    place = TOP_MM + side + BOTTOM_MM
    sheet.text(2, place, f"at the start: {verdict_of(run.start)}")
    sheet.text(2, place + 3.4, f"after {run.about['n_steps']:,} steps: {verdict_of(run.now)}", weight="bold")
    return sheet.figure


def _curves(run: WatchedRun, width_mm: float, words: str) -> Figure:
    """How far the clouds moved, how far they are apart, and the losses with other neurons in place."""
    if not len(run.curves.get("step", ())):
        raise MissingError("There are no curves of this training")
    steps = run.curves["step"]
    parts: list[Callable[[Axes], Any]] = [
        lambda axes: _moved(axes, run, steps),
        lambda axes: _ratio(axes, steps, run.curves["ratio"]),
    ]
    if run.exchanges:
        parts.append(lambda axes: _losses(axes, run))
    height = 0.28 * width_mm if width_mm > 120 else 0.45 * width_mm
    sheet = Sheet(width_mm, len(parts) * (TOP_MM + height + BOTTOM_MM), words)
    for number, part in enumerate(parts):
        top = TOP_MM + number * (TOP_MM + height + BOTTOM_MM)
        axes = sheet.axes(LEFT_MM + 3, top, width_mm - LEFT_MM - 3 - RIGHT_MM, height)
        part(axes)
        axes.set_xlabel("step of the optimiser")
        bare(axes)
    return sheet.figure


def _moved(axes: Axes, run: WatchedRun, steps: np.ndarray) -> None:
    axes.plot(steps, run.curves["moved_background"], color=palette.BACKGROUND)
    axes.plot(steps, run.curves["moved_foreground"], color=palette.FOREGROUND)
    axes.set_ylabel("moved (starting spreads)")
    axes.set_ylim(bottom=0)
    name_above(axes, _handles(run))


def _ratio(axes: Axes, steps: np.ndarray, ratio: np.ndarray) -> None:
    axes.plot(steps, ratio, color=palette.TEXT)
    axes.axhline(1.0, color=palette.MUTED, linestyle=(0, (4, 1.5)), linewidth=0.7)
    axes.set_ylabel("distance over chance")
    axes.set_ylim(0, 1.1 * max(2.0, float(ratio.max())))


def _losses(axes: Axes, run: WatchedRun) -> None:
    asked = run.exchanges
    ks = sorted((int(name) for name in asked if name.isdigit()), reverse=True)
    shown = [
        ("network", "network", palette.BACKGROUND, 1.0),
        ("riders", "riders in its place", palette.FOREGROUND, 1.0),
    ]
    shown += [(str(k), f"{k} neurons", palette.MUTED, 1.0 - 0.2 * number) for number, k in enumerate(ks)]
    handles = []
    for key, label, colour, alpha in shown:
        if np.isfinite(asked[key]).any():
            handles += axes.plot(asked["step"], asked[key], color=colour, alpha=alpha, label=label, linewidth=0.8)
    values = np.concatenate([asked[key] for key, *_ in shown])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
    axes.set_ylabel("loss")
    name_above(axes, handles, n_columns=len(handles))


def _kernel(run: WatchedRun, width_mm: float, words: str) -> Figure:
    """Eigenvalues of the data kernel: of the network at the start and now, and of the riders."""
    if not run.spectra:
        raise MissingError("There is no data kernel: no input of the layer has been seen yet")
    height = 0.5 * width_mm
    sheet = Sheet(width_mm, TOP_MM + height + BOTTOM_MM, words)
    axes = sheet.axes(LEFT_MM + 3, TOP_MM, width_mm - LEFT_MM - 3 - RIGHT_MM, height)
    handles = []
    for key, label, colour in (
        ("initial_background", "network at the start", palette.MUTED),
        ("background", "network", palette.BACKGROUND),
        ("foreground", "riders", palette.FOREGROUND),
    ):
        values = run.spectra[key]
        handles += axes.plot(
            np.arange(1, len(values) + 1), values, marker="o", markersize=2, linewidth=0.6, color=colour, label=label
        )
    axes.set_yscale("log")
    top = max(float(values.max()) for values in run.spectra.values())
    axes.set_ylim(max(top * 1e-8, 1e-30), 2 * top)
    axes.set_xlabel("$k$")
    axes.set_ylabel("$k$-th eigenvalue of the data kernel")
    bare(axes)
    name_above(axes, handles)
    return sheet.figure


def _handles(run: WatchedRun) -> list[Any]:
    return [
        dot(palette.BACKGROUND, f"neurons ({run.about['n_neurons']:,})"),
        dot(palette.FOREGROUND, f"riders ({run.about['n_foreground']:,})"),
    ]


def _npz(run: WatchedRun) -> bytes:
    memory = io.BytesIO()
    np.savez_compressed(memory, columns=np.array(run.columns), **run.clouds)  # type: ignore[arg-type]
    return memory.getvalue()


def _csv(run: WatchedRun) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["cloud", *run.columns])
    for name, cloud in run.clouds.items():
        rows.writerows([name, *(np.format_float_positional(v, unique=True, trim="0") for v in row)] for row in cloud)
    return text.getvalue().encode()


def _safetensors(run: WatchedRun) -> bytes:
    arrays = {name: np.ascontiguousarray(cloud) for name, cloud in run.clouds.items()}
    return safetensors.numpy.save(arrays, metadata={"columns": ",".join(run.columns), "name": run.name})


WATCHED_FIGURES: dict[str, Callable[[WatchedRun, float, str], Figure]] = {
    "clouds": _clouds,
    "curves": _curves,
    "kernel": _kernel,
}
_DATA: dict[str, Callable[[WatchedRun], bytes]] = {"npz": _npz, "csv": _csv, "safetensors": _safetensors}
