"""The rooms of the window: no circle of imports, docks as rows of a table, and what the window knows without torch."""

from __future__ import annotations

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import numpy as np
import pytest
import torch
from PySide6.QtWidgets import QLabel, QMainWindow

from app.docks import BOTTOM, DOCKS, Docks, DockSpec, Ground
from app.engine.messages import MetricsReady
from app.logs import LogBuffer
from app.panels.log import LogPanel
from app.session import Session
from app.theme import LIGHT, Theme
from mft_engine.curves import CURVES
from mft_engine.network.activations import ACTIVATIONS

MOST_LINES = 460


def test_the_window_has_no_circle_of_imports_those_in_functions_and_for_types_included() -> None:
    graph = grimp.build_graph("app")
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


class NewView(QLabel):
    """A dock that nobody thought of before."""

    def apply_theme(self, theme: Theme) -> None:
        self.setStyleSheet(f"color: {theme.text};")

    def show_metrics(self, event: MetricsReady) -> None:
        self.setText(f"{len(event.stored_times)} stored")


def test_a_dock_more_is_a_view_and_a_row(make_session: Callable[..., Session], qtbot: Any) -> None:
    session, log, window = make_session(), LogBuffer(), QMainWindow()
    qtbot.addWidget(window)
    table = (*DOCKS, DockSpec("new", "New", BOTTOM, lambda ground: NewView(), {"metrics_ready": NewView.show_metrics}))
    docks = Docks(window, session, Ground(LIGHT, log), table)
    docks.apply_theme(LIGHT)
    session.metrics_ready.emit(MetricsReady({}, np.zeros(3)))
    assert docks["new"].windowTitle() == "New" and docks["new"] in window.tabifiedDockWidgets(docks["loss"])
    assert docks.view(NewView).text() == "3 stored" and LIGHT.text in docks.view(NewView).styleSheet()
    docks.view(LogPanel).stop()
    log.close()


def test_every_dock_listens_to_signals_that_the_session_has() -> None:
    assert len({spec.name for spec in DOCKS}) == len(DOCKS)
    for spec in DOCKS:
        assert all(hasattr(Session, signal) for signal in spec.shows), spec.name


def test_the_hover_cards_curves_are_the_engines_activations() -> None:
    z = np.linspace(-3, 3, 241)
    assert set(CURVES) == set(ACTIVATIONS)
    for name, curve in CURVES.items():
        exact = ACTIVATIONS[name].phi(torch.from_numpy(z)).numpy()
        # The engine's tanh is a sigmoid of float64: some roundings of a number near 1.
        assert np.abs(curve.values(z) - exact).max() < 1e-14 * max(1.0, np.abs(exact).max()), name


def test_no_file_of_the_window_is_too_long_to_be_read() -> None:
    for path in Path(__file__).parents[2].joinpath("app").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path
