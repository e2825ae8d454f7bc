"""The self-consistency panel: the verdict in words, the numbers that decide it, and when they no longer hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from plot_clouds import clover, gaussian
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.panels.certificate import certificate_sentence
from app.panels.gauges import stability_sentence, zone
from app.panels.orders import cloud_orders
from app.panels.self_consistency import SelfConsistencyPanel
from app.panels.verdict_words import verdict_sentence
from app.theme import DARK, LIGHT, Theme
from app.widgets.words import UNKNOWN, written_error
from mft_engine.compare.averages import AveragesTest, Statistic
from mft_engine.compare.clouds import Comparison
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.events import Answered, ForegroundReady, Snapshot
from mft_engine.experiment.outcome import Cloud
from mft_engine.questions.certificate import Certificate
from mft_engine.questions.drift import Drift, Moved
from mft_engine.questions.posterior import Posterior
from mft_engine.theory.bounds import SteinDiscrepancy

NULL = 0.0021 * (1 + 0.2 * gaussian(500)[:, 0].astype(float))


NUMBERS = Comparison(
    energy_distance=0.00203,
    null_mean=float(NULL.mean()),
    null_95=float(np.quantile(NULL, 0.95)),
    null=NULL,
    p_value=0.4192,
    ratio=0.967,
    verdict="consistent",
    energy_distance_weights=0.0018,
    null_mean_weights=0.0019,
    null_95_weights=0.0026,
    null_weights=NULL,
    p_value_weights=0.51,
    ratio_weights=0.95,
    n_background=2048,
    n_foreground=2048,
    n_permutations=500,
    method="exact",
    function_alignment=0.9981,
    background_loss=0.29412,
    foreground_loss=0.2991,
    expected_loss_difference=0.006,
)
PLANE = ("w1", "w2", "a")
CLOSE = replace(NUMBERS, energy_distance=0.0061, p_value=1 / 501, ratio=2.9, verdict="close")
WRONG = replace(
    NUMBERS, energy_distance=0.344, p_value=1 / 501, ratio=164.0, verdict="inconsistent", foreground_loss=2.6
)


def snapshot(eta_theta: float = 1.4, **changes: object) -> Snapshot:
    theta = clover(2048)
    values = {
        "step": 16000, "time": 24.0, "clouds": (Cloud(theta, PLANE),), "n_neurons": 2048,
        "loss": 0.294, "step_size": 0.00157,
        "eta_theta": eta_theta, "order_parameters": {"cos4": -0.5621}, "average_age": 16.0, "is_complete": True,
        "kernel": "reference",
    }  # fmt: skip
    return Snapshot(**(values | changes))  # type: ignore[arg-type]


THEORY = {"loss": 0.29331, "free_energy": 0.2262, "gap": 3e-9, "kl": 3.975, "order_parameters": {"cos4": -0.5582}}


@pytest.fixture
def panel(qtbot: QtBot) -> SelfConsistencyPanel:
    panel = SelfConsistencyPanel(LIGHT)
    qtbot.addWidget(panel)
    panel.resize(330, 1000)
    panel.show()
    return panel


def show(panel: SelfConsistencyPanel, numbers: Comparison) -> None:
    panel.show_comparisons([replace(numbers)])  # a comparison of its own, as every resampling makes one


def words(panel: SelfConsistencyPanel) -> str:
    """All text that can be read."""
    return " ".join(label.text() for label in panel.findChildren(QLabel) if label.isVisible()).replace("\u00a0", " ")


def test_consistent_is_said_in_words_with_the_number_of_neurons_and_p(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    assert panel.card.headline.text() == "Consistent"
    assert "The 2,048 foreground neurons cannot be told from the background (p = 0.42)." in words(panel)
    assert "Consistent" in panel.card.accessibleName()


def test_inconsistent_says_how_many_times_chance(panel: SelfConsistencyPanel) -> None:
    show(panel, WRONG)
    assert panel.card.headline.text() == "Inconsistent"
    assert "164 times what chance gives (p ≤ 0.0020)" in words(panel)


def test_close_points_at_the_step_size(panel: SelfConsistencyPanel) -> None:
    show(panel, CLOSE)
    assert "2.9 times what chance gives" in words(panel)
    assert "Look at the step size first" in words(panel)


def test_a_good_p_at_an_unstable_step_is_explained(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot(eta_theta=1.93))
    show(panel, replace(NUMBERS, verdict="close"))
    assert "look like the background (p = 0.42), but the step size is too large" in words(panel)


def test_verdicts_differ_in_colour_and_in_icon(panel: SelfConsistencyPanel) -> None:
    seen = []
    for numbers in (NUMBERS, CLOSE, WRONG):
        show(panel, numbers)
        seen.append(panel.card.icon.grab().toImage())
    colours = [image.pixelColor(image.width() // 2, 5).name() for image in seen]
    assert len(set(colours)) == 3
    # The same three in grey: the icon's shape alone tells them apart.
    shapes = []
    for numbers in (NUMBERS, CLOSE, WRONG):
        show(panel, numbers)
        panel.mark_stale("x")
        shapes.append(panel.card.icon.grab().toImage())
    assert shapes[0] != shapes[1] and shapes[1] != shapes[2] and shapes[0] != shapes[2]


def test_both_distances_are_listed_with_their_nulls(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    table = panel.distances
    assert table.text("distance") == "0.00203" and table.text("distance", 1) == "0.00180"
    assert table.text("ratio") == "0.967" and table.text("ratio", 1) == "0.950"
    assert table.text("p_value") == "0.42" and table.text("p_value", 1) == "0.51"


AVERAGES = AveragesTest(
    statistics=(
        Statistic("norm", "mean length |w|", 1.312, 1.3, 0.006, 0.046),
        Statistic("potential", "mean potential V/T", -9.0, -9.2, 0.05, 6e-5),
    ),
    t_square=5.0, n_degrees=2, p_value=0.08, kl_upper=0.0031, outliers=np.zeros(0, np.int64),
)  # fmt: skip
NOTICED = Resolution(prior_share=0.021, weight_scale=0.04, readout_scale=0.023, turn=0.062, temperature=0.051)


def test_the_averages_are_listed_with_all_that_they_would_have_noticed(panel: SelfConsistencyPanel) -> None:
    show(panel, replace(NUMBERS, averages=AVERAGES, resolution=NOTICED))
    averages = panel.averages
    assert averages.isVisible() and averages.numbers.keys() == ("potential", "norm")
    assert [averages.numbers.text("potential", column) for column in range(3)] == ["−9.00", "−9.20", "4.0"]
    assert averages.noticed.text("readout_scale") == "2.3 %" and averages.noticed.text("turn") == "0.062 rad"
    assert averages.noticed.text("kl") == "0.0031"
    assert "another network's neurons" not in words(panel)  # unknown here
    assert "at most 0.0031 nats a neuron apart" in panel.card.sentence.text()
    show(panel, NUMBERS)
    assert not averages.isVisible()


def test_the_distances_of_a_layer_are_headed_by_its_own_coordinates(panel: SelfConsistencyPanel) -> None:
    headings = panel.distances._headings
    assert [label.text() for label in headings] == ["(w, a)", "w alone"]
    for layer, expected in enumerate((["(w, v)", "w alone"], ["(φ, b)", "φ alone"])):
        panel.show_comparisons((CLOSE, WRONG), layer)
        assert [label.text() for label in headings] == expected
    panel.clear()
    assert [label.text() for label in headings] == ["(w, a)", "w alone"]


def test_looking_at_another_layer_keeps_certificate_and_staleness(panel: SelfConsistencyPanel) -> None:
    nan = math.nan
    first = replace(WRONG, function_alignment=nan, background_loss=nan, foreground_loss=nan)
    panel.show_comparisons((first, CLOSE), 0)
    assert "The two network functions" not in words(panel)
    certificate = CERTIFIED
    certify(panel, certificate)
    panel.mark_stale("the temperature has changed")
    panel.show_comparisons(panel._comparisons, 1)
    assert panel._certificate is certificate and panel.card.is_stale
    assert "The two network functions" in words(panel)
    panel.show_comparisons((CLOSE, WRONG), 0)
    assert panel._certificate is None and not panel.card.is_stale


def test_losses_stand_beside_each_other_with_the_difference_theory_expects(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    assert panel.functions.text("background_loss") == "0.2941"
    assert panel.functions.text("foreground_loss") == "0.2991"
    assert panel.functions.text("difference") == "0.0050"
    assert panel.functions.text("expected") == "0.0060"
    assert "theory expects the foreground's loss to be larger by about 0.0060" in words(panel)
    show(panel, replace(NUMBERS, expected_loss_difference=None))
    assert "expected difference" not in words(panel)
    show(panel, WRONG)
    assert "theory expects" not in words(panel)
    assert "their losses need not agree" in words(panel)


def test_unknown_functions_are_dashes_not_nan(panel: SelfConsistencyPanel) -> None:
    nan = math.nan
    show(panel, replace(NUMBERS, function_alignment=nan, background_loss=nan, foreground_loss=nan))
    assert panel.functions.text("alignment") == UNKNOWN
    assert "nan" not in words(panel)


def test_a_stale_verdict_is_greyed_with_its_reason_until_the_next_one(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    panel.mark_stale("the regularisation scale has changed")
    assert panel.card.is_stale
    assert "Out of date: the regularisation scale has changed" in words(panel)
    assert "Out of date" in panel.card.accessibleName()
    assert LIGHT.good not in panel.card.headline.styleSheet()
    show(panel, NUMBERS)
    assert not panel.card.is_stale
    assert LIGHT.good in panel.card.headline.styleSheet()


def test_nothing_to_compare_yet_cannot_be_stale(panel: SelfConsistencyPanel) -> None:
    panel.mark_stale("the seed has changed")
    assert not panel.card.is_stale
    assert panel.card.headline.text() == "No verdict yet"
    assert "Resample" in words(panel)


def test_pending_says_so_and_a_change_meanwhile_brings_the_old_verdict_back_greyed(
    panel: SelfConsistencyPanel,
) -> None:
    show(panel, WRONG)
    panel.show_pending("Resampling the foreground: 40 %")
    assert "40 %" in words(panel) and panel.card.state == "pending"
    panel.mark_stale("the temperature has changed")
    assert panel.card.is_stale and panel.card.headline.text() == "Inconsistent"


def test_a_stopped_comparison_brings_back_what_was_known(panel: SelfConsistencyPanel) -> None:
    panel.show_pending("Resampling")
    panel.end_pending()
    assert panel.card.state == "none"
    show(panel, WRONG)
    panel.show_pending("Resampling")
    panel.end_pending()
    assert panel.card.state == "inconsistent" and not panel.card.is_stale
    panel.mark_stale("the seed has changed")
    panel.show_pending("Resampling")
    panel.end_pending()
    assert panel.card.state == "inconsistent" and panel.card.is_stale
    panel.end_pending()
    assert panel.card.is_stale


def test_theory_gives_the_certificate_and_its_absence_a_reason(panel: SelfConsistencyPanel) -> None:
    panel.show_theory(THEORY)
    assert panel.exact.text("loss") == "0.2933"
    assert panel.certificates.numbers.text("gap") == "3.0 × 10⁻⁹"
    assert panel.features.text("kl", 1) == "3.98"
    panel.show_theory(None, "No infinite-width solution is known below readout exponent 1.")
    assert "No infinite-width solution is known" in words(panel)
    assert not panel.exact.isVisible() and not panel.features.isVisible() and not panel.certificates.isVisible()


def test_order_parameters_have_no_column_of_a_theory_that_is_not_there(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot())
    heading = panel.orders._headings[2]
    panel.show_theory(THEORY)
    assert heading.isVisible()
    panel.show_theory(None, "At temperature 0 there is no Gibbs law.")
    assert panel.orders.isVisible() and not heading.isVisible()


STEIN = SteinDiscrepancy(value=0.00696, null_mean=0.0081, null_95=0.01185, p_value=0.8)
SPREAD = Posterior(
    mean_loss=0.29,
    variance=9.62e-5,
    variance_error=3.4e-6,
    variance_theory=9.33e-5,
    n_neurons=2048,
    n_samples=64,
    autocorrelation_time=1.5,
)
CERTIFIED = Certificate(
    kl_from_prior=3.9845,
    residual_gap=0.00198,
    free_energy=0.2282,
    free_energy_excess=0.001976,
    lower=1.4e-5,
    upper=0.4465,
    stein=STEIN,
    kernel_change=0.0141,
)
ONLY_STEIN = Certificate(kernel_change=0.0141, stein=STEIN)


def certify(panel: SelfConsistencyPanel, certificate: Certificate) -> None:
    panel.show_certificate(certificate)


def test_the_free_energy_excess_stands_between_its_bounds(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    panel.show_theory(THEORY)
    certify(panel, CERTIFIED)
    table = panel.certificates.numbers
    shown = {key: table.text(key) for key in table.keys()}
    assert shown == {
        "residual_gap": "0.00198", "excess": "0.00198", "lower": "1.40 × 10⁻⁵", "upper": "0.447",
        "gap": "3.0 × 10⁻⁹", "stein": "0.00696", "stein_95": "0.0118", "stein_p": "0.80",
    }  # fmt: skip
    assert "F(μᵣ) − F(μ*) ≤ T KL(μᵣ | μ̂)" in table.findChildren(QLabel)[7].toolTip()


def test_the_card_says_which_certificate_is_behind_its_words(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    assert not panel.card.certificate.isVisible()
    for certificate, line in (
        (CERTIFIED, "Certified by the exact optimum: free energy 0.0020 above it."),
        (replace(ONLY_STEIN, residual_gap=0.03), "Certified by the residual gap: free energy at most 0.030 above"),
        (ONLY_STEIN, "Stein test without theory: the cloud agrees with the law of its own field (p = 0.80)."),
        (replace(ONLY_STEIN, stein=replace(STEIN, p_value=1 / 301)), "the cloud differs from the law of its own field"),
        (replace(ONLY_STEIN, stein=None), "No certificate for this recipe: the words rest on"),
    ):
        certify(panel, certificate)
        assert line in words(panel)
        assert line in panel.card.accessibleName().replace("\u00a0", " ")


def test_what_cannot_be_certified_has_no_row(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    certify(panel, ONLY_STEIN)
    assert "Stein discrepancy" in words(panel)
    assert "residual gap" not in words(panel) and "free-energy excess" not in words(panel)
    certify(panel, Certificate(kernel_change=0.0141))
    assert not panel.certificates.isVisible()


def test_the_backgrounds_own_distance_from_the_prior_stands_beside_the_theorys(panel: SelfConsistencyPanel) -> None:
    panel.show_theory(THEORY)
    assert panel.features.text("kl", 0) == UNKNOWN
    certify(panel, CERTIFIED)
    assert (panel.features.text("kl", 0), panel.features.text("kl", 1)) == ("3.98", "3.98")
    certify(panel, ONLY_STEIN)
    panel.show_theory(None, "No solver.")
    assert not panel.features.isVisible()


def colour_of(panel: SelfConsistencyPanel, text: str) -> str:
    """The style of a number in the certificate's table."""
    return next(label.styleSheet() for label in panel.certificates.findChildren(QLabel) if label.text() == text)


def test_a_certificate_goes_stale_with_its_verdict_and_waits_for_the_next_one(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    certify(panel, CERTIFIED)
    assert LIGHT.text in colour_of(panel, "0.447")
    panel.mark_stale("the seed has changed")
    assert LIGHT.muted in colour_of(panel, "0.447")
    show(panel, NUMBERS)
    assert LIGHT.muted in colour_of(panel, "0.447") and not panel.card.certificate.isVisible()
    certify(panel, replace(CERTIFIED, upper=0.222))
    assert LIGHT.text in colour_of(panel, "0.222")
    panel.show_pending("Resampling")
    panel.end_pending()
    assert "Certified by the exact optimum" in words(panel)


def test_theory_numbers_are_greyed_while_a_drag_is_ahead_of_them(panel: SelfConsistencyPanel) -> None:
    certify(panel, CERTIFIED)
    panel.show_theory(THEORY, is_current=False)
    numbers = [label for label in panel.exact.findChildren(QLabel) if label.text() == "0.2933"]
    assert [LIGHT.muted in label.styleSheet() for label in numbers] == [True]
    here, exact = (label.styleSheet() for label in panel.features.findChildren(QLabel) if label.text() == "3.98")
    assert LIGHT.text in here and LIGHT.muted in exact
    panel.show_theory(THEORY)
    assert LIGHT.text in numbers[0].styleSheet()


def test_order_parameters_have_errors_and_the_theory_beside_them(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot(order_errors={"cos4": 0.0123}))
    fresh = clover(2048, seed=3)
    panel.show_foreground(ForegroundReady(clouds=(Cloud(fresh, PLANE),), loss=0.3, method="dynamics", seconds=1.0))
    panel.show_theory(THEORY)
    values = np.cos(4 * np.arctan2(fresh[:, 1], fresh[:, 0]))
    error = values.std() / np.sqrt(len(values))
    assert panel.orders.text("cos4", 0) == written_error(-0.5621, 0.0123)
    assert panel.orders.text("cos4", 1) == written_error(float(values.mean()), float(error))
    # Of a large cloud some neurons are here, and the engine has told what all of them give.
    some = ForegroundReady(
        (Cloud(fresh[:64], PLANE),), 0.3, "gibbs", 1.0, sizes=(10**6,), orders={"cos4": (-0.5, 1e-3)}
    )
    panel.show_foreground(some)
    assert panel.orders.text("cos4", 1) == written_error(-0.5, 1e-3)
    assert panel.orders.text("cos4", 2) == "−0.558"
    assert "self-consistent too, without having learnt any features" in words(panel)


@pytest.mark.parametrize(("eta_theta", "role"), [(1.4, "good"), (1.5, "good"), (1.62, "warning"), (1.93, "bad")])
def test_the_gauge_and_its_sentence_warn_in_time(panel: SelfConsistencyPanel, eta_theta: float, role: str) -> None:
    panel.show_snapshot(snapshot(eta_theta))
    assert zone(eta_theta) == role
    assert stability_sentence(eta_theta, 0.00157) in words(panel)
    assert role in panel.gauge.accessibleName()
    if role != "good":
        assert f"{1.4 * 0.00157 / eta_theta:.2g}" in words(panel)


def test_an_unknown_stability_is_not_called_stable(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot(math.nan))
    assert panel.stability.text("eta_theta") == UNKNOWN
    assert "unknown" in panel.gauge.accessibleName()


def test_many_snapshots_are_drawn_a_few_times_a_second_and_the_last_one_always(
    panel: SelfConsistencyPanel, qtbot: QtBot
) -> None:
    seen = []
    for k in range(50):
        panel.show_snapshot(snapshot(1.0 + 0.01 * k))
        seen.append(panel.stability.text("eta_theta"))
    assert len(set(seen)) <= 2
    qtbot.waitUntil(lambda: panel.stability.text("eta_theta") == "1.49", timeout=2000)


def test_clear_forgets_the_run(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot())
    show(panel, NUMBERS)
    panel.show_theory(THEORY)
    panel.clear()
    for table in (panel.distances, panel.functions, panel.stability, panel.exact, panel.features):
        assert all(table.text(key) == UNKNOWN for key in table.keys())
    assert panel.card.state == "none"


def test_every_number_says_what_it_means(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot())
    show(panel, NUMBERS)
    panel.show_theory(THEORY)
    certify(panel, CERTIFIED)
    tables = (panel.distances, panel.functions, panel.stability, panel.exact, panel.features, panel.orders,
              panel.certificates.numbers)  # fmt: skip
    for table in tables:
        for label in table.findChildren(QLabel):
            if any(c.isdigit() for c in label.text()):
                assert len(label.toolTip()) > 15, label.text()
                assert label.accessibleName() or not label.text()[0].isdigit(), label.text()


@pytest.mark.parametrize("width", [300, 330, 460])
def test_nothing_is_cut_off_at_any_width(panel: SelfConsistencyPanel, qtbot: QtBot, width: int) -> None:
    panel.show_snapshot(snapshot())
    long = Statistic("short_norm", "mean |w| up to half of its median", -0.29774, -0.30035, 0.001, 0.01)
    show(panel, replace(WRONG, averages=replace(AVERAGES, statistics=(long, *AVERAGES.statistics)), resolution=NOTICED))
    panel.show_theory(THEORY)
    certify(panel, CERTIFIED)
    panel.show_foreground(
        ForegroundReady(clouds=(Cloud(clover(500), PLANE),), loss=0.3, method="dynamics", seconds=1.0)
    )
    panel.resize(width, 600)
    qtbot.wait(20)
    viewport = panel.viewport().width()
    assert panel.page.width() <= viewport
    for label in panel.page.findChildren(QLabel):
        if label.isVisible():
            assert label.width() >= label.minimumSizeHint().width() or label.wordWrap(), label.text()
            assert label.mapTo(panel.page, label.rect().topRight()).x() <= viewport


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_verdict_text_has_contrast_in_both_themes(panel: SelfConsistencyPanel, theme: Theme) -> None:
    panel.apply_theme(theme)
    for numbers in (NUMBERS, CLOSE, WRONG):
        show(panel, numbers)
        image = panel.card.grab().toImage()
        page = image.pixelColor(8, image.height() // 2)
        role = {"consistent": "good", "close": "warning", "inconsistent": "bad"}[numbers.verdict]
        # 4.5 to 1 is WCAG 2 level AA for text.
        assert contrast(QColor(getattr(theme, role)), page) >= 4.5
        assert contrast(QColor(theme.text), page) >= 7


def contrast(a: QColor, b: QColor) -> float:
    light = sorted(
        sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), colour.getRgbF()[:3], strict=True))
        for colour in (a, b)
    )  # fmt: skip
    return (light[1] + 0.05) / (light[0] + 0.05)


def test_the_change_of_the_data_kernel_stands_beside_the_kl_from_the_prior(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    assert panel.features.text("kernel", 0) == UNKNOWN
    certify(panel, CERTIFIED)
    assert panel.features.text("kernel", 0) == "0.0141"


def test_the_functions_variance_is_shown_times_n_beside_the_theorys(panel: SelfConsistencyPanel) -> None:
    show(panel, NUMBERS)
    rows = {key: panel.functions._rows[key][0] for key in ("variance", "variance_theory")}
    assert all(title.isHidden() for title in rows.values())
    certify(panel, replace(CERTIFIED, posterior=SPREAD))
    assert panel.functions.text("variance").startswith("0.197<") and "± 0.007" in panel.functions.text("variance")
    assert panel.functions.text("variance_theory") == "0.191"
    certify(panel, replace(CERTIFIED, posterior=replace(SPREAD, variance_theory=None)))
    assert not rows["variance"].isHidden() and rows["variance_theory"].isHidden()
    show(panel, NUMBERS)
    assert all(title.isHidden() for title in rows.values()), "another comparison, another posterior"


def test_a_dynamics_without_a_stability_limit_says_so(panel: SelfConsistencyPanel) -> None:
    panel.show_snapshot(snapshot(0.0))
    assert panel.stability.text("eta_theta") == UNKNOWN and "have no such limit" in words(panel)


def test_overlaps_of_the_last_layer_are_read_off_its_cloud() -> None:
    names = ("⟨φ, u⟩", "⟨φ, uv⟩", "b")
    upper = Cloud(np.array([[0.1, 0.2, 1.0], [-0.3, 0.2, 2.0]], np.float32), names)
    lower = Cloud(np.zeros((2, 3), np.float32), ("w1", "w2", "v"))
    orders = cloud_orders((lower, upper), ("overlap_u", "overlap_uv", "overlap_v"))
    assert set(orders) == {"overlap_u", "overlap_uv"}
    # Squares .01 and .09: mean .05, standard deviation .04 over the root of two neurons.
    assert orders["overlap_u"] == pytest.approx((0.05, 0.04 / 2**0.5))
    assert orders["overlap_uv"] == pytest.approx((0.04, 0.0), abs=1e-7)


def test_too_few_neurons_are_no_verdict_and_the_card_says_what_would_be_enough(panel: SelfConsistencyPanel) -> None:
    why = "4 background and 4 foreground neurons are too few for a verdict. 5 on each side are the least."
    show(panel, replace(NUMBERS, verdict=None, why=why, n_background=4, n_foreground=4))
    assert panel.card.state == "none" and panel.card.headline.text() == "No verdict"
    assert panel.card.sentence.text() == why


def test_the_p_value_that_decides_is_the_one_that_is_told() -> None:
    """Distance and averages share the level: the card tells twice the smaller of the two."""
    test = AveragesTest(
        (Statistic("norm", "mean length |w|", 0.7, 0.75, 0.01, 5e-7),), 40.0, 17, 0.08, 0.01, np.array([3, 1])
    )
    passed = NUMBERS.with_averages(test, Resolution(prior_share=0.04))
    assert "p\u00a0=\u00a00.16" in verdict_sentence(passed, 1.0) and "4 % of untrained" in verdict_sentence(passed, 1.0)
    refused = NUMBERS.with_averages(replace(test, p_value=3e-6), Resolution())
    told = verdict_sentence(refused, 1.0)
    assert (
        "p\u00a0=\u00a06.0\u00a0×\u00a010⁻⁶" in told
        and "averages say no" in told
        and "mean length |w| is 0.7, smaller" in told
    )
    floor = replace(NUMBERS, p_value=1 / 501, ratio=9.0).with_averages(test, Resolution())
    assert floor.verdict == "inconsistent" and "p\u00a0≤\u00a00.004" in verdict_sentence(floor, 1.0)


def test_what_differs_between_clouds_is_told_where_no_averages_are() -> None:
    told = verdict_sentence(replace(WRONG, difference="What differs most is the spread of w2."), 1.0)
    assert told.endswith("What differs most is the spread of w2.")


def test_a_run_that_still_drifts_is_not_called_consistent_without_a_word() -> None:
    drift = Drift((Moved("norm", 0.8, 0.7, 0.01, math.inf),), 1e-9, "drifting", "Still drifting: mean length |w|.")
    assert certificate_sentence(Certificate(), [drift]).startswith("Still drifting: mean length |w|.")
    steady = replace(drift, verdict="steady", why="Steady.")
    assert "Steady" not in certificate_sentence(Certificate(), [steady])


def test_the_gauge_of_drift_lists_what_moves_most_and_goes_with_its_run(panel: SelfConsistencyPanel) -> None:
    moved = tuple(Moved(name, 0.8, 0.7 + k / 50, 0.01, math.inf) for k, name in enumerate(("norm", "loss", "cos4")))
    panel.show_comparisons((NUMBERS,))
    drift = Drift(moved, 1e-9, "drifting", "Still drifting: mean length |w| falls.")
    panel.show_answer(Answered(name="drift", answer=drift))
    assert not panel.drift.isHidden() and panel.drift.numbers.keys() == ("norm", "loss", "cos4")
    assert panel.drift.numbers.text("norm", 2) == "−10" and "Still drifting" in panel.drift.note.text()
    assert LIGHT.warning in panel.drift.note.styleSheet()
    steady = Drift(moved[:1], 0.5, "steady", "Steady: nothing moves.")
    panel.show_answer(Answered(name="drift", answer=steady))
    assert panel.drift.numbers.keys() == ("norm",) and LIGHT.warning not in panel.drift.note.styleSheet()
    panel.clear()
    assert panel.drift.isHidden()
