"""The right dock: is the foreground distributed like the background, and why; and were features learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.panels.averages import AveragesSection
from app.panels.certificate import CertificateSection, certificate_sentence
from app.panels.comparison_rows import ACCURACY_ROWS, FUNCTION_ROWS
from app.panels.distance import FIRST_LAYER, UPPER_LAYER, WHOLE_NEURONS, DistanceSection
from app.panels.drift import DriftSection
from app.panels.gauges import StabilityGauge, stability_sentence
from app.panels.number_table import NumberTable
from app.panels.orders import cloud_orders, order_words
from app.panels.verdict_card import VerdictCard
from app.panels.verdict_words import HEADLINES, loss_sentence, verdict_sentence
from app.theme import LIGHT, Theme
from app.widgets.column import Column
from app.widgets.titled import TitledSection
from app.widgets.words import UNKNOWN, percent, written, written_error

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.experiment.events import Answered, ForegroundReady, Snapshot
    from mft_engine.questions.certificate import Certificate
    from mft_engine.questions.drift import Drift
    from mft_engine.questions.table import Answer

# A person cannot read numbers that change more often.
_REFRESH_MS = 200

_EMPTY = "Train the background, then press Resample foreground: fresh neurons in its field are compared with it."
_DIFFERENT = (
    "Another question than self-consistency: a cloud that has stayed at its prior (the lazy limit) is "
    "self-consistent too, without having learnt any features."
)


class SelfConsistencyPanel(Column):
    """Verdict first, then why; told what to show by `show_*`."""

    def __init__(self, theme: Theme = LIGHT, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._snapshot: Snapshot | None = None
        self._foreground_orders: dict[str, tuple[float, float]] = {}
        self._foreground_accuracies: dict[str, float] = {}
        self._theory: Mapping[str, Any] = {}
        self._order_names: tuple[str, ...] = ()
        self._comparison: Comparison | None = None
        self._comparisons: tuple[Comparison, ...] = ()
        self._layer = 0
        self._certificate: Certificate | None = None
        self._answered: dict[str, Answer] = {}
        self._stale_reason = ""
        self.setAccessibleName("Self-consistency")
        self.page = QWidget(self)
        self.page.setObjectName("selfConsistencyPage")
        column = QVBoxLayout(self.page)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(10)
        self.card = VerdictCard(theme, self.page)
        column.addWidget(self.card)
        # Without a comparison there is nothing to list: a column of dashes says less than a sentence.
        self.distance = DistanceSection(theme, self.page)
        self.band, self.distances = self.distance.band, self.distance.numbers
        self._of_comparison = (self.distance, self._build_functions())
        self.averages = AveragesSection(self.page)
        self.certificates = CertificateSection(self.page)
        self.drift = DriftSection(self.page)
        self._sections: list[TitledSection] = [
            self.distance,
            self.averages,
            self._of_comparison[1],
            self.certificates,
            self.drift,
            self._build_stability(),
            self._build_theory(),
            self._build_features(),
        ]
        for section in self._sections:
            column.addWidget(section)
        column.addStretch(1)
        self.setWidget(self.page)
        self._refresh = QTimer(self)
        self._refresh.setSingleShot(True)
        self._refresh.setInterval(_REFRESH_MS)
        self._refresh.timeout.connect(self._show_latest)
        self._is_newer = False
        self.clear()
        self.apply_theme(theme)

    # Construction

    def _build_functions(self) -> TitledSection:
        section = TitledSection("The two network functions", self.page)
        self.functions = NumberTable(("",), section)
        for key, name, meaning in FUNCTION_ROWS:
            self.functions.add_row(key, name, meaning)
        self.functions.add_row(
            "variance",
            "function variance N·Var f",
            "N times the variance over time of the trained network's function, averaged over x, with its standard "
            "error: the spread of the posterior. Far below Tr C, as the neurons of one network repel",
        )
        self.functions.add_row(
            "variance_theory", "    by theory", "Tr C (I + C/T)⁻¹ of the infinitely wide network, C as above"
        )
        section.column.addWidget(self.functions)
        self._loss_note = section.add_note()
        return section

    def _build_stability(self) -> TitledSection:
        section = TitledSection("Step size", self.page)
        self.stability = NumberTable(("",), section)
        meaning = (
            "Step size times Θ, the top eigenvalue of the tangent kernel in the preconditioner's units (no unit). "
            "At 2 the iteration becomes unstable, and long before it the cloud is distorted"
        )
        self.stability.add_row("eta_theta", "step size × Θ", meaning)
        self.gauge = StabilityGauge(self._theme, section)
        self.gauge.setToolTip(meaning)
        section.column.addWidget(self.stability)
        section.column.addWidget(self.gauge)
        self._stability_note = section.add_note("Known from the first steps on.")
        return section

    def _build_theory(self) -> TitledSection:
        section = TitledSection("Exact theory", self.page)
        self.exact = NumberTable(("",), section)
        for key, name, meaning in (
            ("loss", "loss", "E (y − f)² of the infinitely wide network at this temperature and regularisation"),
            ("free_energy", "free energy", "½ E r² + T KL(law | prior) of the infinitely wide network"),
        ):
            self.exact.add_row(key, name, meaning)
        section.column.addWidget(self.exact)
        self._theory_note = section.add_note()
        return section

    def _build_features(self) -> TitledSection:
        section = TitledSection("Feature learning", self.page)
        self.features = NumberTable(("background", "theory"), section, spacing=8)
        self.features.add_row(
            "kl",
            "KL from prior, nats",
            "KL(μ | prior) = E log dμ/dprior over the law of (w, a), in nats; 0 means that nothing has been learnt. "
            "Background: the Gibbs law in its own averaged field (known after a comparison); theory: the exact optimum",
        )
        self.features.add_row(
            "kernel",
            "kernel change",
            "1 − ⟨K, K₀⟩/(|K||K₀|), K(x, x′) = mean over neurons of φφ′, K₀ that of the initial cloud: 0 to 1; lazy "
            "networks leave it at 0 (known after a comparison)",
        )
        self.orders = NumberTable(("background", "foreground", "theory"), section, spacing=8)
        self.answers = NumberTable(("background", "foreground", "theory"), section, spacing=8)
        for key, (name, meaning) in ACCURACY_ROWS.items():
            self.answers.add_row(key, name, meaning)
        section.column.addWidget(self.answers)
        section.column.addWidget(self.features)
        section.column.addWidget(self.orders)
        self._different = section.add_note(_DIFFERENT)
        return section

    # What is shown

    def show_comparisons(self, comparisons: Sequence[Comparison], layer: int = 0) -> None:
        """The verdict of one hidden layer (0: the first) with its numbers, and the others' in words."""
        is_known = bool(self._comparisons) and self._comparisons[0] is comparisons[0]
        certificate, reason = (self._certificate, self._stale_reason) if is_known else (None, "")
        answered = self._answered if is_known else {}
        self._comparisons, self._layer = tuple(comparisons), layer
        self._show_comparison(comparisons[layer])
        if len(comparisons) > 1:
            self._tell_layers(comparisons, layer)
        self._answered = answered
        self._show_drift()
        if certificate is not None:
            self.show_certificate(certificate)
        if reason:
            self.mark_stale(reason)

    def _show_comparison(self, comparison: Comparison) -> None:
        self._comparison, self._certificate, self._answered = comparison, None, {}
        self._show_variance()
        self._stale_reason = ""
        self._show_comparison_parts(True)
        eta_theta = self._snapshot.eta_theta if self._snapshot is not None else None
        state = comparison.verdict or "none"
        self.card.show_state(state, HEADLINES[state], verdict_sentence(comparison, eta_theta))
        self.distance.show_comparison(comparison)
        self.averages.show_comparison(comparison)
        difference = comparison.foreground_loss - comparison.background_loss
        for key, value, digits in (
            ("alignment", comparison.function_alignment, 4),
            ("background_loss", comparison.background_loss, 4),
            ("foreground_loss", comparison.foreground_loss, 4),
            ("difference", difference, 2),
            ("expected", comparison.expected_loss_difference, 2),
        ):
            self.functions.set_row(key, written(value, digits))
        self.functions.show_row("expected", comparison.expected_loss_difference is not None)
        self._note(self._loss_note, loss_sentence(comparison))
        self._fade(False)
        self._fade_certificate(True)

    def _tell_layers(self, comparisons: Sequence[Comparison], layer: int) -> None:
        self.distances.set_columns(UPPER_LAYER if layer else FIRST_LAYER)
        chosen = comparisons[layer]
        others = "; ".join(
            f"layer {k + 1} is {other.verdict or 'without verdict'} (ratio {written(other.ratio)})"
            for k, other in enumerate(comparisons)
            if k != layer
        )
        eta_theta = self._snapshot.eta_theta if self._snapshot is not None else None
        self.card.show_state(
            chosen.verdict or "none",
            f"Layer {layer + 1}: {HEADLINES[chosen.verdict or 'none']}",
            f"{verdict_sentence(chosen, eta_theta)} Besides, {others}.",
        )
        # The functions are the whole network's: they come with one layer's comparison alone.
        self._of_comparison[1].setVisible(chosen.function_alignment == chosen.function_alignment)

    def show_certificate(self, certificate: Certificate) -> None:
        """What can be certified of the background that was compared."""
        self._certificate = certificate
        self.certificates.show_certificate(certificate)
        if self._comparison is not None and self.card.state != "pending":
            self.card.show_certificate(certificate_sentence(certificate, self._answered.values()))
        self._show_kl()
        self._show_variance()
        self._fade_certificate(False)

    def show_answer(self, event: Answered) -> None:
        """What a question of the table came to: said on the card where a verdict should not be read without it."""
        self._answered[event.name] = event.answer
        self._show_drift()
        if self._certificate is not None:
            self.show_certificate(self._certificate)

    def _show_drift(self) -> None:
        self.drift.show_drift(cast("Drift | None", self._answered.get("drift")))

    def show_pending(self, text: str) -> None:
        """A comparison is on its way; earlier numbers stay, greyed."""
        if self.card.state != "pending":
            self._fade(True)
        self.card.show_state("pending", "Working", text)

    def end_pending(self) -> None:
        """The comparison was stopped: what was known before stands again, stale if it was."""
        if self.card.state != "pending":
            return
        if self._comparison is None:
            self.card.show_state("none", "No verdict yet", _EMPTY)
            return
        self.show_comparisons(self._comparisons, self._layer)

    def mark_stale(self, reason: str) -> None:
        """The verdict no longer belongs to what is on screen; `reason` is a clause: "the scale has changed"."""
        if self._comparison is None:
            return
        self.end_pending()
        self._stale_reason = reason
        self.card.mark_stale(reason)
        self._fade(True)
        self._fade_certificate(True)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The background as it stands; cheap to call at every frame, drawn a few times a second."""
        self._snapshot = snapshot
        if self._refresh.isActive():
            self._is_newer = True
            return
        self._is_newer = False
        self._show_state_of_run()
        self._refresh.start()

    def show_foreground(self, foreground: ForegroundReady | None) -> None:
        """The foreground cloud, for its order parameters; None when there is none any more."""
        self._foreground_orders = {}
        if foreground is not None:
            names = self._snapshot.order_parameters if self._snapshot is not None else ("cos4",)
            self._foreground_orders = dict(foreground.orders) or cloud_orders(foreground.clouds, names)
        self._foreground_accuracies = foreground.accuracies if foreground is not None else {}
        self._show_orders()

    def show_theory(self, numbers: Mapping[str, Any] | None, reason: str = "", *, is_current: bool = True) -> None:
        """The infinite-width solution.

        Args:
            numbers: "loss", "free_energy", "gap", "kl", "order_parameters" {"cos4": ...}; None where there is none.
            reason: a sentence that says why there is none.
            is_current: False while a drag is ahead of the solver: the numbers are greyed.
        """
        self._theory = numbers or {}
        for key in ("loss", "free_energy"):
            value, error = self._theory.get(key), self._theory.get(f"{key}_error")
            self.exact.set_row(key, written_error(value, error) if value is not None and error else written(value, 4))
        self.exact.setVisible(numbers is not None)
        self._note(self._theory_note, "" if numbers is not None else reason or "Not computed yet.")
        self.certificates.show_theory_gap(self._theory.get("gap"))
        self._show_kl()
        self.exact.set_faded(not is_current)
        self.features.set_faded(not is_current, 1)
        self.orders.set_faded(not is_current, 2)
        self.answers.set_faded(not is_current, 2)
        self._show_orders()

    def clear(self) -> None:
        """Forgets everything: a new experiment."""
        self._snapshot = self._comparison = self._certificate = None
        self._answered = {}
        self._comparisons, self._layer = (), 0
        self._stale_reason = ""
        self._is_newer = False
        self._foreground_orders, self._foreground_accuracies = {}, {}
        self.card.show_state("none", "No verdict yet", _EMPTY)
        self.band.clear()
        for table in (self.distances, self.functions, self.stability, self.exact, self.features):
            table.reset()
        self.distances.set_columns(WHOLE_NEURONS)
        self.averages.show_comparison(None)
        self.certificates.show_certificate(None)
        self.drift.show_drift(None)
        self.functions.show_row("expected", False)
        self._show_variance()
        self.gauge.show_value(None)
        for note in (self.distance.method, self._loss_note):
            self._note(note, "")
        self._show_comparison_parts(False)
        self._note(self._stability_note, "Known from the first steps on.")
        self.show_theory(None)
        self._fade(False)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        self.setStyleSheet(f"QScrollArea, #selfConsistencyPage {{ background: {theme.panel}; }}")
        for section in self._sections:
            section.apply_theme(theme)
        for table in self._tables():
            table.apply_theme(theme)
        self.card.apply_theme(theme)
        self.band.apply_theme(theme)
        self.gauge.apply_theme(theme)

    # Details

    def _tables(self) -> tuple[NumberTable, ...]:
        return (self.distances, self.functions, self.stability, self.exact, self.features, self.orders, self.answers)

    def _show_comparison_parts(self, is_shown: bool) -> None:
        for section in self._of_comparison:
            section.setVisible(is_shown)

    def _fade(self, is_faded: bool) -> None:
        self.distances.set_faded(is_faded)
        self.averages.set_faded(is_faded)
        self.functions.set_faded(is_faded)
        if is_faded:
            self.band.fade()

    def _fade_certificate(self, is_faded: bool) -> None:
        self.certificates.set_faded(is_faded)
        self.drift.set_faded(is_faded)
        self.features.set_faded(is_faded, 0)

    def _show_variance(self) -> None:
        known = self._certificate.posterior if self._certificate is not None else None
        exact = known.variance_theory if known is not None else None
        if known is not None:
            n = known.n_neurons
            self.functions.set_row("variance", written_error(n * known.variance, n * known.variance_error))
            self.functions.set_row("variance_theory", written(None if exact is None else n * exact))
        self.functions.show_row("variance", known is not None)
        self.functions.show_row("variance_theory", exact is not None)

    def _show_kl(self) -> None:
        here = self._certificate.kl_from_prior if self._certificate is not None else None
        exact = self._theory.get("kl")
        self.features.set_row("kl", written(here), written(exact))
        change = self._certificate.kernel_change if self._certificate is not None else None
        self.features.set_row("kernel", written(change), "")
        self.features.setVisible(here is not None or exact is not None)

    def _show_latest(self) -> None:
        if self._is_newer and self._snapshot is not None:
            self.show_snapshot(self._snapshot)

    def _show_state_of_run(self) -> None:
        assert self._snapshot is not None
        eta_theta = self._snapshot.eta_theta
        is_known = eta_theta == eta_theta and eta_theta > 0
        self.stability.set_row("eta_theta", f"{eta_theta:.2f}" if is_known else UNKNOWN)
        self.gauge.show_value(eta_theta if is_known else None)
        if is_known:
            self._note(self._stability_note, stability_sentence(eta_theta, self._snapshot.step_size))
        elif self._snapshot.step > 0:
            self._note(self._stability_note, "Adam and exact sweeps have no such limit.")
        self._show_orders()

    def _show_orders(self) -> None:
        self._show_accuracies()
        background = {} if self._snapshot is None else self._snapshot.order_parameters
        theory = self._theory.get("order_parameters") or {}
        errors_of_theory = self._theory.get("order_parameters_error") or {}
        names = tuple(background) or tuple(theory)
        if names != self._order_names:
            self._order_names = names
            self.orders.remove_rows()
            for name in names:
                self.orders.add_row(name, *order_words(name))
        self.orders.setVisible(bool(names))
        self.orders.show_column(2, bool(theory))
        errors = {} if self._snapshot is None else self._snapshot.order_errors
        for name in names:
            here = UNKNOWN
            if name in background:
                here = written_error(background[name], errors.get(name))
            fresh = written_error(*self._foreground_orders[name]) if name in self._foreground_orders else UNKNOWN
            exact = written_error(theory[name], errors_of_theory.get(name)) if name in theory else UNKNOWN
            self.orders.set_row(name, here, fresh, exact)

    def _show_accuracies(self) -> None:
        here = {} if self._snapshot is None else self._snapshot.accuracies
        for name in ACCURACY_ROWS:
            fresh, exact = self._foreground_accuracies.get(name), self._theory.get(name)
            known = percent(exact, self._theory.get(f"{name}_error"))
            self.answers.set_row(name, percent(here.get(name)), percent(fresh), known)
        self.answers.show_column(2, any(self._theory.get(name) is not None for name in ACCURACY_ROWS))
        self.answers.setVisible(bool(here))

    @staticmethod
    def _note(label: QLabel, text: str) -> None:
        if label.text() != text:
            label.setText(text)
        label.setVisible(bool(text))
