"""Axes, ranges, densities and colours: the arithmetic behind the cloud view."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot_clouds import clover, gaussian
from PySide6.QtCore import QRectF

from app.theme import DARK, LIGHT
from app.views.axis_range import StableRange
from app.views.density import density_counts, density_tone
from app.views.projections import available_axes, moments_of, principal_components, project
from app.widgets import colours as colormaps


def axis(key: str, n_inputs: int = 2):  # type: ignore[no-untyped-def]
    return next(a for a in available_axes(n_inputs) if a.key == key)


def test_axes_are_the_columns_and_what_is_made_of_them() -> None:
    theta = np.array([[3.0, 4.0, -2.0], [0.0, -1.0, 5.0]], np.float32)
    expected = {"w1": [3, 0], "w2": [4, -1], "a": [-2, 5], "norm": [5, 1], "angle": [53.130102, -90]}
    for key, values in expected.items():
        assert project(theta, axis(key)) == pytest.approx(values, rel=1e-6)


def test_a_task_direction_becomes_an_axis_along_it() -> None:
    theta = gaussian(10, 4)
    along = {"u": np.array([0.6, 0.0, 0.8], np.float32)}
    choice = next(a for a in available_axes(3, along) if a.key == "u")
    assert project(theta, choice, projections=along) == pytest.approx(0.6 * theta[:, 0] + 0.8 * theta[:, 2], abs=1e-6)


def test_one_input_offers_no_angle() -> None:
    assert "angle" not in {a.key for a in available_axes(1)}
    assert [a.key for a in available_axes(1)][:2] == ["w1", "a"]


def test_first_principal_component_has_the_largest_variance_of_all_directions() -> None:
    theta = clover(2000) * np.array([1.0, 3.0, 0.2], np.float32)
    theta[:, 0] += theta[:, 1]
    components = principal_components(moments_of(theta))
    first = project(theta, axis("PC1"), components).var()
    second = project(theta, axis("PC2"), components).var()
    standard = (theta - theta.mean(0)) / theta.std(0)
    directions = gaussian(200, 3, seed=5)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert first >= (standard @ directions.T).var(axis=0).max() * (1 - 1e-5)
    assert first >= second
    assert project(theta, axis("PC1"), components).mean() == pytest.approx(0.0, abs=1e-4)


def test_principal_components_do_not_flip_between_frames() -> None:
    theta = clover(1000)
    before = principal_components(moments_of(theta)).directions
    after = principal_components(moments_of(theta + 1e-3 * gaussian(1000))).directions
    assert (np.sum(before * after, axis=0) > 0).all()


def test_counts_equal_numpys_histogram_and_leave_out_what_lies_outside() -> None:
    theta = gaussian(5000)
    theta[7] = np.nan
    rect = QRectF(-1.5, -2.0, 3.0, 2.5)
    counts = density_counts(theta[:, 0], theta[:, 1], rect, n_bins=16)
    edges = np.linspace(-1.5, 1.5, 17), np.linspace(-2.0, 0.5, 17)
    finite = theta[np.isfinite(theta).all(axis=1)]
    expected, _, _ = np.histogram2d(finite[:, 1], finite[:, 0], bins=(edges[1], edges[0]))
    # float32 positions may fall on the other side of an edge: a handful of 5,000 points.
    assert np.abs(counts - expected).sum() <= 8
    assert counts.shape == (16, 16)


def test_equal_steps_of_tone_hold_equal_shares_of_the_mass() -> None:
    g = np.linspace(-4, 4, 161)
    density = np.exp(-(g[:, None] ** 2 + g[None, :] ** 2) / 2)
    tone = density_tone(density)
    mass = density / density.sum()
    assert tone[80, 80] == pytest.approx(1.0)
    for level in (0.1, 0.5, 0.9):
        # A ring of cells of one density may lie on either side of the level: 160 cells of at most 0.0004 each.
        assert mass[tone <= level].sum() == pytest.approx(level, abs=0.05)
    assert (density_tone(np.zeros((4, 4))) == 0).all()


def test_a_range_shows_the_far_arms_and_does_not_move_for_equal_clouds() -> None:
    span = StableRange(is_symmetric=True)
    span.follow(clover(2048, 0)[:, 0])
    assert span.low == -span.high
    # Two neurons of 2,048 may lie outside: the share left out is 5 in 10,000.
    assert (np.abs(clover(2048, 0)[:, 0]) > span.high).sum() <= 2
    first = (span.low, span.high)
    moved = [span.follow(clover(2048, 0)[:, 0] * (1 + 0.01 * np.sin(k))) for k in range(100)]
    assert not any(moved)
    assert (span.low, span.high) == first


def test_a_range_grows_at_once_and_shrinks_only_after_a_while() -> None:
    span = StableRange(is_symmetric=True, patience=10)
    values = gaussian(1000)[:, 0]
    span.follow(values)
    first = span.high
    assert span.follow(3 * values)
    assert span.high > 2.5 * first
    for _ in range(9):
        assert not span.follow(0.3 * values)
    assert span.follow(0.3 * values)
    assert span.high < first


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_a_range_holds_every_value_of_a_small_cloud(values: list[float]) -> None:
    span = StableRange(is_symmetric=False)
    span.follow(np.array(values))
    assert span.low < span.high
    assert span.low <= min(values) and max(values) <= span.high


def test_not_finite_values_neither_set_nor_break_a_range() -> None:
    span = StableRange(is_symmetric=False)
    assert not span.follow(np.array([np.nan, np.inf]))
    assert not span.is_set
    span.follow(np.array([np.nan, 1.0, 2.0]))
    assert span.low <= 1.0 and span.high >= 2.0


def test_signed_colours_are_symmetric_about_zero() -> None:
    index = colormaps.colour_index(np.array([-5.0, -1.0, 0.0, 1.0, 5.0]), 1.0, is_signed=True)
    assert list(index) == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_no_colour_of_a_point_vanishes_into_the_page(theme) -> None:  # type: ignore[no-untyped-def]
    page = luminance(np.array([int(theme.panel[i : i + 2], 16) for i in (1, 3, 5)]))
    for table in (colormaps.diverging_points(theme), colormaps.sequential_points(theme)):
        light = luminance(table[:, :3])
        contrast = (np.maximum(light, page) + 0.05) / (np.minimum(light, page) + 0.05)
        # 1.9 to 1 is what the faintest grey has; text would need 4.5, a filled dot is seen from about 1.5.
        assert contrast.min() > 1.9


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance as in WCAG 2."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])
