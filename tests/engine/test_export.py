"""Claims about export: data come back bit for bit, animations show the run, one call writes it all."""

from __future__ import annotations

import csv
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from safetensors import safe_open

from mft_engine import palette
from mft_engine.experiment.outcome import Outcome, Population
from mft_engine.figures import FIGURES, FigureError, export
from mft_engine.figures.export import ExportError, export_run, save_animation, save_data
from mft_engine.network.two_layer import column_names
from mft_engine.recipe import load_recipe, parse_recipe
from mft_engine.runs import runs
from mft_engine.runs.runs import RunError

RECIPE = load_recipe("clover").replace({"network.n_neurons": 64, "foreground.n_neurons": 48, "training.time": 1.0})


def with_theta(population: Population, theta: np.ndarray) -> Population:
    return replace(population, clouds=(replace(population.clouds[0], theta=theta),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return runs.run(RECIPE, tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def wrong_folder(tmp_path_factory) -> Path:
    return runs.run(RECIPE.replace({"foreground.background": "lazy"}), tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def outcome(folder) -> Outcome:
    return runs.load(folder)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_clouds_come_back_from_every_format_bit_for_bit(outcome, tmp_path, dtype):
    clouds = {}
    for name in ("background", "foreground"):
        theta = getattr(outcome, name).theta.astype(dtype)
        # Numbers that a careless writer loses: tiny, huge, awkward in decimals.
        theta[:4, 0] = [1e-30, -1.2345678e12, 0.1, np.nextafter(dtype(1), dtype(2))]
        clouds[name] = theta
    changed = replace(
        outcome,
        background=with_theta(outcome.background, clouds["background"]),
        foreground=with_theta(outcome.foreground, clouds["foreground"]),
    )
    npz, text, tensors = save_data(changed, tmp_path, ("npz", "csv", "safetensors"))
    with np.load(npz, allow_pickle=False) as file:
        assert file["columns"].tolist() == ["w1", "w2", "a"]
        for name, theta in clouds.items():
            assert file[name].dtype == dtype
            np.testing.assert_array_equal(file[name], theta)
    with text.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["cloud", "w1", "w2", "a"]
    for name, theta in clouds.items():
        values = np.array([row[1:] for row in rows if row[0] == name], dtype=np.float64).astype(dtype)
        np.testing.assert_array_equal(values, theta)
    loaded = safetensors.numpy.load_file(tensors)
    for name, theta in clouds.items():
        np.testing.assert_array_equal(loaded[name], theta)
    with safe_open(tensors, framework="numpy") as file:
        assert file.metadata()["columns"] == "w1,w2,a"
        assert parse_recipe(file.metadata()["recipe"]) == outcome.recipe


def test_a_run_without_foreground_exports_its_background_alone(outcome, tmp_path):
    npz, text, _ = save_data(replace(outcome, foreground=None), tmp_path, export.DATA_FORMATS)
    with np.load(npz) as file:
        assert set(file) == {"columns", "background"}
    assert {line.split(",")[0] for line in text.read_text().splitlines()} == {"cloud", "background"}


def test_columns_are_named_after_inputs_and_readout():
    assert column_names(2) == ("w1", "w2", "a") and column_names(4) == ("w1", "w2", "w3", "w4", "a")


def blue(image: Image.Image) -> np.ndarray:
    """Where a frame shows the ink of the neurons."""
    ink = [int(palette.BACKGROUND[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(np.asarray(image.convert("RGB")).astype(int) - ink).max(axis=2) < 60


def test_gif_has_a_frame_for_the_start_and_every_snapshot_and_loops(outcome, tmp_path):
    (path,) = save_animation(outcome, tmp_path, "gif", n_pixels=200)
    with Image.open(path) as film:
        assert film.n_frames == 1 + len(outcome.snapshots) > 3
        assert film.size == (200, 200) and film.info["loop"] == 0
        durations, inked = [], []
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
            inked.append(blue(film).sum())
            assert film.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert min(inked) > 30
    assert durations[-1] > 5 * durations[0] > 0


def test_an_animated_png_has_the_same_frames_in_all_their_colours(outcome, tmp_path):
    (path,) = save_animation(outcome, tmp_path, "apng", n_pixels=200)
    assert path.name == "background-animated.png"
    frames = save_animation(outcome, tmp_path, "png", n_pixels=200)
    with Image.open(path) as film:
        assert film.n_frames == len(frames) == 1 + len(outcome.snapshots) and film.info["loop"] == 0
        for number in (0, film.n_frames - 1):
            film.seek(number)
            with Image.open(frames[number]) as frame:
                assert np.array_equal(np.asarray(film.convert("RGB")), np.asarray(frame))


def test_frames_show_the_neurons_of_their_snapshot(outcome, tmp_path):
    spots = np.array([[0.5, 0.5], [-0.5, 0.25]])
    snapshots = np.zeros((3, 50, 3), np.float32)
    for k, sign in enumerate((1, -1, 1)):
        snapshots[k, :, :2] = sign * spots[np.arange(50) % 2]
    cloud = with_theta(outcome.background, snapshots[2])
    still = replace(
        outcome, snapshots=snapshots, snapshot_steps=np.array([50, 100, 150]), background=cloud,
        initial_theta=snapshots[0],
    )  # fmt: skip
    files = save_animation(still, tmp_path, "png", n_pixels=240)
    assert [f.name for f in files] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    masks = [blue(Image.open(f)) for f in files]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not (masks[1] & masks[2]).any()
    rows, cols = np.nonzero(masks[1])
    # Points at (0.5, 0.5) and (-0.5, 0.25): above the middle, on both sides, the right one higher.
    assert rows.max() < 130 and rows[cols > 130].max() < rows[cols < 110].min()
    assert cols.min() < 100 and cols.max() > 140


def test_time_of_a_frame_is_the_run_s_own(outcome):
    steps = [0, *outcome.snapshot_steps.tolist()]
    times = export._times(outcome, steps)
    assert times[0] == 0.0
    recorded = dict(zip(outcome.metrics["step"].astype(int).tolist(), outcome.metrics["time"].tolist(), strict=True))
    for step, time in zip(steps[1:], times[1:], strict=True):
        assert time == recorded[step]


def test_mp4_without_ffmpeg_is_a_sentence(outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r'needs ffmpeg, which is not installed here.*"gif" or "png"'):
        save_animation(outcome, tmp_path, "mp4")


def stand_in(folder: Path, script: str) -> None:
    """A program named ffmpeg that does what the script says."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)


def test_mp4_hands_numbered_frames_to_ffmpeg_and_reports_its_complaints(outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    stand_in(tmp_path, 'for last; do :; done; ls "$(dirname "$last")" | wc -l > "$last"')
    (path,) = save_animation(outcome, tmp_path / "out", "mp4", n_pixels=101)
    assert int(path.read_text()) >= 1 + len(outcome.snapshots)
    stand_in(tmp_path, "echo 'no such codec' >&2; exit 1")
    with pytest.raises(ExportError, match="ffmpeg could not make the film: no such codec"):
        save_animation(outcome, tmp_path / "out", "mp4")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_has_a_frame_for_every_stored_cloud_and_is_read_by_ffmpeg_itself(outcome, tmp_path):
    (path,) = save_animation(outcome, tmp_path, "mp4", n_pixels=101)
    command = ["ffmpeg", "-i", str(path), "-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert len(done.stdout) == (1 + len(outcome.snapshots)) * 102 * 102 * 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda o, p: save_data(o, p, ("xls",)), "no data format 'xls'; there are npz, csv, safetensors"),
        (lambda o, p: save_animation(o, p, "avi"), "no animation format 'avi'; there are gif, apng, png, mp4"),
        (lambda o, p: save_animation(replace(o, snapshots=o.snapshots[:0]), p), "no snapshots yet"),
    ],
)
def test_what_cannot_be_exported_is_said(outcome, tmp_path, call, words):
    with pytest.raises(ExportError, match=words):
        call(outcome, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(outcome, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file where a folder is needed"):
        save_data(outcome, tmp_path / "file")


def test_one_call_exports_figures_animation_and_data_of_a_run(folder, wrong_folder, tmp_path):
    files = export_run(
        folder, tmp_path, figures=["loss", "three_pictures"], wrong=wrong_folder, formats=["png", "svg"],
        width_mm=85, has_caption=True, animations=["gif"], data=["npz"],
    )  # fmt: skip
    pictures = ("three-pictures", "background", "foreground", "wrong-background")
    figures = [f"{name}.{form}" for name in ("loss", *pictures) for form in ("png", "svg")]
    assert [f.name for f in files] == [*figures, "background.gif", "clouds.npz"]
    assert all(f.stat().st_size > 0 for f in files)


def test_all_figures_are_those_that_the_run_has_the_numbers_for(folder, tmp_path):
    files = export_run(folder, tmp_path, figures=["all"], formats=["png"])
    assert {f.stem for f in files} == set(FIGURES) - {"wrong-background", "three-pictures", "fourier"}
    with pytest.raises(FigureError, match="no figure format"):
        export_run(folder, tmp_path, figures=["all"], formats=["bmp"])


def test_exporting_from_no_run_is_said(tmp_path):
    with pytest.raises(RunError, match="no run in"):
        export_run(tmp_path, tmp_path, data=["npz"])
