"""What can be certified of the background: numbers that bound how far it is from the exact mean-field optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from app.panels.number_table import NumberTable
from app.theme import Theme
from app.widgets.titled import TitledSection
from app.widgets.words import written

if TYPE_CHECKING:
    from mft_engine.questions.certificate import Certificate

_ROWS = (
    (
        "residual_gap",
        "residual gap",
        "½ |y − r − f[μᵣ]|² = ½ |f̄ − f[μᵣ]|²: half the squared distance of the background's averaged function from "
        "that of the neuron law μᵣ in its own residual r = y − f̄. It bounds the free-energy excess without knowing "
        "the optimum; same units as the loss",
    ),
    (
        "excess",
        "free-energy excess",
        "F(μᵣ) − F(μ*): by how much the neuron law μᵣ of the background's own residual misses the exact optimum μ*. "
        "F = ½ E r² + T KL(μ | prior), same units as the loss; 0 for the optimum itself",
    ),
    ("lower", "    at least", "T KL(μᵣ | μ*) ≤ F(μᵣ) − F(μ*): temperature times the relative entropy from the optimum"),
    (
        "upper",
        "    at most",
        "F(μᵣ) − F(μ*) ≤ T KL(μᵣ | μ̂): μ̂ is the neuron law in the residual y − f[μᵣ] that μᵣ itself leaves. "
        "Far from the optimum this bound is loose; the residual gap is usually the sharper one",
    ),
    (
        "gap",
        "duality gap of the theory",
        "Upper minus lower bound of the optimal free energy F(μ*): the theory's own solution is certified to this",
    ),
    (
        "stein",
        "Stein discrepancy",
        "Kernelised Stein discrepancy KSD² of the background's neurons under the Gibbs law of their own field "
        "(no unit): mean over pairs of s·s′k + s·∇′k + s′·∇k + ∇·∇′k with s = −∇V/T and k = (1 + |θ−θ′|²)^(−½). "
        "It needs no theory and no foreground",
    ),
    (
        "stein_95",
        "    by chance: 95 %",
        "95 % of the wild bootstrap under 'the cloud is a sample of its law' lie below",
    ),
    (
        "stein_p",
        "    p-value",
        "Share of the bootstrap that is at least as large as the observed discrepancy; consistent above 0.01",
    ),
)


class CertificateSection(TitledSection):
    """The rows that are known; hidden while there are none."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("Certificate", parent)
        self.numbers = NumberTable(("",), self)
        for key, name, meaning in _ROWS:
            self.numbers.add_row(key, name, meaning)
        self.column.addWidget(self.numbers)
        self._values: dict[str, float | None] = {}
        self.show_certificate(None)

    def show_certificate(self, certificate: Certificate | None) -> None:
        """Certificates of the background; None where there are none (any more)."""
        stein = certificate.stein if certificate is not None else None
        self._values |= {
            "residual_gap": certificate.residual_gap if certificate else None,
            "excess": certificate.free_energy_excess if certificate else None,
            "lower": certificate.lower if certificate else None,
            "upper": certificate.upper if certificate else None,
            "stein": stein.value if stein else None,
            "stein_95": stein.null_95 if stein else None,
            "stein_p": stein.p_value if stein else None,
        }
        self._show()

    def show_theory_gap(self, gap: float | None) -> None:
        """The exact theory's own accuracy."""
        self._values["gap"] = gap
        self._show()

    def set_faded(self, is_faded: bool) -> None:
        """Greys the numbers while they belong to other parameters."""
        self.numbers.set_faded(is_faded)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        super().apply_theme(theme)
        self.numbers.apply_theme(theme)

    def _show(self) -> None:
        for key, *_ in _ROWS:
            value = self._values.get(key)
            self.numbers.set_row(key, written(value, 2 if key in ("gap", "stein_p") else 3))
            self.numbers.show_row(key, value is not None)
        self.setVisible(any(value is not None for value in self._values.values()))


def certificate_sentence(certificate: Certificate) -> str:
    """Whether the run still moves or has reached the exact law, where that is known, and what is behind a verdict."""
    reached, drift = certificate.equilibrium, certificate.drift
    words = [drift.why] if drift is not None and drift.verdict == "drifting" else []
    words += [reached.why] if reached is not None and reached.verdict else []
    return " ".join([*words, _certified(certificate)])


def _certified(certificate: Certificate) -> str:
    if certificate.free_energy_excess is not None:
        return f"Certified by the exact optimum: free energy {written(certificate.free_energy_excess, 2)} above it."
    if certificate.residual_gap is not None:
        gap = written(certificate.residual_gap, 2)
        return f"Certified by the residual gap: free energy at most {gap} above the optimum."
    if certificate.stein is not None:
        p = f"p = {written(certificate.stein.p_value, 2)}".replace(" ", "\u00a0")
        word = "agrees with" if certificate.stein.p_value > 0.01 else "differs from"
        return f"Stein test without theory: the cloud {word} the law of its own field ({p})."
    return "No certificate for this recipe: the words rest on the random exchanges alone."
