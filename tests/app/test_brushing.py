"""Neurons that are chosen with the mouse: the same ones in every view, and what they do together."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from journeys import SMALL, Journey, draw_around, pixel
from PySide6.QtCore import QPointF, Qt

from app.views.brush import inside
from mft_engine.network.activations import phi_numpy
from mft_engine.recipe import load_recipe

LEFT, SHIFT, NO_KEY = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier


def test_points_inside_a_line_are_those_of_its_area() -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 2000))
    triangle = np.array([[-0.5, -0.5], [0.5, -0.5], [0.0, 0.5]])
    expected = (y > -0.5) & (y < 0.5 - 2 * np.abs(x))
    assert np.array_equal(inside(triangle, x, y), expected) and expected.sum() > 200


@pytest.fixture
def trained(journey: Journey) -> Iterator[Journey]:
    """A small clover with a foreground, on the real engine."""
    journey.start(load_recipe("clover-warm").replace(SMALL | {"training.time": 3.0}))
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    journey.rest()
    yield journey
    assert journey.faults == []


def test_neurons_chosen_in_the_cloud_are_seen_in_every_view(trained: Journey) -> None:
    window, qtbot, session = trained.window, trained.qtbot, trained.session
    cloud, brush = window.cloud, window.brush
    layers = cloud.layers
    span = cloud.visible_range()
    trained.look_at("fields")
    trained.wait_for("fields_ready", lambda: trained.press("step"))
    assert window.docks["neurons"].isHidden()
    draw_around(qtbot, cloud.plot, 0.05, 3.0)
    chosen = brush.numbers
    for name in ("background", "foreground"):
        x, y = layers[name].x, layers[name].y
        # A pixel of the line is worth a few hundredths: neurons on it may fall to either side.
        assert set(np.flatnonzero((x > 0.1) & (y > 0.1) & (x < 2.9) & (y < 2.9))) <= set(chosen[name])
        assert set(chosen[name]) <= set(np.flatnonzero((x > 0.0) & (y > 0.0)))
        marks = cloud.brush._marks[cloud.plot, name].getData()
        assert np.allclose(marks, (x[chosen[name]], y[chosen[name]]))
    assert cloud.visible_range() == span  # the picture was not dragged
    qtbot.waitUntil(lambda: not window.docks["neurons"].visibleRegion().isEmpty())  # it came up by itself
    qtbot.wait(20)
    # Their function: the sum over them alone, and their share of the power of the whole one.
    panel = window.docks["neurons"].widget()
    theta = layers["background"].theta.astype(float)
    some = theta[chosen["background"]]
    keeper = brush
    features = phi_numpy("relu_tanh", keeper._grid.astype(float) @ some[:, :2].T)
    function = (features @ some[:, 2] / len(theta)).reshape(32, 32)
    fields = window.docks["fields"].widget()
    assert np.allclose(fields._chosen, function, atol=1e-4)
    whole = phi_numpy("relu_tanh", keeper._grid.astype(float) @ theta[:, :2].T) @ theta[:, 2] / len(theta)
    share = (keeper._weights @ (whole * function.ravel())) / (keeper._weights @ whole**2)
    assert panel.numbers.text("power", 0) == f"{100 * share:.1f} %".replace("-", "−")
    assert panel.numbers.text("n", 1) == str(len(chosen["foreground"]))
    # The inspector: a row points at its neuron in the cloud.
    panel.table.setFocus()
    qtbot.keyClick(panel.table, Qt.Key.Key_Down)
    qtbot.keyClick(panel.table, Qt.Key.Key_Down)
    row = panel.table.currentRow()
    number = chosen["background"][row]
    assert panel.table.item(row, 0).text() == f"b {number}" and f"background neuron {number}" in cloud.card.text
    curve = float(theta[number, 2]) * phi_numpy("relu_tanh", np.linspace(-3, 3, 121) * np.hypot(*theta[number, :2]))
    assert np.allclose(panel.inset.values, curve, atol=1e-4)
    trained.picture("brushing-fields")
    # Marginals: the chosen neurons' part of every histogram.
    trained.look_at("marginals")
    qtbot.waitUntil(lambda: window.marginals._curves["w1", "chosen background"].isVisible())
    edges, density = window.marginals._curves["w1", "chosen background"].getData()
    assert np.isclose((np.diff(edges) * density).sum(), len(some) / len(theta), atol=0.02)
    assert edges[1:][density > 0][0] > -0.05
    trained.picture("brushing-marginals")
    # The data kernel: their part of the first eigenvalues.
    trained.look_at("kernel")
    trained.wait_for("kernel_ready", lambda: trained.press("step"))
    kernel = window.docks["kernel"].widget()
    qtbot.waitUntil(lambda: kernel._chosen is not None)
    maps = kernel._kernels.background_maps
    assert len(kernel._chosen) == len(maps) and np.all((kernel._chosen >= 0) & (kernel._chosen <= 1))
    assert "chosen neurons" in kernel.sentence.text()
    trained.picture("brushing-kernel")
    # They stay chosen while they move, and go with a click; undo brings them back.
    trained.press("step")
    qtbot.waitUntil(lambda: np.array_equal(brush.numbers["background"], chosen["background"]))
    count = session.undo_stack.count()
    qtbot.mouseClick(cloud.plot.viewport(), LEFT, SHIFT, pixel(cloud.plot, 0.0, 0.0))
    assert not brush.numbers and panel.empty.isVisibleTo(panel)
    assert session.undo_stack.count() == count + 1
    trained.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(brush.numbers["background"], chosen["background"])
    assert session.undo_stack.undoText() == "choose neurons"
    saved = json.loads(window.saved.capture().model_dump_json())["view"]["chosen"]
    assert saved["background"] == chosen["background"].tolist()


def test_a_drag_along_a_histogram_chooses_and_one_without_shift_does_not(trained: Journey) -> None:
    window, qtbot = trained.window, trained.qtbot
    trained.look_at("marginals")
    view = window.marginals
    qtbot.waitUntil(lambda: view._curves["a", "background"].isVisible())
    plots, item = view.plots, view._items["a"]
    viewport = plots.viewport()
    places = [plots.mapFromScene(item.getViewBox().mapViewToScene(QPointF(a, 0.01))) for a in (2.0, 8.0, 14.0)]
    qtbot.mousePress(viewport, LEFT, SHIFT, places[0])
    for place in places[1:]:
        qtbot.mouseMove(viewport, place)
    qtbot.mouseRelease(viewport, LEFT, SHIFT, places[-1])
    readouts = window.cloud.layers["background"].theta[:, 2]
    pixel_wide = item.getViewBox().viewPixelSize()[0]
    found = window.brush.numbers["background"]
    inner = np.flatnonzero((readouts > 2 + 2 * pixel_wide) & (readouts < 14 - 2 * pixel_wide))
    outer = np.flatnonzero((readouts > 2 - 2 * pixel_wide) & (readouts < 14 + 2 * pixel_wide))
    assert len(inner) > 5 and set(inner) <= set(found) <= set(outer)
    # Without Shift a drag chooses nothing.
    before = dict(window.brush.numbers)
    draw_around(qtbot, window.cloud.plot, 0.05, 1.0, NO_KEY)
    assert all(np.array_equal(window.brush.numbers[name], numbers) for name, numbers in before.items())
    # Another run has other neurons.
    trained.wait_for("experiment_changed", lambda: trained.press("new_seed"))
    assert not window.brush.numbers
