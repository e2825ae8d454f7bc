"""The moving scatter plot draws what pyqtgraph's own setData would draw."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
import pytest
from plot_clouds import gaussian
from PySide6.QtGui import QBrush, QColor, QImage
from pytestqt.qtbot import QtBot

from app.theme import DARK
from app.views.scatter import MovingScatter
from app.widgets.colours import brushes, colour_index, diverging_points


@pytest.fixture
def plots(qtbot: QtBot) -> tuple[pg.PlotWidget, pg.PlotWidget]:
    """Two plots of the same size and range."""
    both = (pg.PlotWidget(), pg.PlotWidget())
    for plot in both:
        qtbot.addWidget(plot)
        plot.resize(300, 300)
        plot.setRange(xRange=(-3, 3), yRange=(-3, 3), padding=0)
        plot.show()
    return both


def pixels(plot: pg.PlotWidget) -> np.ndarray:
    image = plot.grab().toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    return pg.functions.ndarray_from_qimage(image).copy()


def test_moved_in_place_equals_set_data_pixel_by_pixel(plots: tuple[pg.PlotWidget, pg.PlotWidget]) -> None:
    first, second = gaussian(500, seed=1), gaussian(500, seed=2)
    brush = QBrush(QColor("#0072b2"))
    moving = MovingScatter()
    moving.set_style(brush, 5.0)
    plots[0].addItem(moving, ignoreBounds=True)
    moving.show_points(first[:, 0], first[:, 1])
    before = pixels(plots[0])
    moving.show_points(second[:, 0], second[:, 1])
    reference = pg.ScatterPlotItem(pen=None, brush=brush, size=5.0, pxMode=True)
    reference.setData(x=second[:, 0], y=second[:, 1])
    plots[1].addItem(reference, ignoreBounds=True)
    assert not np.array_equal(before, pixels(plots[0]))
    assert np.array_equal(pixels(plots[0]), pixels(plots[1]))
    assert moving.boundingRect() == reference.boundingRect()


def test_coloured_in_place_equals_a_brush_per_point(plots: tuple[pg.PlotWidget, pg.PlotWidget]) -> None:
    points = gaussian(500, seed=3)
    palette = brushes(diverging_points(DARK))
    moving = MovingScatter()
    moving.set_style(palette[0], 6.0, "d")
    plots[0].addItem(moving, ignoreBounds=True)
    moving.show_points(points[:, 0], points[:, 1])
    moving.colour_points(palette, colour_index(points[:, 0], 2.0, is_signed=True))
    pixels(plots[0])
    index = colour_index(points[:, 2], 2.0, is_signed=True)
    moving.colour_points(palette, index)
    reference = pg.ScatterPlotItem(pen=None, size=6.0, symbol="d", pxMode=True)
    reference.setData(x=points[:, 0], y=points[:, 1], brush=[palette[i] for i in index])
    plots[1].addItem(reference, ignoreBounds=True)
    assert np.array_equal(pixels(plots[0]), pixels(plots[1]))


def test_another_number_of_points_replaces_them_all(plots: tuple[pg.PlotWidget, pg.PlotWidget]) -> None:
    moving = MovingScatter()
    plots[0].addItem(moving, ignoreBounds=True)
    for n in (100, 40, 300):
        points = gaussian(n)
        moving.show_points(points[:, 0], points[:, 1])
        assert np.array_equal(moving.getData()[0], points[:, 0].astype(float))


def test_a_frame_of_moves_leaves_the_record_array_where_it_is(plots: tuple[pg.PlotWidget, pg.PlotWidget]) -> None:
    """What makes it fast: no new array of records, and no symbol drawn again."""
    moving = MovingScatter()
    plots[0].addItem(moving, ignoreBounds=True)
    points = gaussian(100)
    moving.show_points(points[:, 0], points[:, 1])
    records, n_symbols = moving.data, len(moving.fragmentAtlas)
    moving.show_points(points[:, 1], points[:, 0])
    assert moving.data is records
    assert len(moving.fragmentAtlas) == n_symbols


def test_styles_out_of_use_leave_the_symbol_atlas(plots: tuple[pg.PlotWidget, pg.PlotWidget]) -> None:
    moving = MovingScatter()
    plots[0].addItem(moving, ignoreBounds=True)
    points = gaussian(50)
    moving.show_points(points[:, 0], points[:, 1])
    for k in range(20):
        moving.set_style(QBrush(QColor(10 * k, 0, 0)), 4.0 + 0.1 * k)
    assert len(moving.fragmentAtlas) == 1
