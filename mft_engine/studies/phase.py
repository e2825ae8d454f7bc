"""What a phase diagram shows of a sweep: means and errors over seeds on the grid, and the theory's line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mft_engine.studies.grid import DOWN, UP, Axis
from mft_engine.studies.sweep_table import FAILURE, WAY, Row, Sweep

ORDERS = "feature_learning.order_parameters."
ERRORS = "feature_learning.order_parameters_error."
THEORY_ORDERS = "theory.order_parameters."
LOSS, THEORY_LOSS, NETWORK_LOSS = "background.loss", "theory.loss", "theory.network_loss"
CLOSURES = {"overlap": "closure.overlap"}
ACCURACY, THEORY_ACCURACY = "background.test_accuracy", "theory.test_accuracy"
# Positive values whose steps grow by at least this factor are shown on a logarithmic axis.
LOG_SPAN = 8.0


@dataclass(frozen=True)
class Measured:
    """One number of the summary over the grid of swept values.

    Attributes:
        title: on the axis of a figure, in mathtext; words: the same in plain letters.
        column: of the table; mean, error: over seeds (error: of the single run where there is one seed); theory:
            infinite width. All of the shape of the grid, nan where nothing is known.
        source: what the theory's line is called: a closure is not the exact infinite-width law.
        down: the same on the way down, where networks were pulled up and down; None elsewhere.
    """

    title: str
    words: str
    column: str
    mean: np.ndarray
    error: np.ndarray
    theory: np.ndarray
    source: str = "infinite width"
    down: Measured | None = None

    @property
    def is_known(self) -> bool:
        """Whether any point is there."""
        return bool(np.isfinite(self.mean).any())


def measured(sweep: Sweep, column: str, title: str, error: str = "", theory: str = "", *, words: str = "") -> Measured:
    """Mean and standard error over seeds of a column of the table, at every point of the grid."""
    if not sweep.has_ways:
        return _over_seeds(sweep, column, title, error, theory, words, None)
    up, down = (_over_seeds(sweep, column, title, error, theory, words, way) for way in (UP, DOWN))
    return replace(up, down=down)


def _over_seeds(
    sweep: Sweep, column: str, title: str, error: str, theory: str, words: str, way: str | None
) -> Measured:
    shape = tuple(len(axis.values) for axis in sweep.axes)
    cells: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in sweep.rows:
        if way is not None and row.get(WAY) != way:
            continue
        if row.get(FAILURE) is None and row.get(column) is not None:
            cells.setdefault(place_of(sweep, row), []).append(row)
    mean, spread, line = (np.full(shape, np.nan) for _ in range(3))
    for place, rows in cells.items():
        values = np.array([row[column] for row in rows], dtype=float)
        mean[place] = values.mean()
        if len(values) > 1:
            spread[place] = values.std(ddof=1) / len(values) ** 0.5
        elif error and rows[0].get(error) is not None:
            spread[place] = rows[0][error]
        known = [row[theory] for row in rows if theory and row.get(theory) is not None]
        line[place] = np.mean(known) if known else np.nan
    return Measured(title, words or title, column, mean, spread, line)


def panels_of(sweep: Sweep) -> list[Measured]:
    """Test accuracy and order parameter, where there are any, and loss; each with its theory where there is one."""
    # A network's own loss has the fluctuations of its function in it, which grow towards the Gaussian process.
    known = any(row.get(NETWORK_LOSS) is not None for row in sweep.rows)
    law = NETWORK_LOSS if known else THEORY_LOSS
    panels = [measured(sweep, LOSS, r"loss $\mathrm{E}\,(y-f)^2$", theory=law, words="loss E (y − f)²")]
    order = order_parameter(sweep)
    if order is not None:
        wave = order.removeprefix("cos")
        title = rf"$\langle\cos {wave}\vartheta_w\rangle$" if wave.isdigit() else order
        words = f"⟨cos {wave}θ⟩" if wave.isdigit() else order
        found = measured(sweep, ORDERS + order, title, ERRORS + order, THEORY_ORDERS + order, words=words)
        panels.insert(0, _with_closure(sweep, found, order))
    if any(row.get(ACCURACY) is not None for row in sweep.rows):
        panels.insert(0, measured(sweep, ACCURACY, "test accuracy", f"{ACCURACY}_error", THEORY_ACCURACY))
    return panels


def _with_closure(sweep: Sweep, panel: Measured, order: str) -> Measured:
    """The panel with the order-parameter closure as its line, where there is one and no exact theory.

    Not for the loss: a closure's is that of the mean function on the population, a network's own has more in it.
    """
    if np.isfinite(panel.theory).any() or order not in CLOSURES:
        return panel
    return replace(panel, theory=measured(sweep, CLOSURES[order], "").mean, source="closure")


def place_of(sweep: Sweep, row: Mapping[str, Any]) -> tuple[int, ...]:
    """Where a row of the table lies on the grid."""
    return tuple(_index(axis, row[axis.path]) for axis in sweep.axes)


def pooled_at(sweep: Sweep) -> dict[tuple[int, ...], Row]:
    """What the seeds say together, by place on the grid; rows of an earlier grid are left out."""
    found = {}
    for row in sweep.pooled:
        with contextlib.suppress(ValueError):
            found[place_of(sweep, row)] = row
    return found


def _index(axis: Axis, value: Any) -> int:
    shown = [str(list(v)) if isinstance(v, tuple) else v for v in axis.values]
    return shown.index(value) if value in shown else [str(v) for v in shown].index(str(value))


def order_parameter(sweep: Sweep) -> str | None:
    """The order parameter that the sweep moves most, by its name; None where the clouds have none."""
    names = [name for name in dict.fromkeys(name for row in sweep.rows for name in row) if name.startswith(ORDERS)]
    found = {name: measured(sweep, name, "").mean for name in names}
    sizes = {name: np.nanmax(np.abs(mean)) for name, mean in found.items() if np.isfinite(mean).any()}
    return max(sizes, key=lambda name: float(sizes[name])).removeprefix(ORDERS) if sizes else None


def is_numeric(axis: Axis) -> bool:
    """Whether the values of an axis are numbers."""
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis.values)


def is_logarithmic(axis: Axis) -> bool:
    """Whether an axis is better drawn logarithmically."""
    return is_numeric(axis) and min(axis.values) > 0 and max(axis.values) >= LOG_SPAN * min(axis.values)


def positions(axis: Axis) -> np.ndarray:
    """(n_values,) numbers at which the values are drawn: themselves, or their places where they are words."""
    return np.array(axis.values if is_numeric(axis) else range(len(axis.values)), dtype=float)
