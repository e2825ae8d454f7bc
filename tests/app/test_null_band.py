"""The null band: where a distance lies among those of chance, near or far."""

from __future__ import annotations

import numpy as np
import pytest
from plot_clouds import gaussian
from pytestqt.qtbot import QtBot

from app.panels.null_band import NullBand, _ticks
from app.theme import LIGHT

NULL = 0.0021 * (1 + 0.2 * gaussian(500)[:, 0].astype(float))


def test_the_band_is_linear_nearby_and_logarithmic_far_away(qtbot: QtBot) -> None:
    band = NullBand(LIGHT)
    qtbot.addWidget(band)
    band.resize(300, 116)
    band.show_null(NULL, 0.0028, 0.002, "good")
    assert not band.is_logarithmic
    assert band.position(0.002) == pytest.approx(0.5 * (band.position(0.0015) + band.position(0.0025)), abs=1e-9)
    band.show_null(NULL, 0.0028, 0.344, "bad")
    assert band.is_logarithmic
    # The null keeps a readable share of the axis although the distance is 160 times larger.
    assert band.position(0.0028) - band.position(float(NULL.min())) > 0.1
    assert band.position(0.0028) < band.position(0.344) < 1.0
    band.grab()


@pytest.mark.parametrize("null", [np.zeros(100), np.full(100, 0.002), np.array([0.001])], ids=["zero", "equal", "one"])
def test_degenerate_nulls_are_drawn(qtbot: QtBot, null: np.ndarray) -> None:
    band = NullBand(LIGHT)
    qtbot.addWidget(band)
    band.resize(300, 116)
    for observed in (0.0, 0.002, 5.0):
        band.show_null(null, float(null.max()), observed, "good")
        band.grab()
        assert 0.0 <= band.position(observed) <= 1.0


@pytest.mark.parametrize("span", [1.0, 1.7, 2.5, 4.4, 4.6, 8.9, 9.0, 9.3, 9.99])
def test_every_width_of_the_null_band_finds_its_ticks(span: float) -> None:
    for scale in (1e-4, 1.0, 1e3):
        ticks = _ticks(0.0, span * scale, False)
        assert 2 <= len(ticks) <= 6
        assert ticks[-1] <= span * scale * (1 + 1e-9)
