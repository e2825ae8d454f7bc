"""The formulas in force, written out with the present numbers."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from mft_engine.recipe import Recipe


class Formulas(QWidget):
    """Scalings are where people go wrong, so the panel says in formulas what the controls mean."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLabel(self)
        self.text.setProperty("role", "formula")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setAccessibleName("Formulas in force")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)

    def show_recipe(self, recipe: Recipe, step_size: float | None) -> None:
        """Write the formulas for a recipe; `step_size` is the one in force where it is known."""
        self.text.setText(formulas_html(recipe, step_size))


def formulas_html(recipe: Recipe, step_size: float | None) -> str:
    """Network, energy, dynamics and the Bayes dictionary as rich text with numbers.

    Where the numbers come from: lambda_w = scale x input_weight, lambda_a = scale x readout, prior variances T/lambda,
    sigma^2 = n T/N at n training points.
    """
    network, training = recipe.network, recipe.training
    n_neurons, kappa = network.n_neurons[0], network.readout_exponent
    lambda_w, lambda_a, temperature = recipe.lambda_w, recipe.lambda_a, training.temperature
    exponent = "1" if kappa == 1 else f"{kappa:g}"
    lines = [
        f"<b>Network</b><br>f(x) = N<sup>−{exponent}</sup> Σ<sub>i</sub> a<sub>i</sub> φ(w<sub>i</sub>·x), "
        f"N = {n_neurons:,}, φ = {network.activation}",
        "<b>Energy of a neuron</b><br>V = −E[r a φ(w·x)] + ½(λ<sub>w</sub>|w|² + λ<sub>a</sub>a²), r = y − f<br>"
        f"λ<sub>w</sub> = {_number(recipe.regularisation.scale)} × {recipe.regularisation.input_weight:g} = "
        f"{_number(lambda_w)}<br>"
        f"λ<sub>a</sub> = {_number(recipe.regularisation.scale)} × {recipe.regularisation.readout:g} = "
        f"{_number(lambda_a)}",
    ]
    step = "η" if step_size is None else f"η = {_number(step_size)}"
    rate = "η/λ<sub>j</sub>" if training.preconditioner == "prior" else "η"
    if training.dynamics == "langevin":
        lines.append(
            f"<b>Dynamics</b><br>dθ<sub>j</sub> = −({rate}) ∂V/∂θ<sub>j</sub> + √(2 {rate} T) ξ, "
            f"T = {_number(temperature)}, {step}"
        )
        lines.append(
            "<b>Prior</b> (what the neurons do without data)<br>"
            f"sd(w) = √(T/λ<sub>w</sub>) = {_number((temperature / lambda_w) ** 0.5)}, "
            f"sd(a) = √(T/λ<sub>a</sub>) = {_number((temperature / lambda_a) ** 0.5)}"
        )
        if training.n_points:
            noise = training.n_points * temperature / n_neurons
            lines.append(
                f"<b>As Bayesian inference</b><br>observation noise σ² = n T/N = "
                f"{training.n_points:,} × {_number(temperature)} / {n_neurons:,} = {_number(noise)}"
            )
        else:
            lines.append(
                "<b>As Bayesian inference</b><br>n data points at temperature T are observation noise σ² = n T/N; "
                "data are infinite here"
            )
    elif training.dynamics == "adam":
        lines.append(
            f"<b>Dynamics</b> (Adam, T = 0)<br>dθ<sub>j</sub> = η m<sub>j</sub>/(√v<sub>j</sub> + ε) − η λ<sub>j</sub> "
            f"θ<sub>j</sub>, {step}<br>m, v: running means of g = E[r ∂(a φ)/∂θ<sub>j</sub>] and g², "
            f"β<sub>1</sub> = {training.beta1:g}, β<sub>2</sub> = {training.beta2:g}"
        )
    else:
        lines.append(f"<b>Dynamics</b><br>dθ<sub>j</sub> = −({rate}) ∂V/∂θ<sub>j</sub> (T = 0), {step}")
    return "<br><br>".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-").replace("-", "−")
