"""The fields view: equal colours are equal values, zero is the middle, up is up."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from app.theme import LIGHT
from app.views.fields import FieldsView
from app.widgets.colours import diverging_map
from mft_engine.experiment.events import FieldsReady

GRID = np.linspace(-3, 3, 48)
X1, X2 = np.meshgrid(GRID, GRID)


@pytest.fixture
def view(qtbot: QtBot) -> FieldsView:
    view = FieldsView(LIGHT)
    qtbot.addWidget(view)
    view.resize(1000, 240)
    view.show()
    return view


def fields(foreground: np.ndarray | None = None, scale: float = 1.0) -> FieldsReady:
    target = scale * X1 * X2
    return FieldsReady(extent=3.0, target=target, background=0.5 * target, foreground=foreground, residual=0.5 * target)


def colour(view: FieldsView, name: str, across: float, up: float) -> QColor:
    place = view._places[name]
    at = QPointF(place.left() + across * place.width(), place.bottom() - up * place.height())
    return view.grab().toImage().pixelColor(at.toPoint())


def near(a: QColor, b: QColor, reach: int = 12) -> bool:
    return max(abs(a.red() - b.red()), abs(a.green() - b.green()), abs(a.blue() - b.blue())) <= reach


def test_zero_has_the_middle_colour_in_every_map(view: FieldsView) -> None:
    view.show_fields(fields(X1 * 0.0))
    middle = QColor(*(int(c) for c in diverging_map()[128, :3]))
    view.grab()
    for name in ("target", "background", "residual"):
        assert near(colour(view, name, 0.5, 0.8), middle)
    assert near(colour(view, "foreground", 0.2, 0.8), middle)


def test_up_is_larger_x2_and_right_is_larger_x1(view: FieldsView) -> None:
    view.show_fields(FieldsReady(3.0, X1 + 2 * X2, X1, X2, X1 * 0))
    view.grab()
    assert colour(view, "background", 0.95, 0.5).redF() > colour(view, "background", 0.05, 0.5).redF() + 0.3
    assert colour(view, "foreground", 0.5, 0.95).redF() > colour(view, "foreground", 0.5, 0.05).redF() + 0.3


def test_equal_values_have_equal_colours_in_the_first_three_maps(view: FieldsView) -> None:
    view.show_fields(FieldsReady(3.0, X1, X1, X1, 0.1 * X1))
    view.grab()
    shown = [colour(view, name, 0.8, 0.5) for name in ("target", "background", "foreground")]
    assert near(shown[0], shown[1], 2) and near(shown[0], shown[2], 2)
    # The residual, ten times smaller, is drawn on its own scale and is as visible.
    assert near(colour(view, "residual", 0.8, 0.5), shown[0], 40)


def test_colour_limits_hold_still_while_values_tremble(view: FieldsView) -> None:
    view.show_fields(fields())
    limits = view.limits
    for k in range(20):
        view.show_fields(fields(scale=1 + 0.05 * np.sin(k) - 0.05))
        assert view.limits == limits
    view.show_fields(fields(scale=30.0))
    assert view.limits[0] > 10 * limits[0]


def test_maps_are_square_and_do_not_overlap_at_any_size(view: FieldsView, qtbot: QtBot) -> None:
    view.show_fields(fields())
    for size in ((1000, 240), (420, 130), (1600, 500), (520, 640), (330, 900)):
        view.resize(*size)
        view.grab()
        places = [view._places[n] for n in ("target", "background", "foreground", "residual")]
        for k, place in enumerate(places):
            assert place.width() == pytest.approx(place.height())
            assert view.rect().contains(place.toRect())
            assert not any(place.intersects(other) for other in places[:k])


def test_a_missing_foreground_is_said_where_it_will_be(view: FieldsView) -> None:
    view.show_fields(fields(None))
    view.grab()
    assert "foreground" not in view._images
    assert near(colour(view, "foreground", 0.2, 0.9), QColor(LIGHT.panel), 3)
    view.show_fields(fields(0.4 * X1 * X2))
    assert "foreground" in view._images


def test_the_value_under_the_mouse_is_the_pixels_value(view: FieldsView) -> None:
    view.show_fields(fields())
    view.grab()
    place = view._places["background"]
    text = view.value_at(QPointF(place.left() + 0.75 * place.width(), place.bottom() - 0.25 * place.height()))
    column, row = 36, 12
    assert f"background f: {0.5 * GRID[column] * GRID[row]:.3f}" in text
    assert "x = (1.50, -1.50)" in text.replace("−", "-")
    assert view.value_at(QPointF(1, 1)) == ""


def test_without_planar_inputs_a_sentence_stands_in_for_the_maps(view: FieldsView) -> None:
    view.show_fields(fields())
    view.show_fields(None)
    assert view.empty.isVisible()
    view.clear(has_plane=False)
    assert "two inputs" in view.empty._hint.text()
    view.grab()
    assert view.value_at(QPointF(100, 100)) == ""


def test_constant_and_zero_fields_are_drawn(view: FieldsView) -> None:
    for value in (0.0, 5.0):
        view.show_fields(FieldsReady(3.0, X1 * 0 + value, X1 * 0, X1 * 0, X1 * 0 + value))
        view.grab()
        assert view.limits[0] > 0
