"""Frames as a film: GIF and animated PNG by Pillow, MP4 by an installed ffmpeg, or the frames themselves."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

FORMS = ("gif", "apng", "png", "mp4")
FRAMES_PER_SECOND = 12
# Frames of a still end, so that a loop does not jump back at once.
N_LAST = 12
N_COLOURS = 256
# Frames from which the colours of a film are taken, and the side to which they are shrunk for that.
N_LOOKED_AT, LOOKED_AT_SIDE = 12, 160


class FilmError(ValueError):
    """A film that cannot be made; the message says what is missing."""


def require_encoder(form: str) -> None:
    """Whether a film of that form can be made here.

    Raises:
        FilmError: an unknown form, or an MP4 without ffmpeg.
    """
    if form not in FORMS:
        raise FilmError(f"There is no animation format {form!r}; there are {', '.join(FORMS)}")
    if form == "mp4" and shutil.which("ffmpeg") is None:
        raise FilmError('MP4 needs ffmpeg, which is not installed here: install it, or choose "gif" or "png"')


def encode(
    frames: Iterable[Image.Image],
    form: str,
    *,
    frames_per_second: float = FRAMES_PER_SECOND,
    colours: Sequence[tuple[int, ...]] = (),
) -> bytes:
    """Frames of one size as a film that loops and rests at its end.

    Args:
        form: gif, apng or mp4; MP4 wants even sides.
        colours: of a GIF, 256 at most; taken from the frames where none are given. All frames share them: a palette of
            its own for each flickers.

    Raises:
        FilmError: no frames, an unknown form, or ffmpeg is missing or fails.
    """
    require_encoder(form)
    if form == "png":
        raise FilmError("PNG frames are files of their own, not one film")
    shown = [frame.convert("RGB") for frame in frames]
    if not shown:
        raise FilmError("There is nothing to animate: no frame")
    if form == "mp4":
        return _mp4(shown, frames_per_second)
    duration = round(1000 / frames_per_second)
    durations = [duration] * (len(shown) - 1) + [duration * N_LAST]
    memory = io.BytesIO()
    if form == "apng":
        shown[0].save(memory, "PNG", save_all=True, append_images=shown[1:], duration=durations, loop=0)
        return memory.getvalue()
    palette = _palette(colours) if colours else _common_colours(shown)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    reduced[0].save(memory, "GIF", save_all=True, append_images=reduced[1:], duration=durations, loop=0, optimize=False)
    return memory.getvalue()


def encoded_frame(frame: Image.Image) -> bytes:
    """One frame as a PNG file."""
    memory = io.BytesIO()
    frame.save(memory, "PNG")
    return memory.getvalue()


def _palette(colours: Sequence[tuple[int, ...]]) -> Image.Image:
    image = Image.new("P", (1, 1))
    image.putpalette([value for colour in colours for value in colour])
    return image


def _common_colours(frames: Sequence[Image.Image]) -> Image.Image:
    """The colours that some frames, spread over the film, have together."""
    stride = -(-len(frames) // N_LOOKED_AT)
    looked_at = [frame.copy() for frame in (*frames[::stride], frames[-1])]
    for frame in looked_at:
        # Nearest: mixtures of neighbouring pixels are no colours of the picture.
        frame.thumbnail((4 * LOOKED_AT_SIDE, LOOKED_AT_SIDE), Image.Resampling.NEAREST)
    width, height = (max(frame.size[side] for frame in looked_at) for side in (0, 1))
    sheet = Image.new("RGB", (width, height * len(looked_at)))
    for number, frame in enumerate(looked_at):
        sheet.paste(frame, (0, number * height))
    return sheet.quantize(N_COLOURS, Image.Quantize.MEDIANCUT)


def _mp4(frames: Sequence[Image.Image], frames_per_second: float) -> bytes:
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None  # asked before
    with tempfile.TemporaryDirectory(prefix="mft-lab-") as folder:
        for number, frame in enumerate(frames):
            frame.save(Path(folder) / f"{number:05d}.png")
        command = [ffmpeg, "-y", "-loglevel", "error", "-framerate", f"{frames_per_second:g}"]
        command += ["-i", f"{folder}/%05d.png", "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]
        command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", f"{folder}/run.mp4"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FilmError(f"ffmpeg could not make the film: {done.stderr.strip()[-300:]}")
        return (Path(folder) / "run.mp4").read_bytes()
