"""Start and end of the real program, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from app.application import first_recipe
from mft_engine.recipe import Recipe, RecipeError

START = "import sys; from app.application import main; sys.exit(main({arguments}))"


def start(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program with settings of its own."""
    return subprocess.run(
        [sys.executable, "-c", START.format(arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder), "HOME": str(folder)},
    )


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


def test_closing_while_the_engine_is_being_loaded_takes_less_than_three_seconds_and_ends_well(tmp_path: Path) -> None:
    started = time.perf_counter()
    done = start("'clover', quit_after=0.2", tmp_path)
    assert done.returncode == 0, done.stderr
    # Start of the interpreter, imports and window take up to 6 s on a busy machine; the end itself 2 s.
    assert time.perf_counter() - started < 8


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
