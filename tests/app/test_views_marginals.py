"""The marginals view: histograms that are densities, on axes that hold still."""

from __future__ import annotations

import numpy as np
import pytest
from plot_clouds import clover, gaussian
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.theme import LIGHT
from app.views import marginals
from app.views.marginals import MarginalsView
from app.views.outline import outline
from app.views.projections import Axis
from app.views.theory_sample import density_curve


@pytest.fixture
def view(qtbot: QtBot) -> MarginalsView:
    view = MarginalsView(LIGHT)
    qtbot.addWidget(view)
    view.resize(1000, 240)
    view.show()
    return view


def test_an_outline_is_a_density_of_all_values() -> None:
    values = gaussian(4000)[:, 0]
    edges, density = outline(values, -1.0, 2.0)
    inside = np.mean((values >= -1.0) & (values < 2.0))
    assert np.sum(density * np.diff(edges)) == pytest.approx(inside, abs=1e-9)
    expected, _ = np.histogram(values, edges)
    # A float32 value may fall on the other side of an edge.
    assert np.abs(density * len(values) * np.diff(edges) - expected).sum() <= 4


def test_both_clouds_are_drawn_in_every_plot(view: MarginalsView) -> None:
    view.show_clouds(clover(2048), clover(1024, seed=1))
    assert list(view._items) == ["w1", "w2", "a", "angle"]
    for key in view._items:
        for name in ("background", "foreground"):
            edges, density = view._curves[key, name].getData()
            assert view._curves[key, name].isVisible()
            assert np.sum(density * np.diff(edges)) == pytest.approx(1.0, abs=0.003)
    assert view.chips["foreground"].detail == "1,024"


def test_both_weights_share_one_axis(view: MarginalsView) -> None:
    view.show_clouds(clover(500) * np.array([1.0, 3.0, 1.0], np.float32))
    ranges = [view._items[key].getViewBox().viewRange()[0] for key in ("w1", "w2")]
    assert ranges[0] == ranges[1]


def test_theory_lines_pass_where_they_are_told(view: MarginalsView, qtbot: QtBot) -> None:
    x = np.linspace(-4, 4, 200)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    view.show_clouds(gaussian(2048))
    view.show_theory({"w1": (x, density)})
    curve = view._curves["w1", "theory"]
    assert curve.isVisible() and np.array_equal(curve.getData()[1], density)
    assert not view._curves["a", "theory"].isVisible()
    qtbot.mouseClick(view.chips["theory"], Qt.MouseButton.LeftButton)
    assert not curve.isVisible()
    view.show_theory(None)
    assert not view.chips["theory"].isEnabled()


def test_neurons_of_a_law_make_the_lines_that_are_not_known_exactly(view: MarginalsView) -> None:
    x = np.linspace(-4, 4, 200)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    view.show_clouds(gaussian(2048))
    view.show_theory({"w1": (x, density)}, gaussian(8000, seed=1))
    assert np.array_equal(view._curves["w1", "theory"].getData()[1], density)
    places, found = view._curves["a", "theory"].getData()
    # 8,000 neurons smoothed over a tenth of their spread: a density of .4 is known to some 2 %, the mean is nearer.
    assert np.abs(found - np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi)).mean() < 0.01
    angles, flat = view._curves["angle", "theory"].getData()
    assert (angles[0], angles[-1]) == pytest.approx((-180, 180), abs=1) and flat == pytest.approx(1 / 360, rel=0.25)
    # The ends join: no dip where the circle was cut.
    assert flat[[0, -1]].mean() == pytest.approx(1 / 360, rel=0.2)
    view.show_theory(None, np.ones((20, 9)))
    assert not view._curves["a", "theory"].isVisible()


def test_a_law_is_smoothed_once_though_it_is_told_with_every_frame(
    view: MarginalsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoothed = []

    def counted(values: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
        smoothed.append(axis.key)
        return density_curve(values, axis)

    monkeypatch.setattr(marginals, "density_curve", counted)
    law = gaussian(2000, seed=1)
    for _ in range(3):
        view.show_theory(None, law)
        view.show_clouds(gaussian(256))
    assert smoothed and len(smoothed) == len(set(smoothed))
    view.clear()
    view.show_theory(None, law)
    view.show_clouds(gaussian(256))
    assert len(smoothed) == 2 * len(set(smoothed))


def test_a_gaussian_cloud_agrees_with_its_own_density(view: MarginalsView) -> None:
    n = 200_000
    view.show_clouds(gaussian(n))
    edges, density = view._curves["w1", "background"].getData()
    centre = 0.5 * (edges[1:] + edges[:-1])
    exact = np.exp(-(centre**2) / 2) / np.sqrt(2 * np.pi)
    width = edges[1] - edges[0]
    # Counts are binomial: standard error of a density sqrt(p / (n width)); 60 bins, so 4 errors; curvature adds
    # width^2 / 24 times the second derivative, at most 0.4.
    error = np.sqrt(exact / (n * width)) + width**2 / 24 * 0.4
    assert (np.abs(density - exact) < 4 * error + 1e-4).all()


def test_axes_hold_still_while_the_cloud_trembles(view: MarginalsView) -> None:
    view.show_clouds(clover(2048))
    before = {key: item.getViewBox().viewRange() for key, item in view._items.items()}
    for k in range(20):
        view.show_clouds(clover(2048) + 0.002 * gaussian(2048, seed=k))
    after = {key: item.getViewBox().viewRange() for key, item in view._items.items()}
    assert all(after[key][0] == before[key][0] for key in before)


def test_other_numbers_of_inputs_have_their_own_plots(view: MarginalsView) -> None:
    view.show_clouds(gaussian(100, 2))
    assert list(view._items) == ["w1", "a", "norm"]
    view.show_clouds(gaussian(100, 9), gaussian(50, 9))
    assert list(view._items) == ["w1", "w2", "a", "angle"]
    view.grab()


def test_clearing_returns_to_the_sentence(view: MarginalsView) -> None:
    view.show_clouds(clover(100))
    assert not view.empty.isVisible()
    view.clear()
    assert view.empty.isVisible()
    assert not view._curves["w1", "background"].isVisible()


def test_a_layer_with_shorter_axes_is_not_drawn_on_those_of_the_layer_before(view: MarginalsView) -> None:
    wide = gaussian(200, 2)
    view.set_columns(("w1", "w2", "v"), has_weights=True)
    view.show_theory(None, wide)
    view.show_clouds(3.0 * wide)
    view.set_columns(("u", "v", "b"), has_weights=False)
    view.clear()
    view.show_clouds(0.1 * wide)
    low, high = view._items[view._axes[0].key].viewRange()[0]
    assert high - low < 1.0
