"""Pages of several figures: exact widths, panels where they belong, letters, and sentences for what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import SubFigure

from mft_engine.experiment.experiment import Experiment
from mft_engine.figures import FigureError, MissingError, draw, draw_composition, save
from mft_engine.pages import JOURNALS, Composition
from mft_engine.recipe import load_recipe

SMALL = {
    "network.n_neurons": 96,
    "foreground.n_neurons": 64,
    "comparison.n_permutations": 99,
    "training.n_steps": 120,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}


@pytest.fixture(scope="module")
def outcome():
    experiment = Experiment(load_recipe("clover").replace(SMALL))
    for _ in experiment:
        pass
    return experiment.outcome()


@pytest.mark.parametrize("width", sorted(set(JOURNALS.values())))
def test_a_page_is_as_wide_as_its_journal_asks_and_its_panels_are_those_drawn_alone(outcome, width):
    page = Composition(("background", "foreground"), 1 if width < 100 else 2, width)
    figure = draw_composition(page, outcome)
    assert figure.get_figwidth() * 25.4 == pytest.approx(width)
    parts = figure.subfigs
    assert len(parts) == 2 and all(isinstance(part, SubFigure) for part in parts)
    boxes = [part.bbox.transformed(figure.dpi_scale_trans.inverted()) for part in parts]
    for number, box in enumerate(boxes):
        assert box.width * 25.4 == pytest.approx(page.panel_mm, rel=1e-6)
        left = (number % page.columns) * (page.panel_mm + page.gap_mm)
        assert box.x0 * 25.4 == pytest.approx(left, abs=1e-5)
    (axes,) = parts[1].axes
    blue, orange = (np.asarray(line.get_xydata()) for line in axes.lines[:2])
    assert len(blue) <= len(outcome.background.theta) and len(orange) <= len(outcome.foreground.theta)
    # A panel of a size that can be drawn alone has its axes at the same place of it.
    if page.panel_mm >= 60:
        alone = draw("foreground", outcome, width_mm=page.panel_mm)
        assert np.allclose(alone.axes[0].get_position().bounds, axes.get_position().bounds)


def test_letters_and_one_caption_for_all(outcome):
    names = ("background", "foreground", "loss", "null", "marginals")
    for has_letters, letters in ((True, list("abcde")), (False, [])):
        figure = draw_composition(Composition(names, 3, 183.0, has_letters=has_letters), outcome)
        assert [text.get_text() for text in figure.texts] == letters
    figure = draw_composition(Composition(names, 3, 183.0, has_caption=True, has_letters=False), outcome)
    assert figure.texts[0].get_text().startswith("clover, seed 0: 96 background and 64 foreground neurons")
    assert sum(part.texts != [] for part in figure.subfigs) == 0


def test_what_cannot_be_laid_out_or_drawn_is_a_sentence(outcome):
    for composition, words in (
        (Composition(()), "at least one panel"),
        (Composition(("loss",) * 17), "there can be 16"),
        (Composition(("loss",), 1, 30.0), "its width can be 60 to 400 mm"),
        (Composition(("loss",) * 4, 4, 120.0), "choose fewer columns"),
        (Composition(("loss", "violin")), "no figure 'violin'"),
    ):
        with pytest.raises(FigureError, match=words):
            draw_composition(composition, outcome)
    with pytest.raises(MissingError, match="wrong background"):
        draw_composition(Composition(("wrong-background",)), outcome)


def test_names_with_plus_signs_are_one_page(outcome, tmp_path):
    (path,) = save("background+null", outcome, tmp_path, ["png"], 120.0)
    assert path.name == "background+null.png" and path.stat().st_size > 2000
    assert len(draw("background+null", outcome, width_mm=120.0).subfigs) == 2
