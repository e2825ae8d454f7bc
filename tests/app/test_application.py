"""Start and end of the real program, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from app.application import first_recipe
from app.settings import Settings
from mft_engine.recipe import Recipe, RecipeError

START = "import sys; from app.application import main; sys.exit(main({arguments}))"


def start(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program with settings of its own."""
    return subprocess.run(
        [sys.executable, "-c", START.format(arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(folder),
    )


def environment(folder: Path) -> dict[str, str]:
    """Settings and runs of its own."""
    return os.environ | {"XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder), "HOME": str(folder)}


def test_the_smoke_run_trains_takes_a_picture_of_the_whole_window_and_ends_well(tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "window.png"
    arguments = f"'clover-warm', play=True, screenshot=__import__('pathlib').Path({str(picture)!r}), quit_after=12"
    done = start(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "QThread" not in done.stderr and "QObject" not in done.stderr
    image = QImage(str(picture))
    assert image.width() >= 1000 and image.height() >= 600
    middle = image.copy(image.width() // 4, image.height() // 6, image.width() // 2, image.height() // 2)
    colours = {middle.pixel(x, y) for x in range(0, middle.width(), 3) for y in range(0, middle.height(), 3)}
    # Page, grid and text alone make some dozens of colours; a cloud of smoothed points makes hundreds.
    assert len(colours) > 100
    assert (tmp_path / "mft-lab" / "window.json").exists()


def test_closing_while_the_engine_is_being_loaded_ends_well(tmp_path: Path) -> None:
    done = start("'clover', quit_after=0.2", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "QThread" not in done.stderr


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_ctrl_c_in_the_terminal_closes_the_window_and_keeps_the_recipe(name: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(arguments="'ring', quit_after=100")],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    )
    try:
        state = tmp_path / "mft-lab" / "log" / "crash.log"
        while not state.exists() and process.poll() is None:
            time.sleep(0.05)
        # From here on the signal is heard; before the window is there it closes nothing.
        for _ in range(20):
            process.send_signal(name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=4)
                break
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    assert '"ring"' in (tmp_path / "mft-lab" / "window.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["file.png/window.png", "window.nothing", "folder.png"])
def test_a_picture_that_cannot_be_written_is_a_sentence_and_exit_code_1(place: str, tmp_path: Path) -> None:
    (tmp_path / "file.png").write_text("a file, not a folder")
    (tmp_path / "folder.png").mkdir()
    picture = tmp_path / place
    done = start(f"'clover', quit_after=0.3, screenshot=__import__('pathlib').Path({str(picture)!r})", tmp_path)
    assert done.returncode == 1
    assert f"The picture of the window cannot be written to {picture}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300"])
def test_a_time_to_quit_that_is_none_is_refused(seconds: str, tmp_path: Path) -> None:
    done = start(f"'clover', quit_after=float({seconds!r})", tmp_path)
    assert done.returncode == 2 and "--quit-after" in done.stderr and "Traceback" not in done.stderr


def test_settings_that_are_no_file_or_too_deep_never_block_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "window.json")
    assert Settings(tmp_path).get("theme", "system") == "system"
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "window.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert Settings(deep).get("theme", "system") == "system"
    assert (deep / "window.broken.json").exists()


def test_a_recipe_that_does_not_exist_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = start("'cloverr'", tmp_path)
    assert done.returncode == 2
    assert "did you mean 'clover'?" in done.stderr and "Traceback" not in done.stderr


def test_the_first_recipe_is_the_one_asked_for_else_the_last_one_else_the_clover() -> None:
    last = Recipe(name="mine", seed=5)
    assert first_recipe("ring", None, last).name == "ring"
    assert first_recipe(None, None, last) == last
    assert first_recipe(None, None, None).name == "clover"
    assert first_recipe(None, "cpu", last).engine.device == "cpu"
    with pytest.raises(RecipeError, match=r"engine\.device"):
        first_recipe(None, "toaster", last)
