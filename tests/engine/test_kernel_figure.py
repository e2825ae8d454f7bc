"""The kernel figure: from a stored run as from a fresh one, with maps in the plane and without elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Outcome
from mft_engine.figures import MissingError, draw
from mft_engine.figures.export import export_run
from mft_engine.figures.spectra import COLOURS, kernels_of
from mft_engine.recipe import load_recipe
from mft_engine.runs.runs import load, run

SMALL = {"network.n_neurons": 96, "foreground.n_neurons": 80, "training.time": 0.3, "comparison.n_permutations": 99}


def outcome(name: str) -> Outcome:
    experiment = Experiment(load_recipe(name).replace(SMALL))
    while not experiment.is_complete:
        experiment.advance(500)
    list(experiment.foreground())
    list(experiment.data_kernel())
    return experiment.outcome()


def test_a_stored_run_gives_the_kernels_of_its_summary_and_the_figure(tmp_path: Path) -> None:
    stored = run(load_recipe("clover").replace(SMALL), tmp_path)
    kernels, block = kernels_of(load(stored.folder), 8), stored.summary["kernel"]
    for name, spectrum in kernels.spectra.items():
        np.testing.assert_allclose(spectrum.eigenvalues[:10], block[name]["eigenvalues"], rtol=1e-9)
        assert spectrum.alignment == pytest.approx(block[name]["target_alignment"])
    assert kernels.agreement.p_value == block["p_value"]
    (file,) = export_run(stored.folder, tmp_path, figures=["kernel"], formats=["svg"])
    assert file.name == "kernel.svg" and "foreground" in file.read_text("utf-8")


def test_the_figure_shows_eigenvalues_captured_target_and_a_map_for_each_of_both_clouds() -> None:
    shown = outcome("clover")
    figure = draw("kernel", shown, width_mm=170)
    spectrum, captured, *maps = figure.axes
    for name, found in shown.data_kernels.spectra.items():
        (line,) = (line for line in captured.lines if line.get_color() == COLOURS[name])
        np.testing.assert_allclose(line.get_ydata(), found.captured)
        points = next(line for line in spectrum.lines if line.get_color() == COLOURS[name])
        np.testing.assert_allclose(points.get_ydata(), found.eigenvalues[:30])
    assert spectrum.get_yscale() == "log" and len(maps) == 12
    # A coarse map of the experiment and the figure's are the same function.
    fine = maps[0].images[0].get_array()
    assert np.corrcoef(fine[::2, ::2].ravel(), shown.data_kernels.background_maps[0].ravel())[0, 1] > 0.99
    alone = replace(shown, foreground=None, data_kernels=None)
    assert len(draw("kernel", alone, width_mm=85).axes) == 2 + 4


def test_without_a_plane_the_shares_take_the_place_of_the_maps() -> None:
    shown = outcome("staircase")
    assert shown.data_kernels.background_maps is None
    for width_mm in (60.0, 85.0, 170.0):
        figure = draw("kernel", shown, width_mm=width_mm, has_caption=True)
        assert len(figure.axes) == 3 and not any(axes.images for axes in figure.axes)
    (line,) = (line for line in figure.axes[2].lines if line.get_color() == COLOURS["background"])
    np.testing.assert_allclose(line.get_ydata(), shown.data_kernels.background.target_shares)


def test_several_hidden_layers_have_no_such_figure() -> None:
    shown = outcome("clover")
    deep = replace(shown, recipe=load_recipe("continuous-xor"))
    with pytest.raises(MissingError, match="one hidden layer"):
        draw("kernel", deep)
