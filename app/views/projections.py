"""What the cloud view can put on an axis: coordinates of a neuron, and quantities made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mft_engine.looks import Coordinate, Moments

Kind = Literal["weight", "overlap", "readout", "norm", "angle", "component"]


@dataclass(frozen=True)
class Axis:
    """One choice of an axis picker.

    Attributes:
        key: stable name ("w1", "a", "norm", "angle", "PC1", or the name of a task's projection).
        label: what the picker and the axis show.
        kind: axes of one kind share their unit, so a plot of two of them keeps an equal aspect.
        meaning: one sentence for the tooltip.
    """

    key: str
    label: str
    kind: Kind
    meaning: str

    @property
    def is_length(self) -> bool:
        """Whether it begins at zero."""
        return self.kind == "norm" or self.label.startswith("|")


@dataclass(frozen=True)
class Components:
    """Two principal directions of the standardised (w, a): mean and scale (n_params,), directions (n_params, 2)."""

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray


def table_axes(names: Sequence[str], *, has_weights: bool, meanings: Sequence[str] = ()) -> tuple[Axis, ...]:
    """The axes of a layer's table: its columns by name, the last one the weight with which a neuron acts.

    Args:
        has_weights: the columns are input weights, so that they have a length.
        meanings: a sentence for each column, of a table that brings everything that can be drawn.
    """
    if meanings:
        inner = [
            Axis(f"w{j + 1}", name, "overlap", text) for j, (name, text) in enumerate(zip(names, meanings, strict=True))
        ]
        return (*inner[:-1], Axis("a", names[-1], "readout", meanings[-1]))
    kind: Kind = "weight" if has_weights else "overlap"
    what = "input weight of each neuron" if has_weights else "E[φ g], activation function against a function g"
    axes = [
        Axis(f"w{j + 1}", f"w{_subscript(j + 1)}" if has_weights else name, kind, f"{name}: {what}")
        for j, name in enumerate(names[:-1])
    ]
    axes.append(Axis("a", names[-1], "readout", f"{names[-1]}: weight with which each neuron acts on the output"))
    if has_weights:
        axes.append(Axis("norm", "|w|", "norm", "length of the input weight vector"))
    return (*axes, *_components())


def joined_readouts(theta: np.ndarray, n_out: int) -> np.ndarray:
    """(n_neurons, n_inputs + 1): the readouts of each neuron, where they are several, as their length |a|."""
    if n_out == 1:
        return theta
    length = np.sqrt(np.einsum("ij,ij->i", theta[:, -n_out:], theta[:, -n_out:]))
    return np.column_stack([theta[:, :-n_out], length])


def available_axes(
    n_inputs: int, projections: Mapping[str, np.ndarray] | None = None, n_out: int = 1
) -> tuple[Axis, ...]:
    """The axes that clouds with `n_inputs` input weights have, plus the task's own projections of w.

    Args:
        n_out: readouts of a neuron; several are shown as their length |a|.
    """
    axes = [
        Axis(f"w{j + 1}", f"w{_subscript(j + 1)}", "weight", f"input weight {j + 1} of each neuron")
        for j in range(n_inputs)
    ]
    axes += [Axis(name, name, "weight", f"w along the task's direction {name}") for name in projections or {}]
    axes += [
        Axis("a", "a", "readout", "readout weight of each neuron")
        if n_out == 1
        else Axis("a", "|a|", "readout", f"length of the {n_out} readout weights of each neuron"),
        Axis("norm", "|w|", "norm", "length of the input weight vector"),
    ]
    if n_inputs >= 2:
        axes.append(Axis("angle", "angle(w)", "angle", "direction of (w₁, w₂), in degrees from the w₁ axis"))
    return (*axes, *_components())


def _components() -> list[Axis]:
    meaning = "principal component {} of the coordinates, each divided by its spread; fixed until the view is reset"
    return [Axis(f"PC{k}", f"PC {k}", "component", meaning.format(k)) for k in (1, 2)]


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def moments_of(theta: np.ndarray) -> Moments:
    """Of the columns of (n_neurons, n_params)."""
    centred = theta - theta.mean(axis=0, dtype=np.float64)
    return Moments(theta.mean(axis=0, dtype=np.float64), centred.T @ centred / len(theta))


def principal_components(moments: Moments) -> Components:
    """The two directions of largest variance of the standardised columns, of which there are two at least.

    The sign is fixed (largest entry positive), so that the picture does not flip between two computations.
    """
    mean, scale = moments.mean, np.sqrt(np.diag(moments.covariance))
    scale[scale == 0] = 1.0
    _, vectors = np.linalg.eigh(moments.covariance / np.outer(scale, scale))
    directions = vectors[:, ::-1][:, :2]
    largest = directions[np.abs(directions).argmax(axis=0), [0, 1]]
    return Components(mean, scale, directions * np.where(largest < 0, -1.0, 1.0))


def project(
    theta: np.ndarray,
    axis: Axis,
    components: Components | None = None,
    projections: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Each neuron's value on an axis.

    Args:
        theta: (n_neurons, n_params), columns w1 .. wd, a.
        components: needed for the principal components only.
        projections: name -> (n_inputs,) direction, for the task's own axes.

    Returns:
        (n_neurons,) float32, in the units of the coordinates; angles in degrees.
    """
    return np.asarray(coordinate(axis, components, projections).of(theta))


def coordinate(
    axis: Axis, components: Components | None = None, projections: Mapping[str, np.ndarray] | None = None
) -> Coordinate:
    """An axis in the words in which the engine is asked for it; the arguments are those of `project`."""
    if axis.kind == "readout":
        return Coordinate("readout")
    if axis.kind == "norm":
        return Coordinate("length")
    if axis.kind == "angle":
        return Coordinate("angle")
    if axis.kind == "component":
        if components is None:
            raise ValueError(f"{axis.key} needs the principal components")
        column = components.directions[:, 0 if axis.key == "PC1" else 1] / components.scale
        return Coordinate("direction", direction=tuple(column.tolist()), offset=float(components.mean @ column))
    if projections and axis.key in projections:
        return Coordinate("direction", direction=tuple(np.asarray(projections[axis.key], float).tolist()))
    return Coordinate("column", int(axis.key[1:]) - 1)
