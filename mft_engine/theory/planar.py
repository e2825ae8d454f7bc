"""Exact infinite-width solution of a two-layer network with planar inputs x ~ N(0, I_2).

    p(w) ~ exp([g(w)^2 / (2 lambda_a) - lambda_w |w|^2 / 2] / T),   a | w ~ N(g / lambda_a, T / lambda_a)
    g(w) = E[r(x) phi(w.x)],   r = y - f,   f(x) = int p(w) (g / lambda_a) phi(w.x) dw

Found as the maximum of the strictly concave dual in r, so there is one solution, a gap, and no damping.

Source: physics.md, section 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander
from numpy.typing import NDArray

from mft_engine.theory.dual import DualState, HarmonicDual, Preconditioner, maximise
from mft_engine.theory.harmonics import (
    N_HARMONICS_MAX,
    RadialKernel,
    angular_table,
    composite_legendre,
    radial_kernel,
    weight_panels,
)
from mft_engine.theory.law import PlanarLaw
from mft_engine.theory.projection import ProjectedTarget, Target, project_target
from mft_engine.theory.symmetry import NO_SYMMETRY, AngularBasis, AngularSymmetry, find_symmetry

Array = NDArray[np.float64]

ORDER_PARAMETERS = (2, 3, 4, 6, 8)
# The density counts as ended where it is exp(-DEPTH) below its highest value.
DEPTH = 36.0
N_HARMONICS = 48
N_ANGLES = 256
N_CHANGES = 16
# Squared norm of f in the highest eighth of the harmonics, and share of the density's highest Fourier
# coefficients on the grid, above which the angular resolution is doubled.
TAIL_OUTPUT = 1e-9
TAIL_DENSITY = 1e-6
# Probability by which a panel may differ from the same panel cut in two.
PANEL_ERROR = 1e-7


@dataclass(frozen=True)
class PlanarTheory:
    """The infinite-width law and what follows from it.

    Meanings as in the reference table: loss is E(y - f)^2 without the half, alignment is E[y f]/E[y^2],
    free_energy is loss/2 + T KL of (w, a), `readout_free_kl` is the KL of w alone.

    Attributes:
        loss, target_power, alignment, free_energy, gap: of the solution; gap = F - D on the solver's grid.
        kl, readout_free_kl: of (w, a) and of w from the prior, in nats.
        mean_norm, mean_square_norm, mean_square_readout: E|w|, E|w|^2, E a^2.
        order_parameters: {"cos2": E cos(2 angle(w)), ...}.
        trace_covariance: Tr C, C = Cov(a phi) under the measure of x: N times the variance of an iid
            foreground's function.
        seconds, n_iterations: cost of the solve.
        activation, temperature, lambda_w, lambda_a: the problem.
    """

    loss: float
    target_power: float
    alignment: float
    free_energy: float
    gap: float
    kl: float
    readout_free_kl: float
    mean_norm: float
    mean_square_norm: float
    mean_square_readout: float
    order_parameters: dict[str, float]
    trace_covariance: float
    seconds: float
    n_iterations: int
    activation: str
    temperature: float
    lambda_w: float
    lambda_a: float
    target: Target = field(repr=False)
    _dual: HarmonicDual = field(repr=False)
    _state: DualState = field(repr=False)
    _right: Array = field(repr=False)
    _projected: ProjectedTarget = field(repr=False)
    _symmetry: AngularSymmetry = field(repr=False)
    _preconditioner: Preconditioner = field(repr=False)
    _resolution: tuple[int, int] = field(repr=False)

    def prediction(self, x: Array) -> Array:
        """The infinite-width network's function f.

        Args:
            x: (n, 2) inputs.

        Returns:
            (n,).
        """
        x = np.asarray(x, dtype=np.float64)
        s, u = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
        if not len(self._dual.target):
            return np.zeros(len(x))
        return np.einsum("hn,hn->n", self._radial_prediction(s), self._dual.basis.at(u))

    def _radial_prediction(self, s: Array) -> Array:
        """(n_basis, n) f_h(s), by the nodes' polynomials inside and from the density beyond them."""
        kernel, basis = self._dual.kernel, self._dual.basis
        at_nodes = np.matmul(self._right, self._state.output.reshape(*self._dual.shape, 1))[:, :, 0]
        at_nodes = at_nodes / np.sqrt(kernel.s_weights)
        breaks = kernel.s_breaks
        n_nodes = len(kernel.s) // (len(breaks) - 1)
        to_series = np.linalg.inv(legvander(leggauss(n_nodes)[0], n_nodes - 1))
        result = np.empty((len(basis.harmonics), len(s)))
        panel = np.clip(np.searchsorted(breaks, s, side="right") - 1, 0, len(breaks) - 2)
        is_beyond = s > 0.85 * breaks[-1]
        for p in range(len(breaks) - 1):
            inside = (panel == p) & ~is_beyond
            low, high = breaks[p : p + 2]
            series = at_nodes[:, p * n_nodes : (p + 1) * n_nodes] @ to_series.T
            result[:, inside] = series @ legvander((2 * s[inside] - low - high) / (high - low), n_nodes - 1).T
        if is_beyond.any():
            state = self._state
            density = (state.mass * state.field) @ basis.values.T / self.lambda_a
            for start in range(0, int(is_beyond.sum()), 256):
                rows = np.flatnonzero(is_beyond)[start : start + 256]
                values = kernel.table(np.outer(kernel.rho, s[rows]), basis.harmonics)
                result[:, rows] = np.einsum("ih,inh->hn", density, values)
        return result

    def residual(self, x: Array) -> Array:
        """r = y - f at (n, 2) inputs: the field of the infinitely wide background, (n,)."""
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(self.target(x), dtype=np.float64).reshape(len(x)) - self.prediction(x)

    def field(self, rho: Array, angles: Array) -> Array:
        """g(w) = E[r phi(w.x)] on a product grid of radii and angles, (n_rho, n_angles)."""
        dual = self._dual
        radial = np.matmul(dual.left, self._state.point.reshape(*dual.shape, 1))[:, :, 0]
        return dual.kernel.interpolate(radial, rho).T @ dual.basis.at(angles)

    @cached_property
    def law(self) -> PlanarLaw:
        """The law of one neuron, ready to be sampled and drawn."""
        return PlanarLaw.from_grid_field(
            self.field, self.activation, self.temperature, self.lambda_w, self.lambda_a, radius=self.radius
        )

    @property
    def radius(self) -> float:
        """Length of w beyond which the density is exp(-30) below its highest value."""
        rho = self._dual.kernel.rho
        alive = _log_profile(self._dual, self._state) > -30.0
        return float(rho[np.flatnonzero(alive)[-1]])

    @cached_property
    def trace_response(self) -> float:
        """Tr C (I + C/T)^-1: N times the mean-square fluctuation of an equilibrium background's function.

        C has sectors that the target's symmetry forbids to f, so this needs all harmonics: some tenths of a
        second, made when first asked for. Directions beyond the harmonics kept have eigenvalues far below T,
        where C (I + C/T)^-1 = C; they enter through Tr C.
        """
        kernel, full = (
            self._dual.kernel,
            NO_SYMMETRY.basis(25, 128, angular_table(self.activation).is_visible),
        )
        n_rho, n_t = len(kernel.rho), len(full.angles)
        left, _ = _stack(kernel, full)
        values = self.field(kernel.rho, full.angles)
        exponent = 0.5 * values**2 / (self.lambda_a * self.temperature)
        dual = HarmonicDual(
            kernel,
            full,
            left,
            np.zeros((left.shape[0], left.shape[2])),
            self.temperature,
            self.lambda_w,
            self.lambda_a,
        )
        log_mass = exponent + dual.log_prior
        mass = np.exp(log_mass - log_mass.max()).reshape(n_rho, n_t)
        mass /= mass.sum()
        rank = min(12, dual.shape[1])
        output = dual.from_density(mass * values).reshape(dual.shape)[:, :rank].ravel() / self.lambda_a
        weight = mass * (self.temperature / self.lambda_a + (values / self.lambda_a) ** 2)
        covariance = dual.second_moment(weight, np.arange(dual.shape[0]), rank)
        covariance -= np.outer(output, output)
        eigenvalues = np.linalg.eigvalsh(covariance)
        kept = float((eigenvalues / (1 + eigenvalues / self.temperature)).sum())
        return kept + max(0.0, self.trace_covariance - float(eigenvalues.sum()))


def _stack(kernel: RadialKernel, basis: AngularBasis) -> tuple[Array, Array]:
    """Radial factors of every basis function, padded with zeros to one rank: left, right."""
    factors = kernel.factors(basis.harmonics)
    rank = max((left.shape[1] for left, _ in factors), default=0)
    left = np.zeros((len(factors), len(kernel.rho), rank))
    right = np.zeros((len(factors), len(kernel.s), rank))
    for h, (one, other) in enumerate(factors):
        left[h, :, : one.shape[1]] = one
        right[h, :, : other.shape[1]] = other
    return left, right


def _target_coordinates(projected: ProjectedTarget, basis: AngularBasis, kernel: RadialKernel, right: Array) -> Array:
    """Coordinates of y in the visible functions, (n_basis, rank)."""
    turned = projected.coefficients[basis.harmonics] * np.exp(1j * basis.harmonics * basis.offset)[:, None]
    radial = np.where(basis.is_sine[:, None], -turned.imag, turned.real)
    radial = radial * np.where(basis.harmonics == 0, 1.0, np.sqrt(2.0))[:, None] * np.sqrt(kernel.s_weights)
    return np.matmul(np.swapaxes(right, 1, 2), radial[:, :, None])[:, :, 0]


def _quantise(value: float, ratio: float) -> float:
    """The smallest power of `ratio` not below value, so that a slider drag meets the same grids again."""
    return float(ratio ** np.ceil(np.log(value) / np.log(ratio) - 1e-9))


def _log_profile(dual: HarmonicDual, state: DualState) -> Array:
    """log of the highest mass per unit radius at every rho, relative to its top, (n_rho,)."""
    profile = state.mass.max(axis=1) / dual.kernel.rho_weights
    with np.errstate(divide="ignore"):
        return np.log(profile / profile.max())


def _better_panels(dual: HarmonicDual, state: DualState, kernel: RadialKernel) -> tuple[float, ...]:
    """The radial panels that the solution asks for: more where it has not ended, halves where unresolved.

    The field is smooth on a panel even where the density is not, so the density on halved panels needs no new
    solve: the field is interpolated.
    """
    panels = kernel.panels
    if _log_profile(dual, state)[-1] > -DEPTH and panels[-1] < 1e4:
        extended = list(panels)
        width = panels[-1] - panels[-2]
        while extended[-1] < 1.5 * panels[-1]:
            extended.append(extended[-1] + width)
        return tuple(extended)
    middles = 0.5 * (kernel.rho_breaks[1:] + kernel.rho_breaks[:-1])
    breaks = np.sort(np.concatenate([kernel.rho_breaks, middles]))
    rho, weights = composite_legendre(breaks, len(kernel.rho) // len(middles))
    radial = np.matmul(dual.left, state.point.reshape(*dual.shape, 1))[:, :, 0]
    fields = kernel.interpolate(radial, rho).T @ dual.basis.values
    log_mass = fields**2 / (2 * dual.lambda_a * dual.temperature) + dual.log_prior_at(rho, weights)
    log_mass -= state.log_partition
    fine = np.exp(np.minimum(log_mass, 50.0)).sum(axis=1).reshape(len(middles), -1).sum(axis=1)
    coarse = state.mass.sum(axis=1).reshape(len(middles), -1).sum(axis=1)
    unresolved = np.abs(fine - coarse) > PANEL_ERROR
    return tuple(float(r) for r in np.sort(np.concatenate([kernel.rho_breaks, middles[unresolved]])))


def _tails(dual: HarmonicDual, state: DualState) -> tuple[float, float]:
    """Squared norms of f in the highest eighth of its harmonics and of the density's highest grid harmonics."""
    harmonics = dual.basis.harmonics
    if dual.basis.is_round or not len(harmonics):
        return 0.0, 0.0
    top = harmonics >= 0.875 * (harmonics.max() + 1)
    output = state.output.reshape(dual.shape)
    density = (state.mass * state.field**2).sum(axis=0)
    # the even extension of a reflected piece is periodic
    spectrum = np.abs(np.fft.rfft(np.concatenate([density, density[::-1]]) if dual.basis.is_reflected else density))
    cut = int(0.8 * len(spectrum))
    return float((output[top] ** 2).sum()), float(spectrum[cut:].max() / max(spectrum[0], 1e-300))


def solve_planar(
    target: Target,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    *,
    warm: PlanarTheory | None = None,
    tolerance: float = 1e-8,
    should_stop: Callable[[], bool] | None = None,
    resolution: int = 1,
) -> PlanarTheory:
    """Solve the infinite-width problem of a planar task with x ~ N(0, I_2).

    The regularisation is per coordinate: lambda_w = scale * input_weight, lambda_a = scale * readout.

    Args:
        target: (n, 2) inputs -> (n,) targets; pass the *same* callable when dragging a slider.
        activation: name.
        temperature: T > 0.
        lambda_w, lambda_a: > 0.
        warm: solution of a neighbouring problem with the same target and activation; else ignored.
        tolerance: of |grad D|; the gap is half its square.
        should_stop: asked at every iteration; True abandons the solve.
        resolution: multiplies all grids; 2 or 3 to check what 1 says (the angular grids grow by themselves).

    Returns:
        the solution.

    Raises:
        ValueError: T or lambda is not positive, or the target is not finite.
        SuperlinearActivationError: no law exists for this activation.
        SolveStopped: `should_stop` answered True.

    Source: physics.md, section 4.
    """
    begin = time.perf_counter()
    for name, value in (("temperature", temperature), ("lambda_w", lambda_w), ("lambda_a", lambda_a)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}")
    table = angular_table(activation)
    if warm is not None and (warm.target is not target or warm.activation != activation):
        warm = None
    length = float(np.sqrt(temperature / lambda_w))
    scale = _quantise(length, 2.0) / (2.0 * resolution)
    panels = weight_panels(scale, _quantise(8.5 * length, 1.25))
    n_harmonics, n_angles = N_HARMONICS * resolution, N_ANGLES * resolution
    if warm is not None:
        n_harmonics, n_angles = warm._resolution
        held, previous = warm._preconditioner, (warm._dual, warm._state, warm._right)
        if len(warm._dual.kernel.panels) < 2 * len(panels):
            panels = warm._dual.kernel.panels
        projected, symmetry = warm._projected, warm._symmetry
    kernel = radial_kernel(activation, panels)
    if warm is None:
        held, previous = Preconditioner(), None
        projected = project_target(target, kernel.s, kernel.s_weights, kernel.s_breaks, N_HARMONICS_MAX)
        symmetry = find_symmetry(projected.coefficients, kernel.s_weights, table.is_visible)
    n_iterations = 0
    for n_changes in range(N_CHANGES):
        basis = symmetry.basis(n_harmonics, n_angles, table.is_visible)
        left, right = _stack(kernel, basis)
        aim = _target_coordinates(projected, basis, kernel, right)
        dual = HarmonicDual(kernel, basis, left, aim, temperature, lambda_w, lambda_a)
        start = np.zeros_like(aim) if previous is None else _carry(previous, dual, right)
        state, n = maximise(dual, start.ravel(), tolerance, preconditioner=held, should_stop=should_stop)
        n_iterations += n
        previous = (dual, state, right)
        tail_output, tail_density = _tails(dual, state)
        is_even = tail_output < TAIL_OUTPUT and tail_density < TAIL_DENSITY
        panels = _better_panels(dual, state, kernel)
        if n_changes + 1 == N_CHANGES or (panels == kernel.panels and is_even):
            break
        kernel = radial_kernel(activation, panels)
        if tail_density >= TAIL_DENSITY or tail_output >= TAIL_OUTPUT:
            n_angles = min(2 * n_angles, 8 * N_ANGLES * resolution)
        if tail_output >= TAIL_OUTPUT:
            n_harmonics = min(2 * n_harmonics, N_HARMONICS_MAX)
    return _report(
        target, activation, temperature, lambda_w, lambda_a, dual, state, right, projected, symmetry, held,
        (n_harmonics, n_angles), time.perf_counter() - begin, n_iterations,
    )  # fmt: skip


def _carry(previous: tuple[HarmonicDual, DualState, Array], dual: HarmonicDual, right: Array) -> Array:
    """A solution's residual in the coordinates of another grid."""
    old, state, old_right = previous
    start = np.zeros(dual.shape)
    if old.kernel is dual.kernel and old.shape == dual.shape:
        return state.point.reshape(dual.shape)
    index = {
        (int(k), bool(sine)): h for h, (k, sine) in enumerate(zip(old.basis.harmonics, old.basis.is_sine, strict=True))
    }
    point = state.point.reshape(old.shape)
    for h, (k, sine) in enumerate(zip(dual.basis.harmonics, dual.basis.is_sine, strict=True)):
        source = index.get((int(k), bool(sine)))
        if source is not None:
            start[h] = right[h].T @ (old_right[source] @ point[source])
        else:
            start[h] = dual.target.reshape(dual.shape)[h]
    return start


def _report(
    target: Target,
    activation: str,
    temperature: float,
    lambda_w: float,
    lambda_a: float,
    dual: HarmonicDual,
    state: DualState,
    right: Array,
    projected: ProjectedTarget,
    symmetry: AngularSymmetry,
    held: Preconditioner,
    resolution: tuple[int, int],
    seconds: float,
    n_iterations: int,
) -> PlanarTheory:
    """All numbers of a solution."""
    kernel, basis = dual.kernel, dual.basis
    radial_mass, angular_mass = state.mass.sum(axis=1), state.mass.sum(axis=0)
    mean_square_field = float((state.mass * state.field**2).sum())
    shift = mean_square_field / (lambda_a * temperature)
    # power that the network cannot see at all is added to the visible loss
    loss = projected.power - float(dual.target @ dual.target) + float(((dual.target - state.output) ** 2).sum())
    kl = max(0.0, shift - state.log_partition)
    spread = (state.mass * (temperature / lambda_a + (state.field / lambda_a) ** 2)).sum(axis=1)
    return PlanarTheory(
        loss=loss,
        target_power=projected.power,
        alignment=float(dual.target @ state.output) / projected.power if projected.power > 0 else 0.0,
        free_energy=0.5 * loss + temperature * kl,
        gap=0.5 * float(state.gradient @ state.gradient),
        kl=kl,
        readout_free_kl=max(0.0, 0.5 * shift - state.log_partition),
        mean_norm=float(radial_mass @ kernel.rho),
        mean_square_norm=float(radial_mass @ kernel.rho**2),
        mean_square_readout=temperature / lambda_a + mean_square_field / lambda_a**2,
        order_parameters={f"cos{k}": basis.mean_cosine(k, angular_mass) for k in ORDER_PARAMETERS},
        trace_covariance=float(spread @ kernel.mean_square) - float(state.output @ state.output),
        seconds=seconds,
        n_iterations=n_iterations,
        activation=activation,
        temperature=temperature,
        lambda_w=lambda_w,
        lambda_a=lambda_a,
        target=target,
        _dual=dual,
        _state=state,
        _right=right,
        _projected=projected,
        _symmetry=symmetry,
        _preconditioner=held,
        _resolution=resolution,
    )
