"""The rows of the experiment dock: which values there are, what they are called and what they mean."""

from __future__ import annotations

from collections.abc import Callable

from app.widgets.controls import ChoiceControl, LogControl, NumberControl, StepSizeControl, SwitchControl
from app.widgets.points_control import PointsControl
from app.widgets.row import Row
from mft_engine.curves import CURVES

ACTIVATIONS = [
    (curve.name, curve.name, f"φ(z) = {curve.formula}" + (f"; {curve.remark}" if curve.remark else ""))
    for curve in CURVES.values()
]
BACKGROUNDS = [
    ("Trained network", "trained", "The network itself: its own foreground should look just like it"),
    (
        "Wrong: Gaussian-process-like (κ = ½)",
        "lazy",
        "A network of the same recipe with readout exponent 1/2: its neurons stay Gaussian, and a mean-field "
        "foreground does not align with it",
    ),
    ("Untrained: the initial cloud", "untrained", "No training at all"),
]
RULES = [
    ("Infinite: polar rule", "polar", "Half-range Gauss radii × staggered angles: exact to many digits in the plane"),
    ("Infinite: fresh batches", "batch", "A new random batch at every step"),
    ("Infinite: Sobol points", "sobol", "Scrambled Sobol points, fixed for the run"),
    ("Infinite: grid", "grid", "Product Gauss–Hermite rule"),
]


def scale_row() -> Row:
    """The one big slider."""
    return Row(
        "regularisation.scale",
        "Regularisation scale λ",
        LogControl(1e-4, 1.0),
        "λ: strength of the pull of every weight to zero, per neuron.\n"
        "λ_w = λ × input-weight factor, λ_a = λ × readout factor. Logarithmic, 0.0001 … 1; any number can be typed.\n"
        "Small: the cloud follows the target (mean field). Large: it collapses to the prior.",
        unit="per neuron",
        is_wide=True,
    )


def _training_rows() -> list[Row]:
    return [
        Row(
            "training.temperature",
            "Temperature T",
            LogControl(1e-3, 1.0),
            "T: strength of the Langevin noise, √(2 η T/λ). The stationary law of a neuron is exp(−V/T).\n"
            "High: the prior (Gaussian-process-like). Low: sharp leaves.",
            unit="loss units",
            is_wide=True,
        ),
        Row(
            "training.step_size",
            "Step size η",
            StepSizeControl(),
            "η: time per step. Automatic: 1.4/Θ, Θ the top eigenvalue of the tangent kernel (stable below 2/Θ).\n"
            "Beyond the stable range nothing explodes: the cloud is quietly wrong, so η Θ is shown.",
        ),
        Row(
            "training.dynamics",
            "Dynamics",
            ChoiceControl(
                [
                    ("Langevin (noisy)", "langevin", "Gradient plus noise of temperature T: samples the posterior"),
                    ("Gradient descent", "sgd", "Plain gradient steps, T = 0; keeps the memory of its start"),
                    ("Adam", "adam", "AdamW, T = 0: every weight moves by about η a step; λ is the decoupled decay"),
                ]
            ),
            "How neurons move. Gradient descent and Adam set T = 0 and start from a Gaussian.",
        ),
        Row(
            "training.time",
            "Duration t",
            NumberControl(False),
            "Time that the recipe lasts, t = η × steps. Prior relaxation takes about 1, the clover forms by 4 to 8.",
            unit="η × steps",
        ),
        Row(
            "training.rule",
            "Data",
            ChoiceControl([(text, value, tip) for text, value, tip in RULES]),
            "How the measure of the inputs x ~ N(0, 1) is represented.",
        ),
        Row(
            "training.batch_size",
            "Batch size",
            NumberControl(True),
            "Points in each fresh batch.",
            unit="points",
        ),
        Row(
            "training.n_points",
            "Training points n",
            PointsControl(),
            "n: random training points; then σ² = n T/N is the Bayesian noise. At the right end, or 0, or ∞: infinite "
            "data.\nLogarithmic, 8 … 16,384; any number can be typed. A new number is a new run.",
            unit="∞: no test loss",
            is_wide=True,
        ),
    ]


def _network_rows() -> list[Row]:
    return [
        Row(
            "network.n_neurons",
            "Neurons N",
            NumberControl(True),
            "N: width of the hidden layer. Curves do not move when N doubles; the noise shrinks like 1/√N. "
            "Several hidden layers (up to three): their widths with semicolons, 256; 256.",
        ),
        Row("network.activation", "Activation φ", ChoiceControl(ACTIVATIONS), "φ(w·x): what a neuron answers."),
        Row(
            "network.upper_activation",
            "Activation above",
            ChoiceControl(ACTIVATIONS),
            "The activation of the hidden layers above the first.",
        ),
        Row(
            "network.readout_exponent",
            "Readout exponent κ",
            LogControl(0.5, 1.0),
            "κ in f = N^−κ Σ a φ(w·x). 1: mean field, neurons move. ½: Gaussian process (lazy), they hardly move.",
            unit="½ lazy … 1 mean field",
            is_wide=True,
        ),
        Row(
            "network.train_readout",
            "Readouts",
            SwitchControl("are trained"),
            "Off: the readouts a keep their initial values.",
        ),
        Row(
            "regularisation.input_weight",
            "λ<sub>w</sub> / λ",
            NumberControl(False),
            "Factor of the regularisation scale for input weights: λ_w = λ × this.",
        ),
        Row(
            "regularisation.hidden_weight",
            "λ<sub>h</sub> / λ",
            NumberControl(False),
            "Factor of the regularisation scale for weights between hidden layers.",
        ),
        Row(
            "regularisation.readout",
            "λ<sub>a</sub> / λ",
            NumberControl(False),
            "Factor of the regularisation scale for readouts: λ_a = λ × this.",
        ),
        Row("seed", "Seed", NumberControl(True), "Decides the initial cloud and all noise. Same seed, same run."),
    ]


def _foreground_rows() -> list[Row]:
    return [
        Row(
            "foreground.background",
            "Background",
            ChoiceControl(BACKGROUNDS),
            "The network whose field the foreground neurons feel.\n"
            "Networks trained before are kept: going back is instant.",
            is_wide=True,
        ),
        Row(
            "foreground.method",
            "Method",
            ChoiceControl(
                [
                    ("Same dynamics", "dynamics", "Fresh neurons moved by the same steps in the frozen field"),
                    ("Exact Gibbs law", "gibbs", "Drawn from exp(−V/T)/Z itself; needs T > 0"),
                    ("Finite-width law", "finite-width", "One neuron of N at equilibrium; needs T > 0"),
                    ("Replay of training", "replay", "Moved by the residual of every step, not a frozen one"),
                ]
            ),
            "How foreground neurons are drawn in the frozen field of the background.",
        ),
        Row(
            "foreground.n_neurons",
            "Neurons",
            NumberControl(True),
            "Foreground neurons: independent, none sees another.",
        ),
        Row(
            "foreground.field",
            "Field",
            ChoiceControl(
                [
                    ("Time average", "averaged", "Residual averaged over the last part of the run: for verdicts"),
                    ("Final instant", "end", "Residual of the last step: its noise tilts the foreground"),
                ]
            ),
            "Which residual the foreground feels.",
        ),
        Row(
            "comparison.n_permutations",
            "Permutations",
            NumberControl(True),
            "Random exchanges of neurons between the clouds that make the null band of the distance.",
        ),
    ]


def _engine_rows() -> list[Row]:
    return [
        Row(
            "engine.device",
            "Device",
            ChoiceControl([("automatic", "auto", "The fastest device of this machine"), ("cpu", "cpu", "")]),
            "Where the numbers are computed. A device that fails or is full falls back to the CPU.",
            unit=" ",
            is_wide=True,
        ),
        Row(
            "engine.dtype",
            "Precision",
            ChoiceControl(
                [
                    ("single (float32)", "float32", "Fast; enough for clouds"),
                    ("double (float64)", "float64", "For identities"),
                ]
            ),
            "Floating-point numbers of the engine.",
        ),
    ]


SECTIONS: list[tuple[str, bool, Callable[[], list[Row]]]] = [
    ("Task", True, list),
    ("Background and foreground", True, _foreground_rows),
    ("Training", True, _training_rows),
    ("Network", False, _network_rows),
    ("Engine", False, _engine_rows),
]
