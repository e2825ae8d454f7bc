"""Modular addition: pairs (n, m) of numbers below P as two ones among 2P inputs, to be answered by n + m mod P.

A network that memorises the training pairs says nothing about the others; one that has found waves cos(2 pi k n/P + u)
on the circle of numbers answers all of them.

Source: Gromov (2301.02679); Rubin, Seroussi, Ringel (2310.03789).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mft_engine.rng import Stream, host_generator
from mft_engine.tasks.task import OwnPoints, Task, TaskError, no_more, whole

INPUT_SCALE = 0.7


def build_modular_addition(name: str, parameters: Mapping[str, Any]) -> Task:
    """y_c = sqrt(P) ([c = n + m mod P] - 1/P) on a random part of all P^2 pairs; the others are held back.

    The data term sums over classes and training pairs and divides by P^2, so that a pair counts the same whatever part
    of the table is shown: the training weights sum to `task.train_fraction`, not to one.

    Parameters, with what they are where they are left out: modulus (P, 5 to 113; 11), train_fraction (0.7), input_scale
    (0.7: the two ones are so large, so w.x = 0.7 (w_n + w_(P+m))). Which pairs are shown follows the recipe's seed.

    Raises:
        TaskError: a parameter that is not allowed.
    """
    no_more(name, parameters, ("modulus", "train_fraction", "input_scale"))
    modulus = whole(parameters, "modulus", 11, 5, 113, "the modulus")
    fraction = _number(parameters, "train_fraction", 0.7, "the part of the pairs that is shown", 1.0)
    scale = _number(parameters, "input_scale", INPUT_SCALE, "the size of the two ones of an input", 100.0)
    return Task(
        name,
        f"Addition modulo {modulus}",
        f"n + m mod {modulus}",
        2 * modulus,
        functools.partial(_sum_of, modulus=modulus),
        points=_split(0, modulus=modulus, fraction=fraction, scale=scale),
        n_out=modulus,
        split=functools.partial(_split, modulus=modulus, fraction=fraction, scale=scale),
        projections=fourier_planes(modulus),
        modulus=modulus,
        images=functools.partial(affine_images, modulus),
        is_classification=True,
    )


def _number(parameters: Mapping[str, Any], name: str, default: float, what: str, high: float) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= high:
        raise TaskError(f"task.{name} = {value!r}: {what} is a number above 0 and at most {high:g}")
    return float(value)


def two_hot(pairs: np.ndarray, modulus: int, scale: float) -> np.ndarray:
    """(n_pairs, 2P) inputs of (n_pairs, 2) numbers below P: `scale` at n and at P + m, else 0."""
    inputs = np.zeros((len(pairs), 2 * modulus))
    rows = np.arange(len(pairs))
    inputs[rows, pairs[:, 0]] = scale
    inputs[rows, modulus + pairs[:, 1]] = scale
    return inputs


def _sum_of(inputs: Any, *, modulus: int) -> Any:
    """The target of the pair that an input is, or is nearest to; (n, 2P) to (n, P), numpy or torch."""
    answer = (inputs[:, :modulus].argmax(1) + inputs[:, modulus:].argmax(1)) % modulus
    one_hot = 0.0 * inputs[:, :modulus]
    for c in range(modulus):
        one_hot[:, c] = answer == c
    return math.sqrt(modulus) * (one_hot - 1.0 / modulus)


def _split(seed: int, *, modulus: int, fraction: float, scale: float) -> OwnPoints:
    """All pairs, shuffled by the seed; the first round(fraction P^2) are shown."""
    numbers = np.arange(modulus)
    pairs = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), axis=-1).reshape(-1, 2)
    pairs = pairs[host_generator(seed, Stream.TASK).permutation(len(pairs))]
    inputs = two_hot(pairs, modulus, scale)
    one_hot = np.eye(modulus)[pairs.sum(axis=1) % modulus]
    targets = math.sqrt(modulus) * (one_hot - 1.0 / modulus)
    n_train = max(1, round(fraction * len(pairs)))
    source = f"the table of additions modulo {modulus}"
    parts = (inputs[:n_train], targets[:n_train], inputs[n_train:], targets[n_train:])
    return OwnPoints(*parts, source, total_weight=n_train / len(pairs))


def affine_images(modulus: int) -> np.ndarray:
    """Orders of the 2P inputs by n -> k n + s, m -> k m + t, which turn a table of sums mod P, P prime, into itself.

    k and P - k differ by a reflection; one of each pair is here.

    Returns:
        ((P - 1)/2 * P^2, 2P): where each input weight of the image comes from; of a P that is not prime, k = 1 alone.
    """
    numbers = np.arange(modulus)
    is_prime = all(modulus % k for k in range(2, math.isqrt(modulus) + 1))
    factors = np.arange(1, (modulus - 1) // 2 + 1 if is_prime else 2)
    moved = (factors[:, None, None] * numbers + numbers[:, None]) % modulus  # factor, shift, number
    first = np.broadcast_to(moved[:, :, None], (len(factors), modulus, modulus, modulus))
    second = np.broadcast_to(modulus + moved[:, None], first.shape)
    return np.concatenate([first, second], axis=-1).reshape(-1, 2 * modulus)


def fourier_planes(modulus: int) -> dict[str, np.ndarray]:
    """Directions of the 2P input weights in which a neuron of one frequency lies on a circle.

    "n: cos k" and "n: sin k" for k = 1 .. (P - 1)/2 see w_n, those of m see w_(P+m); each of unit length.
    """
    angles = 2 * np.pi * np.arange(modulus) / modulus
    planes = {}
    for k in range(1, (modulus - 1) // 2 + 1):
        for offset, letter in ((0, "n"), (modulus, "m")):
            for wave, values in (("cos", np.cos(k * angles)), ("sin", np.sin(k * angles))):
                direction = np.zeros(2 * modulus)
                direction[offset : offset + modulus] = values / np.linalg.norm(values)
                planes[f"{wave} 2π·{k} {letter}/{modulus}"] = direction
    return planes
