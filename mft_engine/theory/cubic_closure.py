"""The order-parameter closure of a network of erf neurons that learns a cubic teacher in many dimensions.

A neuron is described by one number, its overlap q = w . w* with the teacher's direction; the rest of w keeps the norm
that the prior gives it, and the residual is kept to its first and third Hermite components b and c.

The closure is stationarity of a strictly concave function of (b, c): at given hyperparameters the whole-ensemble
solution is unique, and no continuation can find a second one. What a discontinuous transition leaves behind are the
*metastable* branches, in which the neurons are kept to one well of S(q); they are solved here as well.

Source: Rubin, Seroussi, Ringel, arXiv 2310.03789; docs/physics.md, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

Branch = Literal["equilibrium", "unaligned", "aligned"]
ROOT6 = math.sqrt(6.0)
# A well counts as a phase of its own where leaving it costs at least so much: e^-1 of the well's weight on the ridge.
MIN_BARRIER = 1.0
_POINTS_PER_WIDTH = 5.0
_MAX_GRID = 400_000
_MAX_NEWTON = 200
_MAX_CUTS = 200


@dataclass(frozen=True)
class CubicTeacher:
    """The setting in mean-field units (readouts N times the paper's, f an average over neurons).

    Attributes:
        n_inputs: d (need not be whole: a scaled setting seldom is).
        epsilon: weight of the cubic part in y = z + epsilon (z^3 - 3 z). Not the task's `epsilon`, whose cubic is
            divided by sqrt 6: that one is sqrt 6 times larger for the same teacher.
        temperature: T = N sigma^2 / n.
        weight_variance: of one input weight under the prior, sigma_w^2 / d = T / lambda_w.
        transverse_power: |w|^2 apart from q^2: sigma_w^2 in the paper, (d - 1) T / lambda_w exactly.
        readout_variance: of one readout under the prior, T / lambda_a = N sigma_a^2.
    """

    n_inputs: float
    epsilon: float
    temperature: float
    weight_variance: float
    transverse_power: float
    readout_variance: float

    def __post_init__(self) -> None:
        for name in ("n_inputs", "temperature", "weight_variance", "readout_variance"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} = {getattr(self, name)!r}: the closure needs a finite number above 0")
        if not (self.transverse_power >= 0 and math.isfinite(self.transverse_power) and math.isfinite(self.epsilon)):
            raise ValueError("The closure needs a finite epsilon and a finite transverse power, not below 0")

    @property
    def u(self) -> float:
        """How hard the data pull, u = n^2 sigma_a^2 / (sigma^4 d N) = readout_variance / (T^2 d)."""
        return self.readout_variance / (self.temperature**2 * self.n_inputs)

    @property
    def target(self) -> np.ndarray:
        """(1, sqrt 6 epsilon): the teacher in the orthonormal H1, H3."""
        return np.array([1.0, ROOT6 * self.epsilon])


def paper_teacher(
    noise: float,
    *,
    n_points: float = 3000,
    n_inputs: int = 150,
    n_neurons: float = 700,
    weight_power: float = 0.5,
    readout_variance: float = 8 / 700,
    epsilon: float = -0.3,
    beta: float = 1.0,
) -> CubicTeacher:
    """The paper's experiment, at its own size or scaled.

        n -> beta n,   N -> beta N,   d -> sqrt(beta) d,   sigma_a^2 -> sigma_a^2 / sqrt(beta)

    with sigma^2, sigma_w^2 and epsilon as they are. u and the Gaussian part of the closure do not depend on beta, and
    S(q) grows like sqrt(beta): beta to infinity is the limit in which the transition is sharp, beta = 1/8 the preview
    (N = 88, d = 53, n = 375).

    Args:
        noise: sigma^2, variance of the observation noise.
        n_points, n_inputs, n_neurons: n, d and N at beta = 1.
        weight_power: sigma_w^2; an input weight has the prior variance sigma_w^2 / d.
        readout_variance: sigma_a^2 at beta = 1; a readout of f = sum a phi has the prior variance sigma_a^2 / N.
            8/700 is the convention that gives the paper's u = 30.2 at sigma^2 = .18.
        epsilon: weight of z^3 - 3 z.
        beta: scale.
    """
    root = math.sqrt(beta)
    d = n_inputs * root
    temperature = n_neurons * noise / n_points
    return CubicTeacher(
        d, epsilon, temperature, weight_power / d, weight_power, beta * n_neurons * readout_variance / root
    )


@dataclass(frozen=True)
class Well:
    """The aligned minimum of S.

    Attributes:
        overlap: q* > 0 where it is.
        height: S(q*) - S(0).
        ridge: q of the maximum of S between 0 and q* (0 where q = 0 is itself no minimum).
        barrier: S(ridge) - S(0), what leaving the well at 0 costs; leaving the aligned one costs barrier - height.
    """

    overlap: float
    height: float
    ridge: float
    barrier: float


@dataclass(frozen=True)
class CubicClosure:
    """A solution (b, c), and what follows from it.

    Attributes:
        b, c: Hermite components of the residual, b z + c (z^3 - 3 z); (1, epsilon) where nothing is learnt.
        branch: "equilibrium" (all of e^-S), or the metastable one that is kept to the well at 0 or to the aligned one.
        well: the aligned well; None where S has none.
        fault: |closure's right side - left side|, in units of the target.
        cut: the ridge to which a metastable branch is kept (0 for the equilibrium).
    """

    teacher: CubicTeacher
    b: float
    c: float
    branch: Branch
    well: Well | None
    fault: float
    cut: float

    @property
    def learned_linear(self) -> float:
        """1 - b: the part of H1 that is learnt."""
        return 1.0 - self.b

    @property
    def learned_cubic(self) -> float:
        """1 - c/epsilon: the part of H3 that is learnt (nan without a cubic part)."""
        return 1.0 - self.c / self.teacher.epsilon if self.teacher.epsilon else math.nan

    @property
    def loss(self) -> float:
        """b^2 + 6 c^2: E r^2 as far as the closure knows; what f has beyond H3 is left out."""
        return self.b**2 + 6.0 * self.c**2

    @property
    def aligned_mass(self) -> float:
        """Share of neurons beyond the ridge; 0 where S has no aligned well, 1 where q = 0 is no minimum."""
        return 0.0 if self.well is None else self.tail(self.well.ridge)

    @property
    def phase(self) -> Literal["unaligned", "mixed", "aligned"]:
        """unaligned: S has one well, at 0. mixed: an aligned one above it (droplet). aligned: that one is the lower."""
        if self.well is None:
            return "unaligned"
        return "aligned" if self.well.height <= 0 else "mixed"

    def action(self, overlap: np.ndarray) -> np.ndarray:
        """S(q), with S(0) = 0, in nats.

        S(q) = d [ q^2/(2 sigma_w^2) - (2 u/pi) (q^2/D) (b - 2 c q^2/D)^2 ],   D = 1 + 2 (sigma_w^2 + q^2)
        """
        return _action(self.teacher, np.asarray(overlap, dtype=float), np.array([self.b, ROOT6 * self.c]))

    def tail(self, overlap: float) -> float:
        """P(|q| > overlap) under e^-S of this branch."""
        beyond = np.cumsum(self._law[::-1])[::-1] - 0.5 * self._law
        # Tails fall like Gaussians: their logarithm is what is nearly straight between two points of the grid.
        return float(np.exp(np.interp(overlap, self._grid.q, np.log(np.maximum(beyond, 1e-300)))))

    @property
    def overlap(self) -> float:
        """sum a^2 q^2 / sum a^2 |w|^2: the order parameter `overlap` of a cloud, at infinite width.

        a^2 given q is readout_variance + (readout_variance/T)^2 (v.r)^2.
        """
        return self._readout_mean(self._grid.q**2) / self._readout_mean(self._grid.q**2 + self.teacher.transverse_power)

    def _readout_mean(self, values: np.ndarray) -> float:
        gain = self.teacher.readout_variance / self.teacher.temperature
        square = self.teacher.readout_variance + (gain * np.array([self.b, ROOT6 * self.c]) @ self._grid.v) ** 2
        return float(self._law @ (square * values))

    @cached_property
    def _grid(self) -> _Grid:
        return _Grid.of(self.teacher)

    @cached_property
    def _law(self) -> np.ndarray:
        return self._grid.law(self.action(self._grid.q), _inside(self._grid, self.branch, self.cut))


def features(teacher: CubicTeacher, overlap: np.ndarray) -> np.ndarray:
    """(2, n): E[erf(w.x) h(z)] for h = H1 and H3/sqrt 6, v = (2 q/sqrt(pi D), -4 q^3/sqrt(6 pi D^3))."""
    size = 1.0 + 2.0 * (teacher.transverse_power + overlap**2)
    return np.stack([2.0 * overlap / np.sqrt(math.pi * size), -4.0 * overlap**3 / np.sqrt(6.0 * math.pi * size**3)])


def _action(teacher: CubicTeacher, q: np.ndarray, r: np.ndarray) -> np.ndarray:
    pull = teacher.readout_variance / (2.0 * teacher.temperature**2)
    return q**2 / (2.0 * teacher.weight_variance) - pull * (r @ features(teacher, q)) ** 2


@dataclass(frozen=True)
class _Grid:
    """Half-line of q, q = scale sinh t with t uniform: e^-S is even and decays, so the trapezoid is all but exact."""

    q: np.ndarray
    weights: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, teacher: CubicTeacher) -> _Grid:
        scale = math.sqrt(0.5 + teacher.transverse_power)
        # |r| <= |y| and (q^2/D) (b - 2 c q^2/D)^2 <= (7/12) |r|^2 bound the pull, hence where e^-S has ended ...
        pull = teacher.n_inputs * teacher.u * float(teacher.target @ teacher.target)
        end = math.sqrt(2.0 * teacher.weight_variance * (7.0 / (6.0 * math.pi) * pull + 45.0))
        # ... and its curvature in t, hence the narrowest peak.
        width = 1.0 / math.sqrt(2.0 * pull + scale**2 / teacher.weight_variance)
        stop = math.asinh(end / scale)
        n = min(_MAX_GRID, 64 + math.ceil(stop / width * _POINTS_PER_WIDTH))
        t = np.linspace(0.0, stop, n)
        weights = np.cosh(t)
        weights[[0, -1]] *= 0.5
        q = scale * np.sinh(t)
        return cls(q, weights, features(teacher, q))

    def law(self, action: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Probabilities of the cells under e^-S within `inside`."""
        lowest = action[inside].min()
        mass = np.where(inside, self.weights * np.exp(np.minimum(lowest - action, 0.0)), 0.0)
        return mass / mass.sum()

    def log_partition(self, action: np.ndarray, inside: np.ndarray) -> float:
        """log of the integral of e^-S, up to a constant of the grid."""
        lowest = float(action[inside].min())
        return math.log(float(np.sum(self.weights[inside] * np.exp(lowest - action[inside])))) - lowest


def _inside(grid: _Grid, branch: Branch, cut: float) -> np.ndarray:
    if branch == "unaligned":
        return grid.q <= cut
    return grid.q >= cut if branch == "aligned" else np.ones(len(grid.q), dtype=bool)


def _balance(teacher: CubicTeacher, grid: _Grid, inside: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Maximise D(r) = y.r - |r|^2/2 - T log Z(r) by damped Newton; strictly concave, so from anywhere."""
    y, temperature = teacher.target, teacher.temperature
    gain = teacher.readout_variance / temperature**2

    def height(r: np.ndarray) -> float:
        action = _action(teacher, grid.q, r)
        return float(y @ r - 0.5 * r @ r - temperature * grid.log_partition(action, inside))

    r, best, fault = start, start, math.inf
    for _ in range(_MAX_NEWTON):
        law = grid.law(_action(teacher, grid.q, r), inside)
        field = r @ grid.v
        slope = y - r - temperature * gain * (grid.v * law) @ field
        present_fault = float(np.abs(slope).max() / np.linalg.norm(y))
        turn = gain * grid.v * field
        mean = turn @ law
        curvature = np.eye(2) + temperature * (
            gain * (grid.v * law) @ grid.v.T + (turn * law) @ turn.T - np.outer(mean, mean)
        )
        move = np.linalg.solve(curvature, slope)
        # So close to the top float64 sees no rise any more; Newton's last steps are judged by the fault itself.
        is_close = float(slope @ move) < 1e-10 * float(y @ y)
        if is_close and present_fault >= fault:
            break
        best, fault = r, present_fault
        if fault < 1e-14:
            break
        share = 1.0
        if not is_close:
            fault = math.inf
            present = height(r)
            while height(r + share * move) < present and share > 1e-8:
                share *= 0.5
        r = r + share * move
    return best, fault


def _find_well(teacher: CubicTeacher, grid: _Grid, r: np.ndarray) -> Well | None:
    action = _action(teacher, grid.q, r)
    inner = np.arange(1, len(action) - 1)
    lows = inner[(action[inner] <= action[inner - 1]) & (action[inner] < action[inner + 1])]
    if len(lows) == 0:
        return None
    low = int(lows[np.argmin(action[lows])])
    ridge = int(np.argmax(action[: low + 1]))
    overlap, height = _refined(teacher, grid, r, low)
    top, rise = _refined(teacher, grid, r, ridge) if ridge else (0.0, 0.0)
    return Well(overlap, height, top, rise)


def _refined(teacher: CubicTeacher, grid: _Grid, r: np.ndarray, at: int) -> tuple[float, float]:
    """The extremum near a grid point, from the parabola through it and its neighbours."""
    q = grid.q[at - 1 : at + 2]
    shape = np.polyfit(q - q[1], _action(teacher, q, r), 2)
    place = float(np.clip(q[1] - shape[1] / (2.0 * shape[0]), q[0], q[2]))
    return place, float(_action(teacher, np.array([place]), r)[0])


def solve_cubic_closure(
    teacher: CubicTeacher, branch: Branch = "equilibrium", *, warm: CubicClosure | None = None
) -> CubicClosure | None:
    """Solve the closure self-consistently.

        (b, sqrt6 c) = (sigma^2/n) [Q + (sigma^2/n) I]^-1 (1, sqrt6 epsilon),   Q = sigma_a^2 E_{e^-S}[v v^T]

    which is (b, sqrt6 c) + (readout_variance/T) E[v v^T] (b, sqrt6 c) = (1, sqrt6 epsilon) in mean-field units.

    Args:
        branch: the whole ensemble, or the metastable one in which every neuron stays in the well at 0, or aligned.
        warm: a solution nearby, from which a metastable branch is followed.

    Returns:
        the solution; None where a metastable branch does not exist (its well, or the barrier before it, is gone).
    """
    grid = _Grid.of(teacher)
    start = teacher.target if warm is None else np.array([warm.b, ROOT6 * warm.c])
    if branch == "equilibrium":
        r, fault = _balance(teacher, grid, _inside(grid, branch, 0.0), start)
        return CubicClosure(teacher, float(r[0]), float(r[1] / ROOT6), branch, _find_well(teacher, grid, r), fault, 0.0)
    for cut in _first_cuts(teacher, grid, warm):
        found = _kept_to_a_well(teacher, grid, branch, cut, start)
        if found is not None:
            return found
    return None


def _kept_to_a_well(
    teacher: CubicTeacher, grid: _Grid, branch: Branch, cut: float, r: np.ndarray
) -> CubicClosure | None:
    """Solve with neurons on one side of the ridge, move the ridge to where that solution has it, until it stays."""
    for _ in range(_MAX_CUTS):
        r, fault = _balance(teacher, grid, _inside(grid, branch, cut), r)
        well = _find_well(teacher, grid, r)
        if well is None or well.barrier - (well.height if branch == "aligned" else 0.0) < MIN_BARRIER:
            return None
        if abs(well.ridge - cut) < 1e-9 * well.overlap:
            return CubicClosure(teacher, float(r[0]), float(r[1] / ROOT6), branch, well, fault, cut)
        cut = well.ridge
    return None


def _first_cuts(teacher: CubicTeacher, grid: _Grid, warm: CubicClosure | None) -> list[float]:
    """Where the ridge may be: in the solution nearby, in the whole ensemble's, and far out in the prior's tail."""
    cuts = [warm.cut] if warm is not None and warm.cut > 0 else []
    r, _ = _balance(teacher, grid, _inside(grid, "equilibrium", 0.0), teacher.target)
    well = _find_well(teacher, grid, r)
    if well is not None and well.ridge > 0:
        cuts.append(well.ridge)
    return [*cuts, *(width * math.sqrt(teacher.weight_variance) for width in (3.0, 5.0, 8.0))]


def follow_cubic_closure(teachers: Iterable[CubicTeacher], branch: Branch = "equilibrium") -> list[CubicClosure | None]:
    """The branch along a path of settings, each solution started from the last one that exists.

    Follow the same path in both directions to see what is unique and what depends on where one comes from.
    """
    found: list[CubicClosure | None] = []
    last: CubicClosure | None = None
    for teacher in teachers:
        present = solve_cubic_closure(teacher, branch, warm=last)
        last = present if present is not None else last
        found.append(present)
    return found


def at_noise(teacher: CubicTeacher, ratio: float) -> CubicTeacher:
    """The same data, network and prior with sigma^2 (hence T) times `ratio`; prior variances stay."""
    return replace(teacher, temperature=teacher.temperature * ratio)
