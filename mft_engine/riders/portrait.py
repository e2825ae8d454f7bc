"""A watched layer as it stands, in numbers that need no model: clouds, activation functions, data kernel, curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mft_engine.compare.clouds import MIN_PERMUTATIONS, Comparison, compare
from mft_engine.device import to_host
from mft_engine.riders.independence import Independence
from mft_engine.riders.neurons import Layer, Tensors
from mft_engine.riders.outliers import Outliers
from mft_engine.riders.record import Exchange, Record
from mft_engine.runs.origin import origin
from mft_engine.runs.watched import WatchedRun

# Inputs at which activation functions are looked at, and how many of their components and eigenvalues are kept.
N_PROBES = 256
N_COMPONENTS = 3
N_EIGENVALUES = 32
# Neurons a cloud for the curve along the training.
N_CURVE = 256


class Watched(Protocol):
    """What a portrait is made of: `watch.Watch` is one."""

    layer: Layer
    seed: int
    record: Record

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clouds' columns."""

    @property
    def n_inputs(self) -> int:
        """Columns before the readouts."""

    @property
    def n_steps(self) -> int:
        """Of the optimiser."""

    @property
    def background(self) -> Tensor:
        """The network's neurons now."""

    @property
    def foreground(self) -> Tensor:
        """The riders now."""

    @property
    def initial_background(self) -> Tensor:
        """The neurons when the watch began."""

    @property
    def initial_foreground(self) -> Tensor:
        """The riders then."""

    @property
    def initial_check(self) -> Comparison:
        """Both as they began."""

    @property
    def moved(self) -> tuple[float, float]:
        """How far both went."""

    @property
    def probe(self) -> Tensor | None:
        """Inputs that were seen last."""

    @property
    def optimizer_words(self) -> str:
        """What trains the layer."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Losses with other neurons in place."""

    def compare(self) -> Comparison:
        """Whether neurons and riders have one law."""

    def independence(self) -> Independence:
        """Whether the neurons come in groups."""

    def outliers(self) -> Outliers:
        """Which stand out."""

    def sentences(self, independence: Independence, outliers: Outliers) -> list[str]:
        """What stands beside the verdict."""


def portrait(watch: Watched, name: str) -> WatchedRun:
    """Everything that is known of a watch, as values.

    Raises:
        WatchError: the riders could not follow.
    """
    clouds = {
        "background": watch.background,
        "foreground": watch.foreground,
        "initial_background": watch.initial_background,
        "initial_foreground": watch.initial_foreground,
    }
    functions = functions_of(watch.layer, clouds, watch.probe)
    start, now = watch.initial_check, watch.compare()
    independence, outliers, moved = watch.independence(), watch.outliers(), watch.moved
    exchanges = watch.exchanges
    about: dict[str, Any] = {
        "name": name,
        "layer": watch.layer.words,
        "optimizer": watch.optimizer_words,
        "n_steps": watch.n_steps,
        "seed": watch.seed,
        "n_neurons": len(clouds["background"]),
        "n_foreground": len(clouds["foreground"]),
        "n_inputs": watch.n_inputs,
        "columns": list(watch.names),
        "moved": {"background": moved[0], "foreground": moved[1]},
        "kernel_change": functions.kernel_change,
        "independence": {"spacing": independence.spacing, "p_value": independence.p_value},
        "outliers": {"indices": outliers.indices.tolist(), "expected": outliers.expected, "p_value": outliers.p_value},
        "exchange": exchanges[-1].sentence if exchanges else "",
        "loss": exchanges[-1].network if exchanges and math.isfinite(exchanges[-1].network) else None,
        "sentences": ([now.what_differs] if now.what_differs else []) + watch.sentences(independence, outliers),
        "stopped": "",
        **origin(),
    }
    ks = sorted({k for exchange in exchanges for k in exchange.thinned}, reverse=True)
    asked = {
        "step": np.array([exchange.step for exchange in exchanges]),
        "network": np.array([exchange.network for exchange in exchanges]),
        "riders": np.array([exchange.riders for exchange in exchanges]),
        **{str(k): np.array([exchange.thinned.get(k, np.nan) for exchange in exchanges]) for k in ks},
    }
    snapshots = dict(zip(("background", "foreground"), watch.record.clouds(), strict=True))
    return WatchedRun(
        about,
        {name: to_host(cloud) for name, cloud in clouds.items()},
        start,
        now,
        _curves(watch, snapshots),
        asked if exchanges else {},
        snapshots,
        functions.components,
        functions.spectra,
    )


def _curves(watch: Watched, snapshots: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    moved = watch.record.moved()
    answers = [
        compare(ours[:N_CURVE], theirs[:N_CURVE], watch.n_inputs, n_permutations=MIN_PERMUTATIONS, seed=watch.seed)
        for ours, theirs in zip(snapshots["background"], snapshots["foreground"], strict=True)
    ]
    return {
        "step": np.array(watch.record.steps),
        "moved_background": moved[:, 0],
        "moved_foreground": moved[:, 1],
        "ratio": np.array([answer.ratio for answer in answers]),
        "p_value": np.array([answer.p_value for answer in answers]),
    }


@dataclass(frozen=True)
class Functions:
    """What neurons answer to inputs that their layer has seen; empty where none has been seen yet.

    Attributes:
        components: the clouds' names -> (n, n_components).
        spectra: the clouds' names -> (n_eigenvalues,) of the data kernel.
        kernel_change: (neurons, riders), how far each data kernel has turned since the start, 0 to 1; None if empty.
    """

    components: dict[str, np.ndarray] = field(default_factory=dict)
    spectra: dict[str, np.ndarray] = field(default_factory=dict)
    kernel_change: tuple[float, float] | None = None


def functions_of(layer: Layer, clouds: dict[str, Tensor], probe: Tensor | None) -> Functions:
    """Principal components of the activation functions, and the data kernel, at inputs that were seen.

        phi_i(x) at the probes, less its mean over all neurons now; its scores along the first principal components
        K(x, x') = mean_i phi_i(x) phi_i(x'): eigenvalues over the number of probes, largest first
        its change: 1 - <K, K'>/(|K| |K'|), K' at the start; 0 for networks that change readouts and no features

    Components are those of neurons and riders now, so that all clouds are drawn in one frame.

    Args:
        clouds: (n, n_params) by name; probe: inputs of the layer; None where none has been seen.
    """
    if probe is None:
        return Functions()
    values = {name: _answers(layer, layer.tensors(cloud), probe) for name, cloud in clouds.items()}
    pool = np.concatenate([values["background"], values["foreground"]])
    mean = pool.mean(axis=0)
    _, _, directions = np.linalg.svd(pool - mean, full_matrices=False)
    kept = directions[:N_COMPONENTS]
    # The sign is fixed, so that the picture does not flip between two computations.
    kept = kept * np.where(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    functions = {name: (answers - mean) @ kept.T for name, answers in values.items()}
    spectra = {
        name: np.linalg.svd(answers, compute_uv=False)[:N_EIGENVALUES] ** 2 / answers.size
        for name, answers in values.items()
        if name != "initial_foreground"
    }
    changes = [_turned(values[f"initial_{name}"], values[name]) for name in ("background", "foreground")]
    return Functions(functions, spectra, (changes[0], changes[1]))


def _turned(before: np.ndarray, after: np.ndarray) -> float:
    kernels = [answers.T @ answers / len(answers) for answers in (before, after)]
    norms = np.linalg.norm(kernels[0]) * np.linalg.norm(kernels[1])
    return float(1.0 - (kernels[0] * kernels[1]).sum() / norms) if norms > 0 else math.nan


def _answers(layer: Layer, tensors: Tensors, probe: Tensor) -> np.ndarray:
    """(n_neurons, n_probes) float64."""
    return to_host(layer.activations(tensors, probe, N_PROBES).T.to(torch.float32)).astype(np.float64)
