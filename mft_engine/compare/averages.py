"""Do the averages that the field itself suggests agree? A quadratic test, far sharper than a distance of clouds.

With m(theta) a vector of statistics of one neuron, d the difference between their averages over the background and what
is expected of them, and Sigma the covariance of d under self-consistency (`fluctuations`):

    T^2 = d' Sigma^-1 d        p: of chi^2 with as many degrees of freedom as statistics

Statistics of a neuron (w, a) in its field, g(w) = sum_mu signal_mu phi(w . x_mu): the potential V/T, |w|, |w|^2, |w| up
to half of its median, |a|^2, a . g/|g|, |g|^2/(2 lambda_a T), and in the plane cos and sin of 2, 4 and 8 angle(w), each
expected to be what it is under the foreground's law. And the network's function along its four stiffest modes, each
expected to be what it was on average along the run.

Source: Hotelling, Ann. Math. Statist. 2 (1931) 360; what each alternative does to these averages is in docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg, special
from torch import Tensor

from mft_engine.device import to_host
from mft_engine.field.field import MeanField

# Directions of the statistics' covariance below this share of the largest (in units of each statistic's own spread)
# carry nothing but rounding.
SMALLEST_EIGENVALUE = 1e-9
# Of the neurons are short at least.
SHORT_SHARE = 0.05
# Neurons a block of the features' matrix.
BLOCK = 8192
# Neurons times points of a block, beyond which there are fewer neurons in it.
MAX_BLOCK = 20_000_000


@dataclass(frozen=True)
class Statistic:
    """One average of the background beside the foreground's.

    Attributes:
        name: short, as in the summary; words: what it is.
        value, expected: over the background, over the foreground's law.
        standard_error: of their difference, for independent neurons.
        p_value: of this average alone, two-sided, not corrected for the others.
    """

    name: str
    words: str
    value: float
    expected: float
    standard_error: float
    p_value: float

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        return (self.value - self.expected) / self.standard_error if self.standard_error > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the summary."""
        return {
            "name": self.name,
            "value": self.value,
            "null_mean": self.expected,
            "null_error": self.standard_error,
            "p": self.p_value,
        }


@dataclass(frozen=True)
class AveragesTest:
    """The quadratic test of all averages together.

    Attributes:
        statistics: the averages one by one, in the order of the features.
        t_square, n_degrees: T^2 and its degrees of freedom; p_value of the chi^2 law.
        kl_upper: no law that tilts the foreground's along these averages and differs by more nats a neuron would have
            given so small a T^2 in 95 of 100 draws (Gaussian limit, |difference|^2 S^-1/2).
        outliers: (n_shown,) numbers of the background's neurons that speak most for the difference, worst first.
        covariance: (k, k) of the differences between averages and their expectation, rows; () where it was not kept.
        against: what the averages are expected to be those of, in words.
    """

    statistics: tuple[Statistic, ...]
    t_square: float
    n_degrees: int
    p_value: float
    kl_upper: float
    outliers: np.ndarray
    covariance: tuple[tuple[float, ...], ...] = ()
    against: str = "foreground's law"

    @property
    def largest_difference(self) -> str:
        """What differs most, and what next, in words; empty where nothing differs by three standard errors."""
        ordered = sorted(self.statistics, key=lambda s: -abs(s.z))
        worst, others = ordered[0], [s for s in ordered[1:3] if abs(s.z) >= 3]
        if abs(worst.z) < 3:
            return ""
        size = abs(worst.value - worst.expected)
        # A share of what is 0 but for its noise says nothing.
        is_known = abs(worst.expected) > 3 * worst.standard_error
        share = f" ({100 * size / abs(worst.expected):.1f} %)" if is_known else ""
        way = "larger" if worst.value > worst.expected else "smaller"
        source = "average along the run" if worst.name.startswith("mode") else self.against
        after = " and ".join(f"{s.words} ({abs(s.z):.1f})" for s in others)
        return (
            f"The background's {worst.words} is {worst.value:.4g}, {way} than the {worst.expected:.4g} of its {source} "
            f"by {size:.2g}{share}: {abs(worst.z):.1f} standard errors." + (f" Next: {after}." if after else "")
        )

    @property
    def together(self) -> str:
        """The sentence of a rejection that no average makes alone."""
        return f"No average differs much alone, but the {len(self.statistics)} together do."


@dataclass(frozen=True)
class Expectation:
    """What self-consistency expects of a background's averages, and how far they may scatter.

    Attributes:
        words: what each of the k statistics and r modes is, by name.
        mean: (k + r,); covariance: (k + r, k + r) of the difference between averages and mean.
        root: (k + r, n_degrees) so that T^2 = |difference' root|^2.
        modes: (n_outputs, r) functions, times the weights of the points, that a neuron's output is projected on.
    """

    words: dict[str, str]
    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray
    modes: np.ndarray

    @classmethod
    def of(cls, words: dict[str, str], mean: np.ndarray, covariance: np.ndarray, modes: np.ndarray) -> Expectation:
        """With the directions in which the covariance is rounding alone left out."""
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, np.inf)
        values, vectors = linalg.eigh(covariance / np.outer(spread, spread))
        kept = values > SMALLEST_EIGENVALUE * values[-1]
        root = (vectors[:, kept] / np.sqrt(values[kept])) / spread[:, None]
        return cls(words, mean, covariance, root, modes)

    @property
    def n_degrees(self) -> int:
        """Degrees of freedom of T^2."""
        return self.root.shape[1]

    def coordinates(self, difference: np.ndarray) -> np.ndarray:
        """(..., n_degrees) of differences (..., k + r): of covariance 1 under self-consistency."""
        return np.asarray(difference @ self.root)


def feature_words(n_inputs: int) -> dict[str, str]:
    """Names of the statistics and what they are, in the order of `neuron_features`."""
    words = {
        "potential": "mean potential V/T",
        "norm": "mean length |w|",
        "square_norm": "mean |w|²",
        "short_norm": "mean |w| up to half of its median",
        "square_readout": "mean |a|²",
        "aligned_readout": "mean readout along its pull, a·g/|g|",
        "tilt": "mean tilt |g|²/(2 λ T)",
    }
    if n_inputs == 2:
        words |= {f"{wave}{k}": f"mean {wave} {k}θ" for k in (2, 4, 8) for wave in ("cos", "sin")}
    return words


def neuron_features(theta: Tensor, field: MeanField, temperature: float, short: float) -> np.ndarray:
    """(n_neurons, k) statistics of neurons in their field, float64 on the host.

    Args:
        theta: (n_neurons, n_inputs + n_out); temperature: T > 0.
        short: the length up to which |w| counts in "short_norm".
    """
    n_inputs = field.inputs.shape[1]
    signal = field.signal.reshape(len(field.inputs), -1)
    blocks = []
    rows = _rows(field)
    for start in range(0, len(theta), rows):
        block = theta[start : start + rows].to(field.inputs.dtype)
        w, a = block[:, :n_inputs], block[:, n_inputs:]
        g = field.activation.phi(w @ field.inputs.T) @ signal
        square, square_a, pull = (w * w).sum(1), (a * a).sum(1), (a * g).sum(1)
        square_g = (g * g).sum(1)
        norm = square.sqrt()
        columns = [
            (0.5 * (field.lambda_w * square + field.lambda_a * square_a) - pull) / temperature,
            norm,
            square,
            norm.clamp(max=short),
            square_a,
            pull / square_g.sqrt().clamp_min(1e-30),
            square_g / (2.0 * field.lambda_a * temperature),
        ]
        if n_inputs == 2:
            angle = torch.atan2(w[:, 1], w[:, 0])
            columns += [getattr(k * angle, wave)() for k in (2, 4, 8) for wave in ("cos", "sin")]
        blocks.append(torch.stack([column.double() for column in columns], dim=1))
    return to_host(torch.cat(blocks))


def _rows(field: MeanField) -> int:
    """How many neurons are looked at together: fewer of more points."""
    return min(BLOCK, max(1, MAX_BLOCK // len(field.inputs)))


def short_length(reference: Tensor, n_inputs: int) -> float:
    """Half of the median length of the reference's input weights, and more where hardly a neuron is so short.

    In many inputs none is: an average that a few neurons make is not normal, and its scatter not known.
    """
    norms = reference[:, :n_inputs].norm(dim=1)
    return max(0.5 * float(norms.median()), float(norms.double().sort().values[int(SHORT_SHARE * len(norms))]))


def neuron_outputs(theta: Tensor, field: MeanField) -> np.ndarray:
    """(n_neurons, n_points n_out) a phi(w . x_mu), float64 on the host, readouts side by side."""
    n_inputs = field.inputs.shape[1]
    theta = theta.to(field.inputs.dtype)
    phi, a = field.activation.phi(theta[:, :n_inputs] @ field.inputs.T), theta[:, n_inputs:]
    return to_host((phi[:, :, None] * a[:, None, :]).reshape(len(theta), phi.shape[1] * a.shape[1]).double())


def averages(theta: Tensor, field: MeanField, temperature: float, short: float, modes: np.ndarray) -> np.ndarray:
    """(n_neurons, k + r) statistics of neurons, and their outputs along the modes."""
    found = neuron_features(theta, field, temperature, short)
    if not modes.shape[1]:
        return found
    rows = _rows(field)
    blocks = [neuron_outputs(theta[start : start + rows], field) @ modes for start in range(0, len(theta), rows)]
    return np.hstack([found, np.concatenate(blocks)])


def compare_averages(background: np.ndarray, expected: Expectation, n_outliers: int = 50) -> AveragesTest:
    """The test of a background's statistics, (n_background, k + r)."""
    mean = background.mean(axis=0)
    direction = expected.coordinates(mean - expected.mean)
    t_square = float(direction @ direction)
    errors = np.sqrt(np.diag(expected.covariance))
    found = []
    for k, (name, text) in enumerate(expected.words.items()):
        z = (mean[k] - expected.mean[k]) / errors[k] if errors[k] > 0 else 0.0
        p = float(2 * special.ndtr(-abs(z)))
        found.append(Statistic(name, text, float(mean[k]), float(expected.mean[k]), float(errors[k]), p))
    pulls = expected.coordinates(background - expected.mean) @ direction
    return AveragesTest(
        statistics=tuple(found),
        t_square=t_square,
        n_degrees=expected.n_degrees,
        p_value=float(special.chdtrc(expected.n_degrees, t_square)),
        kl_upper=0.5 * largest_noncentrality(t_square, expected.n_degrees) / len(background),
        outliers=np.argsort(-pulls)[:n_outliers],
        covariance=tuple(tuple(row) for row in expected.covariance.tolist()),
    )


def largest_noncentrality(t_square: float, n_degrees: int, level: float = 0.05) -> float:
    """The noncentrality under which a chi^2 of these degrees is so small, or smaller, with probability `level`."""
    if special.chdtr(n_degrees, t_square) <= level:
        return 0.0
    return float(special.chndtrinc(t_square, n_degrees, level))
