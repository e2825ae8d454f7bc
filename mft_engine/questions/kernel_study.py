"""The data kernels of a run side by side: initial cloud, background, foreground, and whether the last two agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mft_engine import rng
from mft_engine.network.activations import Activation
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.data_kernel import thinned
from mft_engine.questions.kernel_spectrum import (
    KernelSpectrum,
    eigenfunctions_at,
    shares_of_target,
    spectrum_of,
    weighted_features,
)
from mft_engine.rng import Stream

# Neurons are exchangeable and points may be thinned: so many give spectra to a per cent in tens of milliseconds.
MAX_NEURONS = 2**12
MAX_POINTS = 512
N_MAPS = 6
N_PIXELS = 40
EXTENT = 3.0
N_PERMUTATIONS = 299
# Leading eigenfunctions of the pooled kernel in which clouds are compared; the rest holds next to nothing of |K|.
N_COMPARED = 24
# A finite cloud splits a pair that is equal in law by c standard errors or more with probability exp(-c^2/2), the gap
# of a random symmetric 2 x 2 matrix: three leave one pair in ninety apart.
CLUSTER = 3.0
# Eigenvalues of the summary.
N_WRITTEN = 10
# The step of the permutation stream, whose first is the cloud comparison's.
PERMUTATION_STEP = 1

Array = np.ndarray


@dataclass(frozen=True)
class KernelAgreement:
    """How far two clouds' kernels are apart, and how far exchanged neurons would be.

    Attributes:
        distance: |K_bg - K_fg| / |K_pooled| (Hilbert-Schmidt, under the measure of x).
        null: (n_permutations,) the same after exchanging neurons at random; null_mean, null_95 of it.
        p_value: (1 + #{null >= distance}) / (1 + n_permutations).
    """

    distance: float
    null: Array
    p_value: float

    @property
    def null_mean(self) -> float:
        """Mean of the null."""
        return float(self.null.mean())

    @property
    def null_95(self) -> float:
        """95 % quantile of the null."""
        return float(np.quantile(self.null, 0.95))


@dataclass(frozen=True)
class DataKernels:
    """Spectra of the clouds of one run on the same points.

    Among eigenvalues of the background that its errors cannot tell apart, the foreground's functions are turned towards
    the background's: an arbitrary turn of a pair is no difference. Eigenvalues stay as they are.

    Attributes:
        initial, background, foreground: their spectra; foreground None before it is sampled.
        change: 1 - <K, K'>/(|K| |K'|) between initial and background, 0 where no feature was learnt.
        agreement: of background and foreground.
        background_maps, foreground_maps: (n_maps, n_pixels, n_pixels) eigenfunctions on a square of the plane, row = x2
            ascending; None for other inputs, and where they were not asked for.
        extent: half the side of that square.
        theory: the spectrum of the infinite-width law on the same points, its functions turned alike; None without one.
        n_points: points that stand for the measure; n_neurons: of each cloud, {"initial": ...}.
    """

    initial: KernelSpectrum
    background: KernelSpectrum
    foreground: KernelSpectrum | None
    change: float
    agreement: KernelAgreement | None
    background_maps: Array | None
    foreground_maps: Array | None
    extent: float
    n_points: int
    n_neurons: dict[str, int]
    theory: KernelSpectrum | None = None

    @property
    def spectra(self) -> dict[str, KernelSpectrum]:
        """By name, those that are there."""
        named = {"initial": self.initial, "background": self.background, "foreground": self.foreground}
        return {name: spectrum for name, spectrum in named.items() if spectrum is not None}

    def to_dict(self) -> dict[str, Any]:
        """The `kernel` block of the summary."""
        block: dict[str, Any] = {
            name: {
                "eigenvalues": [float(v) for v in spectrum.eigenvalues[:N_WRITTEN]],
                "eigenvalues_error": [float(v) for v in spectrum.errors[:N_WRITTEN]],
                "target_shares": [float(v) for v in spectrum.target_shares[:N_WRITTEN]],
                "target_alignment": spectrum.alignment,
                "effective_rank": spectrum.effective_rank,
                "trace": spectrum.trace,
            }
            for name, spectrum in self.spectra.items()
        }
        agreement = self.agreement
        return {
            "n_points": self.n_points,
            **block,
            "change": self.change,
            "distance": agreement.distance if agreement else None,
            "null_mean": agreement.null_mean if agreement else None,
            "null_95": agreement.null_95 if agreement else None,
            "p_value": agreement.p_value if agreement else None,
        }


def study_kernels(
    initial: Array,
    background: Array,
    foreground: Array | None,
    points: FieldPoints,
    activation: Activation,
    *,
    seed: int = 0,
    n_pixels: int = N_PIXELS,
    n_permutations: int = N_PERMUTATIONS,
    law: Array | None = None,
) -> Iterator[float | DataKernels]:
    """Spectra, target shares and agreement of a run's clouds, telling the fraction done and at last the DataKernels.

    More than MAX_POINTS points are thinned, of more than MAX_NEURONS neurons the first are taken.

    Args:
        initial, background, foreground: (n_neurons, n_params) clouds; points: the measure with the target on it.
        seed: of the permutations; n_pixels: along a side of the maps, 0 for none (other than two inputs have none).
        law: (n, n_params) neurons of the infinite-width law.

    Yields:
        fractions in (0, 1), then the DataKernels.
    """
    kept = thinned(len(points.inputs), MAX_POINTS, points.inputs.shape[1])
    inputs, targets = points.inputs[kept], points.targets[kept]
    weights = points.weights[kept] / points.weights[kept].sum()
    given = {"initial": initial, "background": background, "foreground": foreground}
    clouds = {name: cloud[:MAX_NEURONS] for name, cloud in given.items() if cloud is not None}
    features: dict[str, Array] = {}
    spectra: dict[str, KernelSpectrum] = {}
    for number, (name, cloud) in enumerate(clouds.items()):
        features[name] = weighted_features(cloud, inputs, weights, activation)
        spectra[name] = spectrum_of(features[name], weights, targets)
        yield 0.15 * (number + 1)
    agreement = None
    if "foreground" in features:
        agreement = kernel_agreement(features["background"], features["foreground"], n_permutations, seed)
        yield 0.6
    maps: dict[str, Array | None] = {"background": None, "foreground": None}
    if n_pixels and inputs.shape[1] == 2:
        line = (np.arange(n_pixels) + 0.5) / n_pixels * 2 * EXTENT - EXTENT
        x1, x2 = np.meshgrid(line, line)
        grid = np.stack([x1.ravel(), x2.ravel()], axis=1)
        for name in (name for name in maps if name in clouds):
            # A turn mixes functions, of which some may lie beyond those that are shown.
            shown = eigenfunctions_at(spectra[name], clouds[name], inputs, weights, activation, grid, 2 * N_MAPS)
            maps[name] = shown.reshape(-1, n_pixels, n_pixels)
            yield 0.9
    if "foreground" in spectra:
        turn = turn_towards(spectra["background"], spectra["foreground"], weights)
        spectra["foreground"] = _turned(spectra["foreground"], turn, weights, targets)
        own = maps["foreground"]
        if own is not None:
            maps["foreground"] = np.tensordot(turn[: len(own), : len(own)], own, axes=1)
    theory = None
    if law is not None:
        theory = spectrum_of(weighted_features(law[:MAX_NEURONS], inputs, weights, activation), weights, targets)
        turn = turn_towards(spectra["background"], theory, weights)
        theory = _turned(theory, turn, weights, targets)
    kernels = [(part @ part.T) / part.shape[1] for part in (features["initial"], features["background"])]
    overlap = np.sum(kernels[0] * kernels[1]) / (np.linalg.norm(kernels[0]) * np.linalg.norm(kernels[1]))
    yield DataKernels(
        initial=spectra["initial"],
        background=spectra["background"],
        foreground=spectra.get("foreground"),
        change=float(1.0 - overlap),
        agreement=agreement,
        background_maps=_first(maps["background"]),
        foreground_maps=_first(maps["foreground"]),
        extent=EXTENT,
        n_points=len(inputs),
        n_neurons={name: len(cloud) for name, cloud in clouds.items()},
        theory=theory,
    )


def kernel_agreement(
    first: Array, second: Array, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> KernelAgreement:
    """Whether two clouds have one kernel: the Hilbert-Schmidt distance against exchanges of neurons between them.

        |K_1 - K_2|^2 = |sum_i h_i c_i c_i'|^2,   h_i = 1/n_1 or -1/n_2,   c_i = U' b_i

    U are the leading eigenvectors of the pooled kernel, which no exchange changes, so that the test stays exact.

    Args:
        first, second: (n_points, n_neurons) from `kernel_spectrum.weighted_features`.
    """
    n_first, n_second = first.shape[1], second.shape[1]
    pool = np.concatenate([first, second], axis=1)
    pooled = pool @ pool.T / (n_first + n_second)
    _, vectors = np.linalg.eigh(pooled)
    n_compared = min(N_COMPARED, len(pooled))
    parts = (vectors[:, -n_compared:].T @ pool).astype(np.float32)
    rows, columns = np.triu_indices(n_compared)
    products = parts[rows] * parts[columns]
    products -= products.mean(axis=1, keepdims=True)
    # Every pair of unequal indices stands for two entries of the matrix.
    multiplicities = np.where(rows == columns, 1.0, 2.0)
    labels = np.empty((1 + n_permutations, n_first + n_second), dtype=np.float32)
    labels[:, :n_first], labels[:, n_first:] = 1.0 / n_first, -1.0 / n_second
    generator = rng.host_generator(seed, Stream.PERMUTATION, PERMUTATION_STEP)
    generator.permuted(labels[1:], axis=1, out=labels[1:])
    differences = (labels @ products.T).astype(np.float64)
    distances = np.sqrt(differences**2 @ multiplicities) / max(float(np.linalg.norm(pooled)), 1e-300)
    distance, null = float(distances[0]), distances[1:]
    # Sums in another order: an exchange of equal neurons is a tie although its last digits differ.
    reached = np.count_nonzero(null >= distance * (1 - 1e-5))
    return KernelAgreement(distance, null, float((1 + reached) / (1 + n_permutations)))


def turn_towards(reference: KernelSpectrum, other: KernelSpectrum, weights: Array) -> Array:
    """The (n_functions, n_functions) turn of the other's functions towards the reference's, orthogonal.

    It mixes only functions whose eigenvalues in the reference lie within CLUSTER standard errors of the first of them.
    """
    n = len(reference.functions)
    turn = np.eye(n)
    for first, last in _clusters(reference.eigenvalues[:n], reference.errors[:n]):
        overlap = (reference.functions[first:last] * weights) @ other.functions[first:last].T
        left, _, right = np.linalg.svd(overlap)
        turn[first:last, first:last] = left @ right
    return turn


def _clusters(eigenvalues: Array, errors: Array) -> Iterator[tuple[int, int]]:
    first = 0
    for k in range(1, len(eigenvalues) + 1):
        is_end = k == len(eigenvalues)
        if is_end or not eigenvalues[first] - eigenvalues[k] < CLUSTER * np.hypot(errors[first], errors[k]):
            yield first, k
            first = k


def _turned(spectrum: KernelSpectrum, turn: Array, weights: Array, targets: Array) -> KernelSpectrum:
    functions = turn @ spectrum.functions
    shares = shares_of_target(functions, weights, targets)
    return replace(spectrum, functions=functions, target_shares=shares)


def _first(maps: Array | None) -> Array | None:
    return None if maps is None else maps[:N_MAPS]


def last_of(answers: Iterator[float | DataKernels]) -> DataKernels:
    """The study run to its end."""
    *_, kernels = answers
    assert isinstance(kernels, DataKernels)
    return kernels


__all__: Sequence[str] = ["DataKernels", "KernelAgreement", "kernel_agreement", "last_of", "study_kernels"]
