"""A cloud of very many neurons in the window: all of them are in the image and the histograms, few are sent."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from journeys import LEFT, SMALL, Journey, draw_around, pixel
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from app.views.cloud_layer import CloudLayer
from mft_engine.experiment.events import CloudSeen, Snapshot
from mft_engine.looks import Coordinate, Span, count, count_plane, n_sent
from mft_engine.questions.waves import waves
from mft_engine.recipe import load_recipe

N = 60_000
LARGE = SMALL | {"network.n_neurons": N, "training.n_points": 64}


@pytest.fixture
def large(journey: Journey) -> Iterator[Journey]:
    """A large clover at its start, paused, its image drawn."""
    journey.start(load_recipe("clover").replace(LARGE))
    settle(journey)
    yield journey
    assert journey.faults == []


def background(journey: Journey) -> CloudLayer:
    return journey.window.cloud.layers["background"]


def is_answered(journey: Journey, layer: CloudLayer | None = None) -> bool:
    """Whether what is drawn is what is looked at."""
    cloud, seen = journey.window.cloud, (layer or background(journey)).seen
    return seen is not None and not cloud._follower.is_moving and seen.look.plane == cloud.plane


def settle(journey: Journey) -> None:
    journey.qtbot.waitUntil(lambda: is_answered(journey), timeout=20_000)


def all_neurons(journey: Journey) -> np.ndarray:
    """Of the background, read in the engine's thread's experiment while it rests."""
    return journey.session._worker._hand.experiment.state.theta.numpy().copy()


def wheel(journey: Journey, by: int) -> None:
    port = journey.window.cloud.plot.viewport()
    middle = QPointF(port.rect().center())
    turned = QWheelEvent(
        middle, port.mapToGlobal(middle), QPoint(), QPoint(0, by), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(port, turned)


def whole_image(layer: CloudLayer, theta: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Counts of every neuron in the cells that were asked for."""
    assert layer.seen is not None and layer.seen.look.plane is not None and layer.seen.look.plane.spans is not None
    x, y = values(theta)
    return count_plane(x, y, layer.seen.look.plane.spans)


def test_every_neuron_is_in_the_image_and_a_zoom_of_a_paused_run_gets_a_finer_one(large: Journey) -> None:
    layer, theta = background(large), all_neurons(large)
    assert layer.image.isVisible() and len(layer.theta) == 2048 and layer.n_neurons == N
    assert large.window.cloud.header.chips["background"].detail == f"{N:,}"
    first = layer.seen
    assert first.image.sum() > 0.99 * N
    assert np.array_equal(first.image, whole_image(layer, theta, lambda t: (t[:, 0], t[:, 1])))
    shown: list[object] = []
    image_of = layer.image.show_counts
    layer.image.show_counts = lambda counts, spans: shown.append(spans) or image_of(counts, spans)
    wheel(large, 480)
    assert layer.seen is first and layer.image.isVisible()  # the old one stays in its place
    settle(large)
    second = layer.seen
    assert np.array_equal(second.image, whole_image(layer, theta, lambda t: (t[:, 0], t[:, 1])))
    assert second.look.plane.spans[0].width < 0.7 * first.look.plane.spans[0].width
    assert shown[-1] == second.look.plane.spans and layer.image.isVisible()
    rect = layer.image.mapRectToParent(layer.image.boundingRect())
    (left, right), _ = large.window.cloud.visible_range()
    assert (rect.left(), rect.right()) == pytest.approx((left, right))
    large.picture("large-zoomed")


@pytest.mark.slow
def test_a_zoom_into_a_million_neurons_counts_them_all_anew(journey: Journey) -> None:
    journey.start(load_recipe("clover").replace(LARGE | {"network.n_neurons": 1_000_000}))
    settle(journey)
    wheel(journey, 480)
    settle(journey)
    layer, theta = background(journey), all_neurons(journey)
    assert len(theta) == 1_000_000 and layer.seen.n_neurons == 1_000_000
    assert np.array_equal(layer.seen.image, whole_image(layer, theta, lambda t: (t[:, 0], t[:, 1])))
    assert journey.faults == []


def test_the_image_follows_while_the_mouse_still_drags_it(large: Journey) -> None:
    layer, plot = background(large), large.window.cloud.plot
    port, middle = plot.viewport(), plot.viewport().rect().center()
    large.qtbot.mousePress(port, LEFT, pos=middle)
    for by in range(10, 90, 10):
        large.qtbot.mouseMove(port, middle + QPoint(by, 0))
        large.qtbot.wait(10)
    (left, right), _ = large.window.cloud.visible_range()
    assert left < -0.05 - right  # the picture went with the mouse

    def is_in_place() -> bool:
        rect = layer.image.mapRectToParent(layer.image.boundingRect())
        return rect.left() == pytest.approx(left) and rect.right() == pytest.approx(right)

    large.qtbot.waitUntil(is_in_place)
    large.qtbot.mouseRelease(port, LEFT, pos=middle + QPoint(80, 0))


@pytest.mark.parametrize("pair", [("w1", "a"), ("norm", "angle"), ("PC1", "PC2")], ids="-".join)
def test_other_axes_of_a_paused_run_are_counted_too(large: Journey, pair: tuple[str, str]) -> None:
    layer, theta, cloud = background(large), all_neurons(large), large.window.cloud
    before = cloud.layers["background"].seen
    cloud.pick_axes(*pair)
    assert not layer.image.isVisible()  # nothing of other axes is shown on these
    settle(large)
    assert layer.seen is not before and layer.image.isVisible()
    along = cloud._axes.plane
    assert np.array_equal(layer.seen.image, whole_image(layer, theta, lambda t: tuple(of.of(t) for of in along)))
    assert layer.seen.image.sum() > 0.99 * N
    if pair[0] == "PC1":  # the axes are those of all neurons, not of the few that are here
        scaled = (theta - theta.mean(axis=0)) / theta.std(axis=0)
        _, vectors = np.linalg.eigh(scaled.T.astype(float) @ scaled)
        direction = np.array(along[0].direction) * theta.std(axis=0)
        assert abs(direction @ vectors[:, -1]) == pytest.approx(1.0, abs=1e-3)


def test_histograms_are_those_of_all_neurons_once_somebody_looks(large: Journey) -> None:
    marginals, theta = large.window.marginals, all_neurons(large)
    assert background(large).seen.histograms == ()  # hidden: nothing is counted for them
    large.look_at("marginals")
    curves = [marginals._curves[key, "background"] for key in ("w1", "w2", "a", "angle")]
    large.qtbot.waitUntil(lambda: all(curve.isVisible() and curve.getData()[1] is not None for curve in curves))
    for key, column in (("w1", 0), ("w2", 1), ("a", 2)):
        edges, density = marginals._curves[key, "background"].getData()
        counts = count(theta[:, column], Span(edges[0], edges[-1], len(edges) - 1))
        assert np.array_equal(np.round(density * N * (edges[1] - edges[0])), counts), key
    edges, density = marginals._curves["angle", "background"].getData()
    assert (edges[0], edges[-1]) == (-180, 180) and np.sum(density * np.diff(edges)) == pytest.approx(1)
    assert marginals.chips["background"].detail == f"{N:,}"
    large.picture("large-marginals")


def test_few_neurons_are_here_to_be_chosen_and_looked_at(large: Journey) -> None:
    window, layer = large.window, background(large)
    draw_around(large.qtbot, window.cloud.plot, 0.05, 1.5)
    chosen = window.brush.numbers["background"]
    inner = np.flatnonzero((layer.x > 0.1) & (layer.y > 0.1) & (layer.x < 1.4) & (layer.y < 1.4))
    assert len(inner) > 50 and set(inner) <= set(chosen) and chosen.max() < 2048
    marks = window.cloud.brush._marks[window.cloud.plot, "background"].getData()
    assert np.allclose(marks, (layer.x[chosen], layer.y[chosen]))
    panel = window.docks["neurons"].widget()
    large.qtbot.waitUntil(lambda: not window.docks["neurons"].visibleRegion().isEmpty())
    assert panel.numbers.text("n", 0) == f"{len(chosen)} of 2,048"
    window.cloud.hover(pixel(window.cloud.plot, float(layer.x[7]), float(layer.y[7])))
    assert window.cloud.card.isVisible()
    wheel(large, 480)
    settle(large)
    assert np.array_equal(window.brush.numbers["background"], chosen)


def test_a_frame_carries_kilobytes_while_it_trains_and_the_slider_is_dragged(large: Journey) -> None:
    frames: list[Snapshot] = []
    large.session.snapshot_ready.connect(frames.append)
    large.press("play")
    for scale in (0.002, 0.003, 0.004):
        large.session.edit("regularisation.scale", scale)
        large.qtbot.waitUntil(
            lambda: bool(frames) and frames[-1].generation == large.session.generation, timeout=60_000
        )
    large.press("play")
    large.rest()
    settle(large)
    assert len(frames) > 2 and all(len(pickle.dumps(frame)) < 300_000 for frame in frames)
    assert all(frame.seen is not None and frame.seen.image.sum() > 0.9 * N for frame in frames)
    layer, theta = background(large), all_neurons(large)
    assert np.array_equal(layer.theta, theta[:2048])
    assert np.array_equal(layer.seen.image, whole_image(layer, theta, lambda t: (t[:, 0], t[:, 1])))


def test_a_large_foreground_is_counted_and_follows_the_slider(journey: Journey) -> None:
    changes = {"foreground.n_neurons": 40_000, "foreground.method": "gibbs", "training.time": 0.5}
    journey.start(load_recipe("clover").replace(SMALL | {"training.n_points": 64} | changes))
    told: list[object] = []
    journey.session.foreground_ready.connect(told.append)
    seen: list[CloudSeen] = []
    journey.session.cloud_seen.connect(seen.append)
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    layer = journey.window.cloud.layers["foreground"]
    journey.qtbot.waitUntil(lambda: is_answered(journey, layer))
    assert layer.image.isVisible() and layer.seen.n_neurons == 40_000 and len(told[-1].theta) == 2048
    assert journey.window.cloud.header.chips["foreground"].detail == "40,000"
    assert journey.window.cloud.layers["background"].scatter.isVisible()
    before = layer.seen.image
    journey.session.edit("regularisation.scale", 0.05)
    journey.qtbot.waitUntil(lambda: layer.seen is not None and is_answered(journey, layer) and layer.image.isVisible())
    assert len(told) == 2 and not np.array_equal(layer.seen.image, before)
    assert {event.cloud for event in seen} == {"foreground"}
    journey.picture("large-foreground")
    assert journey.faults == []


def test_an_earlier_cloud_is_points_and_the_run_comes_back_as_an_image(large: Journey) -> None:
    window, layer = large.window, background(large)
    image = layer.seen.image
    window.clouds.stage.show_stored(all_neurons(large)[:4096], 0.0)
    assert layer.scatter.isVisible() and not layer.image.isVisible() and len(layer.theta) == 4096
    window.clouds.go_live()
    large.qtbot.waitUntil(lambda: layer.image.isVisible() and is_answered(large))
    assert not layer.scatter.isVisible() and np.array_equal(layer.seen.image, image)


def test_neurons_that_stand_out_are_ringed_wherever_they_are_in_a_large_cloud(large: Journey) -> None:
    window, layer, theta = large.window, background(large), all_neurons(large)
    window.clouds.stage.mark([N - 1, 5])
    large.qtbot.waitUntil(lambda: len(window.cloud.marked.rings.getData()[0]) == 2)
    x, y = window.cloud.marked.rings.getData()
    assert np.allclose((x, y), theta[[N - 1, 5], :2].T)
    window.cloud.marked.step()
    assert f"background neuron {N - 1:,}" in window.cloud.card.text and "1 of 2" in window.cloud.card.text
    draw_around(large.qtbot, window.cloud.plot, -9.0, 9.0)
    assert len(window.brush.numbers["background"]) == 2048  # those that are always here
    assert layer.number(2048) == N - 1


def test_the_initial_cloud_of_a_large_network_is_counted_when_it_is_switched_on(large: Journey) -> None:
    window = large.window
    layer = window.cloud.layers["initial"]
    assert len(layer.theta) == 2048 and not layer.image.isVisible()
    window.cloud.show_overlay("initial", True)
    large.qtbot.waitUntil(lambda: layer.image.isVisible() and is_answered(large, layer))
    assert layer.seen.n_neurons == N and np.array_equal(layer.seen.image, background(large).seen.image)


@pytest.mark.slow
def test_a_large_foreground_of_every_layer_is_counted_when_its_layer_is_shown(journey: Journey) -> None:
    small = SMALL | {"network.n_neurons": (16, 12), "training.n_points": 32, "training.time": 0.2}
    journey.start(load_recipe("continuous-xor").replace(small | {"foreground.n_neurons": 31_000}))
    journey.wait_for("foreground_ready", lambda: journey.press("resample"))
    window = journey.window
    layer, fresh = background(journey), window.cloud.layers["foreground"]
    for number in (1, 0):
        window.clouds.layers.pick(number)
        journey.qtbot.waitUntil(lambda: fresh.image.isVisible() and is_answered(journey, fresh))
        assert fresh.seen.n_neurons == 31_000 and fresh.seen.look.layer == number and len(fresh.theta) == 2048
        assert fresh.seen.image.sum() > 0.98 * 31_000
        assert layer.scatter.isVisible() and len(layer.theta) == (16, 12)[number]
    journey.press("cancel")
    journey.rest()
    assert journey.faults == []


def test_the_waves_of_all_neurons_of_a_large_network_that_adds(journey: Journey) -> None:
    changes = {"network.n_neurons": 31_000, "foreground.n_neurons": 64, "engine.n_threads": 1}
    journey.start(load_recipe("modular-addition").replace(changes))
    settle(journey)
    layer, theta, fourier = background(journey), all_neurons(journey), journey.window.fourier
    assert layer.seen.waves is None and len(layer.theta) == n_sent(31_000, 33) < 500
    journey.look_at("fourier")
    journey.qtbot.waitUntil(lambda: layer.seen.waves is not None)
    found = waves(theta, fourier.modulus)
    assert np.array_equal(layer.seen.waves.counts, np.bincount(found.frequency)[1:])
    journey.qtbot.waitUntil(lambda: len(fourier._points["background"].getData()[0]) == 2000)
    assert np.allclose(fourier._bars["background"].opts["height"], layer.seen.waves.counts / 31_000)
    # The readouts of a neuron are shown as their length, here and there.
    journey.window.cloud.pick_axes("a", "norm")
    settle(journey)
    length = Coordinate("readout").of(theta, fourier.modulus), Coordinate("length").of(theta, fourier.modulus)
    assert np.array_equal(layer.seen.image, whole_image(layer, theta, lambda _: length))
    assert journey.faults == []


def test_another_run_after_a_large_one_is_drawn_as_ever(large: Journey) -> None:
    large.wait_for("experiment_changed", lambda: large.session.edit("network.n_neurons", 500))
    layer = background(large)
    large.qtbot.waitUntil(lambda: layer.scatter.isVisible() and len(layer.theta) == 500)
    assert not layer.image.isVisible() and layer.seen is None
    large.wait_for("experiment_changed", lambda: large.session.edit("network.n_neurons", 31_000))
    large.qtbot.waitUntil(lambda: layer.image.isVisible() and is_answered(large))
    assert layer.seen.n_neurons == 31_000
