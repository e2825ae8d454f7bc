"""The cloud view: what it draws, where its axes are, and what the mouse and the keys do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from plot_clouds import clover, gaussian
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QWheelEvent
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from app.theme import DARK, LIGHT
from app.views.cloud import CloudView
from app.views.projections import Axis
from app.views.theory_overlay import mass_contours
from app.views.theory_sample import density_image
from mft_engine.looks import MOST_POINTS


@pytest.fixture
def view(qtbot: QtBot) -> CloudView:
    view = CloudView(LIGHT)
    qtbot.addWidget(view)
    view.resize(700, 640)
    view.show()
    return view


def on_screen(view: CloudView, x: float, y: float) -> QPoint:
    """Where a point of the plane lies in the viewport."""
    return view.plot.mapFromScene(view.plot.getViewBox().mapViewToScene(QPointF(x, y)))


def colour_at(view: CloudView, x: float, y: float) -> QColor:
    return view.plot.grab().toImage().pixelColor(on_screen(view, x, y))


def settled(view: CloudView, qtbot: QtBot) -> CloudView:
    """The view once its axes have stopped moving."""
    qtbot.waitUntil(lambda: not view._follower.is_moving)
    return view


def is_near(colour: QColor, wanted: str, reach: int = 70) -> bool:
    other = QColor(wanted)
    return max(abs(colour.red() - other.red()), abs(colour.green() - other.green()),
               abs(colour.blue() - other.blue())) < reach  # fmt: skip


def test_neurons_appear_where_their_weights_are(view: CloudView, qtbot: QtBot) -> None:
    theta = np.array([[1.0, 0.5, 2.0], [-1.0, -0.5, 1.0], [-1.0, 0.9, 1.0]], np.float32)
    view.show_background(theta, 3)
    settled(view, qtbot)
    assert is_near(colour_at(view, 1.0, 0.5), LIGHT.background_cloud)
    assert is_near(colour_at(view, -1.0, 0.9), LIGHT.background_cloud)
    assert is_near(colour_at(view, 0.5, -0.7), LIGHT.panel, 20)


def test_foreground_is_orange_and_lies_over_the_background(view: CloudView, qtbot: QtBot) -> None:
    theta = np.array([[1.0, 0.5, 2.0], [-1.0, 0.5, 1.0]], np.float32)
    view.show_background(theta, 2)
    view.show_foreground(theta[:1])
    settled(view, qtbot)
    assert is_near(colour_at(view, 1.0, 0.5), LIGHT.foreground_cloud, 90)
    assert is_near(colour_at(view, -1.0, 0.5), LIGHT.background_cloud)
    view.show_foreground(None)
    assert is_near(colour_at(view, 1.0, 0.5), LIGHT.background_cloud)


def test_chips_count_the_networks_neurons_not_the_shown_ones(view: CloudView) -> None:
    view.show_background(clover(500), 200_000)
    view.show_foreground(clover(2048))
    assert view.header.chips["background"].detail == "200,000"
    assert view.header.chips["background"].accessibleName() == "background 200,000"
    assert view.header.chips["foreground"].detail == "2,048"
    assert not view.header.chips["initial"].isEnabled()


def test_a_click_on_a_chip_hides_and_shows_its_cloud(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(500), 500)
    chip = view.header.chips["background"]
    qtbot.mouseClick(chip, Qt.MouseButton.LeftButton)
    assert not view.layers["background"].scatter.isVisible()
    chip.setFocus()
    qtbot.keyClick(chip, Qt.Key.Key_Space)
    assert view.layers["background"].scatter.isVisible()


def test_initial_cloud_waits_for_its_chip(view: CloudView, qtbot: QtBot) -> None:
    view.show_initial(gaussian(300))
    view.show_background(clover(300), 300)
    assert not view.layers["initial"].scatter.isVisible()
    qtbot.mouseClick(view.header.chips["initial"], Qt.MouseButton.LeftButton)
    assert view.layers["initial"].scatter.isVisible()


@pytest.mark.parametrize(("n", "has_points"), [(MOST_POINTS, True), (MOST_POINTS + 1, False)])
def test_many_neurons_become_a_density_image(view: CloudView, n: int, has_points: bool) -> None:
    view.show_background(clover(n), n)
    layer = view.layers["background"]
    assert layer.scatter.isVisible() == has_points
    assert layer.image.isVisible() != has_points


def test_density_is_high_where_neurons_are(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(100_000), 100_000)
    settled(view, qtbot)
    assert is_near(colour_at(view, 0.44, 0.44), LIGHT.background_cloud)
    assert is_near(colour_at(view, 2.5, 0.0), LIGHT.panel, 40)


def test_range_stays_while_the_cloud_trembles(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(2048), 2048)
    settled(view, qtbot)
    before = view.visible_range()
    for k in range(30):
        view.show_background(clover(2048) + 0.01 * gaussian(2048, seed=k), 2048)
    view.show_foreground(clover(2048, seed=0))
    assert not view._follower.is_moving
    assert view.visible_range() == before


def test_range_grows_with_the_cloud_without_a_jump(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(gaussian(1000), 1000)
    settled(view, qtbot)
    widths = [view.visible_range()[0][1]]
    view.show_background(gaussian(1000, scale=3.0), 1000)
    while view._follower.is_moving:
        qtbot.wait(10)
        widths.append(view.visible_range()[0][1])
    steps = np.diff(widths)
    total = widths[-1] - widths[0]
    assert total > widths[0]
    assert (steps >= 0).all()
    # One tick goes 35 % of the way; two may fall between two looks.
    assert steps.max() < 0.6 * total


def test_weights_keep_an_equal_aspect_and_mixed_axes_do_not(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(2048), 2048)
    settled(view, qtbot)
    across, up = view.plot.getViewBox().viewPixelSize()
    assert across == pytest.approx(up, rel=0.01)
    view.pick_axes("w1", "a")
    (x_low, x_high), (y_low, y_high) = view.visible_range()
    assert y_high - y_low > 3 * (x_high - x_low)


def test_wheel_takes_the_range_and_home_gives_it_back(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(2048), 2048)
    settled(view, qtbot)
    before = view.visible_range()
    port = view.plot.viewport()
    middle = QPointF(port.rect().center())
    wheel = QWheelEvent(
        middle, port.mapToGlobal(middle), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(port, wheel)
    zoomed = view.visible_range()
    assert zoomed != before
    view.show_background(3 * clover(2048), 2048)
    qtbot.wait(60)
    assert view.visible_range() == zoomed
    view.show_background(clover(2048), 2048)
    view.activateWindow()
    view.plot.setFocus()
    qtbot.waitUntil(view.isActiveWindow)
    qtbot.keyClick(view.plot, Qt.Key.Key_Home)
    assert np.allclose(view.visible_range(), before)


def test_the_picker_puts_another_quantity_on_the_axis(view: CloudView, qtbot: QtBot) -> None:
    theta = clover(200)
    view.show_background(theta, 200)
    picker = view.header.y_picker
    picker.setFocus()
    while picker.currentData() != "a":
        qtbot.keyClick(picker, Qt.Key.Key_Down)
    assert view.axes == ("w1", "a")
    assert np.array_equal(view.layers["background"].scatter.getData()[1], theta[:, 2].astype(float))


def test_principal_components_follow_the_cloud_without_turning(view: CloudView) -> None:
    view.show_background(clover(500), 500)
    view.pick_axes("PC1", "PC2")
    x = view.layers["background"].x.copy()
    view.show_background(clover(500) + 1e-4, 500)
    assert np.abs(view.layers["background"].x - x).max() < 1e-2


def test_another_number_of_inputs_offers_other_axes(view: CloudView) -> None:
    view.show_background(clover(100), 100)
    view.show_background(gaussian(100, 6), 100)
    keys = [view.header.x_picker.itemData(i) for i in range(view.header.x_picker.count())]
    assert keys == ["w1", "w2", "w3", "w4", "w5", "a", "norm", "angle", "PC1", "PC2"]
    view.show_background(gaussian(100, 2), 100)
    assert view.axes == ("w1", "a")


def test_task_projections_are_offered_as_axes(view: CloudView) -> None:
    theta = clover(100)
    view.set_projections({"diagonal": np.array([1.0, 1.0]) / np.sqrt(2)})
    view.show_background(theta, 100)
    view.pick_axes("diagonal", "w2")
    assert view.layers["background"].x == pytest.approx((theta[:, 0] + theta[:, 1]) / np.sqrt(2), abs=1e-5)


def test_theory_is_shown_on_its_own_axes_only(view: CloudView) -> None:
    image = np.ones((32, 32))
    view.show_background(clover(100), 100)
    view.show_theory(image, 4.0)
    assert view._theory.overlays[0].heat.isVisible()
    view.pick_axes("w1", "a")
    assert not view._theory.overlays[0].heat.isVisible()
    assert not view.header.chips["theory"].isEnabled()
    view.pick_axes("w1", "w2")
    view.show_theory(None)
    assert not view._theory.overlays[0].heat.isVisible()


def test_neurons_of_a_law_are_shown_on_every_pair_of_axes(view: CloudView) -> None:
    view.show_background(clover(400), 400)
    view.show_theory(None, sample=gaussian(3000))
    chip, overlay = view.header.chips["theory"], view._theory.overlays[0]
    for x, y in (("w1", "w2"), ("w1", "a"), ("norm", "angle"), ("PC1", "PC2")):
        view.pick_axes(x, y)
        assert chip.isEnabled() and overlay.heat.isVisible(), (x, y)
        lines = overlay.lines.boundingRect()
        assert lines.width() > 0 and lines.height() > 0, (x, y)
    # A length begins at nothing, and an angle ends at half a turn.
    view.pick_axes("norm", "angle")
    rect = overlay.heat.mapRectToParent(overlay.heat.boundingRect())
    assert rect.left() == pytest.approx(0) and rect.top() == pytest.approx(-180) and rect.bottom() == pytest.approx(180)
    chip.setChecked(False)
    assert not overlay.heat.isVisible()
    chip.setChecked(True)
    view.show_theory(None, sample=np.ones((50, 7), np.float32))  # of another layer or task
    assert not overlay.heat.isVisible() and not chip.isEnabled()
    view.show_theory(None)
    assert not overlay.lines.isVisible()


def test_half_of_the_laws_neurons_lie_within_its_innermost_line(view: CloudView) -> None:
    law = gaussian(6000)
    found = density_image(law[:, 0], 3 * law[:, 2], (Axis("w1", "", "weight", ""), Axis("a", "", "readout", "")))
    assert found is not None
    image, rect = found
    for share, (x, y) in zip((0.5, 0.9), mass_contours(image, 1.0, [0.5, 0.9]), strict=True):
        across, along = (rect.center().x() + rect.width() / 2 * x, rect.center().y() + rect.height() / 2 * y)
        radius = np.hypot(across, along / 3)[np.isfinite(x)].mean()
        # 1 - exp(-r^2 / 2); smoothing over a tenth of the spread adds its square's half, counts scatter by 1.5 %.
        assert radius == pytest.approx(np.sqrt(-2 * np.log(1 - share)), rel=0.06)


def test_theory_rows_run_upwards(view: CloudView, qtbot: QtBot) -> None:
    image = np.zeros((64, 64))
    image[48:, 48:] = 1.0  # w1 and w2 both large
    view.show_background(np.array([[2.0, 2.0, 1.0], [-2.0, -2.0, 1.0]], np.float32), 2)
    view.show_theory(image, 2.0)
    settled(view, qtbot)
    heat, page = colour_at(view, 1.5, 1.5), colour_at(view, 1.5, -1.5)
    assert heat.red() < page.red() - 60
    assert is_near(page, LIGHT.panel, 20)


def test_theory_lines_hold_their_shares_of_the_neurons() -> None:
    n = 200
    g = (np.arange(n) + 0.5) * (10.0 / n) - 5.0
    density = np.exp(-(g[:, None] ** 2 + g[None, :] ** 2) / 2)
    for share, (x, y) in zip((0.5, 0.9, 0.99), mass_contours(density, 5.0, [0.5, 0.9, 0.99]), strict=True):
        radius = np.hypot(x, y)[np.isfinite(x)]
        # In the plane a Gaussian has 1 - exp(-r^2 / 2) of its mass within r; a cell is 0.05 wide.
        assert radius == pytest.approx(np.sqrt(-2 * np.log(1 - share)), abs=0.05)
    assert all(len(x) == 0 for x, _ in mass_contours(np.zeros((8, 8)), 1.0, [0.5]))


def test_a_new_theory_and_a_new_range_are_drawn_afresh(view: CloudView, qtbot: QtBot) -> None:
    """The overlay is kept as a picture between frames; a kept picture must not outlive what it shows."""
    view.show_background(np.array([[2.0, 2.0, 1.0], [-2.0, -2.0, 1.0]], np.float32), 2)
    image = np.zeros((64, 64))
    image[48:, 48:] = 1.0
    view.show_theory(image, 2.0)
    settled(view, qtbot)
    assert colour_at(view, 1.5, 1.5).red() < 200
    view.show_theory(image[::-1], 2.0)
    assert is_near(colour_at(view, 1.5, 1.5), LIGHT.panel, 20)
    assert colour_at(view, 1.5, -1.5).red() < 200
    view.plot.getViewBox().setRange(xRange=(-8, 8), yRange=(-8, 8), padding=0)
    assert colour_at(view, 1.5, -1.5).red() < 200
    assert is_near(colour_at(view, 4.0, -4.0), LIGHT.panel, 20)
    view.apply_theme(DARK)
    assert colour_at(view, 1.5, -1.5).green() > 70


def test_points_shrink_with_the_plot(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(2048), 2048)
    large = view.layers["background"].scatter.opts["size"]
    view.resize(400, 330)
    qtbot.waitUntil(lambda: view.layers["background"].scatter.opts["size"] < 0.8 * large)


def test_readout_colours_are_symmetric_and_clouds_stay_apart_by_symbol(view: CloudView, qtbot: QtBot) -> None:
    theta = np.array([[1.0, 1.0, 9.0], [-1.0, 1.0, -9.0], [1.0, -1.0, 0.0]], np.float32)
    view.show_background(theta, 3)
    view.show_foreground(theta + np.array([0.5, 0.0, 0.0], np.float32))
    view.colour_by("a")
    settled(view, qtbot)
    assert colour_at(view, 1.0, 1.0).redF() > colour_at(view, 1.0, 1.0).blueF()
    assert colour_at(view, -1.0, 1.0).blueF() > colour_at(view, -1.0, 1.0).redF()
    assert view.key.isVisible()
    assert view.layers["foreground"].scatter.opts["symbol"] != view.layers["background"].scatter.opts["symbol"]
    view.colour_by("plain")
    assert not view.key.isVisible()
    assert is_near(colour_at(view, -1.0, 1.0), LIGHT.background_cloud)


def test_hovering_tells_the_neurons_numbers_and_draws_its_function(view: CloudView, qtbot: QtBot) -> None:
    view.set_activation(lambda z: np.maximum(0.0, np.tanh(z)))
    theta = np.array([[3.0, 4.0, -2.5], [-3.0, -4.0, 1.0]], np.float32)
    view.show_background(theta, 2)
    settled(view, qtbot)
    view.hover(on_screen(view, 3.0, 4.0))
    assert view.card.isVisible()
    for part in ("background neuron 0", "(3, 4)", "−2.5", "5", "53°"):
        assert part in view.card.text
    assert view.card.inset.isVisible()
    # The curve is a phi(s |w|): zero on the negative side, a on the positive one.
    assert view.card.inset.values[0] == 0.0
    assert view.card.inset.values[-1] == pytest.approx(-2.5, abs=1e-6)
    view.hover(on_screen(view, 0.0, 0.0))
    assert not view.card.isVisible()


def test_the_mouse_brings_the_card_and_leaving_takes_it(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(np.array([[1.0, 1.0, 2.0], [-1.0, -1.0, 3.0]], np.float32), 2)
    settled(view, qtbot)
    qtbot.mouseMove(view.plot.viewport(), on_screen(view, -1.0, -1.0))
    qtbot.waitUntil(view.card.isVisible)
    assert "background neuron 1" in view.card.text
    QApplication.sendEvent(view.plot.viewport(), QEvent(QEvent.Type.Leave))
    assert not view.card.isVisible()


def test_card_follows_its_neuron_and_goes_with_the_mouse(view: CloudView, qtbot: QtBot) -> None:
    theta = clover(50)
    view.show_background(theta, 50)
    settled(view, qtbot)
    view.hover(on_screen(view, *theta[3, :2]))
    moved = theta.copy()
    moved[:, 2] = 77.0
    view.show_background(moved, 50)
    assert "77" in view.card.text
    qtbot.mousePress(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(200, 200))
    assert not view.card.isVisible()
    qtbot.mouseRelease(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(200, 200))


def test_frames_wait_while_the_mouse_drags_and_the_last_one_is_drawn(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(100), 100)
    before = view.layers["background"].scatter.getData()[0].copy()
    port = view.plot.viewport()
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
    view.show_background(clover(100) + 1.0, 100)
    view.show_background(clover(100) + 2.0, 100)
    assert np.array_equal(view.layers["background"].scatter.getData()[0], before)
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
    assert view.layers["background"].scatter.getData()[0] == pytest.approx(before + 2.0, abs=1e-5)


def test_clearing_while_the_mouse_drags_leaves_nothing_drawn(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(100), 100)
    port = view.plot.viewport()
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
    view.clear()
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
    assert not view.layers["background"].scatter.isVisible()
    assert view.empty.isVisible()


def test_no_menu_and_no_export_of_pyqtgraph(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(100), 100)
    qtbot.mouseClick(view.plot.viewport(), Qt.MouseButton.RightButton, pos=QPoint(300, 300))
    assert not [menu for menu in view.findChildren(QMenu) if menu.isVisible()]
    assert not view.plot.getPlotItem().getViewBox().menuEnabled()
    assert view.plot.scene().contextMenu == []


def test_a_view_without_neurons_says_what_to_do(view: CloudView) -> None:
    assert view.empty.isVisible()
    view.show_background(clover(10), 10)
    assert not view.empty.isVisible()
    view.clear()
    assert view.empty.isVisible()


@pytest.mark.parametrize("break_it", [
    lambda theta: theta * 0,
    lambda theta: theta[:1],
    lambda theta: theta * np.float32(1e12),
])  # fmt: skip
def test_degenerate_clouds_are_drawn_without_complaint(
    view: CloudView, qtbot: QtBot, break_it: Callable[[np.ndarray], np.ndarray]
) -> None:
    theta = break_it(clover(64))
    for key in ("plain", "a", "norm", "angle"):
        view.colour_by(key)
        view.show_background(theta, len(theta))
        view.show_foreground(theta)
        view.grab()
    view.pick_axes("PC1", "PC2")
    view.grab()


def test_the_dark_theme_reaches_plot_and_points(view: CloudView, qtbot: QtBot) -> None:
    theta = np.array([[1.0, 0.5, 2.0], [-1.0, -0.5, 1.0]], np.float32)
    view.show_background(theta, 2)
    settled(view, qtbot)
    view.apply_theme(DARK)
    assert is_near(colour_at(view, 1.0, 0.5), DARK.background_cloud)
    assert is_near(colour_at(view, 0.5, -0.7), DARK.panel, 20)


def test_painted_is_told_once_a_frame_is_on_screen(view: CloudView, qtbot: QtBot) -> None:
    view.show_background(clover(100), 100)
    qtbot.waitExposed(view)
    with qtbot.waitSignal(view.painted, timeout=2000):
        view.show_background(clover(100) + 0.1, 100)
