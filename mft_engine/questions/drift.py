"""Does a run still move? Drift of slow statistics along its averaging window, which no exact law is needed for.

    drift = mean over the second half - mean over the first half,   z = drift / error

Two equally young clouds look alike, so that their comparison cannot tell. Averages over neurons have an error that no
slow memory spoils: neurons of one network repel, so that their average scatters less than that of independent neurons,
s^2 = Var/N, and the difference of the halves of any series with exponential memory by

    2 s^2 [2 (x - 1 + e^-x) - (1 - e^-x)^2] / x^2 <= 0.763 s^2,   x = half of the window over the memory.

The loss has none such: its error is that of the means of eight batches about their halves', with Student's law.

Source: docs/method.md, "The verdict".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from scipy import special

from mft_engine.recipe import Recipe

# Largest value of the bracket above (at x = 1.9), so the variance of the difference of halves over that of one moment.
LARGEST_SHARE = 0.763
FEWEST_RECORDS = 8
# Batches of a half, of records in a batch at least.
N_BATCHES = 4
FEWEST_IN_A_BATCH = 4
LEVEL = 0.01
WORDS = {
    "loss": "loss", "norm": "mean length |w|", "square_norm": "mean |w|²", "square_readout": "mean |a|²",
    "overlap": "overlap with the target's inputs",
    **{f"cos{k}": f"mean cos {k}θ" for k in (2, 3, 4, 6, 8)},
}  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """One statistic: its means over the two halves of the window, and the standard error of their difference.

    Attributes:
        name: as in `WORDS`; n_degrees: of Student's law of the error, inf for a bound.
    """

    name: str
    first: float
    second: float
    error: float
    n_degrees: float

    @property
    def words(self) -> str:
        """What it is."""
        return WORDS.get(self.name, self.name)

    @property
    def z(self) -> float:
        """The drift in standard errors."""
        return (self.second - self.first) / self.error if self.error > 0 else 0.0

    @property
    def p_value(self) -> float:
        """Of this statistic alone, two-sided."""
        size, is_bound = -abs(self.z), math.isinf(self.n_degrees)
        return float(2 * (special.ndtr(size) if is_bound else special.stdtr(self.n_degrees, size)))


@dataclass(frozen=True)
class Drift:
    """The answer.

    Attributes:
        statistics: those with an error, largest drift first.
        p_value: of the largest, times their number (Bonferroni); None where there is no answer.
        verdict: "steady", "drifting" or None; why: a sentence.
    """

    statistics: tuple[Moved, ...]
    p_value: float | None
    verdict: str | None
    why: str

    @property
    def remark(self) -> str:
        """That it drifts: two equally young clouds look alike."""
        return self.why if self.verdict == "drifting" else ""

    @property
    def largest(self) -> float | None:
        """The largest drift in standard errors."""
        return abs(self.statistics[0].z) if self.statistics else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for summary and store."""
        rows = [{name: value for name, value in asdict(row).items() if name != "n_degrees"} | {"z": row.z,
                 "n_degrees": row.n_degrees if math.isfinite(row.n_degrees) else None}
                for row in self.statistics]  # fmt: skip
        return {"verdict": self.verdict, "p_value": self.p_value, "why": self.why, "statistics": rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Drift:
        """What `to_dict` gave."""
        rows = [{name: value for name, value in row.items() if name != "z"} for row in values["statistics"]]
        moved = tuple(Moved(**row | {"n_degrees": math.inf if row["n_degrees"] is None else row["n_degrees"]})
                      for row in rows)  # fmt: skip
        return cls(moved, values["p_value"], values["verdict"], values["why"])


def no_answer(why: str) -> Drift:
    """Where nothing can be said."""
    return Drift((), None, None, why)


class Recorded(Protocol):
    """What a run remembers of itself (`experiment.history.History`)."""

    rows: list[dict[str, float]]

    def clouds(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_stored, n_shown, n_params) clouds and their (n_stored,) steps."""


def drift_of(recipe: Recipe, kind: str, history: Recorded, n_inputs: int) -> Drift:
    """The drift of a run as it stands.

    Args:
        kind: of the background; history: what was recorded of it; n_inputs: leading columns of its clouds.
    """
    if kind not in ("trained", "lazy"):
        return no_answer(f"The {kind} background does not move.")
    if recipe.training.temperature == 0:
        return no_answer("Without noise there is no scatter that a drift could be measured against.")
    if recipe.foreground.field == "end":
        return no_answer("Nothing is averaged, so there is no window to be halved.")
    clouds, steps = history.clouds()
    return judge_drift(history.rows, clouds, steps, n_inputs, recipe.network.n_neurons[0])


def judge_drift(
    rows: Sequence[Mapping[str, float]], clouds: np.ndarray, cloud_steps: np.ndarray, n_inputs: int, n_neurons: int
) -> Drift:
    """Compare the halves of the averaging window.

    Args:
        rows: of the history, with step, is_averaged, loss and order parameters.
        clouds: (n_stored, n_shown, n_params) along the run, first n_inputs columns w; (0, ...) where there are none.
        cloud_steps: (n_stored,) their steps; n_neurons: N of the network, of which n_shown are kept.
    """
    window = [row for row in rows if row["is_averaged"]]
    if len(window) < FEWEST_RECORDS:
        return no_answer("The averaging window is too short to be halved: nothing is said about drift.")
    shown = clouds.shape[1] if clouds.size else n_neurons
    angles = _angular_variances(clouds, n_inputs)
    found = []
    for name in (key for key in window[0] if key == "loss" or key.startswith(("cos", "overlap"))):
        bound = angles[name] / n_neurons if name in angles else None
        found.append(_moved(name, [row[name] for row in window], bound))
    kept = clouds[(cloud_steps >= window[0]["step"]) & (cloud_steps <= window[-1]["step"])]
    if len(kept) >= FEWEST_RECORDS:
        square_w = (kept[:, :, :n_inputs].astype(np.float64) ** 2).sum(axis=2)
        square_a = (kept[:, :, n_inputs:].astype(np.float64) ** 2).sum(axis=2)
        for name, values in (("norm", np.sqrt(square_w)), ("square_norm", square_w), ("square_readout", square_a)):
            found.append(_moved(name, values.mean(axis=1), float(values[-1].var()) / shown))
    known = sorted((one for one in found if one is not None), key=lambda one: one.p_value)
    if not known:
        return no_answer("The averaging window is shorter than its own memory: nothing is said about drift.")
    worst = known[0]
    p_value = min(1.0, len(known) * worst.p_value)
    size = f"{abs(worst.z):.1f} standard errors"
    if p_value > LEVEL:
        why = f"Steady: nothing moves within the averaging window but by chance (most {worst.words}, {size})."
        return Drift(tuple(known), p_value, "steady", why)
    way = "rises" if worst.second > worst.first else "falls"
    why = (
        f"Still drifting: {worst.words} {way} from {worst.first:.4g} to {worst.second:.4g} between the halves of "
        f"the averaging window, {size}. Train longer: young clouds of one age are alike, whatever the verdict says."
    )
    return Drift(tuple(known), p_value, "drifting", why)


def _angular_variances(clouds: np.ndarray, n_inputs: int) -> dict[str, float]:
    """Var cos(k angle) over the neurons of the last cloud."""
    if n_inputs != 2 or not clouds.size:
        return {}
    angle = np.arctan2(clouds[-1, :, 1], clouds[-1, :, 0]).astype(np.float64)
    return {f"cos{k}": float(np.cos(k * angle).var()) for k in (2, 3, 4, 6, 8)}


def _moved(name: str, series: Iterable[float] | np.ndarray, variance: float | None) -> Moved | None:
    """The halves of a series; `variance`: the most that one value has about its mean at equilibrium, where known."""
    x = np.asarray(series, dtype=np.float64)
    n = len(x) // 2
    halves = np.stack([x[:n], x[len(x) - n :]])
    first, second = halves.mean(axis=1)
    if not np.isfinite(halves).all():
        return None
    if variance is not None:
        return Moved(name, float(first), float(second), math.sqrt(LARGEST_SHARE * variance), math.inf)
    n_batch = n // N_BATCHES
    if n_batch < FEWEST_IN_A_BATCH:
        return None
    batches = halves[:, n - N_BATCHES * n_batch :].reshape(2, N_BATCHES, n_batch).mean(axis=2)
    first, second = batches.mean(axis=1)
    error = math.sqrt(float(batches.var(axis=1, ddof=1).sum()) / N_BATCHES)
    return Moved(name, float(first), float(second), error, 2.0 * (N_BATCHES - 1))
