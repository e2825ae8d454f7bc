"""What the numbers of the self-consistency dock are called, and what each means."""

from __future__ import annotations

Rows = tuple[tuple[str, str, str], ...]

DISTANCE: Rows = (
    (
        "distance",
        "energy distance",
        "2 E|X−Y| − E|X−X′| − E|Y−Y′| of the two clouds; each coordinate divided by the pooled standard deviation of "
        "the two clouds, so it has no unit",
    ),
    ("null_mean", "by chance: mean", "Mean distance after exchanging neurons between the clouds at random"),
    ("null_95", "by chance: 95 %", "95 % of the random exchanges give less than this"),
    (
        "ratio",
        "ratio to chance",
        "Distance divided by its mean under random exchange. Below 1 is normal: "
        "the neurons of a background repel and lie more regularly than independent ones",
    ),
    (
        "p_value",
        "p-value",
        "Share of random exchanges that give at least the observed distance, "
        "(1 + number) / (1 + exchanges); consistent above 0.01",
    ),
)
FUNCTIONS: Rows = (
    ("alignment", "alignment", "E[f_bg f_fg] / (|f_bg| |f_fg|): 1 for functions equal up to a factor"),
    ("background_loss", "background loss", "E (y − f)² of the trained network, in squared units of the target"),
    ("foreground_loss", "foreground loss", "E (y − f)² of the network of the foreground neurons, same units"),
    ("difference", "difference", "Foreground loss minus background loss"),
    (
        "expected",
        "expected difference",
        "Tr C / N: the extra loss of N independent neurons of the same law, "
        "by theory; C is the covariance operator of a φ",
    ),
    (
        "variance",
        "function variance N·Var f",
        "N times the variance over time of the trained network's function, averaged over x, with its standard "
        "error: the spread of the posterior. Far below Tr C, as the neurons of one network repel",
    ),
    ("variance_theory", "    by theory", "Tr C (I + C/T)⁻¹ of the infinitely wide network, C as above"),
)
EXACT: Rows = (
    ("loss", "loss", "E (y − f)² of the infinitely wide network at this temperature and regularisation"),
    ("free_energy", "free energy", "½ E r² + T KL(law | prior) of the infinitely wide network"),
)
FEATURES: Rows = (
    (
        "kl",
        "KL from prior, nats",
        "KL(μ | prior) = E log dμ/dprior over the law of (w, a), in nats; 0 means that nothing has been learnt. "
        "Background: the Gibbs law in its own averaged field (known after a comparison); theory: the exact optimum",
    ),
    (
        "kernel",
        "kernel change",
        "1 − ⟨K, K₀⟩/(|K||K₀|), K(x, x′) = mean over neurons of φφ′, K₀ that of the initial cloud: 0 to 1; lazy "
        "networks leave it at 0 (known after a comparison)",
    ),
)
ANSWERS: Rows = (
    ("train_accuracy", "train accuracy", "Share of the training points that are put into the right class"),
    ("test_accuracy", "test accuracy", "The same on the points that the network was never shown"),
)
