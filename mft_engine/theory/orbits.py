"""Symmetries of a finite set of points, and the residuals that share them.

Reflections and exchanges of inputs that map the weighted points onto themselves and the targets onto plus or minus
themselves are symmetries of the whole problem: the prior is invariant under them, and a sign is taken up by the
readouts. The dual is strictly concave, so its one optimum has them all: r is one number a readout on every orbit of
points. Parity of 4 in 10 signs keeps one unknown of 1,024, and the noise of the particles in all others is gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

# Decimals, in units of the largest input, to which points are compared.
DECIMALS = 9
# Pairs of inputs are tried up to so many inputs.
MOST_INPUTS = 64
# Rounds of all exchanges, each with probability one half, that make a random symmetry.
N_SCATTERINGS = 3


@dataclass(frozen=True)
class Exchange:
    """One symmetry: inputs change places and signs, and readouts their sign.

    Attributes:
        places, signs: (n_inputs,), x -> signs * x[places]; readout_sign: 1.0 or -1.0.
    """

    places: NDArray[np.int64]
    signs: NDArray[np.int64]
    readout_sign: float = 1.0


@dataclass(frozen=True)
class Orbits:
    """What the symmetries leave unknown.

    Attributes:
        basis: (n_points, n_orbits) orthonormal, of the residuals sqrt(weight) r that have the symmetries: one entry a
            row, sign x sqrt(weight / weight of the orbit); a row of zeros where they make r vanish.
        exchanges: that generate the symmetries.
    """

    basis: Array
    exchanges: tuple[Exchange, ...]

    def scattered(self, theta: Array, generator: np.random.Generator) -> Array:
        """Neurons under random symmetries: the law's wells come to hold what they should.

        Args:
            theta: (n, n_inputs + n_out) columns w, a.
        """
        d = len(self.exchanges[0].places)
        w, a = theta[:, :d].copy(), theta[:, d:].copy()
        for _ in range(N_SCATTERINGS):
            for exchange in self.exchanges:
                is_moved = generator.random(len(w)) < 0.5
                # w.(g x) = (g' w).x, and g' has the inverse places
                w[is_moved] = (exchange.signs * w[is_moved])[:, np.argsort(exchange.places)]
                a[is_moved] *= exchange.readout_sign
        return np.concatenate([w, a], axis=1)


def find_orbits(inputs: Array, targets: Array, weights: Array) -> Orbits | None:
    """Symmetries of weighted points under reflections and exchanges of inputs; None where there are none.

    Args:
        inputs: (n_points, n_inputs), targets: (n_points, n_out), weights: (n_points,).
    """
    x = _whole(inputs)
    if len(np.unique(x, axis=0)) < len(x):
        return None
    y, n = _whole(targets), len(x)
    order, points = np.lexsort(x.T), np.arange(n)
    edges: list[tuple[Any, Any]] = []
    exchanges: list[Exchange] = []
    for trial in _trials(x):
        image = trial.signs * x[:, trial.places]
        new = np.lexsort(image.T)
        if not np.array_equal(image[new], x[order]):
            continue
        partner = np.empty(n, dtype=np.int64)
        partner[new] = order
        if not np.allclose(weights[partner], weights, rtol=1e-9, atol=0):
            continue
        # The double cover: a point with either sign of the target.
        if np.array_equal(y[partner], y):
            edges += [(points, partner), (points + n, partner + n)]
            exchanges.append(trial)
        elif np.array_equal(y[partner], -y):
            edges += [(points, partner + n), (points + n, partner)]
            exchanges.append(replace(trial, readout_sign=-1.0))
    if not edges:
        return None
    first, second = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(2 * n, 2 * n))
    _, label = connected_components(graph, directed=False)
    plus, minus = label[:n], label[n:]
    is_seen = plus != minus
    # An orbit comes twice, with opposite signs; the smaller label names it.
    name, sign = np.minimum(plus, minus), np.where(plus < minus, 1.0, -1.0)
    columns = np.unique(name[is_seen], return_inverse=True)[1]
    basis = np.zeros((n, int(columns.max(initial=-1)) + 1))
    basis[is_seen, columns] = (sign * np.sqrt(weights))[is_seen]
    return Orbits(basis / np.linalg.norm(basis, axis=0), tuple(exchanges))


def _whole(values: Array) -> NDArray[np.int64]:
    """Values as whole numbers of a small unit, so that equality means something."""
    top = float(np.abs(values).max(initial=0.0)) or 1.0
    return np.rint(values / top * 10.0**DECIMALS).astype(np.int64)


def _trials(x: NDArray[np.int64]) -> Iterator[Exchange]:
    """Every reflection of one, two or all inputs and exchange of two that the single inputs allow."""
    d = x.shape[1]
    if d > MOST_INPUTS:
        return
    columns, mirrored = np.sort(x, axis=0).T, np.sort(-x, axis=0).T
    is_even = [bool((columns[k] == mirrored[k]).all()) for k in range(d)]
    here, plus = np.arange(d), np.ones(d, dtype=np.int64)

    def reflected(*inputs: int) -> NDArray[np.int64]:
        signs = plus.copy()
        signs[list(inputs)] = -1
        return signs

    if d > 2 and all(is_even):
        yield Exchange(here, -plus)
    for k in range(d):
        if is_even[k]:
            yield Exchange(here, reflected(k))
    for i, k in itertools.combinations(range(d), 2):
        swapped = here.copy()
        swapped[[i, k]] = k, i
        if is_even[i] and is_even[k]:
            yield Exchange(here, reflected(i, k))
        if (columns[i] == columns[k]).all():
            yield Exchange(swapped, plus)
        if (columns[i] == mirrored[k]).all():
            yield Exchange(swapped, reflected(i, k))
