"""The law of one planar neuron in a frozen field, on a polar grid: density, samples, moments.

    p(w) ~ exp([g(w)^2 / (2 lambda_a) - lambda_w |w|^2 / 2] / T),   a | w ~ N(g(w) / lambda_a, T / lambda_a)

The grid is polar because the field's kink lines run through the origin: a Cartesian grid of the same size is
far from the density.

Source: docs/physics.md, sections 4 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mft_engine.laws.harmonics import SuperlinearActivationError, angular_table
from mft_engine.laws.law import Sample
from mft_engine.network.activations import phi_numpy
from mft_engine.rng import Stream, host_generator

Array = NDArray[np.float64]

N_RADII = 160
N_ANGLES = 240
N_RADII_FIELD = 80
_DEPTH = 30.0
# Features of more points than fit are made anew each time, so many points at once.
MAX_KEPT_BYTES = 400_000_000
BLOCK = 1024
_RADIUS_RATIO = 1.25


class PlanarLaw:
    """One neuron's stationary law in a frozen field.

    It holds for any residual, self-consistent or not: this is mu-hat of a background, and mu* only where the
    residual is the theory's own. At finite width the readout is held more stiffly than by lambda_a alone; then
    l_a(w) stands for lambda_a: p(w) ~ l_a^(-1/2) exp(g^2 / (2 T l_a)) prior, a | w ~ N(g / l_a, T / l_a).

    Attributes:
        rho, angles: (n_rho,), (n_angles,) midpoints of the cells, uniform in xi = sqrt(rho / radius) and angle.
        field: (n_rho, n_angles) g(w) there.
        mass: (n_rho, n_angles) probability of every cell.
        radius: end of the range; the density beyond counts as zero.
        stiffness: (n_rho, n_angles) l_a(w); lambda_a everywhere at infinite width.
        log_partition: log int p0(w) (lambda_a / l_a)^(1/2) exp(g^2 / (2 l_a T)) dw, p0 the normalised prior.
        activation, temperature, lambda_w, lambda_a: of the problem.
    """

    def __init__(
        self,
        field: Array,
        radius: float,
        activation: str,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
        stiffness: Array | None = None,
    ) -> None:
        self.field, self.radius, self.activation = field, radius, activation
        self.temperature, self.lambda_w, self.lambda_a = temperature, lambda_w, lambda_a
        n_rho, n_angles = field.shape
        self._step = 1.0 / n_rho
        self._turn = 2 * np.pi / n_angles
        self.rho = _radii(n_rho, radius)
        self.angles = _angles(n_angles)
        self.stiffness = np.full_like(field, lambda_a) if stiffness is None else stiffness
        exponent = field**2 / (2 * self.stiffness * temperature)
        if stiffness is not None:
            exponent -= 0.5 * np.log(stiffness / lambda_a)
        # rho d(rho) is proportional to xi^3 d(xi)
        exponent += (1.5 * np.log(self.rho) - lambda_w * self.rho**2 / (2 * temperature))[:, None]
        top = float(exponent.max())
        weight = np.exp(exponent - top)
        total = float(weight.sum())
        self.mass = weight / total
        cell = 2 * np.sqrt(radius) * self._step * self._turn
        self.log_partition = top + float(np.log(total * cell) - np.log(2 * np.pi * temperature / lambda_w))
        self._cumulative = np.cumsum(self.mass.ravel())
        self._padded = _pad(field)
        self._padded_stiffness = None if stiffness is None else _pad(stiffness)

    @classmethod
    def from_grid_field(
        cls,
        field: Callable[[Array, Array], Array],
        activation: str,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
        *,
        radius: float,
        n_radii: int = N_RADII,
        n_angles: int = N_ANGLES,
    ) -> PlanarLaw:
        """The law in a field known as a function of (radii, angles) on product grids.

        Args:
            field: (n_rho,), (n_angles,) -> (n_rho, n_angles) g(w).
            activation, temperature, lambda_w, lambda_a: of the problem.
            radius: where the density has ended.
            n_radii, n_angles: cells.
        """
        return cls(
            field(_radii(n_radii, radius), _angles(n_angles)), radius, activation, temperature, lambda_w, lambda_a
        )

    @classmethod
    def from_field(
        cls,
        points: Array,
        signal: Array,
        activation: str,
        temperature: float,
        lambda_w: float,
        lambda_a: float,
        *,
        n_radii: int = N_RADII,
        n_angles: int = N_ANGLES,
        minimum_radius: float = 0.0,
    ) -> PlanarLaw:
        """The law in the frozen field g(w) = sum_mu signal_mu phi(w.x_mu).

        The matrix phi(w.x_mu) on a polar grid is kept between calls with the same points, so a new residual
        costs one product with it.

        Args:
            points: (n_points, 2).
            signal: (n_points,) *weight times residual*, not the residual alone.
            activation, temperature, lambda_w, lambda_a: of the problem.
            n_radii, n_angles: cells of the law.
            minimum_radius: the grid reaches at least so far, for comparison with another law.

        Raises:
            SuperlinearActivationError: the law cannot be normalised.
        """
        angular_table(activation)
        points = np.ascontiguousarray(points, dtype=np.float64)
        signal = np.asarray(signal, dtype=np.float64)
        length = float(np.sqrt(temperature / lambda_w))
        radius = _quantise(8.5 * length)
        key = points.tobytes()
        while True:
            rho = _radii(32, radius)
            probe = features_times(key, activation, radius, 32, 48, signal)
            probe = probe.reshape(32, 48).astype(np.float64)
            exponent = probe**2 / (2 * lambda_a * temperature) - (lambda_w * rho**2 / (2 * temperature))[:, None]
            profile = exponent.max(axis=1) + np.log(rho)
            alive = np.flatnonzero(profile > profile.max() - _DEPTH)
            if not len(alive):
                raise SuperlinearActivationError("the field is too strong: the law of a neuron has no end")
            if not len(alive):
                raise SuperlinearActivationError("the field is too strong: the law of a neuron has no end")
            if alive[-1] < 31:
                radius = _quantise(radius * ((alive[-1] + 1.5) / 32) ** 2)
                break
            radius = _quantise(1.6 * radius)
            if radius > 1e5 * max(length, 1.0):
                raise SuperlinearActivationError("the field is too strong: the law of a neuron has no end")
        radius = max(radius, minimum_radius)
        # g is smooth along rays and kinked across them, at right angles to every point: only the radii are thinned
        coarse = features_times(key, activation, radius, N_RADII_FIELD, n_angles, signal)
        field = radial_upsampling(N_RADII_FIELD, n_radii) @ coarse.reshape(N_RADII_FIELD, n_angles).astype(np.float64)
        return cls(field, radius, activation, temperature, lambda_w, lambda_a)

    def field_at(self, w: Array) -> Array:
        """g at (n, 2) weights by cubic interpolation on the polar grid, (n,)."""
        return self._field_polar(np.hypot(w[:, 0], w[:, 1]), np.arctan2(w[:, 1], w[:, 0]))

    def _stiffness_polar(self, rho: Array, angle: Array) -> Array | float:
        if self._padded_stiffness is None:
            return self.lambda_a
        return np.maximum(self._interpolate(self._padded_stiffness, rho, angle), self.lambda_a)

    def _field_polar(self, rho: Array, angle: Array) -> Array:
        return self._interpolate(self._padded, rho, angle)

    def _interpolate(self, padded: Array, rho: Array, angle: Array) -> Array:
        n_rho, n_angles = self.field.shape
        i = np.minimum(np.sqrt(rho / self.radius) / self._step, n_rho) - 0.5
        j = (angle / self._turn) % n_angles - 0.5
        low_i, low_j = np.floor(i).astype(np.int64), np.floor(j).astype(np.int64)
        across, around = _cubic_weights(i - low_i), _cubic_weights(j - low_j)
        flat, width = padded.ravel(), n_angles + 4
        corner = (low_i + 1) * width + low_j + 1
        result = np.zeros(len(corner))
        for a in range(4):
            ring = corner + a * width
            along = around[0] * flat[ring]
            for b in range(1, 4):
                along += around[b] * flat[ring + b]
            result += across[a] * along
        return result

    def density(self, w: Array) -> Array:
        """p(w) per unit area at (n, 2) weights, (n,); zero beyond `radius`."""
        w = np.asarray(w, dtype=np.float64)
        square = (w**2).sum(axis=1)
        rho, angle = np.sqrt(square), np.arctan2(w[:, 1], w[:, 0])
        stiffness = self._stiffness_polar(rho, angle)
        exponent = self._field_polar(rho, angle) ** 2 / (2 * stiffness * self.temperature)
        exponent -= 0.5 * np.log(stiffness / self.lambda_a)
        exponent -= self.lambda_w * square / (2 * self.temperature) + self.log_partition
        value = np.exp(np.minimum(exponent, 700.0)) * self.lambda_w / (2 * np.pi * self.temperature)
        return np.where(square <= self.radius**2, value, 0.0)

    def mean_readout(self, w: Array) -> Array:
        """E[a | w] = g(w) / l_a(w) at (n, 2) weights, (n,)."""
        w = np.asarray(w, dtype=np.float64)
        rho, angle = np.hypot(w[:, 0], w[:, 1]), np.arctan2(w[:, 1], w[:, 0])
        return self._field_polar(rho, angle) / self._stiffness_polar(rho, angle)

    def cell_density(self, w: Array) -> Array:
        """Density at (n, 2) weights of the law that `sample` draws w from, (n,): constant on every cell.

        This, and not `density`, is what a Metropolis ratio with draws of `sample` as proposals needs.
        """
        n_rho, n_angles = self.mass.shape
        ring = np.floor(np.sqrt(np.hypot(w[:, 0], w[:, 1]) / self.radius) / self._step).astype(np.int64)
        sector = np.floor((np.arctan2(w[:, 1], w[:, 0]) / self._turn) % n_angles).astype(np.int64) % n_angles
        inside = np.minimum(ring, n_rho - 1)
        area = 0.5 * self._turn * self.radius**2 * (((inside + 1) * self._step) ** 4 - (inside * self._step) ** 4)
        return np.where(ring < n_rho, self.mass[inside, sector] / area, 0.0)

    def sample(self, n: int, generator: np.random.Generator) -> Array:
        """Independent neurons: a cell by its mass, a point in it by area, the readout from its normal law.

        Args:
            n: how many.
            generator: from `rng.host_generator`.

        Returns:
            (n, 3) columns w1, w2, a.
        """
        uniform = generator.random((3, n))
        cell = np.searchsorted(self._cumulative, uniform[0] * self._cumulative[-1], side="right")
        ring, sector = np.divmod(np.minimum(cell, self.mass.size - 1), self.mass.shape[1])
        low, high = (ring * self._step) ** 4, ((ring + 1) * self._step) ** 4
        rho = self.radius * np.sqrt(low + uniform[1] * (high - low))
        angle = self._turn * (sector + uniform[2])
        result = np.empty((n, 3))
        result[:, 0] = rho * np.cos(angle)
        result[:, 1] = rho * np.sin(angle)
        stiffness = self._stiffness_polar(rho, angle)
        result[:, 2] = self._field_polar(rho, angle) / stiffness
        result[:, 2] += np.sqrt(self.temperature / stiffness) * generator.standard_normal(n)
        return result

    def draw(self, n: int, *, seed: int, number: int = 0) -> Generator[float, None, Sample]:
        """`sample` as every law has it; at once."""
        yield from ()
        return Sample(self.sample(n, host_generator(seed, Stream.FOREGROUND_GIBBS, number)))

    @property
    def kl(self) -> float:
        """KL of the law of (w, a) from the prior, in nats."""
        mean = self.field / self.stiffness
        square = self.temperature / self.stiffness + mean**2
        shift = mean * self.field - 0.5 * (self.stiffness - self.lambda_a) * square
        return float((self.mass * shift).sum() / self.temperature) - self.log_partition

    @property
    def readout_free_kl(self) -> float:
        """KL of the law of w alone from its prior, in nats."""
        shift = self.field**2 / (2 * self.stiffness * self.temperature)
        shift -= 0.5 * np.log(self.stiffness / self.lambda_a)
        return float((self.mass * shift).sum()) - self.log_partition

    @property
    def moments(self) -> dict[str, float]:
        """E|w|, E|w|^2, E a^2 and E cos(k angle(w)) for k = 2, 3, 4, 6, 8, by name."""
        radial, angular = self.mass.sum(axis=1), self.mass.sum(axis=0)
        result = {
            "mean_norm": float(radial @ self.rho),
            "mean_square_norm": float(radial @ self.rho**2),
            "mean_square_readout": float(
                (self.mass * (self.temperature / self.stiffness + (self.field / self.stiffness) ** 2)).sum()
            ),
        }
        for k in (2, 3, 4, 6, 8):
            result[f"cos{k}"] = float(angular @ np.cos(k * self.angles))
        return result

    def prediction(self, x: Array) -> Array:
        """f(x) = E[a phi(w.x)] of a network made of infinitely many of these neurons.

        By midpoint sums on an 80 x 240 grid (error about 3e-4 of |f|, from the kinks); quick from the second call
        on for a set of at most 512 points, whose features are kept.

        Args:
            x: (n, 2).

        Returns:
            (n,).
        """
        x = np.ascontiguousarray(x, dtype=np.float64)
        rho, angle = _radii(N_RADII_FIELD, self.radius), _angles(N_ANGLES)
        every_rho, every_angle = np.repeat(rho, N_ANGLES), np.tile(angle, N_RADII_FIELD)
        field = self._field_polar(every_rho, every_angle)
        stiffness = self._stiffness_polar(every_rho, every_angle)
        exponent = field**2 / (2 * stiffness * self.temperature) - 0.5 * np.log(stiffness)
        exponent += np.repeat(1.5 * np.log(rho) - self.lambda_w * rho**2 / (2 * self.temperature), N_ANGLES)
        mass = np.exp(exponent - exponent.max())
        signed = mass / mass.sum() * field / stiffness
        if len(x) <= 512:
            features = feature_grid(x.tobytes(), self.activation, self.radius, N_RADII_FIELD, N_ANGLES)
            return (signed.astype(np.float32) @ features).astype(np.float64)
        w = np.stack([np.outer(rho, np.cos(angle)).ravel(), np.outer(rho, np.sin(angle)).ravel()])
        kept = np.abs(signed) > 1e-10 * np.abs(signed).max(initial=0.0)
        result = np.empty(len(x))
        for start in range(0, len(x), 128):
            result[start : start + 128] = phi_numpy(self.activation, x[start : start + 128] @ w[:, kept]) @ signed[kept]
        return result

    def density_image(self, extent: float, n_pixels: int) -> Array:
        """p(w) at the pixel centres of the square [-extent, extent]^2.

        Args:
            extent: half the side.
            n_pixels: along one side.

        Returns:
            (n_pixels, n_pixels), row index along w2 upwards, column index along w1.
        """
        axis = (np.arange(n_pixels) + 0.5) * 2 * extent / n_pixels - extent
        w1, w2 = np.meshgrid(axis, axis)
        return self.density(np.stack([w1.ravel(), w2.ravel()], axis=1)).reshape(n_pixels, n_pixels)

    def marginal_weight(self, values: Array, axis: int = 0) -> Array:
        """Density of w1 (axis 0) or w2 (axis 1) at the (n,) values."""
        other = (np.arange(400) + 0.5) * self.radius / 200 - self.radius
        w = np.empty((len(values) * len(other), 2))
        w[:, axis] = np.repeat(values, len(other))
        w[:, 1 - axis] = np.tile(other, len(values))
        return self.density(w).reshape(len(values), len(other)).sum(axis=1) * self.radius / 200

    def marginal_readout(self, values: Array) -> Array:
        """Density of a at the (n,) values: normal laws mixed over w."""
        mean = (self.field / self.stiffness).ravel()
        deviation = np.sqrt(self.temperature / self.stiffness).ravel()
        result = np.zeros(len(values))
        # laws of equal spread are binned by their mean: one spread at infinite width, a few bands otherwise
        bands = np.unique(np.quantile(deviation, np.linspace(0, 1, 25)))
        band = np.clip(np.searchsorted(bands, deviation, side="right") - 1, 0, len(bands) - 1)
        for b in np.unique(band):
            inside = band == b
            spread = float(np.average(deviation[inside], weights=self.mass.ravel()[inside] + 1e-300))
            n_bins = int(np.clip(40 * np.ptp(mean[inside]) / spread, 1, 4000))
            mass, edges = np.histogram(mean[inside], bins=n_bins, weights=self.mass.ravel()[inside])
            centre = 0.5 * (edges[1:] + edges[:-1])
            kernel = np.exp(-0.5 * ((np.asarray(values)[:, None] - centre) / spread) ** 2)
            result += kernel @ mass / (spread * np.sqrt(2 * np.pi))
        return result


def _pad(values: Array) -> Array:
    """Two rings beyond either end and two angles round the circle, for the interpolation: even in xi."""
    outer = 3 * values[-1] - 3 * values[-2] + values[-3]
    rings = np.vstack([values[1::-1], values, outer, 3 * outer - 3 * values[-1] + values[-2]])
    return np.ascontiguousarray(np.hstack([rings[:, -2:], rings, rings[:, :2]]))


def _radii(n_radii: int, radius: float) -> Array:
    """rho = radius xi^2 at the midpoints of n_radii equal cells of xi: finer inside, where the density lives."""
    result: Array = radius * ((np.arange(n_radii) + 0.5) / n_radii) ** 2
    return result


def _angles(n_angles: int) -> Array:
    """Midpoints of equal cells of the circle."""
    return np.asarray((np.arange(n_angles) + 0.5) * (2 * np.pi / n_angles), dtype=np.float64)


def _cubic_weights(t: Array) -> tuple[Array, Array, Array, Array]:
    """Weights of the values at -1, 0, 1, 2 for Lagrange's cubic at t in [0, 1]."""
    s = 1.0 - t
    return -t * s * (1 + s) / 6, (1 + t) * s * (1 + s) / 2, (1 + t) * t * (1 + s) / 2, -t * s * (1 + t) / 6


def _quantise(value: float) -> float:
    return float(_RADIUS_RATIO ** np.ceil(np.log(value) / np.log(_RADIUS_RATIO) - 1e-9))


def features_times(
    points: bytes, activation: str, radius: float, n_radii: int, n_angles: int, signal: Array
) -> NDArray[np.floating]:
    """sum_mu phi(w.x_mu) signal_mu for every w of the polar midpoint grid, in single precision.

    The features of a set of points are kept for the next signal; of too many for that they are made block by block.

    Args:
        points: the bytes of (n_points, 2); signal: (n_points,) or (n_points, n_signals).

    Returns:
        (n_radii * n_angles,) or (n_radii * n_angles, n_signals).
    """
    x = np.frombuffer(points, dtype=np.float64).reshape(-1, 2)
    signal = signal.astype(np.float32)
    if 4 * n_radii * n_angles * len(x) <= MAX_KEPT_BYTES:
        return feature_grid(points, activation, radius, n_radii, n_angles) @ signal
    total = np.zeros((n_radii * n_angles, *signal.shape[1:]))
    for start in range(0, len(x), BLOCK):
        stop = start + BLOCK
        # Past the cache: a block is not asked for again.
        features = feature_grid.__wrapped__(x[start:stop].tobytes(), activation, radius, n_radii, n_angles)
        total += features @ signal[start:stop]
    return total


@lru_cache(maxsize=5)
def feature_grid(points: bytes, activation: str, radius: float, n_radii: int, n_angles: int) -> NDArray[np.float32]:
    """phi(w.x_mu) for every w of the polar midpoint grid, (n_radii * n_angles, n_points), in single precision."""
    x = np.frombuffer(points, dtype=np.float64).reshape(-1, 2)
    rho, angle = _radii(n_radii, radius), _angles(n_angles)
    along = np.cos(angle)[:, None] * x[:, 0] + np.sin(angle)[:, None] * x[:, 1]
    result = np.empty((n_radii, n_angles, len(x)), dtype=np.float32)
    for i in range(n_radii):
        result[i] = phi_numpy(activation, rho[i] * along)
    return result.reshape(n_radii * n_angles, len(x))


@lru_cache(maxsize=4)
def radial_upsampling(n_radii: int, n_radii_out: int) -> Array:
    """Cubic spline interpolation from n_radii to n_radii_out midpoints of xi, as a matrix."""
    xi = (np.arange(n_radii) + 0.5) / n_radii
    mirrored = np.vstack([np.eye(n_radii)[3::-1], np.eye(n_radii)])
    spline = CubicSpline(np.concatenate([-xi[3::-1], xi]), mirrored)
    return np.asarray(spline((np.arange(n_radii_out) + 0.5) / n_radii_out), dtype=np.float64)
