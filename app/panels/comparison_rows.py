"""What the numbers of a comparison are called and what they mean: rows of the self-consistency panel."""

from __future__ import annotations

_SPREAD = "each coordinate divided by the pooled standard deviation of the two clouds, so it has no unit"
DISTANCE_ROWS = (
    ("distance", "energy distance", f"2 E|X−Y| − E|X−X′| − E|Y−Y′| of the two clouds; {_SPREAD}"),
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
        "Share of random exchanges that give at least the observed distance, (1 + number) / (1 + exchanges)",
    ),
    (
        "p_value_way",
        "of their ways",
        "The same of how far each neuron has come from its start, where fresh ones followed the training",
    ),
    (
        "p_value_all",
        "both tests",
        "Twice the smaller p-value of distance and averages, or distance and ways: it decides, consistent above 0.01",
    ),
    ("upper", "laws apart by at most", "The laws' own energy distance lies below in 95 of 100 draws"),
)
FUNCTION_ROWS = (
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
)
ACCURACY_ROWS = {
    "train_accuracy": ("train accuracy", "Share of the training points that are put into the right class"),
    "test_accuracy": ("test accuracy", "The same on the points that the network was never shown"),
}
