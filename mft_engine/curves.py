"""The activations as a table without torch: what recipes, choosers and rules know of them before torch is loaded.

The same functions on tensors, with derivatives, are in `mft_engine.network.activations`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parity = Literal["none", "odd", "even"]


def _np() -> Any:
    """numpy, once somebody wants values: recipes are read and help is given without it."""
    import numpy

    return numpy


@dataclass(frozen=True)
class Curve:
    """One activation phi.

    Attributes:
        name: in recipes.
        formula: phi as a user reads it; remark: what a user should know before choosing it.
        values: z -> phi(z), elementwise.
        parity: an "odd" activation without bias cannot see an even target, and the reverse.
        kinks: the z at which phi' jumps; quadrature rules for smooth functions are poor there.
        outgrows_lines: phi grows faster than linearly, so that large neurons have no normalisable law.
        is_oscillating: phi oscillates for large arguments.
    """

    name: str
    formula: str
    values: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    parity: Parity = "none"
    kinks: tuple[float, ...] = ()
    remark: str = ""
    outgrows_lines: bool = False
    is_oscillating: bool = False


CURVES: dict[str, Curve] = {
    curve.name: curve
    for curve in (
        Curve(
            "relu_tanh",
            "max(0, tanh z)",
            lambda z: _np().maximum(0.0, _np().tanh(z)),
            kinks=(0.0,),
            remark="the relu version of tanh",
        ),
        Curve("clip01", "min(1, max(0, z))", lambda z: _np().clip(z, 0.0, 1.0), kinks=(0.0, 1.0)),
        Curve(
            "tanh", "tanh z", lambda z: _np().tanh(z), "odd", remark="odd: without a bias it cannot see an even target"
        ),
        Curve("erf", "erf z", lambda z: _np().asarray(_np().vectorize(math.erf)(z), dtype=float), "odd", remark="odd"),
        Curve("relu", "max(0, z)", lambda z: _np().maximum(0.0, z), kinks=(0.0,)),
        Curve("sin", "sin z", lambda z: _np().sin(z), "odd", remark="odd", is_oscillating=True),
        Curve("hardtanh", "min(1, max(−1, z))", lambda z: _np().clip(z, -1.0, 1.0), "odd", (-1.0, 1.0), "odd"),
        Curve("tanh_squared", "tanh² z", lambda z: _np().tanh(z) ** 2, "even", remark="even"),
        Curve(
            "quadratic",
            "z²",
            lambda z: _np().square(z),
            "even",
            remark="grows without bound: no infinite-width law exists",
            outgrows_lines=True,
        ),
    )
}


def known_activation(name: str) -> str:
    """The name itself, where it is one.

    Raises:
        ValueError: no such activation; the message gives the nearest one and all of them.
    """
    if name not in CURVES:
        nearest = difflib.get_close_matches(name, CURVES, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown activation {name!r}: did you mean {nearest!r}? (one of {', '.join(CURVES)})")
    return name
