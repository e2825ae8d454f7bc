"""Light and dark: legible, colour-blind-safe, and told to who draws by themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from app.theme import DARK, LIGHT, Theme, ThemeKeeper, mixed
from mft_engine import palette


def linear(colour: str) -> np.ndarray:
    """Linear light of a colour, (3,), as sRGB defines it."""
    c = np.array(QColor(colour).getRgbF()[:3])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """The contrast ratio of WCAG 2.1, 1 to 21."""
    a, b = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (b + 0.05) / (a + 0.05)


# Machado, Oliveira, Fernandes (2009), severity 1: what each kind of colour blindness makes of linear light.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_text_is_legible_on_every_surface(theme: Theme) -> None:
    for surface in (theme.window, theme.panel, theme.raised):
        assert contrast(theme.text, surface) >= 7  # WCAG AAA
        for role in ("muted", "accent", "good", "warning", "bad"):
            assert contrast(getattr(theme, role), surface) >= 4.5, (role, surface)  # WCAG AA
    assert contrast(theme.accent_text, theme.accent) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
@pytest.mark.parametrize("kind", BLINDNESS)
def test_background_and_foreground_stay_apart_for_the_colour_blind(theme: Theme, kind: str) -> None:
    matrix = np.array(BLINDNESS[kind])
    blue, orange = (np.clip(matrix @ linear(c), 0, 1) for c in (theme.background_cloud, theme.foreground_cloud))
    # A just noticeable difference is about 0.01 in linear light; these must differ by far more.
    assert np.abs(blue - orange).max() > 0.2


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_data_colours_have_the_contrast_of_graphics_on_the_page(theme: Theme) -> None:
    for role in ("background_cloud", "foreground_cloud", "initial_cloud", "theory"):
        assert contrast(getattr(theme, role), theme.panel) >= 3  # WCAG 1.4.11


def test_the_light_data_colours_are_those_of_the_exported_figures() -> None:
    assert (LIGHT.background_cloud, LIGHT.foreground_cloud) == (palette.BACKGROUND, palette.FOREGROUND)
    assert (LIGHT.initial_cloud, LIGHT.theory) == (palette.INITIAL, palette.THEORY)


def test_every_colour_of_a_theme_is_a_colour() -> None:
    for theme in (LIGHT, DARK):
        for field in dataclasses.fields(theme):
            value = getattr(theme, field.name)
            if field.name not in ("name", "is_dark"):
                assert QColor(value).isValid() and value.startswith("#") and len(value) == 7


def test_choosing_dark_changes_the_application_and_tells_the_views(qapp: QApplication, qtbot: Any) -> None:
    keeper = ThemeKeeper("light", qapp)
    keeper.apply()
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == LIGHT.window
    with qtbot.waitSignal(keeper.theme_changed) as changed:
        keeper.set_mode("dark")
    assert changed.args == [DARK]
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == DARK.window
    assert DARK.panel in qapp.styleSheet()
    keeper.set_mode("light")
    keeper.deleteLater()


def test_a_mixture_lies_between_its_ends() -> None:
    assert mixed("#000000", "#ffffff", 0.0) == "#ffffff"
    assert mixed("#000000", "#ffffff", 1.0) == "#000000"
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"
