"""The measure of the inputs: points with weights that sum to one (data may bring another total).

Infinite data x ~ N(0, I_d) is represented by a quadrature rule (or by fresh batches), finite data by its points. A
kinked activation makes product Gauss-Hermite rules poor, so the plane's default is a staggered polar rule.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import torch
from scipy.special import ndtri
from torch import Tensor

from mft_engine import rng
from mft_engine.recipe import RecipeError
from mft_engine.rng import Stream
from mft_engine.sections import TrainingSection
from mft_engine.tasks.task import OwnPoints, Task, TorusGrid

GOLDEN_RATIO = 0.6180339887
# Up to this many, the corners of the cube are all taken: infinite data without an error.
MAX_CORNERS = 4096


class MeasureError(RecipeError):
    """A rule that does not fit the task; the message names the field and the remedy."""


@dataclass(frozen=True)
class FieldPoints:
    """The points that stand for the measure of x, with the target on them.

    Attributes:
        inputs: (n_points, n_inputs); weights: (n_points,) that sum to 1 or to the data's own total; targets:
            (n_points,) or (n_points, n_out).
        rule: in words, with its size.
    """

    inputs: np.ndarray
    weights: np.ndarray
    targets: np.ndarray
    rule: str


@dataclass(frozen=True)
class Measure:
    """Points that stand for a measure.

    Attributes:
        inputs: (n_points, n_inputs) float64; weights: (n_points,) that sum to 1, or to the data's own total.
        rule: in words, with its size.
        targets: (n_points,) or (n_points, n_out) where the points are data with targets of their own.
    """

    inputs: np.ndarray
    weights: np.ndarray
    rule: str
    targets: np.ndarray | None = None


@functools.cache
def half_range_gauss(n_radii: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the Gauss rule for the weight rho exp(-rho^2/2) on [0, inf); the weights sum to 1.

    The recurrence coefficients come from the discretised Stieltjes (Lanczos) process, the nodes from the eigenvalues
    of the Jacobi matrix. Gauss-Laguerre nodes in rho^2/2 would be worse: phi is smooth in rho, not in rho^2.

    Source: Gautschi, Orthogonal Polynomials (2004), sections 2.2 and 3.1.
    """
    x, dx = np.polynomial.legendre.leggauss(max(400, 12 * n_radii))
    # rho exp(-rho^2/2) is below 1e-40 beyond this, for every node the rule can place.
    top = 14.0 + 2.2 * np.sqrt(n_radii)
    rho = 0.5 * top * (x + 1.0)
    weight = dx * rho * np.exp(-0.5 * rho**2)
    weight /= weight.sum()
    alpha, beta = np.zeros(n_radii), np.zeros(n_radii)
    q_old, q = np.zeros_like(rho), np.sqrt(weight)
    basis = [q]
    for j in range(n_radii):
        alpha[j] = np.sum(rho * q * q)
        if j + 1 == n_radii:
            break
        residue = (rho - alpha[j]) * q - np.sqrt(beta[j]) * q_old
        for vector in basis:  # full reorthogonalisation keeps the recurrence exact to rounding
            residue -= np.dot(vector, residue) * vector
        beta[j + 1] = np.dot(residue, residue)
        q_old, q = q, residue / np.sqrt(beta[j + 1])
        basis.append(q)
    nodes = scipy.linalg.eigvalsh_tridiagonal(alpha, np.sqrt(beta[1:]))
    # Christoffel's formula keeps the relative accuracy of the tiny outer weights; the eigenvectors would lose it.
    before, polynomial = np.zeros(n_radii), np.ones(n_radii)
    total = polynomial**2
    for j in range(n_radii - 1):
        after = ((nodes - alpha[j]) * polynomial - np.sqrt(beta[j]) * before) / np.sqrt(beta[j + 1])
        before, polynomial = polynomial, after
        total += polynomial**2
    return nodes, 1.0 / total


def polar_rule(n_radii: int, n_angles: int) -> Measure:
    """The staggered polar rule for N(0, I_2): half-range radii, angles 2 pi (m + c_j)/n_angles, c_j = frac(golden j).

    Returns:
        n_radii x n_angles points, radius by radius; an even n_angles keeps antipodal pairs.
    """
    radii, radial_weights = half_range_gauss(n_radii)
    shifts = np.modf(GOLDEN_RATIO * np.arange(n_radii))[0]
    angles = 2 * np.pi * (np.arange(n_angles)[None, :] + shifts[:, None]) / n_angles
    inputs = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    if n_angles % 2 == 0:
        # Exactly, not to rounding: kernels share one activation between x and -x.
        inputs[:, n_angles // 2 :] = -inputs[:, : n_angles // 2]
    weights = np.repeat(radial_weights / n_angles, n_angles)
    return Measure(inputs.reshape(-1, 2), weights, f"polar rule, {n_radii} radii x {n_angles} angles")


def grid_rule(n_nodes: int, n_inputs: int) -> Measure:
    """The product Gauss-Hermite rule for N(0, I_d); poor for kinked activations (30 % gradient error at 16 x 16)."""
    if n_nodes**n_inputs > 1_000_000:
        raise MeasureError(
            f'training.rule = "grid": {n_nodes} nodes in {n_inputs} dimensions are too many points; use "sobol"'
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    weights = weights / weights.sum()
    inputs = np.stack(np.meshgrid(*[nodes] * n_inputs, indexing="ij"), axis=-1).reshape(-1, n_inputs)
    product = functools.reduce(np.multiply.outer, [weights] * n_inputs).reshape(-1)
    return Measure(inputs, product, f"Gauss-Hermite grid, {n_nodes} nodes a side")


def sobol_rule(n_points: int, n_inputs: int, seed: int) -> Measure:
    """Scrambled Sobol points through the normal quantile, n_points rounded up to a power of two."""
    exponent = int(np.ceil(np.log2(max(2, n_points))))
    inputs = sobol_normal(exponent, n_inputs, seed, Stream.TRAINING_POINTS)
    return Measure(inputs, np.full(2**exponent, 0.5**exponent), f"Sobol rule, {2**exponent} points")


def sobol_normal(exponent: int, n_columns: int, seed: int, stream: Stream, draw: int = 0) -> np.ndarray:
    """(2^exponent, n_columns) scrambled Sobol points through the normal quantile; one scrambling a draw.

    Each point is a draw of N(0, I); averages over all of them miss by far less than those of independent draws.
    """
    # A quarter of a second at every start for what few recipes ask for.
    from scipy.stats import qmc

    scramble = int(rng.host_generator(seed, stream, draw).integers(2**63))
    uniform = qmc.Sobol(n_columns, scramble=True, rng=scramble).random_base2(exponent)
    return np.asarray(ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)))


def sample_points(n_points: int, n_inputs: int, seed: int, stream: Stream) -> Measure:
    """n_points independent draws of N(0, I_d) with weights 1/n_points."""
    inputs = rng.host_generator(seed, stream).standard_normal((n_points, n_inputs))
    return Measure(inputs, np.full(n_points, 1.0 / n_points), f"{n_points} random points")


def population_measure(training: TrainingSection, n_inputs: int, seed: int) -> Measure:
    """The rule that stands for infinite data.

    Raises:
        MeasureError: a rule that does not exist in that many dimensions.
    """
    first, second = training.rule_size
    if training.rule == "polar" or (training.rule == "batch" and n_inputs == 2):
        if n_inputs != 2:
            raise MeasureError(
                f'training.rule = "polar" is for two inputs, this task has {n_inputs}; use "sobol" or "batch"'
            )
        return polar_rule(first, second)
    if training.rule == "grid":
        return grid_rule(first, n_inputs)
    return sobol_rule(max(first * second, 1024), n_inputs, seed)


def training_measure(training: TrainingSection, task: Task, seed: int) -> Measure:
    """What the network is trained on: the training points where there are some, else the population's rule.

    Raises:
        MeasureError: a rule that does not fit the task, or more training points than its data have.
    """
    if task.points is not None:
        return _own_points(task.points, training.n_points, seed)
    if training.n_points:
        if isinstance(task.inputs, TorusGrid):
            return _torus_sample(training.n_points, seed)
        drawn = sample_points(training.n_points, task.n_inputs, seed, Stream.TRAINING_POINTS)
        return replace(drawn, inputs=signs(drawn.inputs)) if task.inputs == "signs" else drawn
    return judging_measure(training, task, seed)


def judging_measure(training: TrainingSection, task: Task, seed: int) -> Measure:
    """What a network is judged by: the population, or the part of a task's own data that was held back (else all)."""
    own = task.points
    if own is not None:
        if not len(own.test_targets):
            return _own_points(own, 0, seed)
        n = len(own.test_targets)
        return Measure(own.test_inputs, np.full(n, 1.0 / n), f"{n} points held back of {own.source}", own.test_targets)
    if isinstance(task.inputs, TorusGrid):
        return torus_rule(task.inputs)
    if task.inputs == "signs":
        return cube_rule(task.n_inputs, training.rule_size, seed)
    return population_measure(training, task.n_inputs, seed)


def targets_on(measure: Measure, task: Task) -> np.ndarray:
    """(n_points,) or (n_points, n_out) float64: the data's own targets, or the target function at the points."""
    values = measure.targets if measure.targets is not None else task.target(measure.inputs)
    return np.asarray(values, dtype=np.float64)


def _own_points(own: OwnPoints, n_points: int, seed: int) -> Measure:
    n = len(own.targets)
    if n_points > n:
        raise MeasureError(f"training.n_points = {n_points}: {own.source} has {n} training points; 0 takes all of them")
    if 0 < n_points < n:
        chosen = rng.host_generator(seed, Stream.TRAINING_POINTS).permutation(n)[:n_points]
        words = f"{n_points} of {n} points of {own.source}"
        return Measure(own.inputs[chosen], np.full(n_points, own.total_weight / n_points), words, own.targets[chosen])
    return Measure(own.inputs, np.full(n, own.total_weight / n), f"{n} points of {own.source}", own.targets)


def weighted(weights: Any, values: Any) -> Any:
    """weights (n_points,) times values (n_points,) or (n_points, n_out); numpy or torch."""
    return weights.reshape(-1, *(1,) * (values.ndim - 1)) * values


def signs(values: Any) -> Any:
    """+1 where a number is at least 0, else -1; numpy or torch."""
    return 2.0 * (values >= 0) - 1.0 + 0 * values


def torus_rule(grid: TorusGrid) -> Measure:
    """The grid of equal angles on both circles; exact for trigonometric polynomials below n_angles."""
    angle = 2 * np.pi * np.arange(grid.n_angles) / grid.n_angles
    first, second = (values.ravel() for values in np.meshgrid(angle, angle, indexing="ij"))
    n = grid.n_angles**2
    words = f"torus grid, {grid.n_angles} x {grid.n_angles} angles"
    return Measure(_on_torus(first, second), np.full(n, 1.0 / n), words)


def _torus_sample(n_points: int, seed: int) -> Measure:
    angles = rng.host_generator(seed, Stream.TRAINING_POINTS).uniform(0.0, 2 * np.pi, (2, n_points))
    words = f"{n_points} random points of the torus"
    return Measure(_on_torus(*angles), np.full(n_points, 1.0 / n_points), words)


def _on_torus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2**0.5 * np.stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b)], axis=1)


def cube_rule(n_inputs: int, rule_size: tuple[int, int], seed: int) -> Measure:
    """All corners of {-1, 1}^d where they are few, else the signs of Sobol points."""
    if 2**n_inputs <= max(MAX_CORNERS, rule_size[0] * rule_size[1]):
        bits = (np.arange(2**n_inputs)[:, None] >> np.arange(n_inputs)) & 1
        corners = 2.0 * bits - 1.0
        return Measure(corners, np.full(len(corners), 1.0 / len(corners)), f"all {len(corners)} corners of the cube")
    points = sobol_rule(max(rule_size[0] * rule_size[1], MAX_CORNERS), n_inputs, seed)
    return replace(points, inputs=signs(points.inputs), rule=f"{len(points.inputs)} corners of the cube (Sobol)")


def rotation(seed: int, step: int | Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The (2, 2) rotation by the random angle of a step; it leaves the Gaussian as it is."""
    angle = 2 * torch.pi * rng.uniform(seed, Stream.ROTATION, step, 1, 1, device=device, dtype=dtype)[0, 0]
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])
